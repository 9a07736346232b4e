package loop

import (
	"math"
	"testing"
)

// Early stopping and the choice of the best, on metrics that a script says.
func TestEarlyStopOnAScript(t *testing.T) {
	nan := math.NaN()
	for _, tc := range []struct {
		name     string
		script   []float64 // one evaluation a step
		patience int
		stop     int // steps done when the run is over
		best     int // step of the best, 0 for none
	}{
		{"better to the end", []float64{.1, .2, .3, .4, .5}, 2, 5, 5},
		{"worse from the start", []float64{.5, .4, .3, .2, .1}, 2, 3, 1},
		{"a late recovery is not seen", []float64{.1, .3, .2, .2, .9}, 2, 4, 2},
		{"a recovery in time starts the count again", []float64{.1, .3, .2, .4, .3}, 2, 5, 4},
		{"equal is not better", []float64{.3, .3, .3, .3, .3}, 3, 4, 1},
		{"undefined is not better", []float64{.3, nan, nan, .4, .1}, 2, 3, 1},
		{"undefined first", []float64{nan, -.5, -.6, -.4, -.4}, 3, 5, 4},
		{"undefined throughout", []float64{nan, nan, nan, nan, nan}, 3, 3, 0},
		{"off", []float64{.5, .4, .3, .2, .1}, 0, 5, 1},
	} {
		tr := &Loop{Plan: Plan{Steps: len(tc.script), EarlyStop: tc.patience}}
		for !tr.over() {
			value := tc.script[tr.progress.Step]
			tr.progress.Step++
			best := tr.progress.judge(value)
			if best != (tr.progress.BestStep == tr.progress.Step) || tr.progress.Evaluated != tr.progress.Step {
				t.Errorf("%s, step %d: best %v, noted as %d; evaluated %d", tc.name, tr.progress.Step, best, tr.progress.BestStep, tr.progress.Evaluated)
			}
		}
		if p := tr.progress; p.Step != tc.stop || p.BestStep != tc.best {
			t.Errorf("%s: over after %d steps with the best at %d, want %d and %d", tc.name, p.Step, p.BestStep, tc.stop, tc.best)
		}
		if p := tr.progress; (p.Best == nil) != (tc.best == 0) || p.Best != nil && *p.Best != tc.script[tc.best-1] {
			t.Errorf("%s: best value %v", tc.name, p.Best)
		}
	}
}
