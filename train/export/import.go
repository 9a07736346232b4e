package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/labels"
	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// Import makes a finished run of a PEFT LoRA adapter: one that can be evaluated, predicted with and exported.
// Where the adapter is our own export, unchanged since, the run is the one it was made of, factors and all.
type Import struct {
	In      string // directory of the adapter
	Model   string // the base model: a directory, a hub id or builtin:tiny
	Out     string // run directory to make
	Task    string // what it was trained on; empty: not known, unless our own export says it
	Backend compute.Backend
	Sources train.Sources
	AnyBase bool // take another base model than our own export names
	Verify  bool
	Notice  func(format string, args ...any) // may be nil

	Provenance train.Provenance // backend and versions
}

func (i Import) notice(format string, args ...any) { Options{Notice: i.Notice}.notice(format, args...) }

// Imported says what an import made.
type Imported struct {
	Out      string        `json:"out"`
	Method   string        `json:"method"`
	Task     string        `json:"task"` // empty: not known
	Labels   []string      `json:"labels"`
	Kernels  int           `json:"adapted_kernels"`
	Factors  bool          `json:"factors"`  // came back as they were trained
	Verified *Verification `json:"verified"` // null where that was not asked for
}

// Write reads the adapter and writes the run, which is there complete or not at all.
func (i Import) Write(ctx context.Context) (*Imported, error) {
	if err := prepare(i.Out, i.notice); err != nil {
		return nil, err
	}
	s, a, err := i.read(ctx)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	done := &Imported{Out: i.Out, Method: s.Adapter.Method, Task: s.Adapter.Task, Labels: s.Adapter.Labels, Kernels: len(s.Adapter.Kernels)}
	err = writeDir(i.Out, func(tmp string) error {
		var bound float64 // of what our own export cut: the factors that come back are closer to the run than it
		if done.Factors, bound, err = i.restore(ctx, tmp, a); err != nil {
			return err
		}
		if !done.Factors {
			if err := s.Write(tmp); err != nil {
				return err
			}
		}
		written, err := train.ReadFinished(ctx, tmp, train.OpenOptions{Sources: i.Sources})
		if err != nil {
			return err
		}
		done.Method, done.Task, done.Labels = written.Adapter.Method, written.Adapter.Task, written.Adapter.Labels
		if !i.Verify {
			return nil
		}
		// The adapter's own labels do not matter to its logits, the run's order of them does.
		s.Adapter.Labels, s.Adapter.ProblemType = done.Labels, written.Adapter.ProblemType
		read, err := newReference(ctx, s, i.Backend)
		if err != nil {
			return err
		}
		run, err := written.Open(i.Backend)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		done.Verified, err = read.compare(ctx, run, truncated(bound))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	return done, nil
}

// read reads the adapter for the base model, as a run of vanilla LoRA.
func (i Import) read(ctx context.Context) (*train.Finished, *adapter, error) {
	s := &train.Finished{Dir: i.In}
	var err error
	if s.Base, _, err = i.Sources.Model(ctx, i.Model); err != nil {
		return nil, nil, err
	}
	config, err := model.ReadConfig(s.Base, "config.json")
	if err != nil {
		return nil, nil, fmt.Errorf("model %s: %w", i.Model, err)
	}
	a, err := readPEFT(i.In, config)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range a.notices {
		i.notice("%s", n)
	}
	s.Adapter, s.Values = a.info(), a.values
	if err := i.label(s, a, config); err != nil {
		return nil, nil, err
	}
	s.Run = i.runConfig(s, config)
	r, err := s.Reader()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	for _, name := range slices.Concat(r.Config.HeadNames(), r.Config.PoolerNames()) {
		if !r.Has(name) && s.Values[name] == nil { // PEFT would go on with a random one
			return nil, nil, fmt.Errorf("tensor %q is neither in the adapter nor in the model %s", name, i.Model)
		}
	}
	if s.Adapter.BaseFiles, err = r.Files(); err != nil {
		return nil, nil, err
	}
	s.Run.Provenance.Model = s.Adapter.BaseFiles
	s.Adapter.Base, s.Adapter.MaxLength = i.Model, s.Run.MaxLength
	return s, a, nil
}

// info describes the adapter as a run does; of its task nothing is known yet.
func (a *adapter) info() train.AdapterInfo {
	return train.AdapterInfo{
		Method: "vanilla", Settings: lora.Settings{Rank: a.rank, Depth: 2, Init: lora.InitReference, Alpha: float64(a.rank)}, Kernels: a.kernels,
		HeadTrained: a.labels > 0, Pooling: cmp.Or(a.pooling, model.PoolHead), Imported: true,
	}
}

func (i Import) runConfig(s *train.Finished, config *model.Config) train.RunConfig {
	c := train.Default()
	c.Model, c.Task, c.Method, c.Rank, c.Depth, c.Alpha = i.Model, s.Adapter.Task, s.Adapter.Method, s.Adapter.Rank, s.Adapter.Depth, s.Adapter.Alpha
	c.Scope, c.HeadSeed, c.TrainHead = "", 0, s.Adapter.HeadTrained
	c.Pooling, c.TrainPooler = string(s.Adapter.Pooling), slices.ContainsFunc(config.PoolerNames(), func(name string) bool { return s.Values[name] != nil })
	c.FreshHead = s.Adapter.HeadTrained // the base model's own, if any, is not used
	c.MaxLength = min(c.MaxLength, config.Positions())
	for _, k := range s.Adapter.Kernels {
		c.Target = append(c.Target, "^"+regexp.QuoteMeta(k.Name)+"$")
	}
	return train.RunConfig{Config: c, Provenance: i.Provenance}
}

// label finds what the head's outputs mean: the classes of the task that is given, or the names in the base model's
// config.json alone.
func (i Import) label(s *train.Finished, a *adapter, config *model.Config) error {
	outputs := a.labels
	if outputs == 0 {
		outputs = config.NumLabels()
	}
	names := config.Labels()
	if len(names) != outputs {
		names = nil
		for n := range outputs {
			names = append(names, labels.Placeholder(n))
		}
	}
	info := &s.Adapter
	info.ProblemType, info.Labels = model.SingleLabel, names
	several := config.ProblemType == model.MultiLabel
	switch {
	case several:
		info.ProblemType = model.MultiLabel
	case outputs == 1:
		info.ProblemType, info.Labels = model.Regression, []string{labels.Placeholder(0)}
	}
	task, order, err := i.task(cmp.Or(i.Task, a.task), names)
	if i.Task == "" && (a.task == "" || err != nil) {
		i.noticeUnknown(names)
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case several && !task.Multi:
		return fmt.Errorf("model %s: config.json: problem_type is %s; an example of task %s has one label: give --task multilabel", i.Model, config.ProblemType, task.Name)
	case task.Multi && config.ProblemType == model.SingleLabel:
		return fmt.Errorf("model %s: config.json: problem_type is %s; task %s has several labels an example", i.Model, config.ProblemType, task.Name)
	case task.Multi:
		info.ProblemType = model.MultiLabel
	}
	s.Task, info.Task = task, task.Name
	if task.Regression() {
		return nil
	}
	info.Labels = task.Labels
	if !slices.IsSorted(order) {
		reorder(s.Values, config.HeadNames(), order)
	}
	return nil
}

// noticeUnknown says that nothing is known of the task. Classes of the same names are no proof: many data sets are about
// positive and negative.
func (i Import) noticeUnknown(names []string) {
	var like []string
	for _, t := range data.Tasks() {
		if t.Own() {
			continue
		}
		if t.Regression() && len(names) == 1 {
			like = append(like, t.Name)
		} else if _, err := labels.Match(names, t.Labels); err == nil && len(names) > 1 {
			like = append(like, t.Name)
		}
	}
	hint := "--task names one of GLUE's"
	if len(like) > 0 {
		hint = "if it is " + strings.Join(like, " or ") + ", whose outputs are like these, say so with --task"
	}
	i.notice("nothing says what the adapter's task is: its outputs are called %s, by the base model's config.json; %s", strings.Join(names, ", "), hint)
}

// task is the one of that name, and which of the names have each of its classes is. Outputs that nobody named are taken
// in the task's order, and the user is told; others go by name, since a name that came with the model is no mistake.
func (i Import) task(name string, names []string) (task data.Task, order []int, err error) {
	if task, err = data.LookupTask(name); err != nil {
		return task, nil, err
	}
	if task.Own() && !task.Regression() { // its classes are those that the model names
		task.Labels = names
	}
	if outputs := max(1, len(task.Labels)); outputs != len(names) {
		return task, nil, fmt.Errorf("task %s takes %d outputs; the adapter's head has %d", task.Name, outputs, len(names))
	}
	if task.Regression() {
		return task, nil, nil
	}
	if labels.Unnamed(names) {
		i.notice("the base model's config.json does not name the outputs: they are taken for %s, in this order", strings.Join(task.Labels, ", "))
		return task, nil, nil
	}
	order, err = labels.Match(names, task.Labels)
	switch {
	case errors.Is(err, labels.ErrOther):
		return task, nil, fmt.Errorf("task %s has the classes %s, the base model's config.json names %s; leave out --task to keep these names or, if they mean the same, correct id2label there",
			task.Name, strings.Join(task.Labels, ", "), strings.Join(names, ", "))
	case err != nil:
		return task, nil, fmt.Errorf("task %s: the base model's config.json: id2label: %w; correct it", task.Name, err)
	}
	return task, order, nil
}

// reorder puts the outputs of a head that travels with the adapter into another order.
func reorder(values map[string]*tensors.Tensor, head []string, order []int) {
	for _, name := range head {
		t, ok := values[name]
		if !ok {
			continue
		}
		from := tensors.MustCopyFlatData[float32](t)
		to := slices.Clone(from)
		for at := 0; at < len(from); at += len(order) { // rows of [H, K]
			for i, j := range order {
				to[at+i] = from[at+j]
			}
		}
		values[name] = tensors.FromFlatDataAndDimensions(to, t.Shape().Dimensions...)
	}
}

// restore takes the run that our own export carries with it, if the adapter is as it was exported, and says how far
// the adapter's ΔK may be from its.
func (i Import) restore(ctx context.Context, tmp string, a *adapter) (restored bool, bound float64, err error) {
	from := filepath.Join(i.In, sidecarDir)
	var note sidecar
	err = jsonfile.Read(filepath.Join(from, sidecarJSON), &note)
	if errors.Is(err, fs.ErrNotExist) {
		return false, 0, nil
	}
	if err == nil {
		err = sums.Verify(os.DirFS(from))
	}
	if err != nil {
		return false, 0, fmt.Errorf("%s: %w; get the adapter again or, to do without the factors it was trained with, remove that directory", from, err)
	}
	if note.peftSums != a.sums {
		i.notice("the adapter has changed since it was exported: the factors in %s are not its own and are left out", from)
		return false, 0, nil
	}
	if err := (&train.Finished{Dir: from}).CopyTo(tmp); err != nil {
		return false, 0, err
	}
	c, err := train.ReadRunConfig(tmp)
	if err != nil {
		return false, 0, err
	}
	if i.Task != "" && i.Task != c.Task {
		return false, 0, fmt.Errorf("task %s: the adapter was trained on %s", i.Task, c.Task)
	}
	c.Model = i.Model
	if err := jsonfile.Write(filepath.Join(tmp, "config.json"), c); err != nil {
		return false, 0, err
	}
	s, err := train.ReadFinished(ctx, tmp, train.OpenOptions{Sources: i.Sources, AnyBase: i.AnyBase})
	if err != nil {
		return false, 0, err
	}
	for _, n := range s.Notices {
		i.notice("%s", n)
	}
	return true, note.RelativeBound, s.Rebase(i.Model)
}
