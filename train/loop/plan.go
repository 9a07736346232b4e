package loop

import (
	"fmt"
	"math"

	"github.com/deeplora/deeplora/internal/settings"
)

// Plan is what a Loop does when.
type Plan struct {
	Seed       uint64  // of every random stream
	Steps      int     // optimizer steps; 0: by Epochs
	Epochs     float64 // passes over the data, which the job makes steps of; 0: by Steps
	Accumulate int     // batches a step

	LR          float64 // peak learning rate
	Warmup      int     // steps of a linear rise from 0
	DecayRatio  float64 // last learning rate over the peak
	WeightDecay float64 // decoupled, of every parameter that does not refuse it
	Clip        float64 // largest norm of the gradient; 0: off

	EvalEvery, SaveEvery int    // steps; 0: at the end only
	Keep                 int    // newest checkpoints kept
	EarlyStop            int    // evaluations without a better one before stopping; 0: off
	OnNonfinite          string // what a step does whose loss or gradient is infinite or NaN; empty: NonfiniteStop
	TensorBoard          bool   // the log's numbers as TensorBoard's event files too
}

// What a step does whose loss or gradient is infinite or NaN.
const (
	NonfiniteStop = "stop"
	NonfiniteSkip = "skip" // it goes on without the update
)

// Rows are the plan's settings in the table of a configuration that has a plan.
func Rows[C any](plan func(*C) *Plan) settings.Table[C] {
	const part = "loop"
	row := func(name string, value any, at func(p *Plan) any, check func(any) error, help string) settings.Row[C] {
		return settings.Row[C]{Name: name, Part: part, Default: value, At: func(c *C) any { return at(plan(c)) }, Check: check, Help: help}
	}
	count, share := settings.AtLeast(0), settings.Between(0, 1)
	rows := settings.Table[C]{
		row("seed", uint64(0), func(p *Plan) any { return &p.Seed }, nil, "seed of every random stream"),
		row("steps", 0, func(p *Plan) any { return &p.Steps }, count, "optimizer steps; 0: by --epochs"),
		row("epochs", 0.0, func(p *Plan) any { return &p.Epochs }, settings.Between(0, 1e6), "passes over the training examples (default 3 without --steps)"),
		row("accumulate", 1, func(p *Plan) any { return &p.Accumulate }, settings.AtLeast(1), "batches a step"),
		row("lr", 0.0, func(p *Plan) any { return &p.LR }, settings.Between(0, 1e3), "peak learning rate"),
		row("warmup", 0, func(p *Plan) any { return &p.Warmup }, count, "steps of linear warm-up"),
		row("decay-ratio", 0.0, func(p *Plan) any { return &p.DecayRatio }, share, "last learning rate over the peak; 1: constant"),
		row("weight-decay", 0.0, func(p *Plan) any { return &p.WeightDecay }, share, "decoupled weight decay"),
		row("clip", 0.0, func(p *Plan) any { return &p.Clip }, settings.Between(0, math.MaxFloat32), "largest norm of the gradient; 0: off"),
		row("eval-every", 0, func(p *Plan) any { return &p.EvalEvery }, count, "steps between evaluations; 0: at the end only"),
		row("save-every", 0, func(p *Plan) any { return &p.SaveEvery }, count, "steps between checkpoints; 0: at the end only"),
		row("keep", 2, func(p *Plan) any { return &p.Keep }, settings.AtLeast(1), "newest checkpoints kept"),
		row("early-stop", 0, func(p *Plan) any { return &p.EarlyStop }, count, "evaluations without a better one before stopping; 0: off"),
		row("on-nonfinite", "", func(p *Plan) any { return &p.OnNonfinite }, settings.Unless("", settings.OneOf(NonfiniteStop, NonfiniteSkip)), "what a step does whose loss or gradient is infinite or NaN: stop or skip (default stop)"),
		row("tensorboard", false, func(p *Plan) any { return &p.TensorBoard }, nil, "write the numbers of metrics.jsonl as TensorBoard's event files too, into the run's folder tensorboard"),
	}
	return rows.With("on-nonfinite", func(r *settings.Row[C]) { r.Unset, r.Resumable = "", true }).
		With("tensorboard", func(r *settings.Row[C]) { r.Resumable = true })
}

// FirstRate is the learning rate of the first update that moves anything: that of the first, or of the second where there
// is a warm-up, which begins at 0.
func (p *Plan) FirstRate() float64 {
	return rate(min(1, p.Warmup), p.Steps, p.Warmup, p.LR, p.DecayRatio)
}

// Check returns the faults between settings of the plan.
func (p *Plan) Check() error {
	var f settings.Faults
	f.Check(p.Steps == 0 || p.Epochs == 0, "steps and epochs: give one of them")
	f.Check(p.EarlyStop == 0 || p.EvalEvery > 0, "early-stop: needs eval-every")
	f.Add(p.checkWarmup())
	return f.Err()
}

// Resolve settles the steps of a plan that counts epochs, of so many batches each; epochs are those of a plan that says
// neither.
func (p *Plan) Resolve(batches int, epochs float64) error {
	if p.Steps == 0 {
		if p.Epochs == 0 {
			p.Epochs = epochs
		}
		p.Steps = max(1, int(math.Ceil(p.Epochs*float64(batches)/float64(p.Accumulate))))
	}
	return p.checkWarmup()
}

func (p *Plan) checkWarmup() error {
	if p.Warmup > 0 && p.Steps > 0 && p.Warmup >= p.Steps {
		return fmt.Errorf("warmup: %d steps leave none of the %d to train at full rate", p.Warmup, p.Steps)
	}
	return nil
}
