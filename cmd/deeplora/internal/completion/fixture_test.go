package completion

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"go.uber.org/goleak"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testshared"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// must is the value of a call that may not fail in a test.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// lowRank is Φ = U·diag(values)·Vᵀ with Haar U and V.
func lowRank(s *rng.Stream, rows, cols int, values ...float64) *Truth {
	return NewTruth(linalg.Haar(s, rows, len(values)), values, linalg.Haar(s, cols, len(values)))
}

// masked is the problem of a truth at places drawn from s.
func masked(s *rng.Stream, truth *Truth, fraction float64) *Problem {
	rows, _ := truth.Left.Dims()
	cols, _ := truth.Right.Dims()
	p := &Problem{Truth: truth, Observed: sample(s, rows, cols, int(fraction*float64(rows*cols)))}
	truth.fill(p.Observed)
	return p
}

func (t *Truth) dense() *mat.Dense {
	var d mat.Dense
	d.Mul(t.Left, t.Right.T())
	return &d
}

// product is f at the factors of m's last gradient.
func product(m learner) *mat.Dense {
	switch m := m.(type) {
	case *wide:
		return m.product()
	case *thin:
		var f mat.Dense
		f.Mul(unpad(m.u, m.left.rows, m.width, m.left.stride), m.right.dense().T())
		return &f
	}
	return nil
}

func largest(a *mat.Dense) float64 {
	worst := 0.0
	for _, x := range a.RawMatrix().Data {
		if math.IsNaN(x) {
			return x
		}
		worst = max(worst, math.Abs(x))
	}
	return worst
}

func gap(a, b *mat.Dense) float64 {
	var d mat.Dense
	d.Sub(a, b)
	return largest(&d)
}

// train takes steps of m, and calls look with every iterate and its ‖M∘(f - Y)‖², until look says to stop.
func train(m learner, o *optimizer, steps int, look func(t int, square float64) (stop bool)) {
	for t := 0; ; t++ {
		square := m.gradient()
		if look(t, square) || t == steps {
			return
		}
		o.apply(m.factors())
	}
}

// golden is completion_d60.json.
type golden struct {
	StepMean float64               `json:"step_mean"`
	Runs     map[string]*goldenRun `json:"runs"`
}

type goldenRun struct {
	Steps  int            `json:"steps"`
	Step   float64        `json:"step"`
	Lambda float64        `json:"lambda"`
	First  map[string]int `json:"first_t_train_below"`
	Curve  []goldenPoint  `json:"curve"`
}

type goldenPoint struct {
	T     int     `json:"t"`
	Train float64 `json:"train"`
	Test  float64 `json:"test"`
}

// goldenData is the problem and the factors of completion_d60.safetensors.
type goldenData struct {
	*testing.T
	golden
	file *safetensors.File
	p    *Problem
}

func loadGolden(t *testing.T) *goldenData {
	t.Helper()
	g := &goldenData{T: t}
	text := must(os.ReadFile(testshared.Path(t, "reference", "completion_d60.json")))(t)
	if err := json.Unmarshal(text, &g.golden); err != nil {
		t.Fatal(err)
	}
	g.file = must(safetensors.Open(testshared.Path(t, "reference", "completion_d60.safetensors")))(t)
	t.Cleanup(func() { g.file.Close() })
	svd := must(linalg.ThinSVD(g.matrix("phi")))(t)
	truth := NewTruth(mat.DenseCopyOf(svd.U.Slice(0, 60, 0, 3)), svd.S[:3], mat.DenseCopyOf(svd.V.Slice(0, 60, 0, 3)))
	mask := must(g.file.Int64("mask"))(t)
	phi := g.matrix("phi")
	var triples []Triple
	for n, m := range mask {
		if m == 1 {
			triples = append(triples, Triple{n / 60, n % 60, phi.At(n/60, n%60)})
		}
	}
	g.p = &Problem{Truth: truth, Observed: newEntries(60, 60, triples)}
	return g
}

func (g *goldenData) matrix(name string) *mat.Dense {
	g.Helper()
	info, _ := g.file.Info(name)
	return mat.NewDense(info.Shape[0], info.Shape[1], must(g.file.Float64(name))(g.T))
}

// scaled are tensors by name times epsilon.
func (g *goldenData) scaled(epsilon float64, names ...string) (factors []*mat.Dense) {
	for _, name := range names {
		f := g.matrix(name)
		f.Scale(epsilon, f)
		factors = append(factors, f)
	}
	return factors
}

// near holds a value of a golden curve as T8 does: relative where it is above 1e-9, else below 1e-8.
func near(t *testing.T, what string, at int, got, want, tolerance float64) {
	t.Helper()
	if want > 1e-9 && !(math.Abs(got-want) <= tolerance*want) || want <= 1e-9 && !(got <= 1e-8) {
		t.Errorf("%s at step %d: %g, want %g", what, at, got, want)
	}
}
