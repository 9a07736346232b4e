package model_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/deeplora/deeplora/model"
)

func readConfig(text string) (*model.Config, error) {
	return model.ReadConfig(fstest.MapFS{"config.json": &fstest.MapFile{Data: []byte(text)}}, "config.json")
}

// Every field of formats.md 1.1 is used or refused: what a user sees of each value that cannot be honoured.
func TestConfigErrors(t *testing.T) {
	const bert = `"model_type": "bert"`
	for _, tc := range []struct{ name, fields, want string }{
		{"another architecture", `"model_type": "gpt2"`, `config.json: model_type is "gpt2", which is not supported; want one of bert, …`},
		{"no architecture", ``, `config.json: model_type is "", which is not supported; want one of bert, …`},
		{"no vocabulary", bert + `, "vocab_size": 0`, "config.json: vocab_size is 0; want 1 to 16777216\npad_token_id 0 is outside the vocabulary of 0"},
		{"negative size", bert + `, "intermediate_size": -1`, `config.json: intermediate_size is -1; want 1 to 16777216`},
		{"a size beyond bounds", bert + `, "max_position_embeddings": 99999999`, `config.json: max_position_embeddings is 99999999; want 1 to 16777216`},
		{"no token types", bert + `, "type_vocab_size": 0`, `config.json: type_vocab_size is 0; want 1 to 16777216`},
		{"layers beyond bounds", bert + `, "num_hidden_layers": 1025`, `config.json: num_hidden_layers is 1025; want 1 to 1024`},
		{"no heads", bert + `, "num_attention_heads": 0`, `config.json: num_attention_heads is 0; want 1 to 16777216`},
		{"heads that do not divide", bert + `, "hidden_size": 770`, `config.json: hidden_size 770 does not divide by num_attention_heads 12`},
		{
			"unknown activation", bert + `, "hidden_act": "mish"`,
			`config.json: hidden_act is "mish"; want one of [gelu gelu_fast gelu_new gelu_python gelu_pytorch_tanh quick_gelu relu silu swish tanh]`,
		},
		{"relative positions", bert + `, "position_embedding_type": "relative_key"`, `config.json: position_embedding_type is "relative_key", which is not supported; want "absolute"`},
		{"relative positions with queries", bert + `, "position_embedding_type": "relative_key_query"`, `config.json: position_embedding_type is "relative_key_query", which is not supported; want "absolute"`},
		{"decoder", bert + `, "is_decoder": true`, `config.json: is_decoder is true, which is not supported; want null or false`},
		{"cross attention", bert + `, "add_cross_attention": true`, `config.json: add_cross_attention is true, which is not supported; want null or false`},
		{"epsilon 0", bert + `, "layer_norm_eps": 0`, `config.json: layer_norm_eps is 0; want a positive number, as 1e-12`},
		{"epsilon that float32 rounds to 0", bert + `, "layer_norm_eps": 1e-60`, `config.json: layer_norm_eps is 1e-60; want a positive number, as 1e-12`},
		{"negative range", bert + `, "initializer_range": -0.02`, `config.json: initializer_range is -0.02; want 0 to 1`},
		{"certain dropout", bert + `, "hidden_dropout_prob": 1`, "config.json: hidden_dropout_prob is 1; want 0 to below 1\nclassifier_dropout is 1; want 0 to below 1"},
		{"negative dropout", bert + `, "attention_probs_dropout_prob": -0.1`, `config.json: attention_probs_dropout_prob is -0.1; want 0 to below 1`},
		{"dropout of the head", bert + `, "classifier_dropout": 1.5`, `config.json: classifier_dropout is 1.5; want 0 to below 1`},
		{"padding outside the vocabulary", bert + `, "vocab_size": 10, "pad_token_id": 10`, `config.json: pad_token_id 10 is outside the vocabulary of 10`},
		{"gap in id2label", bert + `, "id2label": {"0": "a", "2": "b"}`, `config.json: id2label has 2 entries but no "1"; ids count from 0`},
		{"id2label from 1", bert + `, "id2label": {"1": "a"}`, `config.json: id2label has 1 entries but no "0"; ids count from 0`},
		{"num_labels 0", bert + `, "num_labels": 0`, `config.json: num_labels is 0; want 1 to 65536`},
		{"num_labels against id2label", bert + `, "num_labels": 3, "id2label": {"0": "a", "1": "b"}`, `config.json: num_labels is 3 but id2label has 2 entries`},
		{
			"unknown problem", bert + `, "problem_type": "ranking"`,
			`config.json: problem_type is "ranking"; want regression, single_label_classification or multi_label_classification`,
		},
		{"a string for a number", bert + `, "hidden_size": "768"`, `config.json: hidden_size is of type string; want int`},
		{"a fraction for a number", bert + `, "num_hidden_layers": 2.5`, `config.json: num_hidden_layers is of type number 2.5; want int`},
		{"a list of labels", bert + `, "id2label": ["a", "b"]`, `config.json: id2label is of type array; want map[string]string`},
		{"broken JSON", bert + `,`, `config.json: byte 23: invalid character '}' looking for beginning of object key string`},
		{
			"every fault at once", bert + `, "hidden_size": 5, "num_attention_heads": 2, "is_decoder": true`,
			"config.json: hidden_size 5 does not divide by num_attention_heads 2\nis_decoder is true, which is not supported; want null or false",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readConfig("{" + tc.fields + "}")
			want, more := strings.CutSuffix(tc.want, "…")
			if err == nil || err.Error() != want && !(more && strings.HasPrefix(err.Error(), want)) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
	for text, want := range map[string]string{
		`[]`: `config.json: it is of type array; want an object`,
		``:   `config.json: byte 0: unexpected end of JSON input`,
	} {
		if _, err := readConfig(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v\nwant %s", text, err, want)
		}
	}
	if _, err := model.ReadConfig(fstest.MapFS{}, "config.json"); err == nil || err.Error() != "read model config: open config.json: file does not exist" {
		t.Errorf("no file: %v", err)
	}
}

// Each family's faults are told by its own names of fields.
func TestConfigErrorsOfFamilies(t *testing.T) {
	for _, tc := range []struct{ modelType, fields, want string }{
		{"distilbert", `"dim": 0`, `config.json: dim is 0; want 1 to 16777216`},
		{"distilbert", `"n_layers": 0, "hidden_dim": 0`, "config.json: n_layers is 0; want 1 to 1024\nhidden_dim is 0; want 1 to 16777216"},
		{"distilbert", `"n_heads": 7`, `config.json: dim 768 does not divide by n_heads 7`},
		{"distilbert", `"activation": "mish"`, `config.json: activation is "mish"; want one of …`},
		{
			"distilbert", `"dropout": 1, "attention_dropout": -1, "seq_classif_dropout": 2`,
			"config.json: dropout is 1; want 0 to below 1\nattention_dropout is -1; want 0 to below 1\nseq_classif_dropout is 2; want 0 to below 1",
		},
		{"distilbert", `"dim": "768"`, `config.json: dim is of type string; want int`},
		{"distilbert", `"is_decoder": true`, `config.json: is_decoder is true, which is not supported; want null or false`},
		{"electra", `"embedding_size": 0`, `config.json: embedding_size is 0; want 1 to 16777216`},
		{"electra", `"embedding_size": [1]`, `config.json: embedding_size is of type array; want int`},
		{"electra", `"position_embedding_type": "relative_key"`, `config.json: position_embedding_type is "relative_key", which is not supported; want "absolute"`},
		{"mpnet", `"relative_attention_num_buckets": 16`, `config.json: relative_attention_num_buckets is 16; want 32 to 16777216`},
		{"mpnet", `"pad_token_id": 0`, `config.json: pad_token_id is 0; want 1: behind that MPNet's positions begin`},
		{"mpnet", `"max_position_embeddings": 2`, `config.json: max_position_embeddings is 2 and pad_token_id 1; a text's positions begin behind the padding's`},
		{"mpnet", `"hidden_dropout_prob": 1`, `config.json: hidden_dropout_prob is 1; want 0 to below 1`},
		{"albert", `"embedding_size": -1, "num_hidden_groups": 13`, "config.json: embedding_size is -1; want 1 to 16777216\nnum_hidden_groups is 13; want 1 to 12"},
		{"albert", `"num_hidden_groups": 0`, `config.json: num_hidden_groups is 0; want 1 to 12`},
		{"albert", `"inner_group_num": 2`, `config.json: inner_group_num is 2, which is not supported; want 1`},
		{"albert", `"classifier_dropout_prob": 1`, `config.json: classifier_dropout_prob is 1; want 0 to below 1`},
	} {
		_, err := readConfig(`{"model_type": "` + tc.modelType + `", ` + tc.fields + `}`)
		want, more := strings.CutSuffix(tc.want, "…")
		if got := errText(err); got != want && !(more && strings.HasPrefix(got, want)) {
			t.Errorf("%s, %s:\ngot  %s\nwant %s", tc.modelType, tc.fields, got, tc.want)
		}
	}
}

// Fields that are absent have Transformers' defaults (formats.md 1.1), and so have nulls.
func TestConfigDefaults(t *testing.T) {
	for _, text := range []string{
		`{"model_type": "bert"}`,
		`{"model_type": "bert", "vocab_size": null, "hidden_act": null, "classifier_dropout": null, "id2label": null, "num_labels": null, "problem_type": null, "pad_token_id": null}`,
	} {
		c, err := readConfig(text)
		if err != nil {
			t.Fatal(err)
		}
		c.Raw = nil
		got, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		want := `{"model_type":"bert","vocab_size":30522,"hidden_size":768,"num_hidden_layers":12,"num_attention_heads":12,` +
			`"intermediate_size":3072,"max_position_embeddings":512,"type_vocab_size":2,"hidden_act":"gelu","layer_norm_eps":1e-12,` +
			`"initializer_range":0.02,"pad_token_id":0,"hidden_dropout_prob":0.1,"attention_probs_dropout_prob":0.1,"classifier_dropout":null,` +
			`"id2label":null,"num_labels":null,"problem_type":""}`
		if string(got) != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if labels := c.Labels(); !slices.Equal(labels, []string{"LABEL_0", "LABEL_1"}) {
			t.Errorf("labels %v", labels)
		}
	}
}

func TestConfigLabels(t *testing.T) {
	for _, tc := range []struct {
		name, fields string
		want         []string
	}{
		{"named", `"id2label": {"1": "yes", "0": "no", "2": "maybe"}`, []string{"no", "yes", "maybe"}},
		{"counted", `"num_labels": 3`, []string{"LABEL_0", "LABEL_1", "LABEL_2"}},
		{"both", `"num_labels": 1, "id2label": {"0": "score"}`, []string{"score"}},
	} {
		c, err := readConfig(`{"model_type": "bert", ` + tc.fields + `}`)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Labels(); !slices.Equal(got, tc.want) || c.NumLabels() != len(tc.want) {
			t.Errorf("%s: %v of %d, want %v", tc.name, got, c.NumLabels(), tc.want)
		}
		c.SetLabels([]string{"a", "b"}, model.SingleLabel)
		if got := c.Labels(); !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%s: %v after SetLabels", tc.name, got)
		}
	}
}

// A rewritten config must lose nothing, not even what we do not know.
func TestConfigKeepsUnknownFields(t *testing.T) {
	c, err := readConfig(`{"model_type": "bert", "transformers_version": "5.23.0", "use_cache": true}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(c.Raw["transformers_version"]) + string(c.Raw["use_cache"]); got != `"5.23.0"true` {
		t.Errorf("kept %s", got)
	}
}

// Gathers clamp ids in silence, so batches are checked before.
func TestCheckBatch(t *testing.T) {
	c, err := readConfig(`{"model_type": "bert", "vocab_size": 10, "max_position_embeddings": 4}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name       string
		ids, types []int32
		seq        int
		want       string
	}{
		{"good", []int32{0, 9}, []int32{0, 1}, 4, ""},
		{"too long", []int32{0}, []int32{0}, 5, "length 5 exceeds the model's 4 positions"},
		{"id too large", []int32{0, 10}, []int32{0, 0}, 4, "token id 10 is outside the model's vocabulary of 10: is the tokenizer from another model?"},
		{"negative id", []int32{-1}, []int32{0}, 4, "token id -1 is outside the model's vocabulary of 10: is the tokenizer from another model?"},
		{"type too large", []int32{0}, []int32{2}, 4, "token type 2 is outside the model's 2 types"},
		{"negative type", []int32{0}, []int32{-1}, 4, "token type -1 is outside the model's 2 types"},
	} {
		err := c.Check(tc.ids, tc.types, tc.seq)
		if got := errText(err); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Whatever config.json holds, it is read or refused by name, and what is read has a consistent list of tensors.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		`{"model_type": "bert"}`,
		`{"model_type": "bert", "hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "id2label": {"0": "a"}}`,
		`{"model_type": "bert", "num_labels": 3, "problem_type": "regression", "classifier_dropout": 0.5}`,
		`{"model_type": "bert", "id2label": {"00": "a", "1": "b"}}`,
		`{"model_type": "distilbert", "dim": 32, "hidden_size": 32, "n_layers": 2, "seq_classif_dropout": null}`,
		`{"model_type": "electra", "embedding_size": 3}`,
		`{"model_type": "mpnet", "relative_attention_num_buckets": 64}`,
		`{"model_type": "albert", "num_hidden_groups": 3, "num_hidden_layers": 4}`,
		`{"model_type": "bert", "vocab_size": 1e30}`, `{}`, `null`, `[`, ``,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := readConfig(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "config.json: ") {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		if len(c.Labels()) != c.NumLabels() || c.NumLabels() < 1 {
			t.Errorf("%d labels of %d", len(c.Labels()), c.NumLabels())
		}
		specs, kernels := c.Specs(), c.Kernels()
		if c.ModelType == "bert" && (len(specs) != 16*c.NumHiddenLayers+9 || len(kernels) != 6*c.NumHiddenLayers+4) {
			t.Errorf("%d tensors and %d kernels for %d layers", len(specs), len(kernels), c.NumHiddenLayers)
		}
		for _, s := range specs {
			for _, d := range s.Shape {
				if d < 1 {
					t.Errorf("%s is %v", s.Name, s.Shape)
				}
			}
		}
	})
}

// An index can say anything: shards are read only where it is true of them.
func FuzzShardIndex(f *testing.F) {
	mini := miniBERT()
	mini.shard()
	whole := mini.fs(f)
	f.Add(string(whole["model.safetensors.index.json"].Data))
	f.Add(`{"weight_map": {"a": "model-00001-of-00002.safetensors"}}`)
	f.Add(`{"weight_map": {"a": "../model-00001-of-00002.safetensors"}}`)
	f.Add(`{"weight_map": null}`)
	f.Add(`{"metadata": {}, "weight_map": {"": ""}}`)
	f.Fuzz(func(t *testing.T, index string) {
		files := fstest.MapFS{}
		for name, file := range whole {
			files[name] = file
		}
		files["model.safetensors.index.json"] = &fstest.MapFile{Data: []byte(index)}
		c, err := model.Load(files, model.LoadOptions{})
		if err != nil {
			return
		}
		var read struct {
			Map map[string]string `json:"weight_map"`
		}
		if err := json.Unmarshal([]byte(index), &read); err != nil {
			t.Fatalf("loaded by an index that is no JSON: %v", err)
		}
		if len(c.Tensors) != len(mini.shards) || len(read.Map) != len(mini.shards) {
			t.Errorf("%d tensors loaded by a map of %d", len(c.Tensors), len(read.Map))
		}
		for name, shard := range mini.shards {
			if read.Map[name] != shard {
				t.Errorf("%s was loaded though it is mapped to %q", name, read.Map[name])
			}
		}
	})
}
