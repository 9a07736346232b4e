package train

import (
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// batchNodes are a data.Batch in a graph: what its Args are there.
type batchNodes struct {
	inputs          model.Inputs
	labels, weights *Node // [examples]
	rows, examples  *Node // places of a part's rows and examples in the whole batch; nil: it is whole
}

// batchOf sorts the nodes of a batch's Args.
func batchOf(padding data.Padding, in []*Node) batchNodes {
	n := 3
	if padding == data.PadPacked {
		n = 5
	}
	b := batchNodes{inputs: encoderInputs(n == 5, in[:n]), labels: in[n], weights: in[n+1]}
	if places := in[n+2:]; len(places) > 0 {
		b.rows, b.examples = places[0], places[1]
	}
	return b
}

// divisible is a batch of a run, which devices share so that all of the run's batches are of few shapes.
type divisible struct {
	data.Batch
	places int // for examples of a device, at least
}

// Divide is for loop.Parts.
func (b divisible) Divide(n int) []loop.Batch {
	var parts []loop.Batch
	for _, p := range b.Batch.Divide(n, b.places) {
		parts = append(parts, p)
	}
	return parts
}

// encoderInputs sorts the nodes of data.Batch.Tensors.
func encoderInputs(packed bool, in []*Node) model.Inputs {
	if packed {
		return model.Packed{IDs: in[0], Types: in[1], Segments: in[2], Positions: in[3], First: in[4]}
	}
	return model.Padded{IDs: in[0], Types: in[1], Mask: in[2]}
}
