package study

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/deeplora/deeplora/train"
)

// Tune is how a study chooses settings for its arms. Each arm tries every combination of its grid on splits of training
// examples alone: a draw, of the condition's size and by its rule, is cut into folds, and a run trains on all of them but
// the one that it is measured on (train.Config.Fold). The combination with the best mean is the arm's in that condition.
type Tune struct {
	Grid        Lists    `json:"grid"`            // of every arm without one of its own
	Seeds       []uint64 `json:"seeds,omitempty"` // of the draws; nil: those of the study
	ShotsFrom   string   `json:"shots-from"`      // "train": no other examples are looked at
	Folds       int      `json:"folds"`           // that a draw is cut into
	FoldsRun    int      `json:"folds-run"`       // how many of them are held in turn
	Sensitivity bool     `json:"sensitivity"`     // evaluate every combination on the study's seeds too
}

const (
	shotsFromTrain = "train"
	defaultFolds   = 4
)

// UnmarshalJSON reads the object strictly. What is absent has its default.
func (t *Tune) UnmarshalJSON(text []byte) error {
	type plain Tune
	const absent = math.MinInt
	p := plain{ShotsFrom: shotsFromTrain, Folds: defaultFolds, FoldsRun: absent}
	if !bytes.HasPrefix(text, []byte("{")) {
		return fmt.Errorf(`tune: %s; want an object with a grid, {"grid": {"lr": […]}}`, text)
	}
	if err := decode(text, &p); err != nil {
		return fmt.Errorf("tune: %w", err)
	}
	if p.FoldsRun == absent {
		p.FoldsRun = p.Folds
	}
	*t = Tune(p)
	return nil
}

// ownGrid is the tune of a variant.
type ownGrid struct {
	Grid Lists `json:"grid"` // empty: the variant is not tuned
}

// UnmarshalJSON reads the object strictly.
func (g *ownGrid) UnmarshalJSON(text []byte) error {
	var p struct {
		Grid *Lists `json:"grid"` // nil: absent
	}
	if err := decode(text, &p); err != nil {
		return fmt.Errorf("variants: tune: %w", err)
	}
	if p.Grid == nil {
		return errors.New(`variants: tune: it has no grid; {"grid": {}} says that a variant has nothing to tune`)
	}
	g.Grid = *p.Grid
	return nil
}

// check returns every fault of the tuning that shows before the combinations are made. given are the parts of the file
// that settings stand in already.
func (t *Tune) check(variants []Named, given map[string]string) error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("tune: "+format, args...))
		}
	}
	check(t.ShotsFrom == shotsFromTrain, "shots-from: %q is unknown; want %q: settings are chosen by training examples alone", t.ShotsFrom, shotsFromTrain)
	check(t.Folds >= 2, "folds: %d; a draw is cut into at least two", t.Folds)
	check(t.Folds < 2 || t.FoldsRun >= 1 && t.FoldsRun <= t.Folds, "folds-run: %d of %d folds; want 1 to %d", t.FoldsRun, t.Folds, t.Folds)
	check(t.Seeds == nil || len(t.Seeds) > 0, "seeds: there are none; leave the field out to take the study's")
	check(len(slices.Compact(slices.Sorted(slices.Values(t.Seeds)))) == len(t.Seeds), "seeds: one is there twice")
	needed := len(variants) == 0 || slices.ContainsFunc(variants, func(v Named) bool { return v.Tune == nil })
	check(len(t.Grid) > 0 || !needed, "grid: it has no settings to try")
	faults = append(faults, checkTuned("tune: grid", t.Grid, func(name string) string { return given[name] })...)
	for i, v := range variants {
		grid, part := t.Grid, "tune: grid"
		if v.Tune != nil {
			grid, part = v.Tune.Grid, fmt.Sprintf("variants: variant %d: tune: grid", i+1)
			faults = append(faults, checkTuned(part, grid, func(name string) string { return given[name] })...)
		}
		for _, l := range grid {
			if slices.ContainsFunc(v.Fields, func(f Field) bool { return f.Name == l.Name }) {
				faults = append(faults, fmt.Errorf(`%s: %q is what variant %d sets; leave it out of the variant, or give that a grid without it ("tune": {"grid": {…}})`, part, l.Name, i+1))
			}
		}
	}
	return errors.Join(faults...)
}

// checkTuned returns the faults of a grid; in says where else a setting stands.
func checkTuned(part string, grid Lists, in func(name string) string) (faults []error) {
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: "+format, append([]any{part}, args...)...))
	}
	for _, l := range grid {
		row, err := train.Settings().Row(l.Name)
		switch why := untunable(row.Name, row.Part); {
		case err != nil:
			fault("%w", err)
		case why != "":
			fault("%q cannot be tuned: %s", l.Name, why)
		case in(l.Name) != "":
			fault("setting %q is in %s already; a setting is fixed, varied or tuned", l.Name, in(l.Name))
		case len(l.Values) == 0:
			fault("%q has no values", l.Name)
		case repeats(l.Values):
			fault("%q has a value twice", l.Name)
		}
	}
	switch n := sizeOf(grid); {
	case len(grid) == 0 || len(faults) > 0:
	case n < 2:
		fault("there is one combination: nothing to choose from")
	case n > maxRuns:
		fault("it multiplies out to more than %d combinations", maxRuns)
	}
	return faults
}

