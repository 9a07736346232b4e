package model

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/ml/layers/activation"
)

// Inputs are a batch of texts, Padded or Packed. Ids and types must be the model's: a graph cannot check them, but
// Config.Check can.
type Inputs interface {
	tokens() (ids, types *Node)             // [batch, seq]
	positions() *Node                       // [batch, seq], or [1, seq]: the same in every row
	allTokens(dtype dtypes.DType) queries   // of the whole batch
	firstTokens(dtype dtypes.DType) queries // of the examples, a group each
}

// Padded inputs have a row for each example, short ones filled up. All are [batch, seq], int32.
type Padded struct {
	IDs, Types *Node
	Mask       *Node // 1 on real tokens, 0 on padding
}

// Packed inputs have several texts in a row, so that little of it is padding. All but First are [batch, seq], int32.
type Packed struct {
	IDs, Types *Node
	Segments   *Node // which text of its row a token belongs to, from 1; 0 on padding. Tokens attend within their text
	Positions  *Node // a token's place in its text, from 0
	First      *Node // [examples], int32: where the examples begin, counted through all rows. Only First and Logits use it
}

// Weights gives the graph's node of a tensor by its Hugging Face name; kernels are [in, out].
type Weights func(name string) *Node

// BERT builds the encoder's graph. There is one forward pass: training, evaluation and the gradients that adapters
// start from all call it.
type BERT struct {
	*Config
	Weights Weights
	Hook    WeightHook
	Dropout *Dropout // nil outside training

	// GradientCheckpointing keeps for the backward pass only what each layer passes on to the next, and computes the
	// inside of a layer again when its gradients are due: a third more work for a fraction of the memory (Chen et al.
	// 2016, arXiv:1604.06174). The numbers are the same up to rounding.
	GradientCheckpointing bool
}

// Logits is the whole model: inputs [batch, seq] -> logits [examples, labels].
func (b *BERT) Logits(in Inputs) *Node {
	pooled := b.Pooled(b.First(in)) // [examples, H]
	pooled = b.Dropout.apply("classifier", b.classifierDropout(), pooled)
	return Add(Dot(pooled, b.Weights(HeadWeight)).Product(), row(b.Weights(HeadBias))) // [examples, labels]
}

// Hidden is the last hidden state, flat: [batch·seq, H].
func (b *BERT) Hidden(in Inputs) *Node {
	return b.layers(in, b.NumHiddenLayers)
}

// First is the part of Hidden at the first token of each example, [examples, H]. The last layer is computed for those
// tokens alone, which saves most of its work: only keys and values are needed of all tokens.
func (b *BERT) First(in Inputs) *Node {
	last := b.NumHiddenLayers - 1
	hidden := b.layers(in, last)
	return b.end(b.layer(last, b.begin(hidden), in.firstTokens(hidden.DType())))
}

// layers is the hidden state after the first n layers: [batch·seq, H].
func (b *BERT) layers(in Inputs, n int) *Node {
	hidden := b.embed(in)
	all := in.allTokens(hidden.DType())
	for i := range n {
		hidden = b.end(b.layer(i, b.begin(hidden), all))
	}
	return hidden
}

// begin marks a layer's input, and end its output, as all that gradient checkpointing keeps of the layer.
func (b *BERT) begin(hidden *Node) *Node {
	if !b.GradientCheckpointing {
		return hidden
	}
	return hidden.Checkpoint()
}

func (b *BERT) end(hidden *Node) *Node {
	if !b.GradientCheckpointing {
		return hidden
	}
	return hidden.StopCheckpoint()
}

// Pooled is tanh(W·h + b) of each example's first token: [batch, H] -> [batch, H].
func (b *BERT) Pooled(first *Node) *Node {
	return Tanh(b.dense(poolerDense, first, b.HiddenSize))
}

// embed sums word, token-type and position rows, then normalises: [batch, seq] -> [batch·seq, H].
func (b *BERT) embed(in Inputs) *Node {
	ids, types := in.tokens()
	batch, seq := ids.Shape().Dim(0), ids.Shape().Dim(1)
	x := Add(
		b.lookup(wordEmbeddings, b.VocabSize, Reshape(ids, -1)),
		b.lookup(typeEmbeddings, b.TypeVocabSize, Reshape(types, -1))) // [batch·seq, H]
	places := b.lookup(positionEmbeddings, b.MaxPositionEmbeddings, Reshape(in.positions(), -1)) // [batch·seq or seq, H]
	x = Add(Reshape(x, batch, seq, b.HiddenSize), Reshape(places, -1, seq, b.HiddenSize))
	x = b.norm(embeddingsNorm, Reshape(x, batch*seq, b.HiddenSize))
	return b.Dropout.apply("embeddings", b.HiddenDropout, x)
}

