package model

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/parts"
)

// debertaFamily is DeBERTa's second and third version (He et al. 2021, arXiv:2006.03654 and 2111.09543): BERT's layer, whose
// scores are also of contents with the distances between them.
var debertaFamily = description{
	classes: map[string]string{"deberta-v2": "DebertaV2"},
	prefix:  "deberta.",
	defaults: Config{
		VocabSize: 128100, HiddenSize: 1536, NumHiddenLayers: 24, NumAttentionHeads: 24, IntermediateSize: 6144,
		MaxPositionEmbeddings: 512, TypeVocabSize: 0, HiddenAct: "gelu", LayerNormEps: 1e-7, InitializerRange: 0.02,
		HiddenDropout: 0.1, AttentionDropout: 0.1,
	},
	names: map[string]string{"classifier_dropout": "cls_dropout"},
	fields: jsonfile.Fates{
		{Name: "cls_dropout", Honoured: true},
		{Name: "relative_attention", Honoured: true},
		{Name: "max_relative_positions", Honoured: true},
		{Name: "position_buckets", Honoured: true},
		{Name: "position_biased_input", Honoured: true},
		{Name: "pos_att_type", Honoured: true},
		{Name: "share_att_key", Honoured: true},
		{Name: "norm_rel_ebd", Honoured: true},
		{Name: "pooler_hidden_act", Honoured: true},
		{Name: "pooler_dropout", Honoured: true},
		{Name: "pooler_hidden_size", Honoured: true},
		{Name: "attention_head_size", Honoured: true},
		{Name: "embedding_size", Honoured: true},
		{Name: "conv_kernel_size", Only: []string{"null", "0"}},
		{Name: "conv_act", Harmless: "of the convolution, of which there is none"},
		{Name: "conv_groups", Harmless: "of the convolution, of which there is none"},
		{Name: "legacy", Harmless: "of the head of a masked language model"},
	},
	// The first two lie in Microsoft's files of models that add no places to their words.
	unused: []string{"embeddings.position_embeddings.", "embeddings.word_embeddings._weight"},
	own:    func() family { return &deberta{MaxDistance: -1, Biased: true, PoolerAct: "gelu"} },
}

// deberta is what config.json says of disentangled attention and of the pooler.
type deberta struct {
	bert
	Relative    bool    `json:"relative_attention"`
	MaxDistance int     `json:"max_relative_positions"` // less than 1: max_position_embeddings
	Buckets     int     `json:"position_buckets,omitempty"`
	Kinds       kinds   `json:"pos_att_type"`
	Shared      bool    `json:"share_att_key"`         // distances go through the kernels of contents
	NormOf      string  `json:"norm_rel_ebd"`          // "layer_norm" or "none"
	Biased      bool    `json:"position_biased_input"` // places are added to words
	PoolerAct   string  `json:"pooler_hidden_act"`
	PoolerDrop  float64 `json:"pooler_dropout"`
	PoolerSize  int     `json:"pooler_hidden_size,omitempty"`
	HeadSize    int     `json:"attention_head_size,omitempty"`
	Embedding   int     `json:"embedding_size,omitempty"`
}

// kinds are the contents that meet distances: those of queries (c2p), those of keys (p2c), or both. In a file they are a
// list, or one text.
type kinds []string

const (
	c2p = "c2p"
	p2c = "p2c"
)

func (k *kinds) UnmarshalJSON(text []byte) error {
	var one string
	if json.Unmarshal(text, &one) == nil && string(text) != "null" {
		*k = alternatives(one)
		return nil
	}
	var list []string
	if err := json.Unmarshal(text, &list); err != nil {
		return fmt.Errorf("pos_att_type is %.40s; want a list of %q and %q, or one text as \"c2p|p2c\"", text, c2p, p2c)
	}
	*k = list
	return nil
}

// alternatives are the words of a text, without "none".
func alternatives(text string) (words []string) {
	for word := range strings.SplitSeq(strings.ToLower(text), "|") {
		if word = strings.TrimSpace(word); word != "" && word != "none" {
			words = append(words, word)
		}
	}
	return words
}

func (d *deberta) has(kind string) bool { return slices.Contains(d.Kinds, kind) }

func (d *deberta) normed() bool { return slices.Contains(alternatives(d.NormOf), layerNorm) }

// span is how many rows of the table of distances are for keys behind a query; as many are for the others.
func (d *deberta) span(c *Config) int {
	if d.Buckets > 0 {
		return d.Buckets
	}
	return d.farthest(c)
}

func (d *deberta) farthest(c *Config) int {
	if d.MaxDistance > 0 {
		return d.MaxDistance
	}
	return c.MaxPositionEmbeddings
}

