package model

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/parts"
)

// bertFamily is BERT (Devlin et al. 2019, arXiv:1810.04805), as Transformers has it.
var bertFamily = description{
	classes: map[string]string{"bert": "Bert"},
	prefix:  "bert.",
	defaults: Config{
		VocabSize: 30522, HiddenSize: 768, NumHiddenLayers: 12, NumAttentionHeads: 12, IntermediateSize: 3072,
		MaxPositionEmbeddings: 512, TypeVocabSize: 2, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02,
		HiddenDropout: 0.1, AttentionDropout: 0.1,
	},
	fields: jsonfile.Fates{
		{Name: "position_embedding_type", Only: []string{`"absolute"`}},
		{Name: "directionality", Harmless: "of Google's own program"},
		{Name: "pooler_fc_size", Harmless: "of Google's own program; Transformers has one pooler"},
		{Name: "pooler_num_attention_heads", Harmless: "as pooler_fc_size"},
		{Name: "pooler_num_fc_layers", Harmless: "as pooler_fc_size"},
		{Name: "pooler_size_per_head", Harmless: "as pooler_fc_size"},
		{Name: "pooler_type", Harmless: "as pooler_fc_size"},
	},
	own: func() family { return &bert{} },
}

// bert is the family of BERT. Others take from it what they have alike.
type bert struct{ common }

// Names of BERT's modules outside the layers.
const (
	wordEmbeddings     = "embeddings.word_embeddings"
	positionEmbeddings = "embeddings.position_embeddings"
	typeEmbeddings     = "embeddings.token_type_embeddings"
	embeddingsNorm     = "embeddings.LayerNorm"
	poolerDense        = "pooler.dense"
	classifier         = "classifier"
)

// layer names the modules of layer i.
func (bert) names(c *Config, i int) layerNames {
	at := c.base(fmt.Sprintf("encoder.layer.%d.", i))
	return layerNames{
		at: at, query: at + "attention.self.query", key: at + "attention.self.key", value: at + "attention.self.value",
		attentionOutput: at + "attention.output.dense", attentionNorm: at + "attention.output.LayerNorm",
		intermediate: at + "intermediate.dense", output: at + "output.dense", outputNorm: at + "output.LayerNorm",
	}
}

// modules are three tables and six kernels a layer, with the norms between them.
func (b bert) modules(c *Config) []module {
	return append(c.embeddings(c.HiddenSize, true), c.layers(b.names)...)
}

// head is the pooler, which is part of BERT itself, and the classifier.
func (bert) head(c *Config) []module {
	h := c.HiddenSize
	return []module{
		{name: c.base(poolerDense), in: h, out: h, part: parts.Other, entry: "pooler.dense"},
		{name: classifier, in: h, out: c.NumLabels(), entry: classifier},
	}
}

func (bert) embed(e *Encoder, in Inputs) *Node { return e.embeddings(in, e.HiddenSize, 0) }

// layer is one post-norm encoder layer.
func (b bert) layer(e *Encoder, i int, hidden *Node, at queries) *Node {
	return e.postNorm(b.names(e.Config, i), hidden, at, e.attention)
}

// pool is tanh(W·h + b) of each example's first token.
func (bert) pool(e *Encoder, state *Node) *Node {
	return Tanh(e.dense(e.pooler()[0].name, state, e.HiddenSize))
}
