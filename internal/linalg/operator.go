package linalg

import (
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/rng"
)

// Operator is a matrix known by its products with thin ones, such as a sparse matrix.
type Operator interface {
	Dims() (rows, cols int)
	Times(x *mat.Dense) *mat.Dense          // A·x for x [cols, n]; TopSVDOf asks for n = min(k + Oversampling, rows, cols)
	TransposeTimes(x *mat.Dense) *mat.Dense // Aᵀ·x for x [rows, n]
}

// TopSVDOf returns the k leading singular triples of an operator by the randomised range finder of TopSVD, with
// power iterations as asked for: the error falls by (σ_{k+9}/σ_k)² with each. Signs and rank deficiency are as there.
// The operator's entries must be finite. It is an error if k is not in 1 … min(rows, cols).
func TopSVDOf(a Operator, k, power int, s *rng.Stream) (SVD, error) {
	rows, cols := a.Dims()
	if err := checkCount(k, rows, cols); err != nil {
		return SVD{}, err
	}
	width := min(k+Oversampling, min(rows, cols))
	q := Extend(nil, a.Times(Gaussian(s, cols, width)), s)
	for range power {
		q = Extend(nil, a.TransposeTimes(q), s)
		q = Extend(nil, a.Times(q), s)
	}
	// a ≈ q·(qᵀa), and the SVD of the small side's transpose aᵀq = V·S·Wᵀ gives U = q·W.
	d, err := ThinSVD(a.TransposeTimes(q))
	if err != nil {
		return SVD{}, err
	}
	var u mat.Dense
	u.Mul(q, d.V)
	return SVD{&u, d.S, d.U}.leading(k), nil
}

// dense is a matrix [rows, cols] in row-major order, read where it lies.
type dense[T float32 | float64] struct {
	entries    []T
	rows, cols int
}

func (d dense[T]) Dims() (rows, cols int) { return d.rows, d.cols }

func (d dense[T]) Times(x *mat.Dense) *mat.Dense {
	return fromColumns(times(d.entries, d.rows, d.cols, columns(x)))
}

func (d dense[T]) TransposeTimes(x *mat.Dense) *mat.Dense {
	return fromColumns(transposeTimes(d.entries, d.rows, d.cols, columns(x)))
}
