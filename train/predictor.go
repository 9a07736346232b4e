package train

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"sync"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"golang.org/x/sync/errgroup"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// Predictor computes with plain, merged weights: a finished run with its adapter merged in, or a checkpoint. It is not
// safe for concurrent use.
type Predictor struct {
	Run       RunConfig // of a checkpoint: the defaults
	Task      data.Task // the zero Task where it is not known
	Tokenizer data.Tokenizer

	from    *Finished // nil: a checkpoint
	devices *devices.Set
	own     bool // devices: else they are a base's, or a run's in training
	config  *model.Config
	weights []loop.NamedTensor
	*graphs
	features bool  // what the layer of outputs reads is computed, and not what it gives
	base     *base // what is shared with others; nil: nothing is
}

// graphs are a predictor's compiled graphs. Predictors whose adapters are of one form share them.
type graphs struct {
	padded, packed *Exec
	users          int // predictors that are not closed
}

// Open opens a finished run: the base model it was trained on, which must be the same to the bit (ErrOtherBase), and its
// adapter. Close it.
func Open(ctx context.Context, dir string, backend compute.Backend, o OpenOptions) (*Predictor, error) {
	f, err := ReadFinished(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	return f.Open(backend)
}

// OpenCheckpoint opens a checkpoint with its own head and tokenizer: a directory, a model of the hub, or one that the
// program brings. Of the options it takes Sources and Precision.
func OpenCheckpoint(ctx context.Context, ref string, backend compute.Backend, o OpenOptions) (*Predictor, error) {
	files, _, err := o.Sources.Model(ctx, ref)
	if err != nil {
		return nil, err
	}
	p, err := openCheckpoint(files, backend, o.Precision)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", ref, err)
	}
	return p, nil
}

func openCheckpoint(files fs.FS, backend compute.Backend, precision string) (*Predictor, error) {
	checkpoint, err := model.Load(files, model.LoadOptions{Precision: model.Precision(precision), Backend: backend})
	if err != nil {
		return nil, err
	}
	if err := predictable(checkpoint.Config); err != nil {
		return nil, err
	}
	tok, err := tokenizerOf(files)
	if err != nil {
		return nil, err
	}
	if err := checkpoint.Hold(model.Precision(precision), backend, func(string) bool { return false }); err != nil {
		return nil, err
	}
	p, err := NewPredictor(backend, checkpoint)
	if err == nil {
		p.Tokenizer = tok
	}
	return p, err
}

// predictable refuses heads whose outputs are neither choices nor one score.
func predictable(c *model.Config) error {
	if n := c.NumLabels(); c.ProblemType == model.Regression && n > 1 {
		return fmt.Errorf("config.json: a regression of %d outputs; only one is predicted", n)
	}
	return nil
}

// NewPredictor serves a checkpoint as it is, without a tokenizer.
func NewPredictor(backend compute.Backend, c *model.Checkpoint) (*Predictor, error) {
	on, err := devices.New(backend, 1)
	if err != nil {
		return nil, err
	}
	p, err := newPredictor(on, c, weightsOf(c), nil)
	if err != nil {
		return nil, err
	}
	p.own = true
	return p, nil
}

// UseDevices has Logits, and what calls it, computed on the first n devices of the engine, which take batches in turn. Each
// has the model's tensors once. The numbers are the same to the bit. Call it before anything is computed.
func (p *Predictor) UseDevices(n int) error {
	if p.base != nil && p.base.devices.Len() == n {
		p.devices = p.base.devices
		return nil
	}
	on, err := devices.New(p.devices.Backend(), n)
	if err != nil {
		return err
	}
	if p.devices = on; p.base != nil {
		p.base.devices = on
	}
	return nil
}

// Devices is on how many devices Logits is computed.
func (p *Predictor) Devices() int { return p.devices.Len() }

// weightsOf lists every tensor of a checkpoint in the order of its Specs.
func weightsOf(c *model.Checkpoint) (list []loop.NamedTensor) {
	for _, spec := range c.Config.Specs() {
		list = append(list, loop.NamedTensor{Name: spec.Name, Value: c.Tensors[spec.Name]})
	}
	return list
}

// newPredictor computes with weights, as the checkpoint's. adapted are the adapters beside them; nil: there are none.
func newPredictor(on *devices.Set, c *model.Checkpoint, weights []loop.NamedTensor, adapters *adaptation) (*Predictor, error) {
	config, precision := c.Config, c.Precision
	p := &Predictor{Run: RunConfig{Config: Default()}, devices: on, config: config, weights: weights}
	p.Run.MaxLength = min(p.Run.MaxLength, config.Positions())
	var err error
	p.graphs, err = p.newGraphs(precision, adapters)
	return p, err
}

