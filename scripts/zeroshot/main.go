// Command zeroshot measures encoders without any fine-tuning: the correlation of STS-B's scores with the cosine of
// mean-pooled sentence embeddings, and with that of averaged word embeddings.
//
//	go run ./scripts/zeroshot --data glue/STS-B builtin:tiny ./all-MiniLM-L6-v2
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"text/tabwriter"

	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/engine"
	"github.com/deeplora/deeplora/internal/pretrain"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

func main() {
	from := flag.String("data", train.BuiltinData, "folder of STS-B, or builtin")
	split := flag.String("split", data.Validation, "split to measure on")
	flag.Parse()
	models := flag.Args()
	if len(models) == 0 {
		models = []string{train.BuiltinModel}
	}
	if err := run(*from, *split, models); err != nil {
		fmt.Fprintln(os.Stderr, "zeroshot:", err)
		os.Exit(1)
	}
}

func run(from, split string, models []string) error {
	task, err := data.LookupTask("stsb")
	if err != nil {
		return err
	}
	s, err := train.LoadSplit(context.Background(), from, task, split, data.HubOptions{})
	if err != nil {
		return err
	}
	backend, err := open()
	if err != nil {
		return err
	}
	defer backend.Finalize()
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "model\tembedding\tpearson\tspearman (%d %s pairs)\n", len(s.Examples), split)
	for _, name := range models {
		for _, e := range []struct {
			kind  string
			embed func(ctx context.Context, b compute.Backend, name string, texts []string) ([][]float32, error)
		}{{"mean of last states", sentences}, {"mean of word embeddings", words}} {
			m, err := measure(s, task, func(texts []string) ([][]float32, error) {
				return e.embed(context.Background(), backend, name, texts)
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "%s\t%s\t%.4f\t%.4f\n", name, e.kind, m["pearson"], m["spearman"])
		}
	}
	return w.Flush()
}

// open opens XLA on the CPU.
func open() (compute.Backend, error) {
	xla.EnableAutoInstall(false)
	plugins, err := engine.Find(engine.CPU)
	if err != nil {
		return nil, err
	}
	p, ok := engine.First(plugins, engine.CPU)
	if !ok {
		return nil, errors.New("no XLA plugin is installed: deeplora engine install")
	}
	backend, _, err := engine.Open(p)
	return backend, err
}

// measure correlates the cosines of a split's pairs with their scores.
func measure(s *data.Split, task data.Task, embed func(texts []string) ([][]float32, error)) (train.Metrics, error) {
	var texts []string
	for _, e := range s.Examples {
		texts = append(texts, e.Text, e.Pair)
	}
	rows, err := embed(texts)
	if err != nil {
		return nil, err
	}
	cosines := make([][]float32, len(s.Examples))
	for i := range cosines {
		cosines[i] = []float32{cosine(rows[2*i], rows[2*i+1])}
	}
	return train.Measure(task, cosines, s.Labels())
}

func cosine(a, b []float32) float32 {
	var dot, aa, bb float64
	for i := range a {
		dot += float64(a[i]) * float64(b[i])
		aa += float64(a[i]) * float64(a[i])
		bb += float64(b[i]) * float64(b[i])
	}
	return float32(dot / math.Sqrt(max(aa*bb, math.SmallestNonzeroFloat64)))
}

func sentences(ctx context.Context, b compute.Backend, name string, texts []string) ([][]float32, error) {
	e, err := pretrain.OpenEmbedder(ctx, b, name, data.HubOptions{Offline: true})
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return e.Embed(ctx, texts, nil)
}

// words averages rows of the table of word embeddings, without special tokens.
func words(ctx context.Context, _ compute.Backend, name string, texts []string) ([][]float32, error) {
	files, _, err := train.OpenModel(ctx, name, data.HubOptions{Offline: true})
	if err != nil {
		return nil, err
	}
	c, err := model.Load(files, model.LoadOptions{Architecture: model.Encoder})
	if err != nil {
		return nil, err
	}
	tok, err := data.OpenTokenizerFS(files, ".")
	if err != nil {
		return nil, err
	}
	table, err := tensors.CopyFlatData[float32](c.Tensors[model.WordEmbeddings])
	if err != nil {
		return nil, err
	}
	h := c.Config.HiddenSize
	rows := make([][]float32, len(texts))
	for i, text := range texts {
		ids, err := tok.Encode(text)
		if err != nil {
			return nil, err
		}
		rows[i] = make([]float32, h)
		for _, id := range ids {
			for k, v := range table[int(id)*h : (int(id)+1)*h] {
				rows[i][k] += v
			}
		}
	}
	return rows, nil
}
