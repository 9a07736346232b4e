package train

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/deeplora/deeplora/internal/jsonfile"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// create prepares a new run: reads everything, makes the run directory, draws the adapter. The directory is
// made only once settings, model and data have proved sound.
func (t *trainer) create(ctx context.Context) error {
	if err := CheckVacant(t.Out, configJSON); err != nil {
		return err
	}
	if err := t.prepare(ctx); err != nil {
		return err
	}
	if t.config.AutoBatch {
		if err := t.fitBatch(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil { // who stopped this may begin the run again at once: it must not appear under their hands
		return t.orInterrupted(ctx, ctx.Err())
	}
	var err error
	if t.dir, err = CreateRun(t.Out, configJSON); err != nil {
		return err
	}
	if err := t.describe(); err != nil {
		return err
	}
	return t.ready(ctx, t.start)
}

// prepare reads model and data of a new run and builds what trains on them.
func (t *trainer) prepare(ctx context.Context) error {
	if t.config.From != "" {
		if err := t.goOnFrom(ctx, t.config.From); err != nil {
			return err
		}
	}
	if err := t.config.Validate(); err != nil {
		return configError{err}
	}
	if err := t.read(ctx); err != nil {
		return err
	}
	return t.build()
}

// reopen prepares to go on with a run. It returns the result of one that has finished.
func (t *trainer) reopen(ctx context.Context) (*Result, error) {
	var err error
	if t.dir, err = OpenRun(t.Out, configJSON); err != nil {
		return nil, err
	}
	then, err := ReadRunConfig(t.Out)
	if err != nil {
		return nil, err
	}
	given := t.config.OnNonfinite
	t.config = then.Config
	if given != "" { // the one setting that may change: a run that stopped goes on past the step
		t.config.OnNonfinite = given
	}
	result, err := ReadResult(t.Out)
	if err == nil {
		t.Notice("%s has finished already", t.Out)
		return &result, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := t.rebuild(ctx, then, "resume"); err != nil {
		return nil, err
	}
	return nil, t.ready(ctx, t.restore)
}

// rebuild reads and builds what a run was begun with: its draw, whatever has become of the file that it came from, and
// the adapter it goes on from. It is an error, which says what was being done, if model or data have changed.
func (t *trainer) rebuild(ctx context.Context, then RunConfig, doing string) error {
	if t.config.Manifest != "" {
		t.config.Manifest = filepath.Join(t.Out, manifestJSON)
	}
	if t.config.From != "" {
		if err := t.goOnFrom(ctx, filepath.Join(t.Out, fromDir)); err != nil {
			return err
		}
	}
	if err := t.read(ctx); err != nil {
		return err
	}
	notice, err := t.options.Provenance.Continues(then.Provenance)
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, t.Out, err)
	}
	if notice != "" {
		t.Notice("%s", notice)
	}
	return t.build()
}

// read loads model and data and resolves the settings that depend on them.
func (t *trainer) read(ctx context.Context) error {
	var err error
	if t.in, err = load(ctx, t.options.Backend, &t.config, t.options.Hub, t.Notice); err != nil {
		return err
	}
	if err := t.matchFrom(); err != nil {
		return err
	}
	// Where the checkpoint's probabilities differ no number stands for them: its config.json, whose sha256 the
	// run notes, goes on saying what they are.
	if p, common := t.in.checkpoint.Config.CommonDropout(); common && t.config.Dropout == CheckpointDropout {
		t.config.Dropout = p
	}
	t.options.Provenance.Model, t.options.Provenance.Data, t.options.Provenance.ModelRevision = t.in.checkpoint.Files, t.in.sources, t.in.hub.Commit
	asked := t.config.Batch
	if err := t.config.resolve(len(t.in.train.rows)); err != nil {
		return configError{err}
	}
	if asked != t.config.Batch {
		t.Notice("batch lowered from %d to the %d training examples", asked, t.config.Batch)
	}
	return nil
}

// build lists the parameters and compiles nothing yet.
func (t *trainer) build() error {
	c := &t.config
	kernels, err := t.kernels()
	if err != nil {
		return err
	}
	adapter, err := t.newAdapter()
	if err != nil {
		return configError{err}
	}
	if err := t.planBatches(); err != nil {
		return configError{err}
	}
	sites, err := t.sites(kernels)
	if err != nil {
		return err
	}
	state, err := newState(adapter, sites, kernels, t.trainedTensors())
	if err != nil {
		return configError{err}
	}
	if err := t.takeFrom(state); err != nil {
		return err
	}
	t.adapter, t.job, t.Plan = adapter, t, c.plan()
	t.program = &program{
		backend: t.options.Backend, state: state, weights: t.frozenWeights(), objective: fineTuning(t.in.checkpoint.Config, adapter, state, lossOf(t.in.checkpoint.Config.ProblemType), c.GradientCheckpointing),
		inputs: fineTuningInputs(data.Padding(c.Pad)), decay: c.WeightDecay, clip: c.Clip, dtype: trainDType,
	}
	return t.program.compile()
}

// plan is the part of the settings that the loop goes by.
func (c *Config) plan() Plan {
	return Plan{
		Seed: c.Seed, Steps: c.Steps, Accumulate: c.Accumulate, LR: c.LR, Warmup: c.Warmup, DecayRatio: c.DecayRatio,
		EvalEvery: c.EvalEvery, SaveEvery: c.SaveEvery, Keep: c.Keep, EarlyStop: c.EarlyStop, SkipNonfinite: c.OnNonfinite == NonfiniteSkip,
	}
}

// kernels are those that are adapted: none where the model itself is trained.
func (t *trainer) kernels() ([]model.Kernel, error) {
	if t.config.Whole() {
		return nil, nil
	}
	return t.scope()
}

// scope resolves scope or patterns to kernels, in the encoder's order.
func (t *trainer) scope() ([]model.Kernel, error) {
	c := &t.config
	selected, err := SelectKernels(t.in.checkpoint.Config, c.Scope, c.Target, c.MinDim)
	if err != nil {
		return nil, err
	}
	if selected.Notice != "" {
		t.Notice("%s", selected.Notice)
	}
	c.MinDim = selected.MinDim
	return selected.Kernels, nil
}

// Selected are the kernels that a scope picked.
type Selected struct {
	Kernels []model.Kernel // in the encoder's order
	MinDim  int            // the bound on their smaller side that was applied, 0 for none
	Notice  string         // a line for the user, or empty
}

// SelectKernels returns the kernels of a model that a scope, or else patterns, adapt.
func SelectKernels(config *model.Config, scope string, patterns []string, minDim int) (Selected, error) {
	kernels := config.Kernels()
	shapes := make([]lora.Shape, len(kernels))
	for i, k := range kernels {
		shapes[i] = lora.Shape{Name: k.Name, In: k.In, Out: k.Out}
	}
	chosen, err := lora.Scope{Name: scope, Patterns: patterns, MinDim: minDim}.Select(shapes, config.HiddenSize)
	if err != nil {
		return Selected{}, err
	}
	selected := Selected{MinDim: chosen.MinDim, Notice: chosen.Notice}
	for _, k := range kernels {
		if slices.ContainsFunc(chosen.Kernels, func(s lora.Shape) bool { return s.Name == k.Name }) {
			selected.Kernels = append(selected.Kernels, k)
		}
	}
	return selected, nil
}

// sites gives each kernel what an adapter may see of it. Gradients are computed on the first training
// batch, the same that the first step sees again.
func (t *trainer) sites(kernels []model.Kernel) ([]lora.Site, error) {
	first, err := t.batch(0)
	if err != nil {
		return nil, err
	}
	gradients := t.gradientsOn(first, kernels)
	sites := make([]lora.Site, len(kernels))
	for i, k := range kernels {
		sites[i] = lora.Site{
			Name: k.Name, In: k.In, Out: k.Out,
			Seed:     t.config.Seed,
			Gradient: func() (*tensors.Tensor, error) { return gradients.of(k.Name) },
			Weight:   func() (*tensors.Tensor, error) { return t.in.checkpoint.Kernel(k.Name), nil },
		}
	}
	return sites, nil
}

// gradientsOn are the gradients by kernels of the loss of a batch.
func (t *trainer) gradientsOn(b data.Batch, kernels []model.Kernel) *kernelGradients {
	return &kernelGradients{
		backend: t.options.Backend, config: t.in.checkpoint.Config, weights: weightsOf(t.in.checkpoint),
		loss: lossOf(t.in.checkpoint.Config.ProblemType), batch: b, total: realExamples(b), kernels: kernels,
		again: t.config.GradientCheckpointing,
	}
}

// headNames are the tensors of the classification head.
var headNames = []string{model.HeadWeight, model.HeadBias}

// trainedTensors are the model's own tensors that are trained.
func (t *trainer) trainedTensors() []param {
	var list []param
	for _, name := range t.config.trained(t.in.checkpoint.Config) {
		value := t.in.checkpoint.Tensors[name]
		list = append(list, param{name: name, shape: value.Shape().Dimensions, rate: 1, draw: value.LocalClone})
	}
	return list
}

// frozenWeights are the tensors of the checkpoint that are not trained themselves.
func (t *trainer) frozenWeights() namedTensors {
	all, trained := weightsOf(t.in.checkpoint), t.config.trained(t.in.checkpoint.Config)
	var n namedTensors
	for i, name := range all.names {
		if !slices.Contains(trained, name) {
			n.names, n.list = append(n.names, name), append(n.list, all.list[i])
		}
	}
	return n
}

// frozenHead are the tensors that travel with the adapter although they are not trained: the head, and
// whatever else the checkpoint lacked.
func (t *trainer) frozenHead() []NamedTensor {
	trained := t.config.trained(t.in.checkpoint.Config)
	var extra []NamedTensor
	for _, name := range append(slices.Clone(headNames), model.PoolerWeight, model.PoolerBias) {
		fresh := slices.Contains(t.in.checkpoint.Fresh, name)
		if slices.Contains(trained, name) || !fresh && !slices.Contains(headNames, name) {
			continue
		}
		extra = append(extra, NamedTensor{name, t.in.checkpoint.Tensors[name]})
	}
	return extra
}

// describe writes what the run is before it begins: the manifest, then config.json, which makes the
// directory a run.
func (t *trainer) describe() error {
	if err := t.keepFrom(); err != nil {
		return err
	}
	err := atomicfile.Write(t.dir.File(manifestJSON), func(w io.Writer) error { return t.in.manifest.Encode(w) })
	if err != nil {
		return err
	}
	if err := jsonfile.Write(t.dir.File(configJSON), RunConfig{t.config, t.options.Provenance}); err != nil {
		// A manifest alone is no run, and would keep the next one out.
		return errors.Join(err, os.Remove(t.dir.File(manifestJSON)), os.RemoveAll(t.dir.File(fromDir)))
	}
	return nil
}

// ready begins or goes on, by the loop's own means, and says so.
func (t *trainer) ready(ctx context.Context, open func(ctx context.Context, phase string) error) error {
	if err := open(ctx, "initialise "+t.config.Method); err != nil {
		return err
	}
	if err := os.RemoveAll(t.dir.File(adapterDir)); err != nil { // of a run that died between it and result.json
		return fmt.Errorf("remove unfinished adapter: %w", err)
	}
	s := t.program.state
	t.emit(Ready{Kernels: len(s.sites), Parameters: s.trained(), Examples: len(t.in.train.rows), Steps: t.config.Steps, From: t.progress.Step})
	return nil
}