// layer is one post-norm encoder layer, for some of the tokens: hidden [batch·seq, H] -> [queries, H].
func (b *BERT) layer(i int, hidden *Node, q queries) *Node {
	h := b.HiddenSize
	x := q.take(hidden) // [queries, H]
	attended := b.attention(i, x, hidden, q)
	attended = b.dense(layer(i, "attention.output.dense"), attended, h)
	attended = b.Dropout.apply(layer(i, "attention.output"), b.HiddenDropout, attended)
	x = b.norm(layer(i, "attention.output.LayerNorm"), Add(attended, x))

	inner := b.dense(layer(i, "intermediate.dense"), x, b.IntermediateSize)
	inner = activations[b.HiddenAct](inner)
	out := b.dense(layer(i, "output.dense"), inner, h)
	out = b.Dropout.apply(layer(i, "output"), b.HiddenDropout, out)
	return b.norm(layer(i, "output.LayerNorm"), Add(out, x))
}

// attention is softmax(q·kᵀ/√d + bias)·v over the heads: queries of x [queries, H], keys and values of hidden
// [batch·seq, H] -> [queries, H].
func (b *BERT) attention(i int, x, hidden *Node, at queries) *Node {
	groups, seq := at.bias.Shape().Dim(0), at.bias.Shape().Dim(3)
	batch, heads, size := hidden.Shape().Dim(0)/seq, b.NumAttentionHeads, b.HiddenSize/b.NumAttentionHeads
	project := func(what string, x *Node, rows int) *Node {
		return Reshape(b.dense(layer(i, "attention.self."+what), x, b.HiddenSize), rows, x.Shape().Dim(0)/rows, heads, size)
	}
	q := project("query", x, groups) // [group, query, heads, size]
	k := at.see(project("key", hidden, batch))
	v := at.see(project("value", hidden, batch)) // [group, seq, heads, size]

	scores := Einsum("bqhd,bkhd->bhqk", q, k) // [group, heads, query, key]
	scores = Add(MulScalar(scores, 1/math.Sqrt(float64(size))), at.bias)
	weights := b.Dropout.apply(layer(i, "attention.self"), b.AttentionDropout, Softmax(scores, -1))
	context := Einsum("bhqk,bkhd->bqhd", weights, v) // [group, query, heads, size]
	return Reshape(context, x.Shape().Dim(0), b.HiddenSize)
}

// queries are the tokens a layer is computed for, in groups that each attend to one row.
type queries struct {
	tokens *Node // [queries] their places in the flat hidden states; nil: all of them, a group a row
	rows   *Node // [groups] the row that each group attends to; nil: that of its own number
	bias   *Node // [groups, 1, 1 or query, seq] added to the scores
}

// take is what the layer is computed for: [batch·seq, H] -> [queries, H].
func (q queries) take(hidden *Node) *Node {
	if q.tokens == nil {
		return hidden
	}
	return Gather(hidden, InsertAxes(q.tokens, -1))
}

// see is what the groups attend to: keys or values [batch, seq, heads, size] -> [groups, seq, heads, size].
func (q queries) see(x *Node) *Node {
	if q.rows == nil {
		return x
	}
	return Gather(x, InsertAxes(q.rows, -1))
}

func (in Padded) tokens() (ids, types *Node) { return in.IDs, in.Types }

func (in Padded) positions() *Node {
	return Iota(in.IDs.Graph(), shape(dtypes.Int32, 1, in.IDs.Shape().Dim(1)), 1)
}

func (in Padded) allTokens(dtype dtypes.DType) queries {
	return queries{bias: attentionBias(InsertAxes(in.Mask, 1), dtype)}
}

func (in Padded) firstTokens(dtype dtypes.DType) queries {
	batch, seq := in.IDs.Shape().Dim(0), in.IDs.Shape().Dim(1)
	q := in.allTokens(dtype)
	q.tokens = MulScalar(Iota(in.IDs.Graph(), shape(dtypes.Int32, batch), 0), seq)
	return q
}

func (in Packed) tokens() (ids, types *Node) { return in.IDs, in.Types }

func (in Packed) positions() *Node { return in.Positions }

