package train

import (
	"context"
	"fmt"
	"slices"
	"time"

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
	stored, err := ReadStored(ctx, dir, OpenOptions{Hub: hub})
	if err != nil {
		return nil, err
	}
	return stored.Open(backend)
}

// Open loads the run's model and merges its adapter in.
func (s *Stored) Open(backend compute.Backend) (*Saved, error) {
	checkpoint, err := s.checkpoint(backend)
	if err != nil {
		return nil, err
	}
	saved := &Saved{Run: s.Run, Adapter: s.Adapter, Task: s.Task}
	if saved.Tokenizer, err = s.Tokenizer(); err != nil {
		return nil, err
	}
	weights, err := mergeAdapter(backend, s.Adapter, s.Values, checkpoint)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Dir, err)
	}
	saved.Predictor, err = newPredictor(backend, checkpoint.Config, weights)
	return saved, err
}

// mergeAdapter folds an adapter's tensors into a checkpoint: factors into their kernels, the head in place of
// the checkpoint's. Every tensor must be one the adapter's description asks for.
func mergeAdapter(backend compute.Backend, info AdapterInfo, values map[string]*tensors.Tensor, c *model.Checkpoint) (namedTensors, error) {
	adapter, state, err := info.state(values, c.Config)
	if err != nil {
		return namedTensors{}, err
	}
	if err := info.onlyKnown(values, state, c.Config); err != nil {
		return namedTensors{}, err
	}
	for name, t := range values {
		if _, ok := c.Tensors[name]; ok {
			c.Tensors[name] = t
		}
	}
	m, err := newMerger(backend, adapter)
	if err != nil {
		return namedTensors{}, err
	}
	defer m.finalize()
	for _, at := range state.sites { // where they lie: nothing else reads this checkpoint
		if err := m.into(c.Kernel(at.kernel.Name), state.factorsOf(at)); err != nil {
			return namedTensors{}, fmt.Errorf("%s: %w", at.kernel.Name, err)
		}
	}
	return weightsOf(c), nil
}

// state is the adapter that the description stands for, with these tensors as its factors.
func (a *AdapterInfo) state(values map[string]*tensors.Tensor, c *model.Config) (lora.Adapter, *state, error) {
	adapter, err := a.New()
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
	Seconds       float64 `json:"evaluate_seconds"` // encoding, compiling and computing; the model was loaded before
	Dropped       int     `json:"dropped"`
}

// Evaluate measures the run on a labelled split, treating overlong examples as the run did.
func (s *Saved) Evaluate(ctx context.Context, split *data.Split, progress func(done, total int)) (*Evaluation, error) {
	began := time.Now()
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
	return &Evaluation{s.Task.Name, split.Name, m, s.Task.Primary, len(e.rows), time.Since(began).Seconds(), e.dropped}, err
}
