// Command hugot holds what `deeplora export --format onnx` writes against `deeplora predict`, in hugot's pure Go session:
// the same labels, and scores that differ by 1e-4 at most.
//
//	scripts/check_hugot.sh                  # short runs of the embedded encoder, trained for it
//	scripts/check_hugot.sh --model DIR      # a short run of a checkpoint of yours instead
//	scripts/check_hugot.sh --run DIR        # finished runs of yours that classify texts, or score pairs
//
// Its text classification takes 100 sentences of STS-B, its cross encoder 100 pairs, with a run that has one score. It is a
// module of its own: hugot needs an older GoMLX, which cannot be in one program with ours (decision 0030).
package main

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// tolerance is the largest difference of scores, which are from 0 to 1.
const tolerance = 1e-4

// options are the command line's.
type options struct {
	program, backend, text, work string
	steps, batch                 int
	models, runs                 []string
}

func main() {
	o := options{}
	flag.StringVar(&o.program, "program", "bin/deeplora", "the program")
	flag.StringVar(&o.backend, "backend", "auto", "deeplora's --backend")
	flag.StringVar(&o.text, "text", "internal/builtin/STS-B/train.tsv", "STS-B TSV with the sentences")
	flag.StringVar(&o.work, "work", ".build/check_hugot", "directory for runs and exports")
	flag.IntVar(&o.steps, "steps", 8, "training steps of each run")
	flag.IntVar(&o.batch, "batch", 13, "sentences that hugot is given together, of different lengths")
	several := func(list *[]string) func(string) error {
		return func(dir string) error {
			*list = append(*list, dir)
			return nil
		}
	}
	flag.Func("model", "checkpoint to train instead of the embedded encoder (repeatable)", several(&o.models))
	flag.Func("run", "finished run to look at instead of training (repeatable)", several(&o.runs))
	flag.Parse()
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "hugot:", err)
		os.Exit(1)
	}
}

// run checks every run, and says of all what was found before it fails.
func run(o options, out io.Writer) error {
	rows, err := read(o.text)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.work, 0o755); err != nil {
		return err
	}
	cases, err := o.cases(rows)
	if err != nil {
		return err
	}
	failed := 0
	for _, c := range cases {
		found, err := o.check(c, rows)
		switch {
		case err != nil:
			fmt.Fprintf(out, "%-10s %v\n", c.name, err)
		default:
			fmt.Fprintf(out, "%-10s %s\n", c.name, found)
		}
		if err != nil || !found.good() {
			failed++
		}
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d runs fail", failed, len(cases))
	}
	return nil
}

// oneCase is a run to check.
type oneCase struct{ name, run string }

// cases are the runs of the command line, or those that are trained: of a checkpoint one that reads its first token, of the
// embedded encoder both poolings that there mostly are, and a score.
func (o options) cases(rows []row) (cases []oneCase, err error) {
	if len(o.runs) > 0 {
		for _, dir := range o.runs {
			cases = append(cases, oneCase{filepath.Base(dir), dir})
		}
		return cases, nil
	}
	data := filepath.Join(o.work, "data.csv")
	if err := writeTraining(data, rows); err != nil {
		return nil, err
	}
	classes := []string{"--task", "classification", "--data", data, "--labels", "people,animals,things", "--pooling"}
	trained := map[string][]string{"head": slices.Concat(classes, []string{"head"}), "mean": slices.Concat(classes, []string{"mean"}), "pairs": {"--task", "stsb", "--shots", "128"}}
	if len(o.models) > 0 {
		trained = map[string][]string{}
		for _, dir := range o.models {
			trained[filepath.Base(dir)] = slices.Concat(classes, []string{"head", "--model", dir})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(trained)) {
		dir := filepath.Join(o.work, name)
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
		args := append([]string{"train", "--quiet", "--steps", fmt.Sprint(o.steps), "--batch", "4", "--max-length", "64", "--lr", "5e-3", "--scope", "all-dense", "--out", dir}, trained[name]...)
		if _, err := o.deeplora(nil, args...); err != nil {
			return nil, err
		}
		cases = append(cases, oneCase{name, dir})
	}
	return cases, nil
}