// newGraphs are graphs that are not compiled yet, of the weights that p has by then.
func (p *Predictor) newGraphs(precision model.Precision, adapters *adaptation) (*graphs, error) {
	g := &graphs{users: 1}
	for exec, packed := range map[**Exec]bool{&g.padded: false, &g.packed: true} {
		e, err := NewExec(p.devices.Backend(), func(in []*Node) []*Node {
			named, in := byName(p.weights, in)
			hook := model.WeightHook(precision.Hook)
			if adapters != nil {
				hook = adapted(adapters.deltas(named), precision)
			}
			bert := &model.Encoder{Config: p.config, Weights: named, Hook: hook, Precision: precision}
			if p.features {
				return []*Node{bert.Features(encoderInputs(packed, in))}
			}
			return []*Node{bert.Logits(encoderInputs(packed, in))}
		})
		if err != nil {
			return nil, fmt.Errorf("predict: %w", err)
		}
		*exec = e.WithName("predict").SetMaxCache(maxGraphs)
	}
	return g, nil
}

// maxGraphs is how many compiled graphs an Exec may hold: one a shape of batch, or of kernel.
const maxGraphs = 64

// byName gives the first of a graph's inputs by the names of the tensors that they are, and the rest.
func byName(list []loop.NamedTensor, in []*Node) (weights model.Weights, rest []*Node) {
	nodes := make(map[string]*Node, len(list))
	for i, t := range list {
		nodes[t.Name] = in[i]
	}
	return graphx.Lookup(nodes), in[len(list):]
}

// argsOn are tensors that do not change as arguments on a device.
func argsOn(on *devices.Set, device int, list []loop.NamedTensor) ([]any, error) {
	args := make([]any, len(list))
	for i, t := range list {
		value, err := on.On(device, t.Value)
		if err != nil {
			return nil, err
		}
		args[i] = value
	}
	return args, nil
}

// Close frees the compiled graphs, once no other predictor shares them.
func (p *Predictor) Close() {
	if p.own {
		p.devices.Close()
	}
	if p.users--; p.users == 0 {
		p.padded.Finalize()
		p.packed.Finalize()
	}
}

// Config is the model's configuration: labels, lengths, vocabulary.
func (p *Predictor) Config() *model.Config { return p.config }

// Labels are the names of the model's classes, in the order of its logits.
func (p *Predictor) Labels() []string { return p.config.Labels() }

// Prediction is a class and its probabilities, or the classes of a multilabel model, or the score of a regression.
type Prediction struct {
	Label         string    `json:"label,omitempty"`
	Labels        []string  `json:"labels,omitzero"`         // of a multilabel model, none of them: empty; nil of others
	Probabilities []float64 `json:"probabilities,omitempty"` // in the order of Predictor.Labels; of a multilabel model each by itself
	Score         *float64  `json:"score,omitempty"`         // of a regression; nil where there are classes
	Logits        []float32 `json:"logits"`
}

// Predict predicts examples, in their order. Texts longer than the run's max-length are cut.
func (p *Predictor) Predict(ctx context.Context, examples []data.Example) ([]Prediction, error) {
	rows := make([]data.Encoded, len(examples))
	for i, x := range examples {
		var err error
		if rows[i], _, err = data.EncodePair(p.Tokenizer, x.Text, x.Pair, x.HasPair, p.Run.MaxLength); err != nil {
			return nil, fmt.Errorf("example %d: %w", i, err)
		}
	}
	logits, err := p.Logits(ctx, rows, p.Run.evaluationLayout(), nil)
	if err != nil {
		return nil, err
	}
	predicted := make([]Prediction, len(logits))
	for i, row := range logits {
		predicted[i] = p.Interpret(row)
	}
	return predicted, nil
}

// Interpret says what logits mean.
func (p *Predictor) Interpret(logits []float32) Prediction {
	if c := p.config; c.ProblemType == model.Regression || c.ProblemType == "" && c.NumLabels() == 1 {
		score := float64(logits[0])
		return Prediction{Score: &score, Logits: logits}
	}
	if p.config.ProblemType == model.MultiLabel {
		return p.several(logits)
	}
	return Prediction{Label: p.Labels()[argmax(logits)], Probabilities: softmax(logits), Logits: logits}
}

