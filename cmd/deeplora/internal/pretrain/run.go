package pretrain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// Files of a pretraining run beside the model's own and the loop's.
const (
	RunJSON    = "pretrain.json" // every setting, and what the run was made from
	resultJSON = "result.json"
	parameters = "parameters.safetensors"
	cacheDir   = "teacher"
)

// Options are what a run needs beside its settings.
type Options struct {
	Backend      compute.Backend
	Out          string // becomes the model's folder
	Resume       bool
	TeacherCache string // folder of the teacher's embeddings; empty: teacher/ in Out
	Sources      train.Sources
	Provenance   train.Provenance // backend, plugin, threads and versions; the files are filled in
	OnEvent      func(loop.Event)
}

// Result is a run's result.json.
type Result struct {
	Metrics         loop.Metrics    `json:"metrics"` // on the held texts
	Texts           int             `json:"texts"`   // trained on
	Held            int             `json:"held_texts"`
	Vocabulary      int             `json:"vocabulary"`
	Parameters      int             `json:"parameters"` // of the model that was saved
	Steps           int             `json:"steps"`
	Skipped         int             `json:"skipped_steps"` // of them without an update
	Tokens          int64           `json:"tokens"`        // trained on
	TrainSeconds    float64         `json:"train_seconds"`
	WallSeconds     float64         `json:"wall_seconds"` // of this process
	TokensPerSecond float64         `json:"tokens_per_second"`
	FinalLoss       float64         `json:"final_loss"`
	Files           []model.FileSum `json:"files"` // of the model
}

// run is one pretraining in memory: the job of its loop.
type run struct {
	config  Config
	options Options
	started time.Time
	loop.Reporter

	dir        *rundir.Dir
	model      *model.Config
	from       *model.Checkpoint // gone on from; nil for a new model
	fromFiles  fs.FS
	corpus     *corpus
	tok        data.Tokenizer
	teacher    *Embedder
	embeddings [][]float32
	plan       *plan
	filler     *filler
	start      *start
	evaluator  *evaluator
	loop       *loop.Loop
	replay     bool // nothing is written
}

var _ loop.Job = (*run)(nil)

// Pretrain makes an encoder as the settings say, in the folder o.Out: vocab.txt, tokenizer.json,
// tokenizer_config.json, config.json, model.safetensors and, last, result.json. When ctx is cancelled it finishes
// the step in hand, saves a checkpoint and returns an error that wraps loop.ErrInterrupted.
func Pretrain(ctx context.Context, c Config, o Options) (*Result, error) {
	r := &run{config: c, options: o, started: time.Now(), Reporter: loop.Reporter{On: o.OnEvent}}
	defer r.close()
	if o.Resume && rundir.Is(o.Out, RunJSON) {
		if done, err := r.reopen(ctx); done != nil || err != nil {
			return done, err
		}
	} else if err := r.create(ctx); err != nil {
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if err := r.loop.Run(ctx); err != nil {
		return nil, err
	}
	return r.finish(ctx)
}

// create reads what the run is made from, trains the vocabulary and makes the directory.
func (r *run) create(ctx context.Context) error {
	if err := r.config.Validate(); err != nil {
		return settings.Error(err)
	}
	if err := rundir.CheckVacant(r.options.Out, RunJSON); err != nil {
		return err
	}
	if err := r.read(ctx); err != nil {
		return err
	}
	vocabulary, err := r.vocabularyFiles()
	if err != nil {
		return err
	}
	if r.dir, err = rundir.Create(r.options.Out, RunJSON); err != nil {
		return err
	}
	if err := jsonfile.Write(r.dir.File(RunJSON), RunConfig{Config: r.config, Provenance: r.options.Provenance}); err != nil {
		return err
	}
	return r.writeVocabulary(vocabulary)
}

func (r *run) writeVocabulary(files map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := atomicfile.WriteBytes(r.dir.File(name), files[name]); err != nil {
			return err
		}
	}
	return nil
}

