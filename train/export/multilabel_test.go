package export

import (
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train"
)

// letters are examples of a multilabel task: which of a, b and c a text has; some have none.
func letters(t *testing.T, name string, from int) *data.Split {
	t.Helper()
	task := data.Task{Name: "letters", Labels: []string{"has a", "has b", "has c"}, Multi: true}
	var examples []data.Example
	for i := from; i < 64; i += 2 {
		e := data.Example{Text: "k " + string(rune('l'+i%7))}
		for c := range task.Labels {
			if i>>(c+1)&1 == 1 {
				e.Classes = append(e.Classes, c)
				e.Text += " " + string(rune('a'+c))
			}
		}
		examples = append(examples, e)
	}
	s, err := data.NewSplit(task, name, examples)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Several labels an example, from texts in memory to the model that others load: trained by BCE, measured, opened,
// exported with its problem type, and served from the export with the same answers.
func TestMultilabelFromEndToEnd(t *testing.T) {
	b, ctx := testbackend.All(t)[0], t.Context()
	c := train.Default()
	c.Model, c.Method, c.LR, c.Steps, c.Batch, c.EvalBatch, c.Threshold, c.Dropout, c.FreshHead, c.MaxLength = writeBase(t, 1, true), "full", 1e-2, 150, 8, 4, 0.6, 0, true, 32
	run := filepath.Join(t.TempDir(), "run")
	result, err := train.Train(ctx, c, train.Options{Backend: b, Out: run, Train: letters(t, data.Train, 0), Validation: letters(t, data.Validation, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if result.PrimaryMetric != "micro_f1" || result.Metrics["micro_f1"] < 0.9 || result.FinalLoss > 0.2 || len(result.PerLabel) != 3 || result.Confusion != nil {
		t.Errorf("result %+v", result)
	}
	opened, err := train.Open(ctx, run, b, train.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	texts := []data.Example{{Text: "k a"}, {Text: "b c k"}, {Text: "m"}}
	want, err := opened.Predict(ctx, texts)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range want {
		var labels []string
		for j, logit := range p.Logits {
			if q := 1 / (1 + math.Exp(-float64(logit))); q >= 0.6 {
				labels = append(labels, opened.Labels()[j])
			}
		}
		if !slices.Equal(p.Labels, labels) || p.Label != "" || p.Score != nil || len(p.Probabilities) != 3 {
			t.Errorf("prediction %d: %+v, want %v", i, p, labels)
		}
	}
	if text, err := json.Marshal(train.Prediction{Labels: []string{}, Logits: []float32{-1}}); err != nil || string(text) != `{"labels":[],"logits":[-1]}` {
		t.Errorf("no label is written as %s, error %v", text, err)
	}
	e, err := opened.Evaluate(ctx, letters(t, data.Validation, 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(e.Metrics, e.PerLabel) != fmt.Sprint(result.Metrics, result.PerLabel) {
		t.Errorf("evaluated again %v, want %v", e.Metrics, result.Metrics)
	}
	if e.Worst(2); len(e.Errors) != 2 || e.Errors[0].Loss < e.Errors[1].Loss {
		t.Errorf("worst examples %+v", e.Errors)
	}

	o := options(t, run)
	if _, err := (Merged{Options: o}).Write(ctx); err != nil {
		t.Fatal(err)
	}
	if text := string(get(t, filepath.Join(o.Out, "config.json"))); !strings.Contains(text, `"problem_type": "multi_label_classification"`) || !strings.Contains(text, `"has b": 1`) {
		t.Errorf("config.json %s", text)
	}
	served, err := train.OpenCheckpoint(ctx, o.Out, b, train.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer served.Close()
	served.Run.Threshold = 0.6 // which a checkpoint cannot say
	got, err := served.Predict(ctx, texts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if !slices.Equal(got[i].Labels, want[i].Labels) {
			t.Errorf("text %d: the export says %v, the run %v", i, got[i].Labels, want[i].Labels)
		}
		for j, q := range want[i].Probabilities {
			if math.Abs(got[i].Probabilities[j]-q) > 1e-5 {
				t.Errorf("text %d: probability %d is %g of the export, %g of the run", i, j, got[i].Probabilities[j], q)
			}
		}
	}
}
