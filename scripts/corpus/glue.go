package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
)

// glueTask is a task whose training texts are part of the corpus, and how many of its training rows are split off
// to choose recipes by: one in so many.
type glueTask struct {
	name   string // in package data's table
	folder string // of its files
	oneIn  int
	header string
	named  bool // labels are written by name: the official files differ in this
}

var glueTasks = []glueTask{
	{"stsb", "STS-B", 10, "sentence1\tsentence2\tscore", false},
	{"sst2", "SST-2", 50, "sentence\tlabel", false},
	{"rte", "RTE", 10, "sentence1\tsentence2\tlabel", true},
}

// heldOut reports whether a training row, counted from 0, is split off: the last of every n.
func (t glueTask) heldOut(i int) bool { return i%t.oneIn == t.oneIn-1 }

func (t glueTask) load(glue, split string) (*data.Split, error) {
	task, err := data.LookupTask(t.name)
	if err != nil {
		return nil, err
	}
	return data.Load(filepath.Join(glue, t.folder), task, split)
}

// readGLUE gives the training texts that are not split off. Labels stay behind.
func readGLUE(glue string) ([]line, error) {
	var lines []line
	for _, t := range glueTasks {
		train, err := t.load(glue, data.Train)
		if err != nil {
			return nil, err
		}
		for i, e := range train.Examples {
			if !t.heldOut(i) {
				lines = append(lines, line{e.Text, e.Pair})
			}
		}
	}
	return lines, nil
}

// holdOut writes a data folder for each task: the training rows that recipes are chosen by as its validation.tsv,
// the rest as its train.tsv.
func holdOut(glue, out string) error {
	for _, t := range glueTasks {
		train, err := t.load(glue, data.Train)
		if err != nil {
			return err
		}
		var rest, held strings.Builder
		for _, b := range []*strings.Builder{&rest, &held} {
			b.WriteString(t.header + "\n")
		}
		for i, e := range train.Examples {
			b := &rest
			if t.heldOut(i) {
				b = &held
			}
			row, err := t.row(train.Task, e)
			if err != nil {
				return fmt.Errorf("%s, row %d: %w", train.Source.File, e.Row, err)
			}
			b.WriteString(row + "\n")
		}
		dir := filepath.Join(out, t.folder)
		if err := errors.Join(writeText(filepath.Join(dir, "train.tsv"), rest.String()), writeText(filepath.Join(dir, "validation.tsv"), held.String())); err != nil {
			return err
		}
	}
	return nil
}

// row writes an example as a line of a TSV; texts that JSONL or parquet gave may not fit one.
func (t glueTask) row(task data.Task, e data.Example) (string, error) {
	fields := []string{e.Text}
	if e.HasPair {
		fields = append(fields, e.Pair)
	}
	for _, text := range fields {
		if strings.ContainsAny(text, "\t\n") {
			return "", fmt.Errorf("%.60q holds a tab or a line break; take GLUE's own TSV files", text)
		}
	}
	label := strconv.FormatFloat(e.Label, 'g', -1, 64) // the shortest that reads back as the same score
	if t.named {
		label = task.Labels[int(e.Label)] // Load refuses those outside
	}
	return strings.Join(append(fields, label), "\t"), nil
}

func writeText(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteBytes(path, []byte(text))
}
