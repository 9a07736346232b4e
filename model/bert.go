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
	tokens() (ids, types *Node)           // [batch, seq]
	positions() *Node                     // [batch, seq], or [1, seq]: the same in every row
	allTokens(dtype dtypes.DType) queries // of the whole batch
	examples() examples
}

// examples are the texts of a batch.
type examples struct {
	first *Node // [examples] their first tokens, as places in the flat hidden states
	rows  *Node // [examples] the rows that they lie in; nil: each in that of its own number
	own   *Node // [examples, seq] which tokens of its row are an example's own
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

// Pooling says what of a text's last hidden states the classifier reads: "head", "cls", "mean" or "max".
type Pooling string

// PoolHead is the first token's state, through the pooler: what Transformers' class reads. So is "".
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
	pooled := b.pool(in) // [examples, H]
	pooled = b.Dropout.apply("classifier", b.classifierDropout(), pooled)
	return Add(Dot(pooled, b.Weights(HeadWeight)).Product(), row(b.Weights(HeadBias))) // [examples, labels]
}

// pool is what the classifier reads of each example: [examples, H].
func (b *BERT) pool(in Inputs) *Node {
	switch b.Pooling {
	case poolCLS:
		return b.First(in)
	case poolMean, poolMax: // of all tokens, so that the last layer is computed for all
		return in.examples().pool(b.Pooling, b.Hidden(in))
	default:
		return b.Pooled(b.First(in))
	}
}

// pool takes the mean or the largest over each example's own tokens: hidden [batch·seq, H] -> [examples, H].
func (e examples) pool(p Pooling, hidden *Node) *Node {
	x := Reshape(hidden, -1, e.own.Shape().Dim(1), hidden.Shape().Dim(1)) // [batch, seq, H]
	if e.rows != nil {
		x = Gather(x, InsertAxes(e.rows, -1)) // [examples, seq, H]: rows once for each text in them
	}
	own := ConvertDType(e.own, hidden.DType()) // [examples, seq]
	if p == poolMax {
		return ReduceMax(Add(x, InsertAxes(MulScalar(OneMinus(own), lowest), -1)), 1)
	}
	return Div(Einsum("es,esh->eh", own, x), ReduceAndKeep(own, ReduceSum, 1)) // no text is without a token
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
	return b.end(b.layer(last, b.begin(hidden), in.examples().firstTokens(hidden.DType())))
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

func (in Padded) examples() examples {
	batch, seq := in.IDs.Shape().Dim(0), in.IDs.Shape().Dim(1)
	return examples{first: MulScalar(Iota(in.IDs.Graph(), shape(dtypes.Int32, batch), 0), seq), own: in.Mask}
}

func (in Packed) tokens() (ids, types *Node) { return in.IDs, in.Types }

func (in Packed) positions() *Node { return in.Positions }

func (in Packed) allTokens(dtype dtypes.DType) queries {
	same := Equal(InsertAxes(in.Segments, -1), InsertAxes(in.Segments, 1)) // [batch, query, key]
	return queries{bias: attentionBias(same, dtype)}
}

func (in Packed) examples() examples {
	if in.First == nil {
		panic(errors.New("model: packed inputs without First; it says where the examples begin"))
	}
	rows := DivScalar(in.First, in.IDs.Shape().Dim(1))                          // [examples]
	own := Gather(Reshape(in.Segments, -1), InsertAxes(in.First, -1))           // [examples], their segments
	own = Equal(InsertAxes(own, -1), Gather(in.Segments, InsertAxes(rows, -1))) // [examples, seq]
	return examples{first: in.First, rows: rows, own: own}
}

// firstTokens are the examples' first tokens, a group each, that attends to the example's own tokens.
func (e examples) firstTokens(dtype dtypes.DType) queries {
	return queries{tokens: e.first, rows: e.rows, bias: attentionBias(InsertAxes(e.own, 1), dtype)}
}

// attentionBias is what is added to the scores: 0 on keys that a query may attend to, the most negative finite
// number elsewhere: [batch, 1 or query, seq] -> [batch, 1, 1 or query, seq]. Padding of packed rows is a segment of
// its own, so that no query is left without a key.
func attentionBias(attended *Node, dtype dtypes.DType) *Node {
	return InsertAxes(MulScalar(OneMinus(ConvertDType(attended, dtype)), lowest), 1)
}

// lowest is the most negative number of float32, also in float64: as masked as the model that it is compared with.
const lowest = -math.MaxFloat32

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
