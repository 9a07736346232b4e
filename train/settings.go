package train

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// Config is every setting of a training run. What each means, its default and its name on the command line and in JSON
// stand in Settings, a row each.
type Config struct {
	Model string
	Task  string
	Data  string

	DataConfig      string
	DataRevision    string
	Validation      string
	Test            string
	Text            string
	Pair            string
	Label           string
	Labels          string
	LabelSeparator  string
	SkipUnlabelled  bool
	ValidationShare float64

	From   string
	Method string
	lora.Settings
	Scope  string
	Target []string
	MinDim int

	Shots         int
	ShotsPerClass int
	Sample        string
	Manifest      string
	Fold          string
	MaxLength     int
	Pad           string
	Overlong      string

	loop.Plan
	Batch                 int
	AutoBatch             bool
	EvalBatch             int
	GradientCheckpointing bool
	DropLast              bool
	Dropout               float64
	Precision             string
	RateRule              string

	Pooling     string
	TrainHead   bool
	TrainPooler bool
	HeadLR      float64
	HeadStart   string
	FreshHead   bool
	HeadSeed    int64
	Select      string
	Reference   bool

	ClassWeights string
	Threshold    float64
	Metric       string
}

// Parts of the settings: what they belong to.
const (
	partModel   = "model"
	partAdapter = "adapter" // of a run that goes on from another, that run's
	partData    = "data"
	partLoop    = "loop"
	partHead    = "head"
)

// Values that stand for something else.
const (
	checkpointDropout = -1.0 // Dropout: as the checkpoint's config.json says
	seedOfRun         = -1   // HeadSeed: the run's seed
	gammaOfRule       = -1.0 // Gamma: the rule's
)

// Words that settings may have.
const (
	startRandom      = "random"
	startProbe       = "probe"
	ruleRank         = "rank"
	ruleNone         = "none"
	overlongDrop     = "drop"
	overlongTruncate = "truncate"
	selectLast       = "last"
	selectBest       = "best"
	sampleWithout    = "without"
	sampleReplace    = "with-replacement"
)

// Values of Config.Model and Config.Data that are no directory.
const (
	BuiltinModel = "builtin:tiny" // of Sources.Models, which a program brings
	BuiltinData  = "builtin"      // Sources.Data, likewise
	HubData      = "hub"          // the hub's GLUE
	memoryData   = "memory:"      // Options.Train and Options.Validation
)

