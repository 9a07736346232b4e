package lora_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/lora/loratest"
)

// goldenStart is a case of testdata/starts.safetensors, at rank 2, alpha 6 and a learning rate of 1e-3: a kernel, its
// gradient, and what others begin with there (scripts/goldens/starts.py). Their A is [r, in], their B [out, r].
type goldenStart struct {
	file *safetensors.File
	name string
}

const (
	goldenRank, goldenAlpha = 2, 6
	goldenRate              = 1e-3
)

func eachStart(t *testing.T, check func(t *testing.T, g goldenStart)) {
	file, err := safetensors.Open("testdata/starts.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	for _, name := range []string{"wide", "tall", "square", "large"} {
		t.Run(name, func(t *testing.T) { check(t, goldenStart{file, name}) })
	}
}

func (g goldenStart) of(t *testing.T, name string) *mat.Dense {
	t.Helper()
	return matrixIn(t, g.file, g.name+"."+name)
}

// start is what a method begins with on the kernel, by the factors' names, and its chain.
func (g goldenStart) start(t *testing.T, method, init string) (values map[string]*mat.Dense, chain *mat.Dense) {
	t.Helper()
	a := newAdapter(t, method, func(s *lora.Settings) {
		s.Rank, s.Init = goldenRank, init
		if method != "lora-sb" {
			s.Alpha = goldenAlpha
		}
	})
	k := g.of(t, "K")
	in, out := k.Dims()
	give := func(name string) func() (*tensors.Tensor, error) {
		return func() (*tensors.Tensor, error) {
			flat, err := g.file.Float32(g.name + "." + name)
			return tensors.FromFlatDataAndDimensions(flat, in, out), err
		}
	}
	factors := factorsOf(t, a, lora.Site{Name: g.name, In: in, Out: out, FirstRate: goldenRate, Gradient: give("G"), Weight: give("K")})
	matrices, _ := loratest.Matrices(t, factors)
	values = map[string]*mat.Dense{}
	for i, f := range factors {
		values[f.Name] = matrices[i]
	}
	_, chain, _ = loratest.NewObjective(testbackend.All(t)[0], a, k, nil).At(matrices)
	return values, chain
}

// alike fails unless each column is the other's, up to its sign.
func alike(t *testing.T, what string, got, want mat.Matrix, tolerance float64) {
	t.Helper()
	rows, cols := want.Dims()
	if r, c := got.Dims(); r != rows || c != cols {
		t.Fatalf("%s is %d × %d, want %d × %d", what, r, c, rows, cols)
	}
	turned := mat.DenseCopyOf(got)
	for j := range cols {
		sum := 0.0
		for i := range rows {
			sum += got.At(i, j) * want.At(i, j)
		}
		for i := range rows {
			turned.Set(i, j, math.Copysign(1, sum)*got.At(i, j))
		}
	}
	if gap := relative(turned, want); gap > tolerance {
		t.Errorf("%s: off by %g, relative", what, gap)
	}
}

// LoRA-GA begins as its authors have it, with ΔK = 0. PEFT takes the same directions at other sizes: the singular values
// go into B, and A is not scaled.
func TestLoRAGAStart(t *testing.T) {
	eachStart(t, func(t *testing.T, g goldenStart) {
		for _, method := range []string{"vanilla", "rslora"} {
			v, delta := g.start(t, method, lora.InitLoRAGA)
			alike(t, "W2", v["W2"], g.of(t, "ga.A").T(), 1e-6)
			alike(t, "W1ᵀ", v["W1"].T(), g.of(t, "ga.B"), 1e-6)
			within(t, "ΔK at the start", delta, mat.NewDense(delta.RawMatrix().Rows, delta.RawMatrix().Cols, nil), 0)
			within(t, "W1start", v["W1start"], v["W1"], 0)
			within(t, "W2start", v["W2start"], v["W2"], 0)
			alike(t, "W2 beside PEFT's", directions(v["W2"]), directions(mat.DenseCopyOf(g.of(t, "peft_ga.A").T())), 1e-4)
			alike(t, "W1ᵀ beside PEFT's", directions(mat.DenseCopyOf(v["W1"].T())), directions(g.of(t, "peft_ga.B")), 1e-4)
		}
	})
}

// directions are the columns of a matrix at length 1.
func directions(a *mat.Dense) *mat.Dense {
	unit := mat.DenseCopyOf(a)
	rows, cols := a.Dims()
	for j := range cols {
		norm := mat.Norm(a.ColView(j), 2)
		for i := range rows {
			unit.Set(i, j, a.At(i, j)/norm)
		}
	}
	return unit
}

