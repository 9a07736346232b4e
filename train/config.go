package train

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/lora"
)

// Config is every setting of a training run. Its JSON names are the command line's long flags; the run
// directory's config.json holds it with every default resolved.
type Config struct {
	Model string `json:"model"` // directory, hub id org/name[@revision], or builtin:tiny
	Task  string `json:"task"`
	Data  string `json:"data"` // directory, "hub" or "builtin"
	Seed  uint64 `json:"seed"` // of every random stream

	From string `json:"from"` // finished run whose adapter training goes on with; method and kernels are its

	Method    string   `json:"method"`
	Rank      int      `json:"rank"`
	Depth     int      `json:"depth"`
	InitScale float64  `json:"init-scale"` // ε
	Gamma     float64  `json:"gamma"`      // learning-rate multiple of the outer factors
	Init      string   `json:"init"`       // of vanilla: reference or peft
	Alpha     float64  `json:"alpha"`      // of vanilla with peft's init; 0: the rank
	Scope     string   `json:"scope"`
	Target    []string `json:"target"`  // patterns of kernel names, instead of a scope
	MinDim    int      `json:"min-dim"` // of all-dense; 0: 512, or the hidden size where that is smaller

	Shots         int    `json:"shots"`           // 0: the whole training set
	ShotsPerClass int    `json:"shots-per-class"` // 0: off
	Sample        string `json:"sample"`          // without or with-replacement
	Manifest      string `json:"manifest"`        // a draw to replay
	MaxLength     int    `json:"max-length"`
	Pad           string `json:"pad"`      // packed, bucket or fixed
	Overlong      string `json:"overlong"` // drop or truncate

	Steps      int     `json:"steps"`  // optimizer steps; 0: from Epochs
	Epochs     float64 `json:"epochs"` // 0: from Steps; both 0: 3
	Batch      int     `json:"batch"`
	Accumulate int     `json:"accumulate"` // batches a step
	EvalBatch  int     `json:"eval-batch"`
	DropLast   bool    `json:"drop-last"` // leave out each epoch's incomplete batch

	LR          float64 `json:"lr"` // 0: the method's
	Warmup      int     `json:"warmup"`
	DecayRatio  float64 `json:"decay-ratio"` // last learning rate over the peak
	WeightDecay float64 `json:"weight-decay"`
	Clip        float64 `json:"clip"` // largest norm of the gradient; 0: off
	Dropout     float64 `json:"dropout"`

	TrainHead bool  `json:"train-head"`
	FreshHead bool  `json:"fresh-head"` // draw a new head even where the checkpoint has one
	HeadSeed  int64 `json:"head-seed"`  // of a new head; -1: Seed

	EvalEvery int    `json:"eval-every"` // steps; 0: at the end only
	SaveEvery int    `json:"save-every"` // steps; 0: at the end only
	Keep      int    `json:"keep"`       // newest checkpoints kept
	EarlyStop int    `json:"early-stop"` // evaluations without a better one before stopping; 0: off
	Select    string `json:"select"`     // adapter kept at the end: last or best; empty: best with early-stop
	Reference bool   `json:"reference"`  // defaults of the paper's code

	// What a step whose loss or gradient is no finite number does: stop, which is empty once resolved, or skip. It is
	// left out of files where it is empty: runs of studies are known by the sum of their settings.
	OnNonfinite string `json:"on-nonfinite,omitempty"`

	// Keep of each layer only what it was given, and compute the rest again in backward: less memory, a third more
	// time. Left out of files where it is off, as above.
	GradientCheckpointing bool `json:"gradient-checkpointing,omitempty"`

	// Split a batch that does not fit into memory into accumulated ones. A run's own Batch and Accumulate are what
	// came of it. Left out of files where it is off.
	AutoBatch bool `json:"auto-batch,omitempty"`
}

// Unset values of settings whose zero means something.
const (
	CheckpointDropout = -1 // Dropout: as the checkpoint's config.json says
	SeedOfRun         = -1 // HeadSeed: the run's seed
)

// Default returns the defaults of the command line.
func Default() Config {
	return Config{
		Model: "builtin:tiny", Task: "stsb", Data: "builtin",
		Method: "deep-compressed", Rank: 8, Depth: 3, InitScale: 1e-3, Gamma: 0.01, Init: "reference", Scope: "attention-mlp",
		Sample: "without", MaxLength: 128, Pad: string(data.PadPacked), Overlong: OverlongTruncate,
		Batch: 16, Accumulate: 1, EvalBatch: 32, DecayRatio: 0.1, Dropout: CheckpointDropout, HeadSeed: SeedOfRun, Keep: 2,
	}
}