// Settings is the table of a run's settings.
func Settings() settings.Table[Config] {
	type row = settings.Row[Config]
	plan := loop.Rows(func(c *Config) *loop.Plan { return &c.Plan }).
		With("decay-ratio", func(r *row) { r.Default, r.Preset = 0.1, 1.0 }).
		With("lr", func(r *row) { r.Unset, r.Help = 0.0, "peak learning rate; 0: the method's" })
	table := slices.Concat(settings.Table[Config]{
		{Name: "model", Part: partModel, Default: BuiltinModel, Path: true, Words: []string{BuiltinModel}, At: func(c *Config) any { return &c.Model }, Help: "checkpoint: a directory, a hub id org/name[@revision], or " + BuiltinModel},
		{Name: "task", Part: partData, Default: "stsb", At: func(c *Config) any { return &c.Task }, Help: "classification, regression or multilabel of files of your own, or a task of GLUE: " + strings.Join(taskNames(), " ")},
		{Name: "data", Part: partData, Default: BuiltinData, Path: true, Words: []string{BuiltinData, HubData}, At: func(c *Config) any { return &c.Data }, Help: "file or directory with the task's files, a data set of the hub org/name, hub (GLUE), or builtin"},
	}, ownRows(), adapterRows(), dataRows(), plan, settings.Table[Config]{
		{Name: "batch", Part: partLoop, Default: 16, Check: settings.AtLeast(1), At: func(c *Config) any { return &c.Batch }, Help: "examples a batch"},
		{Name: "rate-rule", Part: partLoop, Default: ruleRank, Preset: ruleNone, Unset: ruleRank, Check: settings.OneOf(ruleRank, ruleNone), At: func(c *Config) any { return &c.RateRule }, Help: "default learning rates, init-scale and gamma: rank (follow rank, depth, steps and epochs) or none (the method's authors', at every rank)"},
		{Name: "auto-batch", Part: partLoop, Default: false, At: func(c *Config) any { return &c.AutoBatch }, Help: "split a batch that does not fit into memory into accumulated ones"},
		{Name: "eval-batch", Part: partLoop, Default: 32, Check: settings.AtLeast(1), At: func(c *Config) any { return &c.EvalBatch }, Help: "evaluation batch, in packed rows of 64 tokens"},
		{Name: "gradient-checkpointing", Part: partLoop, Default: false, At: func(c *Config) any { return &c.GradientCheckpointing }, Help: "compute the inside of layers again in backward: less memory, a third more time"},
		{Name: "drop-last", Part: partLoop, Default: false, Preset: true, At: func(c *Config) any { return &c.DropLast }, Help: "leave out each epoch's incomplete batch"},
		{Name: "dropout", Part: partModel, Default: checkpointDropout, Unset: checkpointDropout, Check: settings.Unless(checkpointDropout, settings.Probability), At: func(c *Config) any { return &c.Dropout }, Help: "dropout probability; -1: the checkpoint's"},
		{Name: "precision", Part: partModel, Default: string(model.F32), Check: settings.OneOf(model.F32.All()...), At: func(c *Config) any { return &c.Precision }, Help: "numbers of products with the model's kernels: f32, bf16, or bf16x3 (float32's accuracy from three of bf16); XLA only"},

		{Name: "pooling", Part: partAdapter, Default: poolingAuto, Preset: string(model.PoolHead), Unset: poolingAuto, Check: settings.OneOf(poolings...), At: func(c *Config) any { return &c.Pooling }, Help: "what the classifier reads: head (first token through the pooler), cls, mean or max of the last states; auto: what the model declares, else head"},
		{Name: "train-head", Part: partHead, Default: true, Preset: false, At: func(c *Config) any { return &c.TrainHead }, Help: "train the classification head too, and what of it the checkpoint lacks"},
		{Name: "train-pooler", Part: partHead, Default: false, Unset: false, At: func(c *Config) any { return &c.TrainPooler }, Help: "train a pooler too that the checkpoint has"},
		{Name: "head-lr", Part: partHead, Default: 0.0, Unset: 0.0, Check: settings.Between(0, 1e3), At: func(c *Config) any { return &c.HeadLR }, Help: "peak learning rate of the head that is trained; 0: --lr where that is given, else the rule's"},
		{Name: "head-start", Part: partHead, Default: startRandom, Check: settings.OneOf(startRandom, startProbe), At: func(c *Config) any { return &c.HeadStart }, Help: "first values of the head: random (drawn, or the checkpoint's), or probe (the linear probe: ridge or logistic regression on the training examples' features)"},
		{Name: "fresh-head", Part: partHead, Default: false, At: func(c *Config) any { return &c.FreshHead }, Help: "draw a new head even where the checkpoint has one"},
		{Name: "head-seed", Part: partHead, Default: int64(seedOfRun), Preset: int64(0), Unset: int64(seedOfRun), Check: settings.AtLeast(seedOfRun), At: func(c *Config) any { return &c.HeadSeed }, Help: "seed of a new head; -1: --seed"},
		{Name: "class-weights", Part: partHead, Default: weightsNone, Check: checkClassWeights, At: func(c *Config) any { return &c.ClassWeights }, Help: "what classes count in the loss: none (alike), balanced (by how rare each is), or bad=2,good=0.5; others have 1"},
		{Name: "threshold", Part: partHead, Default: multilabelThreshold, Check: settings.Between(0, 1), At: func(c *Config) any { return &c.Threshold }, Help: "probability from which on a class of several is predicted"},
		{Name: "metric", Part: partLoop, Default: "", Unset: "", Check: settings.Unless("", checkMetric), At: func(c *Config) any { return &c.Metric }, Help: "what the best checkpoint and early stopping go by (default the task's; macro_f1 with class weights, where it has that)"},
		{Name: "select", Part: partLoop, Default: "", Unset: "", Check: settings.Unless("", settings.OneOf(selectLast, selectBest)), At: func(c *Config) any { return &c.Select }, Help: "adapter kept at the end: last or best (default last; best with --early-stop)"},
		{Name: "reference", Default: false, Preset: true, At: func(c *Config) any { return &c.Reference }, Help: "every default of the paper's code: fixed padding, overlong dropped, drawn with replacement, constant rate"},
	})
	return table
}

