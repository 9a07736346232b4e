package onnx

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/layers/activation"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/onnx/onnxpb"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// The weights of the tests' functions.
var shapesOf = map[string][]int{"table.weight": {7, 6}, "kernel.weight": {6, 6}, "norm.weight": {6}, "norm.bias": {6}}

func valuesOf(name string) []float32 {
	n := 1
	for _, d := range shapesOf[name] {
		n *= d
	}
	values, s := make([]float32, n), rng.New(3, "onnx", name)
	for i := range values {
		values[i] = float32(s.Normal())
	}
	return values
}

func ids32(dims ...int) shapes.Shape { return shapes.Make(dtypes.Int32, dims...) }

type weights = func(name string) *Node

// states are the rows of the ids: [rows, length, 6].
func states(ids *Node, w weights) *Node { return Gather(w("table.weight"), InsertAxes(ids, -1)) }

// flat is states with both axes in one.
func flat(ids *Node, w weights) *Node { return Reshape(states(ids, w), -1, 6) }

// row is the sum over the tokens of each row.
func row(ids, x *Node) *Node {
	return ReduceSum(Reshape(x, ids.Shape().Dim(0), ids.Shape().Dim(1), -1), 1)
}

func norm(x *Node, w weights) *Node {
	centred := Sub(x, ReduceAndKeep(x, ReduceMean, -1))
	scale := Reciprocal(Sqrt(AddScalar(ReduceAndKeep(Square(centred), ReduceMean, -1), 1e-5)))
	return Add(Mul(Mul(centred, scale), InsertAxes(w("norm.weight"), 0)), InsertAxes(w("norm.bias"), 0))
}

// heads are states [rows, length, 2, 3].
func heads(ids *Node, w weights) *Node {
	return Reshape(flat(ids, w), ids.Shape().Dim(0), ids.Shape().Dim(1), 2, 3)
}

// functions are what is translated, a few operations each; all give [rows, n].
var functions = map[string]struct {
	build func(ids, mask *Node, w weights) *Node
	has   string // an operator that the file must have
}{
	"rows and a kernel": {func(ids, mask *Node, w weights) *Node {
		return row(ids, Dot(flat(ids, w), w("kernel.weight")).Product())
	}, "MatMul"},
	"layer norm": {func(ids, mask *Node, w weights) *Node { return row(ids, norm(flat(ids, w), w)) }, "LayerNormalization"},
	"gelu":       {func(ids, mask *Node, w weights) *Node { return row(ids, activation.Gelu(flat(ids, w))) }, "Erf"},
	"gelu by tanh": {func(ids, mask *Node, w weights) *Node {
		return row(ids, activation.GeluApproximate(flat(ids, w)))
	}, "Tanh"},
	"relu and silu": {func(ids, mask *Node, w weights) *Node {
		return row(ids, Add(activation.Relu(flat(ids, w)), activation.Swish(flat(ids, w))))
	}, "Sigmoid"},
	"attention": {func(ids, mask *Node, w weights) *Node {
		x := heads(ids, w)
		bias := MulScalar(OneMinus(ConvertDType(InsertAxes(mask, 1, 1), dtypes.Float32)), -1e9)
		scores := Softmax(Add(Einsum("bqhd,bkhd->bhqk", x, x), bias), -1)
		return row(ids, Reshape(Einsum("bhqk,bkhd->bqhd", scores, x), -1, 6))
	}, "Softmax"},
	"a product with several axes on its left": {func(ids, mask *Node, w weights) *Node {
		p := Reshape(w("table.weight"), 7, 2, 3)
		return row(ids, Reshape(Einsum("bqhd,rhd->bhqr", heads(ids, w), p), ids.Shape().Dim(0), ids.Shape().Dim(1), -1))
	}, "MatMul"},
	"products without axes on the left": {func(ids, mask *Node, w weights) *Node {
		own := ConvertDType(mask, dtypes.Float32)
		return Div(Einsum("es,esh->eh", own, states(ids, w)), ReduceAndKeep(own, ReduceSum, 1))
	}, "ReduceMean"},
	"sums over two axes, and of whole numbers": {func(ids, mask *Node, w weights) *Node {
		tokens := ConvertDType(ReduceAndKeep(mask, ReduceSum, 1), dtypes.Float32) // [rows, 1]
		return Mul(ReduceSum(heads(ids, w), 1, 2), tokens)
	}, "ReduceSum"},
	"first tokens, by numbers that depend on the length": {func(ids, mask *Node, w weights) *Node {
		first := MulScalar(Iota(ids.Graph(), ids32(ids.Shape().Dim(0)), 0), ids.Shape().Dim(1))
		return Gather(flat(ids, w), InsertAxes(first, -1))
	}, "Range"},
	"distances and a window": {func(ids, mask *Node, w weights) *Node {
		at := Iota(ids.Graph(), ids32(1, ids.Shape().Dim(1)), 1)
		distance := Abs(Sub(InsertAxes(at, -1), InsertAxes(at, 1)))
		near := ConvertDType(LessOrEqual(distance, Scalar(ids.Graph(), dtypes.Int32, 2)), dtypes.Float32) // [1, length, length]
		return ReduceMax(Einsum("bqk,bkh->bqh", BroadcastToDims(near, ids.Shape().Dim(0), near.Shape().Dim(1), near.Shape().Dim(2)), states(ids, w)), 1)
	}, "LessOrEqual"},
	"a part of a table": {func(ids, mask *Node, w weights) *Node {
		n := ids.Shape().Dim(1)
		at := Slice(Const(ids.Graph(), []int32{0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6}), AxisRange(14-n, 14))
		return row(ids, Add(states(ids, w), InsertAxes(Gather(w("table.weight"), InsertAxes(at, -1)), 0)))
	}, "Slice"},
	"turned halves": {func(ids, mask *Node, w weights) *Node {
		x := heads(ids, w)
		a, b := SliceAxis(x, -1, AxisRange(0, 1)), SliceAxis(x, -1, AxisRange(1))
		return row(ids, Reshape(Concatenate([]*Node{Neg(b), Exp(Min(a, ScalarOne(x.Graph(), x.DType())))}, -1), -1, 6))
	}, "Concat"},
}

