package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/train"
)

func evalCommand(s *shared) *cobra.Command {
	var run, split, from string
	var zeroShot zeroShotFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "eval",
		Short: "Evaluate a finished run, or an encoder without any training",
		Long: `Evaluate a finished run on a labelled split of its task, with the adapter merged into the model.
With --zero-shot, correlate the cosines of an encoder's own sentence embeddings with a task's scores.`,
		Example: "  deeplora eval --run run\n  deeplora eval --run run --data ./glue/STS-B --split validation --json\n" +
			"  deeplora eval --zero-shot --model ./all-MiniLM-L6-v2 --data ./glue/STS-B",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if (run == "") != zeroShot.on {
				return usagef("give --run, the directory of a finished run, or --zero-shot, with --model")
			}
			if splits := []string{data.Train, data.Validation, data.Test}; !slices.Contains(splits, split) {
				return usagef("--split: %q is unknown; nearest: %s (known: %s)", split, nearest.Of(split, splits), strings.Join(splits, " "))
			}
			if zeroShot.on {
				return s.zeroShot(cmd, zeroShot, split, from, asJSON)
			}
			e, err := s.evaluate(cmd, run, split, from)
			if err != nil {
				return err
			}
			if asJSON {
				return s.ui.json(e)
			}
			return s.ui.table([][]string{
				{"task", e.Task}, {"evaluated", fmt.Sprintf("%d %s examples", e.Examples, e.Split)}, {"metrics", metricText(e.Metrics)},
			})
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "directory of a finished run")
	zeroShot.bind(cmd.Flags())
	cmd.Flags().StringVar(&split, "split", data.Validation, "split: train, validation or test")
	cmd.Flags().StringVar(&from, "data", "", "directory with the task's files, hub, or builtin (default the run's)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shared) evaluate(cmd *cobra.Command, run, split, from string) (*train.Evaluation, error) {
	saved, err := s.openRun(cmd, run)
	if err != nil {
		return nil, err
	}
	defer saved.Close()
	if saved.Task.Name == "" {
		return nil, fmt.Errorf("%s: what its adapter was trained on is not known; import it again with --task", run)
	}
	if from == "" {
		from = saved.Run.Data
	}
	examples, err := train.LoadSplit(cmd.Context(), from, saved.Task, split, s.hub())
	if err != nil {
		return nil, err
	}
	return saved.Evaluate(cmd.Context(), examples, s.ui.phaseFunc("evaluate"))
}

// openRun opens a finished run on the backend that the flags ask for.
func (s *shared) openRun(cmd *cobra.Command, run string) (*train.Saved, error) {
	if _, err := train.ReadRunConfig(run); err != nil { // before an engine is started for nothing
		return nil, err
	}
	backend, _, err := s.open()
	if err != nil {
		return nil, err
	}
	return train.Open(cmd.Context(), run, backend, s.hub())
}

// phaseFunc shows progress of a part that is not training.
func (u *ui) phaseFunc(name string) func(done, total int) {
	return func(done, total int) { u.progress(name, done, total, counted(done, total)) }
}
