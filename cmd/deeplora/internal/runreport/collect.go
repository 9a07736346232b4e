package runreport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"unicode/utf8"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// Tolerance is that of numerical ranks: singular values above it times the largest count.
const Tolerance = 1e-3

// Options say what a run is measured on and with.
type Options struct {
	Backend  compute.Backend
	Sources  train.Sources
	Data     string // directory or file of the examples, or what else Config.Data may be; empty: the run's
	Split    string // that is evaluated
	Errors   int    // examples that are shown, those with the highest loss
	Gradient bool   // compute the angles to the first gradient, which need the run's data
	Progress func(phase string) func(done, total int)
}

// Facts are what the page says.
type Facts struct {
	Run      train.RunConfig
	Adapter  train.AdapterInfo
	Task     data.Task
	Result   train.Result
	Manifest *data.Manifest // nil: of an imported adapter

	Trained    *Examples // nil: they are not found, for the reason of Missing
	Missing    string
	Evaluated  *Examples
	Evaluation *train.Evaluation // its Errors are all examples, the highest loss first
	Intervals  map[string]Interval
	Shown      int // of Errors, on the page

	Steps       []loop.Step // none where the run has no log
	Evaluations []loop.Evaluated

	Deltas     []train.KernelDelta
	NoGradient string // why there are no angles to the first gradient; empty: there are, or they were not asked for

	Notices []string
}

// Interval is a 95% interval of a metric, and how it is found. NaN: there is none.
type Interval struct {
	Low, High float64
	By        string
}

// Examples are a split with the lengths of its examples, before any is cut.
type Examples struct {
	*data.Split
	Tokens     []int // with the special ones
	Characters []int // of both texts of a pair
}

// ErrNoExamples is wrapped by errors about examples to evaluate a run on that are not found.
var ErrNoExamples = errors.New("evaluate")

// Collect measures a finished run. It is an error if nobody said what an imported adapter was trained on, or if the examples
// to evaluate it on are not found (ErrNoExamples); where those that it was trained on are not, the page says so.
func Collect(ctx context.Context, f *train.Finished, o Options) (*Facts, error) {
	if f.Task.Name == "" {
		return nil, fmt.Errorf("%s: what its adapter was trained on is not known; import it again with --task", f.Dir)
	}
	facts := &Facts{Run: f.Run, Adapter: f.Adapter, Task: f.Task, Shown: o.Errors}
	var err error
	if facts.Result, err = f.Result(); err != nil {
		return nil, err
	}
	if facts.Manifest, err = f.Manifest(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	facts.Steps, facts.Evaluations, err = loop.ReadLog(f.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	facts.notice(f.Notices...)
	if err := facts.evaluate(ctx, f, o); err != nil {
		return nil, err
	}
	if len(f.Adapter.Kernels) > 0 {
		return facts, facts.decompose(ctx, f, o)
	}
	return facts, nil
}

func (f *Facts) notice(lines ...string) {
	for _, line := range lines {
		if !slices.Contains(f.Notices, line) {
			f.Notices = append(f.Notices, line)
		}
	}
}

// evaluate measures the run on the examples that the options name, and finds those that it was trained on.
func (f *Facts) evaluate(ctx context.Context, of *train.Finished, o Options) error {
	p, err := of.Open(o.Backend)
	if err != nil {
		return err
	}
	defer p.Close()
	evaluated, err := f.split(ctx, p, o)
	if err != nil {
		return err
	}
	trained := f.trained(ctx, p, o)
	if f.Evaluated, err = measureLengths(ctx, p.Tokenizer, evaluated); err != nil {
		return err
	}
	if trained != nil {
		if f.Trained, err = measureLengths(ctx, p.Tokenizer, trained); err != nil {
			return err
		}
		f.notice(trained.Notices...)
	}
	f.notice(evaluated.Notices...)
	if f.Evaluation, err = p.Evaluate(ctx, evaluated, o.Progress("evaluate")); err != nil {
		return err
	}
	f.Evaluation.Worst(f.Evaluation.Examples)
	f.Intervals = map[string]Interval{}
	for name, b := range f.Evaluation.Intervals() {
		f.Intervals[name] = Interval(b)
	}
	f.notice(p.Warnings(trained, evaluated)...)
	f.notice(f.Evaluation.Warnings()...)
	return nil
}

// split reads the examples to evaluate the run on.
func (f *Facts) split(ctx context.Context, p *train.Predictor, o Options) (*data.Split, error) {
	s, err := p.Split(ctx, o.Sources, o.Data, o.Split)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoExamples, err)
	}
	if o.Data == "" && o.Split == data.Validation && !f.noted(s.Source) {
		f.notice(fmt.Sprintf("%s has changed since the run was trained: these figures are not those that it was selected by", s.Source.File))
	}
	return s, nil
}

// noted reports whether a file is one of those that the run notes, if it notes any.
func (f *Facts) noted(s data.Source) bool {
	files := f.Run.Provenance.Data
	for _, file := range files {
		if file.SHA256 == s.SHA256 {
			return true
		}
	}
	return len(files) == 0
}

// trained finds the examples that the run was trained on: where it says, or in the data that are given.
func (f *Facts) trained(ctx context.Context, p *train.Predictor, o Options) *data.Split {
	if f.Manifest == nil {
		f.Missing = "another program trained the adapter, and does not say on what"
		return nil
	}
	s, err := p.Trained(ctx, o.Sources, "")
	if err != nil && o.Data != "" {
		if moved, other := p.Trained(ctx, o.Sources, o.Data); other == nil {
			return moved
		}
	}
	if err != nil {
		f.Missing = err.Error()
		return nil
	}
	return s
}

// measureLengths tokenizes a split without cutting anything.
func measureLengths(ctx context.Context, tok data.Tokenizer, s *data.Split) (*Examples, error) {
	e := &Examples{Split: s}
	for _, x := range s.Examples {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		row, _, err := data.EncodePair(tok, x.Text, x.Pair, x.HasPair, 0)
		if err != nil {
			return nil, fmt.Errorf("%s: data row %d: %w", s.Source.File, x.Row, err)
		}
		e.Tokens = append(e.Tokens, len(row.IDs))
		e.Characters = append(e.Characters, utf8.RuneCountInString(x.Text)+utf8.RuneCountInString(x.Pair))
	}
	return e, nil
}

// decompose takes apart what the run added to its kernels. Where the first gradient cannot be computed again, as the data are
// gone, the rest is shown without it.
func (f *Facts) decompose(ctx context.Context, of *train.Finished, o Options) error {
	asked := train.DeltaOptions{Backend: o.Backend, Sources: o.Sources, Tolerance: Tolerance, Gradient: o.Gradient, Progress: o.Progress("take ΔK apart")}
	var err error
	f.Deltas, err = of.Deltas(ctx, asked)
	if errors.Is(err, train.ErrNoBeginning) && ctx.Err() == nil {
		f.NoGradient = err.Error()
		asked.Gradient = false
		f.Deltas, err = of.Deltas(ctx, asked)
	}
	return err
}