// batchOf are inputs that are padded at the end.
func batchOf(rows, length int) (ids, mask []int32) {
	s := rng.New(1, "onnx batch")
	for range rows {
		own := 1 + s.IntN(length)
		for i := range length {
			ids = append(ids, int32(s.IntN(7)))
			mask = append(mask, map[bool]int32{true: 1}[i < own])
		}
	}
	return ids, mask
}

// What is written and read again gives what the function gives, for batches of other sizes than the traced ones.
func TestFunctionsAreTranslated(t *testing.T) {
	backend := testbackend.All(t)[0]
	for name, f := range functions {
		t.Run(name, func(t *testing.T) {
			for _, storage := range []Storage{Float32, Float16, Int8} {
				dir := t.TempDir()
				m, err := Trace(Source{
					Inputs: []string{"ids", "mask"}, Output: "out", Axes: []any{"batch", 6}, Weights: shapesOf,
					Store: func(string) Storage { return storage },
					Build: func(in []*Node, w func(string) *Node) *Node { return f.build(in[0], in[1], w) },
				})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := m.Write(dir, "m.onnx", InlineLimit, func(name string) ([]float32, error) { return valuesOf(name), nil }); err != nil {
					t.Fatal(err)
				}
				p, err := Read(dir, "m.onnx")
				if err != nil {
					t.Fatal(err)
				}
				if !slices.ContainsFunc(p.graph.Node, func(n *onnxpb.NodeProto) bool { return n.GetOpType() == f.has }) && storage == Float32 {
					t.Errorf("there is no %s in the file", f.has)
				}
				for _, size := range [][2]int{{1, 3}, {5, 7}, {2, 1}} {
					ids, mask := batchOf(size[0], size[1])
					want := direct(t, f.build, size[0], size[1], ids, mask)
					got, err := p.Run(backend, size[0], size[1], map[string][]int32{"ids": ids, "mask": mask})
					if err != nil {
						t.Fatal(err)
					}
					allowed := map[Storage]float64{Float32: 1e-5, Float16: 5e-3, Int8: 0.15}[storage]
					if off := apart(slices.Concat(got...), want); !(off <= allowed) {
						t.Errorf("storage %d, %v: %.3g apart", storage, size, off)
					}
				}
			}
		})
	}
}

// direct computes a function as GoMLX does.
func direct(t *testing.T, build func(ids, mask *Node, w weights) *Node, rows, length int, ids, mask []int32) []float32 {
	t.Helper()
	exec := graphx.Must(NewExec(testbackend.All(t)[0], func(ids, mask *Node) *Node {
		return build(ids, mask, func(name string) *Node {
			return Const(ids.Graph(), tensors.FromFlatDataAndDimensions(valuesOf(name), shapesOf[name]...))
		})
	}))
	defer exec.Finalize()
	out := graphx.Must(exec.Call(tensors.FromFlatDataAndDimensions(ids, rows, length), tensors.FromFlatDataAndDimensions(mask, rows, length)))[0]
	return graphx.Must(tensors.CopyFlatData[float32](out))
}

