// Package graphx is the border between GoMLX, whose graph building reports faults by panicking, and
// the rest of the project, which returns errors.
//
// A package that builds graphs calls Try once around building and running; graph functions themselves
// return nodes and may panic. Beside it stand the few pieces that all graphs share.
package graphx

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
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

// Must turns an error into the panic that Try turns back: inside one Try, GoMLX does both.
func Must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Scalar is a number as a graph's argument, in float32 or float64.
func Scalar(v float64, dtype dtypes.DType) any {
	if dtype == dtypes.Float64 {
		return v
	}
	return float32(v)
}

// Donated are tensors as a graph's arguments that the engine frees after the call, instead of the garbage collector when
// it happens to run. They must not be used again. It panics where the engine cannot take them.
func Donated(backend compute.Backend, device compute.DeviceNum, list []*tensors.Tensor) []any {
	args := make([]any, len(list))
	for i, t := range list {
		args[i] = Must(graph.DonateTensorBuffer(t, backend, device))
	}
	return args
}

// Split cuts a graph's inputs after the first n.
func Split(in []*graph.Node, n int) (first, rest []*graph.Node) { return in[:n], in[n:] }

// Lookup gives nodes by name. An unknown name panics.
func Lookup(byName map[string]*graph.Node) func(name string) *graph.Node {
	return func(name string) *graph.Node {
		node, ok := byName[name]
		if !ok {
			panic(fmt.Errorf("the model asks for tensor %q, which was not loaded", name))
		}
		return node
	}
}

// WithGradient is what y makes of xs, of this shape, with other gradients by xs than follow from how it was made: vjp gives
// that by xs[i], from the gradient v by y. xs are handed to it again: gradient checkpointing has them computed a second
// time for the backward pass. Gradients by anything else that y is made of are zero.
//
// GoMLX takes gradients of a node by those of another that stands in for it. Here that is a sum of all xs of y's shape,
// which is never computed, as nothing needs its value: it only brings the gradient by y to where those by xs are taken.
// On the way there, an identity of each x notes the x that it is given, so that every gradient can be made of all xs.
func WithGradient(xs []*graph.Node, shape []int, y func() *graph.Node, vjp func(i int, xs []*graph.Node, v *graph.Node) *graph.Node) *graph.Node {
	standIn := func() *graph.Node {
		var byY *graph.Node
		again := slices.Clone(xs)
		taken := make([]*graph.Node, len(xs)) // before noted: gradients go from the last node to the first
		for i, x := range xs {
			taken[i] = graph.IdentityWithCustomGradient(x, func(_, _ *graph.Node) *graph.Node { return vjp(i, again, byY) })
		}
		var sum *graph.Node
		for i, x := range taken {
			noted := graph.ReduceAllSum(graph.IdentityWithCustomGradient(x, func(x, v *graph.Node) *graph.Node {
				again[i] = x
				return v
			}))
			if sum == nil {
				sum = noted
			} else {
				sum = graph.Add(sum, noted)
			}
		}
		return graph.IdentityWithCustomGradient(graph.BroadcastToDims(sum, shape...), func(_, v *graph.Node) *graph.Node {
			byY = v
			return v
		})
	}
	out, used := graph.InternalFusedOpCaller(y, standIn, true)
	if !used { // else the sum would be taken for y
		panic(fmt.Errorf("%s is off, or the engine lacks an operation: it cannot be done without", graph.FusionEnv))
	}
	return out
}

// Barrier is x, made before anything that is made of it: XLA joins what stands before it with nothing that stands behind.
// It has no gradient.
func Barrier(x *graph.Node) *graph.Node {
	return graph.OptimizationBarriers(x, graph.ScalarZero(x.Graph(), x.DType()))[0] // of one operand it would be none
}
