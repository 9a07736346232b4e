package loop

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// Batch is what one pass of a graph gets, as it was assembled.
type Batch interface {
	// Args are new tensors in the order of the objective's inputs, floats in dtype. The step that takes them frees them.
	Args(dtype dtypes.DType) []*tensors.Tensor
	// Weight is how much the batch counts among those of a step: its real examples.
	Weight() float64
	// RealTokens counts tokens, padding left out.
	RealTokens() int
}

// divisible is a Batch that several devices can share.
type divisible interface {
	Batch
	// Divide gives parts of one shape, whose losses over one total sum up to the batch's.
	Divide(n int) []Batch
}

// Parts are what each of n devices gets of a batch, which for several has to have a method Divide(n int) []Batch.
func Parts(b Batch, n int) ([]Batch, error) {
	if n == 1 {
		return []Batch{b}, nil
	}
	d, ok := b.(divisible)
	if !ok {
		return nil, fmt.Errorf("a batch of %T cannot be divided between devices", b)
	}
	return d.Divide(n), nil
}

// LossFunc builds a scalar: the weighted loss of one batch over total, the sum of the weights of a step's batches.
// weights gives every tensor by name, trained ones and frozen ones; batch are the nodes of Batch.Args; key seeds dropout.
type LossFunc func(weights func(name string) *Node, batch []*Node, key, total *Node) *Node

// Objective is what a Loop minimises, over which parameters.
type Objective struct {
	Params []Param
	Frozen []NamedTensor // what else the loss reads; passed to graphs, never copied
	Loss   LossFunc
	DType  dtypes.DType // that is computed in: Float32 unless set
}