// ownRows are the settings of files of one's own.
func ownRows() settings.Table[Config] {
	return settings.Table[Config]{
		{Name: "data-config", Part: partData, Default: "", Unset: "", At: func(c *Config) any { return &c.DataConfig }, Help: "configuration of a data set of the hub; empty: its default"},
		{Name: "data-revision", Part: partData, Default: "", Unset: "", At: func(c *Config) any { return &c.DataRevision }, Help: "branch, tag or commit of a data set of the hub; empty: main, noted as the commit it is"},
		{Name: "validation", Part: partData, Default: "", Path: true, At: func(c *Config) any { return &c.Validation }, Help: "validation file, where the folder of --data has none"},
		{Name: "test", Part: partData, Default: "", Path: true, At: func(c *Config) any { return &c.Test }, Help: "test file, for eval --split test"},
		{Name: "text", Part: partData, Default: "", Unset: "", At: func(c *Config) any { return &c.Text }, Help: "column of the text, or of the first; empty: found by name"},
		{Name: "pair", Part: partData, Default: "", Unset: "", At: func(c *Config) any { return &c.Pair }, Help: "column of the second text; empty: found by name"},
		{Name: "label", Part: partData, Default: "", Unset: "", At: func(c *Config) any { return &c.Label }, Help: "column of the label; empty: found by name"},
		{Name: "labels", Part: partData, Default: "", Unset: "", At: func(c *Config) any { return &c.Labels }, Help: "class names in the order of the head, a,b,c; empty: numbers by value, else sorted"},
		{Name: "label-separator", Part: partData, Default: defaultSeparator, Check: separator, At: func(c *Config) any { return &c.LabelSeparator }, Help: "what stands between the classes of a cell, of multilabel tables"},
		{Name: "skip-unlabelled", Part: partData, Default: false, At: func(c *Config) any { return &c.SkipUnlabelled }, Help: "leave out rows without a label"},
		{Name: "validation-share", Part: partData, Default: defaultShare, Check: share, At: func(c *Config) any { return &c.ValidationShare }, Help: "part of the training file kept for validation where there is no file for it"},
	}
}

func separator(value any) error {
	if text := value.(string); text == "" || strings.TrimSpace(text) != text && text != "\t" && text != " " {
		return fmt.Errorf("%q has blanks around it, or nothing; want a mark such as %s", text, defaultSeparator)
	}
	return nil
}

func share(value any) error {
	if v := value.(float64); !(v > 0 && v < 1) {
		return fmt.Errorf("%g is not between 0 and 1", v)
	}
	return nil
}

// adapterRows are the settings of an adapter and of the kernels that have one.
func adapterRows() settings.Table[Config] {
	d := lora.Defaults()
	return settings.Table[Config]{
		{Name: "from", Part: partModel, Default: "", Path: true, At: func(c *Config) any { return &c.From }, Help: "finished or imported run whose adapter training goes on with"},
		{Name: "method", Part: partAdapter, Default: "deep-compressed", At: func(c *Config) any { return &c.Method }, Help: "adapter, or what of the model is trained: " + strings.Join(methodNames(), " ")},
		{Name: "rank", Part: partAdapter, Default: d.Rank, At: func(c *Config) any { return &c.Rank }, Help: "rank of the adapter"},
		{Name: "depth", Part: partAdapter, Default: d.Depth, At: func(c *Config) any { return &c.Depth }, Help: "factors of the deep methods"},
		{Name: "init-scale", Part: partAdapter, Default: 0.0, Preset: d.InitScale, Unset: 0.0, At: func(c *Config) any { return &c.InitScale }, Help: "initial scale ε of the deep methods' factors; 0: the rule's (0.05 of deep-compressed at depth 3, else 0.001)"},
		{Name: "gamma", Part: partAdapter, Default: gammaOfRule, Preset: d.Gamma, Unset: gammaOfRule, At: func(c *Config) any { return &c.Gamma }, Help: "learning-rate multiple γ of deep-compressed's outer factors; 0: they stay; -1: the rule's (0.1; 0.01 without a rule)"},
		{Name: "init", Part: partAdapter, Default: d.Init, At: func(c *Config) any { return &c.Init }, Help: "how vanilla starts: " + strings.Join(lora.Starts(), " ")},
		{Name: "alpha", Part: partAdapter, Default: d.Alpha, Unset: 0.0, At: func(c *Config) any { return &c.Alpha }, Help: "scale of vanilla's starts but reference; 0: the rank"},
		{Name: "scope", Part: partAdapter, Default: "attention-mlp", At: func(c *Config) any { return &c.Scope }, Help: "kernels adapted: " + strings.Join(lora.Scopes(), " ")},
		{Name: "target", Part: partAdapter, At: func(c *Config) any { return &c.Target }, Check: patterns, Help: "pattern of kernel names, instead of a scope (repeatable)"},
		{Name: "min-dim", Part: partAdapter, Default: 0, Check: settings.AtLeast(0), At: func(c *Config) any { return &c.MinDim }, Help: "smallest side of a kernel in all-dense; 0: 512, or the hidden size where smaller"},
	}
}

