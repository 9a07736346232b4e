package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// Stored is a finished run as it lies on disk: its adapter read, of its model nothing but where it is.
type Stored struct {
	Dir     string
	Run     RunConfig
	Adapter AdapterInfo
	Values  map[string]*tensors.Tensor // factors and the head, by name, in the graph's orientation
	Task    data.Task                  // the zero Task where nobody said what an imported adapter was trained on
	Base    fs.FS                      // the model's files
	Notices []string                   // for the user
}

// OpenOptions say how a finished run is opened.
type OpenOptions struct {
	Hub     data.HubOptions
	AnyBase bool // take another base model than the adapter was trained on, with a notice
}

// ReadStored reads a finished run. Its base model must be the one that the adapter was trained on to the bit
// (ErrOtherBase), unless o says otherwise.
func ReadStored(ctx context.Context, dir string, o OpenOptions) (*Stored, error) {
	s := &Stored{Dir: dir}
	var err error
	if s.Run, s.Adapter, s.Values, err = finishedAdapter(dir); err != nil {
		return nil, err
	}
	if s.Task, err = s.Adapter.task(); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if s.Base, _, err = OpenModel(ctx, s.Run.Model, o.Hub); err != nil {
		return nil, err
	}
	return s, s.sameBase(o.AnyBase)
}

// task is the row of the table that the adapter was trained for.
func (a *AdapterInfo) task() (data.Task, error) {
	if a.Imported && a.Task == "" {
		return data.Task{}, nil
	}
	return data.LookupTask(a.Task)
}

// sameBase holds the model's files against those that the adapter was trained on.
func (s *Stored) sameBase(any bool) error {
	r, err := s.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	files, err := r.Files()
	if err != nil {
		return err
	}
	err = sameFiles("model", s.Adapter.BaseFiles, files)
	switch {
	case err == nil:
		return nil
	case any:
		s.Notices = append(s.Notices, fmt.Sprintf("%v: %v; taken all the same", ErrOtherBase, err))
		return nil
	default:
		return fmt.Errorf("%w: %w", ErrOtherBase, err)
	}
}

func (s *Stored) loadOptions() model.LoadOptions {
	_, head := s.Values[model.HeadWeight]
	return model.LoadOptions{
		Labels: s.Adapter.Labels, ProblemType: s.Adapter.ProblemType,
		Head: rng.New(headSeed(&s.Run.Config), "head"), NewHead: s.Run.FreshHead || head && s.Adapter.Imported,
	}
}

// Reader opens the base model's files, with the adapter's classes for its labels.
func (s *Stored) Reader() (*model.Reader, error) {
	r, err := model.OpenReader(s.Base, s.loadOptions())
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", s.Run.Model, err)
	}
	return r, nil
}

// checkpoint loads the base model, its head and pooler replaced by those that travel with the adapter.
func (s *Stored) checkpoint(backend compute.Backend) (*model.Checkpoint, error) {
	o := s.loadOptions()
	o.Backend = backend
	c, err := model.Load(s.Base, o)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", s.Run.Model, err)
	}
	if s.Run.Dropout != CheckpointDropout {
		c.Config.SetDropout(s.Run.Dropout)
	}
	return c, nil
}

// Tokenizer opens the base model's tokenizer. A model may come without one: ready ids need none, and what asks
// it to encode text gets the error.
func (s *Stored) Tokenizer() (data.Tokenizer, error) {
	tok, err := data.OpenTokenizer(s.Base, "")
	if errors.Is(err, fs.ErrNotExist) {
		return noTokenizer{err}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", s.Run.Model, err)
	}
	return tok, nil
}

type noTokenizer struct{ err error }

func (t noTokenizer) Encode(string) ([]int32, error) { return nil, t.err }
func (t noTokenizer) Token(int32) string             { return "" }
func (t noTokenizer) Special() data.Special          { return data.Special{} }
func (t noTokenizer) VocabSize() int                 { return 0 }

// factors are those of every adapted kernel, once all of them and the head have proved to be what the adapter's
// description and the model ask for.
func (s *Stored) factors(c *model.Config) (map[string][]*tensors.Tensor, error) {
	_, state, err := s.Adapter.state(s.Values, c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Dir, err)
	}
	if err := s.Adapter.onlyKnown(s.Values, state, c); err != nil {
		return nil, fmt.Errorf("%s: %w", s.Dir, err)
	}
	byKernel := map[string][]*tensors.Tensor{}
	for _, site := range state.sites {
		byKernel[site.kernel.Name] = state.factorsOf(site)
	}
	return byKernel, nil
}

