//go:build !noxla

package main

import "github.com/gomlx/go-xla/compute/xla"

// xlaLinked says that this program can open XLA plugins.
const xlaLinked = true

// prepareXLA keeps go-xla from downloading on its own: only `engine install` does that.
func prepareXLA() { xla.EnableAutoInstall(false) }
