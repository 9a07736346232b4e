package loop

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/rng"
)

// ErrInterrupted is wrapped by the error of a run that was cancelled and saved: --resume goes on with it.
var ErrInterrupted = errors.New("interrupted, state saved")

// ErrCorrupt is wrapped by errors about files of ours that are not as they were written.
var ErrCorrupt = jsonfile.ErrCorrupt

// Job is what a Loop trains: where its batches come from, how its parameters are measured and kept.
type Job interface {
	// Batch gives batch i, counted from 0 through all epochs: the same whatever was asked for before.
	Batch(i int) (Batch, error)
	// Evaluate measures parameters, which stay the loop's. progress is never nil.
	Evaluate(ctx context.Context, values []NamedTensor, progress func(done, total int)) (Metrics, error)
	// Score is the metric by which evaluations are compared: more is better, NaN is worst.
	Score(m Metrics) float64
	// Write puts the parameters into a checkpoint's directory, and Read gives them back by name.
	Write(dir string, values []NamedTensor) error
	Read(dir string) (map[string]*tensors.Tensor, error)
}

// Options are what a Loop needs beside its plan.
type Options struct {
	Backend compute.Backend
	Devices *devices.Set // of the backend; nil: one
	Out     string       // directory of the log and the checkpoints
	OnEvent func(Event)  // may be nil
	Memory  Memory
	Started time.Time // of the process's work on the run; zero: now

	// Prepare is called once, before the parameters of a new run take their first values; nil: there is nothing to prepare.
	Prepare func(ctx context.Context) error
}

// Loop is the training loop that fine-tuning and pretraining share: steps, evaluations and checkpoints in the
// directory Out, and going on from the newest of them to the same bits.
type Loop struct {
	Plan
	Reporter
	Out string

	memory   Memory
	started  time.Time
	prepare  func(ctx context.Context) error
	job      Job
	program  *program
	state    *state
	progress progress
	saved    int // step of the newest checkpoint
	metrics  *metricsLog
	trend    trend
	first    *first // nil until compiling begins
	ahead    *ahead // nil until the first step's graphs are compiled

	initialised time.Duration // what drawing the parameters took
	firstStep   time.Duration // from started until the first step was done
}

// New prepares a loop. Nothing is drawn or compiled yet. Close it.
func New(plan Plan, objective Objective, job Job, o Options) (*Loop, error) {
	if o.Devices == nil {
		var err error
		if o.Devices, err = devices.New(o.Backend, 1); err != nil {
			return nil, err
		}
	}
	program, err := newProgram(o.Devices, objective, plan.WeightDecay, plan.Clip)
	if err != nil {
		return nil, err
	}
	if o.Started.IsZero() {
		o.Started = time.Now()
	}
	return &Loop{
		Plan: plan, Reporter: Reporter{o.OnEvent}, Out: o.Out, memory: o.Memory, started: o.Started, job: job, program: program, state: newState(objective.Params), prepare: o.Prepare,
	}, nil
}

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
			return l.Interrupted(ctx, ctx.Err())
		case l.over():
			return nil
		}
		if err := l.step(); err != nil {
			return err
		}
	}
}

// Finish evaluates the last step. With best it then goes back to the best checkpoint, where that was better. It returns
// the metrics of what it leaves in memory and the step that this is of, and makes the log durable.
func (l *Loop) Finish(ctx context.Context, best bool) (m Metrics, selected int, err error) {
	if m, err = l.evaluate(ctx); err != nil {
		return nil, 0, l.Interrupted(ctx, err)
	}
	p := &l.progress
	last := p.beats(l.job.Score(m))
	if err := l.logLast(m); err != nil {
		return nil, 0, err
	}
	if _, _, err := l.metrics.sync(); err != nil {
		return nil, 0, err
	}
	if !best || last || p.Best == nil || p.BestStep == p.Step {
		return m, p.Step, nil
	}
	if _, err := loadCheckpoint(checkpointPath(l.Out, p.BestStep), l.job, l.state); err != nil {
		return nil, 0, fmt.Errorf("select best: %w; remove %s, and --resume trains again from the first step", err, filepath.Join(l.Out, checkpointsDir))
	}
	m, err = l.evaluate(ctx)
	return m, p.BestStep, l.Interrupted(ctx, err)
}

