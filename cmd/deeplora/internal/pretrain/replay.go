package pretrain

import (
	"context"
	"time"

	"github.com/deeplora/deeplora/train/loop"
)

// Replay computes the step of a run's diagnostic again, as train.Replay does. Nothing of the run is changed.
func Replay(ctx context.Context, o Options) (*loop.Replayed, error) {
	then, err := ReadRunConfig(o.Out)
	if err != nil {
		return nil, err
	}
	d, err := loop.ReadDiagnostic(o.Out)
	if err != nil {
		return nil, err
	}
	r := &run{config: then.Config, options: o, started: time.Now(), Reporter: loop.Reporter{On: o.OnEvent}, replay: true}
	defer r.close()
	if err := r.readAgain(ctx, then, "replay"); err != nil {
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	return r.loop.Replay(d)
}
