package train

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
)

// heldTiny is the golden model with its kernels held in a precision.
func heldTiny(t *testing.T, b compute.Backend, p model.Precision) *model.Checkpoint {
	t.Helper()
	c, err := model.Load(os.DirFS(testshared.Path(t, "reference", "tiny_bert")), model.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Hold(p, b, func(string) bool { return false }); err != nil {
		t.Fatal(err)
	}
	return c
}

func eachXLA(t *testing.T, fn func(t *testing.T, b compute.Backend)) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() == "xla" {
			fn(t, b)
		}
	})
}

// bf16x3 trains as float32 does: the golden runs, within float32's own tolerance.
func TestT23GoldenTrainingHeld(t *testing.T) {
	g := readGolden(t)
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		for _, name := range []string{"vanilla", "compressed"} {
			r := g.Runs[name]
			c := heldTiny(t, b, "bf16x3")
			trainGoldenJob(t, b, goldenJobOn(t, c, g, r, dtypes.Float32, data.PadPacked), r, dtypes.Float32, 1e-3)
		}
	})
}

// The gradients that the compressed start takes are those by the kernels, also of kernels that are held.
func TestT22KernelGradientsHeld(t *testing.T) {
	g, batch := readGolden(t), packed(t, goldenBatch(t, "ce"))
	golden, err := safetensors.Open(testshared.Path(t, "reference", "tiny_bert_kernel_grads.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close()
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		for p, most := range map[model.Precision]float64{"bf16x3": 1e-4, "bf16": 0.1} {
			c := heldTiny(t, b, p)
			k := &kernelGradients{devices: one(t, b), config: c.Config, precision: p, weights: weightsOf(c), batch: divisible{Batch: batch}, kernels: c.Config.Kernels()}
			for _, kernel := range g.Kernels {
				want, err := golden.Float64(kernel.Name)
				if err != nil {
					t.Fatal(err)
				}
				x, err := k.of(kernel.Name)
				if err != nil {
					t.Fatal(err)
				}
				if d := gap(float64s(t, x), want); !(d <= most) || d == 0 {
					t.Errorf("%s: %s differs by %.2g", p, kernel.Name, d)
				}
			}
		}
	})
}

// Of a checkpoint that is bfloat16 on disk, tables of embeddings are held so too, and have the same gradients.
func TestGradientsOfHeldTables(t *testing.T) {
	batch := packed(t, goldenBatch(t, "ce"))
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		dir := t.TempDir()
		whole, err := model.Load(os.DirFS(testshared.Path(t, "reference", "tiny_bert")), model.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if err := whole.Save(dir, dtypes.BFloat16); err != nil {
			t.Fatal(err)
		}
		words := whole.Config.Kernels()[0]
		of := func(p model.Precision) []float64 {
			c, err := model.Load(os.DirFS(dir), model.LoadOptions{Precision: p})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Hold("bf16", b, func(string) bool { return false }); err != nil {
				t.Fatal(err)
			}
			if held := c.Kernel(words.Name).DType() == dtypes.BFloat16; !words.Lookup || held != (p == "bf16") {
				t.Errorf("%s is %s", words.Name, c.Kernel(words.Name).DType())
			}
			k := &kernelGradients{devices: one(t, b), config: c.Config, precision: "bf16", weights: weightsOf(c), batch: divisible{Batch: batch}, kernels: []model.Kernel{words}}
			x, err := k.of(words.Name)
			if err != nil {
				t.Fatal(err)
			}
			return float64s(t, x)
		}
		if d := gap(of("bf16"), of("f32")); !(d < 1e-5) {
			t.Errorf("the gradient differs by %.2g", d)
		}
	})
}

// A run in bf16 has the same bits again and when it is resumed, and opens as what it was measured as; in float32 it is
// nearly that, with its adapter merged.
func TestRunsInBF16(t *testing.T) {
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		for _, method := range []string{"deep-compressed", "bitfit", "full"} {
			c := small()
			c.Method, c.Precision, c.EvalEvery, c.Pad, c.MaxLength = method, "bf16", 2, string(data.PadPacked), 48
			dir := t.TempDir()
			r := trainSmall(t, b, c, filepath.Join(dir, "a"))
			trainSmall(t, b, c, filepath.Join(dir, "b"))
			sameAdapter(t, filepath.Join(dir, "a"), filepath.Join(dir, "b"))
			interruptAt(t, b, c, filepath.Join(dir, "parts"), 3)
			trainSmall(t, b, c, filepath.Join(dir, "parts"), func(o *Options) { o.Resume = true })
			sameAdapter(t, filepath.Join(dir, "a"), filepath.Join(dir, "parts"))
			for _, p := range []string{"", "f32", "bf16x3"} {
				saved, err := Open(t.Context(), filepath.Join(dir, "a"), b, OpenOptions{Precision: p})
				if err != nil {
					t.Fatal(err)
				}
				e := validated(t, saved)
				for name, want := range r.Metrics {
					if got := e.Metrics[name]; p == "" && got != want || !(got-want < 0.02 && want-got < 0.02) {
						t.Errorf("%s opened as %q: %s is %v, at the end of the run %v", method, p, name, got, want)
					}
				}
			}
		}
	})
}

// What cannot be computed so is refused.
func TestPrecisionsThatAreRefused(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() == "xla" {
			return
		}
		c := small()
		c.Precision = "bf16"
		for _, c.Method = range []string{"vanilla", "full"} {
			_, err := Train(t.Context(), c, Options{Backend: b, Out: filepath.Join(t.TempDir(), "run"), Sources: embedded()})
			if want := "precision bf16: this engine (Go Backend) computes in float32 only; take xla:cpu or xla:cuda, or precision f32"; !errors.Is(err, ErrConfig) || !strings.Contains(errText(err), want) {
				t.Errorf("%s: %v, want %q", c.Method, err, want)
			}
		}
	})
	c := small()
	c.Precision = "bf15"
	if err := c.Validate(); !strings.Contains(errText(err), `precision: "bf15" is unknown; nearest: bf16 (known: f32 bf16 bf16x3)`) {
		t.Errorf("%v", err)
	}
}
