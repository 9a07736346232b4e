package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

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
	c.Steps, c.EvalEvery, c.Select, c.Keep, c.Seed = 12, 1, selectBest, 1, 5
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
	if string(kept) != string(fileBytes(t, filepath.Join(dir, "checkpoints", fmt.Sprint("step-", best), adapterTensors))) {
		t.Error("the adapter is not that of the best step")
	}
	if names := checkpointNames(t, dir); fmt.Sprint(names) != fmt.Sprintf("[step-12 step-%d]", best) {
		t.Errorf("checkpoints %v, want the newest and the best", names)
	}

	c.Select = selectLast
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
	saved, err := Open(t.Context(), dir, b, OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	saved.Close()
	again := trainSmall(t, b, c, dir, func(o *Options) { o.Resume = true })
	if again.Steps != 8 || again.WallSeconds != r.WallSeconds {
		t.Errorf("resumed a finished run: %+v", again)
	}
}

// checkpointNames are a run's checkpoints by name.
func checkpointNames(t *testing.T, run string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(run, "checkpoints"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// A training that diverges ends at that step: no checkpoint, no result, and the remedy.
func TestDivergedTraining(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Dropout = 0
	r := created(t, b, c)
	p := r.loop.Parameters()[0]
	poison(p)
	err := r.loop.Run(t.Context())
	want := "step 1: loss is NaN and the gradient's norm NaN: the parameter " + p.Name + " is not finite before the step: training has diverged; " +
		"start again with a lower --lr, or with --clip, or go on past it with --resume --on-nonfinite skip; deeplora replay --run " + r.options.Out + " computes it again"
	if errText(err) != want || !errors.Is(err, loop.ErrNonfinite) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	if names := checkpointNames(t, r.options.Out); len(names) > 0 {
		t.Errorf("checkpoints %v of a diverged run", names)
	}

	// The last update can be the one that diverges: the evaluation after it must not be a number.
	r = created(t, b, c)
	poison(r.loop.Parameters()[0])
	if _, err := r.job.Evaluate(t.Context(), r.loop.Parameters(), func(int, int) {}); err == nil || !strings.HasSuffix(err.Error(), ": logit NaN: the weights have diverged") {
		t.Errorf("evaluation of diverged weights: %v", err)
	}
}
