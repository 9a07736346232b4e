package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/builtin"
)

// few rows of validation: a run that is timed should not end in minutes of evaluation.
const few = 16

// writeData writes the rows of a job as files that both sides read, and returns how many tokens each row has that its
// timed part computes: of a batch for a step, of the training rows for an epoch, of the validation split for an
// evaluation.
func (b *bench) writeData(j *job) (lengths []int, err error) {
	task, err := data.LookupTask(j.Task)
	if err != nil {
		return nil, err
	}
	j.columns, j.labels = task.Columns, max(1, len(task.Labels))
	train, validation, err := b.rows(task, j.workload)
	if err != nil {
		return nil, err
	}
	if j.data, err = os.MkdirTemp(b.dir, "data-"); err != nil {
		return nil, err
	}
	if err := writeSplit(j.data, data.Train, task, train); err != nil {
		return nil, err
	}
	if err := writeSplit(j.data, data.Validation, task, validation); err != nil {
		return nil, err
	}
	timed := train
	switch j.Kind {
	case evalKind:
		timed = validation
	case stepKind:
		timed = train[:j.batch]
	}
	return tokens(j.model, timed, j.length, j.Full)
}

// rows draws a workload's examples; --glue or the embedded split has them.
func (b *bench) rows(task data.Task, w workload) (train, validation []data.Example, err error) {
	load := func(split string) (*data.Split, error) {
		if b.glue == "" {
			return data.LoadFS(builtin.Data(), task, split)
		}
		return data.Load(b.glue, task, split)
	}
	all, err := load(data.Train)
	if err != nil {
		return nil, nil, err
	}
	drawn, _, err := all.Sample(data.DrawOptions{Shots: w.Shots})
	if err != nil {
		return nil, nil, err
	}
	held, err := load(data.Validation)
	if err != nil {
		return nil, nil, err
	}
	train, validation = drawn.Examples, held.Examples
	if w.Kind != evalKind {
		validation = validation[:min(few, len(validation))]
	}
	if w.Full {
		train = lengthened(train)
	}
	return train, validation, nil
}

// lengthened makes each text long enough to fill a row, out of its own and the following examples.
func lengthened(examples []data.Example) []data.Example {
	const together = 24
	long := make([]data.Example, len(examples))
	for i, e := range examples {
		var text, pair []string
		for n := range together {
			next := examples[(i+n)%len(examples)]
			text, pair = append(text, next.Text), append(pair, next.Pair)
		}
		e.Text, e.Pair = strings.Join(text, " "), strings.Join(pair, " ")
		long[i] = e
	}
	return long
}

func writeSplit(dir, split string, task data.Task, examples []data.Example) error {
	return atomicfile.Write(filepath.Join(dir, split+".jsonl"), func(w io.Writer) error {
		lines := json.NewEncoder(w)
		for _, e := range examples {
			row := map[string]any{task.Columns[0]: e.Text, "label": e.Label}
			if e.HasPair {
				row[task.Columns[1]] = e.Pair
			}
			if err := lines.Encode(row); err != nil {
				return err
			}
		}
		return nil
	})
}

// tokens counts each example's. If they must be full, a shorter one is an error.
func tokens(model string, examples []data.Example, length int, full bool) ([]int, error) {
	tok, err := data.OpenTokenizer(os.DirFS(model), model)
	if err != nil {
		return nil, err
	}
	lengths := make([]int, len(examples))
	for i, e := range examples {
		row, _, err := data.EncodePair(tok, e.Text, e.Pair, e.HasPair, length)
		if err != nil {
			return nil, fmt.Errorf("example %d: %w", i, err)
		}
		lengths[i] = len(row.IDs)
		if full && lengths[i] != length {
			return nil, fmt.Errorf("example %d has %d tokens, want %d", i, lengths[i], length)
		}
	}
	return lengths, nil
}
