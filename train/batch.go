package train

import (
	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/model"
)

// batchNodes are a batch in a graph: inputs [rows, len], labels and weights [examples].
type batchNodes struct {
	inputs          model.Inputs
	labels, weights *Node
}

// inputArgs are the encoder's inputs of a batch as a graph's arguments.
func inputArgs(b data.Batch) []*tensors.Tensor {
	matrix := func(values []int32) *tensors.Tensor { return tensors.FromFlatDataAndDimensions(values, b.Rows, b.Len) }
	if b.First == nil {
		return []*tensors.Tensor{matrix(b.IDs), matrix(b.Types), matrix(b.Mask)}
	}
	first := tensors.FromFlatDataAndDimensions(b.First, len(b.First))
	return []*tensors.Tensor{matrix(b.IDs), matrix(b.Types), matrix(b.Segments), matrix(b.Positions), first}
}

// donated are tensors as a graph's arguments that the engine frees after the call, instead of the garbage collector
// when it happens to run. They must not be used again.
func donated(backend compute.Backend, list []*tensors.Tensor) []any {
	args := make([]any, len(list))
	for i, t := range list {
		args[i] = must(DonateTensorBuffer(t, backend, 0))
	}
	return args
}

// Arguments of inputArgs: of a row an example, and of packed rows.
const (
	paddedInputs = 3
	packedInputs = 5
)

// encoderInputs are the nodes of inputArgs.
func encoderInputs(in []*Node) model.Inputs {
	if len(in) == paddedInputs {
		return model.Padded{IDs: in[0], Types: in[1], Mask: in[2]}
	}
	return model.Packed{IDs: in[0], Types: in[1], Segments: in[2], Positions: in[3], First: in[4]}
}

// batchArgs are a batch with its labels as a graph's arguments: those of inputArgs and targets more.
func batchArgs(b data.Batch, dtype dtypes.DType) []*tensors.Tensor {
	vector := func(values []float32) *tensors.Tensor {
		t := tensors.FromFlatDataAndDimensions(values, len(values))
		return must(ownDType(t, dtype))
	}
	return append(inputArgs(b), vector(b.Labels), vector(b.Weights))
}

// targets are the arguments of a batch after the encoder's inputs: labels and weights.
const targets = 2

// batchOf are the nodes of batchArgs.
func batchOf(in []*Node) batchNodes {
	inputs, rest := split(in, len(in)-targets)
	return batchNodes{encoderInputs(inputs), rest[0], rest[1]}
}

func makeShape(dtype dtypes.DType, dims ...int) shapes.Shape { return shapes.Make(dtype, dims...) }
