package pretrain

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// Config is every setting of a pretraining run. What each means, its default and its name on the command line and in JSON
// stand in Settings, a row each.
type Config struct {
	Corpus    []string
	Shape     string // config.json of the encoder to make
	VocabSize int
	Model     string // or the checkpoint to go on from
	Cased     bool
	Teacher   string

	MaskedLM, Sentence, Similarity, Pooler, Pair float64 // weights of the objectives in the loss

	MaskShare, MaskProbability         float64
	WholeWord                          bool
	Neighbours, RandomPairs, SamePairs float64 // pairs an epoch, as a share of the texts
	TeacherInit                        bool
	AttentionInit                      float64

	MaxLength, RowLength, Batch int
	loop.Plan
	Dropout    float64
	Validation float64
	Precision  string
	DType      string
}

const checkpointDropout = -1.0 // Dropout: as config.json says, which goes into the model unchanged

// Settings is the table of a pretraining's settings: the loop's and its own.
func Settings() settings.Table[Config] {
	type row = settings.Row[Config]
	number := func(name string, value float64, check func(any) error, at func(c *Config) any, help string) row {
		return row{Name: name, Default: value, Check: check, At: at, Help: help}
	}
	weight, pairs, share := settings.Between(0, 1e3), settings.Between(0, 100), settings.Between(0, 1)
	plan := loop.Rows(func(c *Config) *loop.Plan { return &c.Plan }).Without("accumulate", "early-stop").
		With("epochs", func(r *row) { r.Help = "passes over the corpus (default 1 without --steps)" }).
		With("lr", func(r *row) { r.Default = 1e-3 }).
		With("warmup", func(r *row) { r.Default = 100 }).
		With("weight-decay", func(r *row) { r.Default, r.Help = 0.01, "decoupled weight decay, of matrices" }).
		With("clip", func(r *row) { r.Default = 1.0 })
	return slices.Concat(settings.Table[Config]{
		{Name: "corpus", Path: true, At: func(c *Config) any { return &c.Corpus }, Help: "text file: a text a line, or two with a tab between (repeatable)"},
		{Name: "config", Default: "", Path: true, At: func(c *Config) any { return &c.Shape }, Help: "config.json of the encoder to make; its vocab_size is set"},
		{Name: "model", Default: "", Path: true, Words: []string{train.BuiltinModel}, At: func(c *Config) any { return &c.Model }, Help: "checkpoint to go on from instead, with its vocabulary: a directory, a hub id or " + train.BuiltinModel},
		{Name: "vocab-size", Default: 8192, At: func(c *Config) any { return &c.VocabSize }, Help: "tokens of the vocabulary, special ones included"},
		{Name: "cased", Default: false, At: func(c *Config) any { return &c.Cased }, Help: "keep upper case and accents"},
		{Name: "teacher", Default: "", Path: true, Words: []string{train.BuiltinModel}, At: func(c *Config) any { return &c.Teacher }, Help: "encoder to learn from: a directory or a hub id (default none)"},

		number("mlm-weight", 1, weight, func(c *Config) any { return &c.MaskedLM }, "weight of masked language modelling in the loss"),
		number("sentence-weight", 1, weight, func(c *Config) any { return &c.Sentence }, "weight of matching the teacher's embeddings, after a projection"),
		number("similarity-weight", 1, weight, func(c *Config) any { return &c.Similarity }, "weight of matching the teacher's cosines between texts of a batch"),
		number("pooler-weight", 1, weight, func(c *Config) any { return &c.Pooler }, "weight of matching the teacher's embeddings from the pooler, after a projection of its own"),
		number("pair-weight", 1, weight, func(c *Config) any { return &c.Pair }, "weight of predicting the teacher's cosine of two joined texts from the pooler"),
		number("mask-share", 1, share, func(c *Config) any { return &c.MaskShare }, "share of the texts with masked tokens; those are not distilled"),
		number("mask-probability", 0.15, share, func(c *Config) any { return &c.MaskProbability }, "probability of a token in them to be masked"),
		{Name: "whole-word", Default: false, At: func(c *Config) any { return &c.WholeWord }, Help: "mask whole words"},
		number("neighbours", 0.25, pairs, func(c *Config) any { return &c.Neighbours }, "pairs of near texts an epoch, as a share of the texts"),
		number("random-pairs", 0.05, pairs, func(c *Config) any { return &c.RandomPairs }, "pairs of any texts an epoch, as a share of the texts"),
		number("same-pairs", 0, pairs, func(c *Config) any { return &c.SamePairs }, "pairs of a text with itself an epoch, as a share of the texts"),
		number("attention-init", 0, settings.Between(-100, 100), func(c *Config) any { return &c.AttentionInit }, "added to the diagonals of the first layer's query and key kernels: tokens attend to their likes at first"),
		{Name: "teacher-init", Default: false, At: func(c *Config) any { return &c.TeacherInit }, Help: "begin word embeddings at the teacher's embeddings of single tokens"},

		{Name: "max-length", Default: 64, Check: settings.AtLeast(8), At: func(c *Config) any { return &c.MaxLength }, Help: "tokens of a text or of two joined; the rest is cut"},
		{Name: "row-length", Default: 128, At: func(c *Config) any { return &c.RowLength }, Help: "tokens of a row of a batch, which holds several texts"},
		{Name: "batch", Default: 32, Check: settings.AtLeast(1), At: func(c *Config) any { return &c.Batch }, Help: "rows a batch"},
	}, plan, settings.Table[Config]{
		number("dropout", checkpointDropout, settings.Unless(checkpointDropout, settings.Probability), func(c *Config) any { return &c.Dropout }, "dropout probability while pretraining; -1: as the config says"),
		number("validation", 0.01, settings.Between(0, 0.5), func(c *Config) any { return &c.Validation }, "share of the texts kept for measuring"),
		{Name: "precision", Default: string(model.F32), Check: settings.OneOf(model.F32.All()...), At: func(c *Config) any { return &c.Precision }, Help: "numbers of products with kernels, which are trained as float32: f32, bf16, or bf16x3 (float32's accuracy from three of bf16); XLA only"},
		{Name: "dtype", Default: "float32", Check: settings.OneOf("float32", "float16"), At: func(c *Config) any { return &c.DType }, Help: "of the weights in model.safetensors: float32 or float16"},
	})
}

