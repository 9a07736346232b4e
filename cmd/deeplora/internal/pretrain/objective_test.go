package pretrain

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/model"
)

// everything is a batch that has masked tokens, several single texts and several pairs.
func everything(t *testing.T, r *run) *arrays {
	t.Helper()
	for i := range 50 {
		a := r.filler.fill(r.plan.at(i), rng.New(1, "mask").At(uint64(i)))
		if total32(a.maskedWeight) >= 3 && total32(a.singleWeight) >= 3 && total32(a.pairWeight) >= 2 {
			return a
		}
	}
	t.Fatal("no batch has everything")
	return nil
}

func total32(weights []float32) (sum float64) {
	for _, w := range weights {
		sum += float64(w)
	}
	return sum
}

// drawn are the parameters of a run as training begins, the heads that begin at 0 drawn: at 0 they show little.
func drawn(t *testing.T, r *run) (names []string, values [][]float32, args []any) {
	t.Helper()
	for _, p := range r.start.params(true) {
		x, err := p.Draw()
		if err != nil {
			t.Fatal(err)
		}
		flat := tensors.MustCopyFlatData[float32](x)
		if strings.HasPrefix(p.Name, similarityHead) {
			s := rng.New(8, p.Name)
			for i := range flat {
				flat[i] = float32(s.Normal())
			}
		}
		names, values = append(names, p.Name), append(values, flat)
		args = append(args, tensors.FromFlatDataAndDimensions(slices.Clone(flat), p.Shape...))
	}
	return names, values, args
}

// termCount is the number of results of evaluator.graph.
const termCount = 10

// measured are what a graph gives of one batch: each term, the loss, its gradients and what the terms are made from.
type measured struct {
	terms     []float64 // as evaluator.graph
	loss      float64
	gradients [][]float64
	hidden    []float64 // [rows·length, H]
	logits    []float64 // [rows·length, V] of every position
}

