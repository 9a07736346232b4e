package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/labels"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/model"
)

// Sources say where models and data come from that are no directories.
type Sources struct {
	Hub    data.HubOptions
	Models map[string]fs.FS // checkpoints that the program brings, by the names they have in Config.Model
	Data   fs.FS            // what Config.Data "builtin" stands for; nil: nothing
}

// Model gives the files of a model: one that the program brings, a directory, or a model of the hub. No file is parsed;
// where a directory has SHA256SUMS, as those that we write, its files are verified.
func (s Sources) Model(ctx context.Context, ref string) (fs.FS, data.HubInfo, error) {
	if files, ok := s.Models[ref]; ok {
		return files, data.HubInfo{Local: true}, nil
	}
	dir, info, err := data.Resolve(ctx, ref, s.Hub)
	if err != nil {
		return nil, info, fmt.Errorf("model: %w", err)
	}
	files := os.DirFS(dir)
	if err := sums.Verify(files); err != nil {
		return nil, info, fmt.Errorf("model %s: %w; get the files again or, where they were changed on purpose, remove %s", ref, err, sums.File)
	}
	return files, info, nil
}

// Split reads a split of a task from a directory, the hub or the data that the program brings.
func (s Sources) Split(ctx context.Context, from string, task data.Task, split string) (*data.Split, error) {
	switch from {
	case BuiltinData:
		if task.Name != "stsb" {
			return nil, settings.Error(fmt.Errorf("data builtin holds stsb only, not %s; give --data a directory, or hub", task.Name))
		}
		if s.Data == nil {
			return nil, settings.Error(errors.New("data builtin: this program brings none; give --data a directory, or hub"))
		}
		loaded, err := data.LoadFS(s.Data, task, split)
		if err != nil {
			err = fmt.Errorf("data builtin: %w", err)
		}
		return loaded, err
	case HubData:
		dir, info, err := task.Resolve(ctx, s.Hub)
		if err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
		loaded, err := data.Load(dir, task, split)
		if err != nil {
			return nil, err
		}
		loaded.Notices = append(loaded.Notices, info.Notices...)
		return loaded, nil
	case memoryData:
		return nil, errors.New("the run was trained on examples in memory; give the data to evaluate it on, a file or a folder (--data)")
	}
	if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("data: there is no directory %s; give --data one with the files of %s, or hub", from, task.Name)
	}
	return data.Load(from, task, split)
}

// examples are encoded examples of a split, with their labels.
type examples struct {
	split   *data.Split
	rows    []data.Encoded
	labels  []float64
	dropped int // overlong ones left out
	cut     int // overlong ones truncated
}

// encodeSplit tokenizes a split. Overlong examples are truncated or dropped, as the settings say.
func encodeSplit(tok data.Tokenizer, s *data.Split, maxLength int, overlong string) (*examples, error) {
	limit := maxLength
	if overlong == overlongDrop {
		limit = 0
	}
	e := &examples{split: s, rows: make([]data.Encoded, len(s.Examples))}
	for i, x := range s.Examples {
		row, cut, err := data.EncodePair(tok, x.Text, x.Pair, x.HasPair, limit)
		if err != nil {
			return nil, fmt.Errorf("%s: data row %d: %w", s.Source.File, x.Row, err)
		}
		if e.rows[i] = row; cut > 0 {
			e.cut++
		}
	}
	if overlong == overlongDrop {
		var err error
		if e.split, e.rows, e.dropped, err = s.DropOverlong(e.rows, maxLength); err != nil {
			return nil, err
		}
	}
	e.labels = e.split.Labels()
	return e, nil
}

// inputs are everything a run reads.
type inputs struct {
	checkpoint *model.Checkpoint
	hub        data.HubInfo // of the model
	brought    bool         // the model is one that the program brings
	otherHead  []string     // classes of the model's own head, where that is one for others
	task       data.Task
	train      *examples
	validation *examples
	held       *data.Split // of the draw, to measure on in the place of a validation file; nil without a fold
	manifest   *data.Manifest
	sources    []model.FileSum
	scale      labelScale // of the training labels

	own [2]*data.Split // of files of one's own, which are read before the model: its head depends on them

	classWeights []float64 // by class; nil: all alike
}

