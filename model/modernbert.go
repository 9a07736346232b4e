package model

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/parts"
)

// modernBERTFamily is ModernBERT (Warner et al. 2024, arXiv:2412.13663): norms before sums, rotary positions, gated
// feed-forward parts, and layers most of which see only a window around each token.
var modernBERTFamily = description{
	classes: map[string]string{"modernbert": "ModernBert"},
	prefix:  "model.",
	defaults: Config{
		VocabSize: 50368, HiddenSize: 768, NumHiddenLayers: 22, NumAttentionHeads: 12, IntermediateSize: 1152,
		MaxPositionEmbeddings: 8192, HiddenAct: "gelu", LayerNormEps: 1e-5, InitializerRange: 0.02, PadTokenID: 50283,
		ClassifierDropout: new(float64),
	},
	names: map[string]string{
		"hidden_act": "hidden_activation", "layer_norm_eps": "norm_eps", "type_vocab_size": "",
		"hidden_dropout_prob": "embedding_dropout", "attention_probs_dropout_prob": "attention_dropout",
	},
	fields: jsonfile.Fates{
		{Name: "hidden_activation", Honoured: true},
		{Name: "norm_eps", Honoured: true},
		{Name: "embedding_dropout", Honoured: true},
		{Name: "attention_dropout", Honoured: true},
		{Name: "mlp_dropout", Honoured: true},
		{Name: "norm_bias", Honoured: true},
		{Name: "attention_bias", Honoured: true},
		{Name: "mlp_bias", Honoured: true},
		{Name: "classifier_bias", Honoured: true},
		{Name: "classifier_activation", Honoured: true},
		{Name: "classifier_pooling", Honoured: true},
		{Name: "local_attention", Honoured: true},
		{Name: "layer_types", Honoured: true},
		{Name: "global_attn_every_n_layers", Honoured: true},
		{Name: "rope_parameters", Honoured: true},
		{Name: "global_rope_theta", Honoured: true},
		{Name: "local_rope_theta", Honoured: true},

		{Name: "rope_scaling", Only: []string{"null"}},
		{Name: "sliding_window", Only: []string{"null"}}, // it would change local_attention
		{Name: "head_dim", Only: []string{"null"}},

		{Name: "hidden_act", Harmless: "Transformers reads hidden_activation"},
		{Name: "layer_norm_eps", Harmless: "Transformers reads norm_eps; the authors' files have both"},
		{Name: "hidden_dropout_prob", Harmless: "Transformers reads the dropouts of the parts"},
		{Name: "attention_probs_dropout_prob", Harmless: "Transformers reads attention_dropout"},
		{Name: "position_embedding_type", Harmless: "of BERT; the authors' files have it"},
		{Name: "decoder_bias", Harmless: "of the masked language model"},
		{Name: "sparse_prediction", Harmless: "of the masked language model"},
		{Name: "sparse_pred_ignore_index", Harmless: "of the masked language model"},
		{Name: "initializer_cutoff_factor", Harmless: "how Transformers cuts off the weights that it draws; new heads are drawn as of every family"},
		{Name: "deterministic_flash_attn", Harmless: "which of equal programs computes attention"},
		{Name: "reference_compile", Harmless: "how Python is compiled"},
		{Name: "repad_logits_with_grad", Harmless: "where Transformers 4 puts the padding back"},
	},
	own: func() family {
		return &modernBERT{LocalAttention: 128, ClassifierPooling: poolCLS, ClassifierAct: "gelu"}
	},
}

type modernBERT struct {
	common
	NormBias       bool    `json:"norm_bias"`
	AttentionBias  bool    `json:"attention_bias"`
	MLPBias        bool    `json:"mlp_bias"`
	MLPDropout     float64 `json:"mlp_dropout"`
	LocalAttention int     `json:"local_attention"` // the window: half of it to either side

	ClassifierBias    bool    `json:"classifier_bias"`
	ClassifierAct     string  `json:"classifier_activation"`
	ClassifierPooling Pooling `json:"classifier_pooling"`

	// Which layers see all of a text, and the bases of their positions, as Transformers 5 writes it.
	LayerTypes []string         `json:"layer_types,omitempty"`
	Rope       map[string]*rope `json:"rope_parameters,omitempty"`
	// The same as Transformers 4 writes it; it is silent where the other says something.
	GlobalEvery *int     `json:"global_attn_every_n_layers,omitempty"` // nil: 3
	GlobalTheta *float64 `json:"global_rope_theta,omitempty"`          // nil: 160000
	LocalTheta  *float64 `json:"local_rope_theta,omitempty"`           // nil: 10000
}

