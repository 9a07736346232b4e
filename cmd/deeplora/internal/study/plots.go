package study

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
	"github.com/deeplora/deeplora/internal/picture"
)

// Limits of a report's pictures.
const (
	chartWidth  = 380 // points: a phone shows it nearly as it is
	mostRows    = 40  // of one picture of intervals
	mostCharts  = 60  // of one kind
	curvePoints = 80  // of a learning curve: of more steps, neighbours are averaged
	labelRunes  = 34  // of a row's name
)

// conditions are the conditions of the study, in its order.
func (s *Summary) conditions() [][]Setting {
	var all [][]Setting
	seen := map[string]bool{}
	for _, row := range s.Scores {
		if text := ConditionText(row.Condition); !seen[text] {
			seen[text] = true
			all = append(all, row.Condition)
		}
	}
	return all
}

// label is a condition as a row's name: no longer than there is room for.
func label(condition []Setting) string {
	text := []rune(ConditionText(condition))
	if len(text) > labelRunes {
		text = append(text[:labelRunes-1], '…')
	}
	return string(text)
}

// scoreFigure shows every score: a row a condition, a mark an arm.
func (s *Summary) scoreFigure() ([]page.Figure, error) {
	conditions := s.conditions()
	conditions = conditions[:min(len(conditions), mostRows)]
	chart := picture.Intervals{Title: "Scores of each arm in each condition", XLabel: s.metricText(), Width: chartWidth}
	place := map[string]int{}
	for i, c := range conditions {
		place[ConditionText(c)] = i
		chart.Rows = append(chart.Rows, label(c))
	}
	any := false
	for _, arm := range s.Arms {
		series := s.emptySeries(arm, len(conditions))
		series.Points = make([][]float64, len(conditions))
		for _, row := range s.Scores {
			i, shown := place[ConditionText(row.Condition)]
			if row.Arm != arm || !shown {
				continue
			}
			any = any || row.Mean.There()
			series.Mid[i], series.Low[i], series.High[i] = float64(row.Mean), float64(row.Mean-row.SD), float64(row.Mean+row.SD)
			for _, seed := range row.Seeds {
				series.Points[i] = append(series.Points[i], float64(seed.Score))
			}
		}
		chart.Series = append(chart.Series, series)
	}
	if !any {
		return nil, nil
	}
	return only(page.Draw(chart, "Mean and one standard deviation to either side; a ring is a run."+s.firstOf(len(conditions))))
}

// differenceFigure is the forest plot: the mean difference to the baseline and its interval.
func (s *Summary) differenceFigure() ([]page.Figure, error) {
	conditions := s.conditions()
	conditions = conditions[:min(len(conditions), mostRows)]
	zero := 0.0
	chart := picture.Intervals{Title: "Paired differences to " + s.Baseline, XLabel: "difference to " + s.Baseline, Width: chartWidth, At: &zero}
	place := map[string]int{}
	for i, c := range conditions {
		place[ConditionText(c)] = i
		chart.Rows = append(chart.Rows, label(c))
	}
	if len(conditions) > 1 {
		chart.Rows = append(chart.Rows, "all conditions")
	}
	any := false
	for _, o := range s.Overall {
		series := s.emptySeries(o.Arm, len(chart.Rows))
		for _, d := range s.Differences {
			if i, shown := place[ConditionText(d.Condition)]; d.Arm == o.Arm && shown {
				any = any || d.Mean.There()
				series.Mid[i], series.Low[i], series.High[i] = float64(d.Mean), float64(d.Low), float64(d.High)
			}
		}
		if last := len(conditions); len(chart.Rows) > last {
			series.Mid[last], series.Low[last], series.High[last] = float64(o.Mean), float64(o.Low), float64(o.High)
		}
		chart.Series = append(chart.Series, series)
	}
	if !any {
		return nil, nil
	}
	caption := fmt.Sprintf("Mean of the paired differences with its 95\u00a0%% interval. Right of the dashed line an arm is ahead of %s.%s", s.Baseline, s.firstOf(len(conditions)))
	return only(page.Draw(chart, caption))
}

// emptySeries is an arm's series before its numbers are known.
func (s *Summary) emptySeries(arm string, rows int) picture.IntervalSeries {
	nothing := make([]float64, rows)
	for i := range nothing {
		nothing[i] = math.NaN()
	}
	return picture.IntervalSeries{Name: arm, Color: s.color(arm), Mid: nothing, Low: slices.Clone(nothing), High: slices.Clone(nothing)}
}

// color is an arm's in every picture; that of a tuned arm is dashed beside the arm's.
func (s *Summary) color(arm string) int {
	place := 0
	for _, name := range s.Arms {
		base, tuned := strings.CutSuffix(name, tunedSuffix)
		if s.Tuning == nil || !tuned {
			place++
		}
		if name == arm && s.Tuning != nil && tuned {
			return picture.Dashed(s.color(base))
		}
		if name == arm {
			break
		}
	}
	return place
}

// firstOf says that a picture shows only some conditions.
func (s *Summary) firstOf(shown int) string {
	if n := len(s.conditions()); shown < n {
		return fmt.Sprintf(" The first %d of %d conditions; the table has all.", shown, n)
	}
	return ""
}

func only(f page.Figure, err error) ([]page.Figure, error) { return []page.Figure{f}, err }

