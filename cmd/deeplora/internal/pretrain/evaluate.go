package pretrain

import (
	"context"
	"fmt"
	"math"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/train/loop"
)

// evaluator measures the objectives, without dropout, on texts that are not trained on.
type evaluator struct {
	objective *objective
	names     []string // of the parameters, in the order of a graph's arguments
	batches   []*arrays
	exec      *Exec
}

func newEvaluator(backend compute.Backend, o *objective, params []loop.Param, batches []*arrays) (*evaluator, error) {
	e := &evaluator{objective: o, batches: batches}
	for _, p := range params {
		e.names = append(e.names, p.Name)
	}
	exec, err := NewExec(backend, e.graph)
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	e.exec = exec.WithName("evaluate")
	return e, nil
}

// graph: parameters, batch -> sums and counts of the terms that there are, in the order of measures.
func (e *evaluator) graph(in []*Node) []*Node {
	t := e.objective.terms(named(e.names, in), in[len(e.names):], nil)
	var out []*Node
	for _, n := range []*Node{t.maskedLoss, t.maskedRight, t.masked, t.sentence, t.singles, t.similarity, t.couples, t.pair, t.pairs, t.pooler} {
		if n == nil {
			n = ScalarZero(in[0].Graph(), in[0].DType())
		}
		out = append(out, n)
	}
	return out
}

// measure sums over the batches: perplexity and accuracy at masked tokens, the mean cosine to the teacher, and the
// root of the mean squared errors of cosines, among texts and of joined pairs. What was not measured is absent.
func (e *evaluator) measure(ctx context.Context, params []loop.NamedTensor, progress func(done, total int)) (loop.Metrics, error) {
	var sums [10]float64
	for i, b := range e.batches {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		err := graphx.Try("evaluate", func() {
			var args []any
			for _, p := range params {
				args = append(args, p.Value)
			}
			inputs := b.Args(dtypes.Float32)
			for _, t := range inputs {
				args = append(args, t)
			}
			for j, out := range e.exec.MustCall(args...) {
				sums[j] += float64(tensors.ToScalar[float32](out))
				out.MustFinalizeAll()
			}
			for _, t := range inputs {
				t.MustFinalizeAll()
			}
		})
		if err != nil {
			return nil, err
		}
		progress(i+1, len(e.batches))
	}
	m := loop.Metrics{}
	set := func(name string, count float64, value func() float64) {
		if count > 0 {
			m[name] = value()
		}
	}
	set("perplexity", sums[2], func() float64 { return math.Exp(sums[0] / sums[2]) })
	set("masked_accuracy", sums[2], func() float64 { return sums[1] / sums[2] })
	set("sentence_cosine", sums[4], func() float64 { return 1 - sums[3]/sums[4] })
	if e.objective.Pooler > 0 {
		set("pooler_cosine", sums[4], func() float64 { return 1 - sums[9]/sums[4] })
	}
	set("similarity_rmse", sums[6], func() float64 { return math.Sqrt(sums[5] / sums[6]) })
	set("pair_rmse", sums[8], func() float64 { return math.Sqrt(sums[7] / sums[8]) })
	return m, nil
}

func (e *evaluator) close() { e.exec.Finalize() }

// score is the loss that the metrics amount to, turned so that more is better.
func (c *Config) score(m loop.Metrics) float64 {
	loss, any := 0.0, false
	for _, term := range []struct {
		name   string
		weight float64
		loss   func(v float64) float64
	}{
		{"perplexity", c.MaskedLM, math.Log},
		{"sentence_cosine", c.Sentence, func(v float64) float64 { return 1 - v }},
		{"pooler_cosine", c.Pooler, func(v float64) float64 { return 1 - v }},
		{"similarity_rmse", c.Similarity, func(v float64) float64 { return v * v }},
		{"pair_rmse", c.Pair, func(v float64) float64 { return v * v }},
	} {
		if v, ok := m[term.name]; ok {
			loss, any = loss+term.weight*term.loss(v), true
		}
	}
	if !any {
		return math.NaN()
	}
	return -loss
}
