package model_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/model"
)

// miniModernBERT is a whole and sound checkpoint of a classifier: two layers of ModernBERT, four wide.
func miniModernBERT(t *testing.T) *files {
	t.Helper()
	f := &files{
		config: map[string]any{
			"model_type": "modernbert", "vocab_size": 7, "hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2,
			"intermediate_size": 6, "max_position_embeddings": 5, "pad_token_id": 0,
		},
		tensors: map[string]safetensors.Entry{},
		more:    map[string]string{},
	}
	text, err := json.Marshal(f.config)
	if err != nil {
		t.Fatal(err)
	}
	c, err := readConfig(string(text))
	if err != nil {
		t.Fatal(err)
	}
	f.fill(c.Specs())
	return f
}

// What a user sees of each value that cannot be honoured, by the family's own names.
func TestModernBERTConfigErrors(t *testing.T) {
	for fields, want := range map[string]string{
		`"hidden_activation": "mish"`:           `hidden_activation is "mish"; want one of [gelu `,
		`"norm_eps": 0`:                         `norm_eps is 0; want a positive number, as 1e-12`,
		`"norm_eps": "no"`:                      `norm_eps is of type string; want float64`,
		`"embedding_dropout": 1`:                `embedding_dropout is 1; want 0 to below 1`,
		`"attention_dropout": -1`:               `attention_dropout is -1; want 0 to below 1`,
		`"mlp_dropout": 1.5`:                    `mlp_dropout is 1.5; want 0 to below 1`,
		`"classifier_dropout": 1`:               `classifier_dropout is 1; want 0 to below 1`,
		`"classifier_activation": "mish"`:       `classifier_activation is "mish"; want one of [gelu `,
		`"classifier_pooling": "max"`:           `classifier_pooling is "max"; want cls or mean`,
		`"norm_bias": 1`:                        `norm_bias is of type number; want bool`,
		`"local_attention": 0`:                  `local_attention is 0; want 1 to 16777216`,
		`"global_attn_every_n_layers": 0`:       `global_attn_every_n_layers is 0; want at least 1`,
		`"global_rope_theta": 0`:                `global_rope_theta is 0; want at least 1, as 10000`,
		`"local_rope_theta": -1`:                `local_rope_theta is -1; want at least 1, as 10000`,
		`"local_rope_theta": null`:              `local_rope_theta is null; want at least 1, as 10000`,
		`"layer_types": ["full_attention"]`:     `layer_types has 1 entries; num_hidden_layers is 22`,
		`"layer_types": []`:                     `layer_types has 0 entries; num_hidden_layers is 22`,
		`"hidden_size": 36`:                     `hidden_size 36 over num_attention_heads 12 is 3; want an even number, since positions turn pairs`,
		`"head_dim": 32`:                        `head_dim is 32, which is not supported; want null`,
		`"sliding_window": 32`:                  `sliding_window is 32, which is not supported; want null`,
		`"rope_scaling": {"rope_type": "yarn"}`: `rope_scaling is {"rope_type":"yarn"}, which is not supported; want null`,
		`"num_hidden_layers": 1, "layer_types": ["chunked_attention"]`: `layer_types has "chunked_attention" for layer 0; want full_attention or sliding_attention`,
		`"rope_parameters": {"full_attention": {"rope_type": "yarn"}}`: `rope_parameters.full_attention.rope_type is "yarn", which is not supported; want default`,
		`"rope_parameters": {"sliding_attention": {"type": "linear"}}`: `rope_parameters.sliding_attention.rope_type is "linear", which is not supported; want default`,
		`"rope_parameters": {"full_attention": {"rope_theta": 0}}`:     `rope_parameters.full_attention.rope_theta is 0; want at least 1, as 10000`,
		`"rope_parameters": {"full_attention": {"rope_theta": "x"}}`:   `rope_parameters.rope_theta is of type string; want float64`,
		`"rope_parameters": {"full_attention": {"factor": 2}}`:         `rope_parameters: json: unknown field "factor"`,
		`"rope_parameters": {"other": {"rope_type": "default"}}`:       `rope_parameters has "other"; want full_attention and sliding_attention`,
		`"rope_parameters": {"rope_theta": 10000}`:                     `rope_parameters is of type number; want model.rope`,
	} {
		_, err := readConfig(`{"model_type": "modernbert", ` + fields + `}`)
		if err == nil || !strings.HasPrefix(err.Error(), "config.json: "+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got  %v\nwant %s", fields, err, want)
		}
	}
}

