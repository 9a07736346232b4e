package study

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
	"github.com/deeplora/deeplora/internal/picture"
)

// This file is what a report says of tuning.

// names are the settings that any arm tries, in the order in which they come.
func (t *Tuning) names() []string {
	names := []string{}
	for _, c := range t.Choices {
		for _, s := range c.Default {
			if !slices.Contains(names, s.Name) {
				names = append(names, s.Name)
			}
		}
	}
	return names
}

// Held says which parts of a draw are held.
func (t *Tuning) Held() string {
	switch t.FoldsRun {
	case t.Folds:
		return "each in turn is"
	case 1:
		return "the first is"
	}
	return fmt.Sprintf("the first %d in turn are", t.FoldsRun)
}

// evaluated reports whether every combination was evaluated on the study's seeds.
func (t *Tuning) evaluated() bool {
	return slices.ContainsFunc(t.Choices, func(c Choice) bool {
		return slices.ContainsFunc(c.Tries, func(t Try) bool { return t.Evaluated > 0 })
	})
}

// lossText says what an arm loses by not being tuned.
func (s *Summary) lossText(o Overall) string {
	if o.Conditions == 0 {
		return fmt.Sprintf("%s is not tuned yet.", o.Arm)
	}
	sure := ""
	if o.Low.There() {
		sure = fmt.Sprintf(" (95\u00a0%% interval %s to %s, %s)", signed(o.Low), signed(o.High), page.Count(o.Seeds, "seed"))
	}
	switch {
	case o.Low > 0:
		return fmt.Sprintf("Tuning %s gains %s%s.", o.Arm, plain(float64(o.Mean)), sure)
	case o.High < 0:
		return fmt.Sprintf("Tuning %s loses %s%s: its default is better than what few examples choose.", o.Arm, plain(-float64(o.Mean)), sure)
	}
	return fmt.Sprintf("Tuning %s changes its score by %s%s.", o.Arm, signed(o.Mean), sure)
}

// choiceTable has a row a tuned arm in a condition: what was chosen, what that scores, and what it cost.
func (s *Summary) choiceTable() page.Table {
	names := s.settings()
	t := page.Table{Label: "What was chosen for each arm in each condition, and what that cost", Columns: append(page.Words(names...), page.Words("arm", "default", "chosen")...)}
	t.Columns = append(t.Columns, page.Numbers("score at default", "score tuned", "tried", "runs", "steps", "seconds")...)
	for _, c := range s.Tuning.Choices {
		chosen := "not yet"
		if c.Chosen != nil {
			chosen = ConditionText(c.Chosen)
		}
		line := append(values(names, c.Condition), page.Entry{Text: c.Arm}, page.Entry{Text: ConditionText(c.Default)}, page.Entry{Text: chosen})
		for _, arm := range []string{c.Arm, tunedName(c.Arm)} {
			row := s.scoreOf(c.Condition, arm)
			line = append(line, figureOf(row.Mean, meanText(row)))
		}
		runs := page.Whole(c.Finished)
		if c.Finished < c.Runs {
			runs.Text += " of " + strconv.Itoa(c.Runs)
		}
		t.Rows = append(t.Rows, append(line, page.Whole(len(c.Tries)), runs, page.Whole(c.Steps), page.Number(c.WallSeconds, fmt.Sprintf("%.0f", c.WallSeconds))))
	}
	return t
}

// lossTable has a row a tuned arm in a condition.
func (s *Summary) lossTable() page.Table {
	names := s.settings()
	t := page.Table{Label: "Loss by not tuning in each condition", Columns: append(page.Words(names...), page.Column{Name: "arm"})}
	t.Columns = append(t.Columns, page.Numbers("pairs", "tuned − default", "95\u00a0% from", "to", "wins", "losses", "ties")...)
	for _, d := range s.Tuning.Losses {
		line := append(values(names, d.Condition), page.Entry{Text: d.Arm}, page.Whole(d.N), marked(d.Mean), figureOf(d.Low, signed(d.Low)), figureOf(d.High, signed(d.High)))
		t.Rows = append(t.Rows, append(line, page.Whole(d.Wins), page.Whole(d.Losses), page.Whole(d.Ties)))
	}
	return t
}

