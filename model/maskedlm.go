package model

import (
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Names of the masked-language-model head as BertForMaskedLM writes them. Its decoder is the table of word
// embeddings (tied), so that no file holds it twice.
const (
	predictionDense = "cls.predictions.transform.dense"
	predictionNorm  = "cls.predictions.transform.LayerNorm"
	predictionBias  = "cls.predictions.bias"
)

// predictionNames are the tensors of that head: present or absent together.
var predictionNames = []string{
	predictionDense + ".weight", predictionDense + ".bias", predictionNorm + ".weight", predictionNorm + ".bias", predictionBias,
}

// maskedLMSpecs lists the 16·layers + 12 tensors of a BertForMaskedLM checkpoint with a pooler.
func (c *Config) maskedLMSpecs() []Spec {
	h := c.HiddenSize
	head := []module{{name: predictionDense, in: h, out: h, entry: "cls"}, {name: predictionNorm, kind: norm, out: h, entry: "cls"}}
	return append(append(c.encoderSpecs(), specsOf(head)...), Spec{Name: predictionBias, Shape: []int{c.VocabSize}, Head: true})
}

// TokenLogits scores every word of the vocabulary for each state: [rows, H] -> [rows, V]. It is the head of
// BertForMaskedLM: norm(act(x·W + b))·Eᵀ + bias, with E the word embeddings.
func (e *Encoder) TokenLogits(states *Node) *Node {
	x := e.Precision.Product(states, e.Weights(predictionDense+".weight"))
	x = activations[e.HiddenAct](Add(x, row(e.Weights(predictionDense+".bias"))))
	x = e.norm(predictionNorm, x)                                                         // [rows, H]
	logits := e.Precision.einsum(equation{"rh", "vh", "rv"}, x, e.Weights(e.WordTable())) // [rows, V]
	return Add(logits, row(e.Weights(predictionBias)))
}
