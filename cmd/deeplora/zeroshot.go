package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/pretrain"
	"github.com/deeplora/deeplora/train"
)

// zeroShotFlags are what evaluating an encoder without a run takes.
type zeroShotFlags struct {
	on          bool
	model, task string
}

func (z *zeroShotFlags) bind(f *pflag.FlagSet) {
	f.BoolVar(&z.on, "zero-shot", false, "evaluate an encoder's own sentence embeddings, without a run")
	z.model = train.BuiltinModel
	bindModel(f, &z.model)
	f.StringVar(&z.task, "task", "stsb", "task of scored pairs, for --zero-shot")
}

// zeroShot correlates the cosines of an encoder's embeddings with the scores of a split.
func (s *shared) zeroShot(cmd *cobra.Command, z zeroShotFlags, split, from string, asJSON bool) error {
	task, err := data.LookupTask(z.task)
	if err != nil {
		return usageError{err}
	}
	examples, err := train.LoadSplit(cmd.Context(), cmp.Or(from, train.BuiltinData), task, split, s.hub())
	if err != nil {
		return err
	}
	backend, _, err := s.open()
	if err != nil {
		return err
	}
	e, err := pretrain.OpenEmbedder(cmd.Context(), backend, z.model, s.hub())
	if err != nil {
		return err
	}
	defer e.Close()
	r, err := e.ZeroShot(cmd.Context(), task, examples, s.ui.phaseFunc("embed"))
	if err != nil {
		return err
	}
	if asJSON {
		return s.ui.json(r)
	}
	return s.ui.table([][]string{
		{"model", z.model},
		{"evaluated", fmt.Sprintf("%d %s examples of %s", r.Examples, r.Split, r.Task)},
		{"sentence embeddings", metricText(r.Sentences)},
		{"word embeddings, averaged", metricText(r.Words)},
	})
}
