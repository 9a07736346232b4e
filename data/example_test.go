package data_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/builtin"
)

// An embedded excerpt of STS-B stands in for a directory here: Load takes one, in the same layout.
func ExampleLoad() {
	stsb, err := data.LookupTask("stsb")
	if err != nil {
		log.Fatal(err)
	}
	split, err := data.LoadFS(builtin.Data(), stsb, data.Validation)
	if err != nil {
		log.Fatal(err)
	}
	e := split.Examples[0]
	fmt.Println(len(split.Examples), "pairs from", split.Source.File)
	fmt.Printf("%q\n%q\nscore %g\n", e.Text, e.Pair, e.Label)
	// Output:
	// 250 pairs from STS-B/validation.tsv
	// "A clown performs for brother and sister as the rest of the party watches."
	// "A blond-haired child performing on the trumpet in front of a house while his younger brother watches."
	// score 1.2
}

// A task of one's own, with examples that the program already has.
func ExampleNewSplit() {
	reviews := data.Task{Name: "reviews", Labels: []string{"bad", "good"}}
	split, err := data.NewSplit(reviews, data.Train, []data.Example{
		{Text: "a fine film", Label: 1},
		{Text: "two hours of nothing", Label: 0},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(split.Examples), "examples from", split.Source.File, "measured by", split.Task.Primary)

	_, err = data.NewSplit(reviews, data.Train, []data.Example{{Text: "a fine film", Label: 2}})
	fmt.Println(err)
	// Output:
	// 2 examples from memory:train measured by accuracy
	// train split in memory: example 0: label 2 is not a class; want bad, good (or its id, 0 to 1)
}

// A few-shot draw: the examples, and the manifest that gives them again.
func ExampleSplit_Sample() {
	stsb, err := data.LookupTask("stsb")
	if err != nil {
		log.Fatal(err)
	}
	whole, err := data.LoadFS(builtin.Data(), stsb, data.Train)
	if err != nil {
		log.Fatal(err)
	}
	shots, manifest, err := whole.Sample(data.DrawOptions{Shots: 4, Seed: 1})
	if err != nil {
		log.Fatal(err)
	}
	again, err := manifest.Replay(whole)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(manifest.Rule, manifest.Indices, len(shots.Examples), again.Examples[3].Row == shots.Examples[3].Row)
	// Output:
	// without-replacement [197 115 107 215] 4 true
}

// Two rows of different length and one filler, padded to the smallest bucket that holds them.
func ExampleAssemble() {
	rows := []data.Encoded{{IDs: []int32{101, 7592, 102}}, {IDs: []int32{101, 102}}}
	index := []int{1, 0}
	length := data.PadBucket.Length(data.Longest(rows, index), 128)
	batch, err := data.Assemble(rows, []float64{1, 0}, index, 3, length, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(batch.Rows, batch.Len, batch.Tokens)
	fmt.Println(batch.Mask[:4], batch.Mask[16:20], batch.Mask[32:36])
	fmt.Println(batch.Labels, batch.Weights, batch.Index)
	// Output:
	// 3 16 5
	// [1 1 0 0] [1 1 1 0] [1 0 0 0]
	// [0 1 0] [1 1 0] [1 0 -1]
}

func ExampleReadInputs() {
	rows := `{"text": "A plane is taking off.", "pair": "An air plane is taking off."}
{"input_ids": [101, 7592, 102]}
{"txt": "?"}`
	for in, err := range data.ReadInputs("", strings.NewReader(rows), "rows.jsonl", nil) {
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Printf("%d %q %v\n", in.Line, in.Example.Text, in.Encoded.IDs)
	}
	// Output:
	// 1 "A plane is taking off." []
	// 2 "" [101 7592 102]
	// rows.jsonl:3: unknown field "txt"; nearest: text (known: text pair input_ids token_type_ids attention_mask tokens)
}