// rope is how the layers of a kind turn positions.
type rope struct {
	Type    string   `json:"rope_type,omitempty"`
	OldType string   `json:"type,omitempty"` // its older name
	Theta   *float64 `json:"rope_theta,omitempty"`
}

// Kinds of layers.
const (
	fullAttention    = "full_attention"
	slidingAttention = "sliding_attention"
)

var modernBERTKinds = []string{fullAttention, slidingAttention}

// kind is that of layer i.
func (m *modernBERT) kind(i int) string {
	every := 3
	if m.GlobalEvery != nil {
		every = *m.GlobalEvery
	}
	switch {
	case m.LayerTypes != nil:
		return m.LayerTypes[i]
	case i%every == 0:
		return fullAttention
	default:
		return slidingAttention
	}
}

// theta is the base of a kind's positions, and what config.json calls it.
func (m *modernBERT) theta(kind string) (value float64, field string) {
	older, field, value := m.GlobalTheta, "global_rope_theta", 160000.0
	if kind == slidingAttention {
		older, field, value = m.LocalTheta, "local_rope_theta", 10000
	}
	switch r := m.Rope[kind]; {
	case r != nil && r.Theta != nil:
		return *r.Theta, "rope_parameters." + kind + ".rope_theta"
	case older != nil:
		return *older, field
	default:
		return value, field
	}
}

func (m *modernBERT) check(c *Config) (faults []error) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if size := c.headSize(); size%2 != 0 {
		fault("hidden_size %d over num_attention_heads %d is %d; want an even number, since positions turn pairs", c.HiddenSize, c.NumAttentionHeads, size)
	}
	if m.LocalAttention < 1 || m.LocalAttention > maxSize {
		fault("local_attention is %d; want 1 to %d", m.LocalAttention, maxSize)
	}
	if n := m.GlobalEvery; n != nil && *n < 1 {
		fault("global_attn_every_n_layers is %d; want at least 1", *n)
	}
	if m.LayerTypes != nil && len(m.LayerTypes) != c.NumHiddenLayers {
		fault("layer_types has %d entries; num_hidden_layers is %d", len(m.LayerTypes), c.NumHiddenLayers)
	}
	for i, kind := range m.LayerTypes {
		if !slices.Contains(modernBERTKinds, kind) {
			fault("layer_types has %q for layer %d; want full_attention or sliding_attention", kind, i)
		}
	}
	if m.MLPDropout < 0 || m.MLPDropout >= 1 {
		fault("mlp_dropout is %g; want 0 to below 1", m.MLPDropout)
	}
	if _, known := activations[m.ClassifierAct]; !known {
		fault("classifier_activation is %q; want one of %v", m.ClassifierAct, activationNames())
	}
	if p := m.ClassifierPooling; p != poolCLS && p != poolMean {
		fault("classifier_pooling is %q; want cls or mean", p)
	}
	return append(faults, m.checkRope(c)...)
}