// lossOverallTable has a row a tuned arm.
func (s *Summary) lossOverallTable() page.Table {
	t := page.Table{Label: "Loss by not tuning over all conditions", Columns: page.Words("arm")}
	t.Columns = append(t.Columns, page.Numbers("conditions", "tuned − default", "95\u00a0% from", "to", "seeds")...)
	for _, o := range s.Tuning.Overall {
		t.Rows = append(t.Rows, []page.Entry{{Text: o.Arm}, page.Whole(o.Conditions), marked(o.Mean), figureOf(o.Low, signed(o.Low)), figureOf(o.High, signed(o.High)), page.Whole(o.Seeds)})
	}
	return t
}

// tryTable has a row a combination of an arm in a condition.
func (s *Summary) tryTable() page.Table {
	names, tried := s.settings(), s.Tuning.names()
	t := page.Table{Label: "Every combination that was tried", Columns: append(page.Words(names...), page.Column{Name: "arm"})}
	t.Columns = append(append(t.Columns, page.Words(tried...)...), page.Numbers("on parts of the draw", "undefined")...)
	evaluated := s.Tuning.evaluated()
	if evaluated {
		t.Columns = append(t.Columns, page.Numbers("evaluated")...)
	}
	for _, c := range s.Tuning.Choices {
		for _, try := range c.Tries {
			line := append(append(values(names, c.Condition), page.Entry{Text: c.Arm}), values(tried, try.Settings)...)
			e := figureOf(try.Mean, meanText(ScoreRow{Mean: try.Mean, SD: try.SD, N: try.N}))
			if c.Chosen != nil && slices.Equal(c.Chosen, try.Settings) {
				e.Class = "best"
			}
			if line = append(line, e, page.Whole(try.Undefined)); evaluated {
				line = append(line, figureOf(try.EvaluatedMean, meanText(ScoreRow{Mean: try.EvaluatedMean, SD: try.EvaluatedSD, N: try.Evaluated})))
			}
			t.Rows = append(t.Rows, line)
		}
	}
	return t
}

// lossFigure is a forest plot of what arms lose by not being tuned.
func (s *Summary) lossFigure() ([]page.Figure, error) {
	if s.Tuning == nil || len(s.Tuning.Losses) == 0 {
		return nil, nil
	}
	conditions := s.conditions()
	conditions = conditions[:min(len(conditions), mostRows)]
	zero := 0.0
	chart := picture.Intervals{Title: "Loss by not tuning", XLabel: "tuned − default", Width: chartWidth, At: &zero}
	for _, c := range conditions {
		chart.Rows = append(chart.Rows, label(c))
	}
	if len(conditions) > 1 {
		chart.Rows = append(chart.Rows, "all conditions")
	}
	for _, o := range s.Tuning.Overall {
		series := s.emptySeries(o.Arm, len(chart.Rows))
		for _, d := range s.Tuning.Losses {
			at := slices.IndexFunc(conditions, func(c []Setting) bool { return ConditionText(c) == ConditionText(d.Condition) })
			if d.Arm == o.Arm && at >= 0 {
				series.Mid[at], series.Low[at], series.High[at] = float64(d.Mean), float64(d.Low), float64(d.High)
			}
		}
		if last := len(conditions); len(chart.Rows) > last {
			series.Mid[last], series.Low[last], series.High[last] = float64(o.Mean), float64(o.Low), float64(o.High)
		}
		chart.Series = append(chart.Series, series)
	}
	return only(page.Draw(chart, "Mean of tuned − default with its 95\u00a0% interval. At the dashed line an arm needs no tuning."+s.firstOf(len(conditions))))
}

// tryFigures are the score against each numeric setting that is tuned: a picture a condition with a line an arm and, where
// the study has several ranks, a picture an arm with a line a rank.
func (s *Summary) tryFigures() ([]page.Figure, error) {
	if s.Tuning == nil {
		return nil, nil
	}
	var figures []page.Figure
	for _, name := range s.Tuning.numeric() {
		for _, group := range s.tryGroups() {
			chart := picture.Lines{XLabel: name, YLabel: s.metricText(), LogX: slices.Contains(logarithmic, name), Width: chartWidth, Height: 240}
			for _, line := range group.lines {
				if series := s.trySeries(name, line.choice); len(series.X) > 0 {
					series.Name, series.Color = line.name, line.color
					chart.Series = append(chart.Series, sortByX(series))
					chart.LogX = chart.LogX && slices.Min(series.X) > 0
				}
			}
			if len(chart.Series) == 0 || len(figures) == mostCharts {
				continue
			}
			chart.Title = "Score against " + name
			if group.name != "" {
				chart.Title += ": " + group.name
			}
			f, err := page.Draw(chart, chart.Title+s.tryNote(name))
			if err != nil {
				return nil, err
			}
			figures = append(figures, f)
		}
	}
	return figures, nil
}

