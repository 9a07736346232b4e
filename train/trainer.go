package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rng"
)

// ErrInterrupted is wrapped by the error of a run that was cancelled and saved: --resume goes on with it.
var ErrInterrupted = errors.New("interrupted, state saved")

// Options are what a run needs beside its settings.
type Options struct {
	Backend    compute.Backend
	Out        string // the run directory
	Resume     bool   // go on with the run in Out
	Hub        data.HubOptions
	Provenance Provenance  // backend, plugin, threads and versions; the files are filled in
	OnEvent    func(Event) // may be nil
}

// trainer is one run in memory.
type trainer struct {
	Options
	config    Config
	in        *inputs
	dir       *runDir
	program   *program
	merger    *merger    // opened at the first evaluation, as
	predictor *Predictor // this is
	order     *data.Order
	progress  progress
	saved     int // step of the newest checkpoint
	metrics   *metricsLog
	started   time.Time

	initialised time.Duration // what drawing the adapter took
	firstStep   time.Duration // from started until the first step was done
}

// Train trains an adapter as the settings say, into the run directory o.Out, and returns what it wrote to
// result.json. When ctx is cancelled it finishes the step in hand, saves a checkpoint and returns an error
// that wraps ErrInterrupted.
func Train(ctx context.Context, c Config, o Options) (*Result, error) {
	t := &trainer{Options: o, config: c, started: time.Now()}
	defer t.close()
	if o.Resume && isRun(o.Out) {
		if done, err := t.reopen(ctx); done != nil || err != nil {
			return done, err
		}
	} else if err := t.create(ctx); err != nil {
		return nil, err
	}
	if err := t.loop(ctx); err != nil {
		return nil, err
	}
	r, err := t.finish(ctx)
	return r, t.orInterrupted(ctx, err)
}

// orInterrupted is err or, where err says no more than that ctx was cancelled, what that means for the run.
func (t *trainer) orInterrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w at step %d of %d: %w", ErrInterrupted, t.progress.Step, t.config.Steps, context.Cause(ctx))
}

// loop trains, evaluates and saves until the last step. What is due is derived from what has been done, so
// that a run that was stopped anywhere goes on as if it had not been.
func (t *trainer) loop(ctx context.Context) error {
	for {
		step := t.progress.Step
		if t.due(t.config.EvalEvery) && t.progress.Evaluated < step && ctx.Err() == nil {
			if err := t.evaluateStep(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
		interrupted := ctx.Err() != nil
		if t.saved < step && (interrupted || t.due(t.config.SaveEvery) || t.progress.BestStep == step || t.over()) {
			if err := t.save(); err != nil {
				return err
			}
		}
		switch {
		case interrupted:
			return t.orInterrupted(ctx, ctx.Err())
		case t.over():
			return nil
		}
		if err := t.step(); err != nil {
			return err
		}
	}
}

// due reports whether something that happens every n steps happens now; the end is not its business.
func (t *trainer) due(n int) bool {
	return n > 0 && t.progress.Step > 0 && t.progress.Step%n == 0 && t.progress.Step < t.config.Steps
}

// over reports whether the run has had its steps, or has stopped getting better.
func (t *trainer) over() bool {
	stalled := t.config.EarlyStop > 0 && t.progress.SinceBest >= t.config.EarlyStop
	return stalled || t.progress.Step >= t.config.Steps
}

// step makes one optimizer step.
func (t *trainer) step() error {
	c, began := &t.config, time.Now()
	batches, u, err := t.plan(t.progress.Step)
	if err != nil {
		return err
	}
	loss, norm, err := t.program.run(batches, u)
	if err != nil {
		return err
	}
	if math.IsNaN(loss) || math.IsInf(loss, 0) || math.IsNaN(norm) || math.IsInf(norm, 0) {
		return fmt.Errorf("step %d: loss is %g and the gradient's norm %g: training has diverged; start again with a lower --lr, or with --clip", u.number, loss, norm)
	}
	tokens := 0
	for _, b := range batches {
		tokens += b.Tokens
	}
	seconds := time.Since(began).Seconds()
	t.progress.Step++
	t.progress.LastLoss = loss
	t.progress.Tokens += int64(tokens)
	t.progress.TrainSeconds += seconds
	if t.firstStep == 0 {
		t.firstStep = time.Since(t.started)
	}
	t.emit(Step{t.progress.Step, c.Steps, loss, u.lr, float64(tokens) / seconds})
	return t.metrics.step(t.progress.Step, loss, u.lr, norm, tokens, seconds)
}

// plan says what step number n, from 0, computes: its batches, its rate and its dropout keys.
func (t *trainer) plan(n int) ([]data.Batch, update, error) {
	c := &t.config
	u := update{number: n + 1, lr: rate(n, c.Steps, c.Warmup, c.LR, c.DecayRatio)}
	var batches []data.Batch
	for i := n * c.Accumulate; i < (n+1)*c.Accumulate; i++ {
		b, err := t.batch(i)
		if err != nil {
			return nil, u, err
		}
		u.total += realExamples(b)
		key := rng.New(c.Seed, "dropout").At(uint64(i))
		u.dropout = append(u.dropout, [2]uint32{key.Uint32(), key.Uint32()})
		batches = append(batches, b)
	}
	return batches, u, nil
}

// batch assembles training batch i, counted through all epochs.
func (t *trainer) batch(i int) (data.Batch, error) {
	c, rows := &t.config, t.in.train.rows
	index := t.order.Step(i)
	length := data.Padding(c.Pad).Length(data.Longest(rows, index), c.MaxLength)
	return data.Assemble(rows, t.in.train.labels, index, c.Batch, length, t.in.checkpoint.Config.PadTokenID)
}

// realExamples counts a batch's rows that are not filler.
func realExamples(b data.Batch) float64 {
	total := 0.0
	for _, w := range b.Weights {
		total += float64(w)
	}
	return total
}

// save writes a checkpoint and removes those no longer kept.
func (t *trainer) save() error {
	var err error
	if t.progress.MetricsBytes, err = t.metrics.sync(); err != nil {
		return err
	}
	path, err := saveCheckpoint(t.Out, t.progress, t.adapterInfo(), t.program.state, t.frozenHead())
	if err != nil {
		return err
	}
	t.saved = t.progress.Step
	t.emit(Checkpointed{t.progress.Step, path})
	return pruneCheckpoints(t.Out, t.config.Keep, t.progress.BestStep)
}

func (t *trainer) emit(e Event) {
	if t.OnEvent != nil {
		t.OnEvent(e)
	}
}

func (t *trainer) notice(format string, args ...any) {
	t.emit(Notice{fmt.Sprintf(format, args...)})
}

// phase reports progress of a named part.
func (t *trainer) phase(name string) func(done, total int) {
	return func(done, total int) { t.emit(Phase{name, done, total}) }
}

// close frees graphs, files and the lock.
func (t *trainer) close() {
	if t.program != nil {
		t.program.finalize()
	}
	if t.predictor != nil {
		t.predictor.Close()
		t.merger.finalize()
	}
	if t.metrics != nil {
		t.metrics.close()
	}
	if t.dir != nil {
		t.dir.close()
	}
}

// trainDType is what runs are computed in; tests also compute in float64.
const trainDType = dtypes.Float32
