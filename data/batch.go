package data

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/rng"
)

// Encoded is one tokenized example, special tokens included, without padding. Types has the length of
// IDs, or is nil where every token has type 0.
type Encoded struct {
	IDs, Types []int32
}

// DropOverlong returns the examples whose encoding is at most maxLength tokens long, with their
// encodings, and how many were left out: the reference's treatment, of training and validation data
// alike (formats.md 4.2). rows[i] is the encoding of s.Examples[i].
func (s *Split) DropOverlong(rows []Encoded, maxLength int) (*Split, []Encoded, int, error) {
	if len(rows) != len(s.Examples) {
		return nil, nil, 0, fmt.Errorf("drop overlong: %d encodings for %d examples", len(rows), len(s.Examples))
	}
	var keep []int
	var kept []Encoded
	for i, r := range rows {
		if len(r.IDs) <= maxLength {
			keep, kept = append(keep, i), append(kept, r)
		}
	}
	if len(keep) == 0 {
		return nil, nil, 0, fmt.Errorf("%s: all %d examples of %s are longer than %d tokens; raise --max-length or use --overlong truncate",
			s.Source.File, len(rows), s.Name, maxLength)
	}
	return s.pick(keep), kept, len(rows) - len(kept), nil
}

// epochOrder returns the order in which an epoch visits n examples: a permutation that depends on the
// arguments alone.
func epochOrder(seed uint64, epoch, n int) []int {
	return rng.New(seed, "order").At(uint64(epoch)).Perm(n)
}

// Order says which examples each training step sees. It has no state but a cache: Batch(step) is the same
// whatever was asked before, so a resumed run needs only its step number. Not safe for concurrent use.
type Order struct {
	seed     uint64
	n, batch int
	dropLast bool

	epoch int // whose permutation is cached
	perm  []int
}

// NewOrder plans batches out of n examples: a fresh permutation every epoch, cut into batches, the
// last one short, or left out with dropLast as the reference does. Where one batch is the whole set,
// every step gets 0 … n-1 in that order. With dropLast a batch larger than n is an error.
func NewOrder(seed uint64, n, batch int, dropLast bool) (*Order, error) {
	switch {
	case n < 1:
		return nil, fmt.Errorf("no examples to train on")
	case batch < 1:
		return nil, fmt.Errorf("batch size %d; want at least 1", batch)
	case dropLast && batch > n:
		return nil, fmt.Errorf("batch size %d is larger than the %d examples; lower --batch or draw more", batch, n)
	}
	return &Order{seed: seed, n: n, batch: batch, dropLast: dropLast, epoch: -1}, nil
}

// StepsPerEpoch is the number of batches in a pass over the examples.
func (o *Order) StepsPerEpoch() int {
	if o.dropLast {
		return o.n / o.batch
	}
	return (o.n + o.batch - 1) / o.batch
}

// Batch returns the examples of a step, as indices from 0; steps count from 0 too. The slice is valid
// until the next call and must not be changed.
func (o *Order) Batch(step int) []int {
	epoch, within := step/o.StepsPerEpoch(), step%o.StepsPerEpoch()
	if o.batch >= o.n {
		epoch = 0 // the same batch at every step
	}
	if epoch != o.epoch {
		o.epoch, o.perm = epoch, o.permutation(epoch)
	}
	start := within * o.batch
	return o.perm[start:min(start+o.batch, o.n)]
}

func (o *Order) permutation(epoch int) []int {
	if o.batch < o.n {
		return epochOrder(o.seed, epoch, o.n)
	}
	order := make([]int, o.n)
	for i := range order {
		order[i] = i
	}
	return order
}

// EvalBatches cuts rows into batches of similar length, longest first, so that little is padded and
// memory is at its peak at once. The numbers are indices into rows: results put back by them stand in
// the original order.
func EvalBatches(rows []Encoded, batch int) [][]int {
	order := make([]int, len(rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(rows[b].IDs), len(rows[a].IDs)) })
	return slices.Collect(slices.Chunk(order, max(1, batch)))
}

