package model

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/testbackend"
)

// Values and derivatives of every activation against PyTorch's, in both precisions. They lie close together:
// gelu and gelu_new differ by 5e-4, so the bounds tell which is which. (XLA's float32 tanh is flat beyond ±4.9, and
// gelu_fast writes √(2/π) with ten digits.)
func TestActivations(t *testing.T) {
	var golden struct {
		X           []float64
		Activations map[string]struct{ Y, DY []float64 }
	}
	text, err := os.ReadFile("testdata/activations.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range golden.Activations {
		names = append(names, name)
	}
	slices.Sort(names)
	if !slices.Equal(names, activationNames()) {
		t.Fatalf("goldens for %v, activations %v", names, activationNames())
	}
	graph := func(in []*Node) (out []*Node) {
		for _, name := range names {
			y := activations[name](in[0])
			out = append(out, y, Gradient(ReduceAllSum(y), in[0])[0])
		}
		return out
	}
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		exec := MustNewExec(b, graph)
		defer exec.Finalize()
		for _, p := range []struct {
			dtype dtypes.DType
			bound float64
		}{{dtypes.Float32, 5e-6}, {dtypes.Float64, 2e-12}} {
			out := exec.MustCall(argument(golden.X, p.dtype))
			for i, name := range names {
				want := golden.Activations[name]
				closeTo(t, p.dtype.String()+" "+name, golden.X, wide(out[2*i]), want.Y, p.bound)
				closeTo(t, p.dtype.String()+" derivative of "+name, golden.X, wide(out[2*i+1]), want.DY, p.bound)
			}
		}
	})
}

func argument(x []float64, dtype dtypes.DType) any {
	if dtype == dtypes.Float64 {
		return x
	}
	narrow := make([]float32, len(x))
	for i, v := range x {
		narrow[i] = float32(v)
	}
	return narrow
}

func wide(x *tensors.Tensor) []float64 {
	if x.DType() == dtypes.Float64 {
		return tensors.MustCopyFlatData[float64](x)
	}
	var values []float64
	for _, v := range tensors.MustCopyFlatData[float32](x) {
		values = append(values, float64(v))
	}
	return values
}

// closeTo reports the worst difference, relative to values above 1.
func closeTo(t *testing.T, what string, x, got, want []float64, bound float64) {
	t.Helper()
	worst, at := 0.0, 0
	for i := range want {
		if d := math.Abs(got[i]-want[i]) / math.Max(1, math.Abs(want[i])); !(d <= worst) {
			worst, at = d, i
		}
	}
	if !(worst <= bound) {
		t.Errorf("%s at %g is %.17g, want %.17g: off by %.2g, want at most %.2g", what, x[at], got[at], want[at], worst, bound)
	}
}
