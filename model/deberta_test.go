package model_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
)

// debertaModels are the ways of DeBERTa that the reference checkpoints, with all contents and distances, do not have.
var debertaModels = []string{"queries", "keys", "neither", "absolute"}

func debertaGolden(t *testing.T, name string) *familyGolden {
	return openFamily(t, filepath.Join("testdata", "deberta", name))
}

func TestDebertaWays(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() == "xla" && !testshared.Thorough() {
			t.Skip("compiles for long; the reference checkpoints have the same operations")
		}
		for _, name := range debertaModels {
			g := debertaGolden(t, name)
			for layout, batch := range g.layouts() {
				t.Run(name+"/"+layout, func(t *testing.T) { g.check(t, b, layout, batch, false) })
			}
		}
	})
}

// What the layers have in common, the table of distances, is no part of what gradient checkpointing computes again; its
// masks are.
func TestDebertaGradientCheckpointing(t *testing.T) {
	g := debertaGolden(t, "keys")
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() == "xla" && !testshared.Thorough() {
			t.Skip("compiles for long")
		}
		var runs [2][][]float64
		for i := range runs {
			key := tensors.FromFlatDataAndDimensions([]uint32{5, 6}, 2)
			runs[i] = evaluate(t, b, g.Checkpoint, append(g.padded(), key), func(e *model.Encoder, in []*Node) []*Node {
				e.GradientCheckpointing, e.Dropout = i == 1, &model.Dropout{Key: in[3]}
				loss := g.loss(e.Logits(inputsOf(in[:3])))
				var weights []*Node
				for _, spec := range g.Specs() {
					weights = append(weights, e.Weights(spec.Name))
				}
				return append([]*Node{Reshape(loss, 1)}, Gradient(loss, weights...)...)
			})
		}
		for i, name := range append([]string{"loss"}, specNames(g.Specs())...) {
			near(t, name, runs[1][i], runs[0][i], 1e-5)
		}
	})
}

func specNames(specs []model.Spec) (names []string) {
	for _, s := range specs {
		names = append(names, s.Name)
	}
	return names
}

// debertaFiles are a golden classifier to be bent.
func debertaFiles(t *testing.T, name string) *files {
	t.Helper()
	dir := filepath.Join("testdata", "deberta", name)
	f := &files{config: map[string]any{}, tensors: map[string]safetensors.Entry{}, more: map[string]string{}}
	for field, value := range debertaGolden(t, name).Config.Raw {
		f.config[field] = value
	}
	f.putAll(t, filepath.Join(dir, "model.safetensors"))
	return f
}

// An encoder is read from files of other models: its own, those of a masked language model, and Microsoft's, which hold two
// tables that no one has use for.
func TestDebertaFilesOfOtherModels(t *testing.T) {
	head := []string{"pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"}
	whole := load(t, debertaFiles(t, "queries"), model.LoadOptions{})
	for _, tc := range []struct {
		name    string
		bend    func(f *files)
		ignored []string
	}{
		{"the encoder alone", func(f *files) {
			for name := range f.tensors {
				f.rename(name, strings.TrimPrefix(name, "deberta."))
			}
		}, nil},
		{"masked words", func(f *files) {
			for _, name := range []string{"cls.predictions.bias", "lm_predictions.lm_head.bias", "mask_predictions.LayerNorm.bias"} {
				f.put(name, draw(name, 8), 8)
			}
		}, []string{"cls.predictions.bias", "lm_predictions.lm_head.bias", "mask_predictions.LayerNorm.bias"}},
		{"Microsoft's", func(f *files) {
			for _, name := range []string{"deberta.embeddings.position_embeddings.weight", "deberta.embeddings.word_embeddings._weight"} {
				f.put(name, draw(name, 20, 8), 20, 8)
			}
		}, []string{"deberta.embeddings.position_embeddings.weight", "deberta.embeddings.word_embeddings._weight"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := debertaFiles(t, "queries")
			for _, name := range head {
				delete(f.tensors, name)
			}
			tc.bend(f)
			c := load(t, f, model.LoadOptions{DrawHead: true})
			if !slices.Equal(c.Fresh, head) || !slices.Equal(c.Ignored, tc.ignored) {
				t.Errorf("drawn %v, ignored %v", c.Fresh, c.Ignored)
			}
			for _, name := range head {
				c.Tensors[name] = whole.Tensors[name]
			}
			sameTensors(t, c, whole)
		})
	}
	f := debertaFiles(t, "keys") // whose words have places added to them
	delete(f.tensors, "deberta.embeddings.position_embeddings.weight")
	if _, err := model.Load(f.fs(t), model.LoadOptions{}); err == nil || !strings.Contains(err.Error(), `"deberta.embeddings.position_embeddings.weight"`) {
		t.Errorf("without places: %v", err)
	}
}

