package lora_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/core/tensors/numpy"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/lora/loratest"
)

// authorsRun is one of the files that the authors' own code wrote: ten AdamW steps on one kernel.
type authorsRun struct {
	arrays map[string]*tensors.Tensor
	meta   struct {
		Kind        string
		Depth       int
		Rank        int
		InitScale   float64 `json:"init_scale"`
		Gamma       float64
		WeightDecay float64 `json:"weight_decay"`
		Steps       int
	}
}

// The authors' arrays, replayed through our Delta: every gradient at the start, and ΔK before and after
// every step. 3e-5 is what float32's bias correction costs on their side.
func TestAuthorsTrajectories(t *testing.T) {
	for file, method := range map[string]string{
		"24x16_r2_d2_vanilla": "vanilla", "24x16_d3_wide": "deep-wide",
		"24x16_r2_d3_narrow": "deep-narrow", "24x16_r2_d3_compressed": "deep-compressed",
	} {
		run := readAuthors(t, file)
		testbackend.Each(t, func(t *testing.T, b compute.Backend) {
			t.Run(file, func(t *testing.T) { run.replay(t, b, method) })
		})
	}
}

func (r *authorsRun) replay(t *testing.T, b compute.Backend, method string) {
	a := newAdapter(t, method, func(s *lora.Settings) {
		s.Rank, s.Depth, s.Gamma = max(r.meta.Rank, 1), max(r.meta.Depth, 3), r.meta.Gamma
	})
	target := r.matrix(t, "target")
	in, out := target.Dims()
	factors := factorsOf(t, a, siteOf("k", in, out, 0))
	var values []*mat.Dense
	var rates []float64
	for _, f := range factors {
		v := r.matrix(t, "init/"+r.key(f.Name))
		if got := fmt.Sprint(v.Dims()); got != fmt.Sprint(f.Shape[0], f.Shape[1]) {
			t.Fatalf("%s is %s in their code, %v in ours", f.Name, got, f.Shape)
		}
		values, rates = append(values, v), append(rates, f.Rate)
	}
	o := loratest.NewObjective(b, a, target, nil)
	adam := loratest.AdamW{WeightDecay: r.meta.WeightDecay}
	deltas, losses, lr := r.flat(t, "delta"), r.flat(t, "loss"), r.flat(t, "lr")
	for step := 0; ; step++ {
		loss, delta, gradients := o.At(values)
		if gap := relative(delta, mat.NewDense(in, out, deltas[step*in*out:(step+1)*in*out])); gap > 1e-4 {
			t.Errorf("ΔK after %d steps: off by %g, relative", step, gap)
		}
		if step == r.meta.Steps {
			break
		}
		if math.Abs(loss-losses[step]) > 1e-4*losses[step] {
			t.Errorf("loss after %d steps: %g, want %g", step, loss, losses[step])
		}
		if step == 0 {
			for i, f := range factors {
				if gap := relative(gradients[i], r.matrix(t, "grad0/"+r.key(f.Name))); gap > 1e-4 {
					t.Errorf("gradient of %s: off by %g, relative", f.Name, gap)
				}
			}
		}
		adam.Step(values, gradients, lr[step], rates)
	}
	for i, f := range factors {
		if gap := relative(values[i], r.matrix(t, "final/"+r.key(f.Name))); gap > 1e-4 {
			t.Errorf("%s at the end: off by %g, relative", f.Name, gap)
		}
	}
}

// Their compressed form starts from the null spaces of explicit wide factors. The closed formula, on the
// same wide factors, gives the same left·rightᵀ (each side alone is fixed only up to a common rotation).
func TestAuthorsCompression(t *testing.T) {
	r := readAuthors(t, "24x16_r2_d3_compressed")
	o := multiply(r.matrix(t, "wide_init/W3"), r.matrix(t, "wide_init/W2"), r.matrix(t, "wide_init/W1"))
	within(t, "wide ΔK", o, r.matrix(t, "wide_delta0"), 1e-12)
	scale := math.Pow(r.meta.InitScale, 3)
	var g mat.Dense
	g.Sub(o, r.matrix(t, "target"))
	o.Scale(1/scale, o)
	u, v := leadingVectors(t, &g, r.meta.Rank/2)
	left, right := explicit(o, u, v)
	got := multiply(left, right.T())
	want := multiply(r.matrix(t, "init/left"), r.matrix(t, "init/right").T())
	if gap := relative(got, want); gap > 1e-5 {
		t.Errorf("left·rightᵀ: off by %g, relative", gap)
	}
}

// key is their name of a factor: the inner ones of the compressed form live in a group of their own.
func (r *authorsRun) key(factor string) string {
	if r.meta.Kind == "compressed" && strings.HasPrefix(factor, "W") {
		return "mf/" + factor
	}
	return factor
}

func (r *authorsRun) matrix(t *testing.T, name string) *mat.Dense {
	t.Helper()
	shape := r.arrays[name].Shape()
	return mat.NewDense(shape.Dim(0), shape.Dim(1), r.flat(t, name))
}

func (r *authorsRun) flat(t *testing.T, name string) (values []float64) {
	t.Helper()
	array, ok := r.arrays[name]
	if !ok {
		t.Fatalf("no array %q", name)
	}
	if array.DType() == dtypes.Float64 {
		return tensors.MustCopyFlatData[float64](array)
	}
	for _, x := range tensors.MustCopyFlatData[float32](array) {
		values = append(values, float64(x))
	}
	return values
}

// readAuthors reads an .npz. GoMLX's reader knows no text arrays, so the members go to it one by one.
func readAuthors(t *testing.T, name string) *authorsRun {
	t.Helper()
	archive, err := zip.OpenReader(testshared.Path(t, "reference", "authors", name+".npz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = archive.Close() }()
	r := &authorsRun{arrays: map[string]*tensors.Tensor{}}
	for _, f := range archive.File {
		member, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if key := strings.TrimSuffix(f.Name, ".npy"); key == "meta" {
			err = json.Unmarshal([]byte(textArray(t, member)), &r.meta)
		} else {
			r.arrays[key], err = numpy.FromNpyReader(member)
		}
		if err != nil {
			t.Fatalf("%s: %s: %v", name, f.Name, err)
		}
	}
	return r
}

// textArray reads the one string of a .npy of dtype U: a header of text, then UTF-32.
func textArray(t *testing.T, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for body := data[bytes.IndexByte(data, '\n')+1:]; len(body) >= 4; body = body[4:] {
		if c := binary.LittleEndian.Uint32(body); c != 0 {
			text.WriteRune(rune(c))
		}
	}
	return text.String()
}