// dataRows are the settings of what is drawn from the data, and of how it becomes batches.
func dataRows() settings.Table[Config] {
	return settings.Table[Config]{
		{Name: "shots", Part: partData, Default: 0, Check: settings.AtLeast(0), At: func(c *Config) any { return &c.Shots }, Help: "training examples drawn; 0: all"},
		{Name: "shots-per-class", Part: partData, Default: 0, Check: settings.AtLeast(0), At: func(c *Config) any { return &c.ShotsPerClass }, Help: "training examples drawn of each class; 0: off"},
		{Name: "sample", Part: partData, Default: sampleWithout, Preset: sampleReplace, Check: settings.OneOf(sampleWithout, sampleReplace), At: func(c *Config) any { return &c.Sample }, Help: "how shots are drawn: without or with-replacement"},
		{Name: "manifest", Part: partData, Default: "", Path: true, At: func(c *Config) any { return &c.Manifest }, Help: "draw to replay: the manifest.json of another run"},
		{Name: "fold", Part: partData, Default: "", Unset: "", Check: settings.Unless("", checkFold), At: func(c *Config) any { return &c.Fold }, Help: "part of the drawn examples to measure on in the place of the validation file, as 1/4: they are cut into four, and the run trains on the other three"},
		{Name: "max-length", Part: partData, Default: 128, Check: settings.AtLeast(3), At: func(c *Config) any { return &c.MaxLength }, Help: "longest example, in tokens"},
		{Name: "pad", Part: partData, Default: string(data.PadPacked), Preset: string(data.PadFixed), Check: settings.OneOf(string(data.PadPacked), string(data.PadBucket), string(data.PadFixed)), At: func(c *Config) any { return &c.Pad }, Help: "padding of batches: packed, bucket or fixed"},
		{Name: "overlong", Part: partData, Default: overlongTruncate, Preset: overlongDrop, Check: settings.OneOf(overlongDrop, overlongTruncate), At: func(c *Config) any { return &c.Overlong }, Help: "what becomes of longer examples: drop or truncate"},
	}
}

func patterns(value any) error {
	for _, pattern := range value.([]string) {
		if _, err := regexp.Compile(pattern); err != nil {
			return fmt.Errorf("%q is no regular expression: %w", pattern, err)
		}
	}
	return nil
}

func taskNames() (names []string) {
	for _, t := range data.Tasks() {
		names = append(names, t.Name)
	}
	return names
}

// methodNames are the adapters and the methods that train the model itself.
func methodNames() (names []string) {
	for _, m := range lora.Methods() {
		names = append(names, m.Name)
	}
	for _, m := range wholeMethods {
		names = append(names, m.Name)
	}
	return names
}

// held reports whether frozen kernels are held in fewer bits than float32's.
func (c *Config) held() bool { return c.Precision != string(model.F32) }

// Default returns the defaults of the command line.
func Default() Config { return Settings().Defaults() }

// Reference returns the defaults of the paper's code (method.md 2.4): every batch padded to 128, overlong examples
// dropped, training rows drawn with replacement, a constant learning rate, a head that is the same for every seed and
// stays frozen, incomplete batches left out.
func Reference() Config { return Settings().Preset() }

