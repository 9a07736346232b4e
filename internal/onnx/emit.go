package onnx

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"google.golang.org/protobuf/proto"

	"github.com/deeplora/deeplora/internal/onnx/onnxpb"
)

// emitter makes ONNX's nodes of a graph. Names are those that the file has: a value is named by the node that makes it.
type emitter struct {
	sized   string               // the input that sizes are taken from
	inputs  map[string]bool      // parameters that are inputs, not weights
	store   func(string) Storage // how a weight is stored
	graph   *onnxpb.GraphProto   // nodes and small constants, in their order
	weights []Weight             // large ones, in the order they are needed
	names   map[*node]string     // values that are there
	known   map[string]string    // small constants, sizes and shapes, by what they are
	counts  map[string]int       // of values, by their kind
	bytes   map[string][3]string // of a value in 8 bits: itself, its scale, its zero point
}

// operators are operations that ONNX has one operator for, under another name.
var operators = map[compute.OpType]string{
	compute.OpTypeAbs: "Abs", compute.OpTypeErf: "Erf", compute.OpTypeExp: "Exp", compute.OpTypeNeg: "Neg", compute.OpTypeSqrt: "Sqrt",
	compute.OpTypeTanh: "Tanh", compute.OpTypeLogistic: "Sigmoid",
	compute.OpTypeAdd: "Add", compute.OpTypeSub: "Sub", compute.OpTypeMul: "Mul", compute.OpTypeDiv: "Div", compute.OpTypePow: "Pow",
	compute.OpTypeMax: "Max", compute.OpTypeMin: "Min", compute.OpTypeEqual: "Equal", compute.OpTypeLessOrEqual: "LessOrEqual",
}

// value is the name of what a node gives, whose nodes are made first where they are not there yet.
func (e *emitter) value(n *node) string {
	if name, ok := e.names[n]; ok {
		return name
	}
	name := e.emit(n)
	e.names[n] = name
	return name
}

func (e *emitter) emit(n *node) string {
	if name, ok := e.layerNorm(n); ok {
		return name
	}
	if operator, ok := operators[n.op]; ok {
		if len(n.in) == 1 {
			return e.node(operator, "", nil, e.value(n.in[0]))
		}
		return e.elementwise(operator, n)
	}
	switch n.op {
	case compute.OpTypeParameter:
		return e.parameter(n)
	case compute.OpTypeConstant:
		return e.constant(n)
	case compute.OpTypeConvertDType:
		return e.convert(n)
	case compute.OpTypeReshape:
		return e.reshape(n)
	case compute.OpTypeBroadcastInDim:
		thin, _ := e.thin(n)
		return e.node("Expand", "", nil, thin, e.shape(n.dims, false))
	case compute.OpTypeTranspose:
		return e.node("Transpose", "", attributes(ints("perm", n.axes[0])), e.value(n.in[0]))
	case compute.OpTypeIota:
		return e.iota(n)
	case compute.OpTypeSlice:
		return e.slice(n)
	case compute.OpTypeConcatenate:
		var list []string
		for _, in := range n.in {
			list = append(list, e.value(in))
		}
		return e.node("Concat", "", attributes(whole("axis", n.axes[0][0])), list...)
	case compute.OpTypeReduceSum:
		return e.sum(n)
	case compute.OpTypeReduceMax:
		return e.node("ReduceMax", "", attributes(whole("keepdims", 0), ints("axes", n.axes[0])), e.value(n.in[0]))
	case compute.OpTypeFusedSoftmax:
		return e.node("Softmax", "", attributes(whole("axis", n.axes[0][0])), e.value(n.in[0]))
	case compute.OpTypeFusedGelu:
		return e.gelu(n)
	case compute.OpTypeGather:
		return e.gather(n)
	case compute.OpTypeDotGeneral:
		return e.product(n)
	default: // nothing else is recorded
		panic(fmt.Errorf("ONNX: there is no translation of the operation %s", n.op))
	}
}

