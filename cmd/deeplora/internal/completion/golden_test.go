package completion

import (
	"slices"
	"strconv"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// follow trains m as a golden run was, compares its curve, and returns the first iterate with a training loss of at
// most each of the run's bounds.
func (g *goldenData) follow(t *testing.T, name string, p *Problem, m learner, tolerance float64) map[string]int {
	t.Helper()
	run := g.Runs[name]
	if run == nil {
		t.Fatalf("no run %s", name)
	}
	o := Config{LR: run.Step, WeightDecay: run.Lambda}.optimizer(p)
	first := map[string]int{}
	points := run.Curve
	gauge := newGauge(p)
	train(m, o, min(run.Steps, points[len(points)-1].T), func(step int, square float64) bool {
		loss := gauge.train(square).Train
		for bound := range run.First {
			if _, seen := first[bound]; !seen && loss <= parse(t, bound) {
				first[bound] = step
			}
		}
		if points[0].T == step {
			e := gauge.measure(m, square)
			near(t, name+": training loss", step, e.Train, points[0].Train, tolerance)
			if e.HeldOut != nil {
				near(t, name+": held-out loss", step, *e.HeldOut, points[0].Test, tolerance)
			}
			points = points[1:]
		}
		return len(points) == 0
	})
	return first
}

func parse(t *testing.T, number string) float64 { return must(strconv.ParseFloat(number, 64))(t) }

// T8 and T9: an independent program's curves on one small problem, from the same factors, and the steps at which
// methods arrive. Steps long after an arrival are left out.
func TestT8T9CompletionGoldens(t *testing.T) {
	const epsilon = 1e-3
	g := loadGolden(t)
	e := g.p.Observed
	compressed := func(gamma float64) learner {
		return must(newCompressed(e, g.matrix("left"), g.matrix("right"), 3, epsilon, gamma))(t)
	}
	for _, c := range []struct {
		run   string
		model learner
		last  int // step compared
		when  int // first with a training loss of at most 1e-6; 0: none
	}{
		{"wide", newWide(e, g.scaled(epsilon, "Q1", "Q2", "Q3")), 9800, 9683},
		{"compressed_gamma_0.01", compressed(0.01), 12000, 10502},
		{"compressed_gamma_0", compressed(0), 16000, 0},
		{"narrow", must(newNarrow(e, g.scaled(epsilon, "narrow_Q1", "narrow_Q2", "narrow_Q3")))(t), 24000, 22302},
		{"wide_depth2", newWide(e, g.scaled(epsilon, "Q1", "Q2")), 4000, 177},
	} {
		t.Run(c.run, func(t *testing.T) {
			t.Parallel()
			run := *g.Runs[c.run]
			run.Curve = slices.DeleteFunc(slices.Clone(run.Curve), func(p goldenPoint) bool { return p.T > c.last })
			own := *g
			own.Runs = map[string]*goldenRun{c.run: &run}
			first := own.follow(t, c.run, g.p, c.model, 1e-6)
			when, reached := first["1e-06"]
			if reached != (c.when > 0) || when < c.when-2 || when > c.when+2 {
				t.Errorf("training loss below 1e-6 at %d (%v), want %d", when, reached, c.when)
			}
			if c.when == 0 {
				if loss := newGauge(g.p).train(c.model.gradient()).Train; loss < 4.9e-3 {
					t.Errorf("γ = 0 comes down to %g; it should stall", loss)
				}
			}
		})
	}
}

// The golden factorisations start from ε = 1e-2 and bases found from -Φ itself (T4, T5, T7).
func (g *goldenData) factorisation(t *testing.T) (p *Problem, factors []*mat.Dense, compressed func() learner) {
	const epsilon = 1e-2
	p = masked(nil, g.p.Truth, 1)
	factors = g.scaled(epsilon, "Q1", "Q2", "Q3")
	left, right := explicitBases(g.p.Truth, []*mat.Dense{g.matrix("Q1"), g.matrix("Q2"), g.matrix("Q3")}, 3)
	return p, factors, func() learner { return must(newCompressed(p.Observed, left, right, 3, epsilon, 0))(t) }
}

// T4, T5 and T7: ρ, both curves and both ends against the golden run, with and without weight decay.
func TestT4T5T7FactorisationGoldens(t *testing.T) {
	g := loadGolden(t)
	for _, c := range []struct {
		lambda   string
		rho      float64 // at step 3,000
		wide, ct float64 // losses there; 0: not compared
	}{
		{"0", 0.009999998500001958, 7.6328e-15, 1.3281e-16},
		{"0.001", 0.009851117592379291, 0, 0},
	} {
		t.Run("lambda "+c.lambda, func(t *testing.T) {
			t.Parallel()
			p, factors, compressed := g.factorisation(t)
			w, s := newWide(p.Observed, factors), compressed()
			g.follow(t, "factorisation_lambda_"+c.lambda+"_wide", p, w, 1e-6)
			g.follow(t, "factorisation_lambda_"+c.lambda+"_compressed", p, s, 1e-6)
			loss := func(m learner) float64 { return newGauge(p).train(m.gradient()).Train }
			if c.wide != 0 && !(relative(loss(w), c.wide) <= 1e-4 && relative(loss(s), c.ct) <= 1e-4) {
				t.Errorf("losses at the end %g and %g, want %g and %g", loss(w), loss(s), c.wide, c.ct)
			}
			if got := recursion(3, 3000, 5e-3, parse(t, c.lambda), 1e-2)[0]; relative(got, c.rho) > 1e-12 {
				t.Errorf("recursion ends at ρ = %v, want %v", got, c.rho)
			}
			if got := rhos(w, s.(*thin).right.dense())[0]; relative(got, c.rho) > 1e-9 {
				t.Errorf("the wide model ends at ρ = %v, want %v", got, c.rho)
			}
		})
	}
}
