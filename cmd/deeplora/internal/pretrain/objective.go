package pretrain

import (
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/deeplora/deeplora/model"
)

// Names of the parameters that only pretraining has: they are dropped from the model that is saved.
const (
	projection     = "pretrain.projection"      // [H, E] from the student's embedding to the teacher's
	poolerHead     = "pretrain.pooler"          // [H, E] from the pooler to the teacher's embedding
	similarityHead = "pretrain.similarity"      // [H, 1] from the pooler to a cosine
	similarityBias = "pretrain.similarity.bias" // [1]
)

// terms are the parts of the loss, each a sum over what it measures and how much that was.
type terms struct {
	maskedLoss, maskedRight, masked *Node // Σ −log p(token), Σ 1[token is first], tokens
	sentence, singles               *Node // Σ 1−cos, texts
	similarity, couples             *Node // Σ (cos−cos)², ordered pairs of texts of the batch
	pooler                          *Node // Σ 1−cos, over the same texts as sentence
	pair, pairs                     *Node // Σ (ŷ−cos)², joined pairs
}

// objective builds the graph of one batch.
type objective struct {
	*Config
	shape
	model *model.Config
}

// loss is the weighted sum of the means of the terms, over total batches.
func (o *objective) loss(weights func(name string) *Node, batch []*Node, key, total *Node) *Node {
	t := o.terms(weights, batch, &model.Dropout{Key: key})
	loss := ScalarZero(key.Graph(), dtypes.Float32)
	add := func(weight float64, sum, count *Node) {
		if sum != nil && weight > 0 {
			loss = Add(loss, MulScalar(Div(sum, MaxScalar(count, 1)), weight))
		}
	}
	add(o.MaskedLM, t.maskedLoss, t.masked)
	add(o.Sentence, t.sentence, t.singles)
	add(o.Similarity, t.similarity, t.couples)
	add(o.Pooler, t.pooler, t.singles)
	add(o.Pair, t.pair, t.pairs)
	return Div(loss, total)
}

// terms is the whole forward pass: the batch's arguments in the order of arrays.args. dropout may be nil.
func (o *objective) terms(weights model.Weights, in []*Node, dropout *model.Dropout) terms {
	p := model.Precision(o.Precision)
	bert := &model.Encoder{Config: o.model, Weights: weights, Hook: p.Hook, Precision: p, Dropout: dropout}
	hidden := bert.Hidden(model.Packed{IDs: in[0], Types: in[1], Segments: in[2], Positions: in[3]}) // [rows·length, H]
	var t terms
	next := in[4:]
	if o.masked > 0 {
		t.maskedTokens(bert, hidden, next[0], next[1], next[2])
		next = next[3:]
	}
	if o.width > 0 {
		first, singles, embedding, pairs, cosines := next[0], next[1], next[2], next[3], next[4]
		project := func(rows *Node, to string) *Node { return unit(p.Product(rows, weights(to))) }
		u := o.pooled(hidden, in[2])
		t.sentence, t.singles = missed(project(u, projection), singles, embedding), ReduceAllSum(singles)
		t.similarities(u, singles, embedding)
		pooled := bert.Pooled(Gather(hidden, InsertAxes(first, -1))) // [rows·perRow, H]
		if o.Pooler > 0 {
			t.pooler = missed(project(pooled, poolerHead), singles, embedding)
		}
		if o.pairs() {
			score := Add(p.Product(pooled, weights(similarityHead)), InsertAxes(weights(similarityBias), 0))
			t.pair, t.pairs = ReduceAllSum(Mul(Square(Sub(Squeeze(score, -1), cosines)), pairs)), ReduceAllSum(pairs)
		}
	}
	return t
}

// maskedTokens is the masked-language-model loss: positions and tokens [masked].
func (t *terms) maskedTokens(bert *model.Encoder, hidden, at, was, weight *Node) {
	logits := bert.TokenLogits(Gather(hidden, InsertAxes(at, -1))) // [masked, V]
	chosen := OneHot(was, logits.Shape().Dim(1), logits.DType())
	losses := Neg(ReduceSum(Mul(chosen, LogSoftmax(logits, -1)), -1)) // [masked]
	t.maskedLoss, t.masked = ReduceAllSum(Mul(losses, weight)), ReduceAllSum(weight)
	right := ConvertDType(Equal(ArgMax(logits, -1), was), weight.DType())
	t.maskedRight = ReduceAllSum(Mul(right, weight))
}

// pooled is the mean state of each segment, scaled to length 1: hidden [rows·length, H], segments [rows, length]
// -> [rows·perRow, H]. Empty slots give 0.
func (o *objective) pooled(hidden, segments *Node) *Node {
	g, h := hidden.Graph(), hidden.Shape().Dim(1)
	slots := AddScalar(Iota(g, shapes.Make(dtypes.Int32, o.rows, o.perRow, o.length), 1), 1)
	member := ConvertDType(Equal(InsertAxes(segments, 1), slots), hidden.DType()) // [rows, perRow, length]
	sum := Einsum("rst,rth->rsh", member, Reshape(hidden, o.rows, o.length, h))   // [rows, perRow, H]
	return unit(Reshape(sum, o.rows*o.perRow, h))
}

// similarities compares embeddings u [texts, H] with the teacher's e [texts, E] by their cosines among each other, which
// need no projection. They are float32 whatever the precision: they are what the loss is made of.
func (t *terms) similarities(u, weight, e *Node) {
	g := u.Graph()
	n := u.Shape().Dim(0)
	ours, theirs := Einsum("ih,jh->ij", u, u), Einsum("ie,je->ij", e, e)
	both := Mul(InsertAxes(weight, 0), InsertAxes(weight, 1)) // [texts, texts]
	both = Mul(both, OneMinus(ConvertDType(Diagonal(g, n), weight.DType())))
	t.similarity, t.couples = ReduceAllSum(Mul(Square(Sub(ours, theirs)), both)), ReduceAllSum(both)
}

// missed is Σ weight·(1 − cosine) of projected rows of length 1 to the teacher's: z, e [texts, E].
func missed(z, weight, e *Node) *Node {
	return ReduceAllSum(Mul(OneMinus(ReduceSum(Mul(z, e), -1)), weight))
}