// softmax in float64, from the largest logit down.
func softmax(logits []float32) []float64 {
	largest := float64(logits[argmax(logits)])
	p, sum := make([]float64, len(logits)), 0.0
	for i, l := range logits {
		p[i] = math.Exp(float64(l) - largest)
		sum += p[i]
	}
	for i := range p {
		p[i] /= sum
	}
	return p
}

// Layout says how examples are put into batches.
type Layout struct {
	Batch     int          // examples a batch; where they are packed, rows of 64 tokens
	Padding   data.Padding // and MaxLength, in tokens: what batches are padded to
	MaxLength int
}

// evaluationLayout packs evaluation batches, also where training pads them: it is the same model, in less time.
func (c *Config) evaluationLayout() Layout {
	return Layout{Batch: c.EvalBatch, Padding: data.PadPacked, MaxLength: c.MaxLength}
}

// batches assembles the batches of rows.
func (l Layout) batches(rows []data.Encoded, pad int32) iter.Seq2[data.Batch, error] {
	if l.Padding == data.PadPacked && l.Batch > 1 { // one at a time: the same bits in any company
		packing, batches := data.PackEvaluation(rows, l.Batch, l.MaxLength)
		return assembled(batches, func(index []int) (data.Batch, error) {
			return packing.Assemble(rows, nil, index, pad)
		})
	}
	return assembled(data.EvalBatches(rows, l.Batch), func(index []int) (data.Batch, error) {
		length := l.Padding.Length(data.Longest(rows, index), l.MaxLength)
		return data.Assemble(rows, nil, index, min(l.Batch, len(rows)), length, pad)
	})
}

func assembled(batches [][]int, assemble func(index []int) (data.Batch, error)) iter.Seq2[data.Batch, error] {
	return func(yield func(data.Batch, error) bool) {
		for _, index := range batches {
			if !yield(assemble(index)) {
				return
			}
		}
	}
}

