package lora

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/linalg"
)

// Spectrum is the singular value decomposition of a ΔK = U·diag(Values)·Vᵀ, for as many values as the
// chain's narrowest factor lets it have. ΔK is never formed.
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

// triangular splits a tall matrix into an orthonormal basis and the square rest: a = q·r. A wide one is
// its own rest, with a nil basis for the identity.
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

// Angles returns the principal angles, radians ascending, between the k leading input directions of s
// and t, and between their k leading output directions. k is lowered to what both have.
func (s Spectrum) Angles(t Spectrum, k int) (input, output []float64) {
	k = min(k, len(s.Values), len(t.Values))
	if k < 1 {
		return nil, nil
	}
	return linalg.Angles(leading(s.U, k), leading(t.U, k)), linalg.Angles(leading(s.V, k), leading(t.V, k))
}

func leading(a *mat.Dense, k int) mat.Matrix {
	rows, _ := a.Dims()
	return a.Slice(0, rows, 0, k)
}
