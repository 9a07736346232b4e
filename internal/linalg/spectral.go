package linalg

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// SingularValues returns the min(rows, cols) singular values of a, descending. Entries must be finite.
func SingularValues(a mat.Matrix) []float64 {
	var svd mat.SVD
	if !svd.Factorize(a, mat.SVDNone) {
		panic("linalg: singular values did not converge")
	}
	return svd.Values(nil)
}

// EffectiveRank returns exp(-Σ p ln p) with p = values/Σvalues, the number of equal singular values that
// would carry the same entropy (Roy and Vetterli 2007): 1 … len(values), and 0 if all are zero.
func EffectiveRank(values []float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	if total == 0 {
		return 0
	}
	entropy := 0.0
	for _, v := range values {
		if p := v / total; p > 0 {
			entropy -= p * math.Log(p)
		}
	}
	return math.Exp(entropy)
}

// NumericalRank counts the values above tolerance times the largest.
func NumericalRank(values []float64, tolerance float64) int {
	largest := 0.0
	for _, v := range values {
		largest = max(largest, v)
	}
	rank := 0
	for _, v := range values {
		if v > tolerance*largest {
			rank++
		}
	}
	return rank
}

// Angles returns the principal angles between the column spans of a [n, p] and b [n, q] in radians,
// ascending, min(p, q) of them. The columns of each must be independent. Small angles come from their
// sines and large ones from their cosines, so both are accurate to rounding (Björck and Golub 1973).
func Angles(a, b mat.Matrix) []float64 {
	large, small := Orth(a), Orth(b)
	if large.RawMatrix().Cols < small.RawMatrix().Cols {
		large, small = small, large
	}
	var inner, inside, outside mat.Dense
	inner.Mul(large.T(), small)
	inside.Mul(large, &inner)
	outside.Sub(small, &inside)
	cosines, sines := SingularValues(&inner), SingularValues(&outside)
	angles := make([]float64, len(cosines))
	for i, cosine := range cosines { // cosines descend, hence angles ascend
		if sine := sines[len(sines)-1-i]; sine < math.Sqrt2/2 {
			angles[i] = math.Asin(sine)
		} else {
			angles[i] = math.Acos(min(cosine, 1))
		}
	}
	return angles
}
