package study

import (
	"cmp"
	"fmt"
	"slices"
)

// Tuning is what the tuning of a study found and cost, as its summary has it.
type Tuning struct {
	Seeds    []uint64 `json:"seeds"`
	Folds    int      `json:"folds"`
	FoldsRun int      `json:"folds_run"`

	Runs         int       `json:"runs"` // planned; those of sensitivity are not among them
	Finished     int       `json:"finished"`
	Diverged     []RunName `json:"diverged"` // runs that ended in numbers that are not finite: their score is undefined
	Missing      []RunName `json:"missing"`
	Steps        int       `json:"steps"` // of all finished runs together
	TrainSeconds float64   `json:"train_seconds"`
	WallSeconds  float64   `json:"wall_seconds"`

	Choices []Choice     `json:"choices"`            // a row an arm and condition
	Losses  []Difference `json:"loss_by_not_tuning"` // tuned less default, a row an arm and condition
	Overall []Overall    `json:"loss_over_all"`      // a row an arm
	Rows    []RunRow     `json:"tuning_runs"`        // finished runs, those of sensitivity too
}

// Choice is what tuning found for an arm in a condition.
type Choice struct {
	Condition []Setting `json:"condition"`
	Arm       string    `json:"arm"`
	Metric    string    `json:"metric"` // empty without a finished run
	Default   []Setting `json:"default"`
	Chosen    []Setting `json:"chosen"` // null until all runs have ended, or if every score is undefined
	Tries     []Try     `json:"tries"`  // in the order of the grid

	Runs         int     `json:"runs"`
	Finished     int     `json:"finished"`
	Steps        int     `json:"steps"`
	TrainSeconds float64 `json:"train_seconds"`
	WallSeconds  float64 `json:"wall_seconds"`

	chosen Fields
}

// Try is a combination of an arm's grid in a condition.
type Try struct {
	Settings  []Setting `json:"settings"`
	N         int       `json:"n"` // scores, over seeds and folds
	Undefined int       `json:"undefined"`
	Mean      Number    `json:"mean"`
	SD        Number    `json:"sd"`

	// The same on what the study is evaluated on, by its seeds, where the experiment asks for sensitivity.
	Evaluated     int    `json:"evaluated_n"`
	EvaluatedMean Number `json:"evaluated_mean"`
	EvaluatedSD   Number `json:"evaluated_sd"`

	fields Fields
}

// ended is what became of the runs that an experiment is tuned by.
type ended struct {
	planned  []Run
	measured map[string]*Measured // by Run.id
	diverged map[string]bool      // likewise
}

// tuning gathers what tuning found.
func (e *Experiment) tuning(of ended) *Tuning {
	t := &Tuning{
		Seeds: e.tuningSeeds(of.planned), Folds: e.Tune.Folds, FoldsRun: e.Tune.FoldsRun, Diverged: []RunName{}, Missing: []RunName{},
		Choices: []Choice{}, Losses: []Difference{}, Overall: []Overall{}, Rows: []RunRow{},
	}
	for _, r := range of.planned {
		m := of.measured[r.id()]
		if m != nil {
			t.Rows = append(t.Rows, m.row())
		} else if of.diverged[r.id()] {
			t.Diverged = append(t.Diverged, r.name())
		} else {
			t.Missing = append(t.Missing, r.name())
		}
		if r.Stage != stageTuning {
			continue
		}
		if t.Runs++; m != nil {
			t.Finished++
			t.Steps += m.Result.Steps
			t.TrainSeconds, t.WallSeconds = t.TrainSeconds+m.Result.TrainSeconds, t.WallSeconds+m.Result.WallSeconds
		}
	}
	t.Choices = e.choices(of)
	return t
}

func (e *Experiment) tuningSeeds(planned []Run) (seeds []uint64) {
	for _, r := range planned {
		if r.Stage == stageTuning && !slices.Contains(seeds, r.Config.Seed) {
			seeds = append(seeds, r.Config.Seed)
		}
	}
	return seeds
}

// choices are what was chosen for each arm in each condition, in the order of their first runs.
func (e *Experiment) choices(of ended) []Choice {
	byCell := map[string][]Run{}
	var order []string
	for _, r := range of.planned {
		if at := r.cell(); byCell[at] == nil {
			order = append(order, at)
		}
		byCell[r.cell()] = append(byCell[r.cell()], r)
	}
	choices := []Choice{}
	for _, at := range order {
		choices = append(choices, e.choice(byCell[at], of))
	}
	return choices
}

