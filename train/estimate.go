package train

import (
	"context"
	"errors"
	"fmt"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/memory"
	"github.com/deeplora/deeplora/lora"
)

// Estimate is the memory that a run takes, in bytes. What graphs take is the compiler's own account of them, not a
// formula: those of the largest batches are compiled, and none is run.
type Estimate struct {
	Batch      int `json:"batch"`      // examples a batch, and
	Accumulate int `json:"accumulate"` // batches a step, as they came to be
	Rows       int `json:"rows"`       // of the largest batch
	Length     int `json:"length"`     // tokens of a row
	Parameters int `json:"trainable_parameters"`

	Base       int64 `json:"base_bytes"`       // the program, its engine and its compiled graphs; 0 on a GPU, which holds none of them
	Weights    int64 `json:"weight_bytes"`     // the model
	State      int64 `json:"state_bytes"`      // trained parameters and AdamW's moments
	Initialise int64 `json:"initialise_bytes"` // while the first gradients are computed; 0 for methods without
	Step       int64 `json:"step_bytes"`       // while a step is computed
	Evaluate   int64 `json:"evaluate_bytes"`   // merged kernels, and while a batch is evaluated
	Peak       int64 `json:"peak_bytes"`       // all that is held at once
	Limit      int64 `json:"limit_bytes"`      // what there is; 0 if unknown
}

// Fits reports whether the run fits into the memory there is, as far as that is known.
func (e Estimate) Fits() bool { return e.Limit == 0 || e.Peak <= e.Limit }

// ErrNoEstimate is wrapped by errors about an engine that does not say what a graph takes.
var ErrNoEstimate = errors.New("the engine does not say what memory a graph takes")

// Memory says what is known of memory.
type Memory struct {
	// Working is what a compiled graph takes while it runs, beside its arguments; false if it is not known.
	Working func(compute.Executable) (bytes int64, known bool)
	Limit   int64 // bytes that the run may take; 0: what is free
	Device  bool  // it is a device's memory, not this process's
}

// limit is what the run may take: 0 if that is not known.
func (m Memory) limit() int64 {
	if m.Limit > 0 || m.Device {
		return m.Limit
	}
	if free := memory.Available(); free > 0 {
		return memory.Resident() + free
	}
	return 0
}

// EstimateMemory says what a run with these settings would take. It reads model and data, and writes nothing.
func EstimateMemory(ctx context.Context, c Config, o Options) (*Estimate, error) {
	t := newTrainer(c, o)
	defer t.close()
	if err := t.prepare(ctx); err != nil {
		return nil, err
	}
	e, err := t.estimate()
	if err != nil {
		return nil, fmt.Errorf("estimate: %w", err)
	}
	return &e, nil
}

func (t *trainer) estimate() (e Estimate, err error) {
	c, p := &t.config, t.program
	largest, err := t.largestBatch()
	if err != nil {
		return e, err
	}
	e = Estimate{Batch: c.Batch, Accumulate: c.Accumulate, Rows: largest.Rows, Length: largest.Len, Parameters: p.state.trained()}
	err = graphx.Try("compile", func() {
		e.Step = must(t.working(p.compiled(batchArgs(largest, p.dtype), c.Accumulate > 1)))
		if m, err := lora.LookupMethod(c.Method); err == nil && m.FirstGradient {
			e.Initialise = must(t.initialising(largest))
		}
		e.Evaluate = must(t.evaluating())
	})
	if err != nil {
		return e, err
	}
	e.Weights = bytesOf(weightsOf(t.in.checkpoint).list)
	e.State = p.state.bytes(p.dtype)
	if !t.Memory.Device {
		e.Base = max(0, memory.Resident()-e.Weights)
	}
	e.Peak = e.Base + e.Weights + e.State + max(e.Initialise, e.Step, e.Evaluate)
	e.Limit = t.Memory.limit()
	return e, nil
}

// working is what a compiled graph takes while it runs.
func (t *trainer) working(g *Graph, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	if t.Memory.Working != nil {
		if bytes, known := t.Memory.Working(g.Executable()); known {
			return bytes, nil
		}
	}
	return 0, ErrNoEstimate
}

// largestBatch is the first of the run's batches that takes most tokens.
func (t *trainer) largestBatch() (largest data.Batch, err error) {
	for i := range min(t.config.Steps*t.config.Accumulate, plannedBatches) {
		b, err := t.batch(i)
		if err != nil {
			return largest, err
		}
		largest = larger(largest, b)
	}
	return largest, nil
}

// larger is the batch of more tokens, padding included, or else a.
func larger(a, b data.Batch) data.Batch {
	if b.Rows*b.Len > a.Rows*a.Len {
		return b
	}
	return a
}

// initialising is what the first gradients take, with those of a group together.
func (t *trainer) initialising(b data.Batch) (int64, error) {
	k := t.gradientsOn(b, t.program.state.kernels())
	exec, err := k.exec(k.group(k.kernels[0].Name))
	if err != nil {
		return 0, err
	}
	defer exec.Finalize()
	args := append(shapesOf(k.weights.list), shapesOf(batchArgs(b, t.program.dtype))...)
	return t.working(exec.Compile(append(args, makeShape(t.program.dtype))...))
}

// evaluating is what an evaluation takes: the kernels that are merged, and the largest batch.
func (t *trainer) evaluating() (bytes int64, err error) {
	if err := t.openPredictor(); err != nil {
		return 0, err
	}
	for _, at := range t.program.state.sites {
		bytes += int64(at.kernel.In*at.kernel.Out) * int64(t.program.dtype.Size())
	}
	var largest data.Batch
	for b, err := range evaluationLayout(&t.config).batches(t.in.validation.rows, t.in.checkpoint.Config.PadTokenID) {
		if err != nil {
			return 0, err
		}
		largest = larger(largest, b)
	}
	t.predictor.weights = weightsOf(t.in.checkpoint)
	working, err := t.working(t.predictor.exec.Compile(append(shapesOf(t.predictor.weights.list), shapesOf(inputArgs(largest))...)...))
	return bytes + working, err
}

// fitBatch splits a batch that does not fit into memory into accumulated ones of equal parts: the same examples a
// step, and the same gradients up to rounding.
func (t *trainer) fitBatch(ctx context.Context) error {
	c := &t.config
	asked := *c
	for {
		if err := ctx.Err(); err != nil {
			return t.orInterrupted(ctx, err)
		}
		e, err := t.estimate()
		if err != nil {
			return fmt.Errorf("auto-batch: %w", err)
		}
		if e.Limit == 0 {
			return configError{errors.New("auto-batch: how much memory there is is not known; say so with --memory")}
		}
		if e.Fits() {
			break
		}
		part := c.Batch - 1
		for part > 0 && c.Batch%part != 0 {
			part--
		}
		if part == 0 {
			return configError{fmt.Errorf("auto-batch: a batch of one example takes %s and there are %s; what helps: --gradient-checkpointing, a lower --max-length", memory.Text(e.Peak), memory.Text(e.Limit))}
		}
		c.Batch, c.Accumulate = part, c.Accumulate*(c.Batch/part)
		t.program.finalize()
		if err := t.build(); err != nil {
			return err
		}
	}
	if c.Batch != asked.Batch {
		t.Notice("a batch of %d does not fit into memory: a step takes %d of %d instead", asked.Batch, c.Accumulate, c.Batch)
	}
	return nil
}
