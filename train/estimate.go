package train

import (
	"context"
	"errors"
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/memory"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/train/loop"
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

// EstimateMemory says what a run with these settings would take. It reads model and data, and writes nothing. An engine
// that does not say what graphs take gives loop.ErrNoEstimate.
func EstimateMemory(ctx context.Context, c Config, o Options) (*Estimate, error) {
	r := newRun(c, o)
	defer r.close()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	e, err := r.estimate()
	if err != nil {
		return nil, fmt.Errorf("estimate: %w", err)
	}
	return &e, nil
}

func (r *run) estimate() (e Estimate, err error) {
	c, j := &r.config, r.job
	largest, err := j.largestBatch()
	if err != nil {
		return e, err
	}
	e = Estimate{Batch: c.Batch, Accumulate: c.Accumulate, Rows: largest.Rows, Length: largest.Len, Parameters: loop.Trained(r.loop.Params())}
	if e.Step, err = r.loop.StepBytes(j.shared(largest)); err != nil {
		return e, err
	}
	if m, err := lora.LookupMethod(c.Method); err == nil && m.TakesGradient(c.Settings) {
		if e.Initialise, err = j.gradientsOn(largest, j.adapted.kernels()).bytes(r.options.Memory); err != nil {
			return e, err
		}
	}
	if e.Evaluate, err = j.evaluationBytes(r.options.Memory); err != nil {
		return e, err
	}
	for _, w := range weightsOf(j.inputs.checkpoint) {
		e.Weights += bytesOf(w.Value)
	}
	e.Weights = r.options.Memory.All(e.Weights, j.devices.Len())
	e.State = r.loop.StateBytes()
	if !r.options.Memory.Device {
		e.Base = max(0, memory.Resident()-e.Weights)
	}
	e.Peak = e.Base + e.Weights + e.State + max(e.Initialise, e.Step, e.Evaluate)
	e.Limit = r.options.Memory.Limit()
	return e, nil
}

func bytesOf(t *tensors.Tensor) int64 { return int64(t.Shape().Size() * t.DType().Size()) }

// largestBatch is the first of the run's batches that takes most tokens.
func (j *job) largestBatch() (largest data.Batch, err error) {
	for i := range min(j.config.Steps*j.config.Accumulate, plannedBatches) {
		b, err := j.batch(i)
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

// evaluationBytes is what an evaluation takes: the kernels that are merged, and the largest batch.
func (j *job) evaluationBytes(m loop.Memory) (bytes int64, err error) {
	p, err := NewPredictor(j.devices.Backend(), j.inputs.checkpoint)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if !j.config.held() {
		for _, k := range j.adapted.kernels() {
			bytes += int64(k.In*k.Out) * int64(dtypes.Float32.Size())
		}
	}
	var largest data.Batch
	for b, err := range j.config.evaluationLayout().batches(j.inputs.validation.rows, j.inputs.checkpoint.Config.PadTokenID) {
		if err != nil {
			return 0, err
		}
		largest = larger(largest, b)
	}
	var working int64
	err = graphx.Try("compile", func() {
		var args []shapes.Shape
		for _, w := range p.weights {
			args = append(args, w.Value.Shape())
		}
		for _, t := range largest.Tensors() {
			args = append(args, t.Shape())
		}
		working = graphx.Must(m.Of(p.exec(largest).Compile(args...)))
	})
	return m.All(bytes+working, j.devices.Len()), err
}

// fitBatch splits a batch that does not fit into memory into accumulated ones of equal parts: the same examples a
// step, and the same gradients up to rounding.
func (r *run) fitBatch(ctx context.Context) error {
	c := &r.config
	asked := *c
	for {
		if err := ctx.Err(); err != nil {
			return r.loop.Interrupted(ctx, err)
		}
		e, err := r.estimate()
		if err != nil {
			return fmt.Errorf("auto-batch: %w", err)
		}
		if e.Limit == 0 {
			return settings.Error(errors.New("auto-batch: how much memory there is is not known; say so with --memory"))
		}
		if e.Fits() {
			break
		}
		part := c.Batch - 1
		for part > 0 && c.Batch%part != 0 {
			part--
		}
		if part == 0 {
			return settings.Error(fmt.Errorf("auto-batch: a batch of one example takes %s and there are %s; what helps: --gradient-checkpointing, a lower --max-length", memory.Text(e.Peak), memory.Text(e.Limit)))
		}
		c.Batch, c.Accumulate = part, c.Accumulate*(c.Batch/part)
		if err := r.build(); err != nil {
			return err
		}
	}
	if c.Batch != asked.Batch {
		r.Notice("a batch of %d does not fit into memory: a step takes %d of %d instead", asked.Batch, c.Accumulate, c.Batch)
	}
	return nil
}
