package train

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// goldenClasses is classes.json, by scikit-learn, SciPy and PyTorch.
type goldenClasses struct {
	Classes []struct {
		Name              string
		Classes           int
		Predicted, Labels []float64
		Metrics           loop.Metrics
		Confusion         [][]int
		PerLabel          []labelFigure `json:"per_label"`
	}
	Sets []struct {
		Name      string
		Classes   int
		Threshold float64
		Logits    [][]float32
		Labels    [][]float64
		Metrics   loop.Metrics
		PerLabel  []labelFigure `json:"per_label"`
	}
	Scores []struct {
		Name              string
		Predicted, Labels []float64
		Metrics           loop.Metrics
	}
	Losses struct {
		Logits       [][]float64
		Labels       []float64
		Weight       []float64
		Sets         [][]float64
		CrossEntropy goldenLoss `json:"cross_entropy"`
		BCE          goldenLoss
	}
}

type goldenLoss struct {
	Loss     float64
	Gradient [][]float64
}

func readClasses(t *testing.T) (g goldenClasses) {
	t.Helper()
	text, err := os.ReadFile("testdata/classes.json")
	if err == nil {
		err = json.Unmarshal(text, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// taskOf is a task of one's own with so many classes.
func taskOf(t *testing.T, classes int, multi bool) data.Task {
	t.Helper()
	task := data.Task{Name: "own", Multi: multi}
	for i := range classes {
		task.Labels = append(task.Labels, fmt.Sprintf("class %d", i))
	}
	task, err := task.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func sameMetrics(t *testing.T, what string, got, want loop.Metrics) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: metrics %v, want %v", what, got, want)
	}
	for name, w := range want {
		if g, ok := got[name]; !ok || math.IsNaN(g) != math.IsNaN(w) || math.Abs(g-w) > 1e-12*max(1, math.Abs(w)) {
			t.Errorf("%s: %s is %.17g, want %.17g", what, name, g, w)
		}
	}
}

func sameFigures(t *testing.T, what string, task data.Task, got byLabel, want []labelFigure) {
	t.Helper()
	if !slices.Equal(got.Labels, task.Labels) || len(got.PerLabel) != len(want) {
		t.Errorf("%s: labels %v with %d figures", what, got.Labels, len(got.PerLabel))
	}
	for i, w := range want {
		g := got.PerLabel[task.Labels[i]]
		if max(math.Abs(g.Precision-w.Precision), math.Abs(g.Recall-w.Recall), math.Abs(g.F1-w.F1)) > 1e-12 || g.Support != w.Support {
			t.Errorf("%s: class %d is %+v, want %+v", what, i, g, w)
		}
	}
}

// The figures of tasks of one's own are scikit-learn's: of classes, of sets of them, and of scores.
func TestOwnMetricsAgainstGoldens(t *testing.T) {
	g := readClasses(t)
	for _, c := range g.Classes {
		task := taskOf(t, c.Classes, false)
		logits := make([][]float32, len(c.Predicted))
		for i, p := range c.Predicted {
			logits[i] = make([]float32, c.Classes)
			logits[i][int(p)] = 1
		}
		m := measured(task, logits, c.Labels, 0.5)
		got, err := m.metrics(task)
		if err != nil {
			t.Fatal(err)
		}
		sameMetrics(t, c.Name, got, c.Metrics)
		figures := m.byLabel(task)
		sameFigures(t, c.Name, task, figures, c.PerLabel)
		if fmt.Sprint(figures.Confusion) != fmt.Sprint(c.Confusion) {
			t.Errorf("%s: confusion %v, want %v", c.Name, figures.Confusion, c.Confusion)
		}
	}
	for _, c := range g.Sets {
		task := taskOf(t, c.Classes, true)
		m := measured(task, c.Logits, slices.Concat(c.Labels...), c.Threshold)
		got, err := m.metrics(task)
		if err != nil {
			t.Fatal(err)
		}
		sameMetrics(t, c.Name, got, c.Metrics)
		sameFigures(t, c.Name, task, m.byLabel(task), c.PerLabel)
	}
	task, err := data.Task{Name: "likeness"}.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Scores {
		m := pairs("r2", c.Predicted, c.Labels)
		got, err := m.metrics(task)
		if err != nil {
			t.Fatal(err)
		}
		sameMetrics(t, c.Name, got, c.Metrics)
		if b := m.byLabel(task); b.Labels != nil || b.PerLabel != nil || b.Confusion != nil {
			t.Errorf("%s: figures of classes %+v for scores", c.Name, b)
		}
	}
}

// The losses with class weights and of sets of labels are PyTorch's: CrossEntropyLoss(weight) and BCEWithLogitsLoss, of a
// step whole, with fillers, and in two batches of which each knows the weight of both.
func TestLossesAgainstGoldens(t *testing.T) {
	g := readClasses(t).Losses
	weights := make([]float64, len(g.Labels))
	ones := make([]float64, len(g.Labels))
	for i, label := range g.Labels {
		weights[i], ones[i] = g.Weight[int(label)], 1
	}
	for _, c := range []struct {
		problem string
		labels  [][]float64
		weights []float64
		want    goldenLoss
	}{
		{model.SingleLabel, column(g.Labels), weights, g.CrossEntropy},
		{model.MultiLabel, g.Sets, ones, g.BCE},
	} {
		for _, b := range testbackend.All(t) {
			for _, cut := range []int{len(ones), 4} {
				exec := MustNewExec(b, func(logits, labels, weights, total *Node) []*Node {
					if c.problem == model.SingleLabel {
						labels = Squeeze(labels, -1)
					}
					loss := weightedMean(lossOf(c.problem)(logits, labels), weights, total)
					return []*Node{loss, Gradient(loss, logits)[0]}
				})
				defer exec.Finalize()
				total, loss := 0.0, 0.0
				for _, w := range c.weights {
					total += w
				}
				var gradient []float64
				for _, part := range [][2]int{{0, cut}, {cut, len(ones)}} {
					if part[0] == part[1] {
						continue
					}
					// A filler: any logits, label 0, weight 0.
					logits := append(slices.Clone(g.Logits[part[0]:part[1]]), []float64{50, -3, 0})
					labels := append(slices.Clone(c.labels[part[0]:part[1]]), make([]float64, len(c.labels[0])))
					out := exec.MustCall(logits, labels, append(slices.Clone(c.weights[part[0]:part[1]]), 0), total)
					loss += tensors.ToScalar[float64](out[0])
					flat := float64s(t, out[1])
					gradient = append(gradient, flat[:len(flat)-3]...)
				}
				if math.Abs(loss-c.want.Loss) > 1e-12 {
					t.Errorf("%s, %s, batches of %d: loss %.17g, want %.17g", b.Name(), c.problem, cut, loss, c.want.Loss)
				}
				for i, want := range slices.Concat(c.want.Gradient...) {
					if math.Abs(gradient[i]-want) > 1e-12 {
						t.Errorf("%s, %s, batches of %d: gradient %d is %.17g, want %.17g", b.Name(), c.problem, cut, i, gradient[i], want)
					}
				}
			}
		}
	}
}

// column makes each number a row of its own.
func column(values []float64) (rows [][]float64) {
	for _, v := range values {
		rows = append(rows, []float64{v})
	}
	return rows
}
