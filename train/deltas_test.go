package train

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/lora"
)

func dense(t *testing.T, of *tensors.Tensor) *mat.Dense {
	t.Helper()
	wide := make([]float64, 0, of.Shape().Size())
	for _, v := range tensors.MustCopyFlatData[float32](of) {
		wide = append(wide, float64(v))
	}
	return mat.NewDense(of.Shape().Dim(0), of.Shape().Dim(1), wide)
}

func product(factors ...mat.Matrix) mat.Matrix {
	p := mat.DenseCopyOf(factors[0])
	for _, f := range factors[1:] {
		next := new(mat.Dense)
		next.Mul(p, f)
		p = next
	}
	return p
}

// What a run is said to add to its kernels is what its factors multiply out to, and the gradient it is held
// against is the one that its outer factors were made of.
func TestDeltasOfARun(t *testing.T) {
	b := testbackend.All(t)[0]
	run := filepath.Join(t.TempDir(), "run")
	c := small()
	c.Method, c.Rank, c.Steps, c.Gamma = "deep-compressed", 4, 3, 0 // left and right stay as they were made
	trainSmall(t, b, c, run)
	counted := 0
	o := DeltaOptions{Backend: b, Tolerance: 1e-3, Gradient: true, Progress: func(done, _ int) { counted = done }}
	finished, err := ReadFinished(t.Context(), run, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	info, values := finished.Adapter, finished.Values
	updates, err := finished.Deltas(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(updates) != len(info.Kernels) || counted != len(updates) {
		t.Fatalf("%d updates of %d kernels, %d counted", len(updates), len(info.Kernels), counted)
	}
	for i, u := range updates {
		factor := func(name string) *mat.Dense { return dense(t, values[u.Kernel+"."+name]) }
		want := linalg.SingularValues(product(factor("left"), factor("W3"), factor("W2"), factor("W1"), factor("right").T()))
		if u.Kernel != info.Kernels[i].Name || len(u.Values) != 4 {
			t.Fatalf("%s: %d values, want the 4 of %s", u.Kernel, len(u.Values), info.Kernels[i].Name)
		}
		squares := 0.0
		for j, v := range u.Values {
			if math.Abs(v-want[j]) > 1e-12*want[0] {
				t.Errorf("%s: value %d is %g, want %g", u.Kernel, j, v, want[j])
			}
			squares += v * v
		}
		if math.Abs(u.Norm-math.Sqrt(squares)) > 1e-12*u.Norm || u.RelativeNorm == nil || *u.RelativeNorm <= 0 {
			t.Errorf("%s: norm %g, relative %v", u.Kernel, u.Norm, u.RelativeNorm)
		}
		if u.EffectiveRank < 1 || u.EffectiveRank > 4 || u.Rank < 1 || u.Rank > 4 {
			t.Errorf("%s: effective rank %g, rank %d", u.Kernel, u.EffectiveRank, u.Rank)
		}
		g := u.Gradient
		if g == nil || g.GradientDirections != 2 || g.UpdateDirections < 1 || g.UpdateDirections > 2 ||
			len(g.Input) != g.UpdateDirections || len(g.Output) != g.UpdateDirections {
			t.Errorf("%s: angles %+v", u.Kernel, g)
		}
	}
	sameGradient(t, run, o, values)
}

// sameGradient holds the leading directions of a run's first gradient against the outer factors made of them.
func sameGradient(t *testing.T, run string, o DeltaOptions, values map[string]*tensors.Tensor) {
	t.Helper()
	finished, err := ReadFinished(t.Context(), run, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	base, err := finished.Reader()
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	kernels, _, err := finished.Adapter.sites(base.Config)
	if err != nil {
		t.Fatal(err)
	}
	sites, err := finished.beginning(t.Context(), o, kernels)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range sites {
		gradient, err := at.Gradient()
		if err != nil {
			t.Fatal(err)
		}
		top, err := lora.Leading(gradient, 2)
		if err != nil {
			t.Fatal(err)
		}
		// The shorter side begins with the gradient's own directions (method.md 3.3).
		side, directions := values[at.Name+".left"], top.U
		if at.In > at.Out {
			side, directions = values[at.Name+".right"], top.V
		}
		angles := linalg.Angles(directions, dense(t, side).Slice(0, min(at.In, at.Out), 0, 2))
		if angles[1] > 1e-4 {
			t.Errorf("%s: gradient off by %g from the one of the run", at.Name, angles[1])
		}
	}
}

func TestDeltasRefuses(t *testing.T) {
	b := testbackend.All(t)[0]
	base, from, run := filepath.Join(t.TempDir(), "base"), filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "run")
	copyTree(t, smallModel(), base)
	copyTree(t, smallData(), from)
	c := small()
	c.Method, c.Model, c.Data, c.Steps, c.Warmup = "vanilla", base, from, 1, 0
	trainSmall(t, b, c, run)
	o := DeltaOptions{Backend: b, Tolerance: 1e-3, Progress: func(int, int) {}}
	updates := func(o DeltaOptions) ([]KernelDelta, error) {
		finished, err := ReadFinished(t.Context(), run, OpenOptions{})
		if err != nil {
			return nil, err
		}
		return finished.Deltas(t.Context(), o)
	}
	all, err := updates(o)
	if err != nil || all[0].Gradient != nil {
		t.Fatalf("without the gradient: %+v, error %v", all, err)
	}
	with := o
	with.Gradient = true
	edit(t, filepath.Join(from, "train.jsonl"), func(text string) string { return strings.TrimSpace(text) })
	if _, err := updates(with); !errors.Is(err, ErrNoBeginning) || !strings.Contains(err.Error(), "first gradient: data file train.jsonl has changed since the run began") {
		t.Errorf("other data: error %v", err)
	}
	if _, err := updates(o); err != nil {
		t.Errorf("other data and no gradient: error %v", err)
	}
	edit(t, filepath.Join(base, "config.json"), func(text string) string { return text + "\n" })
	for _, o := range []DeltaOptions{o, with} {
		if _, err := updates(o); !errors.Is(err, ErrOtherBase) {
			t.Errorf("other base, gradient %v: error %v", o.Gradient, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(run, adapterDir)); err != nil {
		t.Fatal(err)
	}
	if _, err := updates(o); err == nil || !strings.Contains(err.Error(), "the run has not finished") {
		t.Errorf("unfinished: error %v", err)
	}
}
