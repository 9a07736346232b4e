package completion

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
)

// settings are those of small problems, which a larger start takes off the plateau soon.
func settings(method string, width int) Config {
	c := Default()
	c.Method, c.Width, c.InitScale, c.Steps = method, width, 0.05, 20000
	return c
}

func TestEveryMethodRecovers(t *testing.T) {
	for _, shape := range [][2]int{{60, 60}, {50, 80}, {80, 50}} {
		for _, method := range []string{Compressed, Narrow, Wide} {
			for depth := 2; depth <= 4; depth++ {
				p := must(Synthetic{Rows: shape[0], Cols: shape[1], Rank: 2, Observed: 0.5, Seed: 3}.Make())(t)
				c := settings(method, 4)
				c.Depth, c.Tolerance = depth, 1e-2
				c.InitScale = []float64{2: 1e-3, 3: 0.05, 4: 0.15}[depth]
				s := must(Solve(t.Context(), p, c, nil))(t)
				if !s.Converged || *s.Errors.Recovery > 1e-2 {
					t.Errorf("%s %v L=%d: recovery error %g after %d iterations", method, shape, depth, *s.Errors.Recovery, s.Iterations)
				}
			}
		}
	}
}

// Whatever the measurements in between, Iterations is the first at which the error is low enough.
func TestTheStopIsExact(t *testing.T) {
	p := must(Synthetic{Rows: 60, Cols: 50, Rank: 2, Observed: 0.5, Seed: 3}.Make())(t)
	for _, optimizer := range []string{GD, Adam} {
		c := settings(Compressed, 4)
		c.Optimizer = optimizer
		var first *Solution
		for _, every := range []int{1, 7, 64, 100000} {
			c.EvalEvery = every
			if every == 100000 {
				c.Steps = first.Iterations + 3 // only the end is measured
			}
			s := must(Solve(t.Context(), p, c, nil))(t)
			if first == nil {
				first = s
			}
			if s.Iterations != first.Iterations || *s.Errors.Recovery != *first.Errors.Recovery {
				t.Errorf("%s, measured every %d: %d iterations to %g, want %d to %g",
					optimizer, every, s.Iterations, *s.Errors.Recovery, first.Iterations, *first.Errors.Recovery)
			}
			for i, f := range s.Factors {
				if !mat.Equal(f.Value, first.Factors[i].Value) {
					t.Errorf("%s, measured every %d: another %s", optimizer, every, f.Name)
				}
			}
			if last := s.Curve[len(s.Curve)-1]; last.Iteration != s.Iterations || *last.Recovery != *s.Errors.Recovery {
				t.Errorf("the curve ends at %+v", last)
			}
		}
	}
}

// Compressed begins in the directions of the wide model of the same seed: with all entries observed they are one model.
func TestSharedStartIsTheWideOne(t *testing.T) {
	p := must(Synthetic{Rows: 40, Cols: 40, Rank: 3, Observed: 1, Seed: 5}.Make())(t)
	var products []*mat.Dense
	for _, method := range []string{Wide, Compressed} {
		c := settings(method, 6)
		c.InitScale, c.Gamma, c.Seed = 1e-2, 0, 7
		m := must(c.begin(p))(t)
		if method == Compressed && c.Start != StartShared {
			t.Errorf("start %q", c.Start)
		}
		o := Config{LR: 5e-3 * p.entries()}.optimizer(p)
		train(m, o, 2500, func(int, float64) bool { return false })
		products = append(products, product(m))
	}
	if worst := gap(products[0], products[1]); worst > 1e-6*(1+1e-3) {
		t.Errorf("wide and compressed end %g apart, want at most ε³", worst)
	}
	if worst := gap(products[0], p.Truth.dense()); worst > 1e-3 {
		t.Errorf("still %g from Φ: that proves nothing", worst)
	}
}

