package pretrain

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/deeplora/deeplora/train"
)

// Config is every setting of a pretraining run. Its JSON names are the command line's long flags.
type Config struct {
	Corpus    []string `json:"corpus"`     // text files: a text a line, or two that belong together with a tab between
	Shape     string   `json:"config"`     // config.json of the encoder to make; its vocab_size is set
	VocabSize int      `json:"vocab-size"` // tokens of the vocabulary, special ones included
	Model     string   `json:"model"`      // a checkpoint to go on from instead, with its vocabulary
	Cased     bool     `json:"cased"`
	Teacher   string   `json:"teacher"` // directory, hub id, or empty for none

	MaskedLM   float64 `json:"mlm-weight"`        // weights of the objectives in the loss
	Sentence   float64 `json:"sentence-weight"`   // 1 − cosine to the teacher's embedding, after a projection
	Similarity float64 `json:"similarity-weight"` // squared error of cosines between texts of a batch
	Pooler     float64 `json:"pooler-weight"`     // 1 − cosine to the teacher's embedding, read off the pooler of a text
	Pair       float64 `json:"pair-weight"`       // squared error of the teacher's cosine, read off a joined pair

	MaskShare       float64 `json:"mask-share"`       // share of the texts with masked tokens; those are not distilled
	MaskProbability float64 `json:"mask-probability"` // of a token in them
	WholeWord       bool    `json:"whole-word"`       // mask words, not pieces
	Neighbours      float64 `json:"neighbours"`       // pairs of near texts an epoch, as a share of the texts
	RandomPairs     float64 `json:"random-pairs"`     // pairs of any texts an epoch, likewise
	SamePairs       float64 `json:"same-pairs"`       // pairs of a text with itself an epoch, likewise
	TeacherInit     bool    `json:"teacher-init"`     // begin word embeddings at the teacher's, of each token alone
	AttentionInit   float64 `json:"attention-init"`   // added to the diagonals of the first layer's query and key kernels

	MaxLength int     `json:"max-length"` // tokens of a text or pair; the rest is cut
	RowLength int     `json:"row-length"` // tokens of a row, which holds several texts
	Batch     int     `json:"batch"`      // rows
	Steps     int     `json:"steps"`      // optimizer steps; 0: from Epochs
	Epochs    float64 `json:"epochs"`

	LR          float64 `json:"lr"`
	Warmup      int     `json:"warmup"`
	DecayRatio  float64 `json:"decay-ratio"`
	WeightDecay float64 `json:"weight-decay"`
	Clip        float64 `json:"clip"`
	Dropout     float64 `json:"dropout"` // while pretraining; -1: as config.json says, which goes into the model unchanged
	Seed        uint64  `json:"seed"`

	Validation float64 `json:"validation"` // share of the texts kept for measuring
	EvalEvery  int     `json:"eval-every"`
	SaveEvery  int     `json:"save-every"`
	Keep       int     `json:"keep"`
	DType      string  `json:"dtype"` // of the weights written at the end: float32 or float16

	OnNonfinite string `json:"on-nonfinite,omitempty"` // what a step whose loss or gradient is no finite number does: stop, as when empty, or skip
}

// Default returns the command line's defaults.
func Default() Config {
	return Config{
		VocabSize: 8192, MaskedLM: 1, Sentence: 1, Similarity: 1, Pooler: 1, Pair: 1,
		MaskShare: 1, MaskProbability: 0.15, Neighbours: 0.25, RandomPairs: 0.05,
		MaxLength: 64, RowLength: 128, Batch: 32, LR: 1e-3, Warmup: 100, WeightDecay: 0.01, Clip: 1, Dropout: train.CheckpointDropout,
		Validation: 0.01, Keep: 2, DType: "float32",
	}
}