// tryNote says what the scores of a sensitivity picture are.
func (s *Summary) tryNote(name string) string {
	note := ", on the held parts of the draws, which settings are chosen by: mean and one standard deviation of their scores."
	if s.Tuning.evaluated() {
		note = ", on what the study is evaluated on: mean over seeds and one standard deviation."
	}
	if len(s.Tuning.names()) > 1 {
		note += " Of the combinations that share a value of " + name + " the best mean is shown."
	}
	return note
}

// tryLine is a line of a sensitivity picture, and tryGroup a picture.
type (
	tryLine struct {
		name   string
		color  int
		choice Choice
	}
	tryGroup struct {
		name  string
		lines []tryLine
	}
)

// tryGroups sorts choices into pictures: by condition and, where the study has several ranks, by arm too.
func (s *Summary) tryGroups() []tryGroup {
	groups := map[string]*tryGroup{}
	var order []*tryGroup
	add := func(name string, line tryLine) {
		if groups[name] == nil {
			groups[name] = &tryGroup{name: name}
			order = append(order, groups[name])
		}
		groups[name].lines = append(groups[name].lines, line)
	}
	ranks := slices.Contains(s.numericSettings(), "rank")
	for _, c := range s.Tuning.Choices {
		if ranks {
			rest := slices.DeleteFunc(slices.Clone(c.Condition), func(s Setting) bool { return s.Name == "rank" })
			add(strings.TrimSuffix(c.Arm+", "+ConditionText(rest), ", all"), tryLine{name: "rank " + valueOf(c.Condition, "rank"), choice: c})
		}
	}
	for _, c := range s.Tuning.Choices {
		at := ""
		if len(c.Condition) > 0 {
			at = ConditionText(c.Condition)
		}
		add(at, tryLine{c.Arm, s.color(c.Arm), c})
	}
	all := make([]tryGroup, len(order))
	for i, g := range order {
		all[i] = *g
	}
	return all
}

// trySeries is the score of an arm in a condition against one tuned setting: of the combinations that share a value the
// one with the best mean.
func (s *Summary) trySeries(name string, c Choice) picture.Series {
	series := picture.Series{Low: []float64{}, High: []float64{}}
	best := map[float64]Try{}
	var order []float64
	for _, t := range c.Tries {
		if s.Tuning.evaluated() {
			t.Mean, t.SD = t.EvaluatedMean, t.EvaluatedSD
		}
		x, err := strconv.ParseFloat(c.value(t, name), 64)
		if err != nil || !t.Mean.There() {
			continue
		}
		before, there := best[x]
		if !there {
			order = append(order, x)
		}
		if !there || t.Mean > before.Mean {
			best[x] = t
		}
	}
	for _, x := range order {
		mean, spread := float64(best[x].Mean), float64(best[x].SD)
		if !best[x].SD.There() {
			spread = 0
		}
		series.X, series.Y = append(series.X, x), append(series.Y, mean)
		series.Low, series.High = append(series.Low, mean-spread), append(series.High, mean+spread)
	}
	return series
}

// value is a combination's of a setting: that of the arm's default where it leaves the choice to the run, as lr 0 does.
func (c Choice) value(t Try, name string) string {
	value := valueOf(t.Settings, name)
	if value == "0" && name == "lr" {
		return valueOf(c.Default, name)
	}
	return value
}

// numeric are the tuned settings with several values, all of them numbers.
func (t *Tuning) numeric() []string {
	return slices.DeleteFunc(t.names(), func(name string) bool {
		values := map[string]bool{}
		for _, c := range t.Choices {
			for _, try := range c.Tries {
				v := valueOf(try.Settings, name)
				if v == "" { // another arm's setting
					continue
				}
				if _, err := strconv.ParseFloat(v, 64); err != nil {
					return true
				}
				values[v] = true
			}
		}
		return len(values) < 2
	})
}
