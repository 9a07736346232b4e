package main

import (
	"fmt"

	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
)

// tensors lists the 16L + 9 tensors of BertForSequenceClassification (formats.md 1.3), each made only
// when it is written: the word embeddings of BERT-base alone take 90 MB.
func (c *config) tensors(seed uint64) []safetensors.Entry {
	l := &list{c: c, seed: seed}
	const embeddings = "bert.embeddings."
	l.weight(embeddings+"word_embeddings.weight", c.Vocab, c.Hidden, c.PadID)
	l.weight(embeddings+"position_embeddings.weight", c.Positions, c.Hidden, noPad)
	l.weight(embeddings+"token_type_embeddings.weight", c.TokenTypes, c.Hidden, noPad)
	l.layerNorm(embeddings + "LayerNorm")
	for i := range c.Layers {
		layer := fmt.Sprintf("bert.encoder.layer.%d.", i)
		for _, name := range []string{"query", "key", "value"} {
			l.dense(layer+"attention.self."+name, c.Hidden, c.Hidden)
		}
		l.dense(layer+"attention.output.dense", c.Hidden, c.Hidden)
		l.layerNorm(layer + "attention.output.LayerNorm")
		l.dense(layer+"intermediate.dense", c.Intermediate, c.Hidden)
		l.dense(layer+"output.dense", c.Hidden, c.Intermediate)
		l.layerNorm(layer + "output.LayerNorm")
	}
	l.dense("bert.pooler.dense", c.Hidden, c.Hidden)
	l.dense("classifier", c.labels, c.Hidden)
	return l.entries
}

const noPad = -1

type list struct {
	c       *config
	seed    uint64
	entries []safetensors.Entry
}

// dense adds a PyTorch linear layer: weight [out, in], bias [out].
func (l *list) dense(name string, out, in int) {
	l.weight(name+".weight", out, in, noPad)
	l.constant(name+".bias", out, 0)
}

func (l *list) layerNorm(name string) {
	l.constant(name+".weight", l.c.Hidden, 1)
	l.constant(name+".bias", l.c.Hidden, 0)
}

// weight adds rows × cols draws from N(0, initializer_range²), with row pad zero. The stream is named
// after the tensor: it does not change with the number of layers.
func (l *list) weight(name string, rows, cols, pad int) {
	l.add(name, []int{rows, cols}, func() []float32 {
		stream := rng.New(l.seed, "bertbase", name)
		values := make([]float32, rows*cols)
		for i := range values {
			values[i] = float32(l.c.InitializerRange * stream.Normal())
		}
		if pad != noPad {
			clear(values[pad*cols : (pad+1)*cols])
		}
		return values
	})
}

func (l *list) constant(name string, n int, value float32) {
	l.add(name, []int{n}, func() []float32 {
		values := make([]float32, n)
		for i := range values {
			values[i] = value
		}
		return values
	})
}

func (l *list) add(name string, shape []int, values func() []float32) {
	l.entries = append(l.entries, safetensors.Entry{Name: name, Shape: shape, Data: safetensors.Lazy{
		DType: safetensors.DTypeF32,
		Make:  func() (any, error) { return values(), nil },
	}})
}
