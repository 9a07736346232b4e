package completion

import (
	"context"
	"fmt"
	"math"
	"time"

	"gonum.org/v1/gonum/mat"
)

// Progress is what a caller may show: the errors of an iterate.
type Progress struct {
	Iteration, Steps int
	Errors
}

// Point is one measurement of a curve.
type Point struct {
	Iteration int      `json:"iteration"`
	Train     float64  `json:"train_loss"`
	Relative  float64  `json:"train_error"`
	HeldOut   *float64 `json:"held_out_loss"`
	Recovery  *float64 `json:"recovery_error"`
	Seconds   float64  `json:"seconds"` // since the first iteration
}

// Factor is a trained matrix by its name in files: W1 … WL, left, right.
type Factor struct {
	Name  string
	Value *mat.Dense
}

// Solution is the end of a training.
type Solution struct {
	Config     Config // with everything settled
	Errors     Errors // of the factors
	Iterations int
	Converged  bool // the tolerance was reached
	Factors    []Factor
	Parameters int
	Curve      []Point

	StartSeconds   float64 // finding subspaces and drawing factors
	IterateSeconds float64 // iterations and measurements
}

// Solve trains until the recovery error, or without a truth the relative training error, is at most the tolerance, or
// for so many steps. onProgress, if not nil, is called with every measurement.
//
// The recovery error is measured every Config.EvalEvery iterations. Once it is found low enough, training goes back to
// the measurement before and measures every iteration from there, so that Iterations is the first at which it is (but
// for a dip that begins and ends between two measurements). The training error comes with every iteration.
//
// If ctx is done Solve returns its error; there is nothing to go on from. It is an error if the loss grows without
// bounds.
func Solve(ctx context.Context, p *Problem, c Config, onProgress func(Progress)) (*Solution, error) {
	if err := c.Validate(p.Observed.Rows, p.Observed.Cols); err != nil {
		return nil, err
	}
	began := time.Now()
	m, err := c.begin(p)
	if err != nil {
		return nil, err
	}
	r := &run{problem: newGauge(p), config: c, model: m, optimizer: c.optimizer(p), onProgress: onProgress, began: time.Now()}
	s := &Solution{Config: c, StartSeconds: time.Since(began).Seconds()}
	if err := r.loop(ctx); err != nil {
		return nil, err
	}
	s.IterateSeconds = time.Since(r.began).Seconds()
	s.Errors, s.Iterations, s.Converged, s.Curve = r.errors, r.iteration, r.reached(r.errors), r.curve.points
	for _, f := range m.factors() {
		value := f.dense()
		if f.turned {
			value = mat.DenseCopyOf(value.T())
		}
		s.Factors = append(s.Factors, Factor{f.name, value})
		s.Parameters += f.count()
	}
	return s, nil
}

// optimizer is the one of the settings, for gradients of the sum.
func (c Config) optimizer(p *Problem) *optimizer {
	if c.Optimizer == Adam {
		return &optimizer{adam: true, step: c.LR, decay: c.WeightDecay}
	}
	return &optimizer{step: c.LR / p.entries(), decay: c.LR * c.WeightDecay}
}

// run is a training in progress.
type run struct {
	problem    gauge
	config     Config
	model      learner
	optimizer  *optimizer
	onProgress func(Progress)
	began      time.Time

	iteration int
	errors    Errors
	curve     curve
}

// diverged is how far the loss may rise above its first value.
const diverged = 1e6

func (r *run) loop(ctx context.Context) error {
	all := r.model.factors()
	var before snapshot // at the last measurement
	measured, exact := 0, false
	first := math.Inf(1)
	for t := 0; ; t++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped after %d iterations: %w", t, err)
		}
		square := r.model.gradient()
		if t == 0 {
			first = square
		}
		if !(square <= diverged*first) {
			return fmt.Errorf("iteration %d: the loss has grown from %.3g to %.3g; take a smaller learning rate than %.3g", t, first, square, r.config.LR)
		}
		r.iteration, r.errors = t, r.problem.train(square)
		if exact || r.due(t) {
			r.errors = r.problem.measure(r.model, square)
			stop := r.reached(r.errors)
			if stop && !exact && t > measured+1 && r.problem.Truth != nil {
				before.restore(r.optimizer, all)
				t, exact = measured-1, true
				continue
			}
			stop = stop || t == r.config.Steps
			if !exact || stop {
				r.record(stop)
				before.take(r.optimizer, all)
				measured = t
			}
			if stop {
				return nil
			}
		}
		r.optimizer.apply(all)
	}
}

// due reports whether iterate t is to be measured.
func (r *run) due(t int) bool {
	return t%r.config.EvalEvery == 0 || t == r.config.Steps || r.problem.Truth == nil && r.reached(r.errors)
}

// reached reports whether the tolerance is met.
func (r *run) reached(e Errors) bool {
	if r.problem.Truth != nil {
		return e.Recovery != nil && *e.Recovery <= r.config.Tolerance
	}
	return e.Relative <= r.config.Tolerance
}

func (r *run) record(last bool) {
	e := r.errors
	r.curve.add(Point{r.iteration, e.Train, e.Relative, e.HeldOut, e.Recovery, time.Since(r.began).Seconds()}, last)
	if r.onProgress != nil {
		r.onProgress(Progress{r.iteration, r.config.Steps, e})
	}
}

// curve keeps measurements: all of them, or beyond some thousand every second, fourth, … one.
type curve struct {
	points []Point
	every  int
	seen   int
}

const maxPoints = 2000

func (c *curve) add(p Point, last bool) {
	c.every = max(c.every, 1)
	if len(c.points) >= maxPoints {
		for i := range maxPoints / 2 {
			c.points[i] = c.points[2*i]
		}
		c.points = c.points[:maxPoints/2]
		c.every *= 2
	}
	if c.seen%c.every == 0 || last {
		c.points = append(c.points, p)
	}
	c.seen++
}
