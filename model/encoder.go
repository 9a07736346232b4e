package model

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/internal/parts"
)

// Pooling says what of a text's last hidden states the classifier reads: "head", "cls", "mean" or "max".
type Pooling string

// PoolHead is what Transformers' class reads: of most families the first token's state, through the pooler. So is "".
const PoolHead Pooling = "head"

const (
	poolCLS  Pooling = "cls"  // the first token's, as it is
	poolMean Pooling = "mean" // the mean over the text's tokens, special ones included: what most sentence encoders are trained with
	poolMax  Pooling = "max"  // the largest of each column
)

// HasPooler reports whether the model's pooler is part of it.
func (p Pooling) HasPooler() bool { return p == PoolHead || p == "" }

// Weights gives the graph's node of a tensor by its Hugging Face name; kernels are [in, out].
type Weights func(name string) *Node

// Encoder builds a model's graph. There is one forward pass: training, evaluation and the gradients that adapters
// start from all call it. What is each family's own lies in its file, BERT's in bert.go.
type Encoder struct {
	*Config
	Weights Weights
	Hook    WeightHook
	Dropout *Dropout // nil outside training

	Precision Precision // of products that no hook sees; that of the kernels is the hook's

	// Longest is how long a text may be where a graph is made for texts of all lengths: tables of positions have as many
	// rows. 0: they are made for the length of the inputs.
	Longest int

	// GradientCheckpointing keeps for the backward pass only what each layer passes on to the next, and computes the
	// inside of a layer again when its gradients are due: a third more work for a fraction of the memory (Chen et al.
	// 2016, arXiv:1604.06174). The numbers are the same up to rounding.
	GradientCheckpointing bool
}

// Logits is the whole model: inputs [batch, seq] -> logits [examples, labels].
func (e *Encoder) Logits(in Inputs) *Node {
	pooled := e.Features(in) // [examples, H]
	pooled = e.Dropout.apply("classifier", e.classifierDropout(), pooled, leadExamples)
	return e.linear(e.output(), pooled) // [examples, labels]
}

// Features are what the layer of outputs reads of each example: [examples, H].
func (e *Encoder) Features(in Inputs) *Node {
	if e.Pooling.HasPooler() {
		return e.Pooled(e.state(in, e.family().pooling()))
	}
	return e.state(in, e.Pooling)
}

// state pools each example's last hidden states: [examples, H].
func (e *Encoder) state(in Inputs, p Pooling) *Node {
	if p == poolCLS {
		return e.First(in)
	}
	return in.examples().pool(p, e.Hidden(in)) // of all tokens, so that the last layer is computed for all
}

// Hidden is the last hidden state, flat: [batch·seq, H].
func (e *Encoder) Hidden(in Inputs) *Node {
	return e.family().finish(e, e.layers(in, e.NumHiddenLayers))
}

// First is the part of Hidden at the first token of each example, [examples, H]. The last layer is computed for those
// tokens alone, which saves most of its work: only keys and values are needed of all tokens.
func (e *Encoder) First(in Inputs) *Node {
	f, last := e.family(), e.NumHiddenLayers-1
	hidden := e.layers(in, last)
	first := f.relate(e, in.examples().firstTokens(hidden.DType()))
	return f.finish(e, e.end(f.layer(e, last, e.begin(hidden), first)))
}

// Pooled is the pooler: the states of each example's first token, [examples, H] -> [examples, H].
func (e *Encoder) Pooled(state *Node) *Node { return e.family().pool(e, state) }

// layers is the hidden state after the first n layers: [batch·seq, H].
func (e *Encoder) layers(in Inputs, n int) *Node {
	f := e.family()
	hidden := f.embed(e, in)
	if n == 0 {
		return hidden
	}
	all := f.relate(e, in.allTokens(hidden.DType()))
	for i := range n {
		hidden = e.end(f.layer(e, i, e.begin(hidden), all))
	}
	return hidden
}

// places is how many positions tables are made for, of rows with length tokens.
func (e *Encoder) places(length int) int { return max(length, e.Longest) }

// begin marks a layer's input, and end its output, as all that gradient checkpointing keeps of the layer.
func (e *Encoder) begin(hidden *Node) *Node {
	if !e.GradientCheckpointing {
		return hidden
	}
	return hidden.Checkpoint()
}

func (e *Encoder) end(hidden *Node) *Node {
	if !e.GradientCheckpointing {
		return hidden
	}
	return hidden.StopCheckpoint()
}

