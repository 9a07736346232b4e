package train

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train/loop"
)

// Every metric against scikit-learn's and SciPy's; null in the goldens is undefined, NaN here.
func TestMetricsAgainstGoldens(t *testing.T) {
	var golden struct {
		Cases []struct {
			Name              string
			Predicted, Labels []float64
			Metrics           loop.Metrics
		}
	}
	text, err := os.ReadFile("testdata/metrics.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &golden); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, c := range golden.Cases {
		for name, want := range c.Metrics {
			seen[name]++
			got := metrics[name](pairs(name, c.Predicted, c.Labels))
			if math.IsNaN(got) != math.IsNaN(want) || math.Abs(got-want) > 1e-11 {
				t.Errorf("%s: %s is %.15g, want %.15g", c.Name, name, got, want)
			}
		}
	}
	for _, task := range data.Tasks() {
		for _, name := range task.Metrics {
			if seen[name] == 0 {
				t.Errorf("no golden of %s", name)
			}
		}
	}
}

// pairs counts what a metric measures: classes, or scores.
func pairs(metric string, predicted, labels []float64) *measurement {
	if slices.Contains([]string{"pearson", "spearman", "mse", "mae", "r2"}, metric) {
		return &measurement{n: len(labels), predicted: predicted, truth: labels}
	}
	classes := 2
	for _, c := range slices.Concat(predicted, labels) {
		classes = max(classes, int(c)+1)
	}
	return countClasses(predicted, labels, classes)
}

func TestMetricsOfFewExamples(t *testing.T) {
	for name, f := range metrics {
		if v := f(pairs(name, nil, nil)); name != "f1" && name != "matthews_correlation" && !math.IsNaN(v) {
			t.Errorf("%s of no example is %g, want undefined", name, v)
		}
	}
	for _, name := range []string{"pearson", "spearman", "r2"} {
		if v := metrics[name](pairs(name, []float64{1}, []float64{2})); !math.IsNaN(v) {
			t.Errorf("%s of one example is %g, want undefined", name, v)
		}
	}
}

// A task may name only metrics there are, and the one that picks the best must be among its own.
func TestEveryTaskHasItsMetrics(t *testing.T) {
	for _, task := range data.Tasks() {
		for _, name := range task.Metrics {
			if metrics[name] == nil {
				t.Errorf("task %s: no function for metric %q", task.Name, name)
			}
		}
		if !slices.Contains(task.Metrics, task.Primary) {
			t.Errorf("task %s: primary metric %q is not among %v", task.Name, task.Primary, task.Metrics)
		}
	}
}

// Classes are the largest logit, the first of equals; scores are the one output as it is.
func TestMeasure(t *testing.T) {
	mnli, err := data.LookupTask("mnli")
	if err != nil {
		t.Fatal(err)
	}
	m, err := Measure(mnli, [][]float32{{3, 1, 2}, {0, 5, 5}, {-1, -2, -0.5}, {1, 1, 1}}, []float64{0, 1, 2, 1})
	if err != nil || len(m) != 1 || m["accuracy"] != 0.75 {
		t.Errorf("metrics %v, error %v, want accuracy 0.75", m, err)
	}
	stsb, err := data.LookupTask("stsb")
	if err != nil {
		t.Fatal(err)
	}
	m, err = Measure(stsb, [][]float32{{-7}, {2}, {11}}, []float64{0, 2.5, 5}) // not clipped to 0 … 5
	if err != nil || math.Abs(m["pearson"]-1) > 1e-12 || math.Abs(m["spearman"]-1) > 1e-12 {
		t.Errorf("metrics %v, error %v, want 1", m, err)
	}
	stsb.Metrics = []string{"bleu"}
	if _, err := Measure(stsb, nil, nil); err == nil || err.Error() != `task stsb: no metric is called "bleu"` {
		t.Errorf("unknown metric: %v", err)
	}
}

// JSON has no NaN: undefined is null, there and back.
func TestUndefinedMetricsAreNull(t *testing.T) {
	text, err := json.Marshal(loop.Metrics{"pearson": math.NaN(), "accuracy": 0.5})
	if err != nil || string(text) != `{"accuracy":0.5,"pearson":null}` {
		t.Fatalf("%s, error %v", text, err)
	}
	var back loop.Metrics
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if len(back) != 2 || !math.IsNaN(back["pearson"]) || back["accuracy"] != 0.5 {
		t.Errorf("read back as %v", back)
	}
	if err := json.Unmarshal([]byte(`{"accuracy": "high"}`), &back); err == nil {
		t.Error("read a string as a metric")
	}
}

// Ranks agree with their definition: one more than the smaller values, plus half of the other equal ones.
func TestRanks(t *testing.T) {
	values := []float64{3, 1, 3, 2, 3, 1}
	for i, got := range ranks(values) {
		want := 1.0
		for j, v := range values {
			if v < values[i] {
				want++
			} else if v == values[i] && j != i {
				want += 0.5
			}
		}
		if got != want {
			t.Errorf("rank of value %d, %g, is %g, want %g", i, values[i], got, want)
		}
	}
}