func (l *Loop) evaluate(ctx context.Context) (Metrics, error) {
	return l.job.Evaluate(ctx, l.state.values(), l.Phase("evaluate"))
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

// Params are what is trained.
func (l *Loop) Params() []Param { return l.program.Params }

// Parameters are the values by name, as they stand; the loop's own until its next step.
func (l *Loop) Parameters() []NamedTensor { return l.state.values() }

// Progress is how far a Loop has come.
type Progress struct {
	Step         int
	Loss         float64 // of the last step
	Tokens       int64   // real tokens trained on, by all processes
	TrainSeconds float64 // in steps, of all processes
	Skipped      int     // steps without an update: their loss or gradient was infinite or NaN

	Initialise time.Duration // what drawing the parameters took; 0 in a process that resumed
	FirstStep  time.Duration // from the start of this process until its first step was done
}

// Progress says how far the loop has come.
func (l *Loop) Progress() Progress {
	p := &l.progress
	return Progress{p.Step, p.LastLoss, p.Tokens, p.TrainSeconds, p.Skipped, l.initialised, l.firstStep}
}

// TokensPerSecond are real tokens a second of steps, 0 before the first.
func (p Progress) TokensPerSecond() float64 {
	if p.TrainSeconds == 0 {
		return 0
	}
	return float64(p.Tokens) / p.TrainSeconds
}

// Interrupted is err or, where err says no more than that ctx was cancelled, what that means for the run.
func (l *Loop) Interrupted(ctx context.Context, err error) error {
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
	batches, in, err := l.plan(l.progress.Step)
	if err != nil {
		return err
	}
	if l.ahead == nil {
		if err := l.compile(batches[0]); err != nil {
			return err
		}
	}
	loss, norm, err := l.program.run(l.state, batches, in)
	if err != nil {
		return err
	}
	if !finite(loss) || !finite(norm) {
		return l.nonfinite(loss, norm)
	}
	tokens := 0
	for _, b := range batches {
		tokens += b.RealTokens()
	}
	seconds := time.Since(began).Seconds()
	l.progress.Step++
	l.progress.LastLoss, l.progress.SkippedInRow = loss, 0
	l.progress.Tokens += int64(tokens)
	l.progress.TrainSeconds += seconds
	if l.firstStep == 0 {
		l.firstStep = time.Since(l.started)
	}
	l.emit(Step{l.progress.Step, l.Steps, loss, in.lr, float64(tokens) / seconds})
	if warning := l.trend.add(loss); warning != "" {
		l.Notice("step %d: %s", l.progress.Step, warning)
	}
	return l.metrics.step(l.progress.Step, loss, in.lr, norm, tokens, seconds)
}

// plan says what step number n, from 0, computes: its batches, its rate and its dropout keys.
func (l *Loop) plan(n int) (batches []Batch, in stepInputs, err error) {
	in = stepInputs{number: n + 1 - l.progress.Skipped, lr: rate(n, l.Steps, l.Warmup, l.LR, l.DecayRatio)}
	for i := n * l.Accumulate; i < (n+1)*l.Accumulate; i++ {
		b, err := l.job.Batch(i)
		if err != nil {
			return nil, in, err
		}
		in.total += b.Weight()
		key := rng.New(l.Seed, "dropout").At(uint64(i))
		in.dropout = append(in.dropout, [2]uint32{key.Uint32(), key.Uint32()})
		batches = append(batches, b)
	}
	return batches, in, nil
}

// Begin draws the parameters and opens an empty log. phase is what that is called in events. What the first step needs is
// compiled meanwhile.
func (l *Loop) Begin(ctx context.Context, phase string) error {
	began := time.Now()
	if !l.over() {
		batches, _, err := l.plan(0)
		if err != nil {
			return err
		}
		l.first = l.compileFirst(batches[0])
	}
	if l.prepare != nil {
		if err := l.prepare(ctx); err != nil {
			return l.Interrupted(ctx, err)
		}
	}
	if err := l.state.initialise(ctx, l.program.DType, l.Phase(phase)); err != nil {
		return l.Interrupted(ctx, err)
	}
	l.initialised = time.Since(began)
	if err := l.openLog(0, ""); err != nil {
		return err
	}
	return l.openBoard()
}

// Open continues from the newest checkpoint that is good, or begins where there is none yet. Damaged ones are set aside,
// unless no good one is left: to begin again is for the user to say.
func (l *Loop) Open(ctx context.Context, phase string) error {
	steps, err := checkpointSteps(l.Out)
	if err != nil {
		return err
	}
	if len(steps) == 0 {
		return l.Begin(ctx, phase)
	}
	var damaged []damage
	for _, step := range steps {
		err := l.goOnFrom(step)
		switch {
		case err == nil:
			for _, d := range damaged {
				l.Notice("checkpoint %s is not as it was written and is set aside: %v; the run goes on from step %d", filepath.Base(checkpointPath(l.Out, d.step))+damagedSuffix, d.fault, step)
			}
			if err := setAside(l.Out, damaged); err != nil {
				return err
			}
			return l.openBoard() // not before: what is wrong with event files is no damage of a checkpoint
		case !isDamage(err):
			return fmt.Errorf("resume: %w", err)
		}
		damaged = append(damaged, damage{step, err})
	}
	return fmt.Errorf("resume: no checkpoint is left that is as it was written: %w; remove %s, and --resume begins at the first step", damaged[0].fault, filepath.Join(l.Out, checkpointsDir))
}

// goOnFrom takes the state of a checkpoint, and the log up to it.
func (l *Loop) goOnFrom(step int) (err error) {
	if l.progress, err = loadCheckpoint(checkpointPath(l.Out, step), l.job, l.state); err != nil {
		return err
	}
	l.saved = l.progress.Step
	return l.openLog(l.progress.MetricsBytes, l.progress.MetricsSum)
}

func (l *Loop) openLog(metricsBytes int64, sum string) (err error) {
	l.metrics, err = openMetrics(filepath.Join(l.Out, LogFile), metricsBytes, sum)
	return err
}

// save writes a checkpoint and removes those no longer kept.
func (l *Loop) save() error {
	var err error
	if l.progress.MetricsBytes, l.progress.MetricsSum, err = l.metrics.sync(); err != nil {
		return err
	}
	path, err := saveCheckpoint(l.Out, l.progress, l.job, l.state)
	if err != nil {
		return err
	}
	l.saved = l.progress.Step
	l.emit(Checkpointed{l.progress.Step, path})
	return pruneCheckpoints(l.Out, l.Keep, l.progress.BestStep)
}

// evaluateStep evaluates in the middle of a run and remembers what early stopping and selection need.
func (l *Loop) evaluateStep(ctx context.Context) error {
	m, err := l.evaluate(ctx)
	if err != nil {
		return err
	}
	best := l.progress.judge(l.job.Score(m))
	l.emit(Evaluated{l.progress.Step, m, best})
	return l.metrics.evaluation(l.progress.Step, m)
}

// Close frees graphs and files.
func (l *Loop) Close() {
	l.first.wait()
	l.ahead.stop()
	l.program.finalize()
	if l.metrics != nil {
		l.metrics.close()
	}
}

// Replayed is what a step of a diagnostic gave when it was computed again.
type Replayed struct {
	Diagnostic *Diagnostic `json:"diagnostic"` // as it was found
	Loss       Number      `json:"loss"`       // now
	Norm       Number      `json:"gradient_norm"`
	Origin     *Origin     `json:"origin"` // now; null where the numbers are finite
	Same       bool        `json:"same"`   // as it was found
}

// Replay computes the step of a diagnostic in Out again.
func (l *Loop) Replay(d *Diagnostic) (*Replayed, error) {
	path := filepath.Join(l.Out, diagnosticDir)
	var err error
	if l.progress, err = loadCheckpoint(path, l.job, l.state); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	if l.progress.Step != d.Step-1 {
		return nil, fmt.Errorf("replay: %s: %w: the state is of step %d, the diagnostic of step %d", path, ErrCorrupt, l.progress.Step, d.Step)
	}
	batches, in, err := l.plan(l.progress.Step)
	if err != nil {
		return nil, err
	}
	loss, norm, err := l.program.run(l.state, batches, in)
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
