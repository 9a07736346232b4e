package model_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/model"
)

// miniFamily is a small checkpoint of a family's classifier, as miniBERT.
func miniFamily(modelType string) *files {
	config := map[string]any{
		"model_type": modelType, "vocab_size": 7, "hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2,
		"intermediate_size": 6, "max_position_embeddings": 5, "id2label": map[string]string{"0": "no", "1": "yes"},
	}
	switch modelType {
	case "distilbert":
		config = map[string]any{
			"model_type": modelType, "vocab_size": 7, "dim": 4, "n_layers": 2, "n_heads": 2, "hidden_dim": 6,
			"max_position_embeddings": 5, "id2label": map[string]string{"0": "no", "1": "yes"},
		}
	case "electra", "albert":
		config["embedding_size"] = 3
	}
	return mini(config)
}

// Checkpoints of a family's other models, with and without its prefix, give their encoder: what is drawn are whole layers of
// the head, and what is left over is reported.
func TestFamiliesOfOtherModels(t *testing.T) {
	denseHead := []string{"classifier.dense.weight", "classifier.dense.bias", "classifier.out_proj.weight", "classifier.out_proj.bias"}
	preClassifier := []string{"pre_classifier.weight", "pre_classifier.bias", "classifier.weight", "classifier.bias"}
	albertPooler := []string{"albert.pooler.weight", "albert.pooler.bias", "classifier.weight", "classifier.bias"}
	for _, tc := range []struct {
		name, modelType string
		fresh           []string
		heads           []string // of the other model
		bare            bool     // as AutoModel saves the encoder
	}{
		{"DistilBertForMaskedLM", "distilbert", preClassifier, []string{"vocab_layer_norm.bias", "vocab_projector.weight", "vocab_transform.weight"}, false},
		{"DistilBertForQuestionAnswering", "distilbert", preClassifier, []string{"qa_outputs.weight"}, false},
		{"DistilBertModel", "distilbert", preClassifier, nil, true},
		{"ElectraForPreTraining", "electra", denseHead, []string{"discriminator_predictions.dense.weight", "discriminator_predictions.dense_prediction.bias"}, false},
		{"ElectraForMaskedLM", "electra", denseHead, []string{"generator_lm_head.bias", "generator_predictions.LayerNorm.weight"}, false},
		{"ElectraModel", "electra", denseHead, nil, true},
		{"MPNetForMaskedLM", "mpnet", denseHead, []string{"lm_head.bias", "lm_head.dense.weight", "mpnet.pooler.dense.weight"}, false},
		{"MPNetModel", "mpnet", denseHead, []string{"pooler.dense.bias", "pooler.dense.weight"}, true},
		{"AlbertForPreTraining", "albert", albertPooler[2:], []string{"predictions.LayerNorm.bias", "predictions.bias", "sop_classifier.classifier.weight"}, false},
		{"AlbertForMaskedLM", "albert", albertPooler, []string{"predictions.decoder.weight"}, false},
		{"AlbertModel", "albert", albertPooler[2:], nil, true},
		{"RobertaForMaskedLM", "roberta", denseHead, []string{"lm_head.dense.weight", "roberta.pooler.dense.weight"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := miniFamily(tc.modelType)
			whole := load(t, f, model.LoadOptions{})
			for _, name := range tc.fresh {
				delete(f.tensors, name)
			}
			if tc.bare {
				f.bare()
			}
			for _, name := range tc.heads {
				f.put(name, draw(name, 3), 3)
			}
			c := load(t, f, model.LoadOptions{DrawHead: true})
			if !slices.Equal(c.Fresh, tc.fresh) || !slices.Equal(c.Ignored, tc.heads) {
				t.Errorf("drawn %v, want %v; ignored %v, want %v", c.Fresh, tc.fresh, c.Ignored, tc.heads)
			}
			for name, x := range whole.Tensors {
				if y := c.Tensors[name]; y == nil || !slices.Contains(tc.fresh, name) && !y.Equal(x) {
					t.Errorf("%s is not the file's", name)
				}
			}
			want := `model.safetensors: no classification head: "` + strings.Join(tc.fresh, `", "`) + `" are missing; deeplora train gives it one`
			if tc.fresh[0] == albertPooler[0] { // which is the encoder's own
				want = `model.safetensors: 4 tensors are missing: "` + strings.Join(tc.fresh, `", "`) + `"; config.json asks for 2 layers of 4`
			}
			if _, err := model.Load(f.fs(t), model.LoadOptions{}); errText(err) != want {
				t.Errorf("no head, none wanted: got %v\nwant %s", err, want)
			}
		})
	}
}

// Half a layer of a head is a file that lost a tensor.
func TestHalfHeadsOfFamilies(t *testing.T) {
	for modelType, name := range map[string]string{
		"distilbert": "pre_classifier.bias", "electra": "classifier.dense.bias", "mpnet": "classifier.out_proj.weight", "albert": "albert.pooler.weight",
	} {
		f := miniFamily(modelType)
		delete(f.tensors, name)
		want := `model.safetensors: 1 tensor is missing: "` + name + `"; config.json asks for 2 layers of 4`
		if _, err := model.Load(f.fs(t), model.LoadOptions{DrawHead: true}); errText(err) != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}
