package linalg

import (
	"runtime"
	"sync"
)

// Products of a matrix, where it lies, with a few vectors. Sums are of float64 and go up the shared side in the same order
// on every processor, with vector instructions or without, whatever the number of cores.

const (
	lanes = 4   // rows of the matrix that a kernel takes at once, and numbers of a vector register
	strip = 512 // entries of a row that it takes: with what they meet they stay in the fastest cache
)

// block is a part of a matrix, in float64.
type block [lanes][strip]float64

// readBlock reads height rows of n entries, which are stride apart. Rows up to lanes are zeros.
func readBlock[T float32 | float64](b *block, a []T, stride, height, n int) {
	for r := range b {
		row := b[r][:n]
		if r >= height {
			clear(row)
			continue
		}
		switch from := any(a[r*stride : r*stride+n]).(type) {
		case []float32:
			widen(row, from)
		case []float64:
			copy(row, from)
		}
	}
}

// times returns a·x for each of the vectors x [cols].
func times[T float32 | float64](a []T, rows, cols int, x [][]float64) [][]float64 {
	y, side := vectors(len(x), rows), abreast(x)
	share(rows, func(from, to int) {
		var b block
		sums := make([][lanes][lanes]float64, len(side)) // of each four vectors, by rows
		for i := from; i < to; i += lanes {
			height := min(lanes, to-i)
			clear(sums)
			for at := 0; at < cols; at += strip {
				n := min(strip, cols-at)
				readBlock(&b, a[i*cols+at:], cols, height, n)
				for p := range side {
					addDots(&sums[p], &b, side[p][at:at+n])
				}
			}
			for c := range y {
				for r := range height {
					y[c][i+r] = sums[c/lanes][r][c%lanes]
				}
			}
		}
	})
	return y
}

// abreast are vectors four at a time, the entries of one place beside each other. The last four may have zeros among them.
func abreast(x [][]float64) [][][lanes]float64 {
	side := make([][][lanes]float64, (len(x)+lanes-1)/lanes)
	for p := range side {
		side[p] = make([][lanes]float64, len(x[0]))
	}
	for c, v := range x {
		for j, value := range v {
			side[c/lanes][j][c%lanes] = value
		}
	}
	return side
}

// transposeTimes returns aᵀ·y for each of the vectors y [rows].
func transposeTimes[T float32 | float64](a []T, rows, cols int, y [][]float64) [][]float64 {
	z := vectors(len(y), cols)
	share(cols, func(from, to int) {
		var b block
		for at := from; at < to; at += strip {
			n := min(strip, to-at)
			for i := 0; i < rows; i += lanes {
				height := min(lanes, rows-i)
				readBlock(&b, a[i*cols+at:], cols, height, n)
				for c := range y {
					var weights [lanes]float64
					copy(weights[:], y[c][i:i+height])
					addRows(z[c][at:at+n], &weights, &b)
				}
			}
		}
	})
	return z
}

func plainWiden(to []float64, from []float32) {
	for j, w := range from {
		to[j] = float64(w)
	}
}

// plainAddDots adds to sums[r][c] the product of row r with the c-th of the vectors x, which lie abreast.
func plainAddDots(sums *[lanes][lanes]float64, b *block, x [][lanes]float64) {
	for r := range b {
		s := sums[r]
		for j, v := range b[r][:len(x)] {
			s[0] += v * x[j][0]
			s[1] += v * x[j][1]
			s[2] += v * x[j][2]
			s[3] += v * x[j][3]
		}
		sums[r] = s
	}
}

// plainAddRows adds to z the weighted sum of the rows, from the entry at on.
func plainAddRows(z []float64, w *[lanes]float64, b *block, at int) {
	for j := at; j < len(z); j++ {
		z[j] += w[0]*b[0][j] + w[1]*b[1][j] + w[2]*b[2][j] + w[3]*b[3][j]
	}
}

func vectors(count, length int) [][]float64 {
	all := make([]float64, count*length)
	out := make([][]float64, count)
	for i := range out {
		out[i] = all[i*length : (i+1)*length : (i+1)*length]
	}
	return out
}

// share calls work on consecutive parts of [0, n) at once, one a core, and waits for all of them. What
// is computed for an index must not depend on the part it falls in.
func share(n int, work func(from, to int)) {
	parts := min(runtime.GOMAXPROCS(0), n)
	var wait sync.WaitGroup
	for p := range parts {
		wait.Go(func() { work(n*p/parts, n*(p+1)/parts) })
	}
	wait.Wait()
}