// node appends an operator. Its name, which that of its output is too, begins with the module whose weight it takes.
func (e *emitter) node(operator, module string, attributes []*onnxpb.AttributeProto, in ...string) string {
	name := operator
	if module != "" {
		name = module + "/" + operator
	}
	if e.counts[name]++; e.counts[name] > 1 || module == "" {
		name = fmt.Sprintf("%s.%d", name, e.counts[name])
	}
	e.graph.Node = append(e.graph.Node, &onnxpb.NodeProto{
		Name: proto.String(name), OpType: proto.String(operator), Input: in, Output: []string{name}, Attribute: attributes,
	})
	return name
}

// last is the node that was appended last.
func (e *emitter) last() *onnxpb.NodeProto { return e.graph.Node[len(e.graph.Node)-1] }

func attributes(list ...*onnxpb.AttributeProto) []*onnxpb.AttributeProto { return list }

func whole(name string, v int) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_INT.Enum(), I: proto.Int64(int64(v))}
}

func float(name string, v float64) *onnxpb.AttributeProto {
	return &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_FLOAT.Enum(), F: proto.Float32(float32(v))}
}

func ints(name string, v []int) *onnxpb.AttributeProto {
	a := &onnxpb.AttributeProto{Name: &name, Type: onnxpb.AttributeProto_INTS.Enum()}
	for _, i := range v {
		a.Ints = append(a.Ints, int64(i))
	}
	return a
}

// module is whose weight a node reads, straight or as a row of it.
func (e *emitter) module(n *node) string {
	n = bare(n)
	if n.op != compute.OpTypeParameter || e.inputs[n.name] {
		return ""
	}
	return n.name[:strings.LastIndexByte(n.name, '.')]
}

// bare is what a value is before it is given other axes.
func bare(n *node) *node {
	for n.op == compute.OpTypeReshape || n.op == compute.OpTypeBroadcastInDim {
		n = n.in[0]
	}
	return n
}

// elementwise is an operator of two, which repeats axes of one element by itself.
func (e *emitter) elementwise(operator string, n *node) string {
	module := e.module(n.in[1])
	if module == "" {
		module = e.module(n.in[0])
	}
	a, dimsA := e.thin(n.in[0])
	b, dimsB := e.thin(n.in[1])
	if !slices.Equal(together(dimsA, dimsB), n.dims) {
		a, dimsA = e.value(n.in[0]), n.in[0].dims
		if !slices.Equal(together(dimsA, dimsB), n.dims) {
			b = e.value(n.in[1])
		}
	}
	return e.node(operator, module, nil, a, b)
}

// together are the axes of what has those of two values, nil where they do not fit.
func together(a, b []size) []size {
	if len(a) < len(b) {
		a, b = b, a
	}
	dims := slices.Clone(a)
	for i, d := range b {
		at := len(a) - len(b) + i
		switch {
		case dims[at] == one:
			dims[at] = d
		case d != one && d != dims[at]:
			return nil
		}
	}
	return dims
}

// thin is a value for an operator that repeats it: before it is repeated, and without leading axes of one element.
func (e *emitter) thin(n *node) (string, []size) {
	switch {
	case n.op == compute.OpTypeBroadcastInDim:
		in, at := n.in[0], n.axes[0]
		dims := make([]size, len(n.dims))
		for i := range dims {
			dims[i] = one
		}
		for i, axis := range at {
			dims[axis] = in.dims[i]
		}
		if len(at) > 0 && at[0] != len(n.dims)-len(at) { // axes behind it, or between its own
			return e.reshaped(in, dims), dims
		}
		return e.thin(in)
	case n.op == compute.OpTypeReshape && len(n.dims) > len(bareDims(n)) && slices.Equal(n.dims[len(n.dims)-len(n.in[0].dims):], n.in[0].dims):
		return e.thin(n.in[0])
	default:
		return e.value(n), n.dims
	}
}