// choice is what was chosen from the runs of one arm and condition.
func (e *Experiment) choice(runs []Run, of ended) Choice {
	c := Choice{Condition: runs[0].name().Condition, Arm: runs[0].Arm}
	open := false // a run has not ended
	for _, r := range runs {
		if r.Stage != stageTuning {
			continue
		}
		m := of.measured[r.id()]
		if c.Runs++; m != nil {
			c.add(m)
		}
		open = open || m == nil && !of.diverged[r.id()]
	}
	for _, tried := range combinations(e.gridOf(e.variant(c.Arm))) {
		c.Tries = append(c.Tries, tryOf(tried, runs, of))
	}
	c.Default = e.defaultsOf(runs[0], c.Tries[0].Settings)
	if best := best(c.Tries); !open && best.N > 0 {
		c.Chosen, c.chosen = best.Settings, best.fields
	}
	return c
}

// tryOf is what the runs of one combination scored.
func tryOf(tried Fields, runs []Run, of ended) Try {
	t := Try{Settings: tried.settings(), fields: tried}
	var scores, evaluated []float64
	for _, r := range runs {
		if !slices.Equal(r.Tried, t.Settings) {
			continue
		}
		m := of.measured[r.id()]
		switch {
		case m != nil && Number(m.Score()).There():
			if r.Stage == stageGrid {
				evaluated = append(evaluated, m.Score())
			} else {
				scores = append(scores, m.Score())
			}
		case r.Stage == stageTuning && (m != nil || of.diverged[r.id()]):
			t.Undefined++
		}
	}
	t.N, t.Mean, t.SD = len(scores), Number(mean(scores)), Number(deviation(scores))
	t.Evaluated, t.EvaluatedMean, t.EvaluatedSD = len(evaluated), Number(mean(evaluated)), Number(deviation(evaluated))
	return t
}

// add counts a finished run.
func (c *Choice) add(m *Measured) {
	c.Metric = m.Result.PrimaryMetric
	c.Finished++
	c.Steps += m.Result.Steps
	c.TrainSeconds, c.WallSeconds = c.TrainSeconds+m.Result.TrainSeconds, c.WallSeconds+m.Result.WallSeconds
}

// best is the combination with the best mean, of equals the first of the grid. One with fewer undefined scores comes
// before all others: a constant prediction, or numbers that overflow, are not left out of the mean for nothing.
func best(tries []Try) Try {
	return slices.MinFunc(tries, func(a, b Try) int {
		return cmp.Or(cmp.Compare(a.Undefined, b.Undefined), -cmp.Compare(a.Mean, b.Mean))
	})
}

// variant is the one that competes as an arm.
func (e *Experiment) variant(arm string) Named {
	for _, v := range e.variants() {
		if e.armOf(v) == arm {
			return v
		}
	}
	return Named{}
}

// defaultsOf are the values that an arm has, where it is not tuned, of what is tried.
func (e *Experiment) defaultsOf(tried Run, settings []Setting) (list []Setting) {
	runs, err := e.Runs()
	if err != nil { // Open has said so
		return nil
	}
	at := slices.IndexFunc(runs, func(r Run) bool { return r.cell() == tried.cell() })
	if at < 0 {
		return nil
	}
	values, err := settingsOf(runs[at].Config)
	if err != nil {
		return nil
	}
	for _, s := range settings {
		list = append(list, Setting{s.Name, valueText(values[s.Name])})
	}
	return list
}

// chosen are the combinations of arms in conditions by Run.cell, where all runs of them have ended.
func (t *Tuning) chosen() map[string]Fields {
	all := map[string]Fields{}
	for _, c := range t.Choices {
		if c.Chosen != nil {
			r := Run{Arm: c.Arm, Condition: c.Condition}
			all[r.cell()] = c.chosen
		}
	}
	return all
}

// compare fills in what arms lose by not being tuned.
func (t *Tuning) compare(cells []*cell) {
	at := map[string]*cell{}
	for _, c := range cells {
		at[c.runs[0].cell()] = c
	}
	for _, choice := range t.Choices {
		by := func(arm string) *cell {
			r := Run{Arm: arm, Condition: choice.Condition}
			return at[r.cell()]
		}
		if base, tuned := by(choice.Arm), by(tunedName(choice.Arm)); base != nil && tuned != nil {
			d := paired(base, tuned)
			d.Arm = choice.Arm
			t.Losses = append(t.Losses, d)
		}
	}
	var arms []string
	for _, c := range t.Choices {
		if !slices.Contains(arms, c.Arm) {
			arms = append(arms, c.Arm)
			t.Overall = append(t.Overall, overall(c.Arm, t.Losses))
		}
	}
}

// Text is the choice in a line.
func (c Choice) Text() string {
	if c.Chosen == nil {
		return fmt.Sprintf("%s, %s: nothing is chosen yet", c.Arm, ConditionText(c.Condition))
	}
	return fmt.Sprintf("%s, %s: %s", c.Arm, ConditionText(c.Condition), ConditionText(c.Chosen))
}