// LoRA-One begins with a step down the gradient, scaled by α/√r.
func TestLoRAOneStart(t *testing.T) {
	eachStart(t, func(t *testing.T, g goldenStart) {
		v, delta := g.start(t, "vanilla", lora.InitLoRAOne)
		a, b := g.of(t, "one.A"), g.of(t, "one.B")
		alike(t, "W2", v["W2"], a.T(), 1e-6)
		alike(t, "W1ᵀ", v["W1"].T(), b, 1e-6)
		want := mat.DenseCopyOf(multiply(b, a).T())
		want.Scale(goldenAlpha/math.Sqrt(goldenRank), want)
		if gap := relative(delta, want); gap > 1e-6 {
			t.Errorf("ΔK at the start: off by %g, relative", gap)
		}
		var along mat.Dense
		along.MulElem(delta, g.of(t, "G"))
		if mat.Sum(&along) >= 0 {
			t.Errorf("the start goes up the gradient: ⟨ΔK, G⟩ = %g", mat.Sum(&along))
		}
	})
}

// PiSSA begins with the kernel's own leading part, with ΔK = 0, as PEFT does.
func TestPiSSAStart(t *testing.T) {
	eachStart(t, func(t *testing.T, g goldenStart) {
		for _, c := range []struct {
			method string
			size   float64 // beside PEFT's factors, which are scaled by α/r: √(α/r) over that of ours
		}{{"vanilla", 1}, {"rslora", math.Pow(goldenRank, -0.25)}} {
			v, delta := g.start(t, c.method, lora.InitPiSSA)
			var a, b mat.Dense
			a.Scale(c.size, g.of(t, "pissa.A").T())
			b.Scale(c.size, g.of(t, "pissa.B"))
			alike(t, "W2", v["W2"], &a, 1e-5)
			alike(t, "W1ᵀ", v["W1"].T(), &b, 1e-5)
			within(t, "ΔK at the start", delta, mat.NewDense(delta.RawMatrix().Rows, delta.RawMatrix().Cols, nil), 0)
		}
	})
}

// What is learned since such a start is what PEFT's conversion makes of it, and what PEFT's changed base and its factors
// come to beside the kernel.
func TestLearnedSinceTheStartIsPEFTsConversion(t *testing.T) {
	eachStart(t, func(t *testing.T, g goldenStart) {
		a := newAdapter(t, "vanilla", func(s *lora.Settings) { s.Rank, s.Init, s.Alpha = goldenRank, lora.InitPiSSA, goldenAlpha })
		across := func(name string) *mat.Dense { return mat.DenseCopyOf(g.of(t, name).T()) }
		k := g.of(t, "K")
		o := loratest.NewObjective(testbackend.All(t)[0], a, k, nil)
		_, delta, _ := o.At([]*mat.Dense{across("trained.B"), across("trained.A"), across("pissa.B"), across("pissa.A")})

		const scale = float64(goldenAlpha) / goldenRank
		want := mat.DenseCopyOf(multiply(g.of(t, "converted.B"), g.of(t, "converted.A")).T())
		want.Scale(scale, want)
		if gap := relative(delta, want); gap > 1e-6 {
			t.Errorf("ΔK beside PEFT's conversion: off by %g, relative", gap)
		}
		beside := mat.DenseCopyOf(multiply(g.of(t, "trained.B"), g.of(t, "trained.A")).T())
		beside.Scale(scale, beside)
		beside.Add(beside, g.of(t, "pissa.base"))
		var model mat.Dense
		model.Add(k, delta)
		if gap := relative(&model, beside); gap > 1e-6 { // its base is rounded to float32
			t.Errorf("K + ΔK beside PEFT's model: off by %g, relative", gap)
		}
	})
}

// LoRA-SB begins with Adam's first step, of which only R is trained.
func TestLoRASBStart(t *testing.T) {
	eachStart(t, func(t *testing.T, g goldenStart) {
		v, delta := g.start(t, "lora-sb", lora.InitReference)
		left, r, right := g.of(t, "sb.left"), g.of(t, "sb.R"), g.of(t, "sb.right")
		within(t, "R", v["R"], r, 1e-6*r.At(0, 0))
		alike(t, "left", v["left"], left, 1e-5)
		alike(t, "right", v["right"], right, 1e-5)
		if gap := relative(delta, multiply(left, r, right.T())); gap > 1e-5 {
			t.Errorf("ΔK at the start: off by %g, relative", gap)
		}
	})
	factors := factorsOf(t, newAdapter(t, "lora-sb", func(*lora.Settings) {}), siteOf("k", 12, 10, 0))
	if rates := fmt.Sprint(factors[0].Rate, factors[1].Rate, factors[2].Rate); rates != "1 0 0" {
		t.Errorf("learning-rate multiples of R, left and right: %s", rates)
	}
	if _, err := factors[0].Value(); err == nil || !strings.Contains(err.Error(), "kernel k [12 10]: lora-sb starts with the first update, and its learning rate is not known") {
		t.Errorf("without a rate: %v", err)
	}
}

