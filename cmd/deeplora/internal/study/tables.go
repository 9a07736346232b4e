package study

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
)

// figureOf is an entry for a number, shown as text.
func figureOf(n Number, text string) page.Entry { return page.Number(float64(n), text) }

// settings are the names of what varies, and the values of one condition.
func (s *Summary) settings() (names []string) {
	for _, row := range s.Scores {
		for _, c := range row.Condition {
			if !slices.Contains(names, c.Name) {
				names = append(names, c.Name)
			}
		}
	}
	return names
}

func values(names []string, condition []Setting) (entries []page.Entry) {
	for _, name := range names {
		value := RunName{Condition: condition}.value(name)
		entries = append(entries, page.Entry{Text: value})
		if _, err := strconv.ParseFloat(value, 64); err == nil {
			entries[len(entries)-1].Sort = value
		}
	}
	return entries
}

// scoreTable has a row a condition and a column an arm, with what was published beside it.
func (s *Summary) scoreTable() page.Table {
	names := s.settings()
	t := page.Table{Label: "Scores of each arm in each condition", Columns: append(page.Words(names...), page.Column{Name: "metric"})}
	published := map[string]bool{}
	for _, row := range s.Scores {
		published[row.Arm] = published[row.Arm] || len(row.Published) > 0
	}
	for _, arm := range s.Arms {
		if t.Columns = append(t.Columns, page.Column{Name: arm, Numeric: true}); published[arm] {
			t.Columns = append(t.Columns, page.Column{Name: arm + ", published", Numeric: true})
		}
	}
	for _, condition := range s.conditions() {
		var rows []ScoreRow
		best, metric := none, ""
		for _, arm := range s.Arms {
			row := s.scoreOf(condition, arm)
			if metric == "" {
				metric = row.Metric
			}
			if row.Mean.There() && (!best.There() || row.Mean > best) {
				best = row.Mean
			}
			rows = append(rows, row)
		}
		line := append(values(names, condition), page.Entry{Text: metric})
		for _, row := range rows {
			e := figureOf(row.Mean, meanText(row))
			if row.Mean == best {
				e.Class = "best"
			}
			if line = append(line, e); published[row.Arm] {
				line = append(line, publishedEntry(row))
			}
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

func (s *Summary) scoreOf(condition []Setting, arm string) ScoreRow {
	at := ConditionText(condition)
	i := slices.IndexFunc(s.Scores, func(r ScoreRow) bool { return r.Arm == arm && ConditionText(r.Condition) == at })
	if i < 0 {
		return ScoreRow{Arm: arm, Mean: none, SD: none}
	}
	return s.Scores[i]
}

// meanText is "0.613 ± 0.021 (5)", with how many scores are behind it.
func meanText(row ScoreRow) string {
	text := score(row.Mean)
	if row.SD.There() {
		text += " ± " + score(row.SD)
	}
	return text + " (" + strconv.Itoa(row.N) + ")"
}

// publishedEntry is the published values of a cell; those of other metrics than the score name theirs.
func publishedEntry(row ScoreRow) page.Entry {
	var e page.Entry
	for i, p := range row.Published {
		text := score(p.Value)
		if p.Metric != row.Metric {
			text += " " + p.Metric
		}
		if p.Seeds > 0 {
			text += " (" + strconv.Itoa(p.Seeds) + ")"
		}
		if i == 0 {
			e = figureOf(p.Value, text)
		} else {
			e.Text += ", " + text
		}
	}
	if e.Text == "" {
		e = figureOf(none, "")
	}
	return e
}

// detailTable has a row an arm in a condition, with everything.
func (s *Summary) detailTable() page.Table {
	names := s.settings()
	t := page.Table{Label: "Everything measured of each arm in each condition", Columns: append(page.Words(names...), page.Words("arm", "metric")...)}
	t.Columns = append(t.Columns, page.Numbers("runs", "undefined", "missing", "mean", "sd", "least", "most", "parameters", "train s", "tokens/s", "peak MiB")...)
	t.Columns = append(t.Columns, page.Words("other metrics")...)
	for _, r := range s.Scores {
		others := ""
		for i, o := range r.Others {
			if i > 0 {
				others += ", "
			}
			others += o.Metric + " " + score(o.Mean)
			if o.SD.There() {
				others += " ± " + score(o.SD)
			}
		}
		line := append(values(names, r.Condition), page.Entry{Text: r.Arm}, page.Entry{Text: r.Metric}, page.Whole(r.N), page.Whole(r.Undefined), page.Whole(r.Missing))
		for _, n := range []Number{r.Mean, r.SD, r.Min, r.Max} {
			line = append(line, figureOf(n, score(n)))
		}
		t.Rows = append(t.Rows, append(append(line, costs(r.Parameters, r.TrainSeconds, r.TokensPerSecond, r.PeakRSS)...), page.Entry{Text: others}))
	}
	return t
}

// costs are parameters, seconds, tokens/s and memory.
func costs(parameters, seconds, speed, rss Number) []page.Entry {
	fixed := func(n Number, decimals int) page.Entry {
		return figureOf(n, strconv.FormatFloat(float64(n), 'f', decimals, 64))
	}
	return []page.Entry{fixed(parameters, 0), fixed(seconds, 1), fixed(speed, 0), fixed(rss/(1<<20), 0)}
}

// differenceTable has a row a comparison.
func (s *Summary) differenceTable() page.Table {
	names := s.settings()
	t := page.Table{Label: "Paired differences to " + s.Baseline, Columns: append(page.Words(names...), page.Column{Name: "arm"})}
	t.Columns = append(t.Columns, page.Numbers("pairs", "mean difference", "95\u00a0% from", "to", "wins", "losses", "ties", "p", "p corrected", "smallest p")...)
	published := slices.ContainsFunc(s.Differences, func(d Difference) bool { return d.Published.There() })
	if published {
		t.Columns = append(t.Columns, page.Column{Name: "published difference", Numeric: true})
	}
	for _, d := range s.Differences {
		line := append(values(names, d.Condition), page.Entry{Text: d.Arm}, page.Whole(d.N), marked(d.Mean))
		line = append(line, figureOf(d.Low, signed(d.Low)), figureOf(d.High, signed(d.High)), page.Whole(d.Wins), page.Whole(d.Losses), page.Whole(d.Ties))
		for _, p := range []Number{d.P, d.HolmP, d.SmallestP} {
			line = append(line, figureOf(p, probability(p)))
		}
		if published {
			line = append(line, figureOf(d.Published, signed(d.Published)))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

// marked is a difference, in the class of its sign.
func marked(n Number) page.Entry {
	e := figureOf(n, signed(n))
	switch {
	case e.Text == "0.000":
	case n > 0:
		e.Class = "ahead"
	case n < 0:
		e.Class = "behind"
	}
	return e
}

// overallTable has a row an arm.
func (s *Summary) overallTable() page.Table {
	t := page.Table{Label: "Each arm against " + s.Baseline + " over all conditions", Columns: page.Words("arm")}
	t.Columns = append(t.Columns, page.Numbers("conditions", "ahead", "behind", "mean gain", "95\u00a0% from", "to", "seeds", "wins", "losses", "ties")...)
	for _, o := range s.Overall {
		t.Rows = append(t.Rows, []page.Entry{
			{Text: o.Arm},
			page.Whole(o.Conditions), page.Whole(o.Ahead), page.Whole(o.Behind), marked(o.Mean),
			figureOf(o.Low, signed(o.Low)), figureOf(o.High, signed(o.High)), page.Whole(o.Seeds), page.Whole(o.Wins), page.Whole(o.Losses), page.Whole(o.Ties),
		})
	}
	return t
}

// costTable has a row an arm: medians over all its runs.
func (s *Summary) costTable() page.Table {
	t := page.Table{Label: "What runs of each arm cost", Columns: page.Words("arm")}
	t.Columns = append(t.Columns, page.Numbers("runs", "parameters", "train s", "tokens/s", "peak MiB")...)
	for _, arm := range s.Arms {
		var parameters, seconds, speed, rss []float64
		for _, r := range s.Rows {
			if r.Arm == arm {
				parameters, seconds = append(parameters, float64(r.Parameters)), append(seconds, r.TrainSeconds)
				speed, rss = append(speed, r.TokensPerSecond), append(rss, float64(r.PeakRSS))
			}
		}
		line := append([]page.Entry{{Text: arm}, page.Whole(len(seconds))}, costs(Number(median(parameters)), Number(median(seconds)), Number(median(speed)), Number(median(rss)))...)
		if len(parameters) > 0 && slices.Min(parameters) < slices.Max(parameters) { // as with several ranks
			line[2].Text = fmt.Sprintf("%.0f to %.0f", slices.Min(parameters), slices.Max(parameters))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

// runTable has a row a finished run, with a link to its directory.
func (s *Summary) runTable() page.Table {
	names := s.settings()
	t := page.Table{Label: "Finished runs", Columns: append(page.Words("run", "arm"), page.Words(names...)...)}
	t.Columns = append(t.Columns, page.Numbers("seed", "score", "train s", "tokens/s", "peak MiB", "final loss")...)
	for _, r := range s.Rows {
		line := append([]page.Entry{{Text: r.Key, Link: runsDir + "/" + r.Key}, {Text: r.Arm}}, values(names, r.Condition)...)
		line = append(line, figureOf(Number(r.Seed), strconv.FormatUint(r.Seed, 10)), figureOf(r.Score, score(r.Score)))
		if math.IsNaN(float64(r.Score)) {
			line[len(line)-1].Text = "undefined"
		}
		line = append(line, costs(none, Number(r.TrainSeconds), Number(r.TokensPerSecond), Number(r.PeakRSS))[1:]...)
		t.Rows = append(t.Rows, append(line, figureOf(r.FinalLoss, score(r.FinalLoss))))
	}
	return t
}
