package data

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"reflect"
	"testing"

	"github.com/gomlx/compute/dtypes"
)

// same compares examples, whose classes are lists.
func same(a, b Example) bool { return reflect.DeepEqual(a, b) }

var topics = Task{Name: "topics", Labels: []string{"sport", "money", "law"}, Multi: true}

func TestMultilabelSplit(t *testing.T) {
	s, err := NewSplit(topics, Train, []Example{
		{Text: "both", Classes: []int{2, 0}}, {Text: "none", Classes: []int{}}, {Text: "?", Label: math.NaN()}, {Text: "nil is none"},
	})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("4:both,14:5:sport,3:law,,\n4:none,3:0:,,\n1:?,0:,\n11:nil is none,3:0:,,\n"))
	if want := hex.EncodeToString(sum[:]); s.Source.SHA256 != want {
		t.Errorf("sha256 %s, want %s", s.Source.SHA256, want)
	}
	if got, want := fmt.Sprint(s.Labels()), "[1 0 1 0 0 0 NaN NaN NaN 0 0 0]"; got != want {
		t.Errorf("labels %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(s.Task.NumLabels(), s.Task.Metrics, s.Task.Primary), "3 [micro_f1 macro_f1 weighted_f1 subset_accuracy]micro_f1"; got != want {
		t.Errorf("task %s, want %s", got, want)
	}
	for _, c := range []struct {
		task Task
		e    Example
		want string
	}{
		{reviews, Example{Classes: []int{1}}, "example 0: has Classes; an example of reviews has one class"},
		{topics, Example{Classes: []int{3}}, "example 0: class 3 is not known; want 0 to 2 (sport, money, law)"},
		{topics, Example{Classes: []int{-1}}, "example 0: class -1 is not known"},
		{topics, Example{Classes: []int{1, 0, 1}}, "example 0: has class 1 (money) twice"},
		{topics, Example{Label: 1}, "example 0: has the Label 1; of a multilabel task want 0, and the classes in Classes"},
		{topics, Example{Label: math.NaN(), Classes: []int{1}}, "example 0: has Classes, and a Label of NaN"},
		{Task{Name: "x", Multi: true}, Example{}, "task x: examples may have several classes, and it has 0; set Labels to two or more"},
	} {
		_, err := NewSplit(c.task, Train, []Example{c.e})
		wantError(t, err, c.want)
	}
	_, err = topics.parseLabel("sport")
	wantError(t, err, "topics has several classes an example: its files are read by Task.WithColumns and LoadFiles")
}

// Batches carry a row of labels an example, packed or padded; fillers and examples without labels weigh nothing.
func TestMultilabelBatches(t *testing.T) {
	rows := []Encoded{{IDs: []int32{1, 2}}, {IDs: []int32{3}}, {IDs: []int32{4, 5, 6}}}
	nan := math.NaN()
	labels := []float64{1, 0, 1, nan, nan, nan, 0, 1, 0}
	padded, err := Assemble(rows, labels, []int{2, 0, 1}, 4, 8, 0)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := Packing{Length: 8, Rows: []int{1}, Examples: 4}.Assemble(rows, labels, []int{2, 0, 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []Batch{padded, packed} {
		if got, want := fmt.Sprint(b.Labels, b.Weights, b.Weight()), "[0 1 0 1 0 1 0 0 0 0 0 0] [1 1 0 0] 2"; got != want {
			t.Errorf("labels, weights and total %s, want %s", got, want)
		}
		for _, dtype := range []dtypes.DType{dtypes.Float32, dtypes.Float64} {
			args := b.Args(dtype)
			if got := fmt.Sprint(args[len(args)-2].Shape().Dimensions, args[len(args)-1].Shape().Dimensions); got != "[4 3] [4]" {
				t.Errorf("shapes of labels and weights %s, want [4 3] [4]", got)
			}
		}
	}
	if _, err := Assemble(rows, labels[:8], []int{0}, 4, 8, 0); err == nil {
		t.Error("8 labels were taken for 3 examples")
	}
}
