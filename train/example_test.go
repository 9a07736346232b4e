package train_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/export"
	"github.com/deeplora/deeplora/train/loop"
)

// encoder is a folder with config.json, model.safetensors and tokenizer.json.
const encoder = "../internal/builtin/tiny"

var reviews = data.Task{Name: "reviews", Columns: []string{"text"}, Labels: []string{"bad", "good"}}

var labelled = []data.Example{
	{Text: "A wonderful film, I loved every minute.", Label: 1},
	{Text: "Boring and far too long.", Label: 0},
	{Text: "The best acting I have seen in years.", Label: 1},
	{Text: "A terrible waste of time.", Label: 0},
	{Text: "Beautiful, funny and moving.", Label: 1},
	{Text: "The plot is awful and the jokes are bad.", Label: 0},
	{Text: "A great story, a joy to watch.", Label: 1},
	{Text: "I hated it and left before the end.", Label: 0},
}

// A whole program: train an adapter on texts in memory, predict, open the run again, export it.
func Example() {
	ctx := context.Background()
	backend, info, err := engine.Open(engine.Options{})
	check(err)
	defer backend.Finalize()
	dir, err := os.MkdirTemp("", "reviews-*")
	check(err)
	defer os.RemoveAll(dir)

	c := train.Default() // deep-compressed, rank 8, on attention and feed-forward kernels
	c.Model, c.Epochs, c.Batch = encoder, 20, 8
	examples, err := data.NewSplit(reviews, data.Train, labelled)
	check(err)
	held, err := data.NewSplit(reviews, data.Validation, labelled[:4])
	check(err)
	run := filepath.Join(dir, "run")
	result, err := train.Train(ctx, c, train.Options{
		Backend: backend, Out: run, Train: examples, Validation: held, Provenance: train.Provenance{Backend: info.Name},
		OnEvent: func(e loop.Event) {
			if s, ok := e.(loop.Step); ok && s.Step == s.Steps {
				fmt.Printf("%d steps, the loss is below 0.5: %v\n", s.Steps, s.Loss < 0.5)
			}
		},
	})
	check(err)
	fmt.Println("accuracy", result.Metrics["accuracy"])

	model, err := train.Open(ctx, run, backend, train.OpenOptions{})
	check(err)
	defer model.Close()
	predictions, err := model.Predict(ctx, []data.Example{{Text: "A wonderful story, I loved it."}, {Text: "Terrible and boring, I hated it."}})
	check(err)
	for _, p := range predictions {
		fmt.Println(p.Label, len(p.Probabilities))
	}
	_, err = export.Merged{Options: export.Options{Run: run, Out: filepath.Join(dir, "merged"), Backend: backend, Verify: true}}.Write(ctx)
	check(err)
	// Output:
	// 20 steps, the loss is below 0.5: true
	// accuracy 1
	// good 2
	// bad 2
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
