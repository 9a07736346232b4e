package study

import (
	"fmt"
	"math"
	"slices"
	"strconv"
)

// table is a table of the report.
type table struct {
	Label   string // to those who cannot see it
	Columns []column
	Rows    [][]entry
}

// column is a column's head.
type column struct {
	Name    string
	Numeric bool
}

// entry is what stands in a table: Sort, where it is not empty, is what it is sorted by.
type entry struct {
	Text, Sort, Class, Link string
}

func words(names ...string) (columns []column) {
	for _, name := range names {
		columns = append(columns, column{Name: name})
	}
	return columns
}

func numbers(names ...string) (columns []column) {
	for _, name := range names {
		columns = append(columns, column{name, true})
	}
	return columns
}

// figureOf is an entry for a number, shown as text.
func figureOf(n Number, text string) entry {
	if !n.There() {
		return entry{Text: "–", Sort: "-Infinity"}
	}
	return entry{Text: text, Sort: strconv.FormatFloat(float64(n), 'g', -1, 64)}
}

func whole(n int) entry { return figureOf(Number(n), strconv.Itoa(n)) }

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

func values(names []string, condition []Setting) (entries []entry) {
	for _, name := range names {
		value := RunName{Condition: condition}.value(name)
		entries = append(entries, entry{Text: value})
		if _, err := strconv.ParseFloat(value, 64); err == nil {
			entries[len(entries)-1].Sort = value
		}
	}
	return entries
}

// scoreTable has a row a condition and a column an arm, with what was published beside it.
func (s *Summary) scoreTable() table {
	names := s.settings()
	t := table{Label: "Scores of each arm in each condition", Columns: append(words(names...), column{Name: "metric"})}
	published := map[string]bool{}
	for _, row := range s.Scores {
		published[row.Arm] = published[row.Arm] || len(row.Published) > 0
	}
	for _, arm := range s.Arms {
		if t.Columns = append(t.Columns, column{arm, true}); published[arm] {
			t.Columns = append(t.Columns, column{arm + ", published", true})
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
		line := append(values(names, condition), entry{Text: metric})
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
func publishedEntry(row ScoreRow) entry {
	var e entry
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
func (s *Summary) detailTable() table {
	names := s.settings()
	t := table{Label: "Everything measured of each arm in each condition", Columns: append(words(names...), words("arm", "metric")...)}
	t.Columns = append(t.Columns, numbers("runs", "undefined", "missing", "mean", "sd", "least", "most", "parameters", "train s", "tokens/s", "peak MiB")...)
	t.Columns = append(t.Columns, words("other metrics")...)
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
		line := append(values(names, r.Condition), entry{Text: r.Arm}, entry{Text: r.Metric}, whole(r.N), whole(r.Undefined), whole(r.Missing))
		for _, n := range []Number{r.Mean, r.SD, r.Min, r.Max} {
			line = append(line, figureOf(n, score(n)))
		}
		t.Rows = append(t.Rows, append(append(line, costs(r.Parameters, r.TrainSeconds, r.TokensPerSecond, r.PeakRSS)...), entry{Text: others}))
	}
	return t
}

// costs are parameters, seconds, tokens/s and memory.
func costs(parameters, seconds, speed, rss Number) []entry {
	fixed := func(n Number, decimals int) entry {
		return figureOf(n, strconv.FormatFloat(float64(n), 'f', decimals, 64))
	}
	return []entry{fixed(parameters, 0), fixed(seconds, 1), fixed(speed, 0), fixed(rss/(1<<20), 0)}
}

// differenceTable has a row a comparison.
func (s *Summary) differenceTable() table {
	names := s.settings()
	t := table{Label: "Paired differences to " + s.Baseline, Columns: append(words(names...), column{Name: "arm"})}
	t.Columns = append(t.Columns, numbers("pairs", "mean difference", "95\u00a0% from", "to", "wins", "losses", "ties", "p", "p corrected", "smallest p")...)
	published := slices.ContainsFunc(s.Differences, func(d Difference) bool { return d.Published.There() })
	if published {
		t.Columns = append(t.Columns, column{"published difference", true})
	}
	for _, d := range s.Differences {
		line := append(values(names, d.Condition), entry{Text: d.Arm}, whole(d.N), marked(d.Mean))
		line = append(line, figureOf(d.Low, signed(d.Low)), figureOf(d.High, signed(d.High)), whole(d.Wins), whole(d.Losses), whole(d.Ties))
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
func marked(n Number) entry {
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
func (s *Summary) overallTable() table {
	t := table{Label: "Each arm against " + s.Baseline + " over all conditions", Columns: words("arm")}
	t.Columns = append(t.Columns, numbers("conditions", "ahead", "behind", "mean gain", "95\u00a0% from", "to", "seeds", "wins", "losses", "ties")...)
	for _, o := range s.Overall {
		t.Rows = append(t.Rows, []entry{
			{Text: o.Arm},
			whole(o.Conditions), whole(o.Ahead), whole(o.Behind), marked(o.Mean),
			figureOf(o.Low, signed(o.Low)), figureOf(o.High, signed(o.High)), whole(o.Seeds), whole(o.Wins), whole(o.Losses), whole(o.Ties),
		})
	}
	return t
}

// costTable has a row an arm: medians over all its runs.
func (s *Summary) costTable() table {
	t := table{Label: "What runs of each arm cost", Columns: words("arm")}
	t.Columns = append(t.Columns, numbers("runs", "parameters", "train s", "tokens/s", "peak MiB")...)
	for _, arm := range s.Arms {
		var parameters, seconds, speed, rss []float64
		for _, r := range s.Rows {
			if r.Arm == arm {
				parameters, seconds = append(parameters, float64(r.Parameters)), append(seconds, r.TrainSeconds)
				speed, rss = append(speed, r.TokensPerSecond), append(rss, float64(r.PeakRSS))
			}
		}
		line := append([]entry{{Text: arm}, whole(len(seconds))}, costs(Number(median(parameters)), Number(median(seconds)), Number(median(speed)), Number(median(rss)))...)
		if len(parameters) > 0 && slices.Min(parameters) < slices.Max(parameters) { // as with several ranks
			line[2].Text = fmt.Sprintf("%.0f to %.0f", slices.Min(parameters), slices.Max(parameters))
		}
		t.Rows = append(t.Rows, line)
	}
	return t
}

// runTable has a row a finished run, with a link to its directory.
func (s *Summary) runTable() table {
	names := s.settings()
	t := table{Label: "Finished runs", Columns: append(words("run", "arm"), words(names...)...)}
	t.Columns = append(t.Columns, numbers("seed", "score", "train s", "tokens/s", "peak MiB", "final loss")...)
	for _, r := range s.Rows {
		line := append([]entry{{Text: r.Key, Link: runsDir + "/" + r.Key}, {Text: r.Arm}}, values(names, r.Condition)...)
		line = append(line, figureOf(Number(r.Seed), strconv.FormatUint(r.Seed, 10)), figureOf(r.Score, score(r.Score)))
		if math.IsNaN(float64(r.Score)) {
			line[len(line)-1].Text = "undefined"
		}
		line = append(line, costs(none, Number(r.TrainSeconds), Number(r.TokensPerSecond), Number(r.PeakRSS))[1:]...)
		t.Rows = append(t.Rows, append(line, figureOf(r.FinalLoss, score(r.FinalLoss))))
	}
	return t
}