// Padding says to what length a batch is padded.
type Padding string

const (
	PadFixed  Padding = "fixed"  // always the maximum length, as the reference
	PadBucket Padding = "bucket" // the smallest of a few lengths that holds the longest row
	PadPacked Padding = "packed" // several examples a row, see Packing
)

// buckets are the lengths PadBucket pads to: few, since every length is one more graph to compile, and
// closest together where GLUE's pairs are (28 tokens on average in STS-B, 70 in RTE).
var buckets = []int{16, 32, 48, 64, 96, 128, 192, 256, 384, 512}

// Length returns the padded length, in tokens, of a batch whose longest row has longest tokens, under
// a maximum length. Of PadPacked it is that of a single example, which no other shares a row with.
func (p Padding) Length(longest, maxLength int) int {
	if p != PadFixed {
		if i, _ := slices.BinarySearch(buckets, longest); i < len(buckets) {
			return min(buckets[i], maxLength)
		}
	}
	return maxLength
}

// Longest returns the token count of the longest of the rows that index names, 0 for none.
func Longest(rows []Encoded, index []int) int {
	longest := 0
	for _, i := range index {
		longest = max(longest, len(rows[i].IDs))
	}
	return longest
}

// Batch is what one call of the encoder gets: a row an example, or packed rows of several. All sequences are
// row-major.
type Batch struct {
	Rows, Len int // shape of what holds tokens

	IDs   []int32 // [Rows, Len], padded at the right with the pad id
	Types []int32 // [Rows, Len], 0 or 1; 0 on padding
	Mask  []int32 // [Rows, Len], 1 on tokens, 0 on padding; nil where rows are packed

	// Of packed rows, else nil.
	Segments  []int32 // [Rows, Len], which example of its row a token is of, from 1; 0 on padding
	Positions []int32 // [Rows, Len], within the example; 0 on padding
	First     []int32 // [examples], where each begins in IDs

	Labels  []float32 // [examples], class ids or scores, or [examples, classes], 1 and 0; 0 where there is none
	Weights []float32 // [examples], 1 for a labelled example; 0 for a filler or one without a label
	Index   []int     // [examples], which example it is; -1 for a filler

	// Of a part that Divide made, else nil: what of the whole batch it has.
	RowPlaces     []int32 // [Rows]
	ExamplePlaces []int32 // [examples]; 0 for a filler

	Tokens int // real tokens: what a tokens/s figure counts
}

// Assemble packs the rows that index names into a batch of the given number of rows and length, with
// their labels as Split.Labels gives them; labels may be nil where there are none, and NaN stands for none.
//
// A short index is made up with filler rows, so that shapes never change. Their weight is 0, and one
// token of theirs is left unmasked: a row with nothing to attend to would make attention divide by
// zero, and NaN times weight 0 is still NaN.
//
// It is an error if a row is longer than length or empty, if there are more rows than batch, or if
// index or labels do not fit rows.
func Assemble(rows []Encoded, labels []float64, index []int, batch, length int, padID int32) (Batch, error) {
	if err := checkAssembly(rows, labels, index, batch, length); err != nil {
		return Batch{}, fmt.Errorf("assemble batch: %w", err)
	}
	b := newBatch(batch, length, batch, padID)
	b.Mask = make([]int32, batch*length)
	b.widen(labels, rows)
	for r, i := range index {
		start := r * length
		b.put(start, rows[i])
		for j := range rows[i].IDs {
			b.Mask[start+j] = 1
		}
		b.label(r, i, labels)
	}
	for r := len(index); r < batch; r++ {
		b.Mask[r*length] = 1
	}
	return b, nil
}

// Packed reports whether rows hold several examples each.
func (b Batch) Packed() bool { return b.First != nil }

