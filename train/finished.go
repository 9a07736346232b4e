package train

import (
	"cmp"
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
	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// Finished is a finished run as it lies on disk: its adapter read, of its model nothing but where it is.
type Finished struct {
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
	Sources   Sources
	Model     string // where the base model is now: a directory or hub id; empty: where the run says
	AnyBase   bool   // take another base model than the adapter was trained on, with a notice
	Precision string // f32, bf16 or bf16x3; empty: the run's
}

// ReadFinished reads a finished run. Its base model must be the one that the adapter was trained on to the bit
// (ErrOtherBase), unless o says otherwise.
func ReadFinished(ctx context.Context, dir string, o OpenOptions) (*Finished, error) {
	f := &Finished{Dir: dir}
	var err error
	if f.Run, err = ReadRunConfig(dir); err != nil {
		return nil, err
	}
	f.Adapter, f.Values, err = readAdapter(filepath.Join(dir, adapterDir))
	if err := unfinished(dir, err); err != nil {
		return nil, err
	}
	if f.Task, err = f.Adapter.task(&f.Run.Config); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if slices.Contains(f.Task.Metrics, f.Run.Metric) {
		f.Task.Primary = f.Run.Metric
	}
	f.Run.Model, f.Run.Precision = cmp.Or(o.Model, f.Run.Model), cmp.Or(o.Precision, f.Run.Precision)
	if f.Base, _, err = o.Sources.Model(ctx, f.Run.Model); err != nil {
		if o.Model == "" {
			err = fmt.Errorf("%w; if the base model of %s lies elsewhere now, say where with --model", err, dir)
		}
		return nil, err
	}
	return f, f.sameBase(o.AnyBase)
}

// ReadAdapterInfo reads what the adapter of a finished run is, without its tensors or its model.
func ReadAdapterInfo(dir string) (AdapterInfo, error) {
	d, err := readDescription(filepath.Join(dir, adapterDir))
	return d.AdapterInfo, unfinished(dir, err)
}

// unfinished adds the way to go on to an error of reading an adapter.
func unfinished(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s has no adapter yet: the run has not finished; go on with deeplora train --resume --out %s", dir, dir)
	case errors.Is(err, loop.ErrCorrupt) && rundir.Is(dir, rundir.Checkpoints):
		return fmt.Errorf("%w; remove %s, and deeplora train --resume --out %s writes it again from the last checkpoint", err, filepath.Join(dir, resultJSON), dir)
	}
	return err
}

// task is what the adapter was trained for: a row of the table or, of examples in memory, one that a program brought.
func (a *AdapterInfo) task(c *Config) (data.Task, error) {
	own, err := c.task()
	switch {
	case a.Imported && a.Task == "":
		return data.Task{}, nil
	case c.Data == memoryData:
		t := data.Task{Name: a.Task, Labels: a.Labels, Multi: a.ProblemType == model.MultiLabel}
		if a.ProblemType == model.Regression {
			t.Labels = nil
		}
		return t.WithDefaults()
	case err == nil && own.Own() && own.Name == a.Task:
		if own.Labels == nil && !own.Regression() { // of an imported adapter: they are those of its head
			own.Labels = a.Labels
		}
		return own.WithDefaults()
	}
	t, err := data.LookupTask(a.Task)
	if err != nil || !t.Own() {
		return t, err
	}
	if a.ProblemType != model.Regression { // of an imported adapter: its columns are not known
		t.Labels = a.Labels
	}
	return t.WithDefaults()
}

// sameBase holds the model's files against those that the adapter was trained on.
func (f *Finished) sameBase(any bool) error {
	r, err := f.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	files, err := r.Files()
	if err != nil {
		return err
	}
	err = sameFiles("model", f.Adapter.BaseFiles, files)
	switch {
	case err == nil:
		return nil
	case any:
		f.Notices = append(f.Notices, fmt.Sprintf("%v: %v; taken all the same", ErrOtherBase, err))
		return nil
	default:
		return fmt.Errorf("%w: %w", ErrOtherBase, err)
	}
}

func (f *Finished) loadOptions() model.LoadOptions {
	return model.LoadOptions{
		Labels: f.Adapter.Labels, ProblemType: f.Adapter.ProblemType, Pooling: f.Adapter.Pooling,
		DrawHead: true, HeadSeed: headSeed(&f.Run.Config), NewHead: f.Run.FreshHead || f.Adapter.Imported && f.Adapter.HeadTrained,
	}
}

// Reader opens the base model's files, with the adapter's classes for its labels.
func (f *Finished) Reader() (*model.Reader, error) {
	r, err := model.OpenReader(f.Base, f.loadOptions())
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", f.Run.Model, err)
	}
	return r, nil
}

// checkpoint loads the base model, its head and pooler replaced by those that travel with the adapter.
// Tensors of the files that have says are there already are left out.
func (f *Finished) checkpoint(backend compute.Backend, p model.Precision, have func(name string) bool) (*model.Checkpoint, error) {
	o := f.loadOptions()
	o.Backend, o.Precision, o.Have = backend, p, have
	c, err := model.Load(f.Base, o)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", f.Run.Model, err)
	}
	if f.Run.Dropout != checkpointDropout {
		c.Config.SetDropout(f.Run.Dropout)
	}
	values, err := f.userValues(c.Config)
	if err != nil {
		return nil, err
	}
	for name, t := range values {
		if _, ok := c.Tensors[name]; ok {
			c.Tensors[name] = t
		}
	}
	return c, nil
}

