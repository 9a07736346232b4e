package model

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/testbackend"
)

func eachXLA(t *testing.T, fn func(t *testing.T, b compute.Backend)) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() == "xla" {
			fn(t, b)
		}
	})
}

// Kernels give the product and its gradients as near to float64's as their bits allow, held or rounded in the graph.
func TestProductsInAPrecision(t *testing.T) {
	const rows, in, out = 6, 40, 24
	tolerance := map[Precision]float64{F32: 1e-6, bf16: 2e-2, bf16x3: 1e-4}
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		want := productOf(t, b, dtypes.Float64, rows, in, out, F32.Hook)
		for p, most := range tolerance {
			got := productOf(t, b, dtypes.Float32, rows, in, out, p.Hook)
			compareParts(t, string(p), got, want, most)
			if p.narrow() { // the same numbers, rounded once or at every step; a held kernel has no gradient
				held := productOf(t, b, dtypes.Float32, rows, in, out, func(k Kernel, x, w *Node) *Node { return Frozen(k, x, p.hold(w)) })
				for i, name := range []string{"product", "gradient by x"} {
					if !slices.Equal(held[i], got[i]) {
						t.Errorf("%s: the %s of a held kernel is not that of a rounded one", p, name)
					}
				}
			}
		}
	})
}

// productOf is a product with a hook, and the gradients of a function of it by x and by the kernel.
func productOf(t *testing.T, b compute.Backend, dtype dtypes.DType, rows, in, out int, hook WeightHook) [][]float64 {
	t.Helper()
	return graphOf(t, b, func(of []*Node) []*Node {
		x, w := ConvertDType(of[0], dtype), ConvertDType(of[1], dtype)
		y := hook(Kernel{Name: "k", In: in, Out: out}, x, w)
		return append([]*Node{y}, Gradient(ReduceAllSum(Mul(y, Sin(y))), x, w)...)
	}, wave(rows, in, 1), wave(in, out, 2))
}

// graphOf runs a graph and gives its results in float64.
func graphOf(t *testing.T, b compute.Backend, graph func(in []*Node) []*Node, args ...any) (results [][]float64) {
	t.Helper()
	e, err := NewExec(b, func(in []*Node) []*Node {
		out := graph(in)
		for i := range out {
			out[i] = ConvertDType(out[i], dtypes.Float64)
		}
		return out
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Finalize()
	got, err := e.Call(args...)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range got {
		results = append(results, tensors.MustCopyFlatData[float64](g))
	}
	return results
}

func compareParts(t *testing.T, what string, got, want [][]float64, most float64) {
	t.Helper()
	for i := range want {
		if off := relative(want[i], got[i]); !(off <= most) || off == 0 {
			t.Errorf("%s: result %d is off by %.2g, at most %g is allowed, and not 0", what, i, off, most)
		}
	}
}

// Under gradient checkpointing, gradients are made of what was computed again: the same numbers.
func TestProductsComputedAgain(t *testing.T) {
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		of := func(checkpointed bool) [][]float64 {
			return graphOf(t, b, func(in []*Node) []*Node {
				x := in[0]
				if checkpointed {
					x = x.Checkpoint()
				}
				y := Tanh(bf16.Product(Tanh(bf16.Product(Sin(x), in[1])), in[2]))
				if checkpointed {
					y = y.StopCheckpoint()
				}
				return Gradient(ReduceAllSum(Square(y)), in...)
			}, wave(6, 40, 1), wave(40, 24, 2), wave(24, 8, 3))
		}
		plain, again := of(false), of(true)
		for i := range plain {
			if off := relative(plain[i], again[i]); !(off < 1e-6) {
				t.Errorf("gradient %d is off by %g", i, off)
			}
		}
	})
}

// wave is a matrix of numbers that bfloat16 does not have.
func wave(rows, cols int, phase float64) *tensors.Tensor {
	flat := make([]float32, rows*cols)
	for i := range flat {
		flat[i] = float32(math.Sin(phase + 0.7*float64(i) + 0.01*float64(i*i%97)))
	}
	return tensors.FromFlatDataAndDimensions(flat, rows, cols)
}

// relative is the norm of the difference over that of a.
func relative(a, b []float64) float64 {
	var difference, norm float64
	for i := range a {
		difference += (a[i] - b[i]) * (a[i] - b[i])
		norm += a[i] * a[i]
	}
	return math.Sqrt(difference / norm)
}

// Attention's products and their gradients, of axes in every order, are float64's to bfloat16's bits. In bf16 all
// are products of bfloat16 numbers; bf16x3 leaves them float32.
func TestAttentionInAPrecision(t *testing.T) {
	for _, dims := range [][5]int{{2, 3, 5, 2, 8}, {2, 5, 5, 1, 8}, {3, 1, 16, 2, 8}, {4, 40, 40, 2, 8}, {4, 128, 128, 12, 64}} {
		eachXLA(t, func(t *testing.T, b compute.Backend) {
			testAttention(t, b, dims[0], dims[1], dims[2], dims[3], dims[4])
		})
	}
}

func testAttention(t *testing.T, b compute.Backend, groups, asked, seq, heads, size int) {
	attend := func(p Precision, dtype dtypes.DType) (results [][]float64, products map[string]int) {
		results = graphOf(t, b, func(in []*Node) []*Node {
			q := Reshape(ConvertDType(in[0], dtype), groups, asked, heads, size)
			k, v := Reshape(ConvertDType(in[1], dtype), groups, seq, heads, size), Reshape(ConvertDType(in[2], dtype), groups, seq, heads, size)
			e := &Encoder{Config: &Config{HiddenSize: heads * size, NumAttentionHeads: heads}, Precision: p}
			y := e.mix("attention", e.scores(q, k), v, queries{})
			out := append([]*Node{y}, Gradient(ReduceAllSum(Mul(y, Sin(y))), q, k, v)...)
			products = testbackend.Products(out...)
			return out
		}, wave(groups*asked, heads*size, 1), wave(groups*seq, heads*size, 2), wave(groups*seq, heads*size, 3))
		return results, products
	}
	want, _ := attend(F32, dtypes.Float64)
	for p, most := range map[Precision]float64{F32: 3e-5, bf16: 2e-2, bf16x3: 3e-5} {
		got, products := attend(p, dtypes.Float32)
		compareParts(t, string(p), got, want, most)
		narrow, all := 0, 0
		for product, n := range products {
			if all += n; strings.HasPrefix(product, "BFloat16·BFloat16 ") {
				narrow += n
			}
		}
		if want := map[Precision]int{bf16: 6}[p]; narrow != want || all != 6 {
			t.Errorf("%s: %d of %d products are of bfloat16 numbers, want %d of 6: %v", p, narrow, all, want, products)
		}
	}
}