// reopen prepares to go on with a run. It returns the result of one that has finished.
func (r *run) reopen(ctx context.Context) (*Result, error) {
	var err error
	if r.dir, err = rundir.Open(r.options.Out, RunJSON); err != nil {
		return nil, err
	}
	then, err := ReadRunConfig(r.options.Out)
	if err != nil {
		return nil, err
	}
	given := r.config
	r.config = then.Config
	Settings().Change(&r.config, &given)
	var result Result
	switch err := jsonfile.Read(r.dir.File(resultJSON), &result); {
	case err == nil:
		r.Notice("%s has finished already", r.options.Out)
		return &result, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if err := r.readAgain(ctx, then, "resume"); err != nil {
		return nil, err
	}
	if !r.lacksVocabulary() {
		return nil, nil
	}
	vocabulary, err := r.vocabularyFiles()
	if err != nil {
		return nil, err
	}
	return nil, r.writeVocabulary(vocabulary)
}

// readAgain reads what a run that was begun is made of, and holds it against what it began with. doing is resume or
// replay, for errors.
func (r *run) readAgain(ctx context.Context, then RunConfig, doing string) error {
	if err := then.resumable(r.options.Out); err != nil {
		return err
	}
	if err := r.read(ctx); err != nil {
		return err
	}
	notice, err := r.options.Provenance.Continues(then.Provenance)
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, r.options.Out, err)
	}
	if notice != "" {
		r.Notice("%s", notice)
	}
	return nil
}

// lacksVocabulary reports whether the run died before it had written its tokenizer.
func (r *run) lacksVocabulary() bool {
	return slices.ContainsFunc(modelfiles.OfTokenizer, func(name string) bool {
		wanted := slices.Contains([]string{modelfiles.Tokenizer, modelfiles.TokenizerConfig, modelfiles.Vocabulary}, name) // our own vocabularies'
		if r.from != nil {
			_, err := fs.Stat(r.fromFiles, name)
			wanted = err == nil
		}
		_, err := os.Stat(r.dir.File(name))
		return wanted && err != nil
	})
}

// read reads corpus, model config and teacher, and notes their sums.
func (r *run) read(ctx context.Context) error {
	err := model.Precision(r.config.Precision).Check(r.options.Backend)
	if err != nil {
		return err
	}
	if r.corpus, err = readCorpus(r.config.Corpus); err != nil {
		return err
	}
	if r.config.Model != "" {
		err = r.readModel(ctx)
	} else {
		err = r.readShape()
	}
	if err != nil {
		return err
	}
	if err := r.fits(); err != nil {
		return settings.Error(err)
	}
	p := &r.options.Provenance
	p.Data = r.corpus.sources
	if r.config.Teacher == "" {
		return nil
	}
	if r.teacher, err = OpenEmbedder(ctx, r.options.Backend, r.config.Teacher, r.options.Sources, model.F32); err != nil {
		return fmt.Errorf("teacher: %w", err)
	}
	for _, f := range r.teacher.Files() {
		p.Model = append(p.Model, model.FileSum{File: "teacher/" + f.File, SHA256: f.SHA256})
	}
	return nil
}

// readShape reads the config.json of an encoder that is made anew.
func (r *run) readShape() (err error) {
	dir, file := filepath.Split(r.config.Shape)
	files := os.DirFS(filepath.Clean(dir + "."))
	if r.model, err = model.ReadConfig(files, file); err != nil {
		return err
	}
	sum, err := model.SumFile(files, file)
	r.options.Provenance.Model = []model.FileSum{sum}
	return err
}

// readModel reads the checkpoint that is gone on from. A head that it lacks is drawn.
func (r *run) readModel(ctx context.Context) error {
	files, info, err := r.options.Sources.Model(ctx, r.config.Model)
	if err != nil {
		return err
	}
	r.from, err = model.Load(files, model.LoadOptions{Architecture: model.MaskedLM, DrawHead: true, HeadSeed: r.config.Seed, HeadName: "init"})
	if err != nil {
		return fmt.Errorf("model %s: %w", r.config.Model, err)
	}
	if fresh := r.from.Fresh; len(fresh) > 0 {
		r.Notice("not in the checkpoint, drawn: %s", strings.Join(fresh, ", "))
	}
	r.fromFiles, r.model = files, r.from.Config
	r.options.Provenance.Model, r.options.Provenance.ModelRevision = r.from.Files, info.Commit
	return nil
}

