package loop

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"pgregory.net/rapid"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
)

// goldenAdamW is a run of five parameters over twelve updates, equal to PyTorch's AdamW to 1e-14.
type goldenAdamW struct {
	Start      []float64   `json:"p0"`
	Gradients  [][]float64 `json:"grads"`
	LR         float64     `json:"lr"`
	Warmup     int         `json:"warmup"`
	Steps      int         `json:"total"`
	DecayRatio float64     `json:"decay_ratio"`
	Decay      float64     `json:"weight_decay"`
	Schedule   []float64   `json:"schedule"`
	After      [][]float64 `json:"params_after_step"`
}

func readAdamW(t *testing.T) goldenAdamW {
	t.Helper()
	var golden struct {
		AdamW goldenAdamW `json:"adamw"`
	}
	text, err := os.ReadFile(testshared.Path(t, "reference", "misc.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.AdamW.After) != 12 {
		t.Fatalf("%d golden steps, want 12", len(golden.AdamW.After))
	}
	return golden.AdamW
}

func TestT16Schedule(t *testing.T) {
	g := readAdamW(t)
	for step, want := range g.Schedule {
		if got := rate(step, g.Steps, g.Warmup, g.LR, g.DecayRatio); math.Abs(got-want) > 1e-17 {
			t.Errorf("rate of update %d is %.17g, want %.17g", step, got, want)
		}
	}
	for step, want := range map[int]float64{0: 0, 3: 0.0075, 4: 0.01, 11: 0.002125, 12: 0.001} {
		if got := rate(step, 12, 4, 0.01, 0.1); math.Abs(got-want) > 1e-17 {
			t.Errorf("rate of update %d is %g, want %g", step, got, want)
		}
	}
}

// The rate rises to its peak over the warm-up and then falls, to decayRatio of it.
func TestSchedule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.IntRange(1, 500).Draw(t, "steps")
		warmup := rapid.IntRange(0, steps-1).Draw(t, "warmup")
		lr := rapid.Float64Range(1e-6, 10).Draw(t, "lr")
		ratio := rapid.Float64Range(0, 1).Draw(t, "decay ratio")
		last := -1.0
		for i := range steps + 1 {
			r := rate(i, steps, warmup, lr, ratio)
			if r < 0 || r > lr*(1+1e-12) || i <= warmup && r < last || i > warmup && r > last*(1+1e-12) {
				t.Fatalf("update %d: rate %g after %g, peak %g at %d", i, r, last, lr, warmup)
			}
			last = r
		}
		first, p := 0, Plan{Steps: steps, Warmup: warmup, LR: lr, DecayRatio: ratio}
		for rate(first, steps, warmup, lr, ratio) == 0 {
			first++
		}
		if got := p.FirstRate(); got != rate(first, steps, warmup, lr, ratio) {
			t.Fatalf("the first update that moves anything is %d, at %g; FirstRate is %g", first, rate(first, steps, warmup, lr, ratio), got)
		}
		if rate(warmup, steps, warmup, lr, ratio) != lr || math.Abs(last-ratio*lr) > 1e-12*lr {
			t.Fatalf("peak %g, end %g", rate(warmup, steps, warmup, lr, ratio), last)
		}
	})
}

func TestT16AdamW(t *testing.T) {
	g := readAdamW(t)
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		exec := MustNewExec(b, func(in []*Node) []*Node {
			p, m, v := adamW(in[0], in[1], in[2], in[3], in[4], in[5], in[6], g.Decay)
			return []*Node{p, m, v}
		})
		defer exec.Finalize()
		for _, precision := range []struct {
			dtype dtypes.DType
			bound float64
		}{{dtypes.Float64, 1e-12}, {dtypes.Float32, 1e-6}} {
			vector := func(values []float64) *tensors.Tensor {
				x, err := inDType(tensors.FromFlatDataAndDimensions(values, len(values)), precision.dtype)
				if err != nil {
					t.Fatal(err)
				}
				return x
			}
			p, m, v := vector(g.Start), vector(make([]float64, 5)), vector(make([]float64, 5))
			for step, gradient := range g.Gradients {
				c1, c2 := biasCorrections(step + 1)
				lr := rate(step, g.Steps, g.Warmup, g.LR, g.DecayRatio)
				out := exec.MustCall(p, vector(gradient), m, v, graphx.Scalar(lr, precision.dtype), graphx.Scalar(c1, precision.dtype), graphx.Scalar(c2, precision.dtype))
				p, m, v = out[0], out[1], out[2]
				for i, got := range float64s(t, p) {
					if want := g.After[step][i]; !(math.Abs(got-want) <= precision.bound) {
						t.Errorf("%s, after step %d: parameter %d is %.15g, want %.15g", precision.dtype, step, i, got, want)
					}
				}
			}
		}
	})
}

// float64s copies a tensor of either precision.
func float64s(t *testing.T, x *tensors.Tensor) []float64 {
	t.Helper()
	wide, err := inDType(x, dtypes.Float64)
	if err != nil {
		t.Fatal(err)
	}
	return tensors.MustCopyFlatData[float64](wide)
}

// Clipping leaves gradients alone up to the limit and shortens longer ones to it, whole.
func TestClipping(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		exec := MustNewExec(b, func(in []*Node) []*Node {
			norm := globalNorm(in)
			return append([]*Node{norm}, clipped(in, norm, 2)...)
		})
		defer exec.Finalize()
		for _, tc := range []struct {
			scale, norm, want float64 // of the gradient; its norm; the factor it is clipped by
		}{{1, 13, 2.0 / 13}, {0.1, 1.3, 1}, {0, 0, 1}} {
			out := exec.MustCall([]float64{3 * tc.scale, 4 * tc.scale}, [][]float64{{12 * tc.scale}})
			got := append(float64s(t, out[0]), append(float64s(t, out[1]), float64s(t, out[2])...)...)
			for i, want := range []float64{tc.norm, 3 * tc.scale * tc.want, 4 * tc.scale * tc.want, 12 * tc.scale * tc.want} {
				if math.Abs(got[i]-want) > 1e-6*math.Max(1, want) { // PyTorch adds 1e-6 to the norm, and so do we
					t.Errorf("scale %g: got %v, value %d wants %g", tc.scale, got, i, want)
				}
			}
		}
	})
}
