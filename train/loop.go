package train

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/rng"
)

// ErrInterrupted is wrapped by the error of a run that was cancelled and saved: --resume goes on with it.
var ErrInterrupted = errors.New("interrupted, state saved")

// Job is what a Loop trains: where its batches come from, how its parameters are measured and kept.
type Job interface {
	// Batch gives batch i, counted from 0 through all epochs: the same whatever was asked for before.
	Batch(i int) (Batch, error)
	// Evaluate measures the parameters as they stand.
	Evaluate(ctx context.Context) (Metrics, error)
	// Score is the metric by which evaluations are compared: more is better, NaN is worst.
	Score(m Metrics) float64
	// Write puts the parameters into a checkpoint's directory, and Read gives them back by name.
	Write(dir string, values []NamedTensor) error
	Read(dir string) (map[string]*tensors.Tensor, error)
}

// Batch is what one pass of a graph gets.
type Batch struct {
	Args   []*tensors.Tensor // in the order of the objective's inputs; the step's own, which frees them
	Weight float64           // how much it counts among the batches of a step: its real examples
	Tokens int               // real tokens, padding not counted
}

// Plan is what a Loop does when.
type Plan struct {
	Seed       uint64
	Steps      int
	Accumulate int // batches a step
	LR         float64
	Warmup     int     // steps of a linear rise from 0
	DecayRatio float64 // last learning rate over the peak

	EvalEvery, SaveEvery int // steps; 0: at the end only
	Keep                 int // newest checkpoints kept
	EarlyStop            int // evaluations without a better one before stopping; 0: off

	SkipNonfinite bool // go on after a step whose loss or gradient is no finite number, without its update
}

// Loop is the training loop that fine-tuning and pretraining share: steps, evaluations and checkpoints in the
// directory Out, and going on from the newest of them to the same bits.
type Loop struct {
	Plan
	Out     string
	OnEvent func(Event) // may be nil
	Memory  Memory

	job      Job
	program  *program
	progress progress
	saved    int // step of the newest checkpoint
	metrics  *metricsLog
	trend    trend
	started  time.Time
	warmed   bool
	ahead    *ahead

	initialised time.Duration // what drawing the parameters took
	firstStep   time.Duration // from started until the first step was done
}

// NewLoop prepares a loop that trains every parameter of an objective. Nothing is drawn or compiled yet.
func NewLoop(backend compute.Backend, plan Plan, o Objective, job Job, out string, onEvent func(Event)) (*Loop, error) {
	s := &state{}
	for _, p := range o.Params {
		s.params = append(s.params, p.param())
	}
	p := &program{backend: backend, state: s, objective: o.Loss, inputs: o.Inputs, decay: o.WeightDecay, clip: o.Clip, dtype: trainDType}
	l := &Loop{Plan: plan, Out: out, OnEvent: onEvent, job: job, program: p, started: time.Now()}
	return l, p.compile()
}

// Open draws the parameters, or takes them from the newest checkpoint in Out.
func (l *Loop) Open(ctx context.Context) error { return l.restore(ctx, "initialise") }

// Run trains, evaluates and saves until the last step. What is due is derived from what has been done, so
// that a run that was stopped anywhere goes on as if it had not been.
func (l *Loop) Run(ctx context.Context) error {
	for {
		step := l.progress.Step
		if l.due(l.EvalEvery) && l.progress.Evaluated < step && ctx.Err() == nil {
			if err := l.evaluateStep(ctx); err != nil && ctx.Err() == nil {
				return err
			}
		}
		interrupted := ctx.Err() != nil
		if l.saved < step && (interrupted || l.due(l.SaveEvery) || l.progress.BestStep == step || l.over()) {
			if err := l.save(); err != nil {
				return err
			}
		}
		switch {
		case interrupted:
			return l.orInterrupted(ctx, ctx.Err())
		case l.over():
			return nil
		}
		if err := l.step(); err != nil {
			return err
		}
	}
}