// Reference returns the defaults of the paper's code (method.md 2.4): every batch padded to 128, overlong
// examples dropped, training rows drawn with replacement, a constant learning rate, a head that is the same
// for every seed and stays frozen, incomplete batches left out.
func Reference() Config {
	c := Default()
	c.Reference = true
	c.Pad, c.Overlong, c.Sample = string(data.PadFixed), OverlongDrop, "with-replacement"
	c.DecayRatio, c.DropLast, c.HeadSeed = 1, true, 0
	return c
}

// What becomes of examples longer than MaxLength, and which adapter is kept.
const (
	OverlongDrop     = "drop"
	OverlongTruncate = "truncate"
	SelectLast       = "last"
	SelectBest       = "best"
)

// What a step does whose loss or gradient is no finite number.
const (
	NonfiniteStop = "stop"
	NonfiniteSkip = "skip"
)

// Validate returns every fault of the settings, joined; each names its setting.
func (c *Config) Validate() error {
	var f faults
	c.checkNames(&f)
	f.check(c.Shots == 0 || c.ShotsPerClass == 0, "shots and shots-per-class: give one of them")
	f.check(c.Manifest == "" || c.Shots == 0 && c.ShotsPerClass == 0, "manifest: a replayed draw takes no shots or shots-per-class")
	f.check(c.Steps == 0 || c.Epochs == 0, "steps and epochs: give one of them")
	f.check(c.ShotsPerClass == 0 || c.Sample == "without" || c.Reference, "sample: shots-per-class draws without replacement")
	c.checkNumbers(&f)
	f.check(c.EarlyStop == 0 || c.EvalEvery > 0, "early-stop: needs eval-every")
	return errors.Join(f...)
}

// checkNames checks the settings that are one of a few words.
func (c *Config) checkNames(f *faults) {
	_, err := data.LookupTask(c.Task)
	f.add(err)
	if c.Whole() {
		f.check(len(c.Target) == 0, "target: method %s has no kernels to choose", c.Method)
	} else {
		_, err = lora.New(c.Method, c.AdapterSettings())
		f.add(err)
	}
	if len(c.Target) == 0 {
		f.oneOf("scope", c.Scope, lora.Scopes()...)
	}
	for _, pattern := range c.Target {
		_, err := regexp.Compile(pattern)
		f.check(err == nil, "target: %q is no regular expression: %v", pattern, err)
	}
	f.oneOf("sample", c.Sample, "without", "with-replacement")
	_, err = data.ParsePadding(c.Pad)
	f.add(err)
	f.oneOf("overlong", c.Overlong, OverlongDrop, OverlongTruncate)
	if c.Select != "" {
		f.oneOf("select", c.Select, SelectLast, SelectBest)
	}
	if c.OnNonfinite != "" {
		f.oneOf("on-nonfinite", c.OnNonfinite, NonfiniteStop, NonfiniteSkip)
	}
}

func (c *Config) checkNumbers(f *faults) {
	for _, n := range []struct {
		setting      string
		value, least int
	}{
		{"shots", c.Shots, 0},
		{"shots-per-class", c.ShotsPerClass, 0},
		{"min-dim", c.MinDim, 0},
		{"max-length", c.MaxLength, 3},
		{"steps", c.Steps, 0},
		{"batch", c.Batch, 1},
		{"accumulate", c.Accumulate, 1},
		{"eval-batch", c.EvalBatch, 1},
		{"warmup", c.Warmup, 0},
		{"eval-every", c.EvalEvery, 0},
		{"save-every", c.SaveEvery, 0},
		{"keep", c.Keep, 1},
		{"early-stop", c.EarlyStop, 0},
	} {
		f.check(n.value >= n.least, "%s: %d is less than %d", n.setting, n.value, n.least)
	}
	f.within("epochs", c.Epochs, 0, 1e6)
	f.within("lr", c.LR, 0, 1e3)
	f.within("decay-ratio", c.DecayRatio, 0, 1)
	f.within("weight-decay", c.WeightDecay, 0, 1)
	f.within("clip", c.Clip, 0, math.MaxFloat32)
	f.check(c.Dropout == CheckpointDropout || c.Dropout >= 0 && c.Dropout < 1, "dropout: %g is not between 0 and below 1", c.Dropout)
	f.check(c.HeadSeed >= SeedOfRun, "head-seed: %d is negative", c.HeadSeed)
}

