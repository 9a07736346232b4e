package main

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"syscall"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

func trainCommand(s *shared) *cobra.Command {
	c := train.Default()
	var o trainFlags
	cmd := &cobra.Command{
		Use:   "train",
		Short: "Train an adapter on your own files or a GLUE task",
		Long: `Train an adapter on your own files or a GLUE task, evaluate it, and write a run directory: config.json,
manifest.json, metrics.jsonl, checkpoints/, adapter/ and, last, result.json. A run that
was stopped, by whatever, goes on with --resume and ends with the same adapter to the bit.`,
		Example: "  deeplora train --task classification --data reviews.csv --out run\n" +
			"  deeplora train --task stsb --shots 256 --steps 200 --out run\n" +
			"  deeplora train --model ./bert-base-uncased --task rte --data ./glue/RTE --method deep-compressed --rank 8 --out rte",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.estimate && o.report {
				return usagef("--report: --estimate trains nothing to report on")
			}
			if o.estimate {
				return s.estimate(cmd, c, o)
			}
			if o.out == "" {
				return usagef("--out is required: the run directory")
			}
			result, backend, err := s.train(cmd, c, o)
			if err != nil {
				return hintResume(err, resumeCommand(cmd.Flags(), o.out))
			}
			if o.json {
				err = s.ui.json(result)
			} else {
				err = s.ui.table(resultRows(*result))
			}
			if err == nil && o.report {
				err = s.reportTrained(cmd.Context(), o.out, backend)
			}
			return err
		},
	}
	bindSettings(cmd.Flags(), train.Settings(), &c)
	f := cmd.Flags()
	s.bindDevices(f)
	f.StringVarP(&o.out, "out", "o", "", "run directory")
	f.BoolVar(&o.resume, "resume", false, "go on with the run in --out, with its settings")
	f.BoolVar(&o.estimate, "estimate", false, "print what memory the run would take, and train nothing")
	f.Float64Var(&o.memory, "memory", 0, "memory the run may take, in GB (10⁹ bytes); 0: what is free, where that is known")
	f.BoolVar(&o.json, "json", false, "print result.json, or the estimate as JSON")
	f.BoolVar(&o.report, "report", false, "write report.html into the run directory at the end, as deeplora report does")
	return cmd
}

// trainFlags are the flags of train that are no settings of a run.
type trainFlags struct {
	out                    string
	resume, estimate, json bool
	report                 bool
	memory                 float64 // GB
}

// trainSettings are the settings of the line, all of them sound.
func trainSettings(cmd *cobra.Command, parsed train.Config, o trainFlags) (train.Config, error) {
	c := withPreset(cmd.Flags(), parsed)
	if err := c.Absolute(); err != nil {
		return c, err
	}
	for _, r := range train.Settings().Of("adapter") {
		if c.From != "" && cmd.Flags().Changed(r.Name) && !o.resume {
			return c, usagef("--%s: with --from the adapter is that of the run it goes on from", r.Name)
		}
	}
	if o.memory < 0 || o.memory > 1e6 {
		return c, usagef("--memory: %g GB; want more than 0, or 0 for what is free", o.memory)
	}
	if err := c.Validate(); err != nil {
		return c, usageError{err}
	}
	return c, nil
}

// train runs one training into o.out, and returns what computed it too.
func (s *shared) train(cmd *cobra.Command, parsed train.Config, o trainFlags) (*train.Result, compute.Backend, error) {
	c, err := trainSettings(cmd, parsed, o)
	if err != nil {
		return nil, nil, err
	}
	if o.resume {
		if err := s.resume(cmd.Flags(), c, o.out); err != nil {
			return nil, nil, err
		}
	}
	backend, provenance, err := s.open()
	if err != nil && o.resume && !cmd.Flags().Changed("backend") && exitCode(err) == exitFailed {
		return nil, nil, fmt.Errorf("the run computes on %s%s: %w; --backend takes another engine, --devices another number", s.backend, devicesText(int(s.devices)), err)
	}
	if err != nil {
		return nil, nil, err
	}
	// A run that goes on has no choice.
	if text := precisionNote(provenance.Backend, c.Precision, plugin.BFloat16()); text != "" && !o.resume {
		s.ui.line("note: %s", text)
	}
	defer s.ui.clear() // a bar, where there is an error
	defer s.onInterrupt(cmd.Context())()
	result, err := train.Train(cmd.Context(), c, train.Options{
		Backend: backend, Devices: provenance.Devices, Out: o.out, Resume: o.resume, Sources: s.sources(), Provenance: provenance, OnEvent: s.ui.event,
		Memory: memoryFor(provenance.Backend, o.memory),
	})
	return result, backend, err
}

// onInterrupt answers an interrupt at once, until the returned function is called.
func (s *shared) onInterrupt(ctx context.Context) (stop func()) {
	return onCancel(ctx, func() {
		s.release() // before the line that says so
		s.ui.line("interrupted: finishing what is being computed, then saving; interrupt again to stop at once")
	})
}