// measure computes a batch without dropout.
func measure(t *testing.T, b compute.Backend, r *run, a *arrays, names []string, args []any) *measured {
	t.Helper()
	exec, err := NewExec(b, func(in []*Node) []*Node {
		byName := map[string]*Node{}
		for i, name := range names {
			byName[name] = in[i]
		}
		weights := func(name string) *Node { return byName[name] }
		o, batch := r.evaluator.objective, in[len(names):len(names)+a.inputs()]
		key, total := in[len(in)-2], in[len(in)-1]
		loss := o.loss(weights, batch, key, total)
		bert := &model.Encoder{Config: o.model, Weights: weights, Hook: model.Frozen}
		hidden := bert.Hidden(model.Packed{IDs: batch[0], Types: batch[1], Segments: batch[2], Positions: batch[3]})
		out := append(r.evaluator.graph(in[:len(in)-2]), loss, hidden, bert.TokenLogits(hidden))
		return append(out, Gradient(loss, in[:len(names)]...)...)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	for _, x := range a.Args(dtypes.Float32) {
		args = append(args, x)
	}
	out := exec.MustCall(append(args, []uint32{1, 2}, float32(2))...)
	wide := func(x *tensors.Tensor) (values []float64) {
		for _, v := range tensors.MustCopyFlatData[float32](x) {
			values = append(values, float64(v))
		}
		return values
	}
	m := &measured{loss: wide(out[termCount])[0], hidden: wide(out[termCount+1]), logits: wide(out[termCount+2])}
	for _, x := range out[:termCount] {
		m.terms = append(m.terms, wide(x)[0])
	}
	for _, x := range out[termCount+3:] {
		m.gradients = append(m.gradients, wide(x))
	}
	return m
}

// slow is the terms of the loss by their formulas, in float64 from the encoder's states.
type slow struct {
	*arrays
	*measured
	hiddenSize, vocabulary int
	param                  func(name string) []float32
}

func (s *slow) maskedTokens() (loss, right float64) {
	for i, weight := range s.maskedWeight {
		if weight == 0 {
			continue
		}
		row := s.logits[int(s.maskedAt[i])*s.vocabulary:][:s.vocabulary]
		sum, best := 0.0, 0
		for j, x := range row {
			sum += math.Exp(x)
			if x > row[best] {
				best = j
			}
		}
		loss += math.Log(sum) - row[s.maskedWas[i]]
		if best == int(s.maskedWas[i]) {
			right++
		}
	}
	return loss, right
}

// embedding is the mean state of a segment, scaled to length 1.
func (s *slow) embedding(slot int) []float64 {
	row, number := slot/s.perRow, int32(slot%s.perRow+1)
	mean := make([]float64, s.hiddenSize)
	for i := range s.length {
		if at := row*s.length + i; s.Segments[at] == number {
			for k := range mean {
				mean[k] += s.hidden[at*s.hiddenSize+k]
			}
		}
	}
	return scaled(mean)
}

func scaled(x []float64) []float64 {
	length := math.Sqrt(inner(x, x))
	out := make([]float64, len(x))
	for i := range x {
		out[i] = x[i] / length
	}
	return out
}

func inner(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

func (s *slow) teacher(slot int) (e []float64) {
	for _, v := range s.arrays.embedding[slot*s.width : (slot+1)*s.width] {
		e = append(e, float64(v))
	}
	return e
}

// pooled is tanh(W·h + b) of a segment's first state h.
func (s *slow) pooled(slot int) []float64 {
	kernel, bias := s.param("bert.pooler.dense.weight"), s.param("bert.pooler.dense.bias")
	first := s.hidden[int(s.first[slot])*s.hiddenSize:][:s.hiddenSize]
	out := make([]float64, s.hiddenSize)
	for j := range out {
		x := float64(bias[j])
		for k := range first {
			x += first[k] * float64(kernel[k*s.hiddenSize+j])
		}
		out[j] = math.Tanh(x)
	}
	return out
}

// missed is 1 − the cosine of a row, projected, to the teacher's embedding of a slot.
func (s *slow) missed(row []float64, head string, slot int) float64 {
	p, z := s.param(head), make([]float64, s.width)
	for j := range z {
		for k := range row {
			z[j] += row[k] * float64(p[k*s.width+j])
		}
	}
	return 1 - inner(scaled(z), s.teacher(slot))
}

func (s *slow) sentences() (sentence, pooler, similarity, couples float64) {
	for i, weight := range s.singleWeight {
		if weight == 0 {
			continue
		}
		u := s.embedding(i)
		sentence += s.missed(u, projection, i)
		pooler += s.missed(s.pooled(i), poolerHead, i)
		for j, other := range s.singleWeight {
			if other == 0 || j == i {
				continue
			}
			off := inner(u, s.embedding(j)) - inner(s.teacher(i), s.teacher(j))
			similarity, couples = similarity+off*off, couples+1
		}
	}
	return sentence, pooler, similarity, couples
}

func (s *slow) pairs() (loss float64) {
	head, offset := s.param(similarityHead), s.param(similarityBias)
	for slot, weight := range s.pairWeight {
		if weight == 0 {
			continue
		}
		score := float64(offset[0])
		for j, x := range s.pooled(slot) {
			score += x * float64(head[j])
		}
		off := score - float64(s.pairCosine[slot])
		loss += off * off
	}
	return loss
}

// The terms of the loss are their formulas, the loss their weighted means, and it moves every parameter.
func TestLossIsItsFormula(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		c := taught()
		c.Dropout, c.MaskedLM, c.Sentence, c.Similarity, c.Pooler, c.Pair = 0, 0.7, 1.3, 2, 0.9, 0.4
		c.RandomPairs, c.Batch = 0.5, 4
		r := prepared(t, b, c)
		a := everything(t, r)
		names, values, args := drawn(t, r)
		m := measure(t, b, r, a, names, args)
		s := &slow{a, m, r.model.HiddenSize, r.model.VocabSize, func(name string) []float32 { return values[slices.Index(names, name)] }}
		maskedLoss, right := s.maskedTokens()
		sentence, pooler, similarity, couples := s.sentences()
		singles, masked, pairs, pair := total32(a.singleWeight), total32(a.maskedWeight), total32(a.pairWeight), s.pairs()
		want := []float64{maskedLoss, right, masked, sentence, singles, similarity, couples, pair, pairs, pooler}
		for i, name := range []string{"masked loss", "masked right", "masked", "sentence", "singles", "similarity", "couples", "pair", "pairs", "pooler"} {
			if !(math.Abs(m.terms[i]-want[i]) <= 1e-5*(1+math.Abs(want[i]))) {
				t.Errorf("%s: %g, want %g", name, m.terms[i], want[i])
			}
		}
		loss := (0.7*maskedLoss/masked + 1.3*sentence/singles + 2*similarity/couples + 0.9*pooler/singles + 0.4*pair/pairs) / 2 // over 2 batches
		if !(math.Abs(m.loss-loss) <= 1e-5*(1+loss)) {
			t.Errorf("loss %g, want %g", m.loss, loss)
		}
		for i, name := range names {
			norm := math.Sqrt(inner(m.gradients[i], m.gradients[i]))
			// The same number on all scores of a query changes no softmax: its gradient is 0 but for rounding.
			if !(norm > 1e-7) && !strings.HasSuffix(name, "self.key.bias") || norm-norm != 0 {
				t.Errorf("gradient of %s has norm %g", name, norm)
			}
		}
	})
}

// A batch that lacks what a term measures loses nothing else: no division by zero.
func TestLossOfABatchWithoutSomeTerms(t *testing.T) {
	b := testbackend.All(t)[0]
	c := taught()
	c.Dropout = 0
	r := prepared(t, b, c)
	names, _, args := drawn(t, r)
	empty := r.filler.arrays(nil, r.filler.pad)
	if m := measure(t, b, r, empty, names, args); m.loss != 0 || slices.ContainsFunc(m.terms, func(v float64) bool { return v != 0 }) {
		t.Errorf("a batch of padding has loss %g, terms %v", m.loss, m.terms)
	}
}

// What is measured is the metrics, and the score is minus the loss that they amount to.
func TestEvaluationIsItsFormula(t *testing.T) {
	b := testbackend.All(t)[0]
	c := taught()
	c.Validation, c.RandomPairs = 0.5, 1
	r := prepared(t, b, c)
	m, err := r.Evaluate(t.Context(), r.loop.Parameters(), func(int, int) {})
	if err != nil {
		t.Fatal(err)
	}
	names, _, _ := drawn(t, r)
	var sums [termCount]float64
	for _, a := range r.evaluator.batches {
		var args []any
		for _, p := range r.loop.Parameters() {
			clone, err := p.Value.LocalClone()
			if err != nil {
				t.Fatal(err)
			}
			args = append(args, clone)
		}
		for i, v := range measure(t, b, r, a, names, args).terms {
			sums[i] += v
		}
	}
	want := map[string]float64{
		"perplexity": math.Exp(sums[0] / sums[2]), "masked_accuracy": sums[1] / sums[2], "sentence_cosine": 1 - sums[3]/sums[4],
		"pooler_cosine": 1 - sums[9]/sums[4], "similarity_rmse": math.Sqrt(sums[5] / sums[6]), "pair_rmse": math.Sqrt(sums[7] / sums[8]),
	}
	for name, v := range want {
		if !(math.Abs(m[name]-v) <= 1e-5*math.Abs(v)) {
			t.Errorf("%s: %g, want %g", name, m[name], v)
		}
	}
	if len(m) != len(want) {
		t.Errorf("metrics %v", m)
	}
	loss := sums[0]/sums[2] + sums[3]/sums[4] + sums[5]/sums[6] + sums[7]/sums[8] + sums[9]/sums[4]
	if got := r.Score(m); !(math.Abs(got+loss) <= 1e-5*loss) {
		t.Errorf("score %g, want %g", got, -loss)
	}
	if got := r.Score(nil); !math.IsNaN(got) {
		t.Errorf("score of nothing: %g", got)
	}
}