func (in Packed) allTokens(dtype dtypes.DType) queries {
	same := Equal(InsertAxes(in.Segments, -1), InsertAxes(in.Segments, 1)) // [batch, query, key]
	return queries{bias: attentionBias(same, dtype)}
}

func (in Packed) firstTokens(dtype dtypes.DType) queries {
	if in.First == nil {
		panic(errors.New("model: packed inputs without First; it says where the examples begin"))
	}
	rows := DivScalar(in.First, in.IDs.Shape().Dim(1))                            // [examples]
	own := Gather(Reshape(in.Segments, -1), InsertAxes(in.First, -1))             // [examples]
	same := Equal(InsertAxes(own, -1), Gather(in.Segments, InsertAxes(rows, -1))) // [examples, seq]
	return queries{tokens: in.First, rows: rows, bias: attentionBias(InsertAxes(same, 1), dtype)}
}

// attentionBias is what is added to the scores: 0 on keys that a query may attend to, the most negative finite
// number elsewhere: [batch, 1 or query, seq] -> [batch, 1, 1 or query, seq]. Padding of packed rows is a segment of
// its own, so that no query is left without a key.
func attentionBias(attended *Node, dtype dtypes.DType) *Node {
	lowest := -math.MaxFloat32 // of float32, also in float64: as masked as the model it is compared with
	return InsertAxes(MulScalar(OneMinus(ConvertDType(attended, dtype)), lowest), 1)
}

// dense is x·K + b through the hook: [rows, in] -> [rows, out].
func (b *BERT) dense(name string, x *Node, out int) *Node {
	k := Kernel{Name: name, In: x.Shape().Dim(1), Out: out}
	return Add(b.Hook(k, x, b.Weights(k.Weight())), row(b.Weights(name+".bias")))
}

// lookup is the rows of an embedding table through the hook: ids [rows] -> [rows, H].
func (b *BERT) lookup(name string, size int, ids *Node) *Node {
	k := Kernel{Name: name, In: size, Out: b.HiddenSize, Lookup: true}
	return b.Hook(k, ids, b.Weights(k.Weight()))
}

// norm is layer normalisation over the hidden axis: [rows, H] -> [rows, H].
func (b *BERT) norm(name string, x *Node) *Node {
	centred := Sub(x, ReduceAndKeep(x, ReduceMean, -1))
	variance := ReduceAndKeep(Square(centred), ReduceMean, -1)
	// Sqrt and a reciprocal a row, not Rsqrt: GoMLX has no gradient for it.
	scale := Reciprocal(Sqrt(AddScalar(variance, b.LayerNormEps))) // [rows, 1]
	return Add(Mul(Mul(centred, scale), row(b.Weights(name+".weight"))), row(b.Weights(name+".bias")))
}

// row makes a vector a row to be broadcast over all rows: [n] -> [1, n].
func row(v *Node) *Node { return InsertAxes(v, 0) }

// activations by their names in config.json. The erf and the tanh form of GELU differ by up to 5e-4, so
// none stands in for another.
var activations = map[string]func(x *Node) *Node{
	"gelu":              activation.Gelu,
	"gelu_python":       activation.Gelu,
	"gelu_new":          activation.GeluApproximate,
	"gelu_pytorch_tanh": activation.GeluApproximate,
	"gelu_fast":         activation.GeluApproximate,
	"quick_gelu":        func(x *Node) *Node { return Mul(x, Sigmoid(MulScalar(x, 1.702))) },
	"relu":              activation.Relu,
	"silu":              activation.Swish,
	"swish":             activation.Swish,
	"tanh":              Tanh,
}

func activationNames() []string { return slices.Sorted(maps.Keys(activations)) }

// Check refuses a batch the graph would silently compute wrongly: gathers clamp ids that are out of range.
func (c *Config) Check(ids, types []int32, seq int) error {
	if seq > c.MaxPositionEmbeddings {
		return fmt.Errorf("length %d exceeds max_position_embeddings %d", seq, c.MaxPositionEmbeddings)
	}
	for _, id := range ids {
		if id < 0 || int(id) >= c.VocabSize {
			return fmt.Errorf("token id %d is outside the model's vocabulary of %d: is the tokenizer from another model?", id, c.VocabSize)
		}
	}
	for _, t := range types {
		if t < 0 || int(t) >= c.TypeVocabSize {
			return fmt.Errorf("token type %d is outside the model's %d types", t, c.TypeVocabSize)
		}
	}
	return nil
}
