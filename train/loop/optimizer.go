package loop

import (
	"math"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// AdamW's constants, the reference's (method.md 2.4). Epsilon is added to √v̂ after bias correction, and it
// matters: at the tiny gradients of deep factors early steps behave like plain descent at rate lr/ε.
const (
	beta1   = 0.9
	beta2   = 0.999
	epsilon = 1e-6
)

// adamW is one update of one parameter with its moments m and v:
// p ← p − lr·(m̂/(√v̂+ε) + decay·p), with bias corrections 1−β₁ᵗ and 1−β₂ᵗ given as scalars.
func adamW(p, gradient, m, v, lr, correction1, correction2 *Node, decay float64) (p1, m1, v1 *Node) {
	m1 = Add(MulScalar(m, beta1), MulScalar(gradient, 1-beta1))
	v1 = Add(MulScalar(v, beta2), MulScalar(Square(gradient), 1-beta2))
	update := Div(Div(m1, correction1), AddScalar(Sqrt(Div(v1, correction2)), epsilon))
	if decay > 0 {
		update = Add(update, MulScalar(p, decay))
	}
	return Sub(p, Mul(lr, update)), m1, v1
}

// biasCorrections are 1−β₁ᵗ and 1−β₂ᵗ of update t, from 1. They are computed here and not in the graph:
// in float32, 1−0.999ᵗ loses five digits.
func biasCorrections(t int) (c1, c2 float64) {
	return 1 - math.Pow(beta1, float64(t)), 1 - math.Pow(beta2, float64(t))
}

// globalNorm is the Euclidean norm of all gradients together.
func globalNorm(gradients []*Node) *Node {
	sum := ReduceAllSum(Square(gradients[0]))
	for _, g := range gradients[1:] {
		sum = Add(sum, ReduceAllSum(Square(g)))
	}
	return Sqrt(sum)
}

// clipped scales gradients so that their global norm is at most limit.
func clipped(gradients []*Node, norm *Node, limit float64) []*Node {
	scale := MinScalar(Div(Scalar(norm.Graph(), norm.DType(), limit), AddScalar(norm, 1e-6)), 1)
	scaled := make([]*Node, len(gradients))
	for i, g := range gradients {
		scaled[i] = Mul(g, scale)
	}
	return scaled
}
