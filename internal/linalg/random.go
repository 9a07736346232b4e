package linalg

import (
	"gonum.org/v1/gonum/blas/blas64"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/rng"
)

// Gaussian returns a rows × cols matrix of independent N(0, 1) entries, drawn row by row.
func Gaussian(s *rng.Stream, rows, cols int) *mat.Dense {
	data := make([]float64, rows*cols)
	for i := range data {
		data[i] = s.Normal()
	}
	return mat.NewDense(rows, cols, data)
}

// Haar returns a rows × cols semi-orthogonal matrix, uniform among all of them: orthonormal columns if
// rows ≥ cols, orthonormal rows otherwise. Time 4·max·min² flops, memory one work copy.
func Haar(s *rng.Stream, rows, cols int) *mat.Dense {
	if rows < cols {
		return mat.DenseCopyOf(Haar(s, cols, rows).T())
	}
	// LAPACK directly: mat.QR would build the whole rows × rows factor.
	a := Gaussian(s, rows, cols).RawMatrix()
	tau := make([]float64, cols)
	run(func(work []float64, size int) { lapack64.Geqrf(a, tau, work, size) })
	diagonal := make([]float64, cols)
	for j := range diagonal {
		diagonal[j] = a.Data[j*a.Stride+j]
	}
	run(func(work []float64, size int) { lapack64.Orgqr(a, tau, work, size) })
	// Householder QR fixes R's signs by convention, not by the draw. Only the Q whose R has a positive
	// diagonal is unique, hence uniform: absorb the signs (Mezzadri 2007).
	for j, d := range diagonal {
		if d < 0 {
			blas64.Scal(-1, blas64.Vector{N: rows, Data: a.Data[j:], Inc: a.Stride})
		}
	}
	return mat.NewDense(rows, cols, a.Data)
}

// run calls a LAPACK routine twice: for the size of its work array, then in earnest.
func run(routine func(work []float64, size int)) {
	query := make([]float64, 1)
	routine(query, -1)
	size := int(query[0])
	routine(make([]float64, size), size)
}
