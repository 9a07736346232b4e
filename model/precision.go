package model

import (
	"fmt"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/dtypes/float16"
	"github.com/gomlx/compute/dtypes/gotype"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/settings"
)

// Precision says in which numbers the products of the encoder are computed. Sums are always float32, and so is all that
// is no such product.
type Precision string

// The precisions. F32 is the zero value too.
const (
	F32    Precision = "f32"
	bf16   Precision = "bf16"   // kernels and what they are multiplied with rounded to 8 bits
	bf16x3 Precision = "bf16x3" // each as the sum of two bfloat16 numbers, 16 bits: three products
)

// All are the names of the precisions there are, F32 first.
func (Precision) All() []string { return []string{string(F32), string(bf16), string(bf16x3)} }

// narrow reports whether products are of bfloat16 numbers.
func (p Precision) narrow() bool { return p == bf16 || p == bf16x3 }

// Check is an error, about settings, if the engine has no products of this precision.
func (p Precision) Check(backend compute.Backend) error {
	if p.narrow() && backend.Name() != "xla" {
		return settings.Error(fmt.Errorf("precision %s: this engine (%s) computes in float32 only; take xla:cpu or xla:cuda, or precision f32", p, backend.Name()))
	}
	return nil
}

// parts are the bfloat16 numbers that stand for x: x rounded and, for bf16x3, what that leaves of it.
func (p Precision) parts(x *Node) []*Node {
	high := ConvertDType(x, dtypes.BFloat16)
	if p == bf16 {
		return []*Node{high}
	}
	return []*Node{high, ConvertDType(Sub(x, ConvertDType(high, x.DType())), dtypes.BFloat16)}
}

// hold makes a kernel [In, Out] what Frozen computes with in a precision: bfloat16 [In, Out] or, as parts, bfloat16
// [2, In, Out]. One that is bfloat16 already has no second part: [1, In, Out].
func (p Precision) hold(w *Node) *Node {
	parts := []*Node{w}
	if w.DType() != dtypes.BFloat16 {
		parts = p.parts(ConvertDType(w, dtypes.Float32))
	}
	if p == bf16 {
		return parts[0]
	}
	return Stack(parts, 0)
}

// held are the parts of a kernel that hold made, and the precision that it is held in.
func held(k *Node) (Precision, []*Node) {
	if k.Rank() == 2 {
		return bf16, []*Node{k}
	}
	var parts []*Node
	for i := range k.Shape().Dim(0) {
		parts = append(parts, Squeeze(SliceAxis(k, 0, AxisElem(i)), 0))
	}
	return bf16x3, parts
}

// Hold replaces the kernels whose weights are not among trained by what Frozen computes with in the precision, on the
// backend, and frees them. It is an error if the backend (an error about settings) or the checkpoint's dtype cannot:
// products of bfloat16 with sums of float32 are XLA's, and start from float32.
//
// Tables of embeddings stay as they are: those that the files have in 16 bits lose nothing in them, and others would.
func (c *Checkpoint) Hold(p Precision, backend compute.Backend, trained func(weight string) bool) error {
	if err := p.Check(backend); err != nil {
		return err
	}
	err := graphx.Try("hold kernels as "+string(p), func() {
		hold := graphx.Must(NewExec(backend, p.hold))
		defer hold.Finalize()
		widen := graphx.Must(NewExec(backend, func(w *Node) *Node { return ConvertDType(w, dtypes.Float32) }))
		defer widen.Finalize()
		for _, k := range c.Config.Kernels() {
			w := c.Tensors[k.Weight()]
			if w == nil { // of an Encoder's pooler
				continue
			}
			exec := hold
			switch half := w.DType().IsHalfPrecision(); {
			case half && (trained(k.Weight()) || !p.narrow()):
				exec = widen
			case !p.narrow() || k.Lookup || trained(k.Weight()) || p == bf16 && w.DType() == dtypes.BFloat16:
				continue
			case !half && w.DType() != dtypes.Float32:
				panic(fmt.Errorf("%s is %s; want Float32", k.Weight(), w.DType()))
			}
			c.Tensors[k.Weight()] = graphx.Must(exec.Call(w))[0]
			w.MustFinalizeAll()
		}
	})
	if err == nil {
		c.Precision = p
	}
	return err
}

