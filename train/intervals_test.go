package train

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

// evaluationOf is an evaluation of these predictions.
func evaluationOf(t *testing.T, task data.Task, logits [][]float32, labels []float64) *Evaluation {
	t.Helper()
	m := measured(task, logits, labels, multilabelThreshold)
	values, err := m.metrics(task)
	if err != nil {
		t.Fatal(err)
	}
	return &Evaluation{
		Split: data.Validation, Metrics: values, task: task, measured: m,
		outcomes: func() outcomes { return outcomesOf(task, logits, labels, multilabelThreshold) },
	}
}

// Every metric of every kind of task has an interval that holds it, always the same; the resampled counts are those of the
// whole where every example is drawn once.
func TestIntervals(t *testing.T) {
	scores, err := data.Task{Name: "scores"}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	var logits, single [][]float32
	var classes, sets, truth []float64
	for i := range 60 {
		logits = append(logits, []float32{float32(i%3) - 1, float32(i%5) - 2, float32(i%7) - 3})
		classes = append(classes, float64(i%4%3))
		sets = append(sets, float64(i%2), float64(i/3%2), float64(i/7%2))
		single, truth = append(single, []float32{float32(i) + float32(i%7)}), append(truth, float64(i))
	}
	for name, e := range map[string]*Evaluation{
		"classes": evaluationOf(t, taskOf(t, 3, false), logits, classes),
		"sets":    evaluationOf(t, taskOf(t, 3, true), logits, sets),
		"scores":  evaluationOf(t, scores, single, truth),
	} {
		of := e.Intervals()
		for metric, v := range e.Metrics {
			if b := of[metric]; !(b.Low <= v && v <= b.High && b.Low < b.High) || b.By == "" {
				t.Errorf("%s: %s %v has the interval %+v", name, metric, v, b)
			}
		}
		if !reflect.DeepEqual(of, e.Intervals()) {
			t.Errorf("%s: intervals differ from one time to the next", name)
		}
		o := e.outcomes()
		all := make([]int, e.measured.n)
		for i := range all {
			all[i] = i
		}
		whole := o.measure(all)
		for _, metric := range e.task.Metrics {
			if got := metrics[metric](whole); math.Abs(got-e.Metrics[metric]) > 1e-12 {
				t.Errorf("%s: %s of all examples once is %v, want %v", name, metric, got, e.Metrics[metric])
			}
		}
	}
}

// Fisher's interval is SciPy's pearsonr(…).confidence_interval(), to what is printed.
func TestFisher(t *testing.T) {
	if b := fisher(0.5, 28, 1); math.Abs(b.Low-0.1560) > 5e-5 || math.Abs(b.High-0.7358) > 5e-5 {
		t.Errorf("%+v", b)
	}
	if b := fisher(0.5, 3, 1); !math.IsNaN(b.Low) {
		t.Errorf("of three examples: %+v", b)
	}
}

func TestIntervalsOfWhatIsUndefined(t *testing.T) {
	scores, err := data.Task{Name: "scores"}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]*Evaluation{
		"one example": evaluationOf(t, taskOf(t, 2, false), [][]float32{{1, 0}}, []float64{0}),
		"one score":   evaluationOf(t, scores, [][]float32{{1}}, []float64{0}),
	} {
		for metric, b := range e.Intervals() {
			if !math.IsNaN(b.Low) || !math.IsNaN(b.High) {
				t.Errorf("%s: %s has the interval %+v", name, metric, b)
			}
		}
	}
	same := evaluationOf(t, scores, [][]float32{{1}, {1}, {1}, {1}}, []float64{0, 1, 2, 3}).Intervals()
	if !math.IsNaN(same["pearson"].Low) || !(same["mse"].Low <= same["mse"].High) {
		t.Errorf("of equal predictions: %v", same)
	}
}