// untunable says why a setting cannot be tuned; "": it can.
func untunable(name, part string) string {
	switch {
	case name == "seed" || name == "head-seed":
		return "seeds are what scores are averaged over"
	case name == "method":
		return "methods are what competes"
	case name == "steps" || name == "epochs":
		return "every arm gets the same number of steps"
	case name == "model" || name == "from" || name == "reference" || part == "data":
		return "it changes what the arms are compared on"
	case name == "metric":
		return "it is what the best is chosen by"
	}
	return ""
}

// gridOf is what a variant tries; empty: it is not tuned.
func (e *Experiment) gridOf(v Named) Lists {
	switch {
	case e.Tune == nil:
		return nil
	case v.Tune != nil:
		return v.Tune.Grid
	}
	return e.Tune.Grid
}

// combinations are those of the lists' values, the first list turning slowest. Without a list there is one, of nothing.
func combinations(lists Lists) []Fields {
	all := []Fields{nil}
	for _, l := range lists {
		var longer []Fields
		for _, c := range all {
			for _, v := range l.Values {
				longer = append(longer, append(slices.Clone(c), Field{l.Name, v}))
			}
		}
		all = longer
	}
	return all
}

// sizeOf is the number of combinations, or more than maxRuns.
func sizeOf(lists Lists) int {
	n := 1
	for _, l := range lists {
		if n *= len(l.Values); n > maxRuns {
			break
		}
	}
	return n
}

// settings are fields as a reader sees them.
func (f Fields) settings() []Setting {
	list := make([]Setting, len(f))
	for i, field := range f {
		list[i] = Setting{field.Name, valueText(field.Value)}
	}
	return list
}

// tunedName is what an arm is called at the settings that were chosen for it.
func tunedName(arm string) string { return arm + tunedSuffix }

const tunedSuffix = ", tuned"

// TuningRuns are the runs that settings are chosen by, seed by seed, condition by condition and fold by fold, and after
// them, where the experiment asks for them, those that evaluate every combination on the study's seeds. It is an error
// if arms try different numbers of combinations, or if two are one run.
func (e *Experiment) TuningRuns() ([]Run, error) {
	if e.Tune == nil {
		return nil, nil
	}
	if err := e.sameBudget(); err != nil {
		return nil, err
	}
	grid := slices.Clone(e.Grid)
	if e.Tune.Seeds != nil {
		grid = slices.DeleteFunc(grid, func(l List) bool { return l.Name == "seed" })
		grid = append(grid, seedList(e.Tune.Seeds))
	}
	if n := sizeOf(grid) * e.Tune.FoldsRun; n > maxRuns || n < 0 {
		return nil, fmt.Errorf("tune: it multiplies out to more than %d runs", maxRuns)
	}
	var folds []Fields
	for i := range e.Tune.FoldsRun {
		folds = append(folds, Fields{{"fold", json.RawMessage(fmt.Sprintf(`"%d/%d"`, i+1, e.Tune.Folds))}})
	}
	runs, err := e.tryAll(points(grid), folds, stageTuning)
	if err == nil && e.Tune.Sensitivity {
		var more []Run
		more, err = e.tryAll(points(e.Grid), []Fields{nil}, stageGrid)
		runs = append(runs, more...)
	}
	return runs, err
}

func seedList(seeds []uint64) List {
	l := List{Name: "seed"}
	for _, seed := range seeds {
		l.Values = append(l.Values, json.RawMessage(fmt.Sprint(seed)))
	}
	return l
}

// tryAll are the runs of every combination of every tuned arm.
func (e *Experiment) tryAll(points, folds []Fields, stage stage) ([]Run, error) {
	base, err := e.base()
	if err != nil {
		return nil, err
	}
	var runs []Run
	var faults []error
	seen := map[string]string{}
	for _, point := range points {
		for _, fold := range folds {
			for _, v := range e.variants() {
				grid := e.gridOf(v)
				if len(grid) == 0 {
					continue
				}
				for _, tried := range combinations(grid) {
					run, err := newRun(base, point, v, append(slices.Clone(tried), fold...))
					if err != nil {
						faults = append(faults, err)
						continue
					}
					run.Stage, run.Tried = stage, tried.settings()
					if other, double := seen[run.Key]; double {
						faults = append(faults, fmt.Errorf("tune: %s is the same run as %s", run, other))
					}
					seen[run.Key] = run.String()
					if runs = append(runs, run); len(runs) > maxRuns {
						return nil, fmt.Errorf("tune: it multiplies out to more than %d runs", maxRuns)
					}
				}
			}
		}
	}
	return runs, firstFaults(faults)
}

// sameBudget is the error for arms that try more combinations than others: the more tries, the better the best.
func (e *Experiment) sameBudget() error {
	first, n := "", 0
	for _, v := range e.variants() {
		tries := sizeOf(e.gridOf(v))
		name := e.armOf(v)
		switch {
		case len(e.gridOf(v)) == 0:
		case n == 0:
			first, n = name, tries
		case tries != n:
			return fmt.Errorf("tune: %s tries %d combinations and %s %d; arms are tuned alike if they try as many", first, n, name, tries)
		}
	}
	return nil
}

// armOf is what a variant competes as. Settings that are not valid are newRun's to report.
func (e *Experiment) armOf(v Named) string {
	if v.Name != "" {
		return v.Name
	}
	c, err := e.base()
	if err == nil {
		err = v.Fields.apply(&c, "variants")
	}
	if err != nil {
		return ""
	}
	return c.Method
}
