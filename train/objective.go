package train

import (
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// LossFunc builds a scalar: the weighted loss of one batch over total, the sum of weights of the step's batches.
// weights gives every tensor by name, trained ones and frozen ones; key seeds dropout.
type LossFunc func(weights model.Weights, batch []*Node, key, total *Node) *Node

// Objective is what a Loop minimises, over which parameters.
type Objective struct {
	Params      []Param
	Inputs      int // arguments of a batch
	Loss        LossFunc
	WeightDecay float64 // of every parameter that does not refuse it
	Clip        float64 // largest norm of the gradient; 0: off
}

// Param is one trained tensor.
type Param struct {
	Name    string
	Shape   []int
	NoDecay bool // biases and norms
	Draw    func() (*tensors.Tensor, error)
}

func (p Param) param() param {
	return param{name: p.Name, shape: p.Shape, rate: 1, noDecay: p.NoDecay, draw: p.Draw}
}

// fineTuningInputs counts the arguments of batchArgs.
func fineTuningInputs(padding data.Padding) int {
	if padding == data.PadPacked {
		return packedInputs + targets
	}
	return paddedInputs + targets
}

// fineTuning is the loss of a classifier whose kernels have adapters.
func fineTuning(config *model.Config, adapter lora.Adapter, s *state, loss lossFunc, checkpointing bool) LossFunc {
	return func(weights model.Weights, in []*Node, key, total *Node) *Node {
		batch := batchOf(in)
		b := &model.BERT{
			Config: config, Weights: weights, Hook: adapted(s.deltas(adapter, weights)), Dropout: &model.Dropout{Key: key},
			GradientCheckpointing: checkpointing,
		}
		return weightedMean(loss(b.Logits(batch.inputs), batch.labels), batch.weights, total)
	}
}

// deltas are the updates ΔK by kernel name.
func (s *state) deltas(adapter lora.Adapter, weights model.Weights) map[string]lora.Delta {
	deltas := make(map[string]lora.Delta, len(s.sites))
	for _, at := range s.sites {
		var factors []*Node
		for i := at.first; i < at.first+at.factors; i++ {
			factors = append(factors, weights(s.params[i].name))
		}
		deltas[at.kernel.Name] = adapter.Delta(factors)
	}
	return deltas
}
