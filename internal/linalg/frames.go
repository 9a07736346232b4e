package linalg

import (
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/rng"
)

// CompressedFrames draws the outer factors of a compressed model from the leading singular vectors of its gradient,
// u [a, h] on the short and v [b, h] on the long side, a ≤ b: short = [u, Z] and long = [Y, q] with short = O·long for
// a Haar O with orthonormal rows that is never formed (method.md 3.3).
func CompressedFrames(u, v *mat.Dense, s *rng.Stream) (short, long *mat.Dense) {
	a, h := u.Dims()
	b, _ := v.Dims()
	y := Haar(s.At(0), b, h)                 // plays OᵀU: U is fixed and O uniform, so it is a uniform frame of R^b
	q := Extend(y, v, s.At(1))               // the rest of V's span
	t := outside(u, Gaussian(s.At(2), a, h)) // T = N - U(UᵀN): Gaussian in the complement of U
	// q ⟂ OᵀU, so O maps it into the complement of U, as a uniform isometry of R^(b-h) onto R^(a-h)
	// maps a frame: by the first a-h of b-h coordinates of a uniform frame, T·R⁻¹ where [T; B] = Q·R.
	if b > a {
		var both mat.Dense
		both.Stack(t, Gaussian(s.At(3), b-a, h)) // B: the coordinates that O sends to zero
		t = &both
	}
	z := Orth(t).Slice(0, a, 0, h) // plays O·q
	short, long = new(mat.Dense), new(mat.Dense)
	short.Augment(u, z)
	long.Augment(y, q)
	return short, long
}

// outside returns n - u(uᵀn), projected twice, since rounding leaves a little of u after the first time.
func outside(u, n *mat.Dense) *mat.Dense {
	for range 2 {
		var inner, inside mat.Dense
		inner.Mul(u.T(), n)
		inside.Mul(u, &inner)
		n.Sub(n, &inside)
	}
	return n
}
