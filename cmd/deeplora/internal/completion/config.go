package completion

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/nearest"
)

// Methods, optimizers and starts by their names.
const (
	Wide       = "wide"
	Compressed = "compressed"
	Narrow     = "narrow"

	GD   = "gd"
	Adam = "adam"

	StartAuto     = "auto"
	StartShared   = "shared"
	StartImplicit = "implicit"
)

// Config is how to train.
type Config struct {
	Method      string  `json:"method"`
	Depth       int     `json:"depth"`        // L: factors of wide and narrow, inner factors of compressed
	Width       int     `json:"width"`        // k = 2r̂, of compressed and narrow factors; wide: the longer side
	InitScale   float64 `json:"init_scale"`   // ε
	Gamma       float64 `json:"gamma"`        // γ: rate of the outer factors; compressed alone
	Optimizer   string  `json:"optimizer"`    // gd or adam
	LR          float64 `json:"lr"`           // step for ½·mean over all entries of the matrix (GD); 0: Solve chooses
	WeightDecay float64 `json:"weight_decay"` // λ
	Steps       int     `json:"steps"`        // at most
	Tolerance   float64 `json:"tol"`          // recovery error, or without a truth relative training error, to stop at
	EvalEvery   int     `json:"eval_every"`   // iterations between measurements; 0: Solve chooses
	Start       string  `json:"start"`        // where compressed gets O from: shared (wide's own), implicit, or auto
	Seed        uint64  `json:"seed"`
}

// Default returns the paper's settings but for the step, which Solve chooses, and the width, which the caller knows.
func Default() Config {
	return Config{
		Method: Compressed, Depth: 3, InitScale: 1e-3, Gamma: 0.01, Optimizer: GD, Steps: 100000, Tolerance: 1e-4, Start: StartAuto,
	}
}

// Validate returns all faults, joined, of training on a rows × cols matrix.
func (c Config) Validate(rows, cols int) error {
	var faults []error
	fault := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	for _, choice := range []struct {
		name, value string
		known       []string
	}{
		{"method", c.Method, []string{Wide, Compressed, Narrow}},
		{"optimizer", c.Optimizer, []string{GD, Adam}},
		{"start", c.Start, []string{StartAuto, StartShared, StartImplicit}},
	} {
		fault(slices.Contains(choice.known, choice.value), "%s %q is unknown; nearest: %s (known: %s)",
			choice.name, choice.value, nearest.Of(choice.value, choice.known), strings.Join(choice.known, " "))
	}
	fault(c.Depth >= 2 && c.Depth <= 64, "depth %d: want 2 to 64", c.Depth)
	if c.Method != Wide {
		fault(c.Width >= 1 && c.Width <= min(rows, cols), "width %d of a %d × %d matrix: want 1 to %d", c.Width, rows, cols, min(rows, cols))
	}
	fault(c.Method != Compressed || c.Width%2 == 0, "width %d of compressed factors is odd: it is twice the assumed rank", c.Width)
	positive := func(name string, v float64) {
		fault(v > 0 && v <= math.MaxFloat64, "%s %g: want a number above 0", name, v)
	}
	atLeast0 := func(name string, v float64) {
		fault(v >= 0 && v <= math.MaxFloat64, "%s %g: want a number from 0 up", name, v)
	}
	positive("init scale", c.InitScale)
	atLeast0("gamma", c.Gamma)
	atLeast0("learning rate", c.LR)
	atLeast0("weight decay", c.WeightDecay)
	atLeast0("tolerance", c.Tolerance)
	fault(c.Steps >= 0, "%d steps: want 0 or more", c.Steps)
	fault(c.EvalEvery >= 0, "%d iterations between measurements: want 1 or more, or 0 for a choice by cost", c.EvalEvery)
	return errors.Join(faults...)
}

// adamLR is Adam's step where none is given.
const adamLR = 1e-2

// safeStep is the share of the largest stable step that is taken where none is given: 5,000 in the paper's problem,
// which took 5,000.
const safeStep = 0.75

// chosenLR is the step of the mean for a largest singular value sigma of Φ: the curvature near the optimum is about
// L·σ^(2-2/L) times the observed fraction, in the sum.
func chosenLR(p *Problem, depth int, sigma float64) float64 {
	observed := float64(p.Observed.Len()) / p.entries()
	curvature := float64(depth) * math.Pow(sigma, 2-2/float64(depth)) * observed
	if !(curvature > 0) {
		return p.entries()
	}
	return safeStep / curvature * p.entries()
}

// chosenEvery is how often to measure so that it takes a twentieth of the time or so: by count of operations, so that
// the curve's points do not depend on the machine.
func (c Config) chosenEvery(p *Problem) int {
	if c.EvalEvery > 0 {
		return c.EvalEvery
	}
	if c.Method == Wide {
		return 1
	}
	k, entries := float64(c.Width), float64(p.Observed.Len())
	sides := float64(p.Observed.Rows) + float64(p.Observed.Cols)
	cost := 0.0
	if p.Truth != nil {
		_, r := p.Truth.Left.Dims()
		cost += 16 * sides * (k + float64(r)) * (k + float64(r)) // small factorisations run far from the peak
	}
	if p.Clean != nil {
		cost += 8 * k * entries
	}
	if p.HeldOut != nil {
		cost += 8 * k * float64(p.HeldOut.Len())
	}
	return int(min(1000, 1+20*cost/(6*k*entries+3*k*k*sides)))
}
