package linalg

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/rng"
)

const (
	exactBelow      = 64 // a matrix with a side this short is decomposed exactly
	Oversampling    = 8  // extra directions of the range finder
	powerIterations = 4  // sin angle 5e-9 on the spectrum 0.8^i; 2e-4 with two, 6e-3 with one (method.md 3.3)
)

// SVD is (the leading part of) a singular value decomposition: a ≈ U·diag(S)·Vᵀ, S descending.
type SVD struct {
	U *mat.Dense // [rows, k], orthonormal columns
	S []float64  // k values
	V *mat.Dense // [cols, k], orthonormal columns
}

// TopSVD returns the k leading singular triples of a, a rows × cols matrix in row-major order.
//
// If its shorter side is at most 64 the decomposition is exact. Beyond, it is a randomised range finder
// (Halko, Martinsson, Tropp 2011) with 8 more directions than asked for and 4 power iterations, drawn
// from s: 20·rows·cols·(k+8) flops, and memory for a few k+8 vectors of either length, since a is read
// where it lies. Every u has its largest entry positive, so that the signs do not hang on rounding.
// If a has rank below k the further triples are zeros with orthonormal vectors.
//
// It is an error if an entry is NaN or infinite, if there are not rows·cols of them, or if k is not in
// 1 … min(rows, cols).
func TopSVD[T float32 | float64](a []T, rows, cols, k int, s *rng.Stream) (SVD, error) {
	if len(a) != rows*cols {
		return SVD{}, fmt.Errorf("linalg: %d entries for a %d × %d matrix; want %d", len(a), rows, cols, rows*cols)
	}
	if err := checkCount(k, rows, cols); err != nil {
		return SVD{}, err
	}
	if i := firstNotFinite(a); i >= 0 {
		return SVD{}, fmt.Errorf("linalg: entry [%d %d] is %v; want finite numbers", i/cols, i%cols, a[i])
	}
	if min(rows, cols) <= exactBelow {
		return exactSVD(a, rows, cols, k)
	}
	return TopSVDOf(dense[T]{a, rows, cols}, k, powerIterations, s)
}

// checkCount says what is wrong with asking for k singular triples.
func checkCount(k, rows, cols int) error {
	if k < 1 || k > min(rows, cols) {
		return fmt.Errorf("linalg: %d singular vectors of a %d × %d matrix; want 1 to %d", k, rows, cols, min(rows, cols))
	}
	return nil
}

func firstNotFinite[T float32 | float64](a []T) int {
	for i, x := range a {
		if x-x != 0 { // NaN for NaN and for both infinities
			return i
		}
	}
	return -1
}

func exactSVD[T float32 | float64](a []T, rows, cols, k int) (SVD, error) {
	wide := make([]float64, len(a))
	for i, x := range a {
		wide[i] = float64(x)
	}
	d, err := ThinSVD(mat.NewDense(rows, cols, wide))
	if err != nil {
		return SVD{}, err
	}
	return d.leading(k), nil
}

// ThinSVD returns the singular value decomposition of a with all min(rows, cols) triples, by LAPACK.
// Every u has its largest entry positive. It is an error if an entry is NaN or infinite.
func ThinSVD(a mat.Matrix) (SVD, error) {
	if norm := mat.Norm(a, 2); norm-norm != 0 { // LAPACK would return numbers all the same
		return SVD{}, errors.New("linalg: a matrix with NaN or infinite entries has no singular values")
	}
	var svd mat.SVD
	if !svd.Factorize(a, mat.SVDThin) {
		return SVD{}, errors.New("linalg: singular value decomposition did not converge")
	}
	d := SVD{U: new(mat.Dense), S: svd.Values(nil), V: new(mat.Dense)}
	svd.UTo(d.U)
	svd.VTo(d.V)
	return d.leading(len(d.S)), nil
}

// leading cuts the decomposition to its k first triples and fixes their signs.
func (d SVD) leading(k int) SVD {
	u, v := columns(d.U)[:k], columns(d.V)[:k]
	for j := range u {
		largest := 0.0
		for _, x := range u[j] {
			if math.Abs(x) > math.Abs(largest) {
				largest = x
			}
		}
		if largest < 0 {
			floats.Scale(-1, u[j])
			floats.Scale(-1, v[j])
		}
	}
	return SVD{fromColumns(u), d.S[:k], fromColumns(v)}
}
