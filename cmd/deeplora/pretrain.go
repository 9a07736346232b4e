package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/pretrain"
	"github.com/deeplora/deeplora/train"
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
	bindPretrain(cmd.Flags(), &c)
	f := cmd.Flags()
	f.StringVarP(&out, "out", "o", "", "folder of the model")
	f.StringVar(&recipe, "recipe", "", "JSON file with any of the flags by their long names; flags on the line win")
	f.StringVar(&cache, "teacher-cache", "", "folder of the teacher's embeddings, which several runs may share (default teacher/ in --out)")
	f.BoolVar(&resume, "resume", false, "go on with the run in --out, with its settings")
	f.BoolVar(&asJSON, "json", false, "print result.json")
	return cmd
}

// bindPretrain binds every setting of a pretraining run to its flag.
func bindPretrain(f *pflag.FlagSet, c *pretrain.Config) {
	f.StringArrayVar(&c.Corpus, "corpus", c.Corpus, "text file: a text a line, or two with a tab between (repeatable)")
	f.StringVar(&c.Shape, "config", c.Shape, "config.json of the encoder to make; its vocab_size is set")
	f.StringVar(&c.Model, "model", c.Model, "checkpoint to go on from instead, with its vocabulary: a directory, a hub id or "+train.BuiltinModel)
	f.IntVar(&c.VocabSize, "vocab-size", c.VocabSize, "tokens of the vocabulary, special ones included")
	f.BoolVar(&c.Cased, "cased", c.Cased, "keep upper case and accents")
	f.StringVar(&c.Teacher, "teacher", c.Teacher, "encoder to learn from: a directory or a hub id (default none)")

	f.Float64Var(&c.MaskedLM, "mlm-weight", c.MaskedLM, "weight of masked language modelling in the loss")
	f.Float64Var(&c.Sentence, "sentence-weight", c.Sentence, "weight of matching the teacher's embeddings, after a projection")
	f.Float64Var(&c.Similarity, "similarity-weight", c.Similarity, "weight of matching the teacher's cosines between texts of a batch")
	f.Float64Var(&c.Pooler, "pooler-weight", c.Pooler, "weight of matching the teacher's embeddings from the pooler, after a projection of its own")
	f.Float64Var(&c.Pair, "pair-weight", c.Pair, "weight of predicting the teacher's cosine of two joined texts from the pooler")
	f.Float64Var(&c.MaskShare, "mask-share", c.MaskShare, "share of the texts with masked tokens; those are not distilled")
	f.Float64Var(&c.MaskProbability, "mask-probability", c.MaskProbability, "probability of a token in them to be masked")
	f.BoolVar(&c.WholeWord, "whole-word", c.WholeWord, "mask whole words")
	f.Float64Var(&c.Neighbours, "neighbours", c.Neighbours, "pairs of near texts an epoch, as a share of the texts")
	f.Float64Var(&c.RandomPairs, "random-pairs", c.RandomPairs, "pairs of any texts an epoch, as a share of the texts")
	f.Float64Var(&c.SamePairs, "same-pairs", c.SamePairs, "pairs of a text with itself an epoch, as a share of the texts")
	f.Float64Var(&c.AttentionInit, "attention-init", c.AttentionInit, "added to the diagonals of the first layer's query and key kernels: tokens attend to their likes at first")
	f.BoolVar(&c.TeacherInit, "teacher-init", c.TeacherInit, "begin word embeddings at the teacher's embeddings of single tokens")

	f.IntVar(&c.MaxLength, "max-length", c.MaxLength, "tokens of a text or of two joined; the rest is cut")
	f.IntVar(&c.RowLength, "row-length", c.RowLength, "tokens of a row of a batch, which holds several texts")
	f.IntVar(&c.Batch, "batch", c.Batch, "rows a batch")
	f.IntVar(&c.Steps, "steps", c.Steps, "optimizer steps; 0: by --epochs")
	f.Float64Var(&c.Epochs, "epochs", c.Epochs, "passes over the corpus (default 1 without --steps)")

	f.Float64Var(&c.LR, "lr", c.LR, "peak learning rate")
	f.IntVar(&c.Warmup, "warmup", c.Warmup, "steps of linear warm-up")
	f.Float64Var(&c.DecayRatio, "decay-ratio", c.DecayRatio, "last learning rate over the peak")
	f.Float64Var(&c.WeightDecay, "weight-decay", c.WeightDecay, "decoupled weight decay, of matrices")
	f.Float64Var(&c.Clip, "clip", c.Clip, "largest norm of the gradient; 0: off")
	f.Float64Var(&c.Dropout, "dropout", c.Dropout, "dropout probability while pretraining; -1: as the config says")
	f.Uint64Var(&c.Seed, "seed", c.Seed, "seed of every random stream")

	f.Float64Var(&c.Validation, "validation", c.Validation, "share of the texts kept for measuring")
	f.IntVar(&c.EvalEvery, "eval-every", c.EvalEvery, "steps between evaluations; 0: at the end only")
	f.IntVar(&c.SaveEvery, "save-every", c.SaveEvery, "steps between checkpoints; 0: at the end only")
	f.IntVar(&c.Keep, "keep", c.Keep, "newest checkpoints kept")
	f.StringVar(&c.OnNonfinite, "on-nonfinite", c.OnNonfinite, onNonfinite)
	f.StringVar(&c.DType, "dtype", c.DType, "of the weights in model.safetensors: float32 or float16")
}

// pretrain runs one pretraining.
func (s *shared) pretrain(cmd *cobra.Command, c pretrain.Config, o pretrain.Options) (*pretrain.Result, error) {
	for i := range c.Corpus {
		if err := train.Absolute(&c.Corpus[i]); err != nil {
			return nil, err
		}
	}
	if err := train.Absolute(&c.Shape, &c.Model, &c.Teacher); err != nil {
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
	defer s.ui.clear()
	defer s.onInterrupt(cmd.Context())()
	o.Backend, o.Hub, o.Provenance, o.OnEvent = backend, s.hub(), provenance, s.ui.event
	return pretrain.Pretrain(cmd.Context(), c, o)
}

// resumesPretraining prepares to go on with the run in o.Out, if that is asked for and there is one: on its engine,
// and with its settings.
func (s *shared) resumesPretraining(parsed *pflag.FlagSet, given pretrain.Config, o pretrain.Options) (bool, error) {
	if !o.Resume {
		return false, nil
	}
	saved, err := pretrain.ReadRunConfig(o.Out)
	if errors.Is(err, train.ErrNoRun) {
		s.ui.line("note: there is no run in %s yet: it begins", o.Out)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	saved.OnNonfinite = given.OnNonfinite // which may change
	if err := keptSettings(parsed, o.Out, bindPretrain, &saved.Config, &given); err != nil {
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