// Logits returns a row of logits [labels] for every encoded example, in their order, whatever order they are computed
// in, and whatever devices compute them. progress may be nil.
func (p *Predictor) Logits(ctx context.Context, rows []data.Encoded, layout Layout, progress func(done, total int)) ([][]float32, error) {
	for _, r := range rows {
		if err := p.config.Check(r.IDs, r.Types, len(r.IDs)); err != nil {
			return nil, err
		}
	}
	next, stop := iter.Pull2(layout.batches(rows, p.config.PadTokenID))
	defer stop()
	d := dealt{next: next, logits: make([][]float32, len(rows)), progress: progress}
	g, ctx := errgroup.WithContext(ctx)
	for device := range p.devices.Len() {
		g.Go(func() error { return d.compute(ctx, p, device) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return d.logits, nil
}

// dealt are batches that devices take in turn.
type dealt struct {
	mu       sync.Mutex
	next     func() (data.Batch, error, bool)
	logits   [][]float32
	done     int
	progress func(done, total int)
}

// compute takes batches for a device until there are none.
func (d *dealt) compute(ctx context.Context, p *Predictor, device int) error {
	for {
		b, err, more := d.take(ctx)
		if err != nil || !more {
			return err
		}
		out, err := p.compute(device, b)
		if err != nil {
			return err
		}
		if err := d.give(p, b, out); err != nil {
			return err
		}
	}
}

func (d *dealt) take(ctx context.Context) (b data.Batch, err error, more bool) { //nolint:revive // as of an iterator
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() != nil {
		return b, ctx.Err(), false
	}
	b, err, more = d.next()
	return b, err, more
}

// give stores a batch's logits.
func (d *dealt) give(p *Predictor, b data.Batch, out []float32) (err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, i := range b.Index {
		if i < 0 { // filler
			continue
		}
		if d.logits[i], err = p.row(out, at); err != nil {
			return fmt.Errorf("example %d: %w", i+1, err)
		}
		d.done++
	}
	if d.progress != nil {
		d.progress(d.done, len(d.logits))
	}
	return nil
}

// row is that of one example among a batch's logits, which must be finite.
func (p *Predictor) row(flat []float32, at int) ([]float32, error) {
	width := p.config.NumLabels()
	if p.features {
		width = p.config.HiddenSize
	}
	row := flat[at*width : (at+1)*width]
	for _, v := range row {
		if v-v != 0 { // a class or a score read from it would be a number like any other
			return nil, fmt.Errorf("logit %g: the weights have diverged", v)
		}
	}
	return row, nil
}

// Laid returns the logits [labels] of the first n examples of a batch that the caller has laid out itself, as with
// data.Packing.Lay, computed on a device, from 0. Ids and types must have passed Config().Check. Each shape of batch is one
// graph, which is compiled when it is first met. It may be called several times at once.
func (p *Predictor) Laid(device int, b data.Batch, n int) ([][]float32, error) {
	flat, err := p.compute(device, b)
	if err != nil {
		return nil, err
	}
	logits := make([][]float32, n)
	for i := range logits {
		if logits[i], err = p.row(flat, i); err != nil {
			return nil, fmt.Errorf("example %d: %w", i+1, err)
		}
	}
	return logits, nil
}

func (p *Predictor) exec(b data.Batch) *Exec {
	if b.Packed() {
		return p.packed
	}
	return p.padded
}

// compute gives the logits of one batch, flat [rows·labels].
func (p *Predictor) compute(device int, b data.Batch) (flat []float32, err error) {
	err = graphx.Try("predict", func() {
		args := append(graphx.Must(argsOn(p.devices, device, p.weights)), p.devices.Donated(device, b.Tensors())...)
		out := graphx.Must(p.devices.CallOn(device, p.exec(b), args))
		defer out[0].MustFinalizeAll()
		if out[0].DType() == dtypes.Float64 {
			for _, v := range graphx.Must(tensors.CopyFlatData[float64](out[0])) {
				flat = append(flat, float32(v))
			}
			return
		}
		flat = graphx.Must(tensors.CopyFlatData[float32](out[0]))
	})
	return flat, err
}

// Evaluation is what an evaluation found.
type Evaluation struct {
	Task          string       `json:"task"`
	Split         string       `json:"split"`
	Metrics       loop.Metrics `json:"metrics"`
	PrimaryMetric string       `json:"primary_metric"`
	Examples      int          `json:"examples"`
	Seconds       float64      `json:"evaluate_seconds"` // encoding, compiling and computing; the model was loaded before
	Dropped       int          `json:"dropped"`
	byLabel
	Errors []judged `json:"errors,omitempty"` // what Worst keeps

	judge    func(worst int) []judged
	task     data.Task
	measured *measurement
	outcomes func() outcomes
}

// Evaluate measures the run on a labelled split of its Task, treating overlong examples as the run did. progress may be
// nil.
func (p *Predictor) Evaluate(ctx context.Context, split *data.Split, progress func(done, total int)) (*Evaluation, error) {
	began := time.Now()
	e, err := encodeSplit(p.Tokenizer, split, p.Run.MaxLength, p.Run.Overlong)
	if err != nil {
		return nil, err
	}
	for _, x := range e.split.Examples {
		if x.Label != x.Label {
			return nil, fmt.Errorf("%s: data row %d has no label: it cannot be evaluated, only predicted; leave such rows out (a run trained with --skip-unlabelled does)", split.Source.File, x.Row)
		}
	}
	logits, err := p.Logits(ctx, e.rows, p.Run.evaluationLayout(), progress)
	if err != nil {
		return nil, err
	}
	m := measured(p.Task, logits, e.labels, p.Run.Threshold)
	values, err := m.metrics(p.Task)
	if err != nil {
		return nil, err
	}
	return &Evaluation{
		Task: p.Task.Name, Split: split.Name, Metrics: values, PrimaryMetric: p.Task.Primary, Examples: len(e.rows),
		Seconds: time.Since(began).Seconds(), Dropped: e.dropped, byLabel: m.byLabel(p.Task),
		judge: func(worst int) []judged { return p.worst(e, logits, worst) },
		task:  p.Task, measured: m, outcomes: func() outcomes { return outcomesOf(p.Task, logits, e.labels, p.Run.Threshold) },
	}, nil
}

// SplitLogits gives a row of logits [labels] for every example of a split, in their order. No example is left out:
// overlong ones are truncated, and counted. progress may be nil.
func (p *Predictor) SplitLogits(ctx context.Context, split *data.Split, progress func(done, total int)) (logits [][]float32, truncated int, err error) {
	e, err := encodeSplit(p.Tokenizer, split, p.Run.MaxLength, overlongTruncate)
	if err != nil {
		return nil, 0, err
	}
	logits, err = p.Logits(ctx, e.rows, p.Run.evaluationLayout(), progress)
	return logits, e.cut, err
}
