package study

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/train"
)

// Check opens what the runs read that are still to be made: open is called once for each model, data and draw among them,
// whatever the seed. Equal faults are one error, which names the conditions (and the arms, where others of the condition
// have no fault). out is the study's directory, which need not be there; e is nil for the experiment that is saved in it.
func Check(ctx context.Context, out string, e *Experiment, open func(context.Context, train.Config) error) error {
	if e == nil {
		var err error
		if e, err = ReadExperiment(filepath.Join(out, ExperimentFile)); err != nil {
			return nil // Open says so
		}
	}
	runs, err := e.Runs()
	if err != nil {
		return nil // likewise
	}
	tuning, err := e.TuningRuns()
	if err != nil {
		return nil
	}
	runs = slices.DeleteFunc(append(runs, tuning...), func(r Run) bool {
		j := Job{Run: r, Dir: filepath.Join(out, runsDir, r.Key)}
		return j.Finished()
	})
	var order []string
	by := map[string][]Run{} // by fault
	faults := map[string]error{}
	opened := map[string]error{}
	for _, r := range runs {
		what, err := r.reads()
		if err != nil {
			return err
		}
		fault, seen := opened[what]
		if !seen {
			if fault = open(ctx, r.Config); ctx.Err() != nil {
				return ctx.Err()
			}
			opened[what] = fault
		}
		if fault == nil {
			continue
		}
		text := fault.Error()
		if faults[text] == nil {
			order, faults[text] = append(order, text), fault
		}
		by[text] = append(by[text], r)
	}
	var all []error
	for _, text := range order {
		fault := faults[text]
		if where := whereOf(by[text], runs); where != ConditionText(nil) { // of every run
			fault = fmt.Errorf("%s: %w", where, fault)
		}
		all = append(all, fault)
	}
	return errors.Join(all...)
}

// reads identifies what a run opens: it is the same for runs that differ in their seed or in what is trained.
func (r *Run) reads() (string, error) {
	table, c := train.Settings(), train.Default()
	for _, row := range table {
		switch row.Name {
		case "model", "from", "pooling", "fresh-head", "train-pooler", "class-weights", "metric", "threshold", "batch", "drop-last", "reference", "scope", "target", "min-dim":
		default:
			if row.Part != "data" {
				continue
			}
		}
		row.Copy(&c, &r.Config)
	}
	if r.Config.Whole() {
		c.Method = r.Config.Method // no kernels are chosen
	}
	if _, parts, cut := strings.Cut(c.Fold, "/"); cut {
		c.Fold = "1/" + parts
	}
	return c.Key()
}

// whereOf names the conditions of runs that have a fault, among all: with their arms where others have none.
func whereOf(faulty, all []Run) string {
	const shown = 5
	var places []string
	for _, condition := range conditionsOf(faulty) {
		of := func(r Run) bool { return ConditionText(r.Condition) == condition }
		at, arms, others := condition, armsWhere(faulty, of), armsWhere(all, of)
		if len(arms) < len(others) {
			at = strings.Join(arms, " and ") + ", " + condition
		}
		places = append(places, at)
	}
	if n := len(places) - shown; n > 0 {
		places = append(places[:shown], fmt.Sprintf("and %d more", n))
	}
	return strings.Join(places, "; ")
}

func conditionsOf(runs []Run) (texts []string) {
	for _, r := range runs {
		if text := ConditionText(r.Condition); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}

func armsWhere(runs []Run, of func(Run) bool) (names []string) {
	for _, r := range runs {
		if of(r) && !slices.Contains(names, r.Arm) {
			names = append(names, r.Arm)
		}
	}
	return names
}
