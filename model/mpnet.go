package model

import (
	"fmt"
	"math"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/parts"
)

// mpnetFamily is MPNet (Song et al. 2020, arXiv:2004.09297): BERT's graph without token types, with RoBERTa's positions and
// head, and scores that depend on how far apart two tokens stand, alike in all layers.
var mpnetFamily = description{
	classes: map[string]string{"mpnet": "MPNet"},
	prefix:  "mpnet.",
	defaults: Config{
		VocabSize: 30527, HiddenSize: 768, NumHiddenLayers: 12, NumAttentionHeads: 12, IntermediateSize: 3072,
		MaxPositionEmbeddings: 512, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02,
		PadTokenID: 1, HiddenDropout: 0.1, AttentionDropout: 0.1,
	},
	names:   map[string]string{"type_vocab_size": "", "classifier_dropout": ""},
	fields:  jsonfile.Fates{{Name: "relative_attention_num_buckets", Honoured: true}},
	untyped: true,
	unused:  []string{"pooler."},
	own:     func() family { return &mpnet{Buckets: mpnetBuckets} },
}

type mpnet struct {
	roberta
	Buckets int `json:"relative_attention_num_buckets"` // the rows of the table; those behind mpnetBuckets are never read
}

// mpnetBuckets are what distances are counted in by Transformers, whatever the config says.
const mpnetBuckets = 32

func (m mpnet) check(c *Config) []error {
	faults := append(m.roberta.check(c), checkSizes(size{"relative_attention_num_buckets", m.Buckets, mpnetBuckets, maxSize})...)
	if c.PadTokenID != 1 {
		faults = append(faults, fmt.Errorf("pad_token_id is %d; want 1: behind that MPNet's positions begin", c.PadTokenID))
	}
	return faults
}

func (mpnet) names(c *Config, i int) layerNames {
	at := c.base(fmt.Sprintf("encoder.layer.%d.", i))
	return layerNames{
		at: at, query: at + "attention.attn.q", key: at + "attention.attn.k", value: at + "attention.attn.v",
		attentionOutput: at + "attention.attn.o", attentionNorm: at + "attention.LayerNorm",
		intermediate: at + "intermediate.dense", output: at + "output.dense", outputNorm: at + "output.LayerNorm",
	}
}

const relativeBias = "encoder.relative_attention_bias"

func (m mpnet) modules(c *Config) []module {
	list := append(c.embeddings(c.HiddenSize, true), module{
		name: c.base(relativeBias), kind: table, in: m.Buckets, out: c.NumAttentionHeads, part: parts.Table,
	})
	return append(list, c.layers(m.names)...)
}

// relate adds to the bias of the scores what the table has for each head and distance.
func (m mpnet) relate(e *Encoder, q queries) queries {
	seq := e.places(q.bias.Shape().Dim(3))
	buckets := make([]int32, 2*seq-1) // of the distances -(seq-1) to seq-1
	for i := range buckets {
		buckets[i] = mpnetBucket(i - (seq - 1))
	}
	rows := e.lookup(e.base(relativeBias), m.Buckets, e.NumAttentionHeads, Const(q.bias.Graph(), buckets)) // [distances, heads]
	bias := Gather(rows, InsertAxes(AddScalar(q.distances(), seq-1), -1))                                  // [1 or groups, query, seq, heads]
	q.bias = Add(q.bias, TransposeAllAxes(bias, 0, 3, 1, 2))                                               // [groups, heads, query, seq]
	return q
}

// mpnetBucket is the row of the table for a key that stands so far behind its query: one for each distance up to 7, then
// wider ones up to 128, and all that twice, the second time for keys before it. It is T5's, with PyTorch's rounding.
func mpnetBucket(distance int) int32 {
	const half, exact, furthest = mpnetBuckets / 2, mpnetBuckets / 4, 128
	ahead := 0
	if distance < 0 {
		ahead, distance = half, -distance
	}
	if distance < exact {
		return int32(ahead + distance)
	}
	wide := float32(math.Log(float64(distance)/exact)) / float32(math.Log(furthest/exact)) * (half - exact)
	return int32(ahead + min(exact+int(wide), half-1))
}

func (m mpnet) layer(e *Encoder, i int, hidden *Node, at queries) *Node {
	return e.postNorm(m.names(e.Config, i), hidden, at, e.attention)
}
