package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/train"
)

// demoMethods are compared by the demo: plain LoRA and ours, from the same seed, draw and head.
var demoMethods = []string{"vanilla", "deep-compressed"}

func demoCommand(s *shared) *cobra.Command {
	var out string
	var steps int
	var seed uint64
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the main job on embedded files",
		Long: `Train plain LoRA and compressed Deep LoRA on the embedded few-shot STS-B split with the
embedded encoder, and compare them. Needs no file and no network.`,
		Example: "  deeplora demo",
		RunE: func(cmd *cobra.Command, _ []string) error {
			results, err := s.demo(cmd, out, steps, seed)
			if err != nil {
				return err
			}
			if asJSON {
				return s.ui.json(results)
			}
			return s.ui.table(demoRows(results))
		},
	}
	cmd.Flags().StringVarP(&out, "out", "o", "", "keep the runs in this directory (default: a temporary one, removed at the end)")
	cmd.Flags().IntVar(&steps, "steps", 200, "optimizer steps of each run")
	cmd.Flags().Uint64Var(&seed, "seed", 0, "seed of both runs")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the results as JSON")
	return cmd
}

// demo trains each method in a run of its own.
func (s *shared) demo(cmd *cobra.Command, out string, steps int, seed uint64) ([]train.Result, error) {
	keep := out != ""
	if !keep {
		dir, err := os.MkdirTemp("", "deeplora-demo-*")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		out = dir
	}
	s.ui.line("demo: 256 training pairs of STS-B, and an embedded encoder of 2 layers")
	s.ui.line("demo: whose weights are random (seeded), not pretrained: the figures show that")
	s.ui.line("demo: training works, not how good a real encoder gets (deeplora train --help)")
	backend, provenance, err := s.open()
	if err != nil {
		return nil, err
	}
	defer s.ui.clear()
	defer s.onInterrupt(cmd.Context())()
	var results []train.Result
	for _, method := range demoMethods {
		c := train.Default()
		c.Method, c.Steps, c.Seed, c.TrainHead = method, steps, seed, true
		c.MaxLength = 64
		s.ui.prefix = method
		dir := filepath.Join(out, method)
		r, err := train.Train(cmd.Context(), c, train.Options{
			Backend: backend, Out: dir, Provenance: provenance, OnEvent: s.ui.event,
		})
		s.ui.prefix = ""
		switch {
		case errors.Is(err, train.ErrInterrupted) && !keep: // what was saved goes with the temporary directory
			return nil, context.Canceled
		case err != nil && keep:
			return nil, hintResume(fmt.Errorf("demo: %w", err), resumeCommand(cmd.Flags(), dir))
		case err != nil:
			return nil, fmt.Errorf("demo: %w", err)
		}
		results = append(results, *r)
	}
	return results, nil
}

func demoRows(results []train.Result) [][]string {
	rows := [][]string{{"method", "rank", "parameters", "last loss", "pearson", "spearman", "seconds"}}
	for _, r := range results {
		rows = append(rows, []string{
			r.Method, strconv.Itoa(r.Rank), strconv.Itoa(r.Parameters),
			metricValue(r.FinalLoss), metricValue(r.Metrics["pearson"]), metricValue(r.Metrics["spearman"]),
			time.Duration(r.TrainSeconds * float64(time.Second)).Round(100 * time.Millisecond).String(),
		})
	}
	return rows
}
