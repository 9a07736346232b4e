// Command bertbase writes a random BERT checkpoint in Hugging Face's layout, for measuring speed and
// memory at a real model's size without downloading one. It knows nothing and learns nothing useful.
//
//	go run ./scripts/bertbase --tokenizer DIR --out DIR [--config FILE] [--seed N] [--layers N] [--labels N]
//
// The output holds config.json, model.safetensors with the tensors of BertForSequenceClassification
// (formats.md 1.3), and the tokenizer's files copied. Weights are drawn as Transformers initialises a
// new model: N(0, initializer_range²), biases and the padding token's row 0, LayerNorm 1 and 0. The
// same arguments give the same bytes.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/safetensors"
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
	c, err := readConfig(o.config)
	if err != nil {
		return err
	}
	if err := c.override(o.layers, o.labels); err != nil {
		return fmt.Errorf("%s: %w", o.config, err)
	}
	files, err := tokenizerFiles(o.tokenizer, c)
	if err != nil {
		return err
	}
	tensors := c.tensors(o.seed)
	err = atomicfile.WriteDir(o.out, func(tmp string) error { return fill(tmp, c, tensors, files) })
	if err != nil {
		return err
	}
	return report(stdout, o.out)
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
	if o.config == "" {
		o.config = filepath.Join(o.tokenizer, "config.json")
	}
	return o, nil
}

// fill writes the checkpoint's files into dir.
func fill(dir string, c *config, tensors []safetensors.Entry, tokenizer []file) error {
	text, err := c.text()
	if err != nil {
		return err
	}
	for _, f := range append(tokenizer, file{"config.json", text}) {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.content, 0o644); err != nil {
			return err
		}
	}
	return atomicfile.Write(filepath.Join(dir, "model.safetensors"), func(w io.Writer) error {
		return safetensors.Write(w, tensors, nil)
	})
}

// report opens what was written: a checkpoint that does not read back is an error here, not later.
func report(w io.Writer, dir string) error {
	f, err := safetensors.Open(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		return err
	}
	defer f.Close()
	sum, err := f.Sum()
	if err != nil {
		return err
	}
	parameters := 0
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		parameters += info.Len()
	}
	_, err = fmt.Fprintf(w, "%s: %d tensors, %d parameters, model.safetensors sha256 %s\n", dir, len(f.Names()), parameters, sum)
	return err
}
