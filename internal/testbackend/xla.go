//go:build !noxla

package testbackend

import "github.com/gomlx/go-xla/compute/xla"

const xlaLinked = true

// prepareXLA keeps go-xla from downloading: tests use what is there.
func prepareXLA() { xla.EnableAutoInstall(false) }
