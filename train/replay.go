package train

import (
	"context"
	"fmt"
	"path/filepath"
)

// Replayed is what a step of a diagnostic gave when it was computed again.
type Replayed struct {
	Diagnostic *Diagnostic `json:"diagnostic"` // as it was found
	Loss       Number      `json:"loss"`       // now
	Norm       Number      `json:"gradient_norm"`
	Origin     *Origin     `json:"origin"` // now; null where the numbers are finite
	Same       bool        `json:"same"`   // as it was found
}

// Replay computes the step of a run's diagnostic again, from the state that lies beside it, with the run's model,
// data and settings. Nothing of the run is changed.
func Replay(ctx context.Context, o Options) (*Replayed, error) {
	then, err := ReadRunConfig(o.Out)
	if err != nil {
		return nil, err
	}
	d, err := ReadDiagnostic(o.Out)
	if err != nil {
		return nil, err
	}
	t := newTrainer(then.Config, o)
	defer t.close()
	if err := t.rebuild(ctx, then, "replay"); err != nil {
		return nil, err
	}
	return t.Replay(d)
}

// Replay computes the step of a diagnostic in Out again.
func (l *Loop) Replay(d *Diagnostic) (*Replayed, error) {
	path := filepath.Join(l.Out, diagnosticDir)
	var err error
	if l.progress, err = loadCheckpoint(path, l.job, l.program.state); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	if l.progress.Step != d.Step-1 {
		return nil, fmt.Errorf("replay: %s: %w: the state is of step %d, the diagnostic of step %d", path, ErrCorrupt, l.progress.Step, d.Step)
	}
	batches, u, err := l.plan(l.progress.Step)
	if err != nil {
		return nil, err
	}
	loss, norm, err := l.program.run(batches, u)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	r := &Replayed{Diagnostic: d, Loss: Number(loss), Norm: Number(norm)}
	if finite(loss) && finite(norm) {
		return r, nil
	}
	again, err := l.diagnose(loss, norm)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	r.Origin = &again.Origin
	r.Same = sameNumber(loss, float64(d.Loss)) && sameNumber(norm, float64(d.Norm)) && again.Origin == d.Origin
	return r, nil
}
