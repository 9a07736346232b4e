//go:build !linux

package main

import (
	"errors"
	"os"
)

var errOnlyLinux = errors.New("only on Linux")

func (w *workspace) furnish(at place, _ bool) (release func(recovered bool) error, err error) {
	return func(bool) error { return nil }, os.MkdirAll(at.dir, 0o755)
}

func noMount(*workspace) error              { return errOnlyLinux }
func fullDisk(*scene) (func() error, error) { return nil, errOnlyLinux }
func noLimits(*workspace) error             { return errOnlyLinux }
func noMemory(*scene) (func() error, error) { return nil, errOnlyLinux }
func locked(string) bool                    { return false }
