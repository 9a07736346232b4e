package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/train"
)

// shared are the flags that every command has.
type shared struct {
	backend string
	threads int
	offline bool
	cache   string
	config  string
	quiet   bool
	verbose bool

	ui      *ui
	release func() // gives signals back to the system
}

func (s *shared) bind(f *pflag.FlagSet) {
	f.StringVar(&s.backend, "backend", "auto", "where tensors are computed: auto, xla:cpu, xla:cuda or go")
	f.IntVar(&s.threads, "threads", 0, "CPU cores used; 0: all")
	f.BoolVar(&s.offline, "offline", false, "never open a socket (also DEEPLORA_OFFLINE=1)")
	f.StringVar(&s.cache, "cache", "", "download cache (default $HF_HOME or the platform's cache directory)")
	f.StringVar(&s.config, "config", "", "JSON file with any of the flags by their long names; flags on the line win")
	f.BoolVarP(&s.quiet, "quiet", "q", false, "print results and errors only")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "print more")
}

// prepare runs before each command: the config file, the environment, the display.
func (s *shared) prepare(cmd *cobra.Command) error {
	if s.config != "" {
		if err := applyConfig(cmd.Flags(), "config", s.config); err != nil {
			return usageError{err}
		}
	}
	if v := os.Getenv("DEEPLORA_OFFLINE"); v != "" && v != "0" {
		s.offline = true
	}
	if s.threads < 0 {
		return usagef("--threads: %d is negative; 0 means all cores", s.threads)
	}
	s.ui = newUI(cmd.OutOrStdout(), cmd.ErrOrStderr(), s.quiet, s.verbose)
	if s.verbose {
		slog.SetLogLoggerLevel(slog.LevelDebug) // XLA's own lines
	}
	return nil
}

func (s *shared) hub() data.HubOptions {
	return data.HubOptions{CacheDir: s.cache, Offline: s.offline, Progress: s.ui.download}
}

// applyConfig sets flags from a JSON object, the file that a flag of this name gives. Flags given on the line stay as
// they are; unknown and repeated names are errors.
func applyConfig(flags *pflag.FlagSet, name, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("--%s: %w", name, err)
	}
	fields, err := jsonfile.Fields(text)
	if err != nil {
		return fmt.Errorf("--%s %s: %w", name, path, err)
	}
	for _, field := range settingsOf(fields, flags) {
		if err := applyField(flags, name, field); err != nil {
			return fmt.Errorf("--%s %s: %w", name, path, err)
		}
	}
	return nil
}

// settingsOf leaves out what is no setting where the fields are those of a run's own config.json, which may be
// given again: where the run came from, and of steps and epochs, which follow from one another, the epochs.
// If the line has epochs, it is the steps that they replace.
func settingsOf(fields []jsonfile.Field, flags *pflag.FlagSet) []jsonfile.Field {
	const provenance = "provenance"
	if !slices.ContainsFunc(fields, func(f jsonfile.Field) bool { return f.Name == provenance }) {
		return fields
	}
	left := "epochs"
	if f := flags.Lookup(left); f != nil && f.Changed {
		left = "steps"
	}
	return slices.DeleteFunc(fields, func(f jsonfile.Field) bool { return f.Name == provenance || f.Name == left })
}

// applyField sets one flag from a JSON value, unless the line has set it. file is the flag that gave the value's file.
func applyField(flags *pflag.FlagSet, file string, field jsonfile.Field) error {
	flag := flags.Lookup(field.Name)
	if flag == nil || field.Name == file || field.Name == "help" {
		return fmt.Errorf("unknown field %q; nearest: %s", field.Name, nearest.Of(field.Name, flagNames(flags)))
	}
	var value any
	d := json.NewDecoder(bytes.NewReader(field.Value))
	d.UseNumber()
	if err := d.Decode(&value); err != nil {
		return fmt.Errorf("field %q: %w", field.Name, err)
	}
	set, err := flagValue(flag, value)
	if err != nil {
		return fmt.Errorf("field %q: %w", field.Name, err)
	}
	if flag.Changed {
		return nil
	}
	if err := set(flags); err != nil {
		return fmt.Errorf("field %q: %s where %s is wanted", field.Name, describe(value), kinds[flag.Value.Type()])
	}
	return nil
}

// kinds names the values of flags by pflag's types.
var kinds = map[string]string{
	"bool": "true or false", "string": "a string", "float64": "a number", "stringArray": "a list of strings",
	"int": "a whole number", "int64": "a whole number", "uint64": "a whole number from 0 up",
}

