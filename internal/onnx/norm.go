package onnx

import (
	"math"

	"github.com/gomlx/compute"
)

// layerNorm makes one operator of a layer normalisation over the last axis, which GoMLX's graph has as a dozen operations:
// (x - mean)·(1/√(variance + ε))·weight, and + bias where there is one. It knows exactly these.
func (e *emitter) layerNorm(n *node) (string, bool) {
	var bias *node
	if n.op == compute.OpTypeAdd && n.in[0].op == compute.OpTypeMul && n.in[0].uses == 1 && e.isWeight(n.in[1]) {
		bias, n = bare(n.in[1]), n.in[0]
	}
	if n.op != compute.OpTypeMul || !e.isWeight(n.in[1]) {
		return "", false
	}
	weight, scaled := bare(n.in[1]), n.in[0]
	if scaled.op != compute.OpTypeMul || scaled.uses != 1 {
		return "", false
	}
	centred := scaled.in[0]
	variance, epsilon, ok := reciprocalRoot(bare(scaled.in[1]))
	if !ok || centred.op != compute.OpTypeSub {
		return "", false
	}
	squares, ok := meanOf(variance)
	if !ok || squares.op != compute.OpTypeMul || squares.in[0] != centred || squares.in[1] != centred {
		return "", false
	}
	x, ok := meanOf(centred.in[1])
	if !ok || x != centred.in[0] {
		return "", false
	}
	in := []string{e.value(x), e.value(weight)}
	if bias != nil {
		in = append(in, e.value(bias))
	}
	return e.node("LayerNormalization", e.module(weight), attributes(whole("axis", -1), float("epsilon", epsilon)), in...), true
}

// isWeight reports whether a node is a vector of weights.
func (e *emitter) isWeight(n *node) bool {
	n = bare(n)
	return n.op == compute.OpTypeParameter && !e.inputs[n.name] && len(n.dims) == 1
}

// reciprocalRoot finds v and ε in 1/√(v + ε).
func reciprocalRoot(n *node) (variance *node, epsilon float64, ok bool) {
	if n.op != compute.OpTypeDiv || n.in[1].op != compute.OpTypeSqrt || n.in[1].in[0].op != compute.OpTypeAdd {
		return nil, 0, false
	}
	numerator, isNumber := bare(n.in[0]).number()
	sum := n.in[1].in[0]
	epsilon, hasEpsilon := bare(sum.in[1]).number()
	return sum.in[0], epsilon, isNumber && numerator == 1 && hasEpsilon
}

// meanOf finds x in the mean of x over its last axis.
func meanOf(n *node) (x *node, ok bool) {
	n = bare(n)
	if n.op != compute.OpTypeMul || bare(n.in[0]).op != compute.OpTypeReduceSum {
		return nil, false
	}
	sum := bare(n.in[0])
	share, isNumber := bare(n.in[1]).number()
	x = sum.in[0]
	last := len(x.dims) - 1
	if !isNumber || len(sum.axes[0]) != 1 || sum.axes[0][0] != last || !x.dims[last].fixed() {
		return nil, false
	}
	return x, math.Abs(share*float64(x.dims[last][0])-1) < 1e-6
}
