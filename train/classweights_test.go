package train

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
)

func TestClassWeights(t *testing.T) {
	task := data.Task{Name: "topics", Labels: []string{"sport", "money", "law, order", "never"}}
	labels := []float64{0, 0, 0, 0, 0, 1, 1, 1, 2, 2}
	for _, c := range []struct {
		given, resolved string
		weights         string
	}{
		{"none", "none", "[]"},
		{"balanced", `{"sport": 0.6666666666666666, "money": 1.1111111111111112, "law, order": 1.6666666666666667, "never": 1}`, "[0.6666666666666666 1.1111111111111112 1.6666666666666667 1]"},
		{"money=2.5", `{"sport": 1, "money": 2.5, "law, order": 1, "never": 1}`, "[1 2.5 1 1]"},
		{`{"law, order": 0.5, "sport": 3}`, `{"sport": 3, "money": 1, "law, order": 0.5, "never": 1}`, "[3 1 0.5 1]"},
	} {
		config := Config{ClassWeights: c.given}
		weights, err := config.resolveClassWeights(task, labels)
		if err != nil || fmt.Sprint(weights) != c.weights || config.ClassWeights != c.resolved {
			t.Errorf("%s: %v, %s, error %v; want %s, %s", c.given, weights, config.ClassWeights, err, c.weights, c.resolved)
		}
		if err := checkClassWeights(config.ClassWeights); err != nil {
			t.Errorf("%s: what was resolved is refused: %v", c.given, err)
		}
		// The line that began the run goes on with it; another does not.
		again := Config{ClassWeights: c.given}
		if again.chooseClassWeights(c.resolved); again.ClassWeights != c.resolved {
			t.Errorf("%s is not taken for %s", c.given, c.resolved)
		}
		other := Config{ClassWeights: "money=7"}
		if other.chooseClassWeights(c.resolved); other.ClassWeights != "money=7" {
			t.Errorf("money=7 is taken for %s", c.resolved)
		}
	}
	for given, want := range map[string]string{
		"balance":                  `"balance" is unknown; nearest: balanced (known: none balanced, or a weight a class as in bad=2,good=0.5)`,
		"sport=0":                  `class "sport" has the weight "0"; want a number above 0`,
		"sport=-1":                 `class "sport" has the weight "-1"; want a number above 0`,
		"sport=1e99":               `class "sport" has the weight "1e99"; want a number above 0`,
		"sport=NaN":                `class "sport" has the weight "NaN"; want a number above 0`,
		"sport=":                   `class "sport" has the weight ""; want a number above 0`,
		"sport=1,sport=2":          `class "sport" has two weights; want one`,
		`{"sport": "2"}`:           `class "sport" has the weight "\"2\""; want a number above 0`,
		`{"sport": 1, "sport": 2}`: `sport`,
		"sport=1,":                 `"" is unknown`,
	} {
		if err := checkClassWeights(given); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %s", given, err, want)
		}
	}
	for given, want := range map[string]string{
		"sport=2,mony=1": `class-weights: there is no class "mony"; nearest: money`,
		"Sport=2":        `class-weights: there is no class "Sport"; nearest: sport`,
	} {
		if _, err := (&Config{ClassWeights: given}).resolveClassWeights(task, labels); errText(err) != want {
			t.Errorf("%s: error %v, want %s", given, err, want)
		}
	}
	for _, other := range []data.Task{{Name: "likeness"}, {Name: "tags", Labels: task.Labels, Multi: true}} {
		if _, err := (&Config{ClassWeights: "balanced"}).resolveClassWeights(other, labels); err == nil || !strings.Contains(err.Error(), "have not one class each") {
			t.Errorf("%s: error %v", other.Name, err)
		}
	}
}

// verdicts are examples of two classes, one of them rare.
func verdicts(t *testing.T, name string, n int) *data.Split {
	t.Helper()
	task := data.Task{Name: "verdicts", Labels: []string{"bad", "good"}}
	var examples []data.Example
	for i := range n {
		e := data.Example{Text: fmt.Sprintf("number %d is %s", i, []string{"dull and long", "a joy"}[min(1, i%5)]), Label: float64(min(1, i%5))}
		examples = append(examples, e)
	}
	s, err := data.NewSplit(task, name, examples)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func inMemory(t *testing.T, train, validation *data.Split) func(*Options) {
	t.Helper()
	return func(o *Options) { o.Train, o.Validation = train, validation }
}

// A step's loss is Σ weight·loss / Σ weight over all its examples: packed or padded, in one batch or in several. The run
// notes the weights as numbers, and macro F1 decides.
func TestClassWeightsInARun(t *testing.T) {
	b := testbackend.All(t)[0]
	var first []float64
	for _, pad := range []data.Padding{data.PadFixed, data.PadPacked} {
		for _, accumulate := range []int{1, 3} {
			c := small()
			c.Shots, c.Batch, c.Accumulate, c.Steps, c.Warmup, c.Dropout = 0, 12/accumulate, accumulate, 2, 0, 0
			c.Pad, c.ClassWeights, c.Method = string(pad), "balanced", "head-only"
			var list []float64
			dir := filepath.Join(t.TempDir(), "run")
			r := trainSmall(t, b, c, dir, losses(&list), inMemory(t, verdicts(t, data.Train, 12), verdicts(t, data.Validation, 10)))
			saved, err := ReadRunConfig(dir)
			if err != nil || saved.ClassWeights != "bad=2,good=0.6666666666666666" || r.PrimaryMetric != "macro_f1" {
				t.Errorf("weights noted as %q, primary metric %s, error %v", saved.ClassWeights, r.PrimaryMetric, err)
			}
			if first == nil {
				first = list
			}
			if math.Abs(list[0]-first[0]) > 1e-5 || math.Abs(list[1]-first[1]) > 1e-5 {
				t.Errorf("%s, %d batches a step: losses %v, of one fixed batch %v", pad, accumulate, list, first)
			}
			opened, err := Open(t.Context(), dir, b, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer opened.Close()
			e, err := opened.Evaluate(t.Context(), verdicts(t, data.Validation, 10), nil)
			if err != nil || e.PrimaryMetric != "macro_f1" || fmt.Sprint(e.Confusion) != fmt.Sprint(r.Confusion) {
				t.Errorf("evaluated again: %+v, error %v; want confusion %v", e, err, r.Confusion)
			}
			if opened.Task.Multi || len(e.PerLabel) != 2 || e.PerLabel["bad"].Support != 2 {
				t.Errorf("figures %+v", e.PerLabel)
			}
		}
	}
	c := small()
	c.Threshold = 0.7
	_, err := Train(t.Context(), c, Options{Backend: b, Out: filepath.Join(t.TempDir(), "run"), Sources: embedded()})
	if !errors.Is(err, ErrConfig) || !strings.Contains(errText(err), "threshold: stsb is no multilabel task") {
		t.Errorf("a threshold for a regression: %v", err)
	}
}
