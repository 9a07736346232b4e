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

// metrics by their names in the task table: predicted classes or scores against the labels, in the same
// order. Each returns NaN where it is undefined.
var metrics = map[string]func(predicted, labels []float64) float64{
	"accuracy":             accuracy,
	"f1":                   f1,
	"matthews_correlation": matthews,
	"pearson":              pearson,
	"spearman":             spearman,
}

// Measure computes a task's metrics from logits, one row an example.
func Measure(task data.Task, logits [][]float32, labels []float64) (loop.Metrics, error) {
	predicted := make([]float64, len(logits))
	for i, row := range logits {
		if predicted[i] = float64(row[0]); !task.Regression() {
			predicted[i] = float64(argmax(row))
		}
	}
	m := loop.Metrics{}
	for _, name := range task.Metrics {
		f, ok := metrics[name]
		if !ok {
			return nil, fmt.Errorf("task %s: no metric is called %q", task.Name, name)
		}
		m[name] = f(predicted, labels)
	}
	return m, nil
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

func accuracy(predicted, labels []float64) float64 {
	right := 0
	for i, p := range predicted {
		if p == labels[i] {
			right++
		}
	}
	return float64(right) / float64(len(labels))
}

// f1 is of class 1: 2TP/(2TP+FP+FN), 0 where that is 0/0.
func f1(predicted, labels []float64) float64 {
	both, either := 0, 0
	for i, p := range predicted {
		if p == 1 && labels[i] == 1 {
			both++
		}
		if p == 1 {
			either++
		}
		if labels[i] == 1 {
			either++
		}
	}
	if either == 0 {
		return 0
	}
	return 2 * float64(both) / float64(either)
}

// matthews is Gorodkin's correlation of k classes, for two of them Matthews' own: the covariance of the
// indicator vectors over the root of their variances; 0 where either is constant, as scikit-learn has it.
func matthews(predicted, labels []float64) float64 {
	n := float64(len(labels))
	said, is := map[float64]float64{}, map[float64]float64{}
	right := 0.0
	for i, p := range predicted {
		said[p]++
		is[labels[i]]++
		if p == labels[i] {
			right++
		}
	}
	var cross, saidSquares, isSquares float64
	for class, count := range said {
		saidSquares += count * count // sums of integers: exact in any order
		cross += count * is[class]
	}
	for _, count := range is {
		isSquares += count * count
	}
	variance := (n*n - saidSquares) * (n*n - isSquares)
	if variance == 0 {
		return 0
	}
	return (right*n - cross) / math.Sqrt(variance)
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

// spearman is Pearson's correlation of average ranks.
func spearman(predicted, labels []float64) float64 {
	return pearson(ranks(predicted), ranks(labels))
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
