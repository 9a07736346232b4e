package model

import (
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/ml/layers/activation"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/parts"
)

// electraFamily is ELECTRA (Clark et al. 2020, arXiv:2003.10555): BERT's graph over embeddings of a width of their own, and
// a head outside the encoder.
var electraFamily = description{
	classes: map[string]string{"electra": "Electra"},
	prefix:  "electra.",
	defaults: Config{
		VocabSize: 30522, HiddenSize: 256, NumHiddenLayers: 12, NumAttentionHeads: 4, IntermediateSize: 1024,
		MaxPositionEmbeddings: 512, TypeVocabSize: 2, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02,
		HiddenDropout: 0.1, AttentionDropout: 0.1,
	},
	fields: jsonfile.Fates{
		{Name: "embedding_size", Honoured: true},
		{Name: "position_embedding_type", Only: []string{`"absolute"`}},
		{Name: "summary_type", Harmless: "of the head that chooses among texts"},
		{Name: "summary_use_proj", Harmless: "as summary_type"},
		{Name: "summary_activation", Harmless: "as summary_type"},
		{Name: "summary_last_dropout", Harmless: "as summary_type"},
	},
	own: func() family { return &electra{EmbeddingSize: 128} },
}

type electra struct {
	bert
	EmbeddingSize int `json:"embedding_size"`
}

const embeddingsProject = "embeddings_project" // only where widths differ

func (f electra) modules(c *Config) []module {
	list := c.embeddings(f.EmbeddingSize, true)
	if f.EmbeddingSize != c.HiddenSize {
		list = append(list, c.widening(embeddingsProject, f.EmbeddingSize))
	}
	return append(list, c.layers(f.names)...)
}

// head is a layer of its own in place of BERT's pooler, and the layer of outputs.
func (electra) head(c *Config) []module { return denseHead(c) }

func (f electra) embed(e *Encoder, in Inputs) *Node {
	x := e.embeddings(in, f.EmbeddingSize, 0)
	if f.EmbeddingSize == e.HiddenSize {
		return x
	}
	return e.dense(e.base(embeddingsProject), x, e.HiddenSize)
}

// pool has gelu, whatever the activation of the layers.
func (electra) pool(e *Encoder, state *Node) *Node { return e.densePool(state, activation.Gelu) }

func (f electra) check(*Config) []error {
	return checkSizes(size{"embedding_size", f.EmbeddingSize, 1, maxSize})
}

// widening is the layer that makes embeddings as wide as the hidden states.
func (c *Config) widening(name string, width int) module {
	return module{name: c.base(name), in: width, out: c.HiddenSize, part: parts.Other}
}
