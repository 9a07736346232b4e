package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/gonum/stat"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/study"
	"github.com/deeplora/deeplora/train"
)

// demoReport is what the demo prints with --json.
type demoReport struct {
	Runs        []train.Result `json:"runs"`
	Summary     demoSummary    `json:"summary"`
	Predictions []demoScore    `json:"predictions"`
}

// demoSummary is the runs as a comparison.
type demoSummary struct {
	Methods  []methodSummary `json:"methods"`
	Metric   string          `json:"metric"`   // compared below
	Ahead    string          `json:"ahead"`    // the method that is ahead on average, or empty
	By       study.Number    `json:"by"`       // so much, on average over Compared
	Spread   study.Number    `json:"spread"`   // standard deviation of the differences; null for one
	AheadOn  int             `json:"ahead_on"` // seeds of Compared
	Compared int             `json:"compared"` // seeds on which both methods have the metric
	Seeds    int             `json:"seeds"`
}

// methodSummary is a method over all seeds.
type methodSummary struct {
	Method     string  `json:"method"`
	Rank       int     `json:"rank"`
	Parameters int     `json:"trainable_parameters"`
	Pearson    spread  `json:"pearson"`
	Spearman   spread  `json:"spearman"`
	Seconds    float64 `json:"train_seconds"` // of a run, on average
}

// spread is a metric over the seeds, in their order. The standard deviation is that of a sample.
type spread struct {
	Mean   study.Number   `json:"mean"`
	Std    study.Number   `json:"std"` // null for one seed
	Values []study.Number `json:"values"`
}

const comparedBy = "pearson" // STS-B's own

// summarize compares runs that come in pairs: for each seed one of each of demoMethods.
func summarize(runs []train.Result) demoSummary {
	s := demoSummary{Metric: comparedBy, Seeds: len(runs) / len(demoMethods)}
	for i := range demoMethods {
		s.Methods = append(s.Methods, summaryOf(every(runs, i)))
	}
	var lead []float64 // of ours, by seed
	for i, plain := range s.Methods[0].Pearson.Values {
		if d := float64(s.Methods[1].Pearson.Values[i] - plain); !math.IsNaN(d) {
			lead = append(lead, d)
		}
	}
	s.Compared = len(lead)
	by, deviation := stat.MeanStdDev(lead, nil)
	s.By, s.Spread = study.Number(math.Abs(by)), study.Number(deviation)
	sign := 1.0
	switch {
	case by > 0:
		s.Ahead = demoMethods[1]
	case by < 0:
		s.Ahead, sign = demoMethods[0], -1
	}
	for _, d := range lead {
		if d*sign > 0 && s.Ahead != "" {
			s.AheadOn++
		}
	}
	return s
}

// every is the runs of one of demoMethods.
func every(runs []train.Result, method int) (of []train.Result) {
	for i := method; i < len(runs); i += len(demoMethods) {
		of = append(of, runs[i])
	}
	return of
}

func summaryOf(runs []train.Result) methodSummary {
	m := methodSummary{Method: runs[0].Method, Rank: runs[0].Rank, Parameters: runs[0].Parameters}
	for _, r := range runs {
		m.Seconds += r.TrainSeconds / float64(len(runs))
	}
	m.Pearson, m.Spearman = spreadOf(runs, "pearson"), spreadOf(runs, "spearman")
	return m
}

func spreadOf(runs []train.Result, metric string) spread {
	var s spread
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = r.Metrics[metric]
		s.Values = append(s.Values, study.Number(values[i]))
	}
	mean, deviation := stat.MeanStdDev(values, nil)
	s.Mean, s.Std = study.Number(mean), study.Number(deviation)
	return s
}

func (s spread) String() string {
	if len(s.Values) == 1 || math.IsNaN(float64(s.Mean)) {
		return numberOr("%.3f", s.Mean, "undefined")
	}
	return numberOr("%.3f", s.Mean, "undefined") + " ± " + numberOr("%.3f", s.Std, "undefined")
}

// rows are the summary as a table, and what follows from it.
func (s *demoSummary) rows() [][]string {
	rows := [][]string{{"method", "rank", "parameters", "pearson", "each seed", "spearman", "time"}}
	for _, m := range s.Methods {
		var each []string
		for _, v := range m.Pearson.Values {
			each = append(each, numberOr("%.2f", v, "undefined"))
		}
		rows = append(rows, []string{
			m.Method, strconv.Itoa(m.Rank), strconv.Itoa(m.Parameters), m.Pearson.String(), strings.Join(each, " "),
			numberOr("%.3f", m.Spearman.Mean, "undefined"), seconds(m.Seconds),
		})
	}
	return append(rows, []string{}, []string{s.verdict()}, []string{})
}

// verdict says which method is ahead, and how sure that is.
func (s *demoSummary) verdict() string {
	if s.Compared == 0 {
		return s.Metric + " is undefined on every seed (where all predictions are one number): nothing to compare; try more --steps"
	}
	text := fmt.Sprintf("neither method is ahead on average over %d of %d seeds", s.Compared, s.Seeds)
	if s.Ahead != "" && 2*s.AheadOn > s.Compared {
		text = fmt.Sprintf("%s is ahead on %d of %d seeds by %.2g of %s on average", s.Ahead, s.AheadOn, s.Seeds, s.By, s.Metric)
	} else if s.Ahead != "" {
		text = fmt.Sprintf("%s is ahead by %.2g of %s on average, yet on %d of %d seeds only", s.Ahead, s.By, s.Metric, s.AheadOn, s.Seeds)
	}
	if s.Ahead != "" && s.By < s.Spread { // false for one seed, which has no spread
		text += fmt.Sprintf(", less than the spread of the differences, ±%.2g", s.Spread)
	}
	if left := s.Seeds - s.Compared; left > 0 {
		text += fmt.Sprintf("; undefined, and left out, on %d", left)
	}
	return text
}

// bestOf is the best run of ours, the first of equals.
func bestOf(runs []train.Result) train.Result {
	ours := every(runs, 1)
	best := ours[0]
	for _, r := range ours[1:] {
		// An undefined metric is below every other.
		if value, than := r.Metrics[comparedBy], best.Metrics[comparedBy]; value > than || math.IsNaN(than) && !math.IsNaN(value) {
			best = r
		}
	}
	return best
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(100 * time.Millisecond).String()
}
