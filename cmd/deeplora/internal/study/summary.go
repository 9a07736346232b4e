package study

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// Summary is what a study measured, as its summary.json has it: everything in the order of the experiment.
type Summary struct {
	Title       string       `json:"title"`
	Description string       `json:"description"`
	Baseline    string       `json:"baseline"` // the arm that others are compared with
	Arms        []string     `json:"arms"`
	Planned     int          `json:"runs"`
	Finished    int          `json:"finished"`
	Missing     []RunName    `json:"missing"`     // runs without a result
	Undefined   []RunName    `json:"undefined"`   // finished runs whose score is undefined: left out of what follows
	Scores      []ScoreRow   `json:"scores"`      // a row an arm in a condition
	Differences []Difference `json:"differences"` // a row an arm but the baseline, in a condition
	Overall     []Overall    `json:"overall"`     // a row an arm but the baseline
	Method      Method       `json:"statistics"`
	Tuning      *Tuning      `json:"tuning,omitempty"` // of an experiment that tunes its arms
	Source      *Source      `json:"published,omitempty"`
	Rows        []RunRow     `json:"finished_runs"`

	// Provenance is where the first run's bits come from.
	Provenance *train.Provenance `json:"provenance,omitempty"`
}

// RunName names a run to a reader.
type RunName struct {
	Key       string    `json:"key"`
	Arm       string    `json:"arm"`
	Condition []Setting `json:"condition"`
	Seed      uint64    `json:"seed"`

	// Of a study that tunes its arms: what the run is for (nothing: an arm at its defaults), the combination that it has,
	// and the fold that it was measured on.
	Stage stage     `json:"stage,omitempty"`
	Tried []Setting `json:"settings,omitempty"`
	Fold  string    `json:"fold,omitempty"`
}

// ScoreRow is what an arm scored in a condition, over seeds. The score is the task's primary metric; costs are
// medians.
type ScoreRow struct {
	Condition []Setting   `json:"condition"`
	Arm       string      `json:"arm"`
	Metric    string      `json:"metric"` // empty without a finished run
	N         int         `json:"n"`      // scores
	Undefined int         `json:"undefined"`
	Missing   int         `json:"missing"`
	Mean      Number      `json:"mean"`
	SD        Number      `json:"sd"` // of the sample
	Min       Number      `json:"min"`
	Max       Number      `json:"max"`
	Seeds     []SeedScore `json:"seeds"`
	Others    []MetricRow `json:"other_metrics"`

	TrainSeconds    Number `json:"train_seconds"`
	TokensPerSecond Number `json:"tokens_per_second"`
	PeakRSS         Number `json:"peak_rss_bytes"`
	Parameters      Number `json:"trainable_parameters"`

	Published []PublishedScore `json:"published"`
}

// SeedScore is one run's score.
type SeedScore struct {
	Seed  uint64 `json:"seed"`
	Score Number `json:"score"` // null where it is undefined
}

// MetricRow is a metric beside the score.
type MetricRow struct {
	Metric string `json:"metric"`
	N      int    `json:"n"`
	Mean   Number `json:"mean"`
	SD     Number `json:"sd"`
}

// Method says which statistics these are.
type Method struct {
	Interval    string  `json:"interval"`
	Confidence  float64 `json:"confidence"`
	Resamples   int     `json:"resamples"`
	Seed        uint64  `json:"seed"`
	Test        string  `json:"test"`
	Correction  string  `json:"correction"`
	Comparisons int     `json:"comparisons"`  // that p is corrected for
	SmallestP   Number  `json:"smallest_p"`   // that the test can give at the most pairs there are
	SeedsNeeded int     `json:"seeds_needed"` // for a corrected p below 0.05 of all comparisons
}

// RunRow is a finished run.
type RunRow struct {
	RunName
	Metric          string       `json:"primary_metric"`
	Score           Number       `json:"score"`
	Metrics         loop.Metrics `json:"metrics"`
	TrainSeconds    float64      `json:"train_seconds"`
	WallSeconds     float64      `json:"wall_seconds"`
	TokensPerSecond float64      `json:"tokens_per_second"`
	PeakRSS         int64        `json:"peak_rss_bytes"`
	Parameters      int          `json:"trainable_parameters"`
	FinalLoss       Number       `json:"final_loss"`
	Selected        int          `json:"selected_step"`
	Backend         string       `json:"backend"`
	Threads         int          `json:"threads"`
}

// cell is an arm in a condition.
type cell struct {
	condition []Setting
	arm       string
	runs      []Run       // planned, by seed as the experiment has them
	measured  []*Measured // those of runs that are finished, in their order
}

// metric is what the cell's runs score by; empty without a finished run.
func (c *cell) metric() string {
	if len(c.measured) == 0 {
		return ""
	}
	return c.measured[0].Result.PrimaryMetric
}

// Summarize compares the arms of a study: runs are all that it plans, measured those that are finished. It is an
// error if a measured run is not planned, or if runs of one condition score by different metrics.
func Summarize(e *Experiment, runs []Run, measured []Measured) (*Summary, error) {
	s := &Summary{
		Title: e.Title, Description: e.Description, Baseline: e.baseline(runs), Arms: arms(runs),
		Planned: len(runs), Finished: len(measured),
		Missing: []RunName{}, Undefined: []RunName{}, Scores: []ScoreRow{}, Differences: []Difference{}, Overall: []Overall{}, Rows: []RunRow{},
	}
	cells, err := group(runs, measured)
	if err != nil {
		return nil, err
	}
	if len(measured) > 0 {
		s.Provenance = &measured[0].Origin
	}
	finished := byID(measured)
	for _, r := range runs {
		m := finished[r.id()]
		switch {
		case m == nil:
			s.Missing = append(s.Missing, r.name())
			continue
		case math.IsNaN(m.Score()):
			s.Undefined = append(s.Undefined, r.name())
		}
		s.Rows = append(s.Rows, m.row())
	}
	published, err := e.published(cells)
	if err != nil {
		return nil, err
	}
	for i, c := range cells {
		row := c.scores()
		row.Published = published[i].against(row)
		s.Scores = append(s.Scores, row)
	}
	if s.Source, err = e.source(cells); err != nil {
		return nil, err
	}
	s.compare(cells)
	return s, nil
}