func TestStartsRefuse(t *testing.T) {
	for _, c := range []struct {
		method   string
		settings lora.Settings
		want     string
	}{
		{"vanilla", lora.Settings{Rank: 2, Init: "lora-gaa"}, `method vanilla: unknown init "lora-gaa"; nearest: lora-ga (known: reference peft lora-ga lora-one pissa)`},
		{"lora-plus", lora.Settings{Rank: 2, Init: lora.InitPiSSA}, "method lora-plus: init pissa; it starts as peft does, where W1, which learns faster, is zero"},
		{"rslora", lora.Settings{Rank: 2, Init: lora.InitLoRAOne}, "method rslora: init lora-one; that is scaled by α/√r already: take method vanilla"},
		{"lora-sb", lora.Settings{Rank: 2, Init: lora.InitLoRAGA}, `method lora-sb: init "lora-ga"; it has one way to start (init belongs to vanilla)`},
		{"lora-sb", lora.Settings{Rank: 2, Alpha: 3}, "method lora-sb: alpha 3; only vanilla, with another init than reference, scales its update"},
		{"vanilla", lora.Settings{Rank: 2, Init: lora.InitPiSSA, Alpha: -1}, "method vanilla: alpha -1; want a positive number"},
	} {
		if _, err := lora.New(c.method, c.settings); err == nil || err.Error() != c.want {
			t.Errorf("%s with %+v: error %v, want %q", c.method, c.settings, err, c.want)
		}
	}
	a := newAdapter(t, "vanilla", func(s *lora.Settings) { s.Rank, s.Init = 5, lora.InitLoRAGA })
	_, err := a.Init(siteOf("k", 40, 9, 0))
	if want := "kernel k [40 9]: rank 5 is too large for init lora-ga, which takes 2 directions a rank of its smaller side; want at most 4, or leave the kernel out"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

// Faults of the kernel itself name it.
func TestPiSSAReportsWeightFaults(t *testing.T) {
	broken := errors.New("held in fewer bits")
	a := newAdapter(t, "vanilla", func(s *lora.Settings) { s.Rank, s.Init = 2, lora.InitPiSSA })
	for name, weight := range map[string]func() (*tensors.Tensor, error){
		"error": func() (*tensors.Tensor, error) { return nil, broken },
		"shape": func() (*tensors.Tensor, error) {
			return tensors.FromFlatDataAndDimensions(make([]float32, 54), 6, 9), nil
		},
		"NaN": func() (*tensors.Tensor, error) {
			return tensors.FromFlatDataAndDimensions(append(make([]float32, 53), float32(math.NaN())), 9, 6), nil
		},
	} {
		at := siteOf("k", 9, 6, 0)
		at.Weight = weight
		_, err := factorsOf(t, a, at)[0].Value()
		if err == nil || !strings.HasPrefix(err.Error(), "kernel k [9 6]: ") || name == "error" && !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Memory for first gradients is planned where a start takes them, and only there.
func TestTakesGradient(t *testing.T) {
	for _, m := range lora.Methods() {
		for _, init := range lora.Starts() {
			s := lora.Settings{Rank: 2, Depth: 3, InitScale: 1e-3, Init: init}
			a, err := m.New(s)
			if err != nil {
				continue
			}
			asked := false
			at := siteOf("k", 9, 6, 1)
			at.FirstRate, at.Weight = 1, at.Gradient
			gradient := at.Gradient
			at.Gradient = func() (*tensors.Tensor, error) { asked = true; return gradient() }
			for _, f := range factorsOf(t, a, at) {
				if _, err := f.Value(); err != nil {
					t.Fatal(err)
				}
			}
			if said := m.TakesGradient(s); said != asked {
				t.Errorf("%s with init %s: TakesGradient is %v, its factors ask for one: %v", m.Name, init, said, asked)
			}
		}
	}
}