// Finish evaluates the last step, unless that was done, and makes the log durable.
func (l *Loop) Finish(ctx context.Context) (Metrics, error) {
	m, err := l.job.Evaluate(ctx)
	if err != nil {
		return nil, l.orInterrupted(ctx, err)
	}
	if err := l.logLast(m); err != nil {
		return nil, err
	}
	_, _, err = l.metrics.sync()
	return m, err
}

// logLast logs the evaluation of the last step, once.
func (l *Loop) logLast(m Metrics) error {
	step := l.progress.Step
	if l.progress.Evaluated >= step {
		return nil
	}
	l.emit(Evaluated{step, m, l.progress.beats(l.job.Score(m))})
	return l.metrics.evaluation(step, m)
}

// Parameters are the values by name, as they stand; the loop's own until its next step.
func (l *Loop) Parameters() []NamedTensor { return l.program.state.values() }

// Progress is how far a Loop has come.
type Progress struct {
	Step         int
	Loss         float64 // of the last step
	Tokens       int64   // real tokens trained on, by all processes
	TrainSeconds float64 // in steps, of all processes
	Skipped      int     // steps without an update: their loss or gradient was no finite number
}

// Progress says how far the loop has come.
func (l *Loop) Progress() Progress {
	p := &l.progress
	return Progress{p.Step, p.LastLoss, p.Tokens, p.TrainSeconds, p.Skipped}
}

// orInterrupted is err or, where err says no more than that ctx was cancelled, what that means for the run.
func (l *Loop) orInterrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || !errors.Is(err, ctx.Err()) {
		return err
	}
	return fmt.Errorf("%w at step %d of %d: %w", ErrInterrupted, l.progress.Step, l.Steps, context.Cause(ctx))
}

// due reports whether something that happens every n steps happens now; the end is not its business.
func (l *Loop) due(n int) bool {
	return n > 0 && l.progress.Step > 0 && l.progress.Step%n == 0 && l.progress.Step < l.Steps
}

// over reports whether the run has had its steps, or has stopped getting better.
func (l *Loop) over() bool {
	stalled := l.EarlyStop > 0 && l.progress.SinceBest >= l.EarlyStop
	return stalled || l.progress.Step >= l.Steps
}

// step makes one optimizer step.
func (l *Loop) step() error {
	began := time.Now()
	batches, u, err := l.plan(l.progress.Step)
	if err != nil {
		return err
	}
	if !l.warmed {
		if err := l.warm(batches[0]); err != nil {
			return err
		}
		l.warmed = true
	}
	loss, norm, err := l.program.run(batches, u)
	if err != nil {
		return err
	}
	if !finite(loss) || !finite(norm) {
		return l.nonfinite(loss, norm)
	}
	tokens := 0
	for _, b := range batches {
		tokens += b.Tokens
	}
	seconds := time.Since(began).Seconds()
	l.progress.Step++
	l.progress.LastLoss, l.progress.SkippedInRow = loss, 0
	l.progress.Tokens += int64(tokens)
	l.progress.TrainSeconds += seconds
	if l.firstStep == 0 {
		l.firstStep = time.Since(l.started)
	}
	l.emit(Step{l.progress.Step, l.Steps, loss, u.lr, float64(tokens) / seconds})
	if warning := l.trend.add(loss); warning != "" {
		l.Notice("step %d: %s", l.progress.Step, warning)
	}
	return l.metrics.step(l.progress.Step, loss, u.lr, norm, tokens, seconds)
}

// plan says what step number n, from 0, computes: its batches, its rate and its dropout keys.
func (l *Loop) plan(n int) ([]Batch, update, error) {
	u := update{number: n + 1 - l.progress.Skipped, lr: rate(n, l.Steps, l.Warmup, l.LR, l.DecayRatio)}
	var batches []Batch
	for i := n * l.Accumulate; i < (n+1)*l.Accumulate; i++ {
		b, err := l.job.Batch(i)
		if err != nil {
			return nil, u, err
		}
		u.total += b.Weight
		key := rng.New(l.Seed, "dropout").At(uint64(i))
		u.dropout = append(u.dropout, [2]uint32{key.Uint32(), key.Uint32()})
		batches = append(batches, b)
	}
	return batches, u, nil
}

