package onnx

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/notimplemented"
	"github.com/gomlx/compute/shapeinference"
	"github.com/gomlx/compute/shapes"
)

// recorder is a GoMLX engine that computes nothing: it notes the operations of one graph, in their order.
type recorder struct {
	notimplemented.Backend
	main *recording
}

// recordedOp is an operation with the sizes of one trace.
type recordedOp struct {
	op    compute.OpType
	in    []*recordedOp
	shape shapes.Shape
	name  string  // of a parameter
	flat  any     // of a constant: a slice
	ints  [][]int // its numbers that may depend on the sizes: starts and limits of a slice
	axes  [][]int // its axes, which do not
}

// recording is the function that is built.
type recording struct {
	notimplemented.Function
	builder *recordingBuilder
	ops     []*recordedOp
	output  *recordedOp
}

type recordingBuilder struct {
	notimplemented.Builder
	main *recording
}

var (
	_ compute.Backend  = (*recorder)(nil)
	_ compute.Builder  = (*recordingBuilder)(nil)
	_ compute.Function = (*recording)(nil)
)

func newRecorder() *recorder {
	unknown := func(op compute.OpType) error {
		return fmt.Errorf("ONNX: there is no translation of the operation %s: %w", op, compute.ErrNotImplemented)
	}
	main := &recording{Function: notimplemented.Function{ErrFn: unknown}}
	main.builder = &recordingBuilder{Builder: notimplemented.Builder{ErrFn: unknown}, main: main}
	return &recorder{main: main}
}

// Builder gives the one graph that a recorder is for.
func (r *recorder) Builder(string) compute.Builder { return r.main.builder }

func (b *recordingBuilder) Main() compute.Function { return b.main }

func (b *recordingBuilder) OpShape(v compute.Value) (shapes.Shape, error) { return b.main.Shape(v) }

// Compile ends the recording. There is nothing to be run.
func (b *recordingBuilder) Compile() (compute.Executable, error) { return nil, nil }

func (r *recording) Builder() compute.Builder { return r.builder }

func (r *recording) Shape(v compute.Value) (shapes.Shape, error) { return v.(*recordedOp).shape, nil }

func (r *recording) Return(outputs []compute.Value, _ []*compute.ShardingSpec) error {
	if len(outputs) != 1 {
		return fmt.Errorf("ONNX: %d outputs; want one", len(outputs))
	}
	r.output = outputs[0].(*recordedOp)
	return nil
}

// add notes an operation whose shape has been found.
func (r *recording) add(o recordedOp, shape shapes.Shape, err error) (compute.Value, error) {
	if err != nil {
		return nil, err
	}
	o.shape = shape
	r.ops = append(r.ops, &o)
	return &o, nil
}

func values(list ...compute.Value) (ops []*recordedOp) {
	for _, v := range list {
		ops = append(ops, v.(*recordedOp))
	}
	return ops
}

func (r *recording) Parameter(name string, shape shapes.Shape, _ *compute.ShardingSpec) (compute.Value, error) {
	return r.add(recordedOp{op: compute.OpTypeParameter, name: name}, shape, nil)
}

func (r *recording) Constant(flat any, dims ...int) (compute.Value, error) {
	v := reflect.ValueOf(flat)
	if v.Kind() != reflect.Slice {
		return nil, fmt.Errorf("ONNX: a constant of %T; want a slice", flat)
	}
	own := reflect.MakeSlice(v.Type(), v.Len(), v.Len()) // the caller may use its slice again
	reflect.Copy(own, v)
	return r.add(recordedOp{op: compute.OpTypeConstant, flat: own.Interface()}, shapes.Make(dtypes.FromGoType(v.Type().Elem()), dims...), nil)
}

// unary notes a function of each element.
func (r *recording) unary(op compute.OpType, x compute.Value) (compute.Value, error) {
	shape, err := shapeinference.UnaryOp(op, x.(*recordedOp).shape)
	return r.add(recordedOp{op: op, in: values(x)}, shape, err)
}

