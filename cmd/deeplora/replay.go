package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/pretrain"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

func replayCommand(s *shared) *cobra.Command {
	var run string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Compute a step again that gave no finite number",
		Long: `Compute the step again at which a run met a loss or gradient that is no finite number: from
diagnostic/ in its directory, with its model, data and settings, on its engine. It says where in
the step the first such number appears. Nothing of the run is changed. The exit code is 0 if the
step gives the same as it did in the run.`,
		Example: "  deeplora replay --run run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if run == "" {
				return usagef("give --run, the directory of a run that has a diagnostic/")
			}
			r, err := s.replay(cmd, run)
			if err != nil {
				return err
			}
			if asJSON {
				err = s.ui.json(r)
			} else {
				err = s.ui.table(replayRows(r))
			}
			if err == nil && !r.Same {
				err = errors.New("the step gives another result than in the run; do the engine, its version and the threads differ?")
			}
			return err
		},
	}
	cmd.Flags().StringVar(&run, "run", "", "directory of the run")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// replay computes the diagnostic's step of a run of train, or of pretrain.
func (s *shared) replay(cmd *cobra.Command, run string) (*loop.Replayed, error) {
	pretraining := rundir.Is(run, pretrain.RunJSON) // its folder also has a config.json, the model's
	var began train.Provenance
	if pretraining {
		c, err := pretrain.ReadRunConfig(run)
		if err != nil {
			return nil, err
		}
		began = c.Provenance
	} else {
		c, err := train.ReadRunConfig(run)
		if err != nil {
			return nil, err
		}
		began = c.Provenance
	}
	s.keepEngine(cmd.Flags(), began)
	backend, provenance, err := s.open()
	if err != nil {
		return nil, err
	}
	defer s.ui.clear()
	if pretraining {
		return pretrain.Replay(cmd.Context(), pretrain.Options{Backend: backend, Out: run, Sources: s.sources(), Provenance: provenance, OnEvent: s.ui.event})
	}
	return train.Replay(cmd.Context(), train.Options{Backend: backend, Devices: provenance.Devices, Out: run, Sources: s.sources(), Provenance: provenance, OnEvent: s.ui.event})
}

func replayRows(r *loop.Replayed) [][]string {
	d := r.Diagnostic
	rows := [][]string{
		{"step", fmt.Sprintf("%d, lr %.3g, seed %d", d.Step, d.LR, d.Seed)},
		{"batches", strings.Trim(fmt.Sprint(d.Batches), "[]")},
	}
	if len(d.Examples) > 0 {
		rows = append(rows, []string{"examples", strings.Join(d.Examples, " ")})
	}
	rows = append(rows,
		[]string{"in the run", fmt.Sprintf("loss %g, gradient's norm %g: %v", float64(d.Loss), float64(d.Norm), d.Origin)},
		[]string{"now", fmt.Sprintf("loss %g, gradient's norm %g", float64(r.Loss), float64(r.Norm))})
	if r.Origin != nil {
		rows[len(rows)-1][1] += fmt.Sprintf(": %v", *r.Origin)
	}
	return rows
}