// apart is the largest difference, relative to the largest number or 1.
func apart(got, want []float32) float64 {
	if len(got) != len(want) {
		return math.Inf(1)
	}
	most, size := 0.0, 1.0
	for i, w := range want {
		most, size = max(most, math.Abs(float64(got[i]-w))), max(size, math.Abs(float64(w)))
	}
	return most / size
}

// What depends on a batch in a way that is not understood, or has no translation, is an error that says so.
func TestWhatIsNotTranslatedIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		build func(ids *Node, w weights) *Node
		want  string
	}{
		"an operation": {func(ids *Node, w weights) *Node { return row(ids, Sign(flat(ids, w))) }, "there is no translation of the operation Sign"},
		"a size": {func(ids *Node, w weights) *Node {
			n := ids.Shape().Dim(1)
			return MulScalar(ReduceSum(states(ids, w), 1), float32(n*n))
		}, "is another one for another batch"},
		"a whole number": {func(ids *Node, w weights) *Node {
			n := ids.Shape().Dim(1)
			return Gather(flat(ids, w), InsertAxes(MulScalar(Iota(ids.Graph(), ids32(ids.Shape().Dim(0)), 0), n*n*n-8*n), -1))
		}, "no sum of rows, length, their product"},
		"a weight": {func(ids *Node, w weights) *Node { return w("head.weight") }, "there is no weight head.weight"},
	} {
		_, err := Trace(Source{
			Inputs: []string{"ids"}, Output: "out", Axes: []any{"batch", 6}, Weights: shapesOf,
			Build: func(in []*Node, w func(string) *Node) *Node { return tc.build(in[0], w) },
		})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", name, err, tc.want)
		}
	}
}

// Weights beside the model are found at their places, and missed where their file is cut.
func TestWeightsBesideTheModel(t *testing.T) {
	f, dir := functions["rows and a kernel"], t.TempDir()
	m, err := Trace(Source{
		Inputs: []string{"ids"}, Output: "out", Axes: []any{"batch", 6}, Weights: shapesOf,
		Build: func(in []*Node, w func(string) *Node) *Node { return f.build(in[0], nil, w) },
	})
	if err != nil {
		t.Fatal(err)
	}
	written, err := m.Write(dir, "m.onnx", 10, func(name string) ([]float32, error) { return valuesOf(name), nil })
	if err != nil || !slices.Equal(written, []string{"m.onnx", "m.onnx_data"}) {
		t.Fatalf("files %v, error %v", written, err)
	}
	p, err := Read(dir, "m.onnx")
	if err != nil {
		t.Fatal(err)
	}
	ids, mask := batchOf(2, 4)
	got, err := p.Run(testbackend.All(t)[0], 2, 4, map[string][]int32{"ids": ids})
	if err != nil {
		t.Fatal(err)
	}
	if off := apart(slices.Concat(got...), direct(t, f.build, 2, 4, ids, mask)); !(off <= 1e-5) {
		t.Errorf("%.3g apart", off)
	}
	if err := os.Truncate(filepath.Join(dir, "m.onnx_data"), 100); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, "m.onnx"); err == nil || !strings.Contains(err.Error(), "m.onnx_data ends before byte") {
		t.Errorf("error %v", err)
	}
}

// Numbers that a type has not are refused by name.
func TestWeightsOutOfRange(t *testing.T) {
	w := Weight{Name: "k.weight", Dims: []int{1, 2}}
	if _, err := halves([]float32{1, 70000}, w); err == nil || !strings.Contains(err.Error(), "k.weight: 70000 has no number in float16; export it as f32") {
		t.Errorf("error %v", err)
	}
	if _, _, err := quantize([]float32{1, float32(math.NaN())}, w); err == nil || !strings.Contains(err.Error(), "k.weight: NaN is no finite number") {
		t.Errorf("error %v", err)
	}
	q, scales, err := quantize([]float32{0.5, 0, -2, 0}, Weight{Dims: []int{2, 2}})
	if err != nil || !slices.Equal(q, []byte{32, 0, 129, 0}) || scales[0] != 2./127 || scales[1] != 0 {
		t.Errorf("%v, scales %v, %v", q, scales, err)
	}
}