func (d *deberta) check(c *Config) (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	for _, size := range []struct {
		field      string
		value, one int
	}{{"attention_head_size", d.HeadSize, c.headSize()}, {"pooler_hidden_size", d.PoolerSize, c.HiddenSize}, {"embedding_size", d.Embedding, c.HiddenSize}} {
		if size.value != 0 && size.value != size.one {
			fault("%s is %d, which is not supported; want %d, as of hidden_size %d and num_attention_heads %d", size.field, size.value, size.one, c.HiddenSize, c.NumAttentionHeads)
		}
	}
	if _, known := activations[d.PoolerAct]; !known {
		fault("pooler_hidden_act is %q; want one of %v", d.PoolerAct, activationNames())
	}
	if d.PoolerDrop < 0 || d.PoolerDrop >= 1 {
		fault("pooler_dropout is %g; want 0 to below 1", d.PoolerDrop)
	}
	for _, kind := range d.Kinds {
		if kind != c2p && kind != p2c {
			fault("pos_att_type has %q; want %q and %q", kind, c2p, p2c)
		}
	}
	for _, kind := range alternatives(d.NormOf) {
		if kind != layerNorm {
			fault("norm_rel_ebd has %q; want %q or \"none\"", kind, layerNorm)
		}
	}
	if d.MaxDistance > maxSize || d.Buckets > maxSize {
		fault("max_relative_positions is %d and position_buckets %d; want at most %d", d.MaxDistance, d.Buckets, maxSize)
	}
	if far := d.farthest(c); d.Buckets > 0 && (d.Buckets == 1 || far-1 <= d.Buckets/2) {
		fault("position_buckets is %d; want none, or 2 to %d for distances up to %d", d.Buckets, 2*far-3, far)
	}
	return faults
}

const layerNorm = "layer_norm"

// Names of DeBERTa's modules besides BERT's.
const (
	distances     = "encoder.rel_embeddings"
	distancesNorm = "encoder.LayerNorm"
)

// names are BERT's, of the modules of layer i, but for those of attention.
func (d *deberta) names(c *Config, i int) layerNames {
	l := d.bert.names(c, i)
	self := l.at + "attention.self."
	l.query, l.key, l.value = self+"query_proj", self+"key_proj", self+"value_proj"
	return l
}

// distanceKernels are the kernels of a layer that distances go through: to meet queries, and to meet keys.
func (d *deberta) distanceKernels(l layerNames) map[string]string {
	if d.Shared {
		return map[string]string{c2p: l.key, p2c: l.query}
	}
	self := l.at + "attention.self."
	return map[string]string{c2p: self + "pos_key_proj", p2c: self + "pos_query_proj"}
}

func (d *deberta) modules(c *Config) []module {
	h := c.HiddenSize
	list := c.embeddings(h, d.Biased)
	if d.Relative {
		list = append(list, module{name: c.base(distances), kind: plain, in: 2 * d.span(c), out: h})
	}
	if d.normed() {
		list = append(list, module{name: c.base(distancesNorm), kind: norm, out: h})
	}
	for i := range c.NumHiddenLayers {
		l := d.names(c, i)
		for _, kind := range []string{c2p, p2c} {
			if d.Relative && !d.Shared && d.has(kind) {
				list = append(list, module{name: d.distanceKernels(l)[kind], in: h, out: h, part: parts.Other})
			}
		}
		list = append(list, l.modules(h, c.IntermediateSize)...)
	}
	return list
}

// head is a pooler outside the encoder, and the classifier.
func (d *deberta) head(c *Config) []module {
	h := c.HiddenSize
	return []module{
		{name: poolerDense, in: h, out: h, entry: "pooler"},
		{name: classifier, in: h, out: c.NumLabels(), entry: classifier},
	}
}

func (d *deberta) dropouts() []*float64 { return []*float64{&d.PoolerDrop} }

// embed is BERT's, of a model that may have neither places nor token types.
func (d *deberta) embed(e *Encoder, in Inputs) *Node {
	x := e.words(in, e.HiddenSize)
	if d.Biased {
		x = e.placed(x, in.positions())
	}
	return e.Dropout.apply("embeddings", e.HiddenDropout, e.norm(e.base(embeddingsNorm), x), leadRows)
}

// between is what the layers need of the distances between queries and keys.
type between struct {
	table           *Node // [rows, H], of all distances that there can be in rows of n tokens
	falling, rising *Node // [2n] its rows of the distances n-1 to -n, and -(n-1) to n
	rows            *Node // [groups, query, key] its rows of the distances of chosen queries; nil: those of all tokens are of their places in the row
}

func (d *deberta) relate(e *Encoder, q queries) queries {
	if !d.Relative || len(d.Kinds) == 0 {
		return q
	}
	table, n := e.Weights(e.base(distances)+".weight"), q.bias.Shape().Dim(3)
	most := e.places(n)
	if d.normed() {
		table = e.norm(e.base(distancesNorm), table)
	}
	low := d.row(e.Config, -most)
	b := between{table: Slice(table, AxisRange(low, d.row(e.Config, most)+1))}
	falling, rising := make([]int32, 2*most), make([]int32, 2*most)
	for i := range falling {
		falling[i], rising[i] = int32(d.row(e.Config, most-1-i)-low), int32(d.row(e.Config, i-most+1)-low)
	}
	own := AxisRange(most-n, most+n)
	b.falling, b.rising = Slice(Const(table.Graph(), falling), own), Slice(Const(table.Graph(), rising), own)
	if q.tokens != nil {
		rows := Gather(b.rising, InsertAxes(AddScalar(q.distances(), n-1), -1)) // [1 or groups, query, key]
		b.rows = BroadcastToDims(rows, q.groups(), rows.Shape().Dim(1), n)
	}
	q.own = b
	return q
}