// metricText names the metrics that runs score by.
func (s *Summary) metricText() string {
	var names []string
	for _, row := range s.Scores {
		if row.Metric != "" && !slices.Contains(names, row.Metric) {
			names = append(names, row.Metric)
		}
	}
	return strings.Join(names, ", ")
}

// logarithmic are the settings that are searched over in ratios.
var logarithmic = []string{"lr", "rank", "shots", "shots-per-class", "gamma", "init-scale", "batch", "steps", "weight-decay", "alpha"}

// numericSettings are the settings of conditions that have several values, all of them numbers.
func (s *Summary) numericSettings() []string {
	var names []string
	values := map[string][]float64{}
	text := map[string]bool{}
	for _, row := range s.Scores {
		for _, c := range row.Condition {
			if !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
			v, err := strconv.ParseFloat(c.Value, 64)
			if text[c.Name] = text[c.Name] || err != nil; !slices.Contains(values[c.Name], v) {
				values[c.Name] = append(values[c.Name], v)
			}
		}
	}
	return slices.DeleteFunc(names, func(name string) bool { return text[name] || len(values[name]) < 2 })
}

// settingFigures show the score against each numeric setting, a picture for each combination of the others.
func (s *Summary) settingFigures() ([]page.Figure, error) {
	var figures []page.Figure
	for _, name := range s.numericSettings() {
		rows := map[string][]ScoreRow{} // of the other settings
		var others []string
		for _, row := range s.Scores {
			rest := slices.DeleteFunc(slices.Clone(row.Condition), func(c Setting) bool { return c.Name == name })
			at := ConditionText(rest)
			if rows[at] == nil {
				others = append(others, at)
			}
			rows[at] = append(rows[at], row)
		}
		for _, at := range others {
			if len(figures) == mostCharts {
				return figures, nil
			}
			chart := s.settingChart(name, rows[at])
			where := ""
			if len(others) > 1 {
				where = ": " + at
			}
			chart.Title = "Score against " + name + where
			f, err := page.Draw(chart, chart.Title+".")
			if err != nil {
				return nil, err
			}
			figures = append(figures, f)
		}
	}
	return figures, nil
}

// settingChart is the score against one setting, where the others are the same.
func (s *Summary) settingChart(name string, rows []ScoreRow) picture.Lines {
	chart := picture.Lines{XLabel: name, YLabel: s.metricText(), LogX: slices.Contains(logarithmic, name), Width: chartWidth, Height: 240}
	for _, arm := range s.Arms {
		series := picture.Series{Name: arm, Color: s.color(arm), Low: []float64{}, High: []float64{}}
		for _, row := range rows {
			if row.Arm != arm || !row.Mean.There() {
				continue
			}
			x, _ := strconv.ParseFloat(RunName{Condition: row.Condition}.value(name), 64) // numericSettings has seen that it is one
			chart.LogX = chart.LogX && x > 0
			spread := float64(row.SD)
			if !row.SD.There() {
				spread = 0
			}
			series.X, series.Y = append(series.X, x), append(series.Y, float64(row.Mean))
			series.Low, series.High = append(series.Low, float64(row.Mean)-spread), append(series.High, float64(row.Mean)+spread)
		}
		chart.Series = append(chart.Series, sortByX(series))
	}
	return chart
}

// sortByX orders a series' points, which come in the order of the experiment's values.
func sortByX(s picture.Series) picture.Series {
	order := make([]int, len(s.X))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case s.X[a] < s.X[b]:
			return -1
		case s.X[a] > s.X[b]:
			return 1
		}
		return 0
	})
	out := picture.Series{Name: s.Name, Color: s.Color, Low: []float64{}, High: []float64{}}
	for _, i := range order {
		out.X, out.Y = append(out.X, s.X[i]), append(out.Y, s.Y[i])
		out.Low, out.High = append(out.Low, s.Low[i]), append(out.High, s.High[i])
	}
	return out
}

// costFigures show what runs cost, over all conditions.
func (s *Summary) costFigures() ([]page.Figure, error) {
	var figures []page.Figure
	for _, c := range []struct {
		title, unit string
		of          func(RunRow) float64
	}{
		{"Training time of a run", "seconds", func(r RunRow) float64 { return r.TrainSeconds }},
		{"Speed", "tokens per second", func(r RunRow) float64 { return r.TokensPerSecond }},
		{"Peak memory", "MiB", func(r RunRow) float64 { return float64(r.PeakRSS) / (1 << 20) }},
	} {
		chart := picture.Intervals{Title: c.title + " of each arm", XLabel: c.unit, Width: chartWidth, Rows: []string{""}}
		for _, arm := range s.Arms {
			var values []float64
			for _, r := range s.Rows {
				if r.Arm == arm {
					values = append(values, c.of(r))
				}
			}
			series := s.emptySeries(arm, 1)
			if len(values) > 0 {
				series.Mid[0], series.Low[0], series.High[0] = median(values), slices.Min(values), slices.Max(values)
			}
			chart.Series = append(chart.Series, series)
		}
		f, err := page.Draw(chart, c.title+": median, and from least to most over runs of all conditions.")
		if err != nil {
			return nil, err
		}
		figures = append(figures, f)
	}
	return figures, nil
}
