package main

import (
	"cmp"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/pretrain"
	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

func poolingText(how modelfiles.Embedding) string {
	if how.From == "" {
		return how.Pooling + ", as the model's folder says nothing else"
	}
	return how.Pooling + ", as " + how.From + " declares"
}

// zeroShot correlates the cosines of an encoder's embeddings with the scores of a split.
func (s *shared) zeroShot(cmd *cobra.Command, e evalFlags) error {
	task, err := data.LookupTask(e.task)
	if err != nil {
		return usageError{err}
	}
	examples, err := s.sources().Split(cmd.Context(), cmp.Or(e.data, train.BuiltinData), task, e.split)
	if err != nil {
		return err
	}
	backend, _, err := s.open()
	if err != nil {
		return err
	}
	encoder, err := pretrain.OpenEmbedder(cmd.Context(), backend, e.model, s.sources(), model.Precision(e.precision))
	if err != nil {
		return err
	}
	defer encoder.Close()
	r, err := encoder.ZeroShot(cmd.Context(), task, examples, s.ui.phaseFunc("embed"))
	if err != nil {
		return err
	}
	if e.json {
		return s.ui.json(r)
	}
	return s.ui.table([][]string{
		{"model", e.model},
		{"evaluated", fmt.Sprintf("%d %s examples of %s", r.Examples, r.Split, r.Task)},
		{"pooling", poolingText(encoder.How)},
		{"sentence embeddings", metricText(r.Sentences)},
		{"word embeddings, averaged", metricText(r.Words)},
	})
}
