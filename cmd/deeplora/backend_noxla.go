//go:build noxla

package main

// xlaLinked says that this program, a static one, knows the Go engine alone.
const xlaLinked = false

func prepareXLA() {}
