package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
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

// evaluations are the primary metric by step, as metrics.jsonl has it.
func evaluations(t *testing.T, run, metric string) map[int]float64 {
	t.Helper()
	found := map[int]float64{}
	for _, line := range metricLines(t, run) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		if v, ok := fields["eval/"+metric]; ok {
			found[int(fields["step"].(float64))] = v.(float64)
		}
	}
	return found
}

// The adapter kept is the one of the step whose evaluation was best, to the bit; the result says which.
func TestBestIsKept(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Method, c.LR, c.TrainHead, c.Warmup = "vanilla", 0.05, true, 0 // so fast that metrics jump about
	c.Steps, c.EvalEvery, c.Select, c.Keep, c.Seed = 12, 1, SelectBest, 1, 5
	dir := filepath.Join(t.TempDir(), "run")
	r := trainSmall(t, b, c, dir)
	log := evaluations(t, dir, "pearson")
	if len(log) != 12 {
		t.Fatalf("%d evaluations, want 12", len(log))
	}
	best := 1
	for step := range 13 {
		if step > 0 && log[step] > log[best] {
			best = step
		}
	}
	if best == 12 || best == 1 {
		t.Fatalf("the best step is %d, which proves nothing: %v", best, log)
	}
	if r.Selected != best || r.Steps != 12 || r.Metrics["pearson"] != log[best] {
		t.Errorf("selected step %d of %d with pearson %g, want %d with %g", r.Selected, r.Steps, r.Metrics["pearson"], best, log[best])
	}
	kept := fileBytes(t, filepath.Join(dir, adapterDir, adapterTensors))
	if string(kept) != string(fileBytes(t, filepath.Join(checkpointPath(dir, best), adapterTensors))) {
		t.Error("the adapter is not that of the best step")
	}
	steps, err := checkpointSteps(dir)
	if err != nil || fmt.Sprint(steps) != fmt.Sprint([]int{12, best}) {
		t.Errorf("checkpoints %v, error %v, want the newest and the best", steps, err)
	}

	c.Select = SelectLast
	last := filepath.Join(t.TempDir(), "last")
	if r := trainSmall(t, b, c, last); r.Selected != 12 || r.Metrics["pearson"] != log[12] {
		t.Errorf("select last: step %d with pearson %g, want 12 with %g", r.Selected, r.Metrics["pearson"], log[12])
	}
}

// A run that does not get better ends early, says so, and can be opened.
func TestEarlyStopEndsTheRun(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.LR, c.Warmup, c.Steps, c.EvalEvery, c.EarlyStop = 1e-30, 0, 50, 2, 3 // nothing moves: the first is the best
	dir := filepath.Join(t.TempDir(), "run")
	r := trainSmall(t, b, c, dir)
	if r.Steps != 8 || r.Selected != 2 {
		t.Errorf("%d steps, step %d kept; want 8 and 2", r.Steps, r.Selected)
	}
	saved, err := Open(t.Context(), dir, b, data.HubOptions{Offline: true})
	if err != nil {
		t.Fatal(err)
	}
	saved.Close()
	again := trainSmall(t, b, c, dir, func(o *Options) { o.Resume = true })
	if again.Steps != 8 || again.WallSeconds != r.WallSeconds {
		t.Errorf("resumed a finished run: %+v", again)
	}
}

// A training that diverges ends at that step: no checkpoint, no result, and the remedy.
func TestDivergedTraining(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Dropout = 0
	tr := created(t, b, c)
	p := &tr.program.state.params[0]
	poison(t, p)
	err := tr.Run(t.Context())
	want := "step 1: loss is NaN and the gradient's norm NaN: the parameter " + p.name + " is not finite before the step: training has diverged; " +
		"start again with a lower --lr, or with --clip, or go on past it with --resume --on-nonfinite skip; deeplora replay --run " + tr.Out + " computes it again"
	if errText(err) != want || !errors.Is(err, ErrNonfinite) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if steps, err := checkpointSteps(tr.Out); err != nil || len(steps) > 0 {
		t.Errorf("checkpoints %v of a diverged run, error %v", steps, err)
	}

	// The last update can be the one that diverges: the evaluation after it must not be a number.
	tr = created(t, b, c)
	poison(t, &tr.program.state.params[0])
	if _, err := tr.Evaluate(t.Context()); err == nil || !strings.HasSuffix(err.Error(), ": logit NaN: the weights have diverged") {
		t.Errorf("evaluation of diverged weights: %v", err)
	}
}