// resume prepares to go on with the run in out: with its settings and, unless the line has others, its engine
// and threads. Where there is no run yet, one begins.
func (s *shared) resume(parsed *pflag.FlagSet, given train.Config, out string) error {
	saved, err := train.ReadRunConfig(out)
	if errors.Is(err, rundir.ErrNoRun) {
		s.ui.line("note: there is no run in %s yet: it begins", out)
		return nil
	}
	if err != nil {
		return err
	}
	if err := sameSettings(parsed.Changed, given, saved, out); err != nil {
		return err
	}
	s.keepEngine(parsed, saved.Provenance)
	return nil
}

// keepEngine goes on with a run's engine, devices and threads, unless the line has others.
func (s *shared) keepEngine(parsed *pflag.FlagSet, from train.Provenance) {
	if from.Backend == "" {
		return
	}
	if !parsed.Changed("backend") {
		s.backend = from.Backend
	}
	if !parsed.Changed("devices") {
		s.devices = deviceCount(from.Devices)
	}
	if !parsed.Changed("threads") && from.Threads < runtime.NumCPU() {
		s.threads = from.Threads
	}
}

// sameSettings refuses settings, of those that were given, that differ from those of the run that is resumed.
func sameSettings(wasGiven func(name string) bool, given train.Config, saved train.RunConfig, out string) error {
	given, err := saved.Resolved(out, given)
	if err != nil {
		return err
	}
	return keptSettings(train.Settings(), wasGiven, &saved.Config, &given, out)
}

// keptSettings refuses settings, of those that were given, that differ from those of the run in out and may not change.
func keptSettings[C any](table settings.Table[C], wasGiven func(name string) bool, saved, given *C, out string) error {
	var faults []error
	for _, r := range table.Differences(saved, given) {
		taken := r.Resumable && !reflect.DeepEqual(r.Value(given), r.Default) // as settings.Table.Change takes it
		if wasGiven(r.Name) && !taken {
			faults = append(faults, usagef("--%s %v: the run in %s has %v; a resumed run keeps its settings", r.Name, r.Value(given), out, r.Value(saved)))
		}
	}
	return errors.Join(faults...)
}

// hintResume adds the command that goes on with a run that was interrupted, or that lacked space to save.
func hintResume(err error, command string) error {
	switch {
	case errors.Is(err, loop.ErrInterrupted):
		return fmt.Errorf("%w; go on with: %s", err, command)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; once there is space, go on with: %s", err, command)
	default:
		return err
	}
}

// resumeCommand goes on with the run in out.
func resumeCommand(parsed *pflag.FlagSet, out string) string {
	report := ""
	if f := parsed.Lookup("report"); f != nil && f.Changed { // no setting of the run, which it would know
		report = " --report=" + f.Value.String()
	}
	return "deeplora train --resume --out " + shellQuote(out) + strings.TrimSuffix(report, "=true") + machineFlags(parsed)
}

// machineFlags are what a line says of this machine: no settings of a run, so that they come along when it goes on.
func machineFlags(parsed *pflag.FlagSet) string {
	command := ""
	parsed.Visit(func(f *pflag.Flag) {
		switch f.Name {
		case "backend", "threads", "devices", "cache":
			command += " --" + f.Name + " " + shellQuote(f.Value.String())
		case "offline", "no-compile-cache":
			if f.Value.String() == "true" {
				command += " --" + f.Name
			}
		}
	})
	return command
}

// givenFlags are those of these flags that a line has, as it can have them again.
func givenFlags(parsed *pflag.FlagSet, names ...string) string {
	line := ""
	for _, name := range names {
		if f := parsed.Lookup(name); f.Changed {
			line += " --" + name + " " + shellQuote(f.Value.String())
		}
	}
	return line
}

func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./+:@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// resultRows is a result as a table of two columns.
func resultRows(r train.Result) [][]string {
	rows := [][]string{
		{"task", fmt.Sprintf("%s, %d training examples", r.Task, r.Shots)},
		{"method", methodText(r)},
		{"steps", fmt.Sprintf("%d in %.1f s, %.0f tokens/s on %s%s", r.Steps, r.TrainSeconds, r.TokensPerSecond, r.Backend, devicesText(r.Devices))},
	}
	if r.Selected != r.Steps {
		rows = append(rows, []string{"selected", fmt.Sprintf("step %d, the best", r.Selected)})
	}
	examples := fmt.Sprintf("%d %s examples", r.Examples, r.Split)
	if r.Dropped > 0 {
		examples += fmt.Sprintf(", %d overlong dropped", r.Dropped)
	}
	return append(rows, []string{"evaluated", examples}, []string{"metrics", metricText(r.Metrics)})
}

func methodText(r train.Result) string {
	if r.Kernels == 0 {
		return fmt.Sprintf("%s, %d parameters", r.Method, r.Parameters)
	}
	return fmt.Sprintf("%s, rank %d, %d kernels, %d parameters", r.Method, r.Rank, r.Kernels, r.Parameters)
}
