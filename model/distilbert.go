package model

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/ml/layers/activation"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// distilbertFamily is DistilBERT (Sanh et al. 2019, arXiv:1910.01108): BERT's graph without token types, under names of its
// own, and a head outside the encoder.
var distilbertFamily = description{
	classes: map[string]string{"distilbert": "DistilBert"},
	prefix:  "distilbert.",
	defaults: Config{
		VocabSize: 30522, HiddenSize: 768, NumHiddenLayers: 6, NumAttentionHeads: 12, IntermediateSize: 3072,
		MaxPositionEmbeddings: 512, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02,
		HiddenDropout: 0.1, AttentionDropout: 0.1, ClassifierDropout: new(0.2),
	},
	names: map[string]string{
		"num_hidden_layers": "n_layers", "num_attention_heads": "n_heads", "hidden_size": "dim", "intermediate_size": "hidden_dim",
		"hidden_act": "activation", "hidden_dropout_prob": "dropout", "attention_probs_dropout_prob": "attention_dropout",
		"classifier_dropout": "seq_classif_dropout", "type_vocab_size": "", "layer_norm_eps": "",
	},
	aliases: []string{"hidden_size", "num_attention_heads", "num_hidden_layers"},
	fields: jsonfile.Fates{
		{Name: "n_layers", Honoured: true},
		{Name: "n_heads", Honoured: true},
		{Name: "dim", Honoured: true},
		{Name: "hidden_dim", Honoured: true},
		{Name: "activation", Honoured: true},
		{Name: "dropout", Honoured: true},
		{Name: "attention_dropout", Honoured: true},
		{Name: "seq_classif_dropout", Honoured: true},
		{Name: "sinusoidal_pos_embds", Harmless: "how positions are drawn; the files have them"},
		{Name: "qa_dropout", Harmless: "of the head that answers questions"},
	},
	untyped: true,
	own:     func() family { return &distilbert{} },
}

type distilbert struct{ bert }

func (distilbert) names(c *Config, i int) layerNames {
	at := c.base(fmt.Sprintf("transformer.layer.%d.", i))
	return layerNames{
		at: at, query: at + "attention.q_lin", key: at + "attention.k_lin", value: at + "attention.v_lin",
		attentionOutput: at + "attention.out_lin", attentionNorm: at + "sa_layer_norm",
		intermediate: at + "ffn.lin1", output: at + "ffn.lin2", outputNorm: at + "output_layer_norm",
		keepAttention: true,
	}
}

func (d distilbert) modules(c *Config) []module {
	return append(c.embeddings(c.HiddenSize, true), c.layers(d.names)...)
}

// head is a layer of its own in place of BERT's pooler. PEFT means both by classifier: it takes the end of a name for it.
func (distilbert) head(c *Config) []module {
	h := c.HiddenSize
	return []module{
		{name: "pre_classifier", in: h, out: h, entry: classifier},
		{name: classifier, in: h, out: c.NumLabels(), entry: classifier},
	}
}

func (d distilbert) layer(e *Encoder, i int, hidden *Node, at queries) *Node {
	return e.postNorm(d.names(e.Config, i), hidden, at, e.attention)
}

// pool is relu(W·h + b) of the first token's state.
func (distilbert) pool(e *Encoder, state *Node) *Node {
	return activation.Relu(e.linear(e.pooler()[0], state))
}
