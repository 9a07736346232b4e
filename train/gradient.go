package train

import (
	"cmp"
	"fmt"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/model"
)

// groupBytes bounds the kernel gradients held at once. A group is one pass over the batch: BERT-base takes
// one, larger models a few.
const groupBytes = 512 << 20

// kernelGradients computes ∂loss/∂K, [In, Out], at ΔK = 0 and without dropout, on one batch: what the
// compressed initialisation starts from (method.md 3.2). Kernels are differentiated a group at a time, when
// the first of a group is asked for, and each gradient is handed out once.
type kernelGradients struct {
	backend compute.Backend
	config  *model.Config
	weights namedTensors
	loss    lossFunc
	batch   data.Batch
	total   float64
	kernels []model.Kernel
	limit   int  // bytes held at once; 0: groupBytes
	again   bool // gradient checkpointing
	ready   map[string]*tensors.Tensor
}

// of returns the gradient of one kernel.
func (k *kernelGradients) of(name string) (*tensors.Tensor, error) {
	if _, ok := k.ready[name]; !ok {
		if err := k.compute(k.group(name)); err != nil {
			return nil, fmt.Errorf("gradient of %s: %w", name, err)
		}
	}
	g := k.ready[name]
	delete(k.ready, name)
	return g, nil
}

// group is name and the kernels after it, as many as the limit holds.
func (k *kernelGradients) group(name string) []model.Kernel {
	var group []model.Kernel
	bytes, limit := 0, cmp.Or(k.limit, groupBytes)
	for _, kernel := range k.kernels {
		if len(group) == 0 && kernel.Name != name {
			continue
		}
		bytes += 4 * kernel.In * kernel.Out
		if len(group) > 0 && bytes > limit {
			break
		}
		group = append(group, kernel)
	}
	return group
}

// compute runs one forward and backward pass.
func (k *kernelGradients) compute(group []model.Kernel) error {
	if len(group) == 0 {
		return fmt.Errorf("not an adapted kernel")
	}
	return graphx.Try("compression pass", func() {
		exec := must(k.exec(group))
		defer exec.Finalize()
		dtype := k.weights.list[0].DType()
		args := append(k.weights.args(), donated(k.backend, batchArgs(k.batch, dtype))...)
		out := must(exec.Call(append(args, scalar(k.total, dtype))...))
		k.ready = map[string]*tensors.Tensor{}
		for i, g := range group {
			k.ready[g.Name] = out[i]
		}
	})
}

// exec is the pass: weights, batch, total -> gradients of the group. The hook only notes which node each kernel is:
// it is the same encoder, and there is no second forward pass in the code.
func (k *kernelGradients) exec(group []model.Kernel) (*Exec, error) {
	return NewExec(k.backend, func(in []*Node) []*Node {
		weights, in := split(in, len(k.weights.list))
		kernel := map[string]*Node{}
		note := func(at model.Kernel, x, w *Node) *Node {
			kernel[at.Name] = w
			return model.Frozen(at, x, w)
		}
		in, total := split(in, len(in)-1)
		batch := batchOf(in)
		bert := &model.BERT{Config: k.config, Weights: k.weights.lookup(weights, nil), Hook: note, GradientCheckpointing: k.again}
		loss := weightedMean(k.loss(bert.Logits(batch.inputs), batch.labels), batch.weights, total[0])
		wanted := make([]*Node, len(group))
		for i, g := range group {
			wanted[i] = kernel[g.Name]
		}
		return Gradient(loss, wanted...)
	})
}