// fits holds the settings against the model.
func (r *run) fits() error {
	if n := r.model.Positions(); r.config.MaxLength > n {
		return fmt.Errorf("max-length is %d, %s has max_position_embeddings %d", r.config.MaxLength, cmp.Or(r.config.Model, r.config.Shape), n)
	}
	if r.config.pairs() && r.model.TypeVocabSize < 2 {
		return fmt.Errorf("pair-weight: %s has type_vocab_size %d; pairs need 2", cmp.Or(r.config.Model, r.config.Shape), r.model.TypeVocabSize)
	}
	return nil
}

// Batch assembles batch i.
func (r *run) Batch(i int) (loop.Batch, error) {
	return r.filler.fill(r.plan.at(i), rng.New(r.config.Seed, "mask").At(uint64(i))), nil
}

// Evaluate measures parameters on the held texts.
func (r *run) Evaluate(ctx context.Context, values []loop.NamedTensor, progress func(done, total int)) (loop.Metrics, error) {
	return r.evaluator.measure(ctx, values, progress)
}

// Score is minus the loss on the held texts.
func (r *run) Score(m loop.Metrics) float64 { return r.config.score(m) }

// Write puts the parameters, those that are dropped at the end included, into a checkpoint.
func (r *run) Write(dir string, values []loop.NamedTensor) error {
	return loop.WriteTensors(filepath.Join(dir, parameters), values)
}

// Read reads what Write wrote.
func (r *run) Read(dir string) (map[string]*tensors.Tensor, error) {
	return loop.ReadTensors(filepath.Join(dir, parameters))
}

// finish evaluates, writes the model and then result.json, which makes the run finished.
func (r *run) finish(ctx context.Context) (*Result, error) {
	metrics, _, err := r.loop.Finish(ctx, false)
	if err != nil {
		return nil, err
	}
	files, err := r.save()
	if err != nil {
		return nil, err
	}
	p := r.loop.Progress()
	result := Result{
		Metrics: metrics, Texts: len(r.plan.texts), Held: len(r.corpus.texts) - len(r.plan.texts), Vocabulary: r.model.VocabSize,
		Parameters: r.size(), Steps: p.Step, Skipped: p.Skipped, Tokens: p.Tokens, TrainSeconds: p.TrainSeconds, WallSeconds: time.Since(r.started).Seconds(),
		TokensPerSecond: p.TokensPerSecond(), FinalLoss: p.Loss, Files: files,
	}
	return &result, jsonfile.Write(r.dir.File(resultJSON), result)
}

// save writes the model without what only pretraining needs.
func (r *run) save() ([]model.FileSum, error) {
	for _, p := range r.loop.Parameters() {
		if _, ours := r.start.model.Tensors[p.Name]; ours {
			r.start.model.Tensors[p.Name] = p.Value
		}
	}
	dtype := map[string]dtypes.DType{"float32": dtypes.Float32, "float16": dtypes.Float16}[r.config.DType]
	if err := r.start.model.Save(r.options.Out, dtype); err != nil {
		return nil, err
	}
	var files []model.FileSum
	var names []string
	for _, name := range append([]string{"config.json", "model.safetensors"}, modelfiles.OfTokenizer...) {
		sum, err := model.SumFile(os.DirFS(r.options.Out), name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files, names = append(files, sum), append(names, name)
	}
	return files, sums.Write(r.options.Out, names...)
}

// size counts the parameters of the model that is saved.
func (r *run) size() int {
	n := 0
	for _, t := range r.start.model.Tensors {
		n += t.Shape().Size()
	}
	return n
}

func (r *run) close() {
	if r.loop != nil {
		r.loop.Close()
	}
	if r.evaluator != nil {
		r.evaluator.close()
	}
	if r.teacher != nil {
		r.teacher.Close()
	}
	if r.dir != nil {
		r.dir.Close()
	}
}
