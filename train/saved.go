package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// Saved is a finished run opened for use: its model with the adapter merged in.
type Saved struct {
	*Predictor
	Run       RunConfig
	Adapter   AdapterInfo
	Task      data.Task
	Tokenizer data.Tokenizer
}

// Open loads a finished run: the base model it was trained on, which must be the same to the bit
// (ErrOtherBase), and its adapter.
func Open(ctx context.Context, dir string, backend compute.Backend, hub data.HubOptions) (*Saved, error) {
	s := &Saved{}
	var err error
	if s.Run, err = ReadRunConfig(dir); err != nil {
		return nil, err
	}
	info, values, err := readAdapter(filepath.Join(dir, adapterDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s has no adapter yet: the run has not finished; go on with deeplora train --resume --out %s", dir, dir)
	}
	if err != nil {
		return nil, err
	}
	s.Adapter = info
	if s.Task, err = data.LookupTask(info.Task); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	checkpoint, err := s.base(ctx, hub)
	if err != nil {
		return nil, err
	}
	weights, err := mergeAdapter(backend, info, values, checkpoint)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	s.Predictor, err = newPredictor(backend, checkpoint.Config, weights)
	return s, err
}

// base loads the model that the adapter belongs to, with the run's task as its head.
func (s *Saved) base(ctx context.Context, hub data.HubOptions) (*model.Checkpoint, error) {
	files, _, err := OpenModel(ctx, s.Run.Model, hub)
	if err != nil {
		return nil, err
	}
	checkpoint, err := loadCheckpointFor(files, &s.Run.Config, s.Task)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", s.Run.Model, err)
	}
	if err := sameFiles("model", s.Adapter.BaseFiles, checkpoint.Files); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOtherBase, err)
	}
	if s.Tokenizer, err = data.OpenTokenizerFS(files, "."); err != nil {
		return nil, fmt.Errorf("model %s: %w", s.Run.Model, err)
	}
	return checkpoint, nil
}

// mergeAdapter folds an adapter's tensors into a checkpoint: factors into their kernels, the head in place of
// the checkpoint's. Every tensor must be one the adapter's description asks for.
func mergeAdapter(backend compute.Backend, info AdapterInfo, values map[string]*tensors.Tensor, c *model.Checkpoint) (namedTensors, error) {
	adapter, state, err := info.state(values, c.Config)
	if err != nil {
		return namedTensors{}, err
	}
	left := maps.Clone(values)
	for _, p := range state.params {
		delete(left, p.name)
	}
	for _, name := range []string{model.HeadWeight, model.HeadBias, model.PoolerWeight, model.PoolerBias} {
		t, ok := left[name]
		if !ok {
			continue
		}
		if want := c.Tensors[name].Shape(); !slices.Equal(t.Shape().Dimensions, want.Dimensions) {
			return namedTensors{}, fmt.Errorf("tensor %q is %v, want %v", name, t.Shape().Dimensions, want.Dimensions)
		}
		c.Tensors[name] = t
		delete(left, name)
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		return namedTensors{}, fmt.Errorf("tensor %q is unexpected in a %s adapter", name, info.Method)
	}
	m, err := newMerger(backend, adapter)
	if err != nil {
		return namedTensors{}, err
	}
	defer m.finalize()
	weights, _, err := m.state(c, state)
	return weights, err
}

// state is the adapter that the description stands for, with these tensors as its factors.
func (a *AdapterInfo) state(values map[string]*tensors.Tensor, c *model.Config) (lora.Adapter, *state, error) {
	adapter, err := lora.New(a.Method, a.settings())
	if err != nil {
		return nil, nil, err
	}
	kernels, sites, err := a.sites(c)
	if err != nil {
		return nil, nil, err
	}
	s, err := newState(adapter, sites, kernels, nil)
	if err != nil {
		return nil, nil, err
	}
	return adapter, s, s.restore(values, nil)
}

// sites are the adapter's kernels as the model has them.
func (a *AdapterInfo) sites(c *model.Config) ([]model.Kernel, []lora.Site, error) {
	all := c.Kernels()
	var kernels []model.Kernel
	var sites []lora.Site
	for _, k := range a.Kernels {
		i := slices.IndexFunc(all, func(m model.Kernel) bool { return m.Name == k.Name })
		if i < 0 || all[i].In != k.In || all[i].Out != k.Out {
			return nil, nil, fmt.Errorf("%w: the model has no kernel %s [%d %d]", ErrOtherBase, k.Name, k.In, k.Out)
		}
		if slices.Contains(kernels, all[i]) { // its ΔK would be added twice
			return nil, nil, fmt.Errorf("%s: %w: kernel %s is listed twice", adapterJSON, ErrCorrupt, k.Name)
		}
		kernels = append(kernels, all[i])
		sites = append(sites, lora.Site{Name: k.Name, In: k.In, Out: k.Out})
	}
	return kernels, sites, nil
}

// Evaluation is what an evaluation found.
type Evaluation struct {
	Task          string  `json:"task"`
	Split         string  `json:"split"`
	Metrics       Metrics `json:"metrics"`
	PrimaryMetric string  `json:"primary_metric"`
	Examples      int     `json:"examples"`
	Dropped       int     `json:"dropped"`
}

// Evaluate measures the run on a labelled split, treating overlong examples as the run did.
func (s *Saved) Evaluate(ctx context.Context, split *data.Split, progress func(done, total int)) (*Evaluation, error) {
	e, err := encodeSplit(s.Tokenizer, split, s.Run.MaxLength, s.Run.Overlong)
	if err != nil {
		return nil, err
	}
	for i, label := range e.labels {
		if label != label {
			return nil, fmt.Errorf("%s: data row %d has no label: it cannot be evaluated, only predicted", split.Source.File, e.split.Examples[i].Row)
		}
	}
	logits, err := s.Logits(ctx, e.rows, evaluationLayout(&s.Run.Config), progress)
	if err != nil {
		return nil, err
	}
	m, err := Measure(s.Task, logits, e.labels)
	return &Evaluation{s.Task.Name, split.Name, m, s.Task.Primary, len(e.rows), e.dropped}, err
}
