package runreport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// outcome is an example and what was predicted of it.
type outcome struct {
	text      string
	pair      *string
	is, said  []string // of classes
	truth, as float64  // of a regression
	loss      float64
}

// fabricate makes the facts of a run that was never trained: of these examples, for training and evaluation alike.
func fabricate(t testing.TB, task data.Task, outcomes []outcome) *Facts {
	t.Helper()
	task, err := task.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	examples := make([]data.Example, len(outcomes))
	for i, o := range outcomes {
		examples[i] = data.Example{Text: o.text, Label: o.truth}
		if o.pair != nil {
			examples[i].Pair, examples[i].HasPair = *o.pair, true
		}
		for _, name := range o.is {
			if class := slices.Index(task.Labels, name); task.Multi {
				examples[i].Classes = append(examples[i].Classes, class)
			} else {
				examples[i].Label = float64(class)
			}
		}
	}
	lengths := func(name string) *Examples {
		s, err := data.NewSplit(task, name, examples)
		if err != nil {
			t.Fatal(err)
		}
		e := &Examples{Split: s}
		for _, o := range outcomes {
			e.Tokens, e.Characters = append(e.Tokens, 2+len(strings.Fields(o.text))), append(e.Characters, len(o.text))
		}
		return e
	}
	f := &Facts{
		Run: train.RunConfig{Config: train.Default()}, Task: task, Shown: 20, Trained: lengths(data.Train), Evaluated: lengths(data.Validation),
		Adapter:    train.AdapterInfo{Method: "vanilla", HeadTrained: true, Kernels: make([]train.AdaptedKernel, 2), BaseFiles: []model.FileSum{{File: "config.json", SHA256: "00ff"}}},
		Result:     train.Result{Task: task.Name, Split: data.Validation, Metrics: loop.Metrics{}, Shots: len(outcomes), Steps: 3, Selected: 3, Parameters: 12345, TrainSeconds: 1.5},
		Steps:      []loop.Step{{Step: 1, Loss: 0.7}, {Step: 2, Loss: 0.6}, {Step: 3, Loss: 0.5}},
		Evaluation: evaluation(t, task, outcomes), Intervals: map[string]Interval{},
		Deltas: []train.KernelDelta{
			{Kernel: "bert.encoder.layer.0.attention.self.query", In: 4, Out: 4, Values: []float64{2, 0.5}, EffectiveRank: 1.6, Rank: 2, Norm: 2.1, RelativeNorm: new(float64)},
			{Kernel: "bert.encoder.layer.0.attention.self.value", In: 4, Out: 4, Values: []float64{0, 0}},
		},
	}
	f.Adapter.Rank = 2
	f.Run.Task, f.Run.Provenance.Backend, f.Run.Provenance.Version = task.Name, "go", "v1.2.3"
	for name, v := range f.Evaluation.Metrics {
		f.Result.Metrics[name] = v
		f.Intervals[name] = Interval{v - 0.1, v + 0.1, "bootstrap"}
		if math.IsNaN(v) {
			f.Intervals[name] = Interval{v, v, ""}
		}
	}
	return f
}

// evaluation is what package train would have found, by way of the JSON that it writes.
func evaluation(t testing.TB, task data.Task, outcomes []outcome) *train.Evaluation {
	t.Helper()
	type fields map[string]any
	e := fields{"task": task.Name, "split": data.Validation, "examples": len(outcomes), "primary_metric": task.Primary}
	metrics, list := fields{}, []fields{}
	for i, name := range task.Metrics {
		metrics[name] = 0.5 + float64(i)/100
	}
	confusion := make([][]int, len(task.Labels))
	for i := range confusion {
		confusion[i] = make([]int, len(task.Labels))
	}
	support := map[string]int{}
	for i, o := range outcomes {
		x := fields{"row": i, "text": o.text, "loss": o.loss}
		if o.pair != nil {
			x["pair"] = *o.pair
		}
		if x["truth"], x["predicted"] = o.is, o.said; task.Regression() {
			x["value"], x["score"] = o.truth, o.as
		}
		list = append(list, x)
		for _, name := range o.is {
			support[name]++
		}
		if !task.Multi && !task.Regression() {
			confusion[slices.Index(task.Labels, o.is[0])][slices.Index(task.Labels, o.said[0])]++
		}
	}
	if e["metrics"], e["errors"] = metrics, list; !task.Regression() {
		figures := fields{}
		for _, name := range task.Labels {
			figures[name] = fields{"precision": 0.25, "recall": 0.75, "f1": 0.375, "support": support[name]}
		}
		if e["labels"], e["per_label"] = task.Labels, figures; !task.Multi {
			e["confusion"] = confusion
		}
	}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var out train.Evaluation
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return &out
}

func write(t testing.TB, f *Facts) string {
	t.Helper()
	var b bytes.Buffer
	if err := f.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func films() data.Task { return data.Task{Name: "films", Labels: []string{"bad", "good", "so-so"}} }

// verdicts are outcomes of films, some of them wrong.
func verdicts(n int) (list []outcome) {
	names := films().Labels
	for i := range n {
		list = append(list, outcome{text: fmt.Sprintf("film number %d was seen", i), is: names[i%3 : i%3+1], said: names[i%2 : i%2+1], loss: float64(n - i)})
	}
	return list
}
