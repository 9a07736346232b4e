package lora_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/lora/loratest"
)

// newAdapter makes an adapter of the default settings, changed.
func newAdapter(t *testing.T, method string, change func(s *lora.Settings)) lora.Adapter {
	t.Helper()
	s := lora.Defaults()
	change(&s)
	a, err := lora.New(method, s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func siteOf(name string, in, out int, seed uint64) lora.Site {
	return lora.Site{
		Name: name, In: in, Out: out, Seed: seed,
		Gradient: func() (*tensors.Tensor, error) {
			return tensors.FromFlatDataAndDimensions(linalg.Gaussian(rng.New(seed, "gradient", name), in, out).RawMatrix().Data, in, out), nil
		},
	}
}

func factorsOf(t *testing.T, a lora.Adapter, at lora.Site) []lora.Factor {
	t.Helper()
	factors, err := a.Init(at)
	if err != nil {
		t.Fatal(err)
	}
	return factors
}

// T2: W1 [6, 5], W2 … [6, 6], WL [7, 6] and a mask: every ∇W against central differences.
func TestT2MaskedFactorGradients(t *testing.T) {
	mask := mat.NewDense(7, 5, nil)
	mask.Apply(func(i, j int, _ float64) float64 { return float64((3*i + j) % 2) }, mask)
	for depth := 2; depth <= 4; depth++ {
		a := newAdapter(t, "vanilla", func(*lora.Settings) {})
		if depth > 2 {
			a = newAdapter(t, "deep-narrow", func(s *lora.Settings) { s.Depth = depth })
		}
		s := rng.New(2)
		factors := []*mat.Dense{linalg.Gaussian(s, 6, 5)}
		for range depth - 2 {
			factors = append(factors, linalg.Gaussian(s, 6, 6))
		}
		factors = append(factors, linalg.Gaussian(s, 7, 6))
		testbackend.Each(t, func(t *testing.T, b compute.Backend) {
			o := loratest.NewObjective(b, a, linalg.Gaussian(rng.New(3), 7, 5), mask)
			if gap := loratest.GradientGap(o, factors); gap > 1e-9 {
				t.Errorf("depth %d: off by %g, relative", depth, gap)
			}
		})
	}
}

// T10: γ = 0 leaves left and right bit for bit, under GD and under AdamW with decay; γ = 0.01 moves them.
func TestT10GammaFreezes(t *testing.T) {
	at := siteOf("k", 12, 9, 10)
	for _, gamma := range []float64{0, 0.01} {
		for _, rule := range []string{"gd", "adamw"} {
			t.Run(fmt.Sprintf("gamma %g %s", gamma, rule), func(t *testing.T) {
				a := newAdapter(t, "deep-compressed", func(s *lora.Settings) { s.Rank, s.Gamma, s.InitScale = 4, gamma, 0.5 })
				factors := factorsOf(t, a, at)
				start, _ := loratest.Matrices(t, factors)
				values, rates := loratest.Matrices(t, factors)
				o := loratest.NewObjective(testbackend.All(t)[0], a, linalg.Gaussian(rng.New(1), 12, 9), nil)
				adam := loratest.AdamW{WeightDecay: 0.1}
				for range 50 {
					_, _, gradients := o.At(values)
					if rule == "adamw" {
						adam.Step(values, gradients, 1e-2, rates)
					} else {
						descend(values, gradients, 1e-2, rates)
					}
				}
				for i, f := range factors {
					outer := f.Name == "left" || f.Name == "right"
					if same := mat.Equal(start[i], values[i]); same != (outer && gamma == 0) {
						t.Errorf("%s: unchanged is %v", f.Name, same)
					}
				}
			})
		}
	}
}

// T10, last part: from a large gradient Adam's first step moves every entry by its learning rate.
func TestT10RateScalesTheStep(t *testing.T) {
	const lr, gamma = 1e-2, 0.01
	a := newAdapter(t, "deep-compressed", func(s *lora.Settings) { s.Rank, s.Gamma = 4, gamma })
	factors := factorsOf(t, a, siteOf("k", 12, 9, 10))
	start, _ := loratest.Matrices(t, factors)
	values, rates := loratest.Matrices(t, factors)
	var gradients []*mat.Dense
	for i, v := range values {
		g := linalg.Gaussian(rng.New(1).At(uint64(i)), v.RawMatrix().Rows, v.RawMatrix().Cols)
		g.Apply(func(_, _ int, x float64) float64 { return math.Copysign(1+math.Abs(x), x) }, g)
		gradients = append(gradients, g)
	}
	new(loratest.AdamW).Step(values, gradients, lr, rates)
	for i, f := range factors {
		want := lr
		if f.Name == "left" || f.Name == "right" {
			want = gamma * lr
		}
		for j, x := range values[i].RawMatrix().Data {
			if moved := math.Abs(x - start[i].RawMatrix().Data[j]); math.Abs(moved-want) > 1e-5*want {
				t.Fatalf("%s moved by %g, want %g", f.Name, moved, want)
			}
		}
	}
}

func descend(values, gradients []*mat.Dense, rate float64, rates []float64) {
	for i, v := range values {
		var step mat.Dense
		step.Scale(rate*rates[i], gradients[i])
		v.Sub(v, &step)
	}
}

// bertKernels are those of a BERT as Hugging Face names them, with the ones that all-dense leaves out.
func bertKernels(hidden, inner, layers, vocab, positions, labels int) []lora.Shape {
	kernels := []lora.Shape{
		{Name: "bert.embeddings.word_embeddings", In: vocab, Out: hidden},
		{Name: "bert.embeddings.position_embeddings", In: positions, Out: hidden},
		{Name: "bert.embeddings.token_type_embeddings", In: 2, Out: hidden},
	}
	for i := range layers {
		layer := fmt.Sprintf("bert.encoder.layer.%d.", i)
		for _, name := range []string{"attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"} {
			kernels = append(kernels, lora.Shape{Name: layer + name, In: hidden, Out: hidden})
		}
		kernels = append(kernels,
			lora.Shape{Name: layer + "intermediate.dense", In: hidden, Out: inner},
			lora.Shape{Name: layer + "output.dense", In: inner, Out: hidden})
	}
	return append(kernels,
		lora.Shape{Name: "bert.pooler.dense", In: hidden, Out: hidden},
		lora.Shape{Name: "classifier", In: hidden, Out: labels})
}

var berts = map[string]struct {
	kernels []lora.Shape
	hidden  int
}{
	"bert-base-cased":    {bertKernels(768, 3072, 12, 28996, 512, 2), 768},
	"bert-base-uncased":  {bertKernels(768, 3072, 12, 30522, 512, 2), 768},
	"bert-large-uncased": {bertKernels(1024, 4096, 24, 30522, 512, 2), 1024},
}

func TestT17ParameterCounts(t *testing.T) {
	var misc struct {
		ParameterCounts map[string]map[string]map[string]any `json:"parameter_counts"`
	}
	readJSON(t, testshared.Path(t, "reference", "misc.json"), &misc)
	checked := 0
	for model, scopes := range misc.ParameterCounts {
		for scope, counts := range scopes {
			bert := berts[model]
			selected, err := lora.Scope{Name: scope}.Select(bert.kernels, bert.hidden)
			if err != nil {
				t.Fatal(err)
			}
			if want := int(counts["kernels"].(float64)); len(selected.Kernels) != want {
				t.Errorf("%s %s: %d kernels, want %d", model, scope, len(selected.Kernels), want)
			}
			count(t, "deep-wide", 8, selected.Kernels, counts["wide"])
			for key, row := range counts {
				var rank int
				if _, err := fmt.Sscanf(key, "r=%d", &rank); err != nil {
					continue
				}
				for form, want := range row.(map[string]any) {
					method := map[string]string{"vanilla": "vanilla", "narrow": "deep-narrow", "compressed": "deep-compressed"}[form]
					count(t, method, rank, selected.Kernels, want)
					checked++
				}
			}
		}
	}
	if checked != 3*3*5*3 {
		t.Errorf("%d counts checked, want 3 models × 3 scopes × 5 ranks × 3 forms", checked)
	}
}

func count(t *testing.T, method string, rank int, kernels []lora.Shape, want any) {
	t.Helper()
	got, err := lora.Count(newAdapter(t, method, func(s *lora.Settings) { s.Rank = rank }), kernels)
	if err != nil {
		t.Fatal(err)
	}
	if got != int(want.(float64)) {
		t.Errorf("%s at rank %d: %d parameters, want %v", method, rank, got, want)
	}
}

// The table of method.md 2.3, which needs no file.
func TestT17TableOfBERTBase(t *testing.T) {
	for scope, want := range map[string][4]int{
		"only-query-value": {294_912, 296_448, 299_520, 42_467_328},
		"attention-mlp":    {1_327_104, 1_331_712, 1_340_928, 594_542_592},
		"all-dense":        {1_587_744, 1_592_544, 1_602_144, 2_301_689_888},
	} {
		selected, err := lora.Scope{Name: scope}.Select(berts["bert-base-cased"].kernels, 768)
		if err != nil {
			t.Fatal(err)
		}
		for i, method := range []string{"vanilla", "deep-narrow", "deep-compressed", "deep-wide"} {
			count(t, method, 8, selected.Kernels, float64(want[i]))
		}
	}
}

// T18: what each method starts from, entry by entry where method.md 2.1 says so. (Norms of ΔK: loratest.)
func TestT18Start(t *testing.T) {
	at := siteOf("k", 40, 24, 18)
	values := func(method string, change func(s *lora.Settings)) map[string]*mat.Dense {
		factors := factorsOf(t, newAdapter(t, method, change), at)
		matrices, _ := loratest.Matrices(t, factors)
		named := map[string]*mat.Dense{}
		for i, f := range factors {
			named[f.Name] = matrices[i]
		}
		return named
	}

	v := values("vanilla", func(s *lora.Settings) { s.Rank = 8 })
	within(t, "vanilla W2", v["W2"], mat.NewDense(40, 8, nil), 0)
	standard(t, "vanilla W1", v["W1"], 1)

	v = values("vanilla", func(s *lora.Settings) { s.Rank, s.Init = 8, lora.InitPEFT })
	within(t, "peft W1", v["W1"], mat.NewDense(8, 24, nil), 0)
	standard(t, "peft W2", v["W2"], 1/math.Sqrt(3*40)) // uniform within 1/√in
	if worst := mat.Max(v["W2"]); worst > 1/math.Sqrt(40) || worst < 0.95/math.Sqrt(40) {
		t.Errorf("peft W2 reaches %g, want just below 1/√40", worst)
	}

	for method, width := range map[string]int{"deep-narrow": 8, "deep-wide": 40} {
		v = values(method, func(s *lora.Settings) { s.Depth = 4 })
		for name, rows := range map[string]int{"W1": width, "W2": width, "W3": width, "W4": 40} {
			w := v[name]
			if rows < w.RawMatrix().Cols {
				w = mat.DenseCopyOf(w.T())
			}
			within(t, method+" gram of "+name, gram(w), scaled(1e-6, w.RawMatrix().Cols), 1e-12)
		}
	}

	v = values("deep-compressed", func(s *lora.Settings) { s.Rank = 4 })
	for _, name := range []string{"W1", "W2", "W3"} {
		within(t, "compressed "+name, v[name], scaled(float64(float32(1e-3)), 4), 0)
	}
	within(t, "compressed gram of left, the longer side", gram(v["left"]), identity(4), 1e-6)
}

// standard fails unless mean and standard deviation of a's entries are 0 and deviation within 5 errors.
func standard(t *testing.T, what string, a *mat.Dense, deviation float64) {
	t.Helper()
	n := float64(len(a.RawMatrix().Data))
	mean := mat.Sum(a) / n
	if math.Abs(mean) > 5*deviation/math.Sqrt(n) {
		t.Errorf("%s: mean %g, want 0", what, mean)
	}
	if got := math.Sqrt(square(a) / n); math.Abs(got-deviation) > 5*deviation/math.Sqrt(2*n) {
		t.Errorf("%s: standard deviation %g, want %g", what, got, deviation)
	}
}

// α/r enters ΔK once, and Pair's lora_B holds it.
func TestAlphaScalesDelta(t *testing.T) {
	factors := []*mat.Dense{linalg.Gaussian(rng.New(1), 4, 6), linalg.Gaussian(rng.New(2), 9, 4)}
	target := mat.NewDense(9, 6, nil)
	for alpha, scale := range map[float64]float64{0: 1, 4: 1, 8: 2, 1: 0.25} {
		a := newAdapter(t, "vanilla", func(s *lora.Settings) { s.Rank, s.Init, s.Alpha = 4, lora.InitPEFT, alpha })
		_, delta, _ := loratest.NewObjective(testbackend.All(t)[0], a, target, nil).At(factors)
		want := multiply(factors[1], factors[0])
		want.Scale(scale, want)
		within(t, fmt.Sprintf("ΔK at alpha %g", alpha), delta, want, 1e-12)
	}
}

func TestSettingsFaultsAreJoined(t *testing.T) {
	_, err := lora.New("deep-compressed", lora.Settings{Rank: 7, Depth: 2, Gamma: -1, Init: "peft", Alpha: 3})
	if err == nil {
		t.Fatal("accepted")
	}
	want := []string{
		"method deep-compressed: rank 7 is odd; want an even one: half of it follows the gradient's left singular vectors, half the right",
		"method deep-compressed: depth 2; want 3 or more (with two factors it is vanilla)",
		"method deep-compressed: init scale 0; want a positive number, as 1e-3",
		"method deep-compressed: gamma -1; want 0 (left and right stay frozen) or more, as 0.01",
		`method deep-compressed: init "peft"; it has one way to start (init belongs to vanilla)`,
		"method deep-compressed: alpha 3; only vanilla, with another init than reference, scales its update",
	}
	if got := strings.Split(err.Error(), "\n"); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", err)
	}
}

func TestUnknownMethodNamesTheNearest(t *testing.T) {
	var known []string
	for _, m := range lora.Methods() {
		known = append(known, m.Name)
	}
	for name, want := range map[string]string{"lora2": "rslora", "deep-compresed": "deep-compressed", "narrow": "deep-narrow"} {
		_, err := lora.New(name, lora.Defaults())
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("unknown method %q; nearest: %s (known: %s)", name, want, strings.Join(known, " "))) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The rule gives the rate that it begins with at rank 8, less at larger ranks, and leaves an α of one's own alone.
func TestRuledLearningRates(t *testing.T) {
	settings := func(rank int, alpha float64, init string) lora.Settings {
		s := lora.Defaults()
		s.Rank, s.Alpha, s.Init = rank, alpha, init
		return s
	}
	for _, c := range []struct {
		method string
		s      lora.Settings
		want   float64
	}{
		{"deep-compressed", settings(8, 0, ""), 4e-3},
		{"deep-compressed", settings(64, 0, ""), 4e-3 / math.Pow(8, 1.15)},
		{"vanilla", settings(8, 0, lora.InitReference), 1e-4},
		{"vanilla", settings(32, 0, lora.InitReference), 5e-5},
		{"vanilla", settings(32, 32, lora.InitPEFT), 2.5e-4},
		{"vanilla", settings(32, 16, lora.InitPEFT), 5e-4},
		{"rslora", settings(32, 0, ""), 7.5e-5},
		{"rslora", settings(32, 8, ""), 3e-4},
		{"lora-plus", settings(2, 0, ""), 2e-4},
	} {
		m, err := lora.LookupMethod(c.method)
		if err != nil {
			t.Fatal(err)
		}
		if rate := m.Rule(c.s).Rate; math.Abs(rate-c.want) > 1e-15 {
			t.Errorf("%s at rank %d, alpha %g: %g, want %g", c.method, c.s.Rank, c.s.Alpha, rate, c.want)
		}
	}
}

func TestDefaultLearningRates(t *testing.T) {
	peft := lora.Defaults()
	peft.Init = lora.InitPEFT
	for name, want := range map[string][2]float64{
		"vanilla": {1e-4, 5e-4}, "deep-wide": {1e-4, 1e-4}, "deep-narrow": {1e-4, 1e-4}, "deep-compressed": {1e-2, 1e-2},
		"rslora": {3e-4, 3e-4}, "lora-plus": {1e-4, 1e-4}, "lora-sb": {1e-3, 1e-3},
	} {
		m, err := lora.LookupMethod(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]float64{m.LearningRate(lora.Defaults()), m.LearningRate(peft)}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
