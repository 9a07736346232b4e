package model

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/parts"
)

// albertFamily is ALBERT (Lan et al. 2019, arXiv:1909.11942): BERT's graph over embeddings of a width of their own, with
// layers that share their kernels.
var albertFamily = description{
	classes: map[string]string{"albert": "Albert"},
	prefix:  "albert.",
	defaults: Config{
		VocabSize: 30000, HiddenSize: 4096, NumHiddenLayers: 12, NumAttentionHeads: 64, IntermediateSize: 16384,
		MaxPositionEmbeddings: 512, TypeVocabSize: 2, HiddenAct: "gelu_new", LayerNormEps: 1e-12, InitializerRange: 0.02,
		ClassifierDropout: new(0.1),
	},
	names: map[string]string{"classifier_dropout": "classifier_dropout_prob"},
	fields: jsonfile.Fates{
		{Name: "embedding_size", Honoured: true},
		{Name: "num_hidden_groups", Honoured: true},
		{Name: "classifier_dropout_prob", Honoured: true},
		{Name: "inner_group_num", Only: []string{"1"}},
		{Name: "position_embedding_type", Only: []string{`"absolute"`}},
		{Name: "net_structure_type", Harmless: "of Google's own program"},
		{Name: "down_scale_factor", Harmless: "of Google's own program"},
		{Name: "gap_size", Harmless: "of Google's own program"},
		{Name: "num_memory_blocks", Harmless: "of Google's own program"},
		{Name: "layers_to_keep", Harmless: "of Google's own program"},
	},
	own: func() family { return &albert{EmbeddingSize: 128, Groups: 1} },
}

type albert struct {
	bert
	EmbeddingSize int `json:"embedding_size"`
	Groups        int `json:"num_hidden_groups"` // of kernels: as many layers after one another share one
}

func (f albert) check(c *Config) []error {
	return checkSizes(size{"embedding_size", f.EmbeddingSize, 1, maxSize}, size{"num_hidden_groups", f.Groups, 1, c.NumHiddenLayers})
}

// group is the group of layer i, with Transformers' rounding where groups are not alike.
func (f albert) group(c *Config, i int) int {
	return int(float64(i) / (float64(c.NumHiddenLayers) / float64(f.Groups)))
}

// names are those of the layer's group, but for its masks.
func (f albert) names(c *Config, i int) layerNames {
	l := f.shared(c, f.group(c, i))
	l.at = c.base(fmt.Sprintf("encoder.layer.%d.", i))
	return l
}

// shared names the modules of a group.
func (albert) shared(c *Config, group int) layerNames {
	at := c.base(fmt.Sprintf("encoder.albert_layer_groups.%d.albert_layers.0.", group))
	return layerNames{
		query: at + "attention.query", key: at + "attention.key", value: at + "attention.value",
		attentionOutput: at + "attention.dense", attentionNorm: at + "attention.LayerNorm",
		intermediate: at + "ffn", output: at + "ffn_output", outputNorm: at + "full_layer_layer_norm",
		keepOutput: true,
	}
}

const (
	embeddingMapping = "encoder.embedding_hidden_mapping_in"
	albertPooler     = "pooler"
)

func (f albert) modules(c *Config) []module {
	list := append(c.embeddings(f.EmbeddingSize, true), c.widening(embeddingMapping, f.EmbeddingSize))
	for g := range f.Groups {
		list = append(list, f.shared(c, g).modules(c.HiddenSize, c.IntermediateSize)...)
	}
	return list
}

func (albert) head(c *Config) []module {
	h := c.HiddenSize
	return []module{
		{name: c.base(albertPooler), in: h, out: h, part: parts.Other, entry: albertPooler},
		{name: classifier, in: h, out: c.NumLabels(), entry: classifier},
	}
}

func (f albert) embed(e *Encoder, in Inputs) *Node {
	return e.dense(e.base(embeddingMapping), e.embeddings(in, f.EmbeddingSize, 0), e.HiddenSize)
}

func (f albert) layer(e *Encoder, i int, hidden *Node, at queries) *Node {
	return e.postNorm(f.names(e.Config, i), hidden, at, e.attention)
}