// byID are measured runs by their id.
func byID(measured []Measured) map[string]*Measured {
	all := map[string]*Measured{}
	for i := range measured {
		all[measured[i].id()] = &measured[i]
	}
	return all
}

// tune adds what tuning found to a summary of the same runs.
func (s *Summary) tune(t *Tuning, runs []Run, measured []Measured) error {
	cells, err := group(runs, measured)
	if err != nil {
		return err
	}
	t.compare(cells)
	s.Tuning = t
	return nil
}

// group sorts runs into cells, in the order of their first runs.
func group(runs []Run, measured []Measured) ([]*cell, error) {
	cells := map[string]*cell{}
	at := map[string]*cell{} // of a run's id
	var order []*cell
	for _, r := range runs {
		name := r.cell()
		c := cells[name]
		if c == nil {
			c = &cell{condition: r.Condition, arm: r.Arm}
			cells[name] = c
			order = append(order, c)
		}
		c.runs = append(c.runs, r)
		at[r.id()] = c
	}
	metrics := map[string]string{} // of a condition
	for i := range measured {
		m := &measured[i]
		c := at[m.id()]
		if c == nil {
			return nil, fmt.Errorf("run %s is not one of the study", m.Key)
		}
		condition := ConditionText(c.condition)
		if first := cmp.Or(metrics[condition], m.Result.PrimaryMetric); first != m.Result.PrimaryMetric {
			return nil, fmt.Errorf("%s: runs score by %s and by %s, which cannot be compared", condition, first, m.Result.PrimaryMetric)
		}
		metrics[condition] = m.Result.PrimaryMetric
		c.measured = append(c.measured, m)
	}
	for _, c := range order {
		place := map[string]int{}
		for i, r := range c.runs {
			place[r.Key] = i
		}
		slices.SortStableFunc(c.measured, func(a, b *Measured) int { return cmp.Compare(place[a.Key], place[b.Key]) })
	}
	return order, nil
}

func (r *Run) name() RunName {
	condition := r.Condition
	if condition == nil {
		condition = []Setting{} // a list in JSON
	}
	return RunName{Key: r.Key, Arm: r.Arm, Condition: condition, Seed: r.Config.Seed, Stage: r.Stage, Tried: r.Tried, Fold: r.Config.Fold}
}

func (m *Measured) row() RunRow {
	r := m.Result
	return RunRow{
		RunName: m.name(), Metric: r.PrimaryMetric, Score: Number(m.Score()), Metrics: r.Metrics,
		TrainSeconds: r.TrainSeconds, WallSeconds: r.WallSeconds, TokensPerSecond: r.TokensPerSecond,
		PeakRSS: r.PeakRSS, Parameters: r.Parameters, FinalLoss: Number(r.FinalLoss), Selected: r.Selected,
		Backend: r.Backend, Threads: r.Threads,
	}
}

// scores is the cell's row, without what was published.
func (c *cell) scores() ScoreRow {
	row := ScoreRow{
		Condition: c.runs[0].name().Condition, Arm: c.arm, Metric: c.metric(), Missing: len(c.runs) - len(c.measured),
		Seeds: []SeedScore{}, Others: []MetricRow{},
	}
	for _, m := range c.measured {
		row.Seeds = append(row.Seeds, SeedScore{m.Config.Seed, Number(m.Score())})
	}
	values, undefined := c.values(c.metric())
	row.N, row.Undefined = len(values), undefined
	row.Mean, row.SD, row.Min, row.Max = Number(mean(values)), Number(deviation(values)), none, none
	if len(values) > 0 {
		row.Min, row.Max = Number(slices.Min(values)), Number(slices.Max(values))
	}
	if len(c.measured) > 0 {
		for _, name := range sortedKeys(c.measured[0].Result.Metrics) {
			if name != row.Metric {
				values, _ := c.values(name)
				row.Others = append(row.Others, MetricRow{name, len(values), Number(mean(values)), Number(deviation(values))})
			}
		}
	}
	row.TrainSeconds = c.median(func(r *train.Result) float64 { return r.TrainSeconds })
	row.TokensPerSecond = c.median(func(r *train.Result) float64 { return r.TokensPerSecond })
	row.PeakRSS = c.median(func(r *train.Result) float64 { return float64(r.PeakRSS) })
	row.Parameters = c.median(func(r *train.Result) float64 { return float64(r.Parameters) })
	return row
}

// values are the cell's defined values of a metric, and how many are not.
func (c *cell) values(metric string) (values []float64, undefined int) {
	for _, m := range c.measured {
		v, there := m.Result.Metrics[metric]
		if !there || math.IsNaN(v) {
			undefined++
			continue
		}
		values = append(values, v)
	}
	return values, undefined
}

func (c *cell) median(of func(*train.Result) float64) Number {
	var values []float64
	for _, m := range c.measured {
		values = append(values, of(&m.Result))
	}
	return Number(median(values))
}
