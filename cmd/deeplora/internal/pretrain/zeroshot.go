package pretrain

import (
	"context"
	"fmt"
	"math"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// ZeroShot is how well cosines of embeddings follow the scores of pairs, without any fine-tuning.
type ZeroShot struct {
	Task      string       `json:"task"`
	Split     string       `json:"split"`
	Examples  int          `json:"examples"`
	Pooling   string       `json:"pooling"`             // of the last states: mean, cls or max
	Sentences loop.Metrics `json:"sentence_embeddings"` // of pooled last states
	Words     loop.Metrics `json:"word_embeddings"`     // of averaged rows of the embedding table: a floor
}

// ZeroShot measures a regression task on pairs, as STS-B.
func (e *Embedder) ZeroShot(ctx context.Context, task data.Task, s *data.Split, progress func(done, total int)) (*ZeroShot, error) {
	if !task.Regression() {
		return nil, fmt.Errorf("task %s has classes; cosines are measured on scores, as stsb's", task.Name)
	}
	var texts []string
	for _, x := range s.Examples {
		texts = append(texts, x.Text, x.Pair)
	}
	z := &ZeroShot{Task: task.Name, Split: s.Name, Examples: len(s.Examples), Pooling: e.How.Pooling}
	sentences, err := e.Embed(ctx, texts, progress)
	if err != nil {
		return nil, err
	}
	if z.Sentences, err = train.Measure(task, cosines(sentences), s.Labels()); err != nil {
		return nil, err
	}
	words, err := e.words(texts)
	if err != nil {
		return nil, err
	}
	z.Words, err = train.Measure(task, cosines(words), s.Labels())
	return z, err
}

// words averages the rows of the table of word embeddings over each text's tokens, without special ones. Sums will
// do: a cosine does not see lengths.
func (e *Embedder) words(texts []string) ([][]float32, error) {
	table, err := e.model.Float32(e.model.Config.WordTable())
	if err != nil {
		return nil, err
	}
	h := e.Width()
	rows := make([][]float32, len(texts))
	for i, text := range texts {
		ids, err := e.encode(text)
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

// cosines are those of rows 0 and 1, 2 and 3, …, as logits.
func cosines(rows [][]float32) [][]float32 {
	out := make([][]float32, len(rows)/2)
	for i := range out {
		a, b := rows[2*i], rows[2*i+1]
		lengths := math.Sqrt(float64(cosine(a, a)) * float64(cosine(b, b)))
		out[i] = []float32{cosine(a, b) / float32(max(lengths, math.SmallestNonzeroFloat32))}
	}
	return out
}
