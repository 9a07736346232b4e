package lora

import (
	"math"

	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/nearest"
)

// vanilla is LoRA: ΔK = W2·W1, W2 [in, r], W1 [r, out].
//
// The reference starts with W1 ~ N(0, 1) and W2 = 0, opposite to PEFT's habit: Kaiming-uniform on the
// input side, zero on the output side, and ΔK scaled by α/r. Both start from ΔK = 0; the first steps
// differ, since the factor beside the zero sets their size.
type vanilla struct {
	rank  int
	peft  bool
	scale float64 // α/r, 1 in the reference
	ratio float64 // learning-rate multiple of W1, 1 but in LoRA+
}

var _ Adapter = (*vanilla)(nil)

func newVanilla(s Settings) (Adapter, error) {
	var f faults
	f.rank(s)
	f.unless(s.Init == "" || s.Init == InitReference || s.Init == InitPEFT,
		"unknown init %q; nearest: %s (known: %s %s)", s.Init, nearest.Of(s.Init, []string{InitReference, InitPEFT}), InitReference, InitPEFT)
	v := &vanilla{rank: s.Rank, peft: s.Init == InitPEFT, scale: 1, ratio: 1}
	switch {
	case !v.peft:
		f.unscaled(s)
	case s.Alpha != 0:
		f.unless(s.Alpha > 0 && s.Alpha <= math.MaxFloat32, "alpha %g; want a positive number", s.Alpha)
		v.scale = s.Alpha / float64(s.Rank)
	}
	return v, f.err()
}

func (v *vanilla) Init(s Site) ([]Factor, error) {
	if err := s.fits(v.rank); err != nil {
		return nil, err
	}
	w1 := func() (mat.Matrix, error) { return linalg.Gaussian(s.stream().At(1), v.rank, s.Out), nil }
	w2 := zeros(s.In, v.rank)
	if v.peft {
		w1 = zeros(v.rank, s.Out)
		w2 = func() (mat.Matrix, error) { return kaiming(s, v.rank), nil }
	}
	return []Factor{NewFactor("W1", v.rank, s.Out, v.ratio, w1), NewFactor("W2", s.In, v.rank, 1, w2)}, nil
}

// kaiming draws [in, r] uniformly within ±1/√in: Kaiming's bound √(6/((1+a²)·in)) at the a = √5 that
// PyTorch's linear layers, and PEFT after them, use.
func kaiming(s Site, rank int) *mat.Dense {
	stream, bound := s.stream().At(2), 1/math.Sqrt(float64(s.In))
	w := mat.NewDense(s.In, rank, nil)
	for i := range s.In {
		for j := range rank {
			w.Set(i, j, bound*(2*stream.Float64()-1))
		}
	}
	return w
}

// Delta is where α/r enters, and nowhere else: the W1 of the chain is the scaled one, and with it the
// lora_B that Pair hands to PEFT, whose own scale is then 1.
func (v *vanilla) Delta(f []*graph.Node) Delta {
	w1, w2 := f[0], f[1]
	if v.scale != 1 {
		w1 = graph.MulScalar(w1, v.scale)
	}
	return Delta{w2, w1}
}

func vanillaRate(s Settings) float64 {
	if s.Init == InitPEFT {
		return 5e-4
	}
	return 1e-4
}

// vanillaRule: r columns, random to each other, add up to √r times the update of one.
func vanillaRule(s Settings) (rate, initScale float64) { return rankRule(vanillaRate(s), 0.5)(s) }

func vanillaParameters(s Settings, in, out int) int { return s.Rank * (in + out) }

func zeroNorm(Settings, int, int) (low, high float64) { return 0, 0 }
