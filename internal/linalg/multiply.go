package linalg

import (
	"slices"
	"sync"

	"gonum.org/v1/gonum/mat"
)

// Blocks of Multiply: a panel of b of depth × columns stays in the caches while strips of a pass by it.
const (
	multiplyDepth = 256
	multiplyRows  = 64 // of a, packed by one goroutine at a time; a multiple of every tile's rows
)

// tile is the shape of the block of dst that stays in registers, and what computes it: dst[i][j] += Σ_p a[p][i]·b[p][j]
// for packed a [depth, rows] and b [depth, cols], with consecutive rows of dst stride apart.
type tile struct {
	rows, cols int
	add        func(depth int, a, b, dst []float64, stride int)
}

// Operand is a matrix as it enters a product.
type Operand struct {
	*mat.Dense
	Transposed bool
}

func (o Operand) shape() (rows, cols int) {
	rows, cols = o.Dims()
	if o.Transposed {
		return cols, rows
	}
	return rows, cols
}

// Multiply sets dst [m, n] to a·b with a [m, k] and b [k, n]. Unlike gonum's Mul it uses the processor's vector unit
// for float64 where the build allows it (amd64 with GOEXPERIMENT=simd; elsewhere it is gonum's). dst may share no
// memory with a or b. Each entry is summed by one goroutine in an order that the shapes alone decide.
func Multiply(dst *mat.Dense, a, b Operand) {
	m, k := a.shape()
	k2, n := b.shape()
	if dm, dn := dst.Dims(); dm != m || dn != n || k != k2 {
		panic(mat.ErrShape)
	}
	t := registerTile()
	if t.add == nil {
		multiplyPlain(dst, a, b)
		return
	}
	dst.Zero()
	room := panelRoom.Get().(*[]float64)
	defer panelRoom.Put(room)
	*room = slices.Grow((*room)[:0], roundUp(n, t.cols)*min(k, multiplyDepth))
	packed := (*room)[:cap(*room)]
	for p := 0; p < k; p += multiplyDepth {
		depth := min(multiplyDepth, k-p)
		share((n+t.cols-1)/t.cols, func(from, to int) {
			for j := from; j < to; j++ {
				pack(packed[j*t.cols*depth:(j+1)*t.cols*depth], b, p, depth, j*t.cols, t.cols, n, false)
			}
		})
		strips := (m + multiplyRows - 1) / multiplyRows
		share(strips, func(from, to int) {
			w := stripRoom.Get().(*strip)
			defer stripRoom.Put(w)
			for i := from; i < to; i++ {
				w.multiply(t, dst, a, packed, p, depth, i*multiplyRows)
			}
		})
	}
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

func multiplyPlain(dst *mat.Dense, a, b Operand) {
	view := func(o Operand) mat.Matrix {
		if o.Transposed {
			return o.T()
		}
		return o.Dense
	}
	dst.Mul(view(a), view(b))
}

// strip is one goroutine's room: packed rows of a, and a tile for the edges of dst.
type strip struct {
	a    [multiplyRows * multiplyDepth]float64
	edge [1024]float64
}

var panelRoom = sync.Pool{New: func() any { return new([]float64) }} // packed b

var stripRoom = sync.Pool{New: func() any { return new(strip) }}

// multiply adds rows [top, top+64) of a, columns [p, p+depth), times the packed panel of b to dst.
func (w *strip) multiply(t tile, dst *mat.Dense, a Operand, packed []float64, p, depth, top int) {
	raw := dst.RawMatrix()
	height := min(multiplyRows, raw.Rows-top)
	for i := 0; i < height; i += t.rows {
		pack(w.a[i*depth:(i+t.rows)*depth], a, p, depth, top+i, t.rows, raw.Rows, true)
	}
	for j := 0; j < raw.Cols; j += t.cols {
		b := packed[j*depth : (j+t.cols)*depth]
		for i := 0; i < height; i += t.rows {
			at := (top+i)*raw.Stride + j
			rows, cols := min(t.rows, height-i), min(t.cols, raw.Cols-j)
			if rows == t.rows && cols == t.cols {
				t.add(depth, w.a[i*depth:(i+t.rows)*depth], b, raw.Data[at:], raw.Stride)
				continue
			}
			edge := w.edge[:t.rows*t.cols]
			clear(edge)
			t.add(depth, w.a[i*depth:(i+t.rows)*depth], b, edge, t.cols)
			for r := range rows {
				for c := range cols {
					raw.Data[at+r*raw.Stride+c] += edge[r*t.cols+c]
				}
			}
		}
	}
}

// pack copies lines [first, first+width) of an operand, its rows or its columns, over depth positions from p:
// dst [depth, width]. Lines from count on are zeros.
func pack(dst []float64, o Operand, p, depth, first, width, count int, rows bool) {
	raw := o.RawMatrix()
	for w := range width {
		if first+w >= count {
			for q := range depth {
				dst[q*width+w] = 0
			}
			continue
		}
		if rows != o.Transposed { // a line of the operand is a row in memory
			line := raw.Data[(first+w)*raw.Stride+p:][:depth]
			for q, v := range line {
				dst[q*width+w] = v
			}
			continue
		}
		at := p*raw.Stride + first + w
		for q := range depth {
			dst[q*width+w] = raw.Data[at+q*raw.Stride]
		}
	}
}
