package onnx

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/onnx/onnxpb"
)

// value is what an operator gives: a node, or numbers that are known already.
type value struct {
	node *Node
	numbers
}

// call is an operator of the file with its inputs.
type call struct {
	g  *Graph
	op *onnxpb.NodeProto
	in []value
}

// build gives the output of the file's graph.
func (p *Program) build(g *Graph, at map[string]value) *Node {
	for _, op := range p.graph.Node {
		c := call{g: g, op: op}
		for _, name := range op.Input {
			v, ok := at[name]
			if !ok {
				panic(fmt.Errorf("%s: there is no %s before it", op.GetName(), name))
			}
			c.in = append(c.in, v)
		}
		run, ok := calls[op.GetOpType()]
		if !ok {
			panic(fmt.Errorf("%s: the operator %s is not known", op.GetName(), op.GetOpType()))
		}
		for i, v := range run(c) {
			at[op.Output[i]] = v
		}
	}
	out := at[p.graph.Output[0].GetName()]
	if out.node == nil {
		panic(fmt.Errorf("there is no output %s", p.graph.Output[0].GetName()))
	}
	return out.node
}

// calls are ONNX's operators, by their names.
var calls = callsByName()

func callsByName() map[string]func(c call) []value {
	one := func(f func(c call) *Node) func(c call) []value {
		return func(c call) []value { return []value{{node: f(c)}} }
	}
	calls := map[string]func(c call) []value{
		"Identity": one(func(c call) *Node { return c.node(0) }),
		"Shape":    call.shape, "Range": one(call.rangeOf), "Concat": call.concat, "Squeeze": call.squeeze, "Mul": call.mul, "Add": call.add,
		"Reshape": call.reshape, "DynamicQuantizeLinear": call.inBytes,
		"Unsqueeze":          one(func(c call) *Node { return ExpandAxes(c.node(0), c.in[1].flat...) }),
		"Expand":             one(call.expand),
		"Slice":              one(call.slice),
		"Gather":             one(func(c call) *Node { return Gather(c.node(0), InsertAxes(c.node(1), -1)) }),
		"Cast":               one(call.cast),
		"Transpose":          one(func(c call) *Node { return TransposeAllAxes(c.node(0), c.ints("perm")...) }),
		"MatMul":             one(func(c call) *Node { return matMul(c.node(0), c.node(1)) }),
		"MatMulInteger":      one(call.matMulInteger),
		"Softmax":            one(func(c call) *Node { return Softmax(c.node(0), c.whole("axis")) }),
		"LayerNormalization": one(call.layerNormalization),
		"ReduceSum":          one(func(c call) *Node { return ReduceSum(c.node(0), c.in[1].flat...) }),
		"ReduceMean":         one(func(c call) *Node { return ReduceMean(c.node(0), c.ints("axes")...) }),
		"ReduceMax":          one(func(c call) *Node { return ReduceMax(c.node(0), c.ints("axes")...) }),
	}
	for name, f := range map[string]func(a, b *Node) *Node{"Sub": Sub, "Div": Div, "Pow": Pow, "Max": Max, "Min": Min, "Equal": Equal, "LessOrEqual": LessOrEqual} {
		calls[name] = one(func(c call) *Node { return f(aligned2(c.node(0), c.node(1))) })
	}
	for name, f := range map[string]func(x *Node) *Node{"Abs": Abs, "Erf": Erf, "Exp": Exp, "Neg": Neg, "Sqrt": Sqrt, "Tanh": Tanh, "Sigmoid": Sigmoid} {
		calls[name] = one(func(c call) *Node { return f(c.node(0)) })
	}
	return calls
}

// node is an input as a node.
func (c call) node(i int) *Node {
	v := c.in[i]
	if v.node != nil {
		return v.node
	}
	flat := make([]int32, len(v.flat))
	for i, x := range v.flat {
		flat[i] = int32(x)
	}
	return Const(c.g, tensors.FromFlatDataAndDimensions(flat, v.dims...))
}

func (c call) attribute(name string) *onnxpb.AttributeProto {
	for _, a := range c.op.Attribute {
		if a.GetName() == name {
			return a
		}
	}
	panic(fmt.Errorf("%s: it has no %s", c.op.GetName(), name))
}

func (c call) whole(name string) int { return int(c.attribute(name).GetI()) }

func (c call) ints(name string) (list []int) {
	for _, v := range c.attribute(name).Ints {
		list = append(list, int(v))
	}
	return list
}

// known reports whether all inputs are numbers.
func (c call) known() bool {
	return !slices.ContainsFunc(c.in, func(v value) bool { return v.node != nil })
}

func (c call) shape() []value {
	dims := c.node(0).Shape().Dimensions[c.whole("start"):c.whole("end")]
	return []value{{numbers: numbers{flat: dims, dims: []int{len(dims)}}}}
}

func (c call) rangeOf() *Node {
	if c.in[0].flat[0] != 0 || c.in[2].flat[0] != 1 {
		panic(fmt.Errorf("%s: it goes from %d by %d", c.op.GetName(), c.in[0].flat[0], c.in[2].flat[0]))
	}
	return Iota(c.g, shapes.Make(dtypes.Int32, c.in[1].flat[0]), 0)
}