// The implicit start has the properties of an explicit one (its law is tested with the adapters).
func TestImplicitStart(t *testing.T) {
	for _, shape := range [][2]int{{30, 30}, {20, 36}, {36, 20}} {
		p := must(Synthetic{Rows: shape[0], Cols: shape[1], Rank: 3, Observed: 0.5, Seed: 5}.Make())(t)
		for _, start := range []string{StartShared, StartImplicit} {
			c := settings(Compressed, 6)
			c.Start = start
			top := must(leading(p.Observed, 3, rng.New(1)))(t)
			left, right := c.subspaces(p.Observed, top)
			long, short := right, left
			if shape[0] > shape[1] {
				long, short = left, right
			}
			var gram mat.Dense
			gram.Mul(long.T(), long)
			for i := range 6 {
				gram.Set(i, i, gram.At(i, i)-1)
			}
			if worst := largest(&gram); worst > 1e-12 {
				t.Errorf("%v %s: long side off orthonormal by %g", shape, start, worst)
			}
			if values := linalg.SingularValues(short); values[0] > 1+1e-12 || math.Abs(values[2]-1) > 1e-10 {
				t.Errorf("%v %s: singular values of the short side %v", shape, start, values)
			}
			if a, b := linalg.Angles(left, top.U), linalg.Angles(right, top.V); a[2] > 1e-7 || b[2] > 1e-7 {
				t.Errorf("%v %s: the gradient's vectors are %v and %v outside", shape, start, a, b)
			}
		}
	}
}

func TestSubspacesAreThoseOfADenseSVD(t *testing.T) {
	p := must(Synthetic{Rows: 200, Cols: 150, Rank: 4, Observed: 0.3, Seed: 2}.Make())(t)
	dense := mat.NewDense(200, 150, nil)
	for i := range 200 {
		for n := p.Observed.Start[i]; n < p.Observed.Start[i+1]; n++ {
			dense.Set(i, int(p.Observed.Col[n]), p.Observed.Value[n])
		}
	}
	want, got := must(linalg.ThinSVD(dense))(t), must(leading(p.Observed, 4, rng.New(1)))(t)
	for j := range 4 {
		if relative(got.S[j], want.S[j]) > 1e-9 {
			t.Errorf("singular value %d: %g, want %g", j, got.S[j], want.S[j])
		}
	}
	if a := linalg.Angles(got.U, want.U.Slice(0, 200, 0, 4)); a[3] > 1e-4 {
		t.Errorf("angles %v", a)
	}
}

// γ = 0 leaves the outer factors alone to the bit, and then completion stalls.
func TestFrozenFactorsKeepTheirBits(t *testing.T) {
	p := must(Synthetic{Rows: 60, Cols: 60, Rank: 3, Observed: 0.4, Seed: 4}.Make())(t)
	for _, optimizer := range []string{GD, Adam} {
		c := settings(Compressed, 6)
		c.Gamma, c.Optimizer, c.WeightDecay, c.Steps = 0, optimizer, 1e-6, 3000
		s := must(Solve(t.Context(), p, c, nil))(t)
		start := c
		m := must(start.begin(p))(t).(*thin)
		for _, f := range s.Factors {
			switch {
			case f.Name == "left" && !mat.Equal(f.Value, m.left.dense()), f.Name == "right" && !mat.Equal(f.Value, m.right.dense()):
				t.Errorf("%s: %s has moved", optimizer, f.Name)
			case f.Name == "W1" && mat.Equal(f.Value, m.inner[0].dense()):
				t.Errorf("%s: W1 has not moved", optimizer)
			}
		}
		if s.Converged || *s.Errors.Recovery < 0.05 {
			t.Errorf("%s: recovery error %g with frozen factors", optimizer, *s.Errors.Recovery)
		}
	}
}