// flagValue checks that a JSON value is of a flag's type, and returns what sets the flag to it.
func flagValue(flag *pflag.Flag, value any) (set func(*pflag.FlagSet) error, err error) {
	kind := flag.Value.Type()
	matches := false
	switch v := value.(type) {
	case nil, []any:
		if list, ok := flag.Value.(pflag.SliceValue); ok {
			return listValue(flag, list, v)
		}
	case bool:
		matches = kind == "bool"
	case string:
		matches = kind == "string" || kind == "stringArray" // of one item
	case json.Number:
		matches = kind == "float64" || strings.Contains(kind, "int")
	}
	if !matches {
		return nil, fmt.Errorf("%s where %s is wanted", describe(value), kinds[kind])
	}
	return func(flags *pflag.FlagSet) error { return flags.Set(flag.Name, fmt.Sprint(value)) }, nil
}

// listValue is flagValue for a list, or for null, which is how Go writes an empty one.
func listValue(flag *pflag.Flag, list pflag.SliceValue, value any) (set func(*pflag.FlagSet) error, err error) {
	items, _ := value.([]any)
	texts := make([]string, len(items))
	for i, item := range items {
		text, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("item %d is %s; want a string", i, describe(item))
		}
		texts[i] = text
	}
	return func(*pflag.FlagSet) error {
		flag.Changed = len(texts) > 0
		return list.Replace(texts)
	}, nil
}

// describe names a JSON value.
func describe(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("the string %q", value)
	case bool:
		return fmt.Sprintf("%v", value)
	case json.Number:
		return fmt.Sprintf("the number %v", value)
	case []any:
		return "a list"
	default:
		return "an object"
	}
}

func flagNames(flags *pflag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "config" && f.Name != "help" {
			names = append(names, f.Name)
		}
	})
	return names
}

// flagError makes cobra's flag errors usage errors, with the nearest flag for an unknown one.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	var bare *pflag.ValueRequiredError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		name := unknown.GetSpecifiedName()
		return usagef("%s has no flag --%s; nearest: --%s", cmd.CommandPath(), name, nearest.Of(name, flagNames(cmd.Flags())))
	case errors.As(err, &unknown):
		return usagef("%s has no flag -%s; %s --help lists them", cmd.CommandPath(), unknown.GetSpecifiedName(), cmd.CommandPath())
	case errors.As(err, &invalid):
		f := invalid.GetFlag()
		return usagef("--%s: %q is not %s", f.Name, invalid.GetValue(), kinds[f.Value.Type()])
	case errors.As(err, &bare):
		f := bare.GetFlag()
		return usagef("--%s needs a value: %s", f.Name, kinds[f.Value.Type()])
	default:
		return usageError{err}
	}
}

