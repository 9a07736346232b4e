// Command bertbase writes a random BERT checkpoint in Hugging Face's layout, for measuring speed and
// memory at a real model's size without downloading one. It knows nothing and learns nothing useful.
//
//	go run ./scripts/bertbase --tokenizer DIR --out DIR [--config FILE] [--seed N] [--layers N] [--labels N]
//
// The output holds config.json, model.safetensors with the tensors of BertForSequenceClassification, drawn as
// Transformers initialises a new model, and copies of the tokenizer's files. The same arguments give the same bytes.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/model"
)

func main() {
	err := run(os.Args[1:], os.Stdout, os.Stderr)
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bertbase:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	tokenizer, config, out string
	seed                   uint64
	layers, labels         int // 0: as config says
}

// run writes the checkpoint the arguments ask for and says so on stdout; usage goes to stderr.
func run(args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	config, err := o.read()
	if err != nil {
		return err
	}
	files, err := tokenizerFiles(o.tokenizer, config.VocabSize)
	if err != nil {
		return err
	}
	c := model.New(config, model.SequenceClassification, o.seed)
	err = atomicfile.WriteDir(o.out, func(tmp string) error {
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(tmp, name), content, 0o644); err != nil {
				return err
			}
		}
		return c.Save(tmp, dtypes.Float32)
	})
	if err != nil {
		return err
	}
	parameters := 0
	for _, t := range c.Tensors {
		parameters += t.Shape().Size()
	}
	sum, err := model.SumFile(os.DirFS(o.out), "model.safetensors")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s: %d tensors, %d parameters, model.safetensors sha256 %s\n", o.out, len(c.Tensors), parameters, sum.SHA256)
	return err
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	set := flag.NewFlagSet("bertbase", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.StringVar(&o.tokenizer, "tokenizer", "", "directory with tokenizer.json or vocab.txt (required)")
	set.StringVar(&o.config, "config", "", "config.json to follow (default: the tokenizer's)")
	set.StringVar(&o.out, "out", "", "directory to create (required)")
	set.Uint64Var(&o.seed, "seed", 0, "seed of the weights")
	set.IntVar(&o.layers, "layers", 0, "encoder layers (default: as the config says)")
	set.IntVar(&o.labels, "labels", 0, "rows of the classifier, 1 for regression (default: as the config says)")
	if err := set.Parse(args); err != nil {
		return o, err
	}
	if o.tokenizer == "" || o.out == "" || set.NArg() > 0 {
		set.Usage()
		return o, errors.New("want --tokenizer DIR and --out DIR, and nothing beside flags")
	}
	if o.layers < 0 || o.labels < 0 {
		return o, fmt.Errorf("--layers %d --labels %d: want 1 or more of each, or 0 for as many as the config says", o.layers, o.labels)
	}
	if o.config == "" {
		o.config = filepath.Join(o.tokenizer, "config.json")
	}
	return o, nil
}

// read reads the config and sets the number of layers and labels, where they are asked for.
func (o options) read() (*model.Config, error) {
	c, err := model.ReadConfig(os.DirFS(filepath.Dir(o.config)), filepath.Base(o.config))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Dir(o.config), err)
	}
	delete(c.Raw, "_name_or_path") // it would name the model this one is not
	if o.layers > 0 {
		c.NumHiddenLayers = o.layers
	}
	if o.labels > 0 {
		names := make([]string, o.labels)
		for i := range names {
			names[i] = fmt.Sprintf("LABEL_%d", i)
		}
		c.SetLabels(names, "")
		delete(c.Raw, "problem_type") // it was another head's
	}
	return c, nil
}

// tokenizerFiles reads those files of a tokenizer that dir has, and checks the vocabulary's size where
// it can be told from the number of lines.
func tokenizerFiles(dir string, vocab int) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range modelfiles.OfTokenizer {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if lines := bytes.Count(content, []byte("\n")); name == "vocab.txt" && lines != vocab {
			return nil, fmt.Errorf("%s/vocab.txt has %d lines, but vocab_size is %d; are tokenizer and config of one model?", dir, lines, vocab)
		}
		files[name] = content
	}
	if files["tokenizer.json"] == nil && files["vocab.txt"] == nil {
		return nil, fmt.Errorf("%s has neither tokenizer.json nor vocab.txt; name a tokenizer's directory", dir)
	}
	return files, nil
}
