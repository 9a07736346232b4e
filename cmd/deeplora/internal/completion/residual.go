package completion

import (
	"fmt"
	"math"
	"unsafe"
)

// residual computes, for f = U·Vᵀ known at its observed places alone, E = M∘(f - Y) and the products that gradients
// are made of, in one pass over the entries: E·V and Eᵀ·X. E itself lives in a scratch line only.
//
// Matrices are padded: k columns in rows of stride numbers, zeros behind them, for whole vector registers.
type residual struct {
	rows, cols int
	stride     int
	blocks     []block
	segments   []segment
	at         []uint32  // bytes from the start of V, and of the sums over its rows, to the entry's row
	value      []float64 // Y
}

// block is consecutive rows, computed by one core at a time into sums of its own.
type block struct {
	from, to    int // rows
	first, last int // segments
	byCol       []float64
	square      float64 // ‖E‖² here
}

// segment is entries of one row, next to one another.
type segment struct{ row, from, to int }

// lanes is the width of the vector registers that padding is for.
const lanes = 4

func padded(k int) int { return (k + lanes - 1) / lanes * lanes }

const (
	// Sums over columns are kept per block and added in the blocks' order, which makes the bits independent of the
	// number of cores: so blocks follow from the problem. Each costs cols·stride numbers.
	blockEntries = 25000
	maxBlocks    = 16

	// Rows of V and of the sums that one pass of segments meets fit a core's cache of the second level.
	tileBytes = 1 << 19

	// line is how many entries are computed before they are spread: they meet their rows of V twice, the second time
	// in the first-level cache.
	line = 64
)

// newResidual lays the entries out for factors of k columns.
func newResidual(e *Entries, k int) (*residual, error) {
	r := &residual{rows: e.Rows, cols: e.Cols, stride: padded(k)}
	if need := uint64(e.Cols) * uint64(r.stride) * 8; need > math.MaxUint32 {
		return nil, fmt.Errorf("%d columns by width %d take %d bytes; at most %d: transpose the matrix or take a smaller width", e.Cols, k, need, uint32(math.MaxUint32))
	}
	r.at, r.value = make([]uint32, 0, e.Len()), make([]float64, 0, e.Len())
	count := max(1, min(e.Len()/blockEntries, maxBlocks, e.Rows))
	row := 0
	for b := range count {
		from := row
		for row < e.Rows && (b == count-1 || e.Start[row] < e.Len()*(b+1)/count) {
			row++
		}
		r.add(e, from, row)
	}
	return r, nil
}

// add appends a block, its entries ordered by tiles of columns, then rows.
func (r *residual) add(e *Entries, from, to int) {
	b := block{from: from, to: to, first: len(r.segments), byCol: make([]float64, r.cols*r.stride)}
	width := max(1, tileBytes/(r.stride*8))
	done := make([]int, to-from)
	for left := 0; left < r.cols; left += width {
		for i := from; i < to; i++ {
			start := e.Start[i] + done[i-from]
			n := start
			for n < e.Start[i+1] && int(e.Col[n]) < left+width {
				r.at = append(r.at, uint32(e.Col[n])*uint32(r.stride)*8)
				r.value = append(r.value, e.Value[n])
				n++
			}
			if n > start {
				r.segments = append(r.segments, segment{i, len(r.at) - (n - start), len(r.at)})
			}
			done[i-from] += n - start
		}
	}
	b.last = len(r.segments)
	r.blocks = append(r.blocks, b)
}

// compute sets byRow [rows, stride] to E·V and byCol [cols, stride] to Eᵀ·X, and returns ‖E‖². Before its entries
// each block calls before with its rows, and after them after; nil for neither.
func (r *residual) compute(u, v, x, byRow, byCol []float64, before, after func(b, from, to int)) float64 {
	r.check(u, v, x, byRow, byCol)
	each(len(r.blocks), func(n int) {
		b := &r.blocks[n]
		if before != nil {
			before(n, b.from, b.to)
		}
		clear(b.byCol)
		clear(byRow[b.from*r.stride : b.to*r.stride])
		b.square = r.pass(b, u, v, x, byRow)
		if after != nil {
			after(n, b.from, b.to)
		}
	})
	r.gather(byCol)
	sum := 0.0
	for _, b := range r.blocks {
		sum += b.square
	}
	return sum
}

// check holds what the kernels rely on: they read by offsets, without bounds.
func (r *residual) check(u, v, x, byRow, byCol []float64) {
	rows, cols := r.rows*r.stride, r.cols*r.stride
	if len(u) != rows || len(x) != rows || len(byRow) != rows || len(v) != cols || len(byCol) != cols {
		panic("completion: matrices of other shapes than the entries'")
	}
}

// pass goes over a block's entries.
func (r *residual) pass(b *block, u, v, x, byRow []float64) (square float64) {
	var buffer [line]float64
	for _, s := range r.segments[b.first:b.last] {
		row := s.row * r.stride
		ui, xi, sum := u[row:row+r.stride], x[row:row+r.stride], byRow[row:row+r.stride]
		for from := s.from; from < s.to; from += line {
			to := min(from+line, s.to)
			at, e := r.at[from:to], buffer[:to-from]
			square += subtract(e, r.value[from:to], at, ui, unsafe.Pointer(&v[0]))
			spread(e, at, xi, sum, unsafe.Pointer(&v[0]), unsafe.Pointer(&b.byCol[0]))
		}
	}
	return square
}

// gather adds the blocks' sums over columns in their order.
func (r *residual) gather(byCol []float64) {
	parts(r.cols, func(from, to int) {
		from, to = from*r.stride, to*r.stride
		copy(byCol[from:to], r.blocks[0].byCol[from:to])
		for _, b := range r.blocks[1:] {
			addTo(byCol[from:to], b.byCol[from:to])
		}
	})
}
