package lora

import (
	"cmp"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
)

// Spectrum is the singular value decomposition ΔK = U·diag(Values)·Vᵀ. It has as many values as the narrowest factor
// of the chain has columns or rows. ΔK is never formed.
type Spectrum struct {
	U      *mat.Dense // [In, k], input directions
	Values []float64  // k, descending
	V      *mat.Dense // [Out, k], output directions
}

// Chain returns the matrices of the adapter's Delta for one kernel's factors, in float64: ΔK is their
// product. factors are in the order of Init.
func Chain(backend compute.Backend, a Adapter, factors []*tensors.Tensor) (chain []*mat.Dense, err error) {
	err = graphx.Try("factors of ΔK", func() {
		args := make([]any, len(factors))
		for i, f := range factors {
			args[i] = f
		}
		for _, t := range MustExecOnceN(backend, func(in []*Node) []*Node {
			wide := make([]*Node, len(in))
			for i, n := range in {
				wide[i] = ConvertDType(n, dtypes.Float64)
			}
			return a.Delta(wide)
		}, args...) {
			chain = append(chain, mat.NewDense(t.Shape().Dim(0), t.Shape().Dim(1), tensors.MustCopyFlatData[float64](t)))
		}
	})
	return chain, err
}

// Decompose returns the spectrum of the product of a chain. It costs O((In+Out)·k²) for a chain whose
// narrowest inner side is k: the outer factors are reduced to their triangular parts, and only what is
// left between, k × k, is decomposed. It is an error if the factors form no chain or hold NaN.
func Decompose(chain []*mat.Dense) (Spectrum, error) {
	for i := 1; i < len(chain); i++ {
		if _, cols := chain[i-1].Dims(); cols != chain[i].RawMatrix().Rows {
			return Spectrum{}, fmt.Errorf("spectrum: factor %d has %d rows and follows one of %d columns", i, chain[i].RawMatrix().Rows, cols)
		}
	}
	if len(chain) == 0 {
		return Spectrum{}, fmt.Errorf("spectrum: no factors")
	}
	first, core := triangular(chain[0])
	for _, f := range chain[1:] {
		var next mat.Dense
		next.Mul(core, f) // [≤ k, …]: from the left, so that nothing is wider than it was
		core = &next
	}
	last, rest := triangular(mat.DenseCopyOf(core.T()))
	d, err := linalg.ThinSVD(rest.T())
	if err != nil {
		return Spectrum{}, fmt.Errorf("spectrum: %w", err)
	}
	return Spectrum{U: times(first, d.U), Values: d.S, V: times(last, d.V)}, nil
}

// triangular splits a tall matrix into an orthonormal basis and a square rest: a = q·r. For a wide one r is a itself
// and q is nil, which stands for the identity.
func triangular(a *mat.Dense) (q, r *mat.Dense) {
	if rows, cols := a.Dims(); rows <= cols {
		return nil, a
	}
	q, r = linalg.Orth(a), new(mat.Dense)
	r.Mul(q.T(), a)
	return q, r
}

func times(q, a *mat.Dense) *mat.Dense {
	if q == nil {
		return a
	}
	var product mat.Dense
	product.Mul(q, a)
	return &product
}

// EffectiveRank is exp of the entropy of the normalised singular values: how many directions carry ΔK.
func (s Spectrum) EffectiveRank() float64 { return linalg.EffectiveRank(s.Values) }

// Rank counts the singular values above tolerance times the largest.
func (s Spectrum) Rank(tolerance float64) int { return linalg.NumericalRank(s.Values, tolerance) }

// Angles returns the principal angles, radians ascending, between the k leading input directions of s and
// the n leading ones of t, and the same of their output directions: min(k, n) of each. k and n are lowered
// to the directions that s and t have; without any there are no angles.
func (s Spectrum) Angles(t Spectrum, k, n int) (input, output []float64) {
	k, n = min(k, len(s.Values)), min(n, len(t.Values))
	if k < 1 || n < 1 {
		return nil, nil
	}
	return linalg.Angles(leading(s.U, k), leading(t.U, n)), linalg.Angles(leading(s.V, k), leading(t.V, n))
}

func leading(a *mat.Dense, k int) mat.Matrix {
	rows, _ := a.Dims()
	return a.Slice(0, rows, 0, k)
}

// Norm is the Frobenius norm of ΔK.
func (s Spectrum) Norm() float64 { return floats.Norm(s.Values, 2) }

// Leading returns the k leading singular triples of a matrix of float32 or float64, read where it lies. Where both
// sides are above 64 they are approximate, from a randomised range finder: the same for the same matrix.
func Leading(matrix *tensors.Tensor, k int) (top Spectrum, err error) {
	shape, s := matrix.Shape(), rng.New(0, "leading")
	if shape.Rank() != 2 {
		return top, fmt.Errorf("spectrum: %s is no matrix", shape)
	}
	var d linalg.SVD
	var access error
	switch matrix.DType() {
	case dtypes.Float32:
		access = tensors.ConstFlatData(matrix, func(a []float32) { d, err = linalg.TopSVD(a, shape.Dim(0), shape.Dim(1), k, s) })
	case dtypes.Float64:
		access = tensors.ConstFlatData(matrix, func(a []float64) { d, err = linalg.TopSVD(a, shape.Dim(0), shape.Dim(1), k, s) })
	default:
		access = fmt.Errorf("it is of dtype %s, want float32 or float64", matrix.DType())
	}
	if err = cmp.Or(access, err); err != nil {
		return top, fmt.Errorf("spectrum: %w", err)
	}
	return Spectrum{U: d.U, Values: d.S, V: d.V}, nil
}
