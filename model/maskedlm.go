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
	return append(c.encoderSpecs(),
		Spec{predictionDense + ".weight", []int{h, h}, true, true}, Spec{predictionDense + ".bias", []int{h}, false, true},
		Spec{predictionNorm + ".weight", []int{h}, false, true}, Spec{predictionNorm + ".bias", []int{h}, false, true},
		Spec{predictionBias, []int{c.VocabSize}, false, true})
}

// TokenLogits scores every word of the vocabulary for each state: [rows, H] -> [rows, V]. It is the head of
// BertForMaskedLM: norm(act(x·W + b))·Eᵀ + bias, with E the word embeddings.
func (b *BERT) TokenLogits(states *Node) *Node {
	x := Dot(states, b.Weights(predictionDense+".weight")).Product()
	x = activations[b.HiddenAct](Add(x, row(b.Weights(predictionDense+".bias"))))
	x = b.norm(predictionNorm, x)                                         // [rows, H]
	logits := Einsum("rh,vh->rv", x, b.Weights(wordEmbeddings+".weight")) // [rows, V]
	return Add(logits, row(b.Weights(predictionBias)))
}
