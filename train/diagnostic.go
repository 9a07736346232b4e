package train

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
)

// Files of a run that had a step whose loss or gradient was no finite number: diagnostic/ is the first such step, and
// beside its description lies the state that it began with, as in a checkpoint.
const (
	diagnosticDir     = "diagnostic"
	diagnosticJSON    = "diagnostic.json"
	diagnosticVersion = 1
)

// mostSkipped is how many steps in a row are skipped before a run gives up: it does not get over them.
const mostSkipped = 10

// ErrNonfinite is wrapped by the error of a run that stopped at a loss or gradient that is no finite number.
var ErrNonfinite = errors.New("training has diverged")

// Diagnostic is diagnostic.json: a step whose loss or gradient was no finite number.
type Diagnostic struct {
	Version int     `json:"version"`
	Step    int     `json:"step"` // from 1
	Loss    Number  `json:"loss"`
	Norm    Number  `json:"gradient_norm"`
	LR      float64 `json:"lr"`
	Seed    uint64  `json:"seed"`
	Origin  Origin  `json:"origin"`

	Batches  []int    `json:"batches"`            // counted from 0 through all epochs
	Examples []string `json:"examples,omitempty"` // of them, where the data name them: file:row
}

// Number is a float that may be infinite or NaN, which JSON has no numbers for: those are strings.
type Number float64

// MarshalJSON gives the number, or its name as a string.
func (n Number) MarshalJSON() ([]byte, error) {
	text := strconv.FormatFloat(float64(n), 'g', -1, 64)
	if !finite(float64(n)) {
		text = strconv.Quote(text)
	}
	return []byte(text), nil
}

// UnmarshalJSON reads what MarshalJSON gives.
func (n *Number) UnmarshalJSON(text []byte) error {
	s := string(text)
	if unquoted, err := strconv.Unquote(s); err == nil {
		s = unquoted
	}
	v, err := strconv.ParseFloat(s, 64)
	*n = Number(v)
	return err
}

// examplesOf is a job that can say which examples a batch is of.
type examplesOf interface{ Examples(batch int) []string }

// nonfinite deals with the step at hand, whose loss or gradient is no finite number: it writes the diagnostic and
// skips the step, or returns the error that ends the run. The parameters are as they were before it.
func (l *Loop) nonfinite(loss, norm float64) error {
	d, err := l.diagnose(loss, norm)
	if err != nil {
		return fmt.Errorf("step %d: loss is %g and the gradient's norm %g; find where: %w", l.progress.Step+1, loss, norm, err)
	}
	if err := l.keepDiagnostic(d); err != nil {
		return err
	}
	p := &l.progress
	what := fmt.Sprintf("step %d: loss is %g and the gradient's norm %g: %v", d.Step, loss, norm, d.Origin)
	replay := "deeplora replay --run " + l.Out + " computes it again"
	switch {
	case !l.SkipNonfinite:
		return fmt.Errorf("%s: %w; start again with a lower --lr, or with --clip, or go on past it with --resume --on-nonfinite skip; %s", what, ErrNonfinite, replay)
	case p.SkippedInRow+1 >= mostSkipped:
		return fmt.Errorf("%s: %d such steps in a row: %w; start again with a lower --lr, or with --clip; %s", what, mostSkipped, ErrNonfinite, replay)
	}
	p.Step++
	p.Skipped++
	p.SkippedInRow++
	l.Notice("%s: skipped", what)
	return l.metrics.skipped(d)
}

// diagnose computes the step at hand once more and finds where its numbers stop being finite.
func (l *Loop) diagnose(loss, norm float64) (*Diagnostic, error) {
	n := l.progress.Step
	batches, u, err := l.plan(n) // anew: a step's arguments are used up
	if err != nil {
		return nil, err
	}
	d := &Diagnostic{Version: diagnosticVersion, Step: n + 1, Loss: Number(loss), Norm: Number(norm), LR: u.lr, Seed: l.Seed}
	for i := n * l.Accumulate; i < (n+1)*l.Accumulate; i++ {
		d.Batches = append(d.Batches, i)
		if job, ok := l.job.(examplesOf); ok {
			d.Examples = append(d.Examples, job.Examples(i)...)
		}
	}
	d.Origin, err = l.program.trace(batches, u)
	return d, err
}

// keepDiagnostic writes diagnostic/, unless there is one of an earlier step: what follows a step that was skipped may
// follow from it.
func (l *Loop) keepDiagnostic(d *Diagnostic) error {
	path := filepath.Join(l.Out, diagnosticDir)
	if before, err := ReadDiagnostic(l.Out); err == nil && before.Step < d.Step {
		return nil
	}
	if err := os.RemoveAll(path); err != nil {
		return fmt.Errorf("write diagnostic: %w", err)
	}
	err := atomicfile.WriteDir(path, func(tmp string) error {
		if err := writeState(tmp, l.progress, l.job, l.program.state); err != nil {
			return err
		}
		return jsonfile.Write(filepath.Join(tmp, diagnosticJSON), d)
	})
	if err != nil {
		return fmt.Errorf("write diagnostic: %w", err)
	}
	return nil
}

// ReadDiagnostic reads the diagnostic of a run.
func ReadDiagnostic(run string) (*Diagnostic, error) {
	var d Diagnostic
	path := filepath.Join(run, diagnosticDir, diagnosticJSON)
	err := jsonfile.Read(path, &d)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s has no %s: no step of it had a loss or gradient that is no finite number: %w", run, diagnosticDir, fs.ErrNotExist)
	case err != nil:
		return nil, err
	case d.Version != diagnosticVersion:
		return nil, fmt.Errorf("%s: version %d; this program reads version %d", path, d.Version, diagnosticVersion)
	}
	return &d, nil
}

// Examples names the examples of a batch by file and row.
func (t *trainer) Examples(batch int) []string {
	split := t.in.train.split
	var names []string
	for _, i := range t.order.Batch(batch) {
		names = append(names, fmt.Sprintf("%s:%d", split.Source.File, split.Examples[i].Row))
	}
	return names
}

// skipped logs a step without an update.
func (l *metricsLog) skipped(d *Diagnostic) error {
	return l.line(map[string]any{"step": d.Step, "loss": nil, "lr": d.LR, "gradient_norm": nil, "skipped": d.Origin.String()})
}

// sameNumber reports whether two numbers are equal, NaN to NaN.
func sameNumber(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
