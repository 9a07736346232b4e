//go:build noxla

package testbackend

const xlaLinked = false

func prepareXLA() {}