// binary notes a function of the elements of two.
func (r *recording) binary(op compute.OpType, a, b compute.Value) (compute.Value, error) {
	shape, err := shapeinference.BinaryOp(op, a.(*recordedOp).shape, b.(*recordedOp).shape)
	return r.add(recordedOp{op: op, in: values(a, b)}, shape, err)
}

func (r *recording) compare(op compute.OpType, a, b compute.Value) (compute.Value, error) {
	shape, err := shapeinference.ComparisonOp(op, a.(*recordedOp).shape, b.(*recordedOp).shape)
	return r.add(recordedOp{op: op, in: values(a, b)}, shape, err)
}

func (r *recording) reduce(op compute.OpType, x compute.Value, axes []int) (compute.Value, error) {
	shape, err := shapeinference.Reduce(x.(*recordedOp).shape, axes)
	return r.add(recordedOp{op: op, in: values(x), axes: [][]int{slices.Clone(axes)}}, shape, err)
}

func (r *recording) Abs(x compute.Value) (compute.Value, error) { return r.unary(compute.OpTypeAbs, x) }

func (r *recording) Erf(x compute.Value) (compute.Value, error) { return r.unary(compute.OpTypeErf, x) }

func (r *recording) Exp(x compute.Value) (compute.Value, error) { return r.unary(compute.OpTypeExp, x) }

func (r *recording) Neg(x compute.Value) (compute.Value, error) { return r.unary(compute.OpTypeNeg, x) }

func (r *recording) Sqrt(x compute.Value) (compute.Value, error) {
	return r.unary(compute.OpTypeSqrt, x)
}

func (r *recording) Tanh(x compute.Value) (compute.Value, error) {
	return r.unary(compute.OpTypeTanh, x)
}

func (r *recording) Logistic(x compute.Value) (compute.Value, error) {
	return r.unary(compute.OpTypeLogistic, x)
}
func (r *recording) Identity(x compute.Value) (compute.Value, error) { return x, nil }

func (r *recording) Add(a, b compute.Value) (compute.Value, error) {
	return r.binary(compute.OpTypeAdd, a, b)
}

func (r *recording) Sub(a, b compute.Value) (compute.Value, error) {
	return r.binary(compute.OpTypeSub, a, b)
}

func (r *recording) Mul(a, b compute.Value) (compute.Value, error) {
	return r.binary(compute.OpTypeMul, a, b)
}

func (r *recording) Div(a, b compute.Value) (compute.Value, error) {
	return r.binary(compute.OpTypeDiv, a, b)
}

func (r *recording) Pow(a, b compute.Value) (compute.Value, error) {
	return r.binary(compute.OpTypePow, a, b)
}

func (r *recording) Max(a, b compute.Value) (compute.Value, error) {
	return r.binary(compute.OpTypeMax, a, b)
}

func (r *recording) Min(a, b compute.Value) (compute.Value, error) {
	return r.binary(compute.OpTypeMin, a, b)
}

func (r *recording) Equal(a, b compute.Value) (compute.Value, error) {
	return r.compare(compute.OpTypeEqual, a, b)
}

func (r *recording) LessOrEqual(a, b compute.Value) (compute.Value, error) {
	return r.compare(compute.OpTypeLessOrEqual, a, b)
}

func (r *recording) ReduceSum(x compute.Value, axes ...int) (compute.Value, error) {
	return r.reduce(compute.OpTypeReduceSum, x, axes)
}

func (r *recording) ReduceMax(x compute.Value, axes ...int) (compute.Value, error) {
	return r.reduce(compute.OpTypeReduceMax, x, axes)
}

func (r *recording) ConvertDType(x compute.Value, dtype dtypes.DType) (compute.Value, error) {
	shape := x.(*recordedOp).shape.Clone()
	shape.DType = dtype
	return r.add(recordedOp{op: compute.OpTypeConvertDType, in: values(x)}, shape, nil)
}

func (r *recording) Reshape(x compute.Value, dims ...int) (compute.Value, error) {
	shape, err := shapeinference.Reshape(x.(*recordedOp).shape, dims)
	return r.add(recordedOp{op: compute.OpTypeReshape, in: values(x)}, shape, err)
}

