package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/pretrain"
	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/internal/rundir"
)

func pretrainCommand(s *shared) *cobra.Command {
	c := pretrain.Default()
	var out, cache, recipe string
	var resume, asJSON bool
	cmd := &cobra.Command{
		Use:   "pretrain",
		Short: "Make an encoder from text, and from a larger encoder",
		Long: `Train a WordPiece vocabulary on text files, then an encoder of the shape that a config.json
describes: by masked language modelling and, with --teacher, by distillation of a larger
encoder's sentence embeddings. A line of a corpus is one text, or two that belong together
with a tab between. --out becomes a folder that deeplora and Transformers open: config.json,
model.safetensors, tokenizer.json, vocab.txt. A run that was stopped goes on with --resume
and ends with the same weights to the bit.`,
		Example: "  deeplora pretrain --corpus corpus.txt --config small.json --vocab-size 8192 --epochs 3 --out small\n" +
			"  deeplora pretrain --corpus corpus.txt --config small.json --teacher ./all-MiniLM-L6-v2 --mask-share 0.2 --teacher-init --out small",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usagef("--out is required: the model's folder")
			}
			if recipe != "" {
				if err := applyConfig(cmd.Flags(), "recipe", recipe); err != nil {
					return usageError{err}
				}
			}
			result, err := s.pretrain(cmd, c, pretrain.Options{Out: out, TeacherCache: cache, Resume: resume})
			if err != nil {
				return hintResume(err, resumePretrain(cmd.Flags(), out, cache))
			}
			if asJSON {
				return s.ui.json(result)
			}
			return s.ui.table(pretrainRows(result))
		},
	}
	bindSettings(cmd.Flags(), pretrain.Settings(), &c)
	f := cmd.Flags()
	f.StringVarP(&out, "out", "o", "", "folder of the model")
	f.StringVar(&recipe, "recipe", "", "JSON file with any of the flags by their long names; flags on the line win")
	f.StringVar(&cache, "teacher-cache", "", "folder of the teacher's embeddings, which several runs may share (default teacher/ in --out)")
	f.BoolVar(&resume, "resume", false, "go on with the run in --out, with its settings")
	f.BoolVar(&asJSON, "json", false, "print result.json")
	return cmd
}

// pretrain runs one pretraining.
func (s *shared) pretrain(cmd *cobra.Command, c pretrain.Config, o pretrain.Options) (*pretrain.Result, error) {
	if err := pretrain.Settings().Absolute(&c); err != nil {
		return nil, err
	}
	resumed, err := s.resumesPretraining(cmd.Flags(), c, o)
	if err != nil {
		return nil, err
	}
	if !resumed {
		if err := c.Validate(); err != nil {
			return nil, usageError{err}
		}
	}
	backend, provenance, err := s.open()
	if err != nil {
		return nil, err
	}
	if text := precisionNote(provenance.Backend, c.Precision, plugin.BFloat16()); text != "" && !resumed {
		s.ui.line("note: %s", text)
	}
	defer s.ui.clear()
	defer s.onInterrupt(cmd.Context())()
	o.Backend, o.Sources, o.Provenance, o.OnEvent = backend, s.sources(), provenance, s.ui.event
	return pretrain.Pretrain(cmd.Context(), c, o)
}

// resumesPretraining prepares to go on with the run in o.Out, if that is asked for and there is one: on its engine,
// and with its settings.
func (s *shared) resumesPretraining(parsed *pflag.FlagSet, given pretrain.Config, o pretrain.Options) (bool, error) {
	if !o.Resume {
		return false, nil
	}
	saved, err := pretrain.ReadRunConfig(o.Out)
	if errors.Is(err, rundir.ErrNoRun) {
		s.ui.line("note: there is no run in %s yet: it begins", o.Out)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := keptSettings(pretrain.Settings(), parsed.Changed, &saved.Config, &given, o.Out); err != nil {
		return false, err
	}
	s.keepEngine(parsed, saved.Provenance)
	return true, nil
}

// resumePretrain is the command that goes on with a pretraining.
func resumePretrain(parsed *pflag.FlagSet, out, cache string) string {
	command := "deeplora pretrain --resume --out " + shellQuote(out)
	if cache != "" {
		command += " --teacher-cache " + shellQuote(cache)
	}
	return command + machineFlags(parsed)
}

func pretrainRows(r *pretrain.Result) [][]string {
	rows := [][]string{
		{"model", fmt.Sprintf("%d parameters, vocabulary of %d", r.Parameters, r.Vocabulary)},
		{"texts", fmt.Sprintf("%d, and %d held for measuring", r.Texts, r.Held)},
		{"steps", fmt.Sprintf("%d in %.0f s, %.0f tokens/s", r.Steps, r.TrainSeconds, r.TokensPerSecond)},
		{"metrics", metricText(r.Metrics)},
	}
	for _, f := range r.Files {
		rows = append(rows, []string{filepath.Base(f.File), f.SHA256})
	}
	return rows
}
