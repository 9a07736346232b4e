package onnx

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute"
)

// operand is one side of a product: which of its axes both have, which are summed over, and its own.
type operand struct {
	n                 *node
	batch, sum, alone []int
}

func newOperand(n *node, sum, batch []int) operand {
	o := operand{n: n, batch: batch, sum: sum}
	for axis := range n.dims {
		if !slices.Contains(batch, axis) && !slices.Contains(sum, axis) {
			o.alone = append(o.alone, axis)
		}
	}
	return o
}

// laid is the value with its axes in an order; one of -1 is an axis of one element.
func (e *emitter) laid(o operand, order []int) string {
	x := e.value(o.n)
	var axes, ones []int
	for at, axis := range order {
		if axis < 0 {
			ones = append(ones, at)
			continue
		}
		axes = append(axes, axis)
	}
	if !slices.IsSorted(axes) {
		x = e.node("Transpose", "", attributes(ints("perm", axes)), x)
	}
	if len(ones) > 0 {
		x = e.node("Unsqueeze", "", nil, x, e.vector(ones))
	}
	return x
}

// product is a sum over one axis of two values. MatMul has the axes of both first, then those of the left alone, of which
// all but the last are axes of one element on the right; then what is summed over.
func (e *emitter) product(n *node) string {
	a, b := newOperand(n.in[0], n.axes[0], n.axes[1]), newOperand(n.in[1], n.axes[2], n.axes[3])
	if len(a.sum) != 1 || len(b.alone) > 1 {
		panic(fmt.Errorf("ONNX: there is no translation of a product over %d axes, with %d of its right side alone", len(a.sum), len(b.alone)))
	}
	if name, ok := e.weighted(a, b); ok {
		return name
	}
	left, right := slices.Clone(a.batch), slices.Clone(b.batch)
	for range max(len(a.alone)-1, 0) {
		right = append(right, -1)
	}
	left = append(left, orOne(a.alone)...)
	left, right = append(left, a.sum[0]), append(right, b.sum[0])
	right = append(right, orOne(b.alone)...)
	y := e.node("MatMul", e.module(b.n), nil, e.laid(a, left), e.laid(b, right))
	var ones []int
	rank := len(n.dims)
	switch {
	case len(a.alone) == 0 && len(b.alone) == 0:
		ones = []int{rank, rank + 1}
	case len(a.alone) == 0:
		ones = []int{rank - 1}
	case len(b.alone) == 0:
		ones = []int{rank}
	default:
		return y
	}
	return e.node("Squeeze", "", nil, y, e.vector(ones))
}

func orOne(axes []int) []int {
	if len(axes) == 0 {
		return []int{-1}
	}
	return axes
}

// weighted is the product with a kernel in 8 bits, a scale a column: its states are made 8 bits where it is computed, by
// their own range, as onnxruntime's dynamic quantization does.
func (e *emitter) weighted(a, b operand) (string, bool) {
	w := b.n
	plain := w.op == compute.OpTypeParameter && len(a.batch) == 0 && len(a.n.dims) == 2 && len(w.dims) == 2 && a.sum[0] == 1 && b.sum[0] == 0
	if !plain || e.inputs[w.name] || e.store(w.name) != Int8 {
		return "", false
	}
	module := e.module(w)
	stored, scales := e.quantized(w, Columns)
	x := e.inBytes(e.value(a.n))
	sum := e.node("MatMulInteger", module, nil, x[0], stored, x[2])
	sum = e.node("Cast", module, toFloat(), sum)
	return e.node("Mul", module, nil, sum, e.node("Mul", module+".scale", nil, x[1], scales)), true
}

// inBytes is a value as whole numbers from 0 to 255: itself, its scale, its zero point.
func (e *emitter) inBytes(x string) [3]string {
	if known, ok := e.bytes[x]; ok {
		return known
	}
	name := e.node("DynamicQuantizeLinear", "", nil, x)
	out := [3]string{name, name + ".scale", name + ".zero"}
	e.last().Output = out[:]
	e.bytes[x] = out
	return out
}

// quantized are the names of a weight in 8 bits and of its scales.
func (e *emitter) quantized(n *node, by Scales) (stored, scales string) {
	return e.place(n, n.name+bitsSuffix, Weight{Storage: Int8, Scales: by}), n.name + scaleSuffix
}
