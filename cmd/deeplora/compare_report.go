package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/study"
)

// print prints the tables of a study.
func (c *comparison) print(s *study.Summary, of *study.Study) error {
	if s.Finished > 0 {
		if err := c.ui.table(scoreTable(s)); err != nil {
			return err
		}
	}
	if len(s.Differences) > 0 {
		fmt.Fprintf(c.ui.out, "\nagainst %s, by pairs of one condition and seed\n", plainCell(s.Baseline))
		if err := c.ui.table(differenceTable(s)); err != nil {
			return err
		}
	}
	if s.Tuning != nil {
		if err := c.printTuning(s.Tuning); err != nil {
			return err
		}
	}
	for _, r := range s.Undefined {
		c.ui.line("note: the score of %s is undefined, and left out", runText(r))
	}
	c.ui.line("compare: %d of %d runs are finished; the report: %s", s.Finished, s.Planned, of.File(study.ReportFile))
	return nil
}

// scoreTable has a row an arm in a condition, and a column of published numbers where there are any.
func scoreTable(s *study.Summary) [][]string {
	published := slices.ContainsFunc(s.Scores, func(r study.ScoreRow) bool { return len(r.Published) > 0 })
	header := []string{"condition", "method", "metric", "seeds", "mean", "each seed"}
	if published {
		header = append(header, "published")
	}
	rows := [][]string{header}
	for _, r := range s.Scores {
		row := []string{study.ConditionText(r.Condition), r.Arm, r.Metric, fmt.Sprint(r.N), numberText(r.Mean, r.SD), seedsText(r.Seeds)}
		if published {
			row = append(row, publishedText(r.Published))
		}
		rows = append(rows, row)
	}
	return rows
}

// printTuning prints what was chosen for each arm, what not choosing loses, and what choosing cost.
func (c *comparison) printTuning(t *study.Tuning) error {
	fmt.Fprintf(c.ui.out, "\nchosen by splits of training examples: %d of %d runs, %d steps, %.0f s\n", t.Finished, t.Runs, t.Steps, t.WallSeconds)
	rows := [][]string{{"condition", "method", "default", "chosen", "tried", "tuned - default", "95 % interval", "pairs"}}
	for _, choice := range t.Choices {
		row := []string{
			study.ConditionText(choice.Condition), choice.Arm, triedText(choice.Default, "-"), triedText(choice.Chosen, "not yet"), fmt.Sprint(len(choice.Tries)),
		}
		at := slices.IndexFunc(t.Losses, func(d study.Difference) bool {
			return d.Arm == choice.Arm && study.ConditionText(d.Condition) == study.ConditionText(choice.Condition)
		})
		if at < 0 {
			rows = append(rows, append(row, "-", "-", "-"))
			continue
		}
		d := t.Losses[at]
		rows = append(rows, append(row, differenceText(d.Mean), intervalText(d.Low, d.High), fmt.Sprint(d.N)))
	}
	if err := c.ui.table(rows); err != nil {
		return err
	}
	if n := len(t.Missing); n > 0 {
		c.ui.line("note: %d tuning runs are missing: what they are for is not chosen", n)
	}
	if n := len(t.Diverged); n > 0 {
		c.ui.line("note: %d tuning runs ended in numbers that are not finite: their scores are undefined", n)
	}
	return nil
}

// triedText is a combination of settings, or what is said where there is none.
func triedText(tried []study.Setting, otherwise string) string {
	if tried == nil {
		return otherwise
	}
	return study.ConditionText(tried)
}

// intervalText is "-0.010 to +0.020".
func intervalText(low, high study.Number) string {
	if !low.There() {
		return "-"
	}
	return differenceText(low) + " to " + differenceText(high)
}

// differenceText has no sign where three decimals show no difference.
func differenceText(n study.Number) string {
	text := numberOr("%+.3f", n, "-")
	if text == "+0.000" || text == "-0.000" {
		return "0.000"
	}
	return text
}

func differenceTable(s *study.Summary) [][]string {
	rows := [][]string{{"condition", "method", "pairs", "difference", fmt.Sprintf("%.0f %% interval", 100*s.Method.Confidence), "wins", "p", "p (Holm)"}}
	for _, d := range s.Differences {
		rows = append(rows, []string{
			study.ConditionText(d.Condition), d.Arm, fmt.Sprint(d.N), differenceText(d.Mean), intervalText(d.Low, d.High),
			fmt.Sprintf("%d of %d", d.Wins, d.N), numberOr("%.3g", d.P, "-"), numberOr("%.3g", d.HolmP, "-"),
		})
	}
	return rows
}

// numberText is a mean and its deviation.
func numberText(mean, deviation study.Number) string {
	text := numberOr("%.3f", mean, "-")
	if deviation.There() {
		text += numberOr(" ± %.3f", deviation, "-")
	}
	return text
}

// numberOr formats a number, or says otherwise where there is none.
func numberOr(format string, n study.Number, otherwise string) string {
	if !n.There() {
		return otherwise
	}
	return fmt.Sprintf(format, float64(n))
}

// seedsText lists scores, the first few of many.
func seedsText(seeds []study.SeedScore) string {
	const most = 6
	var parts []string
	for i, s := range seeds {
		if i == most {
			parts = append(parts, "…")
			break
		}
		parts = append(parts, numberOr("%.2f", s.Score, "-"))
	}
	return strings.Join(parts, " ")
}

func publishedText(p []study.PublishedScore) string {
	var parts []string
	for _, v := range p {
		text := numberOr("%.3f", v.Value, "-")
		if !v.Same {
			text += " (another model)"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func runText(r study.RunName) string {
	return fmt.Sprintf("%s, %s, seed %d", r.Arm, study.ConditionText(r.Condition), r.Seed)
}
