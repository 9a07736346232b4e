package train

import (
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/model"
)

// batchNodes are a data.Batch in a graph: what its Args are there.
type batchNodes struct {
	inputs          model.Inputs
	labels, weights *Node // [examples]
}

// batchInputs counts the Args of a batch that is padded so.
func batchInputs(padding data.Padding) int {
	if padding == data.PadPacked {
		return 7
	}
	return 5
}

// batchOf sorts the nodes of a batch's Args.
func batchOf(padding data.Padding, in []*Node) batchNodes {
	n := len(in) - 2
	return batchNodes{encoderInputs(padding == data.PadPacked, in[:n]), in[n], in[n+1]}
}

// encoderInputs sorts the nodes of data.Batch.Tensors.
func encoderInputs(packed bool, in []*Node) model.Inputs {
	if packed {
		return model.Packed{IDs: in[0], Types: in[1], Segments: in[2], Positions: in[3], First: in[4]}
	}
	return model.Padded{IDs: in[0], Types: in[1], Mask: in[2]}
}
