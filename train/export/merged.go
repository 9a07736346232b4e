package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// Options are what every export takes.
type Options struct {
	Run     string // directory of a finished run
	Out     string // directory to make; absent, or empty
	Backend compute.Backend
	Sources train.Sources
	Model   string                           // where the base model is now; empty: where the run says
	AnyBase bool                             // take another base model than the run was trained on
	Verify  bool                             // read what was written and compare logits before it gets its name
	Notice  func(format string, args ...any) // may be nil
}

func (o Options) notice(format string, args ...any) {
	if o.Notice != nil {
		o.Notice(format, args...)
	}
}

// Report says what an export wrote.
type Report struct {
	Format     string        `json:"format"`
	Out        string        `json:"out"`
	Files      []string      `json:"files"`
	Tensors    int           `json:"tensors"`
	Bytes      int64         `json:"bytes"` // of the tensors' files
	Kernels    int           `json:"adapted_kernels"`
	Truncation *Truncation   `json:"truncation,omitempty"` // of a PEFT adapter
	Verified   *Verification `json:"verified"`             // null where that was not asked for
}

// Merged writes a run's model with its adapter merged in: a complete Hugging Face checkpoint, with the files of
// the tokenizer and a model card. Kernels are merged in float64 and rounded once, one at a time. Out is there
// complete or not at all; an error of verification leaves nothing.
type Merged struct {
	Options
	DType      dtypes.DType // Float32, unless Float16 or BFloat16
	ShardBytes int64        // of a weight file at most; 0: one file
}

// Write writes the checkpoint.
func (e Merged) Write(ctx context.Context) (*Report, error) {
	if e.DType == dtypes.InvalidDType {
		e.DType = dtypes.Float32
	}
	return e.write(ctx, "merged", e)
}

// format is what is written of a run, into a directory that has no name yet.
type format interface {
	// refuse is the error for a run that the format cannot carry.
	refuse(s *train.Finished) error
	// fill writes every file.
	fill(ctx context.Context, dir string, s *train.Finished, report *Report) error
	// verify reads the files again and holds them against the run.
	verify(ctx context.Context, dir string, s *train.Finished, trained *reference, report *Report) error
}

// write writes a format, all of it or nothing.
func (o Options) write(ctx context.Context, name string, f format) (*Report, error) {
	if err := prepare(o.Out, o.notice); err != nil {
		return nil, err
	}
	s, trained, err := o.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := f.refuse(s); err != nil {
		return nil, err
	}
	report := &Report{Format: name, Out: o.Out, Kernels: len(s.Adapter.Kernels)}
	err = writeDir(o.Out, func(tmp string) error {
		if err := f.fill(ctx, tmp, s, report); err != nil || trained == nil {
			return err
		}
		return f.verify(ctx, tmp, s, trained, report)
	})
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return report, nil
}

// refuse refuses a pooling that Transformers' class has not.
func (e Merged) refuse(s *train.Finished) error {
	p := s.Adapter.Pooling
	if p.HasPooler() {
		return nil
	}
	config, err := model.ReadConfig(s.Base, "config.json")
	if err != nil {
		return fmt.Errorf("model %s: %w", s.Run.Model, err)
	}
	return fmt.Errorf("export: the run's head reads the %s of the last states (--pooling %s), and Transformers' %s has no such pooling: it would compute something else; --format peft and --format onnx carry it",
		p, p, model.SequenceClassification.Class(config))
}

// verify predicts with the checkpoint.
func (e Merged) verify(ctx context.Context, dir string, s *train.Finished, trained *reference, report *Report) error {
	if err := sameTokens(s.Base, os.DirFS(dir)); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	checkpoint, err := model.Load(os.DirFS(dir), model.LoadOptions{Backend: e.Backend})
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	p, err := train.NewPredictor(e.Backend, checkpoint)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	report.Verified, err = trained.compare(ctx, p, precisionOf(e.DType))
	return err
}

// open reads the run and, to verify with, computes what it says of some inputs.
func (o Options) open(ctx context.Context) (*train.Finished, *reference, error) {
	s, err := train.ReadFinished(ctx, o.Run, train.OpenOptions{Sources: o.Sources, Model: o.Model, AnyBase: o.AnyBase})
	if err != nil {
		return nil, nil, err
	}
	for _, n := range s.Notices {
		o.notice("%s", n)
	}
	if !o.Verify {
		return s, nil, nil
	}
	trained, err := newReference(ctx, s, o.Backend)
	return s, trained, err
}

