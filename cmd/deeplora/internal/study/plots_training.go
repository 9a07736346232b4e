package study

import (
	"fmt"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
	"github.com/deeplora/deeplora/internal/picture"
	"github.com/deeplora/deeplora/train"
)

// byCondition are measured runs by condition and arm.
type byCondition map[string]map[string][]*Measured

func sortMeasured(measured []Measured) byCondition {
	all := byCondition{}
	for i := range measured {
		m := &measured[i]
		at := ConditionText(m.Condition)
		if all[at] == nil {
			all[at] = map[string][]*Measured{}
		}
		all[at][m.Arm] = append(all[at][m.Arm], m)
	}
	return all
}

// conditionFigures draws a picture a condition with chart, which returns nothing to see where there is nothing.
func (s *Summary) conditionFigures(runs byCondition, chart func(arms map[string][]*Measured) (c picture.Lines, note string)) ([]page.Figure, error) {
	var figures []page.Figure
	for _, condition := range s.conditions() {
		text := ConditionText(condition)
		c, note := chart(runs[text])
		if len(c.Series) == 0 {
			continue
		}
		if len(figures) == mostCharts {
			break
		}
		if c.Title += ": " + text; len(condition) > 0 {
			note = strings.ToUpper(text[:1]) + text[1:] + ". " + note
		}
		f, err := page.Draw(c, note)
		if err != nil {
			return nil, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// curveChart is the training loss of one condition's arms.
func (s *Summary) curveChart(runs map[string][]*Measured) (picture.Lines, string) {
	chart := picture.Lines{Title: "Training loss", XLabel: "step", YLabel: "training loss", Width: chartWidth, Height: 240}
	steps := 0
	for _, arm := range s.Arms {
		for _, m := range runs[arm] {
			if n := len(m.Curve); n > 0 {
				steps = max(steps, m.Curve[n-1].Step)
			}
		}
	}
	each := max(1, (steps+curvePoints-1)/curvePoints)
	for _, arm := range s.Arms {
		if series := medianCurve(runs[arm], each); len(series.X) > 0 {
			series.Name, series.Color = arm, s.color(arm)
			chart.Series = append(chart.Series, series)
		}
	}
	note := ""
	if each > 1 {
		note = fmt.Sprintf("Each point is the mean of %d steps.", each)
	}
	return chart, note
}

// medianCurve is the median over runs of the mean loss of so many steps at a time, in a band from least to
// greatest.
func medianCurve(runs []*Measured, each int) picture.Series {
	series := picture.Series{Low: []float64{}, High: []float64{}}
	var bins [][]float64 // a bin's mean loss by run
	for _, m := range runs {
		sums, counts := map[int]float64{}, map[int]int{}
		for _, p := range m.Curve {
			bin := max(0, p.Step-1) / each
			sums[bin] += p.Loss
			counts[bin]++
			for len(bins) <= bin {
				bins = append(bins, nil)
			}
		}
		for bin := range bins {
			if counts[bin] > 0 {
				bins[bin] = append(bins[bin], sums[bin]/float64(counts[bin]))
			}
		}
	}
	for bin, losses := range bins {
		if len(losses) == 0 {
			continue
		}
		series.X = append(series.X, float64(bin*each)+float64(each+1)/2)
		series.Y = append(series.Y, median(losses))
		series.Low, series.High = append(series.Low, slices.Min(losses)), append(series.High, slices.Max(losses))
	}
	return series
}

// spectrumChart is the spectra of one condition's updates: singular values over the first, mean over kernels.
func (s *Summary) spectrumChart(runs map[string][]*Measured) (picture.Lines, string) {
	chart := picture.Lines{Title: "Singular values of the updates", XLabel: "index of the singular value", YLabel: "share of the largest", LogY: true, Width: chartWidth, Height: 240}
	for _, arm := range s.Arms {
		series := picture.Series{Name: arm, Color: s.color(arm), Y: meanSpectrum(updatesOf(runs[arm]))}
		for i := range series.Y {
			series.X = append(series.X, float64(i+1))
		}
		if len(series.X) > 0 {
			chart.Series = append(chart.Series, series)
		}
	}
	return chart, ""
}

func updatesOf(runs []*Measured) (updates []train.KernelDelta) {
	for _, m := range runs {
		updates = append(updates, m.Updates...)
	}
	return updates
}

// meanSpectrum is the mean over kernels of singular values over the largest; kernels without an update, and
// values that rounding made, are left out.
func meanSpectrum(updates []train.KernelDelta) []float64 {
	const rounding = 1e-9
	var sums, counts []float64
	for _, u := range updates {
		for i, v := range u.Values {
			if len(sums) <= i {
				sums, counts = append(sums, 0), append(counts, 0)
			}
			if share := v / u.Values[0]; share > rounding {
				sums[i] += share
				counts[i]++
			}
		}
	}
	means := make([]float64, 0, len(sums))
	for i, n := range counts {
		means = append(means, sums[i]/n) // NaN where no kernel has one: not drawn
	}
	return means
}

// angleFigures show how far updates turned away from the first gradient, by kind of kernel.
func (s *Summary) angleFigures(measured []Measured) ([]page.Figure, error) {
	var figures []page.Figure
	for _, side := range []struct {
		name string
		of   func(*train.GradientAngles) []float64
	}{
		{"input", func(g *train.GradientAngles) []float64 { return g.Input }},
		{"output", func(g *train.GradientAngles) []float64 { return g.Output }},
	} {
		kinds, angles := anglesByKind(measured, side.of)
		if len(kinds) == 0 {
			return nil, nil
		}
		chart := picture.Intervals{Title: "Angles between updates and the first gradient, " + side.name + " side", XLabel: "degrees", Rows: kinds, Width: chartWidth}
		for _, arm := range s.Arms {
			series := s.emptySeries(arm, len(kinds))
			for i, kind := range kinds {
				if values := angles[arm+"\x00"+kind]; len(values) > 0 {
					series.Mid[i], series.Low[i], series.High[i] = mean(values), slices.Min(values), slices.Max(values)
				}
			}
			chart.Series = append(chart.Series, series)
		}
		f, err := page.Draw(chart, strings.ToUpper(side.name[:1])+side.name[1:]+" side: mean angle of a kernel's directions, its mean and range over layers and conditions.")
		if err != nil {
			return nil, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}

// anglesByKind are the mean angles of kernels by arm and kind, and the kinds in the encoder's order.
func anglesByKind(measured []Measured, of func(*train.GradientAngles) []float64) (kinds []string, angles map[string][]float64) {
	angles = map[string][]float64{}
	for _, m := range measured {
		for _, u := range m.Updates {
			if u.Gradient == nil || len(of(u.Gradient)) == 0 {
				continue
			}
			kind := kindOf(u.Kernel)
			if !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
			at := m.Arm + "\x00" + kind
			angles[at] = append(angles[at], mean(of(u.Gradient)))
		}
	}
	return kinds, angles
}

// kindOf is a kernel's name without the layer: "attention.self.query".
func kindOf(kernel string) string {
	if _, in, found := strings.Cut(kernel, ".layer."); found {
		if _, kind, found := strings.Cut(in, "."); found {
			return kind
		}
	}
	return kernel
}
