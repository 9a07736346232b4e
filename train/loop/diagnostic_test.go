package loop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/testbackend"
)

// line is the smallest job: the loss is ½(w·x)² with a weight w [2] and one x [2] a batch, some of which overflow.
type line struct{ bad map[int]bool }

func (j *line) Batch(i int) (Batch, error) {
	x := []float32{1, float32(i%3) - 1}
	if j.bad[i] {
		x[0] = 3e38
	}
	return point(x), nil
}

// point is a batch of one x.
type point []float32

func (p point) Args(dtypes.DType) []*tensors.Tensor {
	return []*tensors.Tensor{tensors.FromValue([]float32(p))}
}
func (p point) Weight() float64 { return 1 }
func (p point) RealTokens() int { return 1 }

func (j *line) Evaluate(context.Context, []NamedTensor, func(done, total int)) (Metrics, error) {
	return Metrics{"score": 1}, nil
}
func (j *line) Score(m Metrics) float64     { return m["score"] }
func (j *line) Examples(batch int) []string { return []string{fmt.Sprintf("rows.tsv:%d", batch)} }

func (j *line) Write(dir string, values []NamedTensor) error {
	return WriteTensors(filepath.Join(dir, "w.safetensors"), values)
}

func (j *line) Read(dir string) (map[string]*tensors.Tensor, error) {
	return ReadTensors(filepath.Join(dir, "w.safetensors"))
}

