package train

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// groupBytes bounds the kernel gradients held at once. A group is one pass over the batch: BERT-base takes
// one, larger models a few.
const groupBytes = 512 << 20

// kernelGradients computes ∂loss/∂K, [In, Out], at ΔK = 0 and without dropout, on one batch: what the
// compressed initialisation starts from (method.md 3.2). Kernels are differentiated a group at a time, when
// the first of a group is asked for, and each gradient is handed out once.
type kernelGradients struct {
	devices   *devices.Set
	config    *model.Config
	precision model.Precision
	weights   []loop.NamedTensor
	batch     divisible
	kernels   []model.Kernel
	limit     int  // bytes held at once; 0: groupBytes
	again     bool // gradient checkpointing
	ready     map[string]*tensors.Tensor
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
		exec := graphx.Must(k.exec(group))
		defer exec.Finalize()
		dtype := k.dtype()
		var args [][]any
		for d, part := range graphx.Must(loop.Parts(k.batch, k.devices.Len())) {
			of := graphx.Must(argsOn(k.devices, d, k.weights))
			of = append(of, k.devices.Donated(d, part.Args(dtype))...)
			args = append(args, append(of, graphx.Scalar(k.batch.Weight(), dtype)))
		}
		out := graphx.Must(k.devices.Call(exec, args))
		k.ready = map[string]*tensors.Tensor{}
		for i, g := range group {
			k.ready[g.Name] = out[0][i]
		}
		for _, same := range slices.Concat(out[1:]...) {
			same.MustFinalizeAll()
		}
	})
}

// dtype is that of the model: of a norm or a bias, as kernels and tables may be held in fewer bits.
func (k *kernelGradients) dtype() dtypes.DType {
	i := slices.IndexFunc(k.weights, func(w loop.NamedTensor) bool { return w.Value.Shape().Rank() == 1 })
	return k.weights[i].Value.DType()
}

// exec is the pass: weights, batch, total -> gradients of the group. The hook only notes which node each kernel is:
// it is the same encoder, and there is no second forward pass in the code.
func (k *kernelGradients) exec(group []model.Kernel) (*Exec, error) {
	padding := data.PadFixed
	if k.batch.Packed() {
		padding = data.PadPacked
	}
	return k.devices.Exec("first gradients", func(in []*Node) []*Node {
		weights, in := byName(k.weights, in)
		kernel := map[string]*Node{}
		wanted := func(name string) bool {
			return slices.ContainsFunc(group, func(k model.Kernel) bool { return k.Name == name })
		}
		note := func(at model.Kernel, x, w *Node) *Node {
			y := k.precision.Hook(at, x, w)
			if w.DType().IsHalfPrecision() && wanted(at.Name) { // which is held, and has no gradient: that of a ΔK of zeros is the same
				if w = kernel[at.Name]; w == nil { // of a kernel that several layers share there is one
					w = Zeros(x.Graph(), shapes.Make(y.DType(), at.In, at.Out))
				}
				y = Add(y, model.Frozen(at, x, w))
			}
			kernel[at.Name] = w
			return y
		}
		in, total := graphx.Split(in, len(in)-1)
		batch := batchOf(padding, in)
		bert := &model.Encoder{Config: k.config, Weights: weights, Hook: note, Precision: k.precision, GradientCheckpointing: k.again}
		losses := lossOf(k.config.ProblemType)(bert.Logits(batch.inputs), batch.labels)
		loss := weightedMean(losses, batch.weights, total[0])
		kernels := make([]*Node, len(group))
		for i, g := range group {
			kernels[i] = kernel[g.Name]
		}
		return k.devices.Sum(Gradient(loss, kernels...))
	})
}

// gradientsOn are the gradients by kernels of the loss of a batch.
func (j *job) gradientsOn(b data.Batch, kernels []model.Kernel) *kernelGradients {
	c := j.inputs.checkpoint
	return &kernelGradients{
		devices: j.devices, config: c.Config, precision: c.Precision, weights: weightsOf(c), batch: j.shared(b), kernels: kernels, again: j.config.GradientCheckpointing,
	}
}

// bytes is what the first gradients take while they are computed, with those of a group together.
func (k *kernelGradients) bytes(m loop.Memory) (bytes int64, err error) {
	err = graphx.Try("compile", func() {
		exec := graphx.Must(k.exec(k.group(k.kernels[0].Name)))
		defer exec.Finalize()
		var args []shapes.Shape
		dtype := k.dtype()
		for _, w := range k.weights {
			args = append(args, w.Value.Shape())
		}
		for _, t := range graphx.Must(loop.Parts(k.batch, k.devices.Len()))[0].Args(dtype) {
			args = append(args, t.Shape())
		}
		bytes = m.All(graphx.Must(m.Of(k.devices.Compile(exec, append(args, shapes.Make(dtype))))), k.devices.Len())
	})
	return bytes, err
}
