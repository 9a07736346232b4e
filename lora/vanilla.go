package lora

import (
	"cmp"
	"math"
	"sync"

	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/mat"
)

// vanilla is LoRA: ΔK = scale·W2·W1, W2 [in, r], W1 [r, out].
//
// How they start is a row of starts. The reference's W1 ~ N(0, 1) and W2 = 0 are opposite to PEFT's habit:
// Kaiming-uniform on the input side, zero on the output side, and ΔK scaled by α/r. Both start from ΔK = 0; the first
// steps differ, since the factor beside the zero sets their size.
type vanilla struct {
	rank  int
	start start
	scale float64 // α/r or α/√r, 1 in the reference
	ratio float64 // learning-rate multiple of W1, 1 but in LoRA+
}

var _ Adapter = (*vanilla)(nil)

func newVanilla(s Settings) (Adapter, error) {
	var f faults
	f.rank(s)
	start, err := lookupStart(s.Init)
	if err != nil {
		f = append(f, err)
	}
	v := &vanilla{rank: s.Rank, start: start, scale: 1, ratio: 1}
	switch {
	case start.unscaled || err != nil:
		f.unscaled(s)
	case s.Alpha != 0:
		f.unless(s.Alpha > 0 && s.Alpha <= math.MaxFloat32, "alpha %g; want a positive number", s.Alpha)
		v.scale = s.Alpha / float64(s.Rank)
	}
	if start.rooted {
		v.root()
	}
	return v, f.err()
}

// root makes the scale α/√r of α/r.
func (v *vanilla) root() { v.scale *= math.Sqrt(float64(v.rank)) }

func (v *vanilla) Init(s Site) ([]Factor, error) {
	if err := s.fits(v.rank); err != nil {
		return nil, err
	}
	if short := min(s.In, s.Out); v.start.directions*v.rank > short {
		return nil, s.fault("rank %d is too large for init %s, which takes %d directions a rank of its smaller side; want at most %d, or leave the kernel out",
			v.rank, v.start.name, v.start.directions, short/v.start.directions)
	}
	// One decomposition for both factors, and none if neither is drawn.
	both := sync.OnceValues(func() (pair, error) { return v.start.draw(s, v.rank, v.scale) })
	w1 := func() (mat.Matrix, error) { p, err := both(); return p.w1, err }
	w2 := func() (mat.Matrix, error) { p, err := both(); return p.w2, err }
	factors := []Factor{NewFactor("W1", v.rank, s.Out, v.ratio, w1), NewFactor("W2", s.In, v.rank, 1, w2)}
	if v.start.residual {
		factors = append(factors, NewFactor("W1start", v.rank, s.Out, 0, w1), NewFactor("W2start", s.In, v.rank, 0, w2))
	}
	return factors, nil
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

// Delta is where the scale enters, and nowhere else: the W1 of the chain is the scaled one, and with it the lora_B that
// Pair hands to PEFT, whose own scale is then 1.
func (v *vanilla) Delta(f []*graph.Node) Delta {
	w1, w2 := f[0], f[1]
	if v.start.residual {
		w1, w2 = since(w1, w2, f[2], f[3])
	}
	if v.scale != 1 {
		w1 = graph.MulScalar(w1, v.scale)
	}
	return Delta{w2, w1}
}

// since gives the W1 [2r, out] and W2 [in, 2r] of what has been learned since the start, W2·W1 − W2start·W1start, as
//
//	[W2−W2start, W2start]·[W1; W1−W1start]
//
// which is that difference with no large terms that cancel: it is zero to the bit until something has moved.
func since(w1, w2, w1start, w2start *graph.Node) (*graph.Node, *graph.Node) {
	return graph.Concatenate([]*graph.Node{w1, graph.Sub(w1, w1start)}, 0),
		graph.Concatenate([]*graph.Node{graph.Sub(w2, w2start), w2start}, 1)
}

func vanillaRate(s Settings) float64 {
	switch s.Init {
	case InitPEFT, InitLoRAGA, InitLoRAOne, InitPiSSA:
		return 5e-4
	default:
		return 1e-4
	}
}

// vanillaRule: r columns, random to each other, add up to √r times the update of one; LoRA-One's α/√r brings another √r.
func vanillaRule(s Settings) Ruled {
	power := 0.5
	if s.Init == InitLoRAOne {
		power = 1
	}
	return rankRule(vanillaRate(s), power)(s)
}

// vanillaParameters counts what is kept of the start too.
func vanillaParameters(s Settings, in, out int) int {
	n := s.Rank * (in + out)
	if start, _ := lookupStart(s.Init); start.residual {
		n *= 2
	}
	return n
}

// vanillaNorm is 0 but for LoRA-One, which starts with a step of α/(γ·√r).
func vanillaNorm(s Settings, _, _ int) (low, high float64) {
	if s.Init != InitLoRAOne {
		return 0, 0
	}
	alpha := cmp.Or(s.Alpha, float64(s.Rank))
	norm := alpha / math.Sqrt(float64(s.Rank)) / gammaOne
	return norm, norm
}

func zeroNorm(Settings, int, int) (low, high float64) { return 0, 0 }
