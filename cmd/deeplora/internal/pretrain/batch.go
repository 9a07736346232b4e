package pretrain

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/rng"
)

// shape is what every batch of a run has in common.
type shape struct {
	rows, length int // of the packed rows
	perRow       int // segments a row holds
	masked       int // masked tokens
	width        int // of the teacher's embeddings, 0 without one
}

// segmentTokens is what a segment is reckoned to have at least, so that few slots for segments stay empty.
const segmentTokens = 8

func (c *Config) shape(width int) shape {
	tokens := float64(c.Batch * c.RowLength)
	return shape{
		rows: c.Batch, length: c.RowLength, perRow: max(1, c.RowLength/segmentTokens), width: width,
		masked: 8 * int(math.Ceil(tokens*c.MaskProbability*c.MaskShare/8)),
	}
}

// arrays are a batch in the order of a graph's arguments. Segments are flat, [rows·perRow]; positions in rows are
// flat as well, row·length + position.
type arrays struct {
	shape
	ids, types, segments, positions []int32 // [rows, length]; segments from 1, 0 is padding

	maskedAt, maskedWas []int32   // [masked] positions and the tokens that stood there
	maskedWeight        []float32 // [masked] 1, or 0 for filler

	first        []int32   // [rows·perRow] position of a segment's first token
	singleWeight []float32 // [rows·perRow] 1 for a text that is compared with the teacher
	embedding    []float32 // [rows·perRow, width] the teacher's of those
	pairWeight   []float32 // [rows·perRow] 1 for a joined pair
	pairCosine   []float32 // [rows·perRow] the teacher's of those

	tokens int // real ones
}

func (s shape) arrays(pad int32) *arrays {
	n, segments := s.rows*s.length, s.rows*s.perRow
	a := &arrays{
		shape: s, ids: make([]int32, n), types: make([]int32, n), segments: make([]int32, n), positions: make([]int32, n),
		maskedAt: make([]int32, s.masked), maskedWas: make([]int32, s.masked), maskedWeight: make([]float32, s.masked),
		first: make([]int32, segments), singleWeight: make([]float32, segments), embedding: make([]float32, segments*s.width),
		pairWeight: make([]float32, segments), pairCosine: make([]float32, segments),
	}
	for i := range a.ids {
		a.ids[i] = pad
	}
	return a
}

// filler fills a batch's arrays from placed segments.
type filler struct {
	shape
	pad        int32
	masking    *masking // nil: nothing is masked
	share      float64  // of the texts that have masked tokens
	embeddings [][]float32
}

func (f *filler) fill(segments []placed, s *rng.Stream) *arrays {
	a := f.arrays(f.pad)
	inRow, masked := make([]int, f.rows), 0
	for _, p := range segments {
		slot := p.row*f.perRow + inRow[p.row]
		inRow[p.row]++
		start := p.row*f.length + p.start
		n := copy(a.ids[start:], p.encoded.IDs)
		copy(a.types[start:], p.encoded.Types)
		for i := range n {
			a.segments[start+i], a.positions[start+i] = int32(inRow[p.row]), int32(i)
		}
		a.first[slot] = int32(start)
		a.tokens += n
		switch {
		case p.b >= 0:
			a.pairWeight[slot], a.pairCosine[slot] = 1, cosine(f.embeddings[p.a], f.embeddings[p.b])
		case f.masking != nil && s.Float64() < f.share:
			masked = f.mask(a, start, n, masked, s)
		case f.width > 0:
			a.singleWeight[slot] = 1
			copy(a.embedding[slot*f.width:], f.embeddings[p.a])
		}
	}
	return a
}

// mask masks one segment and returns how many masked tokens the batch has now; those beyond its slots stay whole.
func (f *filler) mask(a *arrays, start, n, masked int, s *rng.Stream) int {
	at, was := f.masking.mask(a.ids[start:start+n], s)
	for i := range at {
		if masked == f.masked {
			a.ids[start+at[i]] = was[i]
			continue
		}
		a.maskedAt[masked], a.maskedWas[masked], a.maskedWeight[masked] = int32(start+at[i]), was[i], 1
		masked++
	}
	return masked
}

// args are the arrays as a graph's arguments.
func (a *arrays) args() []*tensors.Tensor {
	grid := func(v []int32) *tensors.Tensor { return tensors.FromFlatDataAndDimensions(v, a.rows, a.length) }
	args := []*tensors.Tensor{grid(a.ids), grid(a.types), grid(a.segments), grid(a.positions)}
	if a.masked > 0 {
		args = append(args, vector(a.maskedAt), vector(a.maskedWas), vector(a.maskedWeight))
	}
	if a.width > 0 {
		args = append(args, vector(a.first), vector(a.singleWeight),
			tensors.FromFlatDataAndDimensions(a.embedding, a.rows*a.perRow, a.width), vector(a.pairWeight), vector(a.pairCosine))
	}
	return args
}

func vector[T int32 | float32](v []T) *tensors.Tensor {
	return tensors.FromFlatDataAndDimensions(v, len(v))
}

// inputs is the number of args.
func (s shape) inputs() int {
	n := 4
	if s.masked > 0 {
		n += 3
	}
	if s.width > 0 {
		n += 5
	}
	return n
}

// Args are the arrays as a graph's arguments.
func (a *arrays) Args(dtypes.DType) []*tensors.Tensor { return a.args() }

// Weight is 1: every batch of a step counts alike.
func (a *arrays) Weight() float64 { return 1 }

// RealTokens counts tokens, padding left out.
func (a *arrays) RealTokens() int { return a.tokens }
