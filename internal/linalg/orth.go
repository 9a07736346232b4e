package linalg

import (
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/rng"
)

// dependent is the share of a column's length that must survive the projection onto the complement of
// the columns before it. What is left below it is rounding, and would be divided by.
const dependent = 1e-12

// Orth returns an orthonormal basis [n, k] of the column span of a [n, k], k ≤ n. The basis is that of
// the QR factorisation with positive diagonal: column j lies in the span of a's first j+1 columns.
// Where a column depends on those before it (or is zero, or not finite) a random direction takes its
// place, the same in every call: the result is always finite, orthonormal and of k columns.
func Orth(a mat.Matrix) *mat.Dense {
	return Extend(nil, a, rng.New(0, "linalg", "orth"))
}

// Extend returns q' [n, k] so that the columns of [basis, q'] are orthonormal and span at least those
// of basis [n, h] (orthonormal already, or nil for none) and a [n, k]; h + k ≤ n. Columns of a that
// depend on those before them are replaced by Gaussian directions drawn from s, which is not touched
// otherwise.
func Extend(basis, a mat.Matrix, s *rng.Stream) *mat.Dense {
	var done [][]float64
	if basis != nil {
		done = columns(basis)
	}
	return fromColumns(extend(done, columns(a), s)[len(done):])
}

// extend appends an orthonormalised vector to basis for each of vectors, which it overwrites.
func extend(basis, vectors [][]float64, s *rng.Stream) [][]float64 {
	for _, v := range vectors {
		if len(basis) >= len(v) {
			panic("linalg: more columns than rows have no orthonormal basis")
		}
		for !project(v, basis) {
			for i := range v {
				v[i] = s.Normal()
			}
		}
		basis = append(basis, v)
	}
	return basis
}

// project replaces v by its normalised projection onto the orthogonal complement of basis. It reports
// whether anything but rounding was left of v.
func project(v []float64, basis [][]float64) bool {
	// Scaled first, so that gradients of 1e-200 do not underflow in the products. NaN fails the test.
	largest := floats.Norm(v, math.Inf(1))
	if !(largest > 0 && largest <= math.MaxFloat64) {
		return false
	}
	for i := range v {
		v[i] /= largest
	}
	floats.Scale(1/floats.Norm(v, 2), v)
	// Once removes the components, twice what rounding left of them (Kahan: twice is enough).
	for range 2 {
		for _, b := range basis {
			floats.AddScaled(v, -floats.Dot(b, v), b)
		}
		length := floats.Norm(v, 2)
		if !(length > dependent) {
			return false
		}
		floats.Scale(1/length, v)
	}
	return true
}

func columns(a mat.Matrix) [][]float64 {
	_, k := a.Dims()
	vectors := make([][]float64, k)
	for j := range vectors {
		vectors[j] = mat.Col(nil, j, a)
	}
	return vectors
}

func fromColumns(vectors [][]float64) *mat.Dense {
	a := mat.NewDense(len(vectors[0]), len(vectors), nil)
	for j, v := range vectors {
		a.SetCol(j, v)
	}
	return a
}