// row is the table's row of a distance: far ones share rows, the more of them the farther (make_log_bucket_position).
func (d *deberta) row(c *Config, distance int) int {
	span, middle := d.span(c), d.Buckets/2
	size := max(distance, -distance)
	if d.Buckets > 0 && size > middle { // in the arithmetic of PyTorch, whose sums these rows are trained with
		log := func(x float64) float32 { return float32(math.Log(float64(float32(x)))) }
		far := log(float64(size)/float64(middle)) / log(float64(d.farthest(c)-1)/float64(middle))
		size = middle + int(math.Ceil(float64(far*float32(middle-1))))
	}
	if distance < 0 {
		size = -size
	}
	return min(max(span+size, 0), 2*span-1)
}

func (d *deberta) layer(e *Encoder, i int, hidden *Node, at queries) *Node {
	return e.postNorm(d.names(e.Config, i), hidden, at, func(l layerNames, x, hidden *Node, at queries) *Node {
		return e.attend(l, x, hidden, at, func(q, k *Node) *Node { return d.scores(e, l, q, k, at) })
	})
}

// scores are (q·kᵀ + q·pᵀ + k·p'ᵀ)/√(size·terms), with p and p' what the kernels make of the distance between the two.
func (d *deberta) scores(e *Encoder, l layerNames, q, k *Node, at queries) *Node {
	sum, terms, kernels := e.scores(q, k), 1, d.distanceKernels(l)
	b, related := at.own.(between)
	if related {
		b.table = e.Dropout.apply(l.at+"attention.self.distances", e.HiddenDropout, b.table, leadNone)
	}
	through := func(kernel string) *Node {
		return Reshape(e.dense(kernel, b.table, e.HiddenSize), -1, e.NumAttentionHeads, e.headSize())
	}
	for _, kind := range []string{c2p, p2c} {
		if !d.has(kind) {
			continue
		}
		terms++
		switch {
		case !related:
		case kind == c2p:
			sum = Add(sum, b.ofQueries(q, through(kernels[c2p])))
		default:
			sum = Add(sum, b.ofKeys(k, through(kernels[p2c])))
		}
	}
	return MulScalar(sum, 1/math.Sqrt(float64(terms*e.headSize())))
}

// ofQueries is q·pᵀ: q [group, query, heads, size], p [rows, heads, size] -> [group, heads, query, key].
func (b between) ofQueries(q, p *Node) *Node {
	if b.rows != nil {
		return Einsum("bqhd,bqkhd->bhqk", q, Gather(p, InsertAxes(b.rows, -1)))
	}
	return diagonals(Einsum("bqhd,rhd->bhqr", q, Gather(p, InsertAxes(b.falling, -1))))
}

// ofKeys is k·pᵀ: k [group, key, heads, size], p [rows, heads, size] -> [group, heads, query, key].
func (b between) ofKeys(k, p *Node) *Node {
	if b.rows != nil {
		return Einsum("bkhd,bqkhd->bhqk", k, Gather(p, InsertAxes(b.rows, -1)))
	}
	x := diagonals(Einsum("bkhd,rhd->bhkr", k, Gather(p, InsertAxes(b.rising, -1)))) // [group, heads, key, query]
	return TransposeAllAxes(x, 0, 1, 3, 2)
}

// diagonals takes y[i, j] = x[i, n-1-i+j]: x [group, heads, n, 2n] -> [group, heads, n, n]. What stands in a row of 2n
// numbers stands one further left in each next row of 2n-1. It makes a layer of base size, 16x128, forward and back, 12%
// dearer on XLA's CPU; a gather made it 16%, a product with one-hot rows 30%.
func diagonals(x *Node) *Node {
	groups, heads, n := x.Shape().Dim(0), x.Shape().Dim(1), x.Shape().Dim(2)
	x = Reshape(x, groups, heads, -1)
	x = Slice(x, AxisRange(), AxisRange(), AxisRange(n-1, n-1+n*(2*n-1)))
	return Slice(Reshape(x, groups, heads, n, 2*n-1), AxisRange(), AxisRange(), AxisRange(), AxisRange(0, n))
}

// pool is act(W·h + b) of each example's first token.
func (d *deberta) pool(e *Encoder, state *Node) *Node {
	x := e.Dropout.apply("pooler", d.PoolerDrop, state, leadExamples)
	return activations[d.PoolerAct](e.linear(e.pooler()[0], x))
}