// The fields' defaults are Transformers', whichever of its versions wrote the file; BERT's names for them are not read.
func TestModernBERTConfig(t *testing.T) {
	for _, fields := range []string{
		``,
		`, "global_attn_every_n_layers": 3, "global_rope_theta": 160000, "local_rope_theta": 10000.0`,
		`, "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 160000.0}, "sliding_attention": null}, "layer_types": null`,
		`, "norm_eps": 1e-05, "layer_norm_eps": 1e-12, "hidden_act": "mish", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1`,
		`, "classifier_dropout": null, "classifier_pooling": null, "type_vocab_size": 2, "position_embedding_type": "absolute"`,
	} {
		c, err := readConfig(`{"model_type": "modernbert"` + fields + `}`)
		if err != nil {
			t.Fatal(err)
		}
		if p, common := c.CommonDropout(); p != 0 || !common || c.LayerNormEps != 1e-5 || c.HiddenAct != "gelu" || c.TypeVocabSize != 0 {
			t.Errorf("%s: %+v", fields, c)
		}
		if specs := c.Specs(); len(specs) != 6*22+6 || c.WordTable() != "model.embeddings.tok_embeddings.weight" {
			t.Errorf("%d tensors, the first %s", len(specs), c.WordTable())
		}
	}
	c, err := readConfig(`{"model_type": "modernbert", "mlp_dropout": 0.1}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, common := c.CommonDropout(); common {
		t.Error("mlp_dropout is no dropout")
	}
	c.SetDropout(0.2)
	if p, common := c.CommonDropout(); p != 0.2 || !common {
		t.Errorf("dropout %g, common %v", p, common)
	}
	if fresh, err := readConfig(`{"model_type": "modernbert"}`); err != nil || *fresh.ClassifierDropout != 0 {
		t.Errorf("one config's dropout is another's (%v)", err)
	}
}

// Files of a masked language model and of a bare encoder give a classifier all that Transformers takes from them.
func TestModernBERTFilesOfOtherModels(t *testing.T) {
	head := []string{"classifier.weight", "classifier.bias"}
	for _, tc := range []struct {
		name           string
		bend           func(f *files)
		fresh, ignored []string
	}{
		{"a classifier", func(*files) {}, nil, nil},
		{"a masked language model", func(f *files) {
			delete(f.tensors, head[0])
			delete(f.tensors, head[1])
			f.put("decoder.bias", draw("decoder.bias", 7), 7)
			f.put("decoder.weight", draw("decoder.weight", 7, 4), 7, 4)
		}, head, []string{"decoder.bias", "decoder.weight"}},
		{"an encoder", func(f *files) {
			for _, name := range slices.Sorted(maps.Keys(f.tensors)) {
				if short, ok := strings.CutPrefix(name, "model."); ok {
					f.rename(name, short)
				} else {
					delete(f.tensors, name)
				}
			}
		}, append([]string{"head.dense.weight", "head.norm.weight"}, head...), nil},
		{"a tagger", func(f *files) {
			f.config["architectures"] = []string{"ModernBertForTokenClassification"}
			f.put(head[0], draw("tags", 5, 4), 5, 4)
			f.put(head[1], draw("tags", 5), 5)
		}, head, []string{head[1], head[0]}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			whole, f := load(t, miniModernBERT(t), model.LoadOptions{}), miniModernBERT(t)
			tc.bend(f)
			c := load(t, f, model.LoadOptions{DrawHead: true})
			if !sameSet(c.Fresh, tc.fresh) || !sameSet(c.Ignored, tc.ignored) {
				t.Errorf("drawn %v, ignored %v", c.Fresh, c.Ignored)
			}
			for _, name := range c.Fresh {
				delete(whole.Tensors, name)
				delete(c.Tensors, name)
			}
			sameTensors(t, c, whole)
			base := load(t, f, model.LoadOptions{Architecture: model.Base})
			if len(base.Tensors) != 1+4*2+3+2 {
				t.Errorf("the encoder has %d tensors", len(base.Tensors))
			}
		})
	}
	f := miniModernBERT(t)
	delete(f.tensors, "head.norm.weight")
	if _, err := model.Load(f.fs(t), model.LoadOptions{DrawHead: true}); err == nil || !strings.Contains(err.Error(), `1 tensor is missing: "head.norm.weight"`) {
		t.Errorf("half a head: %v", err)
	}
	drawn := model.New(load(t, miniModernBERT(t), model.LoadOptions{}).Config, model.SequenceClassification, 1)
	if words := flat(t, drawn.Tensors[drawn.Config.WordTable()]); slices.Max(words[:4]) != 0 || slices.Max(words) == 0 {
		t.Errorf("words drawn as %v", words)
	}
}

func sameSet(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// A last layer that sees all of a text is, computed for first tokens alone, what it is for all of them. Of one that sees a
// window the golden logits say so.
func TestModernBERTFirst(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() == "xla" {
			t.Skip("the golden logits are of this, on every engine")
		}
		c, err := model.Load(os.DirFS("testdata/modernbert-long"), model.LoadOptions{DType: dtypes.Float64})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range layouts() {
			out := evaluate(t, b, c, l.batch, func(e *model.Encoder, in []*Node) []*Node {
				var rows []*Node
				hidden := e.Hidden(l.in(in))
				for _, at := range l.from {
					rows = append(rows, Slice(hidden, AxisRange(at, at+1), AxisRange()))
				}
				return []*Node{e.First(l.in(in)), Concatenate(rows, 0)}
			})
			near(t, l.name, out[0], out[1], 1e-12)
		}
	})
}

// Each probability of config.json drops something, and none does outside training; checkpoints of gradients change nothing.
func TestModernBERTDropout(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, field := range []string{"", "embedding_dropout", "attention_dropout", "mlp_dropout", "classifier_dropout"} {
			if b.Name() == "xla" && field != "mlp_dropout" {
				continue // compiles for long
			}
			f := miniModernBERT(t)
			if field != "" {
				f.config[field] = 0.5
			}
			c := load(t, f, model.LoadOptions{})
			g := &familyGolden{ids: []int32{1, 2, 3, 4, 5}, types: make([]int32, 5), mask: []int32{1, 1, 1, 1, 1}, rows: 1, length: 5}
			out := evaluate(t, b, c, g.padded(), func(e *model.Encoder, in []*Node) []*Node {
				still := e.Logits(inputsOf(in))
				e.GradientCheckpointing = true
				e.Dropout = &model.Dropout{Key: Const(in[0].Graph(), []uint32{1, 2})}
				return []*Node{still, e.Logits(inputsOf(in))}
			})
			if same := slices.Equal(out[0], out[1]); same != (field == "") {
				t.Errorf("%q: logits %v, in training %v", field, out[0], out[1])
			}
		}
	})
}
