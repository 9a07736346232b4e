package train

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

// What makes a training useless, or its figures, is said.
func TestWarnings(t *testing.T) {
	b := testbackend.All(t)[0]
	split := func(name string, task data.Task, examples ...data.Example) *data.Split {
		t.Helper()
		s, err := data.NewSplit(task, name, examples)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	film := data.Task{Name: "films", Labels: []string{"bad", "good", "so\x1b[31m-so"}}
	tags := data.Task{Name: "tags", Labels: []string{"a", "b"}, Multi: true}
	for _, c := range []struct {
		name              string
		train, validation *data.Split
		want              []string
		not               []string
	}{
		{
			"one class only",
			split(data.Train, film, data.Example{Text: "a", Label: 1}, data.Example{Text: "b", Label: 1}, data.Example{Text: "c", Label: math.NaN()}),
			split(data.Validation, film, data.Example{Text: "a", Label: 1}, data.Example{Text: "e"}),
			[]string{
				`train: every example is of class "good": there is nothing to tell it from, and it will always be predicted`,
				"train: 1 of 3 examples have no label (33.3%) and do not count",
				"validation: 1 of 2 examples have a text that is trained on too (50%): the figures say less of new texts than they seem to",
			},
			[]string{"have no example"},
		},
		{
			"classes without examples",
			split(data.Train, film, data.Example{Text: "a", Label: 1}, data.Example{Text: "b", Label: 0}),
			split(data.Validation, film, data.Example{Text: "c", Label: 1}),
			[]string{`train: 1 of 3 classes have no example (33.3%): "so\x1b[31m-so": they will hardly ever be predicted`},
			[]string{"every example", "trained on too", "no label"},
		},
		{
			"long texts, of several labels",
			split(data.Train, tags, data.Example{Text: strings.Repeat("long ", 40), Classes: []int{0}}, data.Example{Text: "b"}),
			split(data.Validation, tags, data.Example{Text: "c"}),
			[]string{"train: examples truncated to 16 tokens: 1 of 2 (50%)", `train: 1 of 2 classes have no example (50%): "b": they will hardly ever be predicted`},
			[]string{"every example"},
		},
	} {
		config := small()
		config.Shots, config.Steps, config.Warmup, config.Method = 0, 1, 0, "head-only"
		var list []string
		trainSmall(t, b, config, filepath.Join(t.TempDir(), "run"), notices(&list), inMemory(t, c.train, c.validation))
		for _, want := range c.want {
			if !slices.Contains(list, want) {
				t.Errorf("%s: no notice %q among %q", c.name, want, list)
			}
		}
		for _, not := range c.not {
			if i := slices.IndexFunc(list, func(n string) bool { return strings.Contains(n, not) }); i >= 0 {
				t.Errorf("%s: notice %q", c.name, list[i])
			}
		}
	}
}

// After training: predictions that are all the same, and what few examples tell.
func TestWarningsOfResults(t *testing.T) {
	films := taskOf(t, 2, false)
	tags := taskOf(t, 2, true)
	scores, err := data.Task{Name: "likeness"}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		task   data.Task
		logits [][]float32
		labels []float64
		want   []string
	}{
		{"one class", films, slices.Repeat([][]float32{{1, 0}}, 10), []float64{0, 0, 0, 0, 1, 1, 0, 0, 1, math.NaN()}, []string{
			`every prediction is of class "class 0": an accuracy of 0.6667 is that of reading no text; train longer, with another --lr, or see whether the classes are balanced (--class-weights)`,
			"9 validation examples tell little: accuracy 0.6667, 95% interval 0.35 to 0.88",
		}},
		{"no class", tags, slices.Repeat([][]float32{{-1, -3}}, 4), []float64{0, 0, 1, 0, 0, 1, 0, 0}, []string{
			"no class was predicted for any of 4 examples; train longer, with another --lr, or see whether the classes are balanced, or lower --threshold",
			"4 validation examples tell little: subset_accuracy 0.5000, 95% interval 0.15 to 0.85",
		}},
		{"one score", scores, slices.Repeat([][]float32{{2.5}}, 4), []float64{0, 1, 2, 3}, []string{
			"every prediction is 2.5: nothing was learned of the texts; train longer, or with another --lr",
		}},
		{"scores", scores, [][]float32{{1}, {2}, {3}, {5}, {4}}, []float64{1, 2, 3, 4, 5}, []string{
			"5 validation examples tell little: pearson 0.9000, 95% interval 0.09 to 0.99",
		}},
		{"many examples", films, slices.Repeat([][]float32{{1, 0}, {0, 1}}, 100), slices.Repeat([]float64{0, 1}, 100), nil},
	} {
		var list []string
		r := &run{
			Reporter: loop.Reporter{On: func(e loop.Event) { list = append(list, e.(loop.Notice).Text) }},
			job:      &job{inputs: &inputs{task: c.task}, measured: measured(c.task, c.logits, c.labels, 0.5)},
		}
		values, err := r.job.measured.metrics(c.task)
		if err != nil {
			t.Fatal(err)
		}
		if r.warnOfResult(values); fmt.Sprintf("%q", list) != fmt.Sprintf("%q", c.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", c.name, list, c.want)
		}
	}
}

// Wilson's interval is SciPy's binomtest(…).proportion_ci(method="wilson"), to what is printed.
func TestWilson(t *testing.T) {
	for _, c := range []struct {
		right, n  int
		low, high float64
	}{{0, 10, 0, 0.2775}, {10, 10, 0.7225, 1}, {6, 9, 0.3542, 0.8794}, {90, 100, 0.8256, 0.9448}} {
		if got := wilson(c.right, c.n); math.Abs(got.Low-c.low) > 5e-5 || math.Abs(got.High-c.high) > 5e-5 {
			t.Errorf("%d of %d: %.4f to %.4f, want %.4f to %.4f", c.right, c.n, got.Low, got.High, c.low, c.high)
		}
	}
}