// bindTrain binds every setting of a run to its flag.
func bindTrain(f *pflag.FlagSet, c *train.Config) {
	bindModel(f, &c.Model)
	f.StringVar(&c.Task, "task", c.Task, "GLUE task: "+taskNames())
	f.StringVar(&c.Data, "data", c.Data, "directory with the task's files, hub, or builtin")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "seed of every random stream")

	f.StringVar(&c.From, "from", c.From, "finished or imported run whose adapter training goes on with")
	f.StringVar(&c.Method, "method", c.Method, "adapter, or what of the model is trained: "+methodNames())
	f.IntVar(&c.Rank, "rank", c.Rank, "rank of the adapter")
	f.IntVar(&c.Depth, "depth", c.Depth, "factors of the deep methods")
	f.Float64Var(&c.InitScale, "init-scale", c.InitScale, "initial scale ε of the deep methods' factors")
	f.Float64Var(&c.Gamma, "gamma", c.Gamma, "learning-rate multiple γ of deep-compressed's outer factors")
	f.StringVar(&c.Init, "init", c.Init, "initialisation of vanilla: reference or peft")
	f.Float64Var(&c.Alpha, "alpha", c.Alpha, "scale of vanilla with peft's initialisation; 0: the rank")
	f.StringVar(&c.Scope, "scope", c.Scope, "kernels adapted: "+scopeNames())
	f.StringArrayVar(&c.Target, "target", c.Target, "pattern of kernel names, instead of a scope (repeatable)")
	f.IntVar(&c.MinDim, "min-dim", c.MinDim, "smallest side of a kernel in all-dense; 0: 512, or the hidden size where smaller")

	f.IntVar(&c.Shots, "shots", c.Shots, "training examples drawn; 0: all")
	f.IntVar(&c.ShotsPerClass, "shots-per-class", c.ShotsPerClass, "training examples drawn of each class; 0: off")
	f.StringVar(&c.Sample, "sample", c.Sample, "how shots are drawn: without or with-replacement")
	f.StringVar(&c.Manifest, "manifest", c.Manifest, "draw to replay: the manifest.json of another run")
	f.IntVar(&c.MaxLength, "max-length", c.MaxLength, "longest example, in tokens")
	f.StringVar(&c.Pad, "pad", c.Pad, "padding of batches: packed, bucket or fixed")
	f.StringVar(&c.Overlong, "overlong", c.Overlong, "what becomes of longer examples: drop or truncate")

	f.IntVar(&c.Steps, "steps", c.Steps, "optimizer steps; 0: by --epochs")
	f.Float64Var(&c.Epochs, "epochs", c.Epochs, "passes over the training examples (default 3 without --steps)")
	f.IntVar(&c.Batch, "batch", c.Batch, "examples a batch")
	f.IntVar(&c.Accumulate, "accumulate", c.Accumulate, "batches a step")
	f.BoolVar(&c.AutoBatch, "auto-batch", c.AutoBatch, "split a batch that does not fit into memory into accumulated ones")
	f.IntVar(&c.EvalBatch, "eval-batch", c.EvalBatch, "evaluation batch, in packed rows of 64 tokens")
	f.BoolVar(&c.GradientCheckpointing, "gradient-checkpointing", c.GradientCheckpointing, "compute the inside of layers again in backward: less memory, a third more time")
	f.BoolVar(&c.DropLast, "drop-last", c.DropLast, "leave out each epoch's incomplete batch")

	f.Float64Var(&c.LR, "lr", c.LR, "peak learning rate; 0: the method's")
	f.IntVar(&c.Warmup, "warmup", c.Warmup, "steps of linear warm-up")
	f.Float64Var(&c.DecayRatio, "decay-ratio", c.DecayRatio, "last learning rate over the peak; 1: constant")
	f.Float64Var(&c.WeightDecay, "weight-decay", c.WeightDecay, "decoupled weight decay")
	f.Float64Var(&c.Clip, "clip", c.Clip, "largest norm of the gradient; 0: off")
	f.Float64Var(&c.Dropout, "dropout", c.Dropout, "dropout probability; -1: the checkpoint's")

	f.BoolVar(&c.TrainHead, "train-head", c.TrainHead, "train the classification head too")
	f.BoolVar(&c.FreshHead, "fresh-head", c.FreshHead, "draw a new head even where the checkpoint has one")
	f.Int64Var(&c.HeadSeed, "head-seed", c.HeadSeed, "seed of a new head; -1: --seed")

	f.IntVar(&c.EvalEvery, "eval-every", c.EvalEvery, "steps between evaluations; 0: at the end only")
	f.IntVar(&c.SaveEvery, "save-every", c.SaveEvery, "steps between checkpoints; 0: at the end only")
	f.IntVar(&c.Keep, "keep", c.Keep, "newest checkpoints kept")
	f.IntVar(&c.EarlyStop, "early-stop", c.EarlyStop, "evaluations without a better one before stopping; 0: off")
	f.StringVar(&c.OnNonfinite, "on-nonfinite", c.OnNonfinite, onNonfinite)
	f.StringVar(&c.Select, "select", c.Select, "adapter kept at the end: last or best (default last; best with --early-stop)")
	f.BoolVar(&c.Reference, "reference", c.Reference, "every default of the paper's code: fixed padding, overlong dropped, drawn with replacement, constant rate")
}

const onNonfinite = "what a step whose loss or gradient is no finite number does: stop or skip (default stop)"

func bindModel(f *pflag.FlagSet, model *string) {
	f.StringVar(model, "model", *model, "checkpoint: a directory, a hub id org/name[@revision], or "+train.BuiltinModel)
}

// settings returns the settings that parsed flags stand for: with --reference, the flags that were not given
// have the reference's defaults.
func settings(parsed *pflag.FlagSet, c train.Config) (train.Config, error) {
	if !c.Reference {
		return c, nil
	}
	reference := train.Reference()
	flags := pflag.NewFlagSet("reference", pflag.ContinueOnError)
	bindTrain(flags, &reference)
	var err error
	parsed.Visit(func(f *pflag.Flag) {
		to := flags.Lookup(f.Name)
		if to == nil || err != nil {
			return
		}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			err = to.Value.(pflag.SliceValue).Replace(list.GetSlice())
			return
		}
		err = flags.Set(f.Name, f.Value.String())
	})
	return reference, err
}

// version is the program's version as the build recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

// libraries are the versions of the modules whose arithmetic a run's bits depend on.
func libraries() map[string]string {
	versions := map[string]string{}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return versions
	}
	versions["go"] = info.GoVersion
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/gomlx/gomlx", "github.com/gomlx/compute", "github.com/gomlx/go-xla", "gonum.org/v1/gonum":
			versions[m.Path] = m.Version
		}
	}
	return versions
}