// faults collects what is wrong with settings.
type faults []error

func (f *faults) add(err error) {
	if err != nil {
		*f = append(*f, err)
	}
}

func (f *faults) check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

func (f *faults) oneOf(setting, value string, want ...string) {
	f.check(slices.Contains(want, value), "%s: %q is unknown; nearest: %s (known: %s)", setting, value, nearest.Of(value, want), strings.Join(want, " "))
}

func (f *faults) within(setting string, value, low, high float64) {
	f.check(value >= low && value <= high, "%s: %g is not between %g and %g", setting, value, low, high)
}

// AdapterSettings are the part of the settings that package lora takes.
func (c *Config) AdapterSettings() lora.Settings {
	return lora.Settings{Rank: c.Rank, Depth: c.Depth, InitScale: c.InitScale, Gamma: c.Gamma, Init: c.Init, Alpha: c.Alpha}
}

// resolve replaces what stands for a choice by the choice, once the number of training examples is known.
func (c *Config) resolve(examples int) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	return c.resolveSteps(examples)
}

// Resolve replaces what stands for a choice by the choice, as far as that follows from the settings alone: what
// is left are the numbers that follow from the training examples. It is an error if the method is unknown.
func (c *Config) Resolve() error {
	if err := c.resolveMethod(); err != nil {
		return err
	}
	if c.Alpha == 0 {
		c.Alpha = float64(c.Rank)
	}
	if c.HeadSeed == SeedOfRun {
		c.HeadSeed = int64(c.Seed)
	}
	if c.Select == "" {
		c.Select = SelectLast
		if c.EarlyStop > 0 {
			c.Select = SelectBest
		}
	}
	if c.OnNonfinite == NonfiniteStop {
		c.OnNonfinite = ""
	}
	return nil
}

// resolveMethod takes what the method brings: its learning rate, and a head that is trained with the model.
func (c *Config) resolveMethod() error {
	if whole, ok := lookupWhole(c.Method); ok {
		c.TrainHead = true
		if c.LR == 0 {
			c.LR = whole.LearningRate
		}
		return nil
	}
	method, err := lora.LookupMethod(c.Method)
	if err == nil && c.LR == 0 {
		c.LR = method.LearningRate(c.AdapterSettings())
	}
	return err
}

// Absolute makes the relative paths among the settings absolute, as Absolute does.
func (c *Config) Absolute() error { return Absolute(&c.Model, &c.Data, &c.Manifest, &c.From) }

// Absolute makes relative paths absolute, so that a run finds its files from anywhere. Names that mean something
// else stay, whatever lies in the current directory.
func Absolute(paths ...*string) error {
	for _, p := range paths {
		if slices.Contains([]string{"", BuiltinModel, BuiltinData, HubData}, *p) {
			continue
		}
		if _, err := os.Stat(*p); err != nil {
			continue // a model of the hub, or a fault that is reported where it is used
		}
		full, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = full
	}
	return nil
}

func (c *Config) resolveSteps(examples int) error {
	if c.Batch > examples {
		if c.Reference {
			return fmt.Errorf("batch: %d is more than the %d training examples", c.Batch, examples)
		}
		c.Batch = examples
	}
	perStep := float64(c.Batch * c.Accumulate)
	if c.Steps == 0 {
		if c.Epochs == 0 {
			c.Epochs = 3
		}
		c.Steps = max(1, int(math.Ceil(c.Epochs*float64(batchesPerEpoch(c, examples))/float64(c.Accumulate))))
	} else {
		c.Epochs = float64(c.Steps) * perStep / float64(examples)
	}
	if c.Warmup >= c.Steps && c.Warmup > 0 {
		return fmt.Errorf("warmup: %d steps leave none of the %d to train at full rate", c.Warmup, c.Steps)
	}
	return nil
}

func batchesPerEpoch(c *Config, examples int) int {
	if c.DropLast {
		return examples / c.Batch
	}
	return (examples + c.Batch - 1) / c.Batch
}

// ErrConfig is what errors.Is finds in errors about settings that turn out not to fit a model or its data.
var ErrConfig = errors.New("settings do not fit")

// ConfigError makes err, which is not nil, one that is ErrConfig.
func ConfigError(err error) error { return configError{err} }

type configError struct{ error }

func (e configError) Is(target error) bool { return target == ErrConfig }
func (e configError) Unwrap() error        { return e.error }