func TestNoiseIsMeasuredAgainstTheTruth(t *testing.T) {
	const noise = 0.02
	p := must(Synthetic{Rows: 80, Cols: 80, Rank: 2, Observed: 0.6, Noise: noise, Seed: 1}.Make())(t)
	sum := 0.0
	for n, v := range p.Observed.Value {
		sum += (v - p.Clean[n]) * (v - p.Clean[n])
	}
	if got := math.Sqrt(sum / float64(p.Observed.Len())); math.Abs(got-noise) > 0.1*noise {
		t.Errorf("noise of standard deviation %g, want %g", got, noise)
	}
	c := settings(Compressed, 4)
	c.Steps = 3000
	s := must(Solve(t.Context(), p, c, nil))(t)
	f := mat.NewDense(80, 80, nil)
	f.Product(factor(s, "left"), factor(s, "W3"), factor(s, "W2"), factor(s, "W1"), factor(s, "right").T())
	phi, all, held := p.Truth.dense(), 0.0, 0.0
	seen := mat.NewDense(80, 80, nil)
	for i := range 80 {
		for n := p.Observed.Start[i]; n < p.Observed.Start[i+1]; n++ {
			seen.Set(i, int(p.Observed.Col[n]), 1)
		}
		for j := range 80 {
			d := f.At(i, j) - phi.At(i, j)
			all += d * d
			held += (1 - seen.At(i, j)) * d * d
		}
	}
	if e := s.Errors; relative(*e.Recovery, math.Sqrt(all)/p.Truth.Norm) > 1e-9 || relative(*e.HeldOut, held/2/6400) > 1e-9 {
		t.Errorf("recovery %g, held-out %g; want %g, %g", *e.Recovery, *e.HeldOut, math.Sqrt(all)/p.Truth.Norm, held/2/6400)
	}
	if *s.Errors.Recovery > 0.1 || s.Errors.Relative < 0.01 {
		t.Errorf("recovery error %g, training error %g: want a recovery that does not fit the noise", *s.Errors.Recovery, s.Errors.Relative)
	}
}

func factor(s *Solution, name string) *mat.Dense {
	return s.Factors[slices.IndexFunc(s.Factors, func(f Factor) bool { return f.Name == name })].Value
}

// A user's entries: nobody knows Φ, so training stops by its own error, and what was held out tells of the rest.
func TestEntriesOfAUser(t *testing.T) {
	from := must(Synthetic{Rows: 70, Cols: 40, Rank: 2, Observed: 0.6, Seed: 9}.Make())(t)
	p := must(HoldOut(from.Observed, 0.25, 3))(t)
	if p.Observed.Len()+p.HeldOut.Len() != from.Observed.Len() || p.HeldOut.Len() != from.Observed.Len()/4 {
		t.Fatalf("%d and %d entries of %d", p.Observed.Len(), p.HeldOut.Len(), from.Observed.Len())
	}
	s := must(Solve(t.Context(), p, settings(Compressed, 4), nil))(t)
	switch {
	case s.Errors.Recovery != nil:
		t.Errorf("a recovery error of %g without a truth", *s.Errors.Recovery)
	case !s.Converged || s.Errors.Relative > 1e-4:
		t.Errorf("training error %g after %d iterations", s.Errors.Relative, s.Iterations)
	case *s.Errors.HeldOut > 1e-4:
		t.Errorf("held-out loss %g", *s.Errors.HeldOut)
	}
	again := must(HoldOut(from.Observed, 0.25, 3))(t)
	other := must(HoldOut(from.Observed, 0.25, 4))(t)
	if !slices.Equal(again.Observed.Value, p.Observed.Value) || slices.Equal(other.Observed.Value, p.Observed.Value) {
		t.Error("the split is not a function of the seed")
	}
	for _, fraction := range []float64{-0.1, 1, math.NaN()} {
		if _, err := HoldOut(from.Observed, fraction, 0); err == nil {
			t.Errorf("hold-out %g: no error", fraction)
		}
	}
}

func TestSampleIsUniformAndDistinct(t *testing.T) {
	for _, count := range []int{1, 7, 30, 41, 59, 60} {
		var hits [60]int
		const draws = 2000
		for i := range uint64(draws) {
			e := sample(rng.New(1, "sample").At(i), 6, 10, count)
			if e.Len() != count || e.Start[6] != count {
				t.Fatalf("%d entries, want %d", e.Len(), count)
			}
			for i := range 6 {
				row := e.Col[e.Start[i]:e.Start[i+1]]
				if !slices.IsSorted(row) || len(slices.Compact(slices.Clone(row))) != len(row) {
					t.Fatalf("row %v", row)
				}
				for _, j := range row {
					hits[i*10+int(j)]++
				}
			}
		}
		p := float64(count) / 60
		for place, n := range hits {
			if z := (float64(n) - draws*p) / math.Sqrt(draws*p*(1-p)+1e-9); math.Abs(z) > 5 {
				t.Errorf("%d of 60: place %d came %d times in %d", count, place, n, draws)
			}
		}
	}
}