// Default returns the command line's defaults.
func Default() Config {
	c := Settings().Defaults()
	c.Accumulate = 1
	return c
}

// runFormat is the format of pretraining runs: 1, of files without the number, kept the sums of tensors in JSON.
const runFormat = 2

// RunConfig is a run's pretrain.json.
type RunConfig struct {
	Config
	Format     int
	Provenance train.Provenance
}

// MarshalJSON writes the settings and, after them, the rest.
func (c RunConfig) MarshalJSON() ([]byte, error) {
	return Settings().Marshal(&c.Config, settings.Extra{Name: "format", Value: runFormat}, settings.Extra{Name: "provenance", Value: c.Provenance})
}

// UnmarshalJSON reads what MarshalJSON wrote, or a version before it.
func (c *RunConfig) UnmarshalJSON(text []byte) error {
	*c = RunConfig{Config: Default(), Format: 1}
	return Settings().Unmarshal(text, &c.Config, settings.Extra{Name: "format", Value: &c.Format}, settings.Extra{Name: "provenance", Value: &c.Provenance})
}

// ReadRunConfig reads the pretrain.json of a run.
func ReadRunConfig(out string) (RunConfig, error) {
	var c RunConfig
	err := jsonfile.Read(filepath.Join(out, RunJSON), &c)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w: it has no %s", out, rundir.ErrNoRun, RunJSON)
	}
	return c, err
}

// resumable refuses a run that another version began and did not finish.
func (c *RunConfig) resumable(out string) error { return rundir.CheckFormat(out, c.Format, runFormat) }

// Validate returns every fault of the settings, joined; each names its setting.
func (c *Config) Validate() error {
	f := settings.Faults(Settings().Check(c))
	check := f.Check
	check(len(c.Corpus) > 0, "corpus: give at least one text file")
	check(c.Shape != "" || c.Model != "", "config: give the config.json of the encoder to make, or model, a checkpoint to go on from")
	check(c.Shape == "" || c.Model == "", "config and model: a checkpoint to go on from has its own config.json")
	check(c.Model == "" || !c.TeacherInit && c.AttentionInit == 0, "teacher-init and attention-init: the weights of model are there already")
	check(c.VocabSize >= 6, "vocab-size: %d is too small; the special tokens alone are 5", c.VocabSize)
	check(c.RowLength >= c.MaxLength, "row-length: %d is less than max-length %d", c.RowLength, c.MaxLength)
	check(c.Teacher != "" || !c.TeacherInit, "teacher-init: needs a teacher")
	check(c.Teacher != "" || c.masks(), "mlm-weight: without a teacher it is the only objective; it, mask-share and mask-probability must be above 0")
	check(c.Teacher == "" || c.MaskShare < 1 || c.Sentence+c.Similarity+c.Pooler == 0, "mask-share: at 1 every text has masked tokens and none is distilled; with a teacher give less, as 0.2")
	check(c.Teacher == "" || c.masks() || c.Sentence+c.Similarity+c.Pooler+c.Pair > 0, "mlm-weight, sentence-weight, similarity-weight, pooler-weight, pair-weight: all are 0")
	f.Add(c.Plan.Check())
	return f.Err()
}

// pairs reports whether the loss reads joined pairs.
func (c *Config) pairs() bool { return c.Teacher != "" && c.Pair > 0 }

// masks reports whether the loss reads masked tokens.
func (c *Config) masks() bool { return c.MaskedLM > 0 && c.MaskShare > 0 && c.MaskProbability > 0 }