func (r *recording) Transpose(x compute.Value, permutation ...int) (compute.Value, error) {
	shape, err := shapeinference.Transpose(x.(*recordedOp).shape, permutation)
	return r.add(recordedOp{op: compute.OpTypeTranspose, in: values(x), axes: [][]int{slices.Clone(permutation)}}, shape, err)
}

// BroadcastInDim repeats x along the axes of the output that are not among axes, or of which x has one element.
func (r *recording) BroadcastInDim(x compute.Value, output shapes.Shape, axes []int) (compute.Value, error) {
	return r.add(recordedOp{op: compute.OpTypeBroadcastInDim, in: values(x), axes: [][]int{slices.Clone(axes)}}, output, nil)
}

func (r *recording) Iota(shape shapes.Shape, axis int) (compute.Value, error) {
	return r.add(recordedOp{op: compute.OpTypeIota, axes: [][]int{{axis}}}, shape, nil)
}

func (r *recording) Slice(x compute.Value, starts, limits, strides []int) (compute.Value, error) {
	for _, s := range strides {
		if s != 1 {
			return nil, errors.New("ONNX: there is no translation of slices with strides")
		}
	}
	shape, err := shapeinference.Slice(x.(*recordedOp).shape, starts, limits, strides)
	return r.add(recordedOp{op: compute.OpTypeSlice, in: values(x), ints: [][]int{slices.Clone(starts), slices.Clone(limits)}}, shape, err)
}

func (r *recording) Concatenate(axis int, list ...compute.Value) (compute.Value, error) {
	var of []shapes.Shape
	for _, v := range list {
		of = append(of, v.(*recordedOp).shape)
	}
	shape, err := shapeinference.Concatenate(of, axis)
	return r.add(recordedOp{op: compute.OpTypeConcatenate, in: values(list...), axes: [][]int{{axis}}}, shape, err)
}

// Gather takes rows of x: other gathers have no translation.
func (r *recording) Gather(x, at compute.Value, vector int, offset, collapsed, index, sizes []int, sorted bool) (compute.Value, error) {
	from, ids := x.(*recordedOp).shape, at.(*recordedOp).shape
	rows := slices.Equal(collapsed, []int{0}) && slices.Equal(index, []int{0}) && vector == ids.Rank()-1 && ids.Dim(-1) == 1 &&
		sizes[0] == 1 && slices.Equal(sizes[1:], from.Dimensions[1:])
	for i, axis := range offset {
		rows = rows && axis == ids.Rank()-1+i
	}
	if !rows {
		return nil, errors.New("ONNX: there is no translation of gathers of something else than rows")
	}
	shape, err := shapeinference.Gather(from, ids, vector, offset, collapsed, index, sizes, sorted)
	return r.add(recordedOp{op: compute.OpTypeGather, in: values(x, at)}, shape, err)
}

func (r *recording) DotGeneral(a compute.Value, contractA, batchA []int, b compute.Value, contractB, batchB []int, config compute.DotGeneralConfig) (compute.Value, error) {
	shape, err := shapeinference.DotGeneral(a.(*recordedOp).shape, contractA, batchA, b.(*recordedOp).shape, contractB, batchB, config)
	return r.add(recordedOp{op: compute.OpTypeDotGeneral, in: values(a, b), axes: [][]int{contractA, batchA, contractB, batchB}}, shape, err)
}

func (r *recording) FusedSoftmax(x compute.Value, axis int) (compute.Value, error) {
	return r.add(recordedOp{op: compute.OpTypeFusedSoftmax, in: values(x), axes: [][]int{{axis}}}, x.(*recordedOp).shape, nil)
}

// FusedGelu is the form of GELU with erf; the other has operations that are known.
func (r *recording) FusedGelu(x compute.Value, exact bool) (compute.Value, error) {
	if !exact {
		return nil, r.ErrFn(compute.OpTypeFusedGelu)
	}
	return r.add(recordedOp{op: compute.OpTypeFusedGelu, in: values(x)}, x.(*recordedOp).shape, nil)
}
