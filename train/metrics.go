package train

import (
	"fmt"
	"math"
	"slices"
	"sort"

	"gonum.org/v1/gonum/stat"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train/loop"
)

// metrics by their names in the task table. Each returns NaN where it is undefined.
var metrics = map[string]func(m *measurement) float64{
	"accuracy":             (*measurement).accuracy,
	"subset_accuracy":      (*measurement).accuracy,
	"f1":                   func(m *measurement) float64 { return m.counts[1].f1() },
	"macro_f1":             (*measurement).macroF1,
	"micro_f1":             (*measurement).microF1,
	"weighted_f1":          (*measurement).weightedF1,
	"matthews_correlation": (*measurement).matthews,

	"pearson":  func(m *measurement) float64 { return pearson(m.predicted, m.truth) },
	"spearman": func(m *measurement) float64 { return pearson(ranks(m.predicted), ranks(m.truth)) },
	"mse":      func(m *measurement) float64 { return meanError(m, func(d float64) float64 { return d * d }) },
	"mae":      func(m *measurement) float64 { return meanError(m, math.Abs) },
	"r2":       (*measurement).r2,
}

// Measure computes a task's metrics from logits, one row an example, and the labels as data.Split.Labels gives them.
func Measure(task data.Task, logits [][]float32, labels []float64) (loop.Metrics, error) {
	return measured(task, logits, labels, multilabelThreshold).metrics(task)
}

// metrics are those that the task names.
func (m *measurement) metrics(task data.Task) (loop.Metrics, error) {
	values := loop.Metrics{}
	for _, name := range task.Metrics {
		f, ok := metrics[name]
		if !ok {
			return nil, fmt.Errorf("task %s: no metric is called %q", task.Name, name)
		}
		values[name] = f(m)
	}
	return values, nil
}

// argmax is the index of the largest value, the first of equals.
func argmax(row []float32) int {
	best := 0
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return best
}

// pearson is undefined for less than two examples and where either side is constant, or differs by no more than
// rounding. That is not left to stat.Correlation: the mean of equal numbers need not be their value, and it
// then divides by a variance of 0 and answers infinity.
func pearson(predicted, labels []float64) float64 {
	if len(predicted) < 2 || constant(predicted) || constant(labels) {
		return math.NaN()
	}
	r := stat.Correlation(predicted, labels, nil)
	if math.IsInf(r, 0) {
		return math.NaN()
	}
	return r
}

func constant(values []float64) bool {
	return !slices.ContainsFunc(values, func(v float64) bool { return v != values[0] })
}

// ranks numbers values from 1 in ascending order; equal values share the mean of their ranks.
func ranks(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(a, b int) bool { return values[order[a]] < values[order[b]] })
	ranked := make([]float64, len(values))
	for from := 0; from < len(order); {
		to := from + 1
		for to < len(order) && values[order[to]] == values[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			ranked[i] = float64(from+1+to) / 2
		}
		from = to
	}
	return ranked
}