// Float32 are the values of a tensor, also of a table that is held in 16 bits.
func (c *Checkpoint) Float32(name string) ([]float32, error) {
	t := c.Tensors[name]
	switch t.DType() {
	case dtypes.BFloat16:
		return widened[bfloat16.BFloat16](t)
	case dtypes.Float16:
		return widened[float16.Float16](t)
	}
	return tensors.CopyFlatData[float32](t)
}

func widened[T interface {
	gotype.Supported
	Float32() float32
}](t *tensors.Tensor) ([]float32, error) {
	flat, err := tensors.CopyFlatData[T](t)
	wide := make([]float32, len(flat))
	for i, v := range flat {
		wide[i] = v.Float32()
	}
	return wide, err
}

// Hook is the plain model in a precision: Frozen, and kernels that are trained, which are float32, rounded in the graph at
// every step. What is trained keeps all its bits, as an update is often smaller than bfloat16's.
func (p Precision) Hook(k Kernel, x, w *Node) *Node {
	if k.Lookup || w.DType() != dtypes.Float32 {
		return Frozen(k, x, w)
	}
	return p.Product(x, w)
}

// Product is x·K in a precision, with gradients by both in it: x [rows, In], K [In, Out] -> [rows, Out], all float32.
func (p Precision) Product(x, k *Node) *Node {
	if !p.narrow() {
		return Dot(x, k).Product()
	}
	return p.einsum(matrices, x, k)
}

// heldProduct is x·K for a kernel that Hold made: x [rows, In] -> [rows, Out], float32.
func heldProduct(x, k *Node) *Node {
	p, parts := held(k)
	return graphx.WithGradient([]*Node{x}, matrices.dims(x, parts[0]), func() *Node { return matrices.sum(p.parts(x), parts) }, func(_ int, _ []*Node, v *Node) *Node {
		return matrices.byX().sum(p.parts(v), parts)
	})
}

// einsum is a product of float32 numbers in a precision, with gradients by both in it.
func (p Precision) einsum(e equation, x, k *Node) *Node {
	if !p.narrow() {
		return Einsum(e.x+","+e.k+"->"+e.y, x, k)
	}
	return graphx.WithGradient([]*Node{x, k}, e.dims(x, k), func() *Node { return e.sum(p.parts(x), p.parts(k)) }, func(i int, again []*Node, v *Node) *Node {
		if i == 0 {
			return e.byX().sum(p.parts(v), p.parts(again[1]))
		}
		return e.byK().sum(p.parts(again[0]), p.parts(v))
	})
}

// ofStates is a product of two states, none of them a kernel: attention's. In bf16 it is one of bfloat16 numbers, as
// autocast has it. bf16x3 leaves it float32: over the few numbers of a head, three products cost more than one.
func (p Precision) ofStates(e equation, x, y *Node) *Node {
	if p != bf16 {
		p = F32
	}
	return p.einsum(e, x, y)
}

// rounded are the numbers of x that bfloat16 has, held in it. XLA would take such a conversion out again, were there no
// barrier. It has no gradient.
func rounded(x *Node) *Node {
	return ConvertDType(graphx.Barrier(ConvertDType(x, dtypes.BFloat16)), x.DType())
}

// kept is a state that backward needs again. In bf16 it is rounded, as autocast hands it on, and takes half the memory.
func (p Precision) kept(x *Node) *Node {
	if p != bf16 {
		return x
	}
	return graphx.WithGradient([]*Node{x}, x.Shape().Dimensions, func() *Node { return rounded(x) }, func(_ int, _ []*Node, v *Node) *Node { return v })
}

