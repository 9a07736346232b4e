package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train"
)

// evalFlags are the eval command's own.
type evalFlags struct {
	run, split, data string // data: empty for the run's, or the embedded
	zeroShot, json   bool
	errors           int
	precision        string // empty: the run's, or f32
	dataConfig       string // and revision, of a data set of the hub
	dataRevision     string
	thresholdFlag
	checkpointFlags
}

func evalCommand(s *shared) *cobra.Command {
	var e evalFlags
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Evaluate a finished run, a checkpoint, or an encoder without any training",
		Long: `Evaluate a finished run on a labelled split of its task, with the adapter merged into the model
(beside --run, --model says where that is now, if it was moved); or, with --model alone, a
checkpoint with a classification head of its own, as export --format merged writes it. With
--zero-shot, correlate the cosines of an encoder's own sentence embeddings with a task's scores.`,
		Example: "  deeplora eval --run run\n  deeplora eval --run run --data ./glue/STS-B --split validation --json\n" +
			"  deeplora eval --model ./merged --task rte --data ./glue/RTE --errors 10\n" +
			"  deeplora eval --zero-shot --model ./all-MiniLM-L6-v2 --data ./glue/STS-B",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := e.check(cmd.Flags()); err != nil {
				return err
			}
			if e.zeroShot {
				return s.zeroShot(cmd, e)
			}
			evaluate := s.evaluate
			if e.run == "" {
				evaluate = s.evaluateCheckpoint
			}
			found, err := evaluate(cmd, e)
			if err != nil {
				return err
			}
			found.Worst(e.errors)
			if e.json {
				return s.ui.json(found)
			}
			return s.ui.report(found)
		},
	}
	f := cmd.Flags()
	f.StringVar(&e.run, "run", "", "directory of a finished run")
	f.BoolVar(&e.zeroShot, "zero-shot", false, "evaluate an encoder's own sentence embeddings, without a run or a head")
	e.bind(f)
	f.Lookup("model").Usage += "; beside --run: " + baseNow
	f.StringVar(&e.split, "split", data.Validation, "split: train, validation or test")
	f.StringVar(&e.data, "data", "", "file or directory with the task's files, a data set of the hub org/name, hub (GLUE), or builtin (default the run's, or builtin)")
	f.StringVar(&e.dataConfig, "data-config", "", "configuration of a data set of the hub that --data names; empty: its default")
	f.StringVar(&e.dataRevision, "data-revision", "", "branch, tag or commit of it; empty: main")
	bindPrecision(f, &e.precision)
	s.bindDevices(f)
	e.bindThreshold(f)
	f.IntVar(&e.errors, "errors", 0, "show so many examples, those with the highest loss; 0: none")
	f.BoolVar(&e.json, "json", false, "print JSON")
	return cmd
}

// check refuses what cannot be meant, before a file is read.
func (e *evalFlags) check(f *pflag.FlagSet) error {
	onHub := !e.zeroShot && data.HubOptions{}.IsDataset(e.data)
	checkpoint := e.run == "" && f.Changed("model") && !e.zeroShot
	if given := e.run != ""; given == (checkpoint || e.zeroShot) {
		return usagef("give one of --run, the directory of a finished run, --model, a checkpoint with a head, and --zero-shot, with --model")
	}
	if e.errors < 0 {
		return usagef("--errors: %d is less than 0", e.errors)
	}
	for _, only := range []struct {
		flag string
		fits bool
		of   string
	}{
		{"task", e.run == "", "--model or --zero-shot: a run has its own"},
		{"max-length", checkpoint, "--model: a run has its own"},
		{"overlong", checkpoint, "--model: a run has its own"},
		{"errors", !e.zeroShot, "--run and --model: --zero-shot compares sentences without a loss"},
		{"text", checkpoint, "--model: a run has its own"},
		{"pair", checkpoint, "--model: a run has its own"},
		{"label", checkpoint, "--model: a run has its own"},
		{"label-separator", checkpoint && e.task == "multilabel", "--model with --task multilabel: a run has its own"},
		{"data-config", onHub, "--data with a data set of the hub, org/name"},
		{"data-revision", onHub, "--data with a data set of the hub, org/name"},
		{"devices", !e.zeroShot, "--run and --model: --zero-shot computes on one"},
		{"threshold", !e.zeroShot, "--run and --model: --zero-shot has no classes"},
	} {
		if f.Changed(only.flag) && !only.fits {
			return usagef("--%s belongs to %s", only.flag, only.of)
		}
	}
	if err := checkSplit(e.split); err != nil {
		return err
	}
	return errors.Join(oneOf("--overlong", e.overlong, "truncate", "drop"), checkPrecision(e.precision))
}

func (s *shared) evaluate(cmd *cobra.Command, e evalFlags) (*train.Evaluation, error) {
	saved, err := s.openRun(cmd, e.run, movedBase(cmd, e.model), e.precision)
	if err != nil {
		return nil, err
	}
	defer saved.Close()
	if saved.Task.Name == "" {
		return nil, fmt.Errorf("%s: what its adapter was trained on is not known; import it again with --task", e.run)
	}
	if err := e.setThreshold(cmd.Flags(), saved); err != nil {
		return nil, err
	}
	if e.data != "" {
		saved.Run.DataConfig, saved.Run.DataRevision = e.dataConfig, e.dataRevision
		if s.hub().IsDataset(e.data) {
			saved.Run.Data = e.data
		}
	}
	examples, err := saved.Split(cmd.Context(), s.sources(), e.data, e.split)
	if err != nil {
		return nil, err
	}
	for _, n := range examples.Notices {
		s.notice("%s", n)
	}
	return saved.Evaluate(cmd.Context(), examples, s.ui.phaseFunc("evaluate"))
}

// openRun opens a finished run on the backend that the flags ask for, whose base model is now at base or, if that is
// empty, where the run says; likewise the precision.
func (s *shared) openRun(cmd *cobra.Command, run, base, precision string) (*train.Predictor, error) {
	if _, err := train.ReadRunConfig(run); err != nil { // before an engine is started for nothing
		return nil, err
	}
	backend, provenance, err := s.open()
	if err != nil {
		return nil, err
	}
	p, err := train.Open(cmd.Context(), run, backend, train.OpenOptions{Sources: s.sources(), Model: base, Precision: precision})
	return onDevices(p, err, provenance)
}

// phaseFunc shows progress of a part that is not training.
func (u *ui) phaseFunc(name string) func(done, total int) {
	return func(done, total int) { u.progress(name, done, total, counted(done, total)) }
}