// start draws the parameters and opens an empty log.
func (l *Loop) start(ctx context.Context, phase string) error {
	began := time.Now()
	if err := l.program.state.initialise(ctx, trainDType, l.Phase(phase)); err != nil {
		return l.orInterrupted(ctx, err)
	}
	l.initialised = time.Since(began)
	return l.begin(0, "")
}

// restore continues from the newest checkpoint that is good, or from the beginning where there is none yet. Damaged
// ones are set aside, unless no good one is left: to begin again is for the user to say.
func (l *Loop) restore(ctx context.Context, phase string) error {
	steps, err := checkpointSteps(l.Out)
	if err != nil {
		return err
	}
	if len(steps) == 0 {
		return l.start(ctx, phase)
	}
	var damaged []damage
	for _, step := range steps {
		err := l.goOnFrom(step)
		switch {
		case err == nil:
			for _, d := range damaged {
				l.Notice("checkpoint %s is not as it was written and is set aside: %v; the run goes on from step %d", filepath.Base(checkpointPath(l.Out, d.step))+damagedSuffix, d.fault, step)
			}
			return setAside(l.Out, damaged)
		case !isDamage(err):
			return fmt.Errorf("resume: %w", err)
		}
		damaged = append(damaged, damage{step, err})
	}
	return fmt.Errorf("resume: no checkpoint is left that is as it was written: %w; remove %s, and --resume begins at the first step", damaged[0].fault, filepath.Join(l.Out, checkpointsDir))
}

// goOnFrom takes the state of a checkpoint, and the log up to it.
func (l *Loop) goOnFrom(step int) (err error) {
	if l.progress, err = loadCheckpoint(checkpointPath(l.Out, step), l.job, l.program.state); err != nil {
		return err
	}
	l.saved = l.progress.Step
	return l.begin(l.progress.MetricsBytes, l.progress.MetricsSum)
}

func (l *Loop) begin(metricsBytes int64, sum string) (err error) {
	l.metrics, err = openMetrics(filepath.Join(l.Out, metricsJSONL), metricsBytes, sum)
	return err
}

// save writes a checkpoint and removes those no longer kept.
func (l *Loop) save() error {
	var err error
	if l.progress.MetricsBytes, l.progress.MetricsSum, err = l.metrics.sync(); err != nil {
		return err
	}
	path, err := saveCheckpoint(l.Out, l.progress, l.job, l.program.state)
	if err != nil {
		return err
	}
	l.saved = l.progress.Step
	l.emit(Checkpointed{l.progress.Step, path})
	return pruneCheckpoints(l.Out, l.Keep, l.progress.BestStep)
}

// evaluateStep evaluates in the middle of a run and remembers what early stopping and selection need.
func (l *Loop) evaluateStep(ctx context.Context) error {
	m, err := l.job.Evaluate(ctx)
	if err != nil {
		return err
	}
	best := l.progress.judge(l.job.Score(m))
	l.emit(Evaluated{l.progress.Step, m, best})
	return l.metrics.evaluation(l.progress.Step, m)
}

func (l *Loop) emit(e Event) {
	if l.OnEvent != nil {
		l.OnEvent(e)
	}
}

// Announce tells the user that training begins.
func (l *Loop) Announce(r Ready) { l.emit(r) }

// Notice reports a line for the user.
func (l *Loop) Notice(format string, args ...any) {
	l.emit(Notice{fmt.Sprintf(format, args...)})
}

// Phase reports progress of a named part.
func (l *Loop) Phase(name string) func(done, total int) {
	return func(done, total int) { l.emit(Phase{name, done, total}) }
}

// Close frees graphs and files.
func (l *Loop) Close() {
	l.ahead.stop()
	if l.program != nil {
		l.program.finalize()
	}
	if l.metrics != nil {
		l.metrics.close()
	}
}
