package linalg

import (
	"fmt"
	"math"

	"github.com/deeplora/deeplora/internal/rng"
)

// GaussianSingularValues draws the k largest singular values of a rows × cols matrix of independent N(0, 1) entries,
// descending, by their exact joint law and without the matrix: Householder reflections from both sides leave it
// bidiagonal with independent χ entries (Golub and Kahan's reduction; Silverstein 1985). It is an error if k is not in
// 1 … min(rows, cols).
// The singular vectors of such a matrix are Haar and independent of its singular values.
func GaussianSingularValues(s *rng.Stream, rows, cols, k int) ([]float64, error) {
	long, short := max(rows, cols), min(rows, cols)
	if k < 1 || k > short {
		return nil, fmt.Errorf("linalg: %d singular values of a %d × %d matrix; want 1 to %d", k, rows, cols, short)
	}
	// B is upper bidiagonal with χ_long, χ_{long-1}, … on the diagonal and χ_{short-1}, …, χ_1 beside it; BᵀB has the
	// diagonal a and the squared off-diagonal b2.
	a, b2 := make([]float64, short), make([]float64, short)
	above := 0.0 // the squared entry beside the diagonal, one row up
	for i := range short {
		d2 := chiSquared(s, long-i)
		a[i] = d2 + above
		if i+1 < short {
			above = chiSquared(s, short-1-i)
			b2[i+1] = d2 * above
		}
	}
	upper := 0.0 // Gershgorin
	for i := range short {
		radius := math.Sqrt(b2[i])
		if i+1 < short {
			radius += math.Sqrt(b2[i+1])
		}
		upper = max(upper, a[i]+radius)
	}
	values := make([]float64, k)
	for j := range values {
		upper = tridiagonalEigenvalue(a, b2, j, upper)
		values[j] = math.Sqrt(upper)
	}
	return values, nil
}

// tridiagonalEigenvalue returns the eigenvalue that j others exceed of the positive semi-definite tridiagonal matrix
// with diagonal a and squared off-diagonal b2[1:], by bisection of [0, upper] down to neighbouring numbers.
func tridiagonalEigenvalue(a, b2 []float64, j int, upper float64) float64 {
	lower := 0.0
	for {
		middle := (lower + upper) / 2
		if middle <= lower || middle >= upper {
			return upper
		}
		if countAbove(a, b2, middle) > j {
			lower = middle
		} else {
			upper = middle
		}
	}
}

// countAbove counts the eigenvalues above x: the positive pivots of T - x·I (Sturm).
func countAbove(a, b2 []float64, x float64) int {
	count, pivot := 0, 1.0
	for i := range a {
		pivot = a[i] - x - b2[i]/pivot
		if pivot == 0 {
			pivot = -math.SmallestNonzeroFloat64 * 0x1p52
		}
		if pivot > 0 {
			count++
		}
	}
	return count
}

// chiSquared draws from χ² with n degrees of freedom: twice a Gamma(n/2) by Marsaglia and Tsang (2000), or, for the
// few degrees where their proposal needs help, the squares themselves.
func chiSquared(s *rng.Stream, n int) float64 {
	if n < 4 {
		sum := 0.0
		for range n {
			x := s.Normal()
			sum += x * x
		}
		return sum
	}
	d := float64(n)/2 - 1./3
	c := 1 / math.Sqrt(9*d)
	for {
		x := s.Normal()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v *= v * v
		if math.Log(1-s.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return 2 * d * v
		}
	}
}
