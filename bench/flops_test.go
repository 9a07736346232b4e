package main

import (
	"testing"

	"github.com/deeplora/deeplora/internal/parts"
	"github.com/deeplora/deeplora/model"
)

// small is a model of two layers of 4, with inner layers of 8.
var small = model.Config{HiddenSize: 4, IntermediateSize: 8, NumHiddenLayers: 2}

// kernelsOf are its kernels; those in adapted have as many parameters.
func kernelsOf(adapted map[string]int) []kernel {
	kernels := []kernel{
		{Name: "bert.embeddings.word_embeddings", In: 100, Out: 4, Part: parts.Table},
		{Name: "bert.embeddings.position_embeddings", In: 16, Out: 4, Part: parts.Table},
	}
	for _, layer := range []string{"bert.encoder.layer.0.", "bert.encoder.layer.1."} {
		for _, k := range []struct{ name, part string }{
			{"attention.self.query", parts.Query}, {"attention.self.key", parts.Key}, {"attention.self.value", parts.Value}, {"attention.output.dense", parts.AttentionOutput},
		} {
			kernels = append(kernels, kernel{Name: layer + k.name, In: 4, Out: 4, Part: k.part})
		}
		kernels = append(kernels, kernel{Name: layer + "intermediate.dense", In: 4, Out: 8, Part: parts.FeedForward}, kernel{Name: layer + "output.dense", In: 8, Out: 4, Part: parts.FeedForward})
	}
	kernels = append(kernels, kernel{Name: "bert.pooler.dense", In: 4, Out: 4, Part: parts.Other})
	for i := range kernels {
		kernels[i].Parameters = adapted[kernels[i].Name]
	}
	return kernels
}

// Two sequences of 3 and 2 tokens, by hand. A kernel of 4 x 4 has 32 operations a row, one of 4 x 8 has 64.
//
// Forward: layer 0 has 5 rows of 4·32 + 2·64 = 256, 1280. Layer 1 has 5 rows of key and value, 320, and 2 rows of
// query, output and both inner kernels, 2·(2·32 + 2·64) = 384. The pooler has 2 rows, 64. Together 2048.
// Attention: layer 0 has 4·4·(9 + 4) = 208, layer 1 4·4·(3 + 2) = 80. Together 288.
func TestWorkAgainstAHandCount(t *testing.T) {
	const products, attention = 2048, 288
	const lowest = 5 * 3 * 32             // layer 0's query, key and value
	const keys = 2 * 4 * (9 + 4)          // the gradient of layer 0's keys
	const query = 3 * 2 * 5 * 8           // an adapter of 8 parameters on 5 rows, three times
	const words = 3 * 2 * 5 * (832 - 800) // one of 832 on the words, whose first factor, 100·8, is looked up
	query0, key0 := "bert.encoder.layer.0.attention.self.query", "bert.encoder.layer.0.attention.self.key"
	for _, c := range []struct {
		name     string
		adapted  map[string]int
		training bool
		want     float64
	}{
		{"forward", nil, false, products + attention},
		{"forward, merged", map[string]int{query0: 8}, false, products + attention},
		{"query", map[string]int{query0: 8}, true, 2*products - lowest + 3*attention - keys + query},
		{"key", map[string]int{key0: 8}, true, 2*products - lowest + 3*attention + query},
		{"words", map[string]int{"bert.embeddings.word_embeddings": 832}, true, 2*products + 3*attention + words},
		{"pooler", map[string]int{query0: 8, "bert.pooler.dense": 8}, true, 2*products - lowest + 3*attention - keys + query + 3*2*2*8},
	} {
		if got := work(&small, kernelsOf(c.adapted), []int{3, 2}, c.training); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
