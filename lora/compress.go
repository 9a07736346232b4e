package lora

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
)

// outerFactors are left [in, r] and right [out, r] of one kernel.
type outerFactors struct{ left, right *mat.Dense }

// compressSite takes the kernel's gradient and compresses it.
func compressSite(s Site, rank int) (outer outerFactors, err error) {
	err = s.useGradient("compress", func(gradient *tensors.Tensor) error {
		outer, err = compressTensor(gradient, s, rank)
		return err
	})
	return outer, err
}

// useGradient takes the kernel's gradient, hands it to what does something with it, and lets it go.
func (s Site) useGradient(doing string, use func(*tensors.Tensor) error) error {
	gradient, err := s.Gradient()
	if err != nil {
		return s.fault("gradient: %w", err)
	}
	if shape := gradient.Shape(); shape.Rank() != 2 || shape.Dim(0) != s.In || shape.Dim(1) != s.Out {
		return s.fault("%s its gradient: it is %s, want [%d %d]", doing, shape, s.In, s.Out)
	}
	if err := use(gradient); err != nil {
		return s.fault("%s its gradient: %w", doing, err)
	}
	// Freed now: it may lie in a device's memory, which the garbage collector does not see fill up.
	if err := gradient.FinalizeAll(); err != nil {
		return s.fault("free its gradient: %w", err)
	}
	return nil
}

func compressTensor(gradient *tensors.Tensor, s Site, rank int) (outer outerFactors, err error) {
	// Read in place: a float64 copy would be the largest array of the whole start.
	var access error
	switch gradient.DType() {
	case dtypes.Float32:
		access = tensors.ConstFlatData(gradient, func(g []float32) { outer, err = compress(g, s.In, s.Out, rank, s.stream().At(0)) })
	case dtypes.Float64:
		access = tensors.ConstFlatData(gradient, func(g []float64) { outer, err = compress(g, s.In, s.Out, rank, s.stream().At(0)) })
	default:
		access = fmt.Errorf("it is of dtype %s, want float32 or float64", gradient.DType())
	}
	if access != nil {
		return outer, access
	}
	return outer, err
}

// compress returns the outer factors that deep-wide's random start O and the gradient g [in, out]
// (row-major) lead to, for a freshly drawn O (in × out, Haar semi-orthogonal) that is never formed:
//
//	in ≤ out:  right = orth[V, OᵀU], left = O·right      in > out:  left = orth[U, O·V], right = Oᵀ·left
//
// with U, V the h = rank/2 leading singular vectors of g. The longer side is orthonormal; the shorter
// only for a square kernel. Memory beyond g is O((in+out)·rank). The law is exactly that of an explicit
// O (method.md 3.2, 3.3; TestT13SameLaw). rank must be even, from 2 to min(in, out).
func compress[T float32 | float64](g []T, in, out, rank int, s *rng.Stream) (outerFactors, error) {
	h := rank / 2
	top, err := linalg.TopSVD(g, in, out, h, s.At(0))
	if err != nil {
		return outerFactors{}, err
	}
	if in > out {
		right, left := linalg.CompressedFrames(top.V, top.U, s.At(1))
		return outerFactors{left, right}, nil
	}
	left, right := linalg.CompressedFrames(top.U, top.V, s.At(1))
	return outerFactors{left, right}, nil
}