// onlyKnown is the error for tensors beside the factors that are not the model's head or pooler, or what the method
// trains, or not of their shape.
func (a *AdapterInfo) onlyKnown(values map[string]*tensors.Tensor, s *state, c *model.Config) error {
	left := maps.Clone(values)
	for _, p := range s.params {
		delete(left, p.name)
	}
	trained := (&Config{Method: a.Method}).trained(c)
	for _, spec := range c.Specs() {
		t, ok := left[spec.Name]
		if !ok || !slices.Contains(trained, spec.Name) && !slices.Contains([]string{model.HeadWeight, model.HeadBias, model.PoolerWeight, model.PoolerBias}, spec.Name) {
			continue
		}
		want := slices.Clone(spec.Shape)
		if spec.Dense {
			slices.Reverse(want)
		}
		if !slices.Equal(t.Shape().Dimensions, want) {
			return fmt.Errorf("tensor %q is %v, want %v", spec.Name, t.Shape().Dimensions, want)
		}
		delete(left, spec.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		return fmt.Errorf("tensor %q is unexpected in a %s adapter", name, a.Method)
	}
	return nil
}

// Unmerged serves the run with its adapter beside the frozen weights, as it was trained: what merged weights,
// and what others read from our files, are held against.
func (s *Stored) Unmerged(backend compute.Backend) (*Predictor, error) {
	c, err := s.checkpoint(backend)
	if err != nil {
		return nil, err
	}
	adapter, state, err := s.Adapter.state(s.Values, c.Config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Dir, err)
	}
	for name, t := range s.Values {
		if _, ok := c.Tensors[name]; ok {
			c.Tensors[name] = t
		}
	}
	weights := weightsOf(c)
	for _, p := range state.params {
		weights.names, weights.list = append(weights.names, p.name), append(weights.list, p.value)
	}
	return hookedPredictor(backend, c.Config, weights, func(in []*Node) model.WeightHook {
		factors := in[len(in)-len(state.params):]
		deltas := map[string]lora.Delta{}
		for _, at := range state.sites {
			deltas[at.kernel.Name] = adapter.Delta(factors[at.first : at.first+at.factors])
		}
		return adapted(deltas)
	})
}

// Merging makes the tensors of a run's merged model one at a time.
type Merging struct {
	*model.Reader
	values  map[string]*tensors.Tensor
	factors map[string][]*tensors.Tensor
	merger  *merger
}

// Merge begins to merge the run's adapter into its model. Close it.
func (s *Stored) Merge(backend compute.Backend) (*Merging, error) {
	r, err := s.Reader()
	if err != nil {
		return nil, err
	}
	m := &Merging{Reader: r, values: s.Values}
	if m.factors, err = s.factors(r.Config); err != nil {
		r.Close()
		return nil, err
	}
	adapter, err := s.Adapter.New()
	if err == nil {
		m.merger, err = newMerger(backend, adapter)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return m, nil
}

// Close frees the graphs and closes the model's files.
func (m *Merging) Close() {
	m.merger.finalize()
	m.Reader.Close()
}

// Tensor is a tensor of the merged model: K + ΔK for an adapted kernel, the adapter's own head, or the base
// model's.
func (m *Merging) Tensor(spec model.Spec) (*tensors.Tensor, error) {
	t, travels := m.values[spec.Name]
	factors := m.factors[kernelName(spec)]
	var err error
	switch {
	case travels && factors == nil:
		return t, nil
	case travels:
		t, err = t.LocalClone() // what is merged into, below
	default:
		t, err = m.Reader.Tensor(spec)
	}
	if err != nil || factors == nil {
		return t, err
	}
	if err := m.merger.into(t, factors); err != nil {
		return nil, fmt.Errorf("%s: %w", spec.Name, err)
	}
	return t, nil
}

// Factors are a kernel's, in the order of the adapter's Init, or nil where it has none.
func (m *Merging) Factors(kernel string) []*tensors.Tensor { return m.factors[kernel] }

// Travels reports whether a module's weight comes with the adapter as a whole.
func (m *Merging) Travels(module string) bool { _, ok := m.values[module+".weight"]; return ok }

// kernelName is the kernel whose weight a spec is, as adapters name it.
func kernelName(spec model.Spec) string {
	const suffix = ".weight"
	if len(spec.Shape) != 2 {
		return ""
	}
	return spec.Name[:len(spec.Name)-len(suffix)]
}
