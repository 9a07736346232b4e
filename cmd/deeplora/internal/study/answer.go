package study

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
)

// answer is what the study found, in sentences: who is ahead, by how much, and how sure that is.
func (s *Summary) answer() []string {
	switch {
	case s.Finished == 0:
		return []string{"No run is finished yet."}
	case len(s.Overall) == 0:
		return []string{fmt.Sprintf("%s ran alone: there is nothing to compare it with.", s.Baseline)}
	}
	var sentences []string
	for _, o := range s.Overall {
		sentences = append(sentences, s.verdict(o))
	}
	if s.Tuning != nil {
		for _, o := range s.Tuning.Overall {
			sentences = append(sentences, s.lossText(o))
		}
	}
	if text := s.significance(); text != "" {
		sentences = append(sentences, text)
	}
	return sentences
}

// verdict is one arm against the baseline: ahead or behind only where the interval, if there is one, leaves out
// zero, and only by what three decimals show.
func (s *Summary) verdict(o Overall) string {
	if o.Conditions == 0 {
		return fmt.Sprintf("%s: no pair of runs with %s is finished yet.", o.Arm, s.Baseline)
	}
	unit, sure := "", ""
	if metric := s.metricText(); !strings.Contains(metric, ",") {
		unit = " of " + metric
	}
	if o.Low.There() {
		sure = fmt.Sprintf(" (95\u00a0%% interval %s to %s, %s)", signed(o.Low), signed(o.High), page.Count(o.Seeds, "seed"))
	}
	pairs := fmt.Sprintf("%d of %s", o.Wins, page.Count(o.Wins+o.Losses+o.Ties, "pair of runs", "pairs of runs"))
	conditions := func(of int) string {
		if o.Conditions == 1 {
			return ""
		}
		return fmt.Sprintf(" in %d of %d conditions", of, o.Conditions)
	}
	if signed(o.Low) == "0.000" && signed(o.High) == "0.000" {
		return fmt.Sprintf("%s and %s score the same: the mean difference%s and its whole 95\u00a0%% interval (%s) are 0.000.",
			o.Arm, s.Baseline, unit, page.Count(o.Seeds, "seed"))
	}
	if o.Low <= 0 && o.High >= 0 {
		also := conditions(o.Ahead)
		if also != "" {
			also += " and"
		}
		return fmt.Sprintf("%s and %s cannot be told apart: the mean difference is %s%s%s; %s is ahead%s in %s.",
			o.Arm, s.Baseline, signed(o.Mean), unit, sure, o.Arm, also, pairs)
	}
	by := "by " + plain(math.Abs(float64(o.Mean))) + unit + " on average" + sure
	text := fmt.Sprintf("%s is ahead of %s%s, %s", o.Arm, s.Baseline, conditions(o.Ahead), by)
	if o.Mean < 0 {
		text = fmt.Sprintf("%s is behind %s%s, %s", o.Arm, s.Baseline, conditions(o.Behind), by)
	}
	text += "; it scores higher in " + pairs + "."
	if !o.Low.There() {
		text += " That is without an interval: too few seeds have every condition."
	}
	return text
}

// significance says what the tests of single conditions give, or why they cannot.
func (s *Summary) significance() string {
	m := s.Method
	if m.Comparisons == 0 {
		return ""
	}
	below := 0
	for _, d := range s.Differences {
		if d.HolmP < significant {
			below++
		}
	}
	reach := float64(m.SmallestP) * float64(m.Comparisons)
	if below > 0 || reach < significant {
		return fmt.Sprintf("Taken one by one, and corrected for their number, %d of %s %s significant (p < 0.05).",
			below, page.Count(m.Comparisons, "difference"), map[bool]string{true: "is", false: "are"}[below == 1])
	}
	most := 0
	for _, d := range s.Differences {
		most = max(most, d.N)
	}
	text := fmt.Sprintf("There are not enough seeds to call a difference significant: with %s the test's p is %s at the least",
		page.Count(most, "pair"), probability(m.SmallestP))
	if m.Comparisons > 1 {
		text += fmt.Sprintf(", and %d comparisons are corrected for", m.Comparisons)
	}
	return text + fmt.Sprintf("; it takes %d seeds.", m.SeedsNeeded)
}

// modelText says whether published numbers can be held against the study's.
func (s *Source) modelText() string {
	used := strings.Join(s.Models, ", ")
	switch {
	case s.Same:
		return fmt.Sprintf("Published numbers: %s, of %s, which these runs used too.", s.Source, s.Model)
	case s.Model == "":
		return fmt.Sprintf("Published numbers: %s; it is not said of which model, and these runs used %s. Compare the differences between methods, not the values.", s.Source, used)
	}
	return fmt.Sprintf("Published numbers: %s. They are of %s; these runs used %s. Compare the differences between methods, not the values.", s.Source, s.Model, used)
}

// plain is a score or a difference as the report shows it.
func plain(v float64) string { return strconv.FormatFloat(v, 'f', 3, 64) }

// score is plain, with a dash for none.
func score(n Number) string {
	if !n.There() {
		return "–"
	}
	return plain(float64(n))
}

// signed is score with its sign.
func signed(n Number) string {
	text := score(n)
	switch {
	case !n.There() || text == "0.000" || text == "-0.000":
		return strings.TrimPrefix(text, "-")
	case n > 0:
		return "+" + text
	}
	return "−" + strings.TrimPrefix(text, "-")
}

// probability is a p: four decimals, or two digits of what is less.
func probability(n Number) string {
	switch {
	case !n.There():
		return "–"
	case n < 0.001:
		return strconv.FormatFloat(float64(n), 'g', 2, 64)
	}
	return strconv.FormatFloat(float64(n), 'f', 4, 64)
}