func TestSyntheticTruth(t *testing.T) {
	p := must(Synthetic{Rows: 300, Cols: 200, Rank: 4, Observed: 0.1, Seed: 1}.Make())(t)
	values := linalg.SingularValues(p.Truth.dense())
	if values[4] > 1e-10 || math.Abs(values[0]-(math.Sqrt(300)+math.Sqrt(200))) > 3 {
		t.Errorf("singular values %v", values[:5])
	}
	if got := mat.Norm(p.Truth.dense(), 2); relative(got, p.Truth.Norm) > 1e-12 {
		t.Errorf("norm %g, want %g", p.Truth.Norm, got)
	}
	if p.Observed.Len() != 6000 {
		t.Errorf("%d entries", p.Observed.Len())
	}
	for name, c := range map[string]struct {
		s    Synthetic
		want string
	}{
		"no rows":      {Synthetic{0, 5, 1, 0.5, 0, 0}, "0 rows"},
		"no columns":   {Synthetic{5, 0, 1, 0.5, 0, 0}, "0 columns"},
		"rank":         {Synthetic{5, 4, 5, 0.5, 0, 0}, "rank 5 of a 5 × 4 matrix: want 1 to 4"},
		"fraction":     {Synthetic{5, 4, 1, 1.5, 0, 0}, "observed fraction 1.5"},
		"NaN":          {Synthetic{5, 4, 1, math.NaN(), 0, 0}, "observed fraction NaN"},
		"none":         {Synthetic{5, 4, 1, 0.01, 0, 0}, "is none of them"},
		"too many":     {Synthetic{100000, 100000, 1, 1, 0, 0}, "at most"},
		"wrong noise":  {Synthetic{5, 4, 1, 0.5, -1, 0}, "noise -1"},
		"several":      {Synthetic{5, 4, 9, 2, -1, 0}, "rank 9"},
		"several more": {Synthetic{5, 4, 9, 2, -1, 0}, "noise -1"},
	} {
		if _, err := c.s.Make(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func TestSettingsAreValidated(t *testing.T) {
	for want, change := range map[string]func(*Config){
		`method "wid" is unknown; nearest: wide`:        func(c *Config) { c.Method = "wid" },
		`optimizer "sgd" is unknown; nearest: gd`:       func(c *Config) { c.Optimizer = "sgd" },
		`start "share" is unknown; nearest: shared`:     func(c *Config) { c.Start = "share" },
		"depth 1: want 2 to 64":                         func(c *Config) { c.Depth = 1 },
		"width 12 of a 20 × 10 matrix: want 1 to 10":    func(c *Config) { c.Width = 12 },
		"width 3 of compressed factors is odd":          func(c *Config) { c.Width = 3 },
		"init scale 0: want a number above 0":           func(c *Config) { c.InitScale = 0 },
		"gamma -1: want a number from 0 up":             func(c *Config) { c.Gamma = -1 },
		"learning rate NaN: want a number from 0 up":    func(c *Config) { c.LR = math.NaN() },
		"weight decay -1":                               func(c *Config) { c.WeightDecay = -1 },
		"tolerance -1":                                  func(c *Config) { c.Tolerance = -1 },
		"-1 steps: want 0 or more":                      func(c *Config) { c.Steps = -1 },
		"-1 iterations between measurements: want 1 or": func(c *Config) { c.EvalEvery = -1 },
	} {
		c := settings(Compressed, 4)
		if err := c.Validate(20, 10); err != nil {
			t.Fatal(err)
		}
		if change(&c); c.Validate(20, 10) == nil || !strings.Contains(c.Validate(20, 10).Error(), want) {
			t.Errorf("error %v, want %q", c.Validate(20, 10), want)
		}
	}
}

func TestLargeStepsAreNamed(t *testing.T) {
	p := must(Synthetic{Rows: 30, Cols: 30, Rank: 2, Observed: 0.5}.Make())(t)
	c := settings(Compressed, 4)
	c.LR = 1e6
	if _, err := Solve(t.Context(), p, c, nil); err == nil || !strings.Contains(err.Error(), "take a smaller learning rate than 1e+06") {
		t.Errorf("error %v", err)
	}
}

func TestInterruptsEndAtOnce(t *testing.T) {
	p := must(Synthetic{Rows: 30, Cols: 30, Rank: 2, Observed: 0.5}.Make())(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := settings(Compressed, 4)
	c.EvalEvery, c.InitScale = 1, 1e-6 // a plateau without an end
	_, err := Solve(ctx, p, c, func(p Progress) {
		if p.Iteration == 10 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "after 11 iterations") {
		t.Errorf("error %v", err)
	}
}

// The paper's step for its problem is what Solve chooses.
func TestChosenLearningRate(t *testing.T) {
	p := must(Synthetic{Rows: 1000, Cols: 1000, Rank: 5, Observed: 0.2}.Make())(t)
	c := Default()
	c.Method, c.Width, c.Steps = Narrow, 10, 0
	s := must(Solve(t.Context(), p, c, nil))(t)
	if s.Config.LR < 3500 || s.Config.LR > 5500 || s.Iterations != 0 || s.Config.EvalEvery < 2 {
		t.Errorf("%+v", s.Config)
	}
}

func TestCurvesStayShort(t *testing.T) {
	var c curve
	for t := range 100001 {
		c.add(Point{Iteration: t}, t == 100000)
	}
	if n := len(c.points); n > maxPoints+1 || n < maxPoints/2 {
		t.Errorf("%d points", n)
	}
	for i, p := range c.points[:len(c.points)-1] {
		if p.Iteration != i*c.every {
			t.Fatalf("point %d is of iteration %d", i, p.Iteration)
		}
	}
	if c.points[len(c.points)-1].Iteration != 100000 {
		t.Error("the last point is missing")
	}
}

func svg(w io.Writer) error {
	_, err := io.WriteString(w, "<svg/>")
	return err
}

func TestSaveWritesWhatWasFound(t *testing.T) {
	p := must(Synthetic{Rows: 20, Cols: 30, Rank: 2, Observed: 0.7}.Make())(t)
	for method, names := range map[string]string{Compressed: "W1 W2 W3 left right", Narrow: "W1 W2 W3", Wide: "W1 W2 W3"} {
		c := settings(method, 4)
		c.Steps = 2000
		s := must(Solve(t.Context(), p, c, nil))(t)
		dir := filepath.Join(t.TempDir(), "out")
		if err := s.Save(dir, s.Result(p), svg); err != nil {
			t.Fatal(err)
		}
		var r Result
		if err := jsonfile.Read(filepath.Join(dir, "result.json"), &r); err != nil {
			t.Fatal(err)
		}
		if r.Iterations != s.Iterations || r.Rank != 2 || r.Method != method || *r.Recovery != *s.Errors.Recovery || r.PeakRSS <= 0 || r.PerIteration <= 0 {
			t.Errorf("%+v", r)
		}
		f := must(safetensors.Open(filepath.Join(dir, "factors.safetensors")))(t)
		if got := strings.Join(f.Names(), " "); got != names {
			t.Errorf("%s: tensors %s", method, got)
		}
		chain := []string{"W1", "W2", "W3"}
		if method == Compressed {
			chain = append(chain, "left")
		}
		var x *mat.Dense
		load := func(name string) *mat.Dense {
			info, _ := f.Info(name)
			return mat.NewDense(info.Shape[0], info.Shape[1], must(f.Float64(name))(t))
		}
		if method == Compressed {
			x = mat.DenseCopyOf(load("right").T())
		}
		for _, name := range chain {
			next := load(name)
			if x != nil {
				var y mat.Dense
				y.Mul(next, x)
				next = &y
			}
			x = next
		}
		f.Close()
		if d := gap(x, p.Truth.dense()); d > 100**r.Recovery*p.Truth.Norm+1e-12 {
			t.Errorf("%s: the saved factors' product is %g from Φ, recovery error %g", method, d, *r.Recovery)
		}
		if err := s.Save(dir, r, svg); !errors.Is(err, os.ErrExist) {
			t.Errorf("a second save: %v", err)
		}
	}
}