// lineLoop opens a loop over a line with these bad batches.
func lineLoop(t *testing.T, b compute.Backend, out string, change func(*Plan), bad ...int) *Loop {
	t.Helper()
	j := &line{map[int]bool{}}
	for _, i := range bad {
		j.bad[i] = true
	}
	plan := Plan{Seed: 1, Steps: 8, Accumulate: 1, LR: 0.1, DecayRatio: 1, Keep: 2, OnNonfinite: NonfiniteSkip}
	if change != nil {
		change(&plan)
	}
	objective := Objective{
		Params: []Param{{Name: "w.weight", Shape: []int{2}, Rate: 1, Draw: func() (*tensors.Tensor, error) {
			return tensors.FromValue([]float32{0.5, -1}), nil
		}}},
		Loss: func(weights func(name string) *Node, batch []*Node, _, total *Node) *Node {
			return Div(MulScalar(Square(ReduceAllSum(Mul(weights("w.weight"), batch[0]))), 0.5), total)
		},
	}
	l, err := New(plan, objective, j, Options{Backend: b, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	if err := os.MkdirAll(out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := l.Open(t.Context(), "initialise"); err != nil {
		t.Fatal(err)
	}
	return l
}

func weightsBits(t *testing.T, l *Loop) string {
	t.Helper()
	p := l.state.cells[0]
	return fmt.Sprint(tensors.MustCopyFlatData[float32](p.value), tensors.MustCopyFlatData[float32](p.m), tensors.MustCopyFlatData[float32](p.v))
}

// A step whose loss is no finite number changes nothing, is the step that stops, and is described.
func TestNonfiniteStepStops(t *testing.T) {
	for _, b := range testbackend.All(t) {
		for name, accumulate := range map[string]int{"one batch": 1, "three batches": 3} {
			t.Run(b.Name()+"/"+name, func(t *testing.T) {
				out := filepath.Join(t.TempDir(), "run")
				whole := lineLoop(t, b, filepath.Join(t.TempDir(), "whole"), func(p *Plan) { p.Steps, p.Accumulate = 2, accumulate })
				if err := whole.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				bad := 2*accumulate + accumulate/2
				l := lineLoop(t, b, out, func(p *Plan) { p.OnNonfinite, p.Accumulate = NonfiniteStop, accumulate }, bad)
				err := l.Run(t.Context())
				if !errors.Is(err, ErrNonfinite) || !strings.Contains(err.Error(), "first in the forward pass, at w (") {
					t.Fatalf("error %v", err)
				}
				if got, want := weightsBits(t, l), weightsBits(t, whole); got != want {
					t.Errorf("the state is %s, before the step it was %s", got, want)
				}
				d, err := ReadDiagnostic(out)
				if err != nil {
					t.Fatal(err)
				}
				if d.Step != 3 || len(d.Batches) != accumulate || !slices.Contains(d.Batches, bad) || d.Seed != 1 || d.LR != 0.1 || d.Origin.Part != originForward ||
					d.Origin.Batch != accumulate/2 || !slices.Contains(d.Examples, fmt.Sprintf("rows.tsv:%d", bad)) {
					t.Errorf("diagnostic %+v", d)
				}
				again := lineLoop(t, b, out, func(p *Plan) { p.OnNonfinite, p.Accumulate = NonfiniteStop, accumulate }, bad)
				r, err := again.Replay(d)
				if err != nil || !r.Same || *r.Origin != d.Origin {
					t.Errorf("replayed %+v, error %v", r, err)
				}
				cured := lineLoop(t, b, out, func(p *Plan) { p.Accumulate = accumulate })
				if r, err := cured.Replay(d); err != nil || r.Same || r.Origin != nil || !finite(float64(r.Loss)) {
					t.Errorf("replayed with other data: %+v, error %v", r, err)
				}
			})
		}
	}
}

// Steps that are skipped leave parameters and moments as they were, are counted, and are the same in a resumed run.
func TestNonfiniteStepsAreSkipped(t *testing.T) {
	b := testbackend.All(t)[0]
	dir := t.TempDir()
	whole := lineLoop(t, b, filepath.Join(dir, "whole"), func(p *Plan) { p.SaveEvery = 1 }, 2, 3, 6)
	var notices []string
	before := map[int]string{0: weightsBits(t, whole)}
	whole.On = func(e Event) {
		switch e := e.(type) {
		case Notice:
			notices = append(notices, e.Text)
		case Checkpointed:
			before[e.Step] = weightsBits(t, whole)
		}
	}
	if err := whole.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for step, same := range map[int]bool{2: false, 3: true, 4: true, 5: false, 7: true, 8: false} {
		if (before[step] == before[step-1]) != same {
			t.Errorf("step %d left the state unchanged: %v, want %v", step, !same, same)
		}
	}
	if p := whole.Progress(); p.Skipped != 3 || p.Step != 8 || len(notices) != 3 || !strings.HasSuffix(notices[0], ": skipped") {
		t.Errorf("progress %+v, notices %q", p, notices)
	}
	if d, err := ReadDiagnostic(whole.Out); err != nil || d.Step != 3 {
		t.Errorf("diagnostic %+v (%v), want one of the first such step, 3", d, err)
	}

	out := filepath.Join(dir, "stopped")
	ctx, cancel := context.WithCancel(t.Context())
	l := lineLoop(t, b, out, nil, 2, 3, 6)
	l.On = func(e Event) {
		if n, ok := e.(Notice); ok && strings.HasPrefix(n.Text, "step 4:") {
			cancel()
		}
	}
	if err := l.Run(ctx); !errors.Is(err, ErrInterrupted) {
		t.Fatal(err)
	}
	l.Close()
	l = lineLoop(t, b, out, nil, 2, 3, 6)
	if err := l.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := weightsBits(t, l), weightsBits(t, whole); got != want || l.Progress().Skipped != 3 {
		t.Errorf("resumed: %s after %d skipped steps, want %s", got, l.Progress().Skipped, want)
	}
	if a, b := logOf(t, out), logOf(t, whole.Out); a != b {
		t.Errorf("log\n%s\nwant\n%s", a, b)
	}
}

// logOf is a run's log without its durations.
func logOf(t *testing.T, run string) string {
	t.Helper()
	var text strings.Builder
	log, err := os.ReadFile(filepath.Join(run, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, "step_seconds")
		delete(fields, "tokens_per_s")
		fmt.Fprintln(&text, fields)
	}
	return text.String()
}

// A run that meets nothing but such steps gives up.
func TestNonfiniteStepsInARowEndTheRun(t *testing.T) {
	b := testbackend.All(t)[0]
	var bad []int
	for i := range 30 {
		bad = append(bad, i+2)
	}
	l := lineLoop(t, b, filepath.Join(t.TempDir(), "run"), func(p *Plan) { p.Steps = 30 }, bad...)
	if err := l.Run(t.Context()); !errors.Is(err, ErrNonfinite) || !strings.Contains(err.Error(), "step 12: ") || !strings.Contains(err.Error(), "10 such steps in a row") {
		t.Errorf("error %v", err)
	}
}

func TestIsFinite(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, b := range testbackend.All(t) {
		x := []float32{0, -1, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, inf, -inf, float32(math.NaN())}
		got := tensors.MustCopyFlatData[bool](MustExecOnce(b, func(x *Node) *Node { return isFinite(x) }, x))
		if want := []bool{true, true, true, true, true, false, false, false}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", b.Name(), got, want)
		}
	}
}

// Numbers that JSON has none for come back as they were.
func TestNumberInJSON(t *testing.T) {
	for _, v := range []float64{0, -1.5e-300, math.MaxFloat64, math.Inf(1), math.Inf(-1), math.NaN()} {
		text, err := json.Marshal(Number(v))
		var back Number
		if err == nil {
			err = json.Unmarshal(text, &back)
		}
		if err != nil || !sameNumber(float64(back), v) {
			t.Errorf("%g became %s and %g, error %v", v, text, float64(back), err)
		}
	}
	var n Number
	if err := json.Unmarshal([]byte(`"many"`), &n); err == nil {
		t.Error("a word is no number")
	}
}

// The warning of a divergence comes once, and not of losses that are small and leap.
func TestTrend(t *testing.T) {
	warned := func(losses ...float64) (n int) {
		var w trend
		for _, level := range losses {
			for i := range trendWindow {
				if w.add(level*(1+float64(i%5)/10)) != "" {
					n++
				}
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		losses []float64
		want   int
	}{
		"falls":                    {[]float64{1, 0.5, 0.1}, 0},
		"leaps below where it was": {[]float64{1, 1e-4, 0.5, 1e-5, 0.9}, 0},
		"diverges":                 {[]float64{1, 0.5, 6, 60}, 1},
		"doubles":                  {[]float64{1, 2}, 0},
	} {
		if got := warned(c.losses...); got != c.want {
			t.Errorf("%s: %d warnings, want %d", name, got, c.want)
		}
	}
}
