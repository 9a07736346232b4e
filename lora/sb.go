package lora

import (
	"math"
	"sync"

	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/mat"
)

// loraSB is LoRA-SB: ΔK = left·R·rightᵀ with left [in, r] and right [out, r] frozen and orthonormal, and R [r, r] alone
// trained. It starts as the best approximation of rank r of the first step that Adam would make on the kernel,
// −lr·sign(G) (Ponkshe et al. 2024; method.md 2.6).
type loraSB struct{ rank int }

var _ Adapter = (*loraSB)(nil)

func newLoRASB(s Settings) (Adapter, error) {
	var f faults
	f.rank(s)
	f.onlyVanilla(s)
	return &loraSB{s.Rank}, f.err()
}

func (a *loraSB) Init(s Site) ([]Factor, error) {
	if err := s.fits(a.rank); err != nil {
		return nil, err
	}
	step := sync.OnceValues(func() (Spectrum, error) { return firstStep(s, a.rank) })
	left := func() (mat.Matrix, error) { d, err := step(); return d.U, err }
	right := func() (mat.Matrix, error) { d, err := step(); return d.V, err }
	inner := func() (mat.Matrix, error) {
		d, err := step()
		if err != nil {
			return nil, err
		}
		return mat.NewDiagDense(a.rank, d.Values), nil
	}
	return []Factor{
		NewFactor("R", a.rank, a.rank, 1, inner),
		NewFactor("left", s.In, a.rank, 0, left),
		NewFactor("right", s.Out, a.rank, 0, right),
	}, nil
}

// firstStep is the leading part of −lr·sign(G).
func firstStep(s Site, rank int) (Spectrum, error) {
	if !(s.FirstRate > 0) {
		return Spectrum{}, s.fault("lora-sb starts with the first update, and its learning rate is not known; set Site.FirstRate")
	}
	d, err := leadingGradient(s, rank, sign)
	if err != nil {
		return d, err
	}
	d.U.Scale(-1, d.U) // downhill: the values stay positive
	for i := range d.Values {
		d.Values[i] *= s.FirstRate
	}
	return d, nil
}

// sign is 1, −1 or 0; what is not finite stays, to be found by what reads it.
func sign(x float64) float64 {
	if x == 0 || x-x != 0 {
		return x
	}
	return math.Copysign(1, x)
}

func (a *loraSB) Delta(f []*graph.Node) Delta {
	inner, left, right := f[0], f[1], f[2]
	return Delta{left, inner, graph.Transpose(right, 0, 1)}
}

func sbParameters(s Settings, in, out int) int { return s.Rank*(in+out) + s.Rank*s.Rank }

// anyNorm is that of a start whose size the settings do not say: LoRA-SB's is that of a learning rate.
func anyNorm(Settings, int, int) (low, high float64) { return 0, math.Inf(1) }
