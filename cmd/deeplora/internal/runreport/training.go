package runreport

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/picture"
	"github.com/deeplora/deeplora/train/loop"
)

// curvePoints are those of a learning curve: of more steps, neighbours are averaged.
const curvePoints = 100

// drawCurves is the training loss, and the metrics of evaluations where there were several.
func (f *Facts) drawCurves(c *contents) (err error) {
	if len(f.Steps) == 0 && len(f.Evaluations) == 0 {
		c.CurveNote = "The run has no log of its training."
		return nil
	}
	c.Curves, err = Curves(f.Task, f.Steps, f.Evaluations)
	if len(f.Evaluations) < 2 {
		c.CurveNote = "The run was evaluated once, at its end: --eval-every measures on the way."
	}
	return err
}

// Curves are the training loss and, where there were several evaluations, their metrics, as figures of a page. The task may
// be the zero one: nothing is then known of the metrics' order.
func Curves(task data.Task, steps []loop.Step, evaluations []loop.Evaluated) (figures []page.Figure, err error) {
	add := func(chart picture.Lines, caption string) error {
		chart.XLabel, chart.Width, chart.Height = "step", chartWidth, 240
		figure, err := page.Draw(chart, caption)
		figures = append(figures, figure)
		return err
	}
	if len(steps) > 0 {
		each := (len(steps) + curvePoints - 1) / curvePoints
		caption := "Training loss of each step, before its update."
		if each > 1 {
			caption = fmt.Sprintf("Training loss: means of %d steps; the band is from the least to the greatest of them.", each)
		}
		if task.Regression() && task.Scaled() {
			caption += " It is of scores in standard deviations."
		}
		if err := add(picture.Lines{Title: "Training loss", YLabel: "training loss", Series: []picture.Series{lossSeries(steps, each)}}, caption); err != nil {
			return nil, err
		}
	}
	if len(evaluations) < 2 {
		return figures, nil
	}
	for _, names := range metricGroups(task, evaluations[0].Metrics) {
		chart := picture.Lines{Title: strings.Join(names, ", ") + " on the validation examples", YLabel: names[0]}
		if len(names) > 1 {
			chart.YLabel = "metric"
		}
		for _, name := range names {
			chart.Series = append(chart.Series, metricSeries(name, evaluations))
		}
		if err := add(chart, "On the validation examples, as measured during training."); err != nil {
			return nil, err
		}
	}
	return figures, nil
}

// metricSeries is a metric over steps, NaN where an evaluation has none.
func metricSeries(name string, evaluations []loop.Evaluated) picture.Series {
	series := picture.Series{Name: name}
	for _, e := range evaluations {
		v, there := e.Metrics[name]
		if !there {
			v = math.NaN()
		}
		series.X, series.Y = append(series.X, float64(e.Step)), append(series.Y, v)
	}
	return series
}

// MetricNames are the names of metrics in the order in which the task has them, its primary one first.
func MetricNames(task data.Task, metrics loop.Metrics) []string {
	place := func(name string) int {
		if name == task.Primary {
			return -1
		}
		return slices.Index(task.Metrics, name)
	}
	names := slices.Sorted(maps.Keys(metrics))
	slices.SortStableFunc(names, func(a, b string) int { return place(a) - place(b) })
	return names
}

// metricGroups are the metrics of evaluations that share a scale: shares and correlations together, errors of scores each by
// itself. The same numbers under another name are left out.
func metricGroups(task data.Task, metrics loop.Metrics) (groups [][]string) {
	names := MetricNames(task, metrics)
	var together []string
	for _, name := range names {
		switch {
		case name == "mse" || name == "mae":
			groups = append(groups, []string{name})
		case name == "micro_f1" && !task.Multi && slices.Contains(names, "accuracy"):
		default:
			together = append(together, name)
		}
	}
	if len(together) > 0 {
		groups = append([][]string{together}, groups...)
	}
	return groups
}

