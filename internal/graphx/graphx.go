// Package graphx is the border between GoMLX, whose graph building reports faults by panicking, and
// the rest of the project, which returns errors.
//
// A package that builds graphs calls Try once around building and running; graph functions themselves
// return nodes and may panic. Nothing else belongs here.
package graphx

import (
	"fmt"
	"runtime"
)

// Try runs fn and returns what it panicked with as an error that begins with what. Faults of the Go
// runtime (nil dereference, out of memory, index out of range) are not faults of a graph: they go on.
func Try(what string, fn func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case runtime.Error:
			panic(r)
		case error:
			err = fmt.Errorf("%s: %w", what, r)
		default:
			err = fmt.Errorf("%s: %v", what, r)
		}
	}()
	fn()
	return nil
}