// fill writes every file of the checkpoint.
func (e Merged) fill(ctx context.Context, dir string, s *train.Finished, report *Report) error {
	m, err := s.Merge(e.Backend)
	if err != nil {
		return err
	}
	defer m.Close()
	files, err := model.SaveStream(dir, m.Config, m.Architecture, model.SaveOptions{DType: e.DType, ShardBytes: e.ShardBytes}, canceled(ctx, m.Tensor))
	if err != nil {
		return err
	}
	if report.Bytes, err = sizes(dir, files); err != nil {
		return err
	}
	report.Files, report.Tensors = files, len(m.Specs())
	if err := e.copyEmbedding(s.Base, dir); err != nil {
		return err
	}
	return e.accompany(dir, s, m.Config, mergedCard)
}

// accompany writes what lies beside the weights: the tokenizer as Transformers reads it, sums and a card.
func (o Options) accompany(dir string, s *train.Finished, c *model.Config, kind string) error {
	if err := copyTokenizer(s.Base, dir); err != nil {
		return err
	}
	completed, err := modelfiles.ForTransformers(s.Base, c.Positions())
	if err != nil {
		return fmt.Errorf("copy tokenizer: %w", err)
	}
	if completed != nil {
		o.notice("%s is written with what Transformers does not take from %s: case, accents, ideographs", modelfiles.TokenizerConfig, modelfiles.Tokenizer)
		if err := atomicfile.WriteBytes(filepath.Join(dir, modelfiles.TokenizerConfig), completed); err != nil {
			return err
		}
	}
	card, err := newCard(s)
	if err != nil {
		return err
	}
	if err := sums.Write(dir); err != nil {
		return err
	}
	return card.write(filepath.Join(dir, "README.md"), kind) // which is for others to edit: it has no sum
}

// copyEmbedding carries along what sentence-transformers reads of a base model that it can make embeddings of: so it can of
// the merged encoder.
func (o Options) copyEmbedding(base fs.FS, dir string) error {
	if _, err := fs.Stat(base, modelfiles.Modules); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	e, err := modelfiles.ReadEmbedding(base)
	if err != nil {
		o.notice("%v: the files of sentence-transformers are not carried along", err)
		return nil
	}
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(filepath.FromSlash(e.From))), 0o755); err != nil {
		return err
	}
	return copyFiles(base, dir, append(slices.Clone(modelfiles.OfEmbedding), e.From))
}

// canceled is f until ctx is cancelled: a large model takes a while.
func canceled[In, Out any](ctx context.Context, f func(In) (Out, error)) func(In) (Out, error) {
	return func(in In) (out Out, err error) {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		return f(in)
	}
}

// prepare clears what a killed process left where out is to be made, and refuses an out that is not vacant or that
// another process is making.
func prepare(out string, notice func(format string, args ...any)) error {
	removed, err := atomicfile.ClearAbandoned(out)
	if err != nil {
		return err
	}
	if removed != "" {
		notice("%s removed: a process that was cut short left it", removed)
	}
	return vacant(out)
}

// vacant refuses a path that holds something. An empty directory is room enough.
func vacant(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case err == nil && len(entries) > 0:
		return fmt.Errorf("%s: %w: it holds %s; choose another --out", path, rundir.ErrInUse, entries[0].Name())
	case err == nil:
		return nil
	default:
		return rundir.CheckVacant(path, "")
	}
}

// writeDir is atomicfile.WriteDir, in the place of an empty directory if one is there.
func writeDir(path string, fill func(tmp string) error) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return atomicfile.WriteDir(path, fill)
}

// copyTokenizer carries a tokenizer along byte for byte.
func copyTokenizer(from fs.FS, dir string) error {
	if err := copyFiles(from, dir, modelfiles.OfTokenizer); err != nil {
		return fmt.Errorf("copy tokenizer: %w", err)
	}
	return nil
}

// copyFiles copies those of the files that there are.
func copyFiles(from fs.FS, dir string, names []string) error {
	for _, name := range names {
		content, err := fs.ReadFile(from, name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		if err := atomicfile.WriteBytes(filepath.Join(dir, filepath.FromSlash(name)), content); err != nil {
			return err
		}
	}
	return nil
}

func sizes(dir string, files []string) (total int64, err error) {
	for _, name := range files {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return 0, err
		}
		total += info.Size()
	}
	return total, nil
}