// read reads model, tokenizer and data as the settings say, and reports what the user should know.
func read(ctx context.Context, c *Config, o *Options, notice func(format string, args ...any)) (*inputs, error) {
	in := &inputs{}
	var err error
	if in.task, err = o.task(c); err != nil {
		return nil, err
	}
	if o.Train == nil && in.task.Own() {
		if in.own[0], in.own[1], err = o.splits(ctx, c, in.task); err != nil {
			return nil, err
		}
		in.task = in.own[0].Task
		c.noteTask(in.task)
	}
	files, info, err := o.Sources.Model(ctx, c.Model)
	if err != nil {
		return nil, err
	}
	in.hub = info
	_, in.brought = o.Sources.Models[c.Model]
	pooled, err := c.ResolvePooling(files)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", c.Model, err)
	}
	classes, _ := headOf(in.task)
	in.otherHead = otherHead(files, classes)
	c.FreshHead = c.FreshHead || in.otherHead != nil
	if in.checkpoint, err = loadCheckpointFor(files, o.Backend, c, in.task); err != nil {
		return nil, fmt.Errorf("model %s: %w", c.Model, err)
	}
	c.trainDrawn(in.checkpoint)
	trained := c.trained(in.checkpoint.Config)
	kept := append(trained, in.checkpoint.Fresh...) // what was drawn travels with the adapter, as it was drawn
	if err := in.checkpoint.Hold(model.Precision(c.Precision), o.Backend, func(weight string) bool { return slices.Contains(kept, weight) }); err != nil {
		return nil, err
	}
	tok, err := data.OpenTokenizer(files, "")
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", c.Model, err)
	}
	if err := checkVocabulary(tok, in.checkpoint.Config, c); err != nil {
		return nil, fmt.Errorf("model %s: %w", c.Model, err)
	}
	if err := in.read(ctx, c, tok, o); err != nil {
		return nil, err
	}
	if pooled != "" && !in.brought {
		notice("%s", pooled)
	}
	in.notices(c, notice)
	return in, nil
}

// headOf are the classes and the problem type of the head that a task takes.
func headOf(task data.Task) (labels []string, problem string) {
	if task.Regression() {
		return []string{"LABEL_0"}, model.Regression
	}
	if task.Multi {
		return task.Labels, model.MultiLabel
	}
	return task.Labels, model.SingleLabel
}

// loadCheckpointFor reads a checkpoint with the head that a task needs, new unless the files have one.
func loadCheckpointFor(files fs.FS, backend compute.Backend, c *Config, task data.Task) (*model.Checkpoint, error) {
	classes, problem := headOf(task)
	checkpoint, err := model.Load(files, model.LoadOptions{
		Labels: classes, ProblemType: problem, Pooling: model.Pooling(c.Pooling),
		DrawHead: true, HeadSeed: headSeed(c), NewHead: c.FreshHead, Precision: model.Precision(c.Precision), Backend: backend,
	})
	if err != nil {
		return nil, err
	}
	if c.Dropout != checkpointDropout {
		checkpoint.Config.SetDropout(c.Dropout)
	}
	return checkpoint, nil
}

// otherHead are the classes of the files' head where they are others: of another number, or under other names. Unnamed
// outputs are taken in the order of the task's, and names that could be meant in two ways are an error of Load.
func otherHead(files fs.FS, want []string) (have []string) {
	r, err := model.OpenReader(files, model.LoadOptions{})
	if err != nil { // Load has the same, or one that says more
		return nil
	}
	defer r.Close()
	have = r.Config.Labels()
	if !r.HasHead() || len(have) == len(want) && (len(want) == 1 || labels.Unnamed(have)) {
		return nil
	}
	if _, err = labels.Match(have, want); errors.Is(err, labels.ErrOther) {
		return have
	}
	return nil
}

func headSeed(c *Config) uint64 {
	if c.HeadSeed == seedOfRun {
		return c.Seed
	}
	return uint64(c.HeadSeed)
}

// checkVocabulary refuses a tokenizer whose ids the model has no rows for, and lengths beyond its positions.
func checkVocabulary(tok data.Tokenizer, config *model.Config, c *Config) error {
	if size := tok.VocabSize(); size > config.VocabSize {
		return fmt.Errorf("its tokenizer gives ids up to %d, the word embeddings have %d rows: they are not of one model", size-1, config.VocabSize)
	}
	if most := config.Positions(); c.MaxLength > most {
		return settings.Error(fmt.Errorf("max-length is %d, the model has %d positions; lower --max-length", c.MaxLength, most))
	}
	return nil
}

