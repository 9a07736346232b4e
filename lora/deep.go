package lora

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
)

// deep is Deep LoRA uncompressed: ΔK = WL···W1 with W1 [w, out], W2 … W(L-1) [w, w], WL [in, w], each
// ε times a Haar semi-orthogonal matrix. The width w is the rank (deep-narrow) or the kernel's larger
// side (deep-wide), at which depth alone, not width, keeps ΔK low-rank.
type deep struct {
	depth int
	scale float64 // ε
	rank  int     // 0: wide
}

var _ Adapter = (*deep)(nil)

func newWide(s Settings) (Adapter, error) {
	var f faults
	f.depth(s)
	f.initScale(s)
	f.onlyVanilla(s)
	return &deep{depth: s.Depth, scale: s.InitScale}, f.err()
}

func newNarrow(s Settings) (Adapter, error) {
	var f faults
	f.rank(s)
	f.depth(s)
	f.initScale(s)
	f.onlyVanilla(s)
	return &deep{depth: s.Depth, scale: s.InitScale, rank: s.Rank}, f.err()
}

func (d *deep) Init(s Site) ([]Factor, error) {
	if err := s.fits(d.rank); err != nil {
		return nil, err
	}
	width := d.rank
	if width == 0 {
		width = max(s.In, s.Out)
	}
	var factors []Factor
	for l := 1; l <= d.depth; l++ {
		rows, cols := width, width
		if l == 1 {
			cols = s.Out
		}
		if l == d.depth {
			rows = s.In
		}
		factors = append(factors, NewFactor(fmt.Sprintf("W%d", l), rows, cols, 1, func() (mat.Matrix, error) {
			w := linalg.Haar(s.stream().At(uint64(l)), rows, cols)
			w.Scale(d.scale, w)
			return w, nil
		}))
	}
	return factors, nil
}

// Delta is WL···W1: the factors' order reversed.
func (d *deep) Delta(f []*graph.Node) Delta {
	chain := slices.Clone(f)
	slices.Reverse(chain)
	return chain
}

func wideWidth(_ Settings, in, out int) int { return max(in, out) }

func narrowWidth(s Settings, _, _ int) int { return s.Rank }

func deepParameters(width func(s Settings, in, out int) int) func(s Settings, in, out int) int {
	return func(s Settings, in, out int) int {
		w := width(s, in, out)
		return w*(in+out) + (s.Depth-2)*w*w
	}
}

// deepNorm is ε^L: semi-orthogonal factors of the outer shapes multiply to a norm of 1.
func deepNorm(s Settings, _, _ int) (low, high float64) {
	norm := math.Pow(s.InitScale, float64(s.Depth))
	return norm, norm
}
