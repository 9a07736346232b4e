package train

import (
	"context"
	"fmt"
	"slices"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// job is a fine-tuning as the loop sees it: its batches, its loss, its evaluation and its checkpoints.
type job struct {
	config  *Config // of the run, resolved
	inputs  *inputs
	devices *devices.Set
	adapted *adaptation
	ranks   map[string]int // of kernels whose rank is not the adapter's
	pooler  bool           // comes with the adapter that training goes on with

	order     *data.Order
	packing   data.Packing // of training batches that are packed
	places    int          // for examples that each device has of a training batch, at least
	evaluator *evaluator   // opened at the first evaluation
	measured  *measurement // of the newest evaluation
}

var _ loop.Job = (*job)(nil)

// objective is what is minimised, over the adapter's factors and the tensors of the model that are trained themselves.
func (j *job) objective() loop.Objective {
	trained := j.config.trained(j.inputs.checkpoint.Config)
	o := loop.Objective{Params: j.adapted.params(), Loss: j.loss}
	for _, t := range weightsOf(j.inputs.checkpoint) {
		if slices.Contains(trained, t.Name) {
			o.Params = append(o.Params, loop.Param{Name: t.Name, Shape: t.Value.Shape().Dimensions, Rate: j.config.rateOf(t.Name, j.inputs.checkpoint.Config), Draw: t.Value.LocalClone})
		} else {
			o.Frozen = append(o.Frozen, t)
		}
	}
	return o
}

// loss is that of a classifier whose kernels have adapters.
func (j *job) loss(weights func(name string) *Node, in []*Node, key, total *Node) *Node {
	config, p := j.inputs.checkpoint.Config, j.inputs.checkpoint.Precision
	batch := batchOf(j.padding(), in)
	b := &model.Encoder{
		Config: config, Weights: weights, Hook: adapted(j.adapted.deltas(weights), p), Precision: p, Dropout: &model.Dropout{Key: key, Rows: batch.rows, Examples: batch.examples},
		GradientCheckpointing: j.config.GradientCheckpointing,
	}
	losses := lossOf(config.ProblemType)(b.Logits(batch.inputs), batch.labels)
	return weightedMean(losses, batch.weights, total)
}

func (j *job) padding() data.Padding { return data.Padding(j.config.Pad) }

// Batch assembles training batch i, counted through all epochs.
func (j *job) Batch(i int) (loop.Batch, error) {
	b, err := j.batch(i)
	return j.shared(b), err
}

// shared is a batch as devices share it.
func (j *job) shared(b data.Batch) divisible { return divisible{b, j.places} }

func (j *job) batch(i int) (b data.Batch, err error) {
	c, examples, pad := j.config, j.inputs.train, j.inputs.checkpoint.Config.PadTokenID
	index := j.order.Batch(i)
	if j.padding() == data.PadPacked {
		b, err = j.packing.Assemble(examples.rows, examples.labels, index, pad)
	} else {
		length := j.padding().Length(data.Longest(examples.rows, index), c.MaxLength)
		b, err = data.Assemble(examples.rows, examples.labels, index, c.Batch, length, pad)
	}
	j.weigh(&b)
	return b, err
}

// lookAhead is how many batches are looked at for the shapes of their graphs.
const lookAhead = 512

// Upcoming gives a batch of each shape that those after batch i have, first met first.
func (j *job) Upcoming(i int) (list []loop.Batch, err error) {
	type shape struct{ rows, length int }
	seen := map[shape]bool{}
	for end := min(i+lookAhead, j.config.Steps*j.config.Accumulate); i < end; i++ {
		b, err := j.batch(i)
		if err != nil {
			return nil, err
		}
		if of := (shape{b.Rows, b.Len}); !seen[of] {
			seen[of] = true
			list = append(list, j.shared(b))
		}
	}
	return list, nil
}

// plannedBatches is how many of a run's batches its packing is planned by.
const plannedBatches = 1024

// planBatches settles which examples each batch has, and how packed ones are laid out: from the settings and the data
// alone, so that a resumed run has the same batches.
func (j *job) planBatches() (err error) {
	c, rows := j.config, j.inputs.train.rows
	if j.order, err = data.NewOrder(c.Seed, len(rows), c.Batch, c.DropLast); err != nil || j.padding() != data.PadPacked {
		return err
	}
	batches := c.Steps * c.Accumulate
	sample := min(batches, plannedBatches)
	indices := func(yield func([]int) bool) {
		for i := range sample {
			if !yield(j.order.Batch(i)) {
				return
			}
		}
	}
	graph := graphTokens(j.inputs.checkpoint.Config.HiddenSize) * sample / batches
	j.packing = data.PlanPacking(rows, indices, c.Batch, graph)
	return j.planPlaces(sample)
}

// planPlaces settles how many places for examples a device's part of a packed batch has: what the first batches need, so
// that they are of few shapes.
func (j *job) planPlaces(batches int) error {
	if j.devices.Len() == 1 {
		return nil
	}
	for i := range batches {
		b, err := j.batch(i)
		if err != nil {
			return err
		}
		j.places = max(j.places, b.MostExamples(j.devices.Len()))
	}
	return nil
}

// graphTokens is what compiling a graph costs in tokens trained on: both go by the layers, a token's by the square of
// their width too. At BERT-base's it is 5 s of processor time, 1,400 tokens', of which some passes beside the training.
func graphTokens(hidden int) int { return 1000 * 768 * 768 / (hidden * hidden) }

// Examples names the examples of a batch by file and row.
func (j *job) Examples(batch int) []string {
	split := j.inputs.train.split
	var names []string
	for _, i := range j.order.Batch(batch) {
		names = append(names, fmt.Sprintf("%s:%d", split.Source.File, split.Examples[i].Row))
	}
	return names
}

// Evaluate measures the adapter as it stands on the validation split, with merged weights.
func (j *job) Evaluate(ctx context.Context, values []loop.NamedTensor, progress func(done, total int)) (loop.Metrics, error) {
	if j.evaluator == nil {
		var err error
		if j.evaluator, err = newEvaluator(j.devices, j.inputs.checkpoint, j.adapted, j.config.held()); err != nil {
			return nil, err
		}
	}
	logits, err := j.evaluator.logits(ctx, values, j.inputs.validation.rows, j.config.evaluationLayout(), progress)
	if err != nil {
		return nil, fmt.Errorf("evaluate: %w", err)
	}
	j.measured = measured(j.inputs.task, j.inputs.scale.scores(logits), j.inputs.validation.labels, j.config.Threshold)
	return j.measured.metrics(j.inputs.task)
}

// Score is the task's primary metric.
func (j *job) Score(m loop.Metrics) float64 { return m[j.inputs.task.Primary] }

// Write makes the parameters an adapter, with the tensors that travel with it.
func (j *job) Write(dir string, values []loop.NamedTensor) error {
	return writeAdapter(dir, j.info(), append(values, j.frozenHead()...))
}

// Read reads what Write wrote.
func (j *job) Read(dir string) (map[string]*tensors.Tensor, error) {
	_, values, err := readAdapter(dir)
	return values, err
}

// info describes the adapter.
func (j *job) info() AdapterInfo {
	c, config := j.config, j.inputs.checkpoint.Config
	info := AdapterInfo{
		Method: c.Method, Settings: c.Settings,
		Task: c.Task, Labels: config.Labels(), ProblemType: config.ProblemType, HeadTrained: c.TrainHead, Pooling: config.Pooling, MaxLength: c.MaxLength,
		Base: c.Model, BaseFiles: j.inputs.checkpoint.Files, labelScale: j.inputs.scale,
	}
	for _, k := range j.adapted.kernels() {
		info.Kernels = append(info.Kernels, AdaptedKernel{Name: k.Name, In: k.In, Out: k.Out, Rank: j.ranks[k.Name]})
	}
	return info
}

// frozenHead are the tensors that travel with the adapter although they are not trained: the head, and whatever else
// the checkpoint lacked or the adapter that training goes on with brought.
func (j *job) frozenHead() (extra []loop.NamedTensor) {
	checkpoint := j.inputs.checkpoint
	trained := j.config.trained(checkpoint.Config)
	head := checkpoint.Config.HeadNames()
	for _, name := range slices.Concat(head, checkpoint.Config.PoolerNames()) {
		fresh := slices.Contains(checkpoint.Fresh, name) || j.pooler
		if slices.Contains(trained, name) || !fresh && !slices.Contains(head, name) {
			continue
		}
		extra = append(extra, loop.NamedTensor{Name: name, Value: checkpoint.Tensors[name]})
	}
	return extra
}

// sites gives each kernel what an adapter may see of it. Gradients are computed on the first training batch, the same
// that the first step sees again.
func (j *job) sites(kernels []model.Kernel) ([]lora.Site, error) {
	first, err := j.batch(0)
	if err != nil {
		return nil, err
	}
	gradients := j.gradientsOn(first, kernels)
	sites := make([]lora.Site, len(kernels))
	for i, k := range kernels {
		sites[i] = lora.Site{
			Name: k.Name, In: k.In, Out: k.Out,
			Seed: j.config.Seed, FirstRate: j.config.FirstRate(),
			Gradient: func() (*tensors.Tensor, error) { return gradients.of(k.Name) },
			Weight: func() (*tensors.Tensor, error) {
				if j.config.held() {
					return nil, settings.Error(fmt.Errorf("precision: method %s with init %s starts from the kernels themselves, which are held as %s; take f32", j.config.Method, j.config.Init, j.config.Precision))
				}
				return j.inputs.checkpoint.Kernel(k.Name), nil
			},
		}
	}
	return sites, nil
}

func (j *job) close() {
	defer j.devices.Close()
	if j.evaluator != nil {
		j.evaluator.close()
	}
}
