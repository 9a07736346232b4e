package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/builtin"
	"github.com/deeplora/deeplora/internal/envtruth"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// shared are the flags that every command has.
type shared struct {
	backend string
	threads int
	devices deviceCount // of the commands that bind it; 0: one

	noCompileCache bool
	offline        bool
	cache          string
	config         string
	quiet          bool
	verbose        bool

	ui      *ui
	release func() // gives signals back to the system
}

func (s *shared) bind(f *pflag.FlagSet) {
	f.StringVar(&s.backend, "backend", "auto", "where tensors are computed: auto, xla:cpu, xla:cuda or go")
	f.IntVar(&s.threads, "threads", 0, "CPU cores used; 0: all")
	f.BoolVar(&s.noCompileCache, "no-compile-cache", false, "keep no compiled graphs on disk, and use none ($"+compiledEnv+" names a folder for them)")
	f.BoolVar(&s.offline, "offline", false, "never open a socket, but where serve is to listen (also DEEPLORA_OFFLINE=1)")
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
	s.offline = s.offline || envtruth.On("DEEPLORA_OFFLINE")
	if s.threads < 0 {
		return usagef("--threads: %d is negative; 0 means all cores", s.threads)
	}
	s.ui = newUI(cmd.OutOrStdout(), cmd.ErrOrStderr(), s.quiet, s.verbose)
	if s.verbose {
		slog.SetLogLoggerLevel(slog.LevelDebug) // XLA's own lines
	}
	return nil
}

// sources are where models and data come from: what is embedded here, and the hub.
func (s *shared) sources() train.Sources {
	return train.Sources{Hub: s.hub(), Models: map[string]fs.FS{train.BuiltinModel: builtin.Model()}, Data: builtin.Data()}
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
	fields, err := jsonfile.Fields(bytes.TrimPrefix(text, []byte("\ufeff"))) // which editors of Windows write
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

// settingsOf leaves out what is no setting where the fields are those of a run's own config.json, which may be given
// again: its format, where the run came from, and of steps and epochs, which follow from one another, the epochs. If the
// line has epochs, it is the steps that they replace.
func settingsOf(fields []jsonfile.Field, flags *pflag.FlagSet) []jsonfile.Field {
	const provenance = "provenance"
	if !slices.ContainsFunc(fields, func(f jsonfile.Field) bool { return f.Name == provenance }) {
		return fields
	}
	left := "epochs"
	if f := flags.Lookup(left); f != nil && f.Changed {
		left = "steps"
	}
	return slices.DeleteFunc(fields, func(f jsonfile.Field) bool { return slices.Contains([]string{provenance, "format", left}, f.Name) })
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
	"duration": `a time, such as "5ms"`, "devices": "a number of devices, or all",
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
		matches = kind == "string" || kind == "duration" || kind == "devices" || kind == "stringArray" // of one item
	case json.Number:
		matches = kind == "float64" || kind == "devices" || strings.Contains(kind, "int")
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

// bindSettings binds each setting of a table to its flag. What c has is the flag's default.
func bindSettings[C any](f *pflag.FlagSet, table settings.Table[C], c *C) {
	for _, r := range table {
		switch at := r.At(c).(type) {
		case *string:
			f.StringVar(at, r.Name, *at, r.Help)
		case *bool:
			f.BoolVar(at, r.Name, *at, r.Help)
		case *int:
			f.IntVar(at, r.Name, *at, r.Help)
		case *int64:
			f.Int64Var(at, r.Name, *at, r.Help)
		case *uint64:
			f.Uint64Var(at, r.Name, *at, r.Help)
		case *float64:
			f.Float64Var(at, r.Name, *at, r.Help)
		case *[]string:
			f.StringArrayVar(at, r.Name, *at, r.Help)
		default:
			panic(fmt.Sprintf("setting %s: no flag holds a %T", r.Name, at))
		}
	}
}

// bindSome binds some of a run's settings to their flags.
func bindSome(f *pflag.FlagSet, c *train.Config, names ...string) {
	bindSettings(f, slices.DeleteFunc(train.Settings(), func(r settings.Row[train.Config]) bool { return !slices.Contains(names, r.Name) }), c)
}

// bindModel binds --model, with the help that it has of a run.
func bindModel(f *pflag.FlagSet, model *string) {
	help := ""
	if r, err := train.Settings().Row("model"); err == nil {
		help = r.Help
	}
	f.StringVar(model, "model", *model, help)
}

// withPreset returns the settings that parsed flags stand for: with --reference, those that were not given have the
// reference's defaults.
func withPreset(parsed *pflag.FlagSet, c train.Config) train.Config {
	if !c.Reference {
		return c
	}
	preset := train.Reference()
	for _, r := range train.Settings() {
		if !parsed.Changed(r.Name) {
			r.Copy(&c, &preset)
		}
	}
	return c
}

// checkSplit refuses an unknown split.
func checkSplit(split string) error {
	return oneOf("--split", split, data.Train, data.Validation, data.Test)
}

func bindPrecision(f *pflag.FlagSet, precision *string) {
	f.StringVar(precision, "precision", "", "numbers of products with the model's kernels: f32, bf16 or bf16x3 (default the run's, or f32)")
}

// checkPrecision refuses an unknown precision; an empty one is that of the run.
func checkPrecision(precision string) error {
	if precision == "" {
		return nil
	}
	return oneOf("--precision", precision, model.F32.All()...)
}

// thresholdFlag is --threshold.
type thresholdFlag struct{ threshold float64 }

func (t *thresholdFlag) bindThreshold(f *pflag.FlagSet) {
	f.Float64Var(&t.threshold, "threshold", train.Default().Threshold, "probability from which on a class of several is predicted (default the run's)")
}

// setThreshold gives the predictor a threshold that the line has.
func (t *thresholdFlag) setThreshold(f *pflag.FlagSet, p *train.Predictor) error {
	if !f.Changed("threshold") {
		return nil
	}
	return p.SetThreshold(t.threshold)
}