// bareDims are the axes of what a reshape takes, where it puts axes of one element before them; else as many as it gives.
func bareDims(n *node) []size {
	in := n.in[0].dims
	if len(in) >= len(n.dims) {
		return n.dims
	}
	for _, d := range n.dims[:len(n.dims)-len(in)] {
		if d != one {
			return n.dims
		}
	}
	return in
}

// parameter is an input, or a weight as the graph computes with it.
func (e *emitter) parameter(n *node) string {
	if e.inputs[n.name] {
		e.graph.Input = append(e.graph.Input, valueInfo(n.name, onnxpb.TensorProto_INT64, "batch", "sequence"))
		return n.name
	}
	if e.store(n.name) != Float16 { // one in 8 bits is taken so by gather and product; elsewhere as it was
		return e.place(n, n.name, Weight{Storage: Float32})
	}
	return e.node("Cast", e.module(n), toFloat(), e.place(n, n.name, Weight{Storage: Float16}))
}

// place has a weight written to the file, once, under the name that it is stored by.
func (e *emitter) place(n *node, stored string, w Weight) string {
	return e.once("weight "+stored, func() string {
		w.Name = n.name
		for _, d := range n.dims {
			w.Dims = append(w.Dims, d[0])
		}
		e.weights = append(e.weights, w)
		return stored
	})
}

func toFloat() []*onnxpb.AttributeProto {
	return attributes(whole("to", int(onnxpb.TensorProto_FLOAT)))
}

func valueInfo(name string, dtype onnxpb.TensorProto_DataType, axes ...any) *onnxpb.ValueInfoProto {
	shape := &onnxpb.TensorShapeProto{}
	for _, a := range axes {
		d := &onnxpb.TensorShapeProto_Dimension{}
		switch a := a.(type) {
		case string:
			d.Value = &onnxpb.TensorShapeProto_Dimension_DimParam{DimParam: a}
		case int:
			d.Value = &onnxpb.TensorShapeProto_Dimension_DimValue{DimValue: int64(a)}
		}
		shape.Dim = append(shape.Dim, d)
	}
	return &onnxpb.ValueInfoProto{Name: &name, Type: &onnxpb.TypeProto{Value: &onnxpb.TypeProto_TensorType{
		TensorType: &onnxpb.TypeProto_Tensor{ElemType: proto.Int32(int32(dtype)), Shape: shape},
	}}}
}

// typeOf is ONNX's type of a value. Whole numbers have 64 bits, as its shapes do.
func typeOf(dtype dtypes.DType) onnxpb.TensorProto_DataType {
	switch dtype {
	case dtypes.Float32:
		return onnxpb.TensorProto_FLOAT
	case dtypes.Int32, dtypes.Int64:
		return onnxpb.TensorProto_INT64
	case dtypes.Bool:
		return onnxpb.TensorProto_BOOL
	default:
		panic(fmt.Errorf("ONNX: there is no translation of values of %s", dtype))
	}
}

func (e *emitter) convert(n *node) string {
	to := typeOf(n.dtype)
	if typeOf(n.in[0].dtype) == to {
		return e.value(n.in[0])
	}
	return e.node("Cast", "", attributes(whole("to", int(to))), e.value(n.in[0]))
}

// gelu is x·(erf(x/√2) + 1)·½, in the order in which onnxruntime knows it.
func (e *emitter) gelu(n *node) string {
	x := e.value(n.in[0])
	y := e.node("Erf", "", nil, e.node("Div", "", nil, x, e.scalar(math.Sqrt2)))
	y = e.node("Mul", "", nil, x, e.node("Add", "", nil, y, e.scalar(1)))
	return e.node("Mul", "", nil, y, e.scalar(0.5))
}

// reshape gives a value other axes.
func (e *emitter) reshape(n *node) string {
	in := n.in[0]
	for in.op == compute.OpTypeReshape {
		in = in.in[0]
	}
	return e.reshaped(in, n.dims)
}