// embeddings are the tables of words, positions where they are placed and, where the model has any, token types, with the
// norm behind them: width wide.
func (c *Config) embeddings(width int, placed bool) []module {
	list := []module{{name: c.base(wordEmbeddings), kind: table, in: c.VocabSize, out: width, part: parts.Table}}
	if placed {
		list = append(list, module{name: c.base(positionEmbeddings), kind: table, in: c.MaxPositionEmbeddings, out: width, part: parts.Table})
	}
	if c.TypeVocabSize > 0 {
		list = append(list, module{name: c.base(typeEmbeddings), kind: table, in: c.TypeVocabSize, out: width, part: parts.Table})
	}
	return append(list, module{name: c.base(embeddingsNorm), kind: norm, out: width})
}

// embeddings sums word, token-type and position rows, then normalises: [batch, seq] -> [batch·seq, width]. A text's first
// position is row first of its table.
func (e *Encoder) embeddings(in Inputs, width, first int) *Node {
	x := e.words(in, width)
	places := in.positions()
	if first > 0 {
		places = AddScalar(places, first)
	}
	x = e.norm(e.base(embeddingsNorm), e.placed(x, places))
	return e.Dropout.apply("embeddings", e.HiddenDropout, x, leadRows)
}

// words sums word and, where there are any, token-type rows: [batch, seq] -> [batch·seq, width].
func (e *Encoder) words(in Inputs, width int) *Node {
	ids, types := in.tokens()
	x := e.lookup(e.base(wordEmbeddings), e.VocabSize, width, Reshape(ids, -1))
	if e.TypeVocabSize == 0 {
		return x
	}
	if !e.typed() {
		types = ZerosLike(types)
	}
	return Add(x, e.lookup(e.base(typeEmbeddings), e.TypeVocabSize, width, Reshape(types, -1)))
}

// layerNames are the modules of a layer that normalises after its sums, as BERT's does.
type layerNames struct {
	at                               string // the layer's place, for the names of its masks: "bert.encoder.layer.0."
	query, key, value                string
	attentionOutput, attentionNorm   string
	intermediate, output, outputNorm string

	keepAttention, keepOutput bool // no dropout behind attentionOutput, or behind output
}

// modules lists them: H wide, the feed-forward part inner wide.
func (l layerNames) modules(h, inner int) []module {
	return []module{
		{name: l.query, in: h, out: h, part: parts.Query},
		{name: l.key, in: h, out: h, part: parts.Key},
		{name: l.value, in: h, out: h, part: parts.Value},
		{name: l.attentionOutput, in: h, out: h, part: parts.AttentionOutput},
		{name: l.intermediate, in: h, out: inner, part: parts.FeedForward},
		{name: l.output, in: inner, out: h, part: parts.FeedForward},
		{name: l.attentionNorm, kind: norm, out: h},
		{name: l.outputNorm, kind: norm, out: h},
	}
}

// layers are the modules of all layers, by the names of each.
func (c *Config) layers(names func(c *Config, i int) layerNames) (list []module) {
	for i := range c.NumHiddenLayers {
		list = append(list, names(c, i).modules(c.HiddenSize, c.IntermediateSize)...)
	}
	return list
}

// postNorm is a layer that normalises after its sums, for some of the tokens: hidden [batch·seq, H] -> [queries, H].
// attend is its attention.
func (e *Encoder) postNorm(l layerNames, hidden *Node, at queries, attend func(l layerNames, x, hidden *Node, at queries) *Node) *Node {
	x := at.take(hidden) // [queries, H]
	attended := e.dense(l.attentionOutput, attend(l, x, hidden, at), e.HiddenSize)
	if !l.keepAttention {
		attended = e.Dropout.apply(l.at+"attention.output", e.HiddenDropout, attended, at.lead())
	}
	x = e.norm(l.attentionNorm, Add(attended, x))

	inner := activations[e.HiddenAct](e.Precision.kept(e.dense(l.intermediate, x, e.IntermediateSize)))
	out := e.dense(l.output, inner, e.HiddenSize)
	if !l.keepOutput {
		out = e.Dropout.apply(l.at+"output", e.HiddenDropout, out, at.lead())
	}
	return e.norm(l.outputNorm, Add(out, x))
}

// attention is softmax(q·kᵀ/√d + bias)·v over the heads: queries of x [queries, H], keys and values of hidden
// [batch·seq, H] -> [queries, H].
func (e *Encoder) attention(l layerNames, x, hidden *Node, at queries) *Node {
	return e.attend(l, x, hidden, at, e.scaled)
}

// scaled is q·kᵀ/√d.
func (e *Encoder) scaled(q, k *Node) *Node {
	return MulScalar(e.scores(q, k), 1/math.Sqrt(float64(e.headSize())))
}

// attend is attention with scores of another kind: of q [group, query, heads, size] and k [group, seq, heads, size],
// [group, heads, query, key].
func (e *Encoder) attend(l layerNames, x, hidden *Node, at queries, score func(q, k *Node) *Node) *Node {
	q := e.heads(e.dense(l.query, x, e.HiddenSize), at.groups())
	k := at.see(e.heads(e.dense(l.key, hidden, e.HiddenSize), at.batch(hidden)))
	v := at.see(e.heads(e.dense(l.value, hidden, e.HiddenSize), at.batch(hidden)))
	return e.mix(l.at+"attention.self", Add(score(q, k), at.bias), v, at)
}