// A finished run finds the examples that it was trained on again, and says of them what training said.
func TestTrainedExamplesAreFoundAgain(t *testing.T) {
	b := testbackend.All(t)[0]
	for _, overlong := range []string{overlongTruncate, overlongDrop} {
		c := small()
		c.Overlong, c.Method, c.Steps, c.Warmup, c.MaxLength, c.Shots = overlong, "head-only", 2, 0, 32, 10
		var said []string
		dir := filepath.Join(t.TempDir(), "run")
		trainSmall(t, b, c, dir, notices(&said))
		p, err := Open(t.Context(), dir, b, OpenOptions{Sources: embedded()})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		trained, err := p.Trained(t.Context(), embedded(), "")
		if err != nil {
			t.Fatal(err)
		}
		m, err := p.from.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		var rows []int
		for _, e := range trained.Examples {
			rows = append(rows, e.Row)
		}
		if !slices.Equal(rows, m.Indices) || len(rows) != c.Shots {
			t.Errorf("%s: rows %v, the manifest has %v", overlong, rows, m.Indices)
		}
		held, err := p.Split(t.Context(), embedded(), "", data.Validation)
		if err != nil {
			t.Fatal(err)
		}
		e, err := p.Evaluate(t.Context(), held, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range append(p.Warnings(trained, held), e.Warnings()...) {
			if !slices.Contains(said, w) {
				t.Errorf("%s: training did not say %q; it said %q", overlong, w, said)
			}
		}
		if r, err := p.from.Result(); err != nil || r.Steps != 2 {
			t.Errorf("result %+v, error %v", r, err)
		}
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What was trained on in memory can be measured on files: with the task's classes, and columns found by name.
func TestRunsOfExamplesInMemoryAreEvaluatedOnFiles(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Shots, c.Steps, c.Warmup, c.Method = 0, 1, 0, "head-only"
	dir := filepath.Join(t.TempDir(), "run")
	trainSmall(t, b, c, dir, inMemory(t, verdicts(t, data.Train, 12), verdicts(t, data.Validation, 10)))
	p, err := Open(t.Context(), dir, b, OpenOptions{Sources: embedded()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	file := filepath.Join(t.TempDir(), "new.csv")
	writeFile(t, file, "text,label\nfine,good\nawful,bad\n")
	s, err := p.Split(t.Context(), embedded(), file, data.Validation)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := p.Evaluate(t.Context(), s, nil); err != nil || e.Examples != 2 {
		t.Errorf("%+v, error %v", e, err)
	}
	for name, read := range map[string]func() (*data.Split, error){
		"split":   func() (*data.Split, error) { return p.Split(t.Context(), embedded(), "", data.Validation) },
		"trained": func() (*data.Split, error) { return p.Trained(t.Context(), embedded(), "") },
	} {
		if _, err := read(); err == nil || !strings.Contains(err.Error(), "in memory") || !strings.Contains(err.Error(), "--data") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The log is read as it was written: a step that was skipped is left out, what is undefined is NaN.
func TestLogIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, loop.LogFile), `{"gradient_norm":1,"loss":0.7,"lr":0.01,"step":1,"step_seconds":0.1,"tokens_per_s":500}
{"gradient_norm":null,"loss":null,"lr":0.01,"skipped":"forward, kernel a","step":2}
{"eval/accuracy":0.5,"eval/f1":null,"step":2}
`)
	steps, evaluations, err := loop.ReadLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []loop.Step{{Step: 1, Loss: 0.7, LR: 0.01, TokensPerSecond: 500}}; !slices.Equal(steps, want) {
		t.Errorf("steps %+v", steps)
	}
	if len(evaluations) != 1 || evaluations[0].Step != 2 || evaluations[0].Metrics["accuracy"] != 0.5 || !math.IsNaN(evaluations[0].Metrics["f1"]) {
		t.Errorf("evaluations %+v", evaluations)
	}
	writeFile(t, filepath.Join(dir, loop.LogFile), "{\"step\":1}\nno JSON\n")
	if _, _, err := loop.ReadLog(dir); err == nil || !strings.Contains(err.Error(), loop.LogFile+":2") {
		t.Errorf("error %v", err)
	}
}
