package train

import (
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/probe"
	"github.com/deeplora/deeplora/model"
)

// startHead gives the head its first values, where they are the linear probe: the layer of outputs that fits the training
// examples' features best, while the encoder is what it is. A first gradient through it points where the task is, and a
// few steps are not spent on turning a random layer (Kumar et al. 2022, arXiv:2202.10054).
func (r *run) startHead(ctx context.Context) error {
	if r.config.HeadStart != startProbe {
		return nil
	}
	fitted, err := r.job.probe(ctx, r.Phase("features of the training examples"))
	if err != nil {
		return fmt.Errorf("head-start probe: %w", err)
	}
	r.Notice("the head starts as a linear probe of %d examples, penalty %g", len(r.job.inputs.train.rows), fitted.Penalty)
	return nil
}

// probe fits the layer of outputs to the training examples and puts it into the checkpoint.
func (j *job) probe(ctx context.Context, progress func(done, total int)) (*probe.Model, error) {
	x, err := j.features(ctx, progress)
	if err != nil {
		return nil, err
	}
	c, in := j.inputs.checkpoint, j.inputs
	var fitted *probe.Model
	t := probe.Targets{Outputs: c.Config.NumLabels(), Weights: in.classWeights}
	switch c.Config.ProblemType {
	case model.Regression:
		fitted, err = probe.Ridge(x, mat.NewDense(len(in.train.labels), 1, in.train.labels))
	case model.MultiLabel:
		t.Sets = slices.Collect(slices.Chunk(in.train.labels, t.Outputs))
		fitted, err = probe.Logistic(x, t)
	default:
		for _, label := range in.train.labels {
			t.Classes = append(t.Classes, int(label))
		}
		fitted, err = probe.Logistic(x, t)
	}
	if err != nil {
		return nil, err
	}
	names := c.Config.HeadNames()
	weight, bias := c.Tensors[names[0]], c.Tensors[names[1]]
	put(weight, fitted.Weight.RawMatrix().Data) // [features, outputs]
	put(bias, fitted.Bias)
	j.devices.Forget(weight)
	j.devices.Forget(bias)
	return fitted, nil
}

// put overwrites a tensor in place: the parameters of the run, and the first gradients, read it.
func put(t *tensors.Tensor, values []float64) {
	tensors.MustMutableFlatData(t, func(flat []float32) {
		for i, v := range values {
			flat[i] = float32(v)
		}
	})
}

// features are what the layer of outputs reads of the training examples: [examples, features].
func (j *job) features(ctx context.Context, progress func(done, total int)) (*mat.Dense, error) {
	c := j.inputs.checkpoint
	p, err := newPredictor(j.devices, c, weightsOf(c), nil)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	p.features = true // before a graph is built
	rows, err := p.Logits(ctx, j.inputs.train.rows, j.config.evaluationLayout(), progress)
	if err != nil {
		return nil, err
	}
	x := mat.NewDense(len(rows), c.Config.HiddenSize, nil)
	for i, row := range rows {
		for k, v := range row {
			x.Set(i, k, float64(v))
		}
	}
	return x, nil
}
