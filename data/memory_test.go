package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"slices"
	"testing"
	"testing/fstest"
)

var reviews = Task{Name: "reviews", Labels: []string{"bad", "good"}}

func TestNewSplit(t *testing.T) {
	given := []Example{{Text: "good film", Label: 1, Row: 7}, {Text: "schlecht: öde,\n", Label: 0}, {Text: "?", Label: math.NaN()}}
	s, err := NewSplit(reviews, Train, given)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("9:good film,4:good,\n16:schlecht: öde,\n,3:bad,\n1:?,0:,\n"))
	if want := (Source{File: "memory:train", SHA256: hex.EncodeToString(sum[:]), Rows: 3}); s.Source != want {
		t.Errorf("source %+v, want %+v", s.Source, want)
	}
	if !slices.Equal(s.Task.Metrics, []string{"accuracy", "macro_f1", "micro_f1", "weighted_f1"}) || s.Task.Primary != "accuracy" || !slices.Equal(s.Task.Columns, []string{"text"}) || s.Task.Pair() {
		t.Errorf("task %+v", s.Task)
	}
	if s.Examples[0].Row != 0 || s.Examples[1].Row != 1 || given[0].Row != 7 {
		t.Errorf("rows of %+v, given %+v", s.Examples, given)
	}
	pairs, err := NewSplit(Task{Name: "likeness"}, Validation, []Example{{Text: "a", Pair: "", HasPair: true, Label: -7.25}})
	if err != nil {
		t.Fatal(err)
	}
	sum = sha256.Sum256([]byte("1:a,0:,5:-7.25,\n"))
	if pairs.Source.SHA256 != hex.EncodeToString(sum[:]) || !pairs.Task.Pair() || pairs.Task.Primary != "pearson" || len(pairs.Task.Metrics) != 5 {
		t.Errorf("%+v of %+v", pairs.Source, pairs.Task)
	}
}

func TestNewSplitFaults(t *testing.T) {
	one := []Example{{Text: "a"}}
	for _, c := range []struct {
		task     Task
		name     string
		examples []Example
		want     string
	}{
		{Task{}, Train, one, "train split in memory: a task has no name; set Task.Name"},
		{Task{Name: "x", Labels: []string{"a"}}, Train, one, "task x has 1 classes; want two or more"},
		{Task{Name: "x", Labels: []string{"a", "b", "a"}}, Train, one, `task x: class 2 is called "a"`},
		{Task{Name: "x", Columns: make([]string, 3)}, Train, one, "task x has 3 text columns"},
		{Task{Name: "x", Primary: "f1"}, Train, one, `primary metric "f1" is not one of its metrics, pearson, spearman, mse, mae, r2`},
		{reviews, "dev", one, `unknown split "dev"; nearest: `},
		{reviews, Train, nil, "train split in memory: no examples"},
		{reviews, Train, []Example{one[0], {Label: 2}}, "example 1: label 2 is not a class; want bad, good (or its id, 0 to 1)"},
		{reviews, Train, []Example{{Label: 0.5}}, "example 0: label 0.5 is not a class"},
		{reviews, Train, []Example{one[0], {HasPair: true}}, "example 1: has two texts; those of reviews have one"},
		{reviews, Train, []Example{{HasPair: true}, one[0]}, "example 1: has one text; those of reviews have two"},
		{reviews, Train, []Example{{Text: "a", Pair: "b"}}, "example 0: has a second text without HasPair"},
		{reviews, Train, []Example{{Text: "caf\xe9"}}, "example 0: is not valid UTF-8"},
		{Task{Name: "likeness"}, Train, []Example{{Label: math.Inf(1)}}, "example 0: score +Inf is out of range; want a finite number"},
		{lookup(t, "stsb"), Train, []Example{{HasPair: true, Label: 6}}, "example 0: score 6 is out of range; want 0 to 5"},
	} {
		_, err := NewSplit(c.task, c.name, c.examples)
		wantError(t, err, c.want)
	}
}

// A task of one's own can be drawn from and replayed, from memory and from files.
func TestTaskOfOnesOwn(t *testing.T) {
	memory, err := NewSplit(reviews, Train, []Example{{Text: "a"}, {Text: "b", Label: 1}, {Text: "c"}})
	if err != nil {
		t.Fatal(err)
	}
	task := reviews
	task.Columns = []string{"review"}
	file, err := LoadFS(fstest.MapFS{"reviews/train.tsv": text("review\tlabel\na\tbad\nb\tgood\nc\t0\n")}, task, Train)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(file.Examples, memory.Examples, same) || file.Task.Primary != accuracy {
		t.Errorf("%+v from a file, %+v from memory", file, memory)
	}
	for _, whole := range []*Split{memory, file} {
		for _, opt := range []DrawOptions{{}, {Shots: 2, Seed: 5}, {PerClass: 1}} {
			drawn, m, err := whole.Sample(opt)
			if err != nil {
				t.Fatal(err)
			}
			sameSplit(t, m, whole, drawn)
		}
	}
	_, err = LoadFS(fstest.MapFS{"train.tsv": text("text\tlabel\na\t0\n")}, reviews, Train)
	wantError(t, err, "glue: task reviews names no text column; set Task.Columns")
	for _, err := range ReadInputs("", bytes.NewReader(nil), "rows.tsv", &reviews) {
		wantError(t, err, "rows.tsv: task reviews names no text column; set Task.Columns")
	}
	scores, err := NewSplit(Task{Name: "likeness"}, Train, []Example{{Text: "a", Label: 3}})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = scores.Sample(DrawOptions{PerClass: 1})
	wantError(t, err, "1 examples; want 2, for 1 of the lower half of the scores and as many of the upper")
}