// Key identifies what a run with these settings computes, once they are resolved: it names the run's folder in a study.
func (c *Config) Key() (string, error) { return Settings().Key(c) }

// MarshalJSON writes the settings in the order of their table.
func (c Config) MarshalJSON() ([]byte, error) { return Settings().Marshal(&c) }

// UnmarshalJSON reads settings strictly: unknown and repeated names are errors. What is absent stays as it is.
func (c *Config) UnmarshalJSON(text []byte) error { return Settings().Unmarshal(text, c) }

// Validate returns every fault of the settings, joined; each names its setting.
func (c *Config) Validate() error {
	f := settings.Faults(Settings().Check(c))
	c.checkTask(&f)
	if c.Whole() {
		f.Check(len(c.Target) == 0, "target: method %s has no kernels to choose", c.Method)
	} else {
		started := *c
		err := started.resolveMethod()
		if err == nil {
			_, err = lora.New(c.Method, started.Settings)
		}
		f.Add(err)
	}
	f.Check(c.HeadStart != startProbe || c.TrainHead || c.Whole(), "head-start: a probe is a head of the run's own, which stays with it only where the head is trained; add --train-head")
	f.Check(c.HeadStart != startProbe || c.From == "", "head-start: the run of --from brings its head; leave one of them out")
	f.Check(c.HeadLR == 0 || c.TrainHead || c.TrainPooler || c.Whole(), "head-lr: no head is trained; leave it out, or add --train-head")
	if len(c.Target) == 0 {
		f.Add(prefixed("scope", settings.OneOf(lora.Scopes()...)(c.Scope)))
	}
	f.Check(!c.TrainPooler || c.Pooling == poolingAuto || model.Pooling(c.Pooling).HasPooler(), "train-pooler: pooling %s has no pooler; leave it out, or take pooling head", c.Pooling)
	f.Check(c.Shots == 0 || c.ShotsPerClass == 0, "shots and shots-per-class: give one of them")
	f.Check(c.Manifest == "" || c.Shots == 0 && c.ShotsPerClass == 0, "manifest: a replayed draw takes no shots or shots-per-class")
	f.Check(c.ShotsPerClass == 0 || c.Sample == sampleWithout || c.Reference, "sample: shots-per-class draws without replacement")
	f.Add(c.Plan.Check())
	return f.Err()
}

func prefixed(name string, err error) error {
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return err
}

// resolve replaces what stands for a choice by the choice, once the number of training examples is known.
func (c *Config) resolve(examples int) error {
	if err := c.Resolve(); err != nil {
		return err
	}
	if c.Batch > examples {
		if c.Reference {
			return fmt.Errorf("batch: %d is more than the %d training examples", c.Batch, examples)
		}
		c.Batch = examples
	}
	if c.Steps > 0 {
		c.Epochs = float64(c.Steps) * float64(c.Batch*c.Accumulate) / float64(examples)
	}
	batches := (examples + c.Batch - 1) / c.Batch
	if c.DropLast {
		batches = examples / c.Batch
	}
	if err := c.Plan.Resolve(batches, 3); err != nil {
		return err
	}
	return c.resolveMethod() // by steps
}

// Resolve replaces what stands for a choice by the choice, as far as that follows from the settings alone: what is left
// are the numbers that follow from the training examples. It is an error if the method is unknown.
func (c *Config) Resolve() error {
	if err := c.resolveMethod(); err != nil {
		return err
	}
	if c.Alpha == 0 {
		c.Alpha = float64(c.Rank)
	}
	if c.HeadSeed == seedOfRun {
		c.HeadSeed = int64(c.Seed)
	}
	if c.Select == "" {
		c.Select = selectLast
		if c.EarlyStop > 0 {
			c.Select = selectBest
		}
	}
	if c.OnNonfinite == loop.NonfiniteStop {
		c.OnNonfinite = ""
	}
	return nil
}

// Absolute makes the relative paths among the settings absolute, so that a run finds its files from anywhere.
func (c *Config) Absolute() error { return Settings().Absolute(c) }

// ErrConfig is what errors.Is finds in errors about settings that turn out not to fit a model or its data.
var ErrConfig = settings.ErrConfig
