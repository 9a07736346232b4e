package model

import (
	"fmt"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// robertaFamily is RoBERTa (Liu et al. 2019, arXiv:1907.11692) with XLM-R and CamemBERT: BERT's graph, with positions that
// begin behind that of padding and a head outside the encoder.
var robertaFamily = description{
	classes: map[string]string{"roberta": "Roberta", "xlm-roberta": "XLMRoberta", "camembert": "Camembert"},
	prefix:  "roberta.",
	defaults: Config{
		VocabSize: 50265, HiddenSize: 768, NumHiddenLayers: 12, NumAttentionHeads: 12, IntermediateSize: 3072,
		MaxPositionEmbeddings: 512, TypeVocabSize: 2, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02,
		PadTokenID: 1, HiddenDropout: 0.1, AttentionDropout: 0.1,
	},
	words:   map[string]int{"xlm-roberta": 30522, "camembert": 30522},
	fields:  jsonfile.Fates{{Name: "position_embedding_type", Only: []string{`"absolute"`}}},
	untyped: true,
	unused:  []string{"pooler."},
	own:     func() family { return &roberta{} },
}

type roberta struct{ bert }

// positions are fewer than the table's rows: a text's first token has that behind the padding's.
func (roberta) positions(c *Config) int { return c.MaxPositionEmbeddings - c.offset() }

// offset is the row of a text's first position.
func (c *Config) offset() int { return int(c.PadTokenID) + 1 }

// head is a layer of its own in place of BERT's pooler, and the layer of outputs.
func (roberta) head(c *Config) []module { return denseHead(c) }

// denseHead is a head of two layers under the name classifier, as several families have it.
func denseHead(c *Config) []module {
	h := c.HiddenSize
	return []module{
		{name: "classifier.dense", in: h, out: h, entry: classifier},
		{name: "classifier.out_proj", in: h, out: c.NumLabels(), entry: classifier},
	}
}

func (roberta) embed(e *Encoder, in Inputs) *Node { return e.embeddings(in, e.HiddenSize, e.offset()) }

func (roberta) check(c *Config) []error {
	if most := c.Positions(); most < 1 {
		return []error{fmt.Errorf("max_position_embeddings is %d and pad_token_id %d; a text's positions begin behind the padding's", c.MaxPositionEmbeddings, c.PadTokenID)}
	}
	return nil
}

func (roberta) pool(e *Encoder, state *Node) *Node { return e.densePool(state, Tanh) }

// densePool is f(W·h + b) of the first token's state, of denseHead.
func (e *Encoder) densePool(state *Node, f func(*Node) *Node) *Node {
	x := e.Dropout.apply("pooler", e.classifierDropout(), state, leadExamples)
	return f(e.linear(e.pooler()[0], x))
}
