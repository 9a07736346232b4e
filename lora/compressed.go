package lora

import (
	"fmt"
	"math"
	"sync"

	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/mat"
)

// compressed is Deep LoRA in its learning directions: ΔK = left·WL···W1·rightᵀ with left [in, r] and
// right [out, r] found from the kernel's first gradient (compress.go) and W1 … WL [r, r] starting at
// ε·I. It follows deep-wide at a width of r; left and right train at γ times the learning rate.
type compressed struct {
	rank, depth int
	scale       float64 // ε
	gamma       float64 // γ
}

var _ Adapter = (*compressed)(nil)

func newCompressed(s Settings) (Adapter, error) {
	var f faults
	f.rank(s)
	f.unless(s.Rank%2 == 0, "rank %d is odd; want an even one: half of it follows the gradient's left singular vectors, half the right", s.Rank)
	f.depth(s)
	f.initScale(s)
	f.unless(s.Gamma >= 0 && s.Gamma <= math.MaxFloat32, "gamma %g; want 0 (left and right stay frozen) or more, as 0.01", s.Gamma)
	f.onlyVanilla(s)
	return &compressed{rank: s.Rank, depth: s.Depth, scale: s.InitScale, gamma: s.Gamma}, f.err()
}

func (c *compressed) Init(s Site) ([]Factor, error) {
	if err := s.fits(c.rank); err != nil {
		return nil, err
	}
	inner := func() (mat.Matrix, error) { return scaledIdentity(c.scale, c.rank), nil }
	var factors []Factor
	for l := 1; l <= c.depth; l++ {
		factors = append(factors, NewFactor(fmt.Sprintf("W%d", l), c.rank, c.rank, 1, inner))
	}
	// One gradient and one decomposition for both outer factors, and none if neither is drawn.
	outer := sync.OnceValues(func() (outerFactors, error) { return compressSite(s, c.rank) })
	left := func() (mat.Matrix, error) { o, err := outer(); return o.left, err }
	right := func() (mat.Matrix, error) { o, err := outer(); return o.right, err }
	return append(factors,
		NewFactor("left", s.In, c.rank, c.gamma, left),
		NewFactor("right", s.Out, c.rank, c.gamma, right)), nil
}

func scaledIdentity(scale float64, n int) mat.Matrix {
	diagonal := make([]float64, n)
	for i := range diagonal {
		diagonal[i] = scale
	}
	return mat.NewDiagDense(n, diagonal)
}

// Delta is left·WL···W1·rightᵀ of the factors W1, …, WL, left, right.
func (c *compressed) Delta(f []*graph.Node) Delta {
	left, right := f[c.depth], f[c.depth+1]
	chain := Delta{left}
	for l := c.depth; l >= 1; l-- {
		chain = append(chain, f[l-1])
	}
	return append(chain, graph.Transpose(right, 0, 1))
}

// The rule of deep-compressed at rank 8 and depth 3, chosen on STS-B (decision 0028).
const (
	compressedRate  = 4e-3
	compressedScale = 0.05 // ε
	compressedPower = 1.15
	compressedGamma = 0.1 // γ
	compressedFew   = 3
)

// compressedRule keeps the first updates of C = WL···W1 alike: one step of Adam moves each W by a matrix D of entries ±η,
// whose signs agree, so that ‖D‖₂ ~ η·r, and C by L·ε^(L−1)·D as long as D is small beside ε. So η falls as 1/r, and a
// little faster as measured; and ε is such that L·ε^(L−1) is what it is at depth 3.
func compressedRule(s Settings) Ruled {
	r, depth := rankRule(compressedRate, compressedPower)(s), float64(s.Depth)
	r.FewPasses, r.InitScale, r.Gamma = compressedFew, math.Pow(3*compressedScale*compressedScale/depth, 1/(depth-1)), compressedGamma
	return r
}

func compressedParameters(s Settings, in, out int) int {
	return s.Rank*(in+out) + s.Depth*s.Rank*s.Rank
}

// compressedNorm is ε^L for a square kernel, whose left and right are both orthonormal. Of another kernel only the
// factor of the longer side is; that of the shorter has singular values of 1 and less, which depend on the draw, so
// that only the upper bound is certain.
func compressedNorm(s Settings, in, out int) (low, high float64) {
	_, high = deepNorm(s, in, out)
	if in == out {
		low = high
	}
	return low, high
}