func (e *emitter) reshaped(in *node, dims []size) string {
	x := e.value(in)
	if slices.Equal(in.dims, dims) {
		return x
	}
	if axes, ok := inserted(in.dims, dims); ok {
		return e.node("Unsqueeze", e.module(in), nil, x, e.vector(axes))
	}
	if axes, ok := inserted(dims, in.dims); ok {
		return e.node("Squeeze", "", nil, x, e.vector(axes))
	}
	return e.node("Reshape", "", nil, x, e.shape(dims, true))
}

// inserted are the axes of one element that make the first dims the second.
func inserted(from, to []size) (axes []int, ok bool) {
	i := 0
	for axis, d := range to {
		switch {
		case i < len(from) && from[i] == d:
			i++
		case d == one:
			axes = append(axes, axis)
		default:
			return nil, false
		}
	}
	return axes, i == len(from) && len(axes) > 0
}

func (e *emitter) iota(n *node) string {
	axis := n.axes[0][0]
	x := e.node("Range", "", nil, e.wholeScalar(size{}), e.wholeScalar(n.dims[axis]), e.wholeScalar(one))
	if n.dtype != dtypes.Int32 {
		x = e.node("Cast", "", attributes(whole("to", int(typeOf(n.dtype)))), x)
	}
	var others []int
	thin := make([]size, len(n.dims))
	for i := range n.dims {
		if thin[i] = one; i == axis {
			thin[i] = n.dims[i]
			continue
		}
		others = append(others, i)
	}
	if len(others) > 0 {
		x = e.node("Unsqueeze", "", nil, x, e.vector(others))
	}
	if !slices.Equal(thin, n.dims) {
		x = e.node("Expand", "", nil, x, e.shape(n.dims, false))
	}
	return x
}

// sum is the mean times how many numbers there are, where these are an axis of floats: a reader in Go, GoMLX's, has no
// ReduceSum, and this is what the pooling mean counts tokens by.
func (e *emitter) sum(n *node) string {
	x, axes := n.in[0], n.axes[0]
	if x.dtype != dtypes.Float32 || len(axes) != 1 {
		return e.node("ReduceSum", "", attributes(whole("keepdims", 0)), e.value(x), e.vector(axes))
	}
	mean := e.node("ReduceMean", "", attributes(whole("keepdims", 0), ints("axes", axes)), e.value(x))
	return e.node("Mul", "", nil, mean, e.node("Cast", "", toFloat(), e.wholeScalar(x.dims[axes[0]])))
}

func (e *emitter) slice(n *node) string {
	var starts, limits []size
	var axes []int
	for i, d := range n.in[0].dims {
		if n.ints[0][i] != (size{}) || n.ints[1][i] != d {
			starts, limits, axes = append(starts, n.ints[0][i]), append(limits, n.ints[1][i]), append(axes, i)
		}
	}
	if len(axes) == 0 {
		return e.value(n.in[0])
	}
	return e.node("Slice", "", nil, e.value(n.in[0]), e.shape(starts, false), e.shape(limits, false), e.vector(axes))
}

// gather takes rows; of a table in few bits it makes numbers of those rows alone.
func (e *emitter) gather(n *node) string {
	table, at := n.in[0], n.in[1]
	var ids string
	if at.op == compute.OpTypeReshape && slices.Equal(at.in[0].dims, at.dims[:len(at.dims)-1]) {
		ids = e.value(at.in[0])
	} else {
		ids = e.reshaped(at, at.dims[:len(at.dims)-1])
	}
	module, axis := e.module(table), attributes(whole("axis", 0))
	if table.op != compute.OpTypeParameter || e.store(table.name) == Float32 {
		return e.node("Gather", module, axis, e.value(table), ids)
	}
	if e.store(table.name) == Float16 {
		stored := e.place(table, table.name, Weight{Storage: Float16})
		return e.node("Cast", module, toFloat(), e.node("Gather", module, axis, stored, ids))
	}
	stored, scales := e.quantized(table, Rows)
	rows := e.node("Cast", module, toFloat(), e.node("Gather", module, axis, stored, ids))
	return e.node("Mul", module, nil, rows, e.node("Gather", module, axis, scales, ids))
}
