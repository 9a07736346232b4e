package train

import (
	"context"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/lora"
)

// Options are what a run needs beside its settings.
type Options struct {
	Backend    compute.Backend
	Out        string // the run directory
	Resume     bool   // go on with the run in Out
	Hub        data.HubOptions
	Provenance Provenance  // backend, plugin, threads and versions; the files are filled in
	OnEvent    func(Event) // may be nil
	Memory     Memory
}

// trainer is one run in memory: the job of its loop.
type trainer struct {
	Loop
	options   Options
	config    Config
	in        *inputs
	from      *Stored // what training goes on with, or nil
	dir       *RunDir
	adapter   lora.Adapter
	merger    *merger    // opened at the first evaluation, as
	predictor *Predictor // this is
	order     *data.Order
	packing   data.Packing // of training batches that are packed
}

var _ Job = (*trainer)(nil)

func newTrainer(c Config, o Options) *trainer {
	return &trainer{options: o, config: c, Loop: Loop{Out: o.Out, OnEvent: o.OnEvent, Memory: o.Memory, started: time.Now()}}
}

// Train trains an adapter as the settings say, into the run directory o.Out, and returns what it wrote to
// result.json. When ctx is cancelled it finishes the step in hand, saves a checkpoint and returns an error
// that wraps ErrInterrupted.
func Train(ctx context.Context, c Config, o Options) (*Result, error) {
	t := newTrainer(c, o)
	defer t.close()
	if o.Resume && IsRun(o.Out, configJSON) {
		if done, err := t.reopen(ctx); done != nil || err != nil {
			return done, err
		}
	} else if err := t.create(ctx); err != nil {
		return nil, err
	}
	if err := t.Run(ctx); err != nil {
		return nil, err
	}
	r, err := t.finish(ctx)
	return r, t.orInterrupted(ctx, err)
}

// Batch assembles training batch i, counted through all epochs, as a graph's arguments.
func (t *trainer) Batch(i int) (b Batch, err error) {
	assembled, err := t.batch(i)
	if err != nil {
		return b, err
	}
	err = graphx.Try("batch", func() {
		b = Batch{batchArgs(assembled, trainDType), realExamples(assembled), assembled.Tokens}
	})
	return b, err
}

// batch assembles training batch i, counted through all epochs.
func (t *trainer) batch(i int) (data.Batch, error) {
	c, rows, pad := &t.config, t.in.train.rows, t.in.checkpoint.Config.PadTokenID
	index, padding := t.order.Batch(i), data.Padding(c.Pad)
	if padding == data.PadPacked {
		return t.packing.Assemble(rows, t.in.train.labels, index, pad)
	}
	length := padding.Length(data.Longest(rows, index), c.MaxLength)
	return data.Assemble(rows, t.in.train.labels, index, c.Batch, length, pad)
}

// lookAhead is how many batches are looked at for the shapes of their graphs.
const lookAhead = 512

// Upcoming gives a batch of each shape that those after batch i have, first met first.
func (t *trainer) Upcoming(i int) (list []Batch, err error) {
	type shape struct{ rows, length int }
	seen := map[shape]bool{}
	for end := min(i+lookAhead, t.config.Steps*t.config.Accumulate); i < end; i++ {
		b, err := t.batch(i)
		if err != nil {
			return nil, err
		}
		if of := (shape{b.Rows, b.Len}); !seen[of] {
			seen[of] = true
			list = append(list, Batch{Args: batchArgs(b, trainDType)})
		}
	}
	return list, nil
}

// plannedBatches is how many of a run's batches its packing is planned by.
const plannedBatches = 1024

// planBatches settles which examples each batch has, and how packed ones are laid out.
func (t *trainer) planBatches() (err error) {
	c := &t.config
	if t.order, err = data.NewOrder(c.Seed, len(t.in.train.rows), c.Batch, c.DropLast); err != nil {
		return err
	}
	t.planPacking()
	return nil
}

// planPacking settles the shapes of packed batches from the settings and the data alone, so that a resumed run has
// the same.
func (t *trainer) planPacking() {
	c := &t.config
	if data.Padding(c.Pad) != data.PadPacked {
		return
	}
	batches := c.Steps * c.Accumulate
	sample := min(batches, plannedBatches)
	indices := func(yield func([]int) bool) {
		for i := range sample {
			if !yield(t.order.Batch(i)) {
				return
			}
		}
	}
	graph := graphTokens(t.in.checkpoint.Config.HiddenSize) * sample / batches
	t.packing = data.PlanPacking(t.in.train.rows, indices, c.Batch, graph)
}

// graphTokens is what compiling a graph costs in tokens trained on: both go by the layers, a token's by the square of
// their width too. At BERT-base's it is 5 s of processor time, 1,400 tokens', of which some passes beside the training.
func graphTokens(hidden int) int { return 1000 * 768 * 768 / (hidden * hidden) }

// realExamples counts a batch's examples that are not filler.
func realExamples(b data.Batch) float64 {
	total := 0.0
	for _, w := range b.Weights {
		total += float64(w)
	}
	return total
}

// Write makes the parameters an adapter, with the tensors that travel with it.
func (t *trainer) Write(dir string, values []NamedTensor) error {
	return writeAdapter(dir, t.adapterInfo(), append(values, t.frozenHead()...))
}

// Read reads what Write wrote.
func (t *trainer) Read(dir string) (map[string]*tensors.Tensor, error) {
	_, values, err := readAdapter(dir)
	return values, err
}

// Score is the task's primary metric.
func (t *trainer) Score(m Metrics) float64 { return m[t.in.task.Primary] }

// close frees graphs, files and the lock.
func (t *trainer) close() {
	t.Close()
	if t.predictor != nil {
		t.predictor.Close()
		t.merger.finalize()
	}
	if t.dir != nil {
		t.dir.Close()
	}
}

// trainDType is what runs are computed in; tests also compute in float64.
const trainDType = dtypes.Float32
