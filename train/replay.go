package train

import (
	"context"

	"github.com/deeplora/deeplora/train/loop"
)

// Replay computes the step of a run's diagnostic again, from the state that lies beside it, with the run's model, data
// and settings. Nothing of the run is changed.
func Replay(ctx context.Context, o Options) (*loop.Replayed, error) {
	then, err := ReadRunConfig(o.Out)
	if err != nil {
		return nil, err
	}
	d, err := loop.ReadDiagnostic(o.Out)
	if err != nil {
		return nil, err
	}
	if err := then.resumable(o.Out); err != nil {
		return nil, err
	}
	r := newRun(then.Config, o)
	defer r.close()
	if err := r.rebuild(ctx, then, "replay"); err != nil {
		return nil, err
	}
	return r.loop.Replay(d)
}