func (c call) concat() []value {
	if c.known() {
		var flat []int
		for _, v := range c.in {
			flat = append(flat, v.flat...)
		}
		return []value{{numbers: numbers{flat: flat, dims: []int{len(flat)}}}}
	}
	var list []*Node
	for i := range c.in {
		list = append(list, c.node(i))
	}
	return []value{{node: Concatenate(list, c.whole("axis"))}}
}

func (c call) squeeze() []value {
	if c.known() {
		return []value{{numbers: numbers{flat: c.in[0].flat}}}
	}
	return []value{{node: Squeeze(c.node(0), c.in[1].flat...)}}
}

func (c call) mul() []value {
	return c.sum(Mul, func(a, b int) int { return a * b })
}

func (c call) add() []value {
	return c.sum(Add, func(a, b int) int { return a + b })
}

// sum is an operator of nodes, and of sizes.
func (c call) sum(nodes func(a, b *Node) *Node, sizes func(a, b int) int) []value {
	if c.known() && len(c.in[0].flat) == 1 && len(c.in[1].flat) == 1 {
		return []value{{numbers: numbers{flat: []int{sizes(c.in[0].flat[0], c.in[1].flat[0])}, dims: c.in[0].dims}}}
	}
	return []value{{node: nodes(aligned2(c.node(0), c.node(1)))}}
}

func (c call) reshape() []value {
	if c.known() {
		return []value{{numbers: numbers{flat: c.in[0].flat, dims: c.in[1].flat}}}
	}
	return []value{{node: Reshape(c.node(0), c.in[1].flat...)}}
}

// aligned2 are two values with as many axes: those that one lacks come first, of one element.
func aligned2(a, b *Node) (*Node, *Node) {
	rank := max(a.Rank(), b.Rank())
	return ExpandLeftToRank(a, rank), ExpandLeftToRank(b, rank)
}

func (c call) expand() *Node {
	dims := slices.Clone(c.in[1].flat)
	x := ExpandLeftToRank(c.node(0), len(dims))
	for i, d := range x.Shape().Dimensions {
		dims[i] = max(dims[i], d)
	}
	return BroadcastToDims(x, dims...)
}

func (c call) slice() *Node {
	x := c.node(0)
	for i, axis := range c.in[3].flat {
		x = SliceAxis(x, axis, AxisRange(c.in[1].flat[i], c.in[2].flat[i]))
	}
	return x
}

func (c call) cast() *Node {
	switch to := onnxpb.TensorProto_DataType(c.whole("to")); to {
	case onnxpb.TensorProto_FLOAT:
		return ConvertDType(c.node(0), dtypes.Float32)
	case onnxpb.TensorProto_INT64:
		return ConvertDType(c.node(0), dtypes.Int32)
	default:
		panic(fmt.Errorf("%s: it makes %v", c.op.GetName(), to))
	}
}

// matMul is the product over the last axis of a and the last but one of b; the axes before are those of both.
func matMul(a, b *Node) *Node {
	a, b = aligned2(a, b)
	rank := a.Rank()
	both, batch := slices.Clone(a.Shape().Dimensions[:rank-2]), make([][2]int, rank-2)
	for i := range both {
		both[i], batch[i] = max(both[i], b.Shape().Dim(i)), [2]int{i, i}
	}
	a = BroadcastToDims(a, append(slices.Clone(both), a.Shape().Dimensions[rank-2:]...)...)
	b = BroadcastToDims(b, append(both, b.Shape().Dimensions[rank-2:]...)...)
	return EinsumAxes(a, b, [][2]int{{rank - 1, rank - 2}}, batch)
}

func (c call) layerNormalization() *Node {
	x := c.node(0)
	centred := Sub(x, ReduceAndKeep(x, ReduceMean, -1))
	variance := ReduceAndKeep(Square(centred), ReduceMean, -1)
	y := Mul(Div(centred, Sqrt(AddScalar(variance, float64(c.attribute("epsilon").GetF())))), ExpandLeftToRank(c.node(1), x.Rank()))
	if len(c.in) == 3 {
		y = Add(y, ExpandLeftToRank(c.node(2), x.Rank()))
	}
	return y
}

// inBytes gives values as whole numbers from 0 to 255, their scale and what number stands for 0. The numbers are held as
// float32, which has all of them.
func (c call) inBytes() []value {
	x := c.node(0)
	zero := ScalarZero(c.g, x.DType())
	least, most := Min(ReduceAllMin(x), zero), Max(ReduceAllMax(x), zero)
	scale := DivScalar(Sub(most, least), 255)
	origin := ClipScalar(Round(Neg(Div(least, scale))), 0, 255)
	return []value{{node: ClipScalar(Add(Round(Div(x, scale)), origin), 0, 255)}, {node: scale}, {node: origin}}
}

// matMulInteger is exact in float64.
func (c call) matMulInteger() *Node {
	x := ConvertDType(Sub(c.node(0), c.node(2)), dtypes.Float64)
	return matMul(x, ConvertDType(c.node(1), dtypes.Float64))
}
