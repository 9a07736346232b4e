package train

import (
	"context"
	"fmt"
	"iter"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/model"
)

// Predictor computes logits with plain, merged weights: the model as it is after export. It is not safe
// for concurrent use.
type Predictor struct {
	backend compute.Backend
	config  *model.Config
	weights namedTensors
	exec    *Exec
}

// NewPredictor serves a checkpoint as it is.
func NewPredictor(backend compute.Backend, c *model.Checkpoint) (*Predictor, error) {
	return newPredictor(backend, c.Config, weightsOf(c))
}

// weightsOf lists every tensor of a checkpoint in the order of its Specs.
func weightsOf(c *model.Checkpoint) namedTensors {
	var n namedTensors
	for _, spec := range c.Config.Specs() {
		n.names = append(n.names, spec.Name)
		n.list = append(n.list, c.Tensors[spec.Name])
	}
	return n
}

func newPredictor(backend compute.Backend, config *model.Config, weights namedTensors) (*Predictor, error) {
	return hookedPredictor(backend, config, weights, func([]*Node) model.WeightHook { return model.Frozen })
}

// hookedPredictor computes with what hook makes of the graph's weights, in their order.
func hookedPredictor(backend compute.Backend, config *model.Config, weights namedTensors, hook func(weights []*Node) model.WeightHook) (*Predictor, error) {
	p := &Predictor{backend: backend, config: config, weights: weights}
	exec, err := NewExec(backend, func(in []*Node) []*Node {
		weights, in := split(in, len(p.weights.list))
		bert := &model.BERT{Config: p.config, Weights: p.weights.lookup(weights, nil), Hook: hook(weights)}
		return []*Node{bert.Logits(encoderInputs(in))}
	})
	if err != nil {
		return nil, fmt.Errorf("predict: %w", err)
	}
	p.exec = exec.WithName("predict").SetMaxCache(maxGraphs)
	return p, nil
}

// Close frees the compiled graphs.
func (p *Predictor) Close() { p.exec.Finalize() }

// Config is the model's configuration: labels, lengths, vocabulary.
func (p *Predictor) Config() *model.Config { return p.config }

// Layout says how examples are put into batches.
type Layout struct {
	Batch     int          // examples a batch; where they are packed, rows of 64 tokens
	Padding   data.Padding // and MaxLength, in tokens: what batches are padded to
	MaxLength int
}

// batches assembles the batches of rows.
func (l Layout) batches(rows []data.Encoded, pad int32) iter.Seq2[data.Batch, error] {
	if l.Padding == data.PadPacked && l.Batch > 1 { // one at a time: the same bits in any company
		packing, batches := data.PackEvaluation(rows, l.Batch, l.MaxLength)
		return assembled(batches, func(index []int) (data.Batch, error) {
			return packing.Assemble(rows, nil, index, pad)
		})
	}
	return assembled(data.EvalBatches(rows, l.Batch), func(index []int) (data.Batch, error) {
		length := l.Padding.Length(data.Longest(rows, index), l.MaxLength)
		return data.Assemble(rows, nil, index, min(l.Batch, len(rows)), length, pad)
	})
}

func assembled(batches [][]int, assemble func(index []int) (data.Batch, error)) iter.Seq2[data.Batch, error] {
	return func(yield func(data.Batch, error) bool) {
		for _, index := range batches {
			if !yield(assemble(index)) {
				return
			}
		}
	}
}

// Logits returns a row of logits [labels] for every encoded example, in their order, whatever order they are computed
// in. progress may be nil.
func (p *Predictor) Logits(ctx context.Context, rows []data.Encoded, layout Layout, progress func(done, total int)) ([][]float32, error) {
	for _, r := range rows {
		if err := p.config.Check(r.IDs, r.Types, len(r.IDs)); err != nil {
			return nil, err
		}
	}
	logits := make([][]float32, len(rows))
	done := 0
	for b, err := range layout.batches(rows, p.config.PadTokenID) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		out, err := p.logits(b)
		if err != nil {
			return nil, err
		}
		for at, i := range b.Index {
			if i < 0 { // filler
				continue
			}
			logits[i] = out[at*p.config.NumLabels() : (at+1)*p.config.NumLabels()]
			done++
			for _, v := range logits[i] {
				if v-v != 0 { // a class or a score read from it would be a number like any other
					return nil, fmt.Errorf("example %d: logit %g: the weights have diverged", i+1, v)
				}
			}
		}
		if progress != nil {
			progress(done, len(rows))
		}
	}
	return logits, nil
}

// logits computes one batch, flat [rows·labels].
func (p *Predictor) logits(b data.Batch) (flat []float32, err error) {
	err = graphx.Try("predict", func() {
		out := must(p.exec.Call(append(p.weights.args(), donated(p.backend, inputArgs(b))...)...))
		defer out[0].MustFinalizeAll()
		t := out[0]
		if t.DType() == dtypes.Float64 {
			t = must(convert[float64, float32](t))
		}
		flat = must(tensors.CopyFlatData[float32](t))
	})
	return flat, err
}