// softmax is Softmax over the last axis. In bf16 it is rounded, and its gradient taken from that.
func (p Precision) softmax(x *Node) *Node {
	if p != bf16 {
		return Softmax(x, -1)
	}
	var y *Node
	return graphx.WithGradient([]*Node{x}, x.Shape().Dimensions, func() *Node {
		y = rounded(Softmax(x, -1))
		return y
	}, func(_ int, again []*Node, v *Node) *Node {
		y := y
		if again[0] != x { // gradient checkpointing computes it a second time, so that y need not be held
			y = rounded(Softmax(again[0], -1))
		}
		// By its sum, as what is rounded does not sum to 1: a v that is equal everywhere must give nothing.
		mean := Div(ReduceAndKeep(Mul(y, v), ReduceSum, -1), ReduceAndKeep(y, ReduceSum, -1))
		return Mul(y, Sub(v, mean))
	})
}

// equation is a product as Einsum writes it, x,k->y, a letter an axis. Each letter stands in two of the three, so that
// the gradients are equations too.
type equation struct{ x, k, y string }

var matrices = equation{"ri", "io", "ro"} // x [rows, In], K [In, Out]

func (e equation) byX() equation { return equation{e.y, e.k, e.x} }
func (e equation) byK() equation { return equation{e.x, e.y, e.k} }

// dims is the shape of y.
func (e equation) dims(x, k *Node) []int {
	dims := make([]int, len(e.y))
	for i, axis := range e.y {
		if at := strings.IndexRune(e.x, axis); at >= 0 {
			dims[i] = x.Shape().Dim(at)
		} else {
			dims[i] = k.Shape().Dim(strings.IndexRune(e.k, axis))
		}
	}
	return dims
}

// sum is the product of numbers in parts. Of two parts each, the product of the low ones is left out: it is as
// small as what the parts lack of their numbers, 2⁻¹⁸.
func (e equation) sum(x, k []*Node) *Node {
	y := e.dot(x[0], k[0])
	switch {
	case len(x) == 1:
		return y
	case len(k) == 1: // whose low part is 0
		return Add(y, e.dot(x[1], k[0]))
	default:
		return Add(y, Add(e.dot(x[0], k[1]), e.dot(x[1], k[0])))
	}
}

// dot is the one form of a bfloat16 product with float32 sums that XLA hands to its fast kernels as it is: with an
// accumulator of float32 go-xla asks for an algorithm by name, for which both operands are converted back.
//
// It has them only for an x that is summed over its last axes. Of another, as in gradients by kernels, its CPU plugin computes
// float32's product of the same numbers, and many of that kind at once, as in attention, end in an error when they are run.
// Such an x is turned first, and a barrier keeps XLA from undoing that.
func (e equation) dot(x, k *Node) *Node {
	var summed, batch, own string // axes of x: of x and k alone, of all three, of x and y alone
	for _, axis := range e.x {
		switch {
		case !strings.ContainsRune(e.y, axis):
			summed += string(axis)
		case strings.ContainsRune(e.k, axis):
			batch += string(axis)
		default:
			own += string(axis)
		}
	}
	if !strings.HasSuffix(e.x, summed) {
		turned := batch + own + summed
		x, e.x = graphx.Barrier(TransposeAllDims(x, axesOf(e.x, turned)...)), turned
	}
	y := Dot(x, k).WithAccumulatorDType(dtypes.BFloat16).WithOutputDType(dtypes.Float32).
		General(axesOf(e.x, summed), axesOf(e.x, batch), axesOf(e.k, summed), axesOf(e.k, batch))
	axes := batch + own
	for _, axis := range e.k {
		if !strings.ContainsRune(e.x, axis) {
			axes += string(axis)
		}
	}
	if axes == e.y {
		return y
	}
	return TransposeAllDims(y, axesOf(axes, e.y)...)
}

// axesOf are the places of some axes in a list of them.
func axesOf(list, some string) []int {
	places := make([]int, len(some))
	for i, axis := range some {
		places[i] = strings.IndexRune(list, axis)
	}
	return places
}
