package study

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/train"
)

// Run is one training of a study.
type Run struct {
	Key       string       // of Config: the name of its directory
	Arm       string       // what competes: the method, or the variant's name
	Condition []Setting    // what else varies, but for the seed: runs of one condition and seed are a pair
	Config    train.Config // resolved, as far as it follows from the settings

	Stage stage     // what the run is for
	Tried []Setting // the combination of the arm's grid that it has, where the arm is tuned; nil: its defaults
}

// stage is what a run of a tuned study is for.
type stage string

const (
	stageDefault stage = ""       // evaluate an arm at its defaults
	stageTuning  stage = "tuning" // choose a combination of the arm's grid
	stageTuned   stage = "tuned"  // evaluate the arm at the combination that was chosen
	stageGrid    stage = "grid"   // evaluate any combination: how much the choice matters
)

// Setting is a setting that varies over a study, and one of its values.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ConditionText is a condition in a line: "task stsb, shots 16", or "all" where nothing varies. A rate of 0 leaves it to the run.
func ConditionText(c []Setting) string {
	if len(c) == 0 {
		return "all"
	}
	parts := make([]string, len(c))
	for i, s := range c {
		parts[i] = s.Name + " " + s.Value
		if s == (Setting{"lr", "0"}) {
			parts[i] = "lr by default"
		}
	}
	return strings.Join(parts, ", ")
}

// String is the run in a line.
func (r Run) String() string {
	text := fmt.Sprintf("%s, %s, seed %d", r.Arm, ConditionText(r.Condition), r.Config.Seed)
	if r.Stage == stageTuning || r.Stage == stageGrid {
		text += ", " + ConditionText(r.Tried)
	}
	if r.Config.Fold != "" {
		text += ", fold " + r.Config.Fold
	}
	return text
}

// id tells runs of a study apart: an arm may be tuned to its defaults, and both are one run on disk.
func (r *Run) id() string { return r.Key + "\x00" + r.Arm }

// cell names the arm and condition of a run: what its seeds are averaged over.
func (r *Run) cell() string { return r.Arm + "\x00" + ConditionText(r.Condition) }

// maxRuns is the largest grid accepted: more is likely a typing error.
const maxRuns = 100_000

// Runs multiplies an experiment out. Runs are in an order in which the first of them already compare every arm:
// seed by seed, condition by condition, arm by arm. Paths are made
// absolute. It is an error if settings are not valid, or if two combinations are one run.
func (e *Experiment) Runs() ([]Run, error) { return e.runsWith(nil) }

// runsWith are the runs, and after each of an arm and condition for which a combination of its grid was chosen (by
// Run.cell) the one at that.
func (e *Experiment) runsWith(chosen map[string]Fields) ([]Run, error) {
	base, err := e.base()
	if err != nil {
		return nil, err
	}
	if n := e.size(); n > maxRuns {
		return nil, fmt.Errorf("grid: it multiplies out to more than %d runs", maxRuns)
	}
	var runs []Run
	var faults []error
	seen := map[string]string{}
	for _, point := range points(e.Grid) {
		for _, v := range e.variants() {
			run, err := newRun(base, point, v, nil)
			if err != nil {
				faults = append(faults, err)
				continue
			}
			if other, double := seen[run.Key]; double {
				faults = append(faults, fmt.Errorf("%s is the same run as %s", run, other))
			}
			seen[run.Key] = run.String()
			runs = append(runs, run)
			if tuned, ok := chosen[run.cell()]; ok {
				best, err := newRun(base, point, v, tuned)
				if err != nil {
					return nil, err // a run that was tuned by had the same settings
				}
				best.Arm, best.Stage, best.Tried = tunedName(run.Arm), stageTuned, tuned.settings()
				runs = append(runs, best)
			}
		}
	}
	if err := firstFaults(faults); err != nil {
		return nil, err
	}
	return runs, e.checkNames(runs)
}

// size is the number of runs, or more than maxRuns.
func (e *Experiment) size() int {
	return max(1, len(e.Variants)) * sizeOf(e.Grid)
}

// variants are what competes.
func (e *Experiment) variants() []Named {
	if len(e.Variants) == 0 {
		return e.methods()
	}
	return e.Variants
}