// read loads both splits, draws the training examples and tokenizes.
func (in *inputs) read(ctx context.Context, c *Config, tok data.Tokenizer, o *Options) error {
	train, validation := in.own[0], in.own[1]
	if train == nil {
		var err error
		if train, validation, err = o.splits(ctx, c, in.task); err != nil {
			return err
		}
	}
	dropped := 0
	if c.Overlong == overlongDrop { // before the draw, as the reference does
		all, err := encodeSplit(tok, train, c.MaxLength, c.Overlong)
		if err != nil {
			return err
		}
		train, dropped = all.split, all.dropped
	}
	drawn, err := in.draw(c, train)
	if err != nil {
		return err
	}
	if in.train, err = encodeSplit(tok, drawn, c.MaxLength, c.Overlong); err != nil {
		return err
	}
	in.train.dropped = dropped
	files := []*data.Split{train, validation}
	if in.held != nil {
		validation, files = in.held, files[:1]
	}
	if in.task.Scaled() {
		scale, err := scaleOf(in.train.labels)
		if err != nil {
			return err
		}
		in.standardise(scale)
	}
	if in.validation, err = encodeSplit(tok, validation, c.MaxLength, c.Overlong); err != nil {
		return err
	}
	for _, e := range []*examples{in.train, in.validation} {
		if err := in.checkRows(e); err != nil {
			return err
		}
	}
	for _, s := range files {
		in.sources = append(in.sources, model.FileSum{File: s.Source.File, SHA256: s.Source.SHA256})
	}
	return nil
}

// checkRows holds tokenized examples against the model: a graph would clamp what is out of range, and a
// second text has token type 1, which not every model has.
func (in *inputs) checkRows(e *examples) error {
	for i, row := range e.rows {
		if err := in.checkpoint.Config.Check(row.IDs, row.Types, len(row.IDs)); err != nil {
			return fmt.Errorf("%s: data row %d: %w", e.split.Source.File, e.split.Examples[i].Row, err)
		}
	}
	return nil
}

// draw takes the training examples that the settings ask for, and holds those of them that they are measured on.
func (in *inputs) draw(c *Config, all *data.Split) (drawn *data.Split, err error) {
	if c.Manifest != "" {
		if in.manifest, err = data.ReadManifest(c.Manifest); err != nil {
			return nil, err
		}
		if drawn, err = in.replay(c, all); in.held != nil {
			return drawn, err
		}
	} else {
		drawn, in.manifest, err = all.Sample(data.DrawOptions{
			Shots: c.Shots, PerClass: c.ShotsPerClass, Replace: c.Sample == "with-replacement" && c.Shots > 0, Seed: c.Seed,
		})
	}
	if err != nil || c.Fold == "" {
		return drawn, err
	}
	return in.hold(c, drawn)
}

// noticeFresh announces modules that were drawn at random.
func (in *inputs) noticeFresh(c *Config, notice func(format string, args ...any)) {
	for _, module := range []struct {
		names        []string
		new, trained bool
	}{
		{in.checkpoint.Config.PoolerNames(), false, c.TrainPooler},
		{in.checkpoint.Config.HeadNames(), c.FreshHead, c.TrainHead},
	} {
		if !containsAny(in.checkpoint.Fresh, module.names) {
			continue
		}
		why, state := "not in the checkpoint", "frozen"
		if module.new {
			why = "made new"
			if len(in.otherHead) > 0 {
				why += fmt.Sprintf(", as the checkpoint's are for other classes (%s)", quoted(in.otherHead, 5))
			}
		}
		if module.trained {
			state = "trained"
		}
		notice("%s %s: drawn from N(0, %g²) with seed %d, %s", strings.Join(module.names, ", "), why, in.checkpoint.Config.InitializerRange, headSeed(c), state)
	}
}

func (in *inputs) notices(c *Config, notice func(format string, args ...any)) {
	in.noticeFresh(c, notice)
	// The embedded encoder has the heads it was pretrained with: nobody is to wonder about them at every run.
	if ignored := in.checkpoint.Ignored; len(ignored) > 0 && !in.brought {
		notice("%d tensors of the checkpoint not needed for classification: %s", len(ignored), strings.Join(ignored, ", "))
	}
	for _, n := range in.hub.Notices {
		notice("%s", n)
	}
	for _, e := range []*examples{in.train, in.validation} {
		for _, n := range e.split.Notices {
			notice("%s", n)
		}
		if e.dropped > 0 {
			notice("%s: examples longer than %d tokens dropped: %s", e.split.Name, c.MaxLength, countOf(e.dropped, e.split.Source.Rows))
		}
		if e.cut > 0 {
			notice("%s: examples truncated to %d tokens: %s", e.split.Name, c.MaxLength, countOf(e.cut, len(e.rows)))
		}
	}
	in.warn(notice)
}