// Tensors are what an encoder reads, as new tensors: ids, types and mask, or for packed rows ids, types, segments,
// positions and first tokens.
func (b Batch) Tensors() []*tensors.Tensor {
	grid := func(values []int32) *tensors.Tensor { return tensors.FromFlatDataAndDimensions(values, b.Rows, b.Len) }
	if !b.Packed() {
		return []*tensors.Tensor{grid(b.IDs), grid(b.Types), grid(b.Mask)}
	}
	return []*tensors.Tensor{grid(b.IDs), grid(b.Types), grid(b.Segments), grid(b.Positions), tensors.FromFlatDataAndDimensions(b.First, len(b.First))}
}

// Args are Tensors and, in dtype, float32 or float64, the labels and weights: what a graph of the loss reads. Of a part they
// are followed by the places of its rows and examples.
func (b Batch) Args(dtype dtypes.DType) []*tensors.Tensor {
	args := append(b.Tensors(), floats(b.Labels, dtype, b.labelShape()...), floats(b.Weights, dtype, len(b.Weights)))
	if b.RowPlaces == nil {
		return args
	}
	return append(args, tensors.FromFlatDataAndDimensions(b.RowPlaces, b.Rows), tensors.FromFlatDataAndDimensions(b.ExamplePlaces, len(b.ExamplePlaces)))
}

func floats(values []float32, dtype dtypes.DType, dims ...int) *tensors.Tensor {
	if dtype != dtypes.Float64 {
		return tensors.FromFlatDataAndDimensions(values, dims...)
	}
	wide := make([]float64, len(values))
	for i, v := range values {
		wide[i] = float64(v)
	}
	return tensors.FromFlatDataAndDimensions(wide, dims...)
}

// Weight counts the labelled examples.
func (b Batch) Weight() (total float64) {
	for _, w := range b.Weights {
		total += float64(w)
	}
	return total
}

// RealTokens counts tokens, padding left out.
func (b Batch) RealTokens() int { return b.Tokens }

func newBatch(rows, length, examples int, padID int32) Batch {
	return Batch{
		Rows: rows, Len: length, IDs: slices.Repeat([]int32{padID}, rows*length), Types: make([]int32, rows*length),
		Labels: make([]float32, examples), Weights: make([]float32, examples), Index: slices.Repeat([]int{-1}, examples),
	}
}

// put copies an example to where it begins.
func (b *Batch) put(start int, e Encoded) {
	copy(b.IDs[start:], e.IDs)
	copy(b.Types[start:], e.Types)
	b.Tokens += len(e.IDs)
}

// label notes which example, i, the batch's example at is.
func (b *Batch) label(at, i int, labels []float64) {
	b.Index[at] = i
	width := len(b.Labels) / len(b.Weights)
	if labels == nil || math.IsNaN(labels[i*width]) {
		return
	}
	b.Weights[at] = 1
	for j, v := range labels[i*width : (i+1)*width] {
		b.Labels[at*width+j] = float32(v)
	}
}

func checkAssembly(rows []Encoded, labels []float64, index []int, batch, length int) error {
	switch {
	case batch < 1 || length < 1:
		return fmt.Errorf("shape [%d %d]; want at least one row and one token", batch, length)
	case len(index) > batch:
		return fmt.Errorf("%d rows for a batch of %d", len(index), batch)
	case labels != nil && (len(labels) < len(rows) || len(rows) > 0 && len(labels)%len(rows) != 0):
		return fmt.Errorf("%d labels for %d examples", len(labels), len(rows))
	}
	for _, i := range index {
		if i < 0 || i >= len(rows) {
			return fmt.Errorf("example %d of %d", i, len(rows))
		}
		ids, types := rows[i].IDs, rows[i].Types
		switch {
		case len(ids) == 0:
			return fmt.Errorf("example %d has no tokens", i)
		case len(ids) > length:
			return fmt.Errorf("example %d has %d tokens, the batch holds %d", i, len(ids), length)
		case types != nil && len(types) != len(ids):
			return fmt.Errorf("example %d has %d tokens and %d token types", i, len(ids), len(types))
		}
	}
	return nil
}
