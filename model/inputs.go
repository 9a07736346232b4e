package model

import (
	"errors"
	"fmt"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
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
	first  *Node        // [examples] their first tokens, as places in the flat hidden states
	rows   *Node        // [examples] the rows that they lie in; nil: each in that of its own number
	own    *Node        // [examples, seq] which tokens of its row are an example's own
	places func() *Node // [1 or examples, seq] where in its text each of its row's tokens stands
}

// Padded inputs have a row for each example, short ones filled up. All are [batch, seq], int32.
type Padded struct {
	IDs, Types *Node
	Mask       *Node // 1 on real tokens, 0 on padding
}

// Packed inputs have several texts in a row, so that little of it is padding. The tokens of a text stand one behind
// another. All but First are [batch, seq], int32.
type Packed struct {
	IDs, Types *Node
	Segments   *Node // which text of its row a token belongs to, from 1; 0 on padding. Tokens attend within their text
	Positions  *Node // a token's place in its text, from 0
	First      *Node // [examples], int32: where the examples begin, counted through all rows. Only First and Logits use it
}

// queries are the tokens a layer is computed for, in groups that each attend to one row.
type queries struct {
	tokens *Node        // [queries] their places in the flat hidden states; nil: all of them, a group a row
	rows   *Node        // [groups] the row that each group attends to; nil: that of its own number
	bias   *Node        // [groups, 1, 1 or query, seq] added to the scores
	at     func() *Node // [1 or groups, query], int32: where in their texts the queries stand
	keys   func() *Node // [1 or groups, seq], int32: where in their texts the keys stand
	own    any          // what the family made of them
}

// lead is what states and scores of the queries begin with.
func (q queries) lead() leads {
	if q.tokens == nil {
		return leadRows
	}
	return leadExamples
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

func (q queries) groups() int { return q.bias.Shape().Dim(0) }

// batch is how many rows hidden states [batch·seq, H] have.
func (q queries) batch(hidden *Node) int { return hidden.Shape().Dim(0) / q.bias.Shape().Dim(3) }

// distances is how far behind a query each key stands: [1 or groups, query, seq], int32.
func (q queries) distances() *Node { return Sub(InsertAxes(q.at(), -1), InsertAxes(q.keys(), 1)) }

func (in Padded) tokens() (ids, types *Node) { return in.IDs, in.Types }

func (in Padded) positions() *Node {
	return Iota(in.IDs.Graph(), shape(dtypes.Int32, 1, in.IDs.Shape().Dim(1)), 1)
}

func (in Padded) allTokens(dtype dtypes.DType) queries {
	return queries{bias: attentionBias(InsertAxes(in.Mask, 1), dtype), at: in.positions, keys: in.positions}
}

func (in Padded) examples() examples {
	batch, seq := in.IDs.Shape().Dim(0), in.IDs.Shape().Dim(1)
	first := MulScalar(Iota(in.IDs.Graph(), shape(dtypes.Int32, batch), 0), seq)
	return examples{first: first, own: in.Mask, places: in.positions}
}

func (in Packed) tokens() (ids, types *Node) { return in.IDs, in.Types }

func (in Packed) positions() *Node { return in.Positions }

func (in Packed) allTokens(dtype dtypes.DType) queries {
	same := Equal(InsertAxes(in.Segments, -1), InsertAxes(in.Segments, 1)) // [batch, query, key]
	return queries{bias: attentionBias(same, dtype), at: in.positions, keys: in.positions}
}

func (in Packed) examples() examples {
	if in.First == nil {
		panic(errors.New("model: packed inputs without First; it says where the examples begin"))
	}
	rows := DivScalar(in.First, in.IDs.Shape().Dim(1))                          // [examples]
	own := Gather(Reshape(in.Segments, -1), InsertAxes(in.First, -1))           // [examples], their segments
	own = Equal(InsertAxes(own, -1), Gather(in.Segments, InsertAxes(rows, -1))) // [examples, seq]
	places := func() *Node { return Gather(in.Positions, InsertAxes(rows, -1)) }
	return examples{first: in.First, rows: rows, own: own, places: places}
}

// firstTokens are the examples' first tokens, a group each, that attends to the example's own tokens.
func (e examples) firstTokens(dtype dtypes.DType) queries {
	first := func() *Node { return Zeros(e.first.Graph(), shape(dtypes.Int32, 1, 1)) }
	return queries{tokens: e.first, rows: e.rows, bias: attentionBias(InsertAxes(e.own, 1), dtype), at: first, keys: e.places}
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

// Check refuses a batch the graph would silently compute wrongly: gathers clamp ids that are out of range.
func (c *Config) Check(ids, types []int32, seq int) error {
	if most := c.Positions(); seq > most {
		return fmt.Errorf("length %d exceeds the model's %d positions", seq, most)
	}
	for _, id := range ids {
		if id < 0 || int(id) >= c.VocabSize {
			return fmt.Errorf("token id %d is outside the model's vocabulary of %d: is the tokenizer from another model?", id, c.VocabSize)
		}
	}
	if !c.typed() {
		return nil
	}
	for _, t := range types {
		if t < 0 || int(t) >= c.TypeVocabSize {
			return fmt.Errorf("token type %d is outside the model's %d types", t, c.TypeVocabSize)
		}
	}
	return nil
}

// Positions is how many tokens a text may have.
func (c *Config) Positions() int { return c.family().positions(c) }

// typed reports whether the model looks at token types.
func (c *Config) typed() bool { return c.TypeVocabSize > 0 && !c.kind().untyped }
