package main

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testshared"
)

// wantPartition checks that the data folders in held divide the training sets of GLUE, row by row in order.
func wantPartition(t *testing.T, glue, held string) {
	t.Helper()
	for _, task := range glueTasks {
		whole, err := task.load(glue, data.Train)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := task.load(held, data.Train)
		if err != nil {
			t.Fatal(err)
		}
		off, err := task.load(held, data.Validation)
		if err != nil {
			t.Fatal(err)
		}
		want := len(whole.Examples) / task.oneIn
		if len(off.Examples) != want || len(rest.Examples) != len(whole.Examples)-want {
			t.Errorf("%s: %d and %d rows of %d, one in %d", task.name, len(rest.Examples), len(off.Examples), len(whole.Examples), task.oneIn)
			continue
		}
		for i, e := range whole.Examples {
			from, at := rest.Examples, i-i/task.oneIn
			if (i+1)%task.oneIn == 0 {
				from, at = off.Examples, i/task.oneIn
			}
			got := from[at]
			if got.Row = e.Row; !reflect.DeepEqual(got, e) {
				t.Errorf("%s: row %d became %+v, was %+v", task.name, i, got, e)
				break
			}
		}
	}
}

func TestHeldOutRowsArePartOfTheTrainingSet(t *testing.T) {
	glue, held := newRows().glue(t, 0), t.TempDir()
	if err := holdOut(glue, held); err != nil {
		t.Fatal(err)
	}
	wantPartition(t, glue, held)
	if got, want := get(t, held, "STS-B/validation.tsv"), "sentence1\tsentence2\tscore\n"+captioned+"\tSome dogs play.\t1e-05\n"; got != want {
		t.Errorf("STS-B's validation rows %q, want %q", got, want)
	}
	lines, err := readGLUE(glue)
	if err != nil || len(lines) != 9+49+9 || slices.ContainsFunc(lines, func(l line) bool { return l.text == captioned || l.text == phrase }) {
		t.Errorf("%d lines, %v: %q", len(lines), err, lines)
	}
}

func TestRows(t *testing.T) {
	for _, c := range []struct {
		task glueTask
		e    data.Example
		want string
	}{
		{glueTasks[0], data.Example{Text: "a ", Pair: "b", HasPair: true, Label: 3.8}, "a \tb\t3.8"},
		{glueTasks[0], data.Example{Text: "a", HasPair: true, Label: math.Nextafter(1, 2)}, "a\t\t1.0000000000000002"},
		{glueTasks[1], data.Example{Text: `"a"`, Label: 1}, "\"a\"\t1"},
		{glueTasks[2], data.Example{Text: "a", Pair: "b", HasPair: true, Label: 0}, "a\tb\tentailment"},
		{glueTasks[2], data.Example{Text: "a", Pair: "b", HasPair: true, Label: 1}, "a\tb\tnot_entailment"},
	} {
		task, err := data.LookupTask(c.task.name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := c.task.row(task, c.e); err != nil || got != c.want {
			t.Errorf("%+v: %q, %v; want %q", c.e, got, err, c.want)
		}
	}
	_, err := glueTasks[0].row(data.Task{}, data.Example{Text: "a", Pair: "b\nc", HasPair: true})
	wantError(t, err, `"b\nc" holds a tab or a line break`)
}

func TestHoldOutNamesTheRow(t *testing.T) {
	glue := newRows().glue(t, 0)
	if err := os.Remove(filepath.Join(glue, "SST-2/train.tsv")); err != nil {
		t.Fatal(err)
	}
	put(t, `{"sentence": "fine", "label": 0}`+"\n"+`{"sentence": "a\tb", "label": 1}`+"\n", glue, "SST-2/train.jsonl")
	wantError(t, holdOut(glue, t.TempDir()), "train.jsonl, row 1", `"a\tb" holds a tab`)
}

// The held-out folders of GLUE's own files, whose scores and texts are of every kind.
func TestHeldOutRowsOfGLUE(t *testing.T) {
	glue, held := filepath.Dir(testshared.Path(t, "glue", "RTE")), t.TempDir()
	if err := holdOut(glue, held); err != nil {
		t.Fatal(err)
	}
	wantPartition(t, glue, held)
}