func TestDebertaConfig(t *testing.T) {
	const is = "config.json: "
	for fields, want := range map[string]string{
		`"attention_head_size": 32`:           is + "attention_head_size is 32, which is not supported; want 64, as of hidden_size 1536 and num_attention_heads 24",
		`"pooler_hidden_size": 768`:           is + "pooler_hidden_size is 768, which is not supported; want 1536, as of hidden_size 1536 and num_attention_heads 24",
		`"embedding_size": 768`:               is + "embedding_size is 768, which is not supported; want 1536, as of hidden_size 1536 and num_attention_heads 24",
		`"conv_kernel_size": 3`:               is + "conv_kernel_size is 3, which is not supported; want null or 0",
		`"pooler_hidden_act": "mish"`:         is + `pooler_hidden_act is "mish"; want one of [gelu gelu_fast gelu_new gelu_python gelu_pytorch_tanh quick_gelu relu silu swish tanh]`,
		`"pooler_dropout": 1`:                 is + "pooler_dropout is 1; want 0 to below 1",
		`"cls_dropout": -1`:                   is + "cls_dropout is -1; want 0 to below 1",
		`"pos_att_type": "c2p|p2p"`:           is + `pos_att_type has "p2p"; want "c2p" and "p2c"`,
		`"pos_att_type": ["P2C"]`:             is + `pos_att_type has "P2C"; want "c2p" and "p2c"`,
		`"pos_att_type": 2`:                   is + `pos_att_type is 2; want a list of "c2p" and "p2c", or one text as "c2p|p2c"`,
		`"norm_rel_ebd": "rms_norm"`:          is + `norm_rel_ebd has "rms_norm"; want "layer_norm" or "none"`,
		`"position_buckets": 1`:               is + "position_buckets is 1; want none, or 2 to 1021 for distances up to 512",
		`"position_buckets": 1022`:            is + "position_buckets is 1022; want none, or 2 to 1021 for distances up to 512",
		`"max_relative_positions": 100000000`: is + "max_relative_positions is 100000000 and position_buckets 0; want at most 16777216",
		`"share_att_key": "yes"`:              is + "share_att_key is of type string; want bool",
		`"type_vocab_size": -1`:               is + "type_vocab_size is -1; want 0 to 16777216",
		`"hidden_size": 1537`:                 is + "hidden_size 1537 does not divide by num_attention_heads 24",
		`"relative_attention": {"a": true}`:   is + "relative_attention is of type object; want bool",
	} {
		if _, err := readConfig(`{"model_type": "deberta-v2", ` + fields + `}`); err == nil || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", fields, err, want)
		}
	}
	for _, fields := range []string{
		`"attention_head_size": 64, "pooler_hidden_size": 1536, "embedding_size": 1536, "conv_kernel_size": 0, "conv_act": "gelu"`,
		`"pos_att_type": null, "norm_rel_ebd": "None", "position_buckets": -1, "legacy": false, "cls_dropout": null`,
		`"pos_att_type": "none", "position_buckets": 1021, "max_relative_positions": 512`,
	} {
		if _, err := readConfig(`{"model_type": "deberta-v2", ` + fields + `}`); err != nil {
			t.Error(err)
		}
	}
	_, err := readConfig(`{"model_type": "deberta"}`) // the first version, with other tensors: no misspelling of the second
	if got := errText(err); !strings.HasPrefix(got, `config.json: model_type is "deberta", which is not supported`) || strings.Contains(got, "nearest") {
		t.Errorf("the first version: %v", err)
	}
	c, err := readConfig(`{"model_type": "deberta-v2"}`)
	if err != nil {
		t.Fatal(err)
	}
	if c.HiddenSize != 1536 || c.NumHiddenLayers != 24 || c.LayerNormEps != 1e-7 || c.VocabSize != 128100 || c.TypeVocabSize != 0 {
		t.Errorf("defaults: %+v", c)
	}
	if p, common := c.CommonDropout(); common { // pooler_dropout is 0
		t.Errorf("dropout of %g everywhere", p)
	}
	c.SetDropout(0.3)
	if p, common := c.CommonDropout(); !common || p != 0.3 {
		t.Errorf("dropout of %g everywhere (%v), want 0.3", p, common)
	}
}