// checkRope refuses positions that are turned in another way than by rope_type default.
func (m *modernBERT) checkRope(c *Config) (faults []error) {
	if raw, there := c.Raw["rope_parameters"]; there {
		if err := jsonfile.Decode(raw, new(map[string]*rope)); err != nil {
			faults = append(faults, fmt.Errorf("rope_parameters: %w", err))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(m.Rope)) {
		if !slices.Contains(modernBERTKinds, kind) {
			faults = append(faults, fmt.Errorf("rope_parameters has %q; want full_attention and sliding_attention", kind))
		}
		r := m.Rope[kind]
		if r == nil {
			continue
		}
		if t := cmp.Or(r.Type, r.OldType, "default"); t != "default" {
			faults = append(faults, fmt.Errorf("rope_parameters.%s.rope_type is %q, which is not supported; want default", kind, t))
		}
	}
	for _, kind := range modernBERTKinds {
		if theta, field := m.theta(kind); !(theta >= 1) {
			faults = append(faults, fmt.Errorf("%s is %g; want at least 1, as 10000", field, theta))
		}
	}
	if string(c.Raw["local_rope_theta"]) == "null" { // Transformers 4 took the global one for it, 5 takes none
		faults = append(faults, errors.New("local_rope_theta is null; want at least 1, as 10000"))
	}
	return faults
}

func (m *modernBERT) dropouts() []*float64 { return []*float64{&m.MLPDropout} }
func (m *modernBERT) pooling() Pooling     { return m.ClassifierPooling }

// Names of ModernBERT's modules outside the layers.
const (
	tokenEmbeddings = "embeddings.tok_embeddings"
	tokenNorm       = "embeddings.norm"
	finalNorm       = "final_norm"
	headDense       = "head.dense"
	headNorm        = "head.norm"
)

// at is the place of layer i.
func (*modernBERT) at(c *Config, i int) string { return c.base(fmt.Sprintf("layers.%d.", i)) }

// modules are a table and four kernels a layer, with the norms between them.
func (m *modernBERT) modules(c *Config) []module {
	h, inner := c.HiddenSize, c.IntermediateSize
	scale := func(name string) module { return module{name: name, kind: norm, out: h, bare: !m.NormBias} }
	list := []module{{name: c.base(tokenEmbeddings), kind: table, in: c.VocabSize, out: h, part: parts.Table}, scale(c.base(tokenNorm))}
	for i := range c.NumHiddenLayers {
		at := m.at(c, i)
		if i > 0 { // the embeddings have just been normalised
			list = append(list, scale(at+"attn_norm"))
		}
		list = append(list,
			module{name: at + "attn.Wqkv", in: h, out: 3 * h, part: parts.Fused, bare: !m.AttentionBias},
			module{name: at + "attn.Wo", in: h, out: h, part: parts.AttentionOutput, bare: !m.AttentionBias},
			scale(at+"mlp_norm"),
			module{name: at + "mlp.Wi", in: h, out: 2 * inner, part: parts.FeedForward, bare: !m.MLPBias},
			module{name: at + "mlp.Wo", in: inner, out: h, part: parts.FeedForward, bare: !m.MLPBias},
		)
	}
	return append(list, scale(c.base(finalNorm)))
}

// head is what the masked language model has too, and the layer of outputs.
func (m *modernBERT) head(c *Config) []module {
	h := c.HiddenSize
	return []module{
		{name: headDense, in: h, out: h, bare: !m.ClassifierBias, entry: "head"},
		{name: headNorm, kind: norm, out: h, bare: !m.NormBias, entry: "head"},
		{name: classifier, in: h, out: c.NumLabels(), entry: classifier},
	}
}

// embed is the words' rows, normalised: [batch, seq] -> [batch·seq, H].
func (m *modernBERT) embed(e *Encoder, in Inputs) *Node {
	ids, _ := in.tokens()
	x := e.lookup(e.base(tokenEmbeddings), e.VocabSize, e.HiddenSize, Reshape(ids, -1)) // [batch·seq, H]
	return e.Dropout.apply("embeddings", e.HiddenDropout, m.norm(e, e.base(tokenNorm), x), leadRows)
}

// view is what the layers of a kind make of positions.
type view struct {
	bias          *Node // [groups, 1, 1 or query, seq] added to the scores
	queries, keys turn
}

// relate makes the views of both kinds.
func (m *modernBERT) relate(e *Encoder, q queries) queries {
	distance := Abs(q.distances()) // [1 or groups, query, seq]
	near := LessOrEqual(distance, Scalar(distance.Graph(), distance.DType(), m.LocalAttention/2))
	local := Min(q.bias, attentionBias(near, q.bias.DType())) // no sum: two of the lowest numbers would be infinite
	views := map[string]view{}
	for _, kind := range modernBERTKinds {
		theta, _ := m.theta(kind)
		turns := turnsOf(q, e.places(q.bias.Shape().Dim(3)), e.headSize(), theta)
		bias := map[string]*Node{fullAttention: q.bias, slidingAttention: local}[kind]
		views[kind] = view{bias, turns(q.at()), turns(q.keys())}
	}
	q.own = views
	return q
}

// turn is by which angles tokens are turned: cosines and sines [1 or groups, tokens, 1, size/2].
type turn struct{ cos, sin *Node }

// turnsOf looks up the turns of places [1 or groups, tokens], which are below seq. The table is made here, the angles in float32 as PyTorch has
// them, so that it does not depend on how an engine computes cosines.
func turnsOf(q queries, seq, size int, theta float64) func(places *Node) turn {
	half := size / 2
	cos, sin := make([]float32, seq*half), make([]float32, seq*half)
	for j := range half {
		frequency := 1 / float32(math.Pow(theta, float64(float32(2*j)/float32(size))))
		for p := range seq {
			angle := float64(float32(p) * frequency)
			cos[p*half+j], sin[p*half+j] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
	}
	return func(places *Node) turn {
		look := func(values []float32) *Node {
			table := Const(places.Graph(), tensors.FromFlatDataAndDimensions(values, seq, half))
			return InsertAxes(ConvertDType(Gather(table, InsertAxes(places, -1)), q.bias.DType()), 2)
		}
		return turn{look(cos), look(sin)}
	}
}

// apply turns the pairs (j, j + size/2) of each head (Su et al. 2021, arXiv:2104.09864): [groups, tokens, heads, size].
func (t turn) apply(x *Node) *Node {
	half := x.Shape().Dim(-1) / 2
	a := SliceAxis(x, -1, AxisRange(0, half))
	b := SliceAxis(x, -1, AxisRange(half))
	return Concatenate([]*Node{Sub(Mul(a, t.cos), Mul(b, t.sin)), Add(Mul(b, t.cos), Mul(a, t.sin))}, -1)
}

// layer is one pre-norm encoder layer.
func (m *modernBERT) layer(e *Encoder, i int, hidden *Node, at queries) *Node {
	name := m.at(e.Config, i)
	x := hidden
	if i > 0 {
		x = m.norm(e, name+"attn_norm", hidden)
	}
	attended := m.attention(e, name+"attn", m.kind(i), x, at) // [queries, H]
	hidden = Add(at.take(hidden), e.Dropout.apply(name+"attn.Wo", e.AttentionDropout, attended, at.lead()))

	inner := e.IntermediateSize
	wide := e.Precision.kept(biased(e, name+"mlp.Wi", m.norm(e, name+"mlp_norm", hidden), 2*inner, m.MLPBias)) // [queries, 2·inner]
	gated := Mul(activations[e.HiddenAct](columns(wide, 0, inner)), columns(wide, inner, 2*inner))
	gated = e.Dropout.apply(name+"mlp", m.MLPDropout, gated, at.lead())
	return Add(hidden, biased(e, name+"mlp.Wo", gated, e.HiddenSize, m.MLPBias))
}

// attention is what the layers of a kind attend to: [batch·seq, H] -> [queries, H].
func (m *modernBERT) attention(e *Encoder, name, kind string, x *Node, at queries) *Node {
	h, sees := e.HiddenSize, at.own.(map[string]view)[kind]
	qkv := biased(e, name+".Wqkv", x, 3*h, m.AttentionBias) // [batch·seq, 3H]
	q := e.heads(at.take(columns(qkv, 0, h)), at.groups())
	k := at.see(e.heads(columns(qkv, h, 2*h), at.batch(qkv)))
	v := at.see(e.heads(columns(qkv, 2*h, 3*h), at.batch(qkv)))
	scores := Add(e.scaled(sees.queries.apply(q), sees.keys.apply(k)), sees.bias)
	return biased(e, name+".Wo", e.mix(name, scores, v, at), h, m.AttentionBias)
}

// finish is the norm that the last layer lacks.
func (m *modernBERT) finish(e *Encoder, hidden *Node) *Node {
	return m.norm(e, e.base(finalNorm), hidden)
}

// pool is norm(act(W·h)).
func (m *modernBERT) pool(e *Encoder, state *Node) *Node {
	x := e.linear(m.head(e.Config)[0], state)
	return m.norm(e, headNorm, activations[m.ClassifierAct](x))
}

func (m *modernBERT) norm(e *Encoder, name string, x *Node) *Node {
	if m.NormBias {
		return e.norm(name, x)
	}
	return e.scaleNorm(name, x)
}

// biased is x·K, and b where config.json asks for it.
func biased(e *Encoder, name string, x *Node, out int, bias bool) *Node {
	if bias {
		return e.dense(name, x, out)
	}
	return e.product(name, x, out)
}

// columns are some of a matrix: [rows, n] -> [rows, to-from].
func columns(x *Node, from, to int) *Node { return Slice(x, AxisRange(), AxisRange(from, to)) }