// Open loads the run's model and merges its adapter in. In a precision other than f32 it stays beside the kernels, as it
// was trained: they are held with fewer bits than a small ΔK needs.
func (f *Finished) Open(backend compute.Backend) (*Predictor, error) {
	if f.Run.held() {
		return f.beside(backend, model.Precision(f.Run.Precision))
	}
	a, byKernel, err := f.adaptation(nil)
	if err != nil {
		return nil, err
	}
	c, err := f.checkpoint(backend, model.F32, nil)
	if err != nil {
		return nil, err
	}
	m, err := newMerger(backend, a.adapter)
	if err != nil {
		return nil, err
	}
	defer m.finalize()
	for _, s := range a.sites { // where they lie: nothing else reads this checkpoint
		if err := m.into(c.Kernel(s.kernel.Name), byKernel[s.kernel.Name]); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", f.Dir, s.kernel.Name, err)
		}
	}
	return f.predictor(NewPredictor(backend, c))
}

// Unmerged serves the run with its adapter beside the frozen weights, as it was trained: what merged weights, and what
// others read from our files, are held against. It computes in float32.
func (f *Finished) Unmerged(backend compute.Backend) (*Predictor, error) {
	return f.beside(backend, model.F32)
}

func (f *Finished) beside(backend compute.Backend, p model.Precision) (*Predictor, error) {
	on, err := devices.New(backend, 1)
	if err != nil {
		return nil, err
	}
	return f.on(&base{devices: on, precision: p, tensors: map[string]*tensors.Tensor{}, graphs: map[string]*graphs{}})
}

// predictor is p for the run.
func (f *Finished) predictor(p *Predictor, err error) (*Predictor, error) {
	if err != nil {
		return nil, err
	}
	p.Run, p.Task, p.from = f.Run, f.Task, f
	if p.Tokenizer, err = f.tokenizer(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// tokenizer opens the base model's tokenizer. A model may come without one: ready ids need none, and what asks it to
// encode text gets the error.
func (f *Finished) tokenizer() (data.Tokenizer, error) {
	tok, err := tokenizerOf(f.Base)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", f.Run.Model, err)
	}
	return tok, nil
}

// tokenizerOf opens the tokenizer of a model's folder; of one that has none, what asks it to encode text gets the error.
func tokenizerOf(files fs.FS) (data.Tokenizer, error) {
	tok, err := data.OpenTokenizer(files, "")
	if errors.Is(err, fs.ErrNotExist) {
		return noTokenizer{err}, nil
	}
	return tok, err
}

type noTokenizer struct{ err error }

func (t noTokenizer) Encode(string) ([]int32, error) { return nil, t.err }
func (t noTokenizer) Token(int32) string             { return "" }
func (t noTokenizer) VocabSize() int                 { return 0 }
func (t noTokenizer) Special() data.Special          { return data.Special{} }

// adaptation is the run's adapter and the factors of each kernel, once all of them and the head have proved to be what
// the adapter's description and the model ask for. c is the model's configuration; nil: it is read.
func (f *Finished) adaptation(c *model.Config) (*adaptation, map[string][]*tensors.Tensor, error) {
	if c == nil {
		r, err := f.Reader()
		if err != nil {
			return nil, nil, err
		}
		defer r.Close()
		c = r.Config
	}
	a, byKernel, err := f.Adapter.adaptation(f.Values, c)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.Dir, err)
	}
	return a, byKernel, nil
}

// adaptation is the adapter that the description stands for, on a model, with these tensors as its factors.
func (a *AdapterInfo) adaptation(values map[string]*tensors.Tensor, c *model.Config) (*adaptation, map[string][]*tensors.Tensor, error) {
	adapter, err := a.New()
	if err != nil {
		return nil, nil, err
	}
	kernels, at, err := a.sites(c)
	if err != nil {
		return nil, nil, err
	}
	of, err := adapt(adapter, kernels, at)
	if err != nil {
		return nil, nil, err
	}
	left := maps.Clone(values)
	byKernel := make(map[string][]*tensors.Tensor, len(of.sites))
	var faults []error
	for _, s := range of.sites {
		factors, err := s.tensors(values)
		byKernel[s.kernel.Name], faults = factors, append(faults, err)
		for i := range s.factors {
			delete(left, s.name(i))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, nil, err
	}
	return of, byKernel, a.onlyKnown(left, c)
}

// onlyKnown is the error for tensors beside the factors that are not the model's head or pooler, or what the method
// trains, or not of their shape.
func (a *AdapterInfo) onlyKnown(left map[string]*tensors.Tensor, c *model.Config) error {
	trained := (&Config{Method: a.Method}).trained(c)
	for _, spec := range c.Specs() {
		t, ok := left[spec.Name]
		if !ok || !slices.Contains(trained, spec.Name) && !spec.Head {
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
			return nil, nil, fmt.Errorf("%s: %w: kernel %s is listed twice", adapterJSON, loop.ErrCorrupt, k.Name)
		}
		kernels = append(kernels, all[i])
		sites = append(sites, lora.Site{Name: k.Name, In: k.In, Out: k.Out})
	}
	return kernels, sites, nil
}

// Merging makes the tensors of a run's merged model one at a time.
type Merging struct {
	*model.Reader
	values  map[string]*tensors.Tensor
	factors map[string][]*tensors.Tensor
	merger  *merger
}

// Merge begins to merge the run's adapter into its model. Close it.
func (f *Finished) Merge(backend compute.Backend) (*Merging, error) {
	r, err := f.Reader()
	if err != nil {
		return nil, err
	}
	m := &Merging{Reader: r}
	a, factors, err := f.adaptation(r.Config)
	if err == nil {
		m.values, err = f.userValues(r.Config)
	}
	if err == nil {
		m.factors = factors
		m.merger, err = newMerger(backend, a.adapter)
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

// Tensor is a tensor of the merged model: K + ΔK for an adapted kernel, the adapter's own head, or the base model's.
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
