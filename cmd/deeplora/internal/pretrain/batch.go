package pretrain

import (
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
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

// arrays are a batch. Segments are flat, [rows·perRow]; positions in rows are flat as well, row·length + position.
type arrays struct {
	data.Batch // packed rows of texts, without labels
	shape

	maskedAt, maskedWas []int32   // [masked] positions and the tokens that stood there
	maskedWeight        []float32 // [masked] 1, or 0 for filler

	first        []int32   // [rows·perRow] position of a segment's first token
	singleWeight []float32 // [rows·perRow] 1 for a text that is compared with the teacher
	embedding    []float32 // [rows·perRow, width] the teacher's of those
	pairWeight   []float32 // [rows·perRow] 1 for a joined pair
	pairCosine   []float32 // [rows·perRow] the teacher's of those
}

// arrays lays segments into a batch, and makes room for what is known of them.
func (s shape) arrays(placed []placed, pad int32) *arrays {
	segments := s.rows * s.perRow
	examples, spots := make([]data.Encoded, len(placed)), make([]data.Spot, len(placed))
	for i, p := range placed {
		examples[i], spots[i] = p.encoded, data.Spot{Row: p.row, Start: p.start}
	}
	return &arrays{
		Batch: data.Packing{Length: s.length, Examples: segments}.Lay(examples, spots, s.rows, pad), shape: s,
		maskedAt: make([]int32, s.masked), maskedWas: make([]int32, s.masked), maskedWeight: make([]float32, s.masked),
		first: make([]int32, segments), singleWeight: make([]float32, segments), embedding: make([]float32, segments*s.width),
		pairWeight: make([]float32, segments), pairCosine: make([]float32, segments),
	}
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
	a := f.arrays(segments, f.pad)
	inRow, masked := make([]int, f.rows), 0
	for _, p := range segments {
		slot := p.row*f.perRow + inRow[p.row]
		inRow[p.row]++
		start, n := p.row*f.length+p.start, len(p.encoded.IDs)
		a.first[slot] = int32(start)
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
	at, was := f.masking.mask(a.IDs[start:start+n], s)
	for i := range at {
		if masked == f.masked {
			a.IDs[start+at[i]] = was[i]
			continue
		}
		a.maskedAt[masked], a.maskedWas[masked], a.maskedWeight[masked] = int32(start+at[i]), was[i], 1
		masked++
	}
	return masked
}

// Args are the texts, without their first tokens, and what is known of them, as a graph's arguments.
func (a *arrays) Args(dtypes.DType) []*tensors.Tensor {
	args := a.Tensors()[:4]
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

// Weight is 1: every batch of a step counts alike.
func (a *arrays) Weight() float64 { return 1 }
