package model

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/settings"
)

// Precision says in which numbers the products with frozen kernels are computed. Sums are always float32, and so is all
// that is no such product.
type Precision string

// The precisions. F32 is the zero value too.
const (
	F32    Precision = "f32"
	bf16   Precision = "bf16"   // kernels and what they are multiplied with rounded to 8 bits
	bf16x3 Precision = "bf16x3" // each as the sum of two bfloat16 numbers, 16 bits: three products
)

// All are the names of the precisions there are, F32 first.
func (Precision) All() []string { return []string{string(F32), string(bf16), string(bf16x3)} }

// hold makes a kernel [In, Out], float32, what Frozen computes with in a precision: bfloat16 [In, Out] or, as two parts,
// bfloat16 [2, In, Out].
func (p Precision) hold(w *Node) *Node {
	high := ConvertDType(w, dtypes.BFloat16)
	if p == bf16 {
		return high
	}
	return Stack([]*Node{high, low(w, high)}, 0)
}

// low is what of x is left by its bfloat16 part.
func low(x, high *Node) *Node {
	return ConvertDType(Sub(x, ConvertDType(high, x.DType())), dtypes.BFloat16)
}

// Hold replaces the kernels whose weights are not among trained by what Frozen computes with in the precision, on the
// backend, and frees them. It is an error if the backend (an error about settings) or the checkpoint's dtype cannot:
// products of bfloat16 with sums of float32 are XLA's, and start from float32.
func (c *Checkpoint) Hold(p Precision, backend compute.Backend, trained func(weight string) bool) error {
	if p == "" || p == F32 {
		return nil
	}
	if backend.Name() != "xla" {
		return settings.Error(fmt.Errorf("precision %s: this engine (%s) computes in float32 only; take xla:cpu or xla:cuda, or precision f32", p, backend.Name()))
	}
	return graphx.Try("hold kernels as "+string(p), func() {
		exec := graphx.Must(NewExec(backend, p.hold))
		defer exec.Finalize()
		for _, k := range c.Config.Kernels() {
			if k.Lookup || trained(k.Weight()) {
				continue
			}
			w := c.Tensors[k.Weight()]
			if w.DType() != dtypes.Float32 {
				panic(fmt.Errorf("%s is %s; want Float32", k.Weight(), w.DType()))
			}
			c.Tensors[k.Weight()] = graphx.Must(exec.Call(w))[0]
			w.MustFinalizeAll()
		}
	})
}

// heldProduct is x·K for a kernel that Hold made: x [rows, In] -> [rows, Out], float32.
func heldProduct(x, k *Node) *Node {
	shape := []int{x.Shape().Dim(0), k.Shape().Dim(-1)}
	return graphx.WithGradient(x, shape, func() *Node { return inParts(x, k, 0) }, func(v *Node) *Node { return inParts(v, k, 1) })
}

// inParts is x·K or, with axis 1, x·Kᵀ. Of two parts each, the product of the low ones is left out: it is below float32's
// own rounding.
func inParts(x, k *Node, axis int) *Node {
	high := ConvertDType(x, dtypes.BFloat16)
	if k.Rank() == 2 {
		return fastDot(high, k, axis)
	}
	part := func(i int) *Node { return Squeeze(SliceAxis(k, 0, AxisElem(i)), 0) }
	small := Add(fastDot(high, part(1), axis), fastDot(low(x, high), part(0), axis))
	return Add(fastDot(high, part(0), axis), small)
}

// fastDot is the one form of a bfloat16 product with float32 sums that XLA hands to its fast kernels as it is: with an
// accumulator of float32 go-xla asks for an algorithm by name, for which both operands are converted back.
func fastDot(x, k *Node, axis int) *Node {
	return Dot(x, k).WithAccumulatorDType(dtypes.BFloat16).WithOutputDType(dtypes.Float32).General([]int{1}, nil, []int{axis}, nil)
}