// methods makes variants of the grid's methods; without any there is one of the name of the method that is set.
func (e *Experiment) methods() []Named {
	for _, l := range e.Grid {
		if l.Name != "method" {
			continue
		}
		var variants []Named
		for _, v := range l.Values {
			variants = append(variants, Named{Fields: Fields{{"method", v}}})
		}
		return variants
	}
	return []Named{{}}
}

// points are the combinations of a grid without its methods: the seed turns slowest, then the first list.
func points(grid Lists) []Fields {
	lists := slices.DeleteFunc(slices.Clone(grid), func(l List) bool { return l.Name == "method" })
	slices.SortStableFunc(lists, func(a, b List) int {
		switch {
		case a.Name == "seed" && b.Name != "seed":
			return -1
		case b.Name == "seed" && a.Name != "seed":
			return 1
		}
		return 0
	})
	return combinations(lists)
}

// newRun is the run of one point of the grid and one variant, at what is tried for it.
func newRun(base train.Config, point Fields, v Named, tried Fields) (Run, error) {
	c := base
	if err := point.apply(&c, "grid"); err != nil {
		return Run{}, err
	}
	if err := v.Fields.apply(&c, "variants"); err != nil {
		return Run{}, err
	}
	if err := tried.apply(&c, "tune: grid"); err != nil {
		return Run{}, err
	}
	if err := c.Absolute(); err != nil {
		return Run{}, err
	}
	r := Run{Arm: v.Name, Config: c}
	if r.Arm == "" {
		r.Arm = c.Method
	}
	for _, f := range point {
		if f.Name != "seed" {
			r.Condition = append(r.Condition, Setting{f.Name, valueText(f.Value)})
		}
	}
	if err := r.Config.Validate(); err != nil {
		where := r.Condition
		if len(tried) > 0 {
			where = append(where, tried.settings()...)
		}
		return Run{}, fmt.Errorf("%s, %s: %w", r.Arm, ConditionText(where), err)
	}
	if err := r.Config.Resolve(); err != nil {
		return Run{}, err
	}
	var err error
	r.Key, err = r.Config.Key()
	return r, err
}

// checkNames checks what names arms: the baseline, and rows of published numbers.
func (e *Experiment) checkNames(runs []Run) error {
	names := arms(runs)
	for _, v := range e.variants() { // whose runs at chosen settings may be still to come
		if arm := e.armOf(v); len(e.gridOf(v)) > 0 && !slices.Contains(names, tunedName(arm)) {
			names = append(names, tunedName(arm))
		}
		if e.Tune != nil && strings.HasSuffix(v.Name, tunedSuffix) {
			return fmt.Errorf("variants: %q ends as the names of tuned arms do; give it another name", v.Name)
		}
	}
	if e.Baseline != "" && !slices.Contains(names, e.Baseline) {
		return fmt.Errorf("baseline: %q does not compete; nearest: %s (there are: %s)", e.Baseline, nearest.Of(e.Baseline, names), strings.Join(names, ", "))
	}
	seen := map[string]bool{}
	for _, r := range runs {
		if seen[r.String()] {
			return fmt.Errorf("variants: two are called %q; give each a name of its own", r.Arm)
		}
		seen[r.String()] = true
	}
	if e.Published == nil {
		return nil
	}
	known := append([]string{armField}, train.Settings().Names()...)
	for i, row := range e.Published.Rows {
		for _, f := range row.Where {
			if !slices.Contains(known, f.Name) {
				return fmt.Errorf("published: row %d: unknown setting %q; nearest: %s", i+1, f.Name, nearest.Of(f.Name, known))
			}
		}
	}
	return nil
}

// baseline is the arm that others are compared with.
func (e *Experiment) baseline(runs []Run) string {
	if e.Baseline != "" || len(runs) == 0 {
		return e.Baseline
	}
	return runs[0].Arm
}

// firstFaults joins faults, the first few of many.
func firstFaults(faults []error) error {
	const shown = 5
	if n := len(faults) - shown; n > 0 {
		faults = append(faults[:shown], fmt.Errorf("and %d more of the kind", n))
	}
	return errors.Join(faults...)
}
