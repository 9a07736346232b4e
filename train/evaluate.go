package train

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"time"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/memory"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
)

// judge notes an evaluation of the step at hand by its primary metric, and reports whether it is the best yet.
func (p *progress) judge(value float64) (best bool) {
	best = p.beats(value)
	p.Evaluated = p.Step
	p.SinceBest++
	if best {
		p.Best, p.BestStep, p.SinceBest = &value, p.Step, 0
	}
	return best
}

// beats reports whether a metric is better than every one before it; an undefined one beats none.
func (p *progress) beats(value float64) bool {
	return !math.IsNaN(value) && (p.Best == nil || value > *p.Best)
}

// Evaluate measures the adapter as it stands on the validation split, with merged weights. The graphs are
// compiled once a run; the merged kernels are freed again.
func (t *trainer) Evaluate(ctx context.Context) (Metrics, error) {
	if err := t.openPredictor(); err != nil {
		return nil, err
	}
	weights, merged, err := t.merger.state(t.in.checkpoint, t.program.state)
	defer func() {
		for _, m := range merged {
			m.MustFinalizeAll()
		}
	}()
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	t.predictor.weights = weights
	layout := evaluationLayout(&t.config)
	logits, err := t.predictor.Logits(ctx, t.in.validation.rows, layout, t.Phase("evaluate"))
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	return Measure(t.in.task, logits, t.in.validation.labels)
}

func (t *trainer) openPredictor() (err error) {
	if t.predictor != nil {
		return nil
	}
	if t.merger, err = newMerger(t.options.Backend, t.adapter); err != nil {
		return err
	}
	t.predictor, err = newPredictor(t.options.Backend, t.in.checkpoint.Config, namedTensors{})
	return err
}

// evaluationLayout packs evaluation batches, also where training pads them: it is the same model, in less time.
func evaluationLayout(c *Config) Layout {
	return Layout{Batch: c.EvalBatch, Padding: data.PadPacked, MaxLength: c.MaxLength}
}

// finish evaluates what is kept, writes the adapter and then result.json, which makes the run finished.
func (t *trainer) finish(ctx context.Context) (*Result, error) {
	m, selected, err := t.keep(ctx)
	if err != nil {
		return nil, err
	}
	if _, _, err := t.metrics.sync(); err != nil {
		return nil, err
	}
	err = atomicfile.WriteDir(t.dir.File(adapterDir), func(tmp string) error {
		return t.Write(tmp, t.Parameters())
	})
	if err != nil {
		return nil, fmt.Errorf("write adapter: %w", err)
	}
	r := t.result(m, selected)
	return &r, jsonfile.Write(t.dir.File(resultJSON), r)
}

// keep evaluates the last step, goes back to the best checkpoint where that is asked for and was better, and
// returns the metrics of what it left in memory and its step.
func (t *trainer) keep(ctx context.Context) (Metrics, int, error) {
	m, err := t.Evaluate(ctx)
	if err != nil {
		return nil, 0, err
	}
	step := t.progress.Step
	best := t.progress.beats(t.Score(m))
	if err := t.logLast(m); err != nil {
		return nil, 0, err
	}
	if t.config.Select != SelectBest || best || t.progress.Best == nil || t.progress.BestStep == step {
		return m, step, nil
	}
	step = t.progress.BestStep
	if _, err := loadCheckpoint(checkpointPath(t.Out, step), t, t.program.state); err != nil {
		return nil, 0, fmt.Errorf("select best: %w; remove %s, and --resume trains again from the first step", err, filepath.Join(t.Out, checkpointsDir))
	}
	m, err = t.Evaluate(ctx)
	return m, step, err
}

func (t *trainer) adapterInfo() AdapterInfo {
	c, config := &t.config, t.in.checkpoint.Config
	info := AdapterInfo{
		Method: c.Method, Rank: c.Rank, Depth: c.Depth, InitScale: c.InitScale, Gamma: c.Gamma, Init: c.Init, Alpha: c.Alpha,
		Task: c.Task, Labels: config.Labels(), ProblemType: config.ProblemType, HeadTrained: c.TrainHead, MaxLength: c.MaxLength,
		Base: c.Model, BaseFiles: t.in.checkpoint.Files,
	}
	for _, s := range t.program.state.sites {
		info.Kernels = append(info.Kernels, AdaptedKernel{Name: s.kernel.Name, In: s.kernel.In, Out: s.kernel.Out, Rank: t.rankOf(s.kernel.Name)})
	}
	return info
}

func (t *trainer) result(m Metrics, selected int) Result {
	c, s := &t.config, t.program.state
	r := Result{
		Task: c.Task, Split: data.Validation, Metrics: m, PrimaryMetric: t.in.task.Primary,
		Examples: len(t.in.validation.rows), Dropped: t.in.validation.dropped,
		Method: c.Method, Rank: c.Rank, Depth: c.Depth, Scope: cmp.Or(strings.Join(c.Target, " "), c.Scope), Seed: c.Seed, Shots: len(t.in.train.rows),
		Steps: t.progress.Step, Skipped: t.progress.Skipped, Selected: selected, Parameters: s.trained(), Kernels: len(s.sites),
		WallSeconds: time.Since(t.started).Seconds(), TrainSeconds: t.progress.TrainSeconds,
		StartSeconds: t.firstStep.Seconds(), InitSeconds: t.initialised.Seconds(), PeakRSS: memory.Peak(),
		Backend: t.options.Provenance.Backend, Threads: t.options.Provenance.Threads, FinalLoss: t.progress.LastLoss,
	}
	if c.Whole() { // neither means anything there
		r.Scope, r.Rank, r.Depth = "", 0, 0
	}
	if t.progress.TrainSeconds > 0 {
		r.TokensPerSecond = float64(t.progress.Tokens) / t.progress.TrainSeconds
	}
	return r
}