func (c *Config) headSize() int { return c.HiddenSize / c.NumAttentionHeads }

// heads splits states into heads: [rows·n, H] -> [rows, n, heads, size].
func (e *Encoder) heads(x *Node, rows int) *Node {
	return Reshape(x, rows, x.Shape().Dim(0)/rows, e.NumAttentionHeads, e.headSize())
}

// scores is q·kᵀ: [group, query, heads, size], [group, seq, heads, size] -> [group, heads, query, key].
func (e *Encoder) scores(q, k *Node) *Node {
	return e.Precision.ofStates(equation{"bqhd", "bkhd", "bhqk"}, e.Precision.kept(q), e.Precision.kept(k))
}

// mix is softmax(scores)·v: [group, heads, query, key], [group, seq, heads, size] -> [queries, H].
func (e *Encoder) mix(name string, scores, v *Node, at queries) *Node {
	weights := e.Dropout.apply(name, e.AttentionDropout, e.Precision.softmax(scores), at.lead())
	context := e.Precision.ofStates(equation{"bhqk", "bkhd", "bqhd"}, weights, e.Precision.kept(v)) // [group, query, heads, size]
	return Reshape(context, context.Shape().Dim(0)*context.Shape().Dim(1), e.HiddenSize)
}

// dense is x·K + b through the hook: [rows, in] -> [rows, out].
func (e *Encoder) dense(name string, x *Node, out int) *Node {
	return Add(e.product(name, x, out), row(e.Weights(name+".bias")))
}

// product is dense without a bias.
func (e *Encoder) product(name string, x *Node, out int) *Node {
	k := Kernel{Name: name, In: x.Shape().Dim(1), Out: out}
	return e.Hook(k, x, e.Weights(k.Weight()))
}

// linear is x·K + b for a layer of the head, which no adapter changes: [rows, in] -> [rows, out].
func (e *Encoder) linear(m module, x *Node) *Node {
	y := Dot(x, e.Weights(m.name+".weight")).Product()
	if m.bare {
		return y
	}
	return Add(y, row(e.Weights(m.name+".bias")))
}

// lookup is the rows of an embedding table through the hook: ids [rows] -> [rows, width].
func (e *Encoder) lookup(name string, size, width int, ids *Node) *Node {
	k := Kernel{Name: name, In: size, Out: width, Lookup: true}
	return e.Hook(k, ids, e.Weights(k.Weight()))
}

// placed adds to states the rows of their places [batch or 1, seq]: [batch·seq, width] -> [batch·seq, width].
func (e *Encoder) placed(x, places *Node) *Node {
	seq, width := places.Shape().Dim(1), x.Shape().Dim(1)
	rows := e.lookup(e.base(positionEmbeddings), e.MaxPositionEmbeddings, width, Reshape(places, -1)) // [batch·seq or seq, width]
	return Reshape(Add(Reshape(x, -1, seq, width), Reshape(rows, -1, seq, width)), -1, width)
}

// norm is layer normalisation over the last axis: [rows, H] -> [rows, H].
func (e *Encoder) norm(name string, x *Node) *Node {
	return Add(e.scaleNorm(name, x), row(e.Weights(name+".bias")))
}

// scaleNorm is norm without a bias.
func (e *Encoder) scaleNorm(name string, x *Node) *Node {
	centred := Sub(x, ReduceAndKeep(x, ReduceMean, -1))
	variance := ReduceAndKeep(Square(centred), ReduceMean, -1)
	// Sqrt and a reciprocal a row, not Rsqrt: GoMLX has no gradient for it.
	scale := Reciprocal(Sqrt(AddScalar(variance, e.LayerNormEps))) // [rows, 1]
	return Mul(Mul(centred, scale), row(e.Weights(name+".weight")))
}

// row makes a vector a row to be broadcast over all rows: [n] -> [1, n].
func row(v *Node) *Node { return InsertAxes(v, 0) }

// lowest is the most negative number of float32, also in float64: as masked as the model that it is compared with.
const lowest = -math.MaxFloat32

// attentionBias is what is added to the scores: 0 on keys that a query may attend to, the most negative finite
// number elsewhere: [batch, 1 or query, seq] -> [batch, 1, 1 or query, seq]. Padding of packed rows is a segment of
// its own, so that no query is left without a key.
func attentionBias(attended *Node, dtype dtypes.DType) *Node {
	return InsertAxes(MulScalar(OneMinus(ConvertDType(attended, dtype)), lowest), 1)
}