// Validate returns every fault of the settings, joined; each names its setting.
func (c *Config) Validate() error {
	var f faults
	check := f.check
	check(slices.Contains([]string{"", train.NonfiniteStop, train.NonfiniteSkip}, c.OnNonfinite), "on-nonfinite: %q is unknown; want stop or skip", c.OnNonfinite)
	check(len(c.Corpus) > 0, "corpus: give at least one text file")
	check(c.Shape != "" || c.Model != "", "config: give the config.json of the encoder to make, or model, a checkpoint to go on from")
	check(c.Shape == "" || c.Model == "", "config and model: a checkpoint to go on from has its own config.json")
	check(c.Model == "" || !c.TeacherInit && c.AttentionInit == 0, "teacher-init and attention-init: the weights of model are there already")
	check(c.VocabSize >= 6, "vocab-size: %d is too small; the special tokens alone are 5", c.VocabSize)
	check(c.RowLength >= c.MaxLength, "row-length: %d is less than max-length %d", c.RowLength, c.MaxLength)
	check(c.Steps == 0 || c.Epochs == 0, "steps and epochs: give one of them")
	check(c.Warmup == 0 || c.Steps == 0 || c.Warmup < c.Steps, "warmup: %d steps leave none of the %d to train at full rate", c.Warmup, c.Steps)
	check(c.Dropout == train.CheckpointDropout || c.Dropout >= 0 && c.Dropout < 1, "dropout: %g is not between 0 and below 1", c.Dropout)
	check(c.DType == "float32" || c.DType == "float16", "dtype: %q is unknown; want float32 or float16", c.DType)
	check(c.Teacher != "" || !c.TeacherInit, "teacher-init: needs a teacher")
	check(c.Teacher != "" || c.masks(), "mlm-weight: without a teacher it is the only objective; it, mask-share and mask-probability must be above 0")
	check(c.Teacher == "" || c.MaskShare < 1 || c.Sentence+c.Similarity+c.Pooler == 0, "mask-share: at 1 every text has masked tokens and none is distilled; with a teacher give less, as 0.2")
	check(c.Teacher == "" || c.masks() || c.Sentence+c.Similarity+c.Pooler+c.Pair > 0, "mlm-weight, sentence-weight, similarity-weight, pooler-weight, pair-weight: all are 0")
	c.checkNumbers(check)
	return errors.Join(f...)
}

// faults collects what is wrong with settings.
type faults []error

func (f *faults) check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

func (c *Config) checkNumbers(check func(ok bool, format string, args ...any)) {
	for _, n := range []struct {
		setting      string
		value, least int
	}{
		{"max-length", c.MaxLength, 8},
		{"batch", c.Batch, 1},
		{"steps", c.Steps, 0},
		{"warmup", c.Warmup, 0},
		{"eval-every", c.EvalEvery, 0},
		{"save-every", c.SaveEvery, 0},
		{"keep", c.Keep, 1},
	} {
		check(n.value >= n.least, "%s: %d is less than %d", n.setting, n.value, n.least)
	}
	for _, n := range []struct {
		setting          string
		value, low, high float64
	}{
		{"mlm-weight", c.MaskedLM, 0, 1e3},
		{"sentence-weight", c.Sentence, 0, 1e3},
		{"similarity-weight", c.Similarity, 0, 1e3},
		{"pooler-weight", c.Pooler, 0, 1e3},
		{"pair-weight", c.Pair, 0, 1e3},
		{"mask-share", c.MaskShare, 0, 1},
		{"mask-probability", c.MaskProbability, 0, 1},
		{"neighbours", c.Neighbours, 0, 100},
		{"random-pairs", c.RandomPairs, 0, 100},
		{"same-pairs", c.SamePairs, 0, 100},
		{"attention-init", c.AttentionInit, -100, 100},
		{"epochs", c.Epochs, 0, 1e6},
		{"lr", c.LR, 0, 1e3},
		{"decay-ratio", c.DecayRatio, 0, 1},
		{"weight-decay", c.WeightDecay, 0, 1},
		{"clip", c.Clip, 0, math.MaxFloat32},
		{"validation", c.Validation, 0, 0.5},
	} {
		check(n.value >= n.low && n.value <= n.high, "%s: %g is not between %g and %g", n.setting, n.value, n.low, n.high)
	}
}

// pairs reports whether the loss reads joined pairs.
func (c *Config) pairs() bool { return c.Teacher != "" && c.Pair > 0 }

// masks reports whether the loss reads masked tokens.
func (c *Config) masks() bool { return c.MaskedLM > 0 && c.MaskShare > 0 && c.MaskProbability > 0 }