// lossSeries is the loss of so many steps at a time, in a band from least to greatest.
func lossSeries(steps []loop.Step, each int) picture.Series {
	s := picture.Series{}
	if each > 1 {
		s.Low, s.High = []float64{}, []float64{}
	}
	for from := 0; from < len(steps); from += each {
		in := steps[from:min(from+each, len(steps))]
		loss, at, low, high := 0.0, 0.0, math.Inf(1), math.Inf(-1)
		for _, step := range in {
			loss += step.Loss / float64(len(in))
			at += float64(step.Step) / float64(len(in))
			low, high = min(low, step.Loss), max(high, step.Loss)
		}
		s.X, s.Y = append(s.X, at), append(s.Y, loss)
		if each > 1 {
			s.Low, s.High = append(s.Low, low), append(s.High, high)
		}
	}
	return s
}

// adapter is what was added to the kernels.
func (f *Facts) adapter(c *contents) error {
	if len(f.Deltas) == 0 {
		c.AdapterLead = []string{fmt.Sprintf("Method %s trains %s of the model itself: there is no adapter whose ΔK could be taken apart.", f.Adapter.Method, page.Count(f.Result.Parameters, "parameter"))}
		return nil
	}
	c.AdapterLead = append(c.AdapterLead, f.rankText())
	if f.NoGradient != "" {
		c.AdapterLead = append(c.AdapterLead, "Without the angles to the gradient that training began with, which could not be computed again: "+f.NoGradient+".")
	} else if f.Deltas[0].Gradient != nil {
		c.AdapterLead = append(c.AdapterLead, "Angles are the largest between the directions that carry ΔK and the leading ones of the gradient that training began with: 0° for directions that it named before the first step, 90° for those it had no part in.")
	}
	rows := DeltaRows(f.Deltas, Tolerance)
	t := page.Table{Label: "What was added to each kernel", Columns: append(page.Words(rows[0][0]), page.Numbers(rows[0][1:]...)...)}
	for _, row := range rows[1:] {
		entries := []page.Entry{{Text: strings.TrimPrefix(row[0], "bert.")}}
		for _, text := range row[1:] {
			v, err := strconv.ParseFloat(strings.TrimSuffix(text, "°"), 64)
			if err != nil {
				v = math.NaN()
			}
			entries = append(entries, page.Number(v, text))
		}
		t.Rows = append(t.Rows, entries)
	}
	if f.Deltas[0].Gradient == nil {
		t.Columns = t.Columns[:len(t.Columns)-2]
		for i := range t.Rows {
			t.Rows[i] = t.Rows[i][:len(t.Columns)]
		}
	}
	c.Deltas = fold(t, "All "+page.Count(len(t.Rows), "kernel"))
	grid := Spectra(f.Deltas, fmt.Sprintf("%s, %s of rank %d", f.Task.Name, f.Adapter.Method, f.Adapter.Rank))
	figure, err := page.Draw(grid, "Singular values of ΔK of each kernel, on a logarithmic scale, over their index; all panels have the same axes. The sooner a line falls, the fewer directions training used.")
	figure.Wide = true
	c.Spectra = []page.Figure{figure}
	return err
}

// rankText says how many directions the updates have.
func (f *Facts) rankText() string {
	var ranks []float64
	allowed, largest, where := 0, 0.0, ""
	for _, u := range f.Deltas {
		ranks, allowed = append(ranks, u.EffectiveRank), max(allowed, len(u.Values))
		if u.RelativeNorm != nil && *u.RelativeNorm > largest {
			largest, where = *u.RelativeNorm, u.Kernel
		}
	}
	slices.Sort(ranks)
	text := fmt.Sprintf("ΔK of %s: the effective rank, exp of the entropy of the singular values, is %.2f to %.2f, its median %.2f; the factors allow %d.",
		page.Count(len(ranks), "kernel"), ranks[0], ranks[len(ranks)-1], quantile(ranks, 0.5), allowed)
	if where != "" {
		text += fmt.Sprintf(" The largest update is %s of its kernel's norm (%s).", short3(largest), strings.TrimPrefix(where, "bert."))
	}
	return text
}
