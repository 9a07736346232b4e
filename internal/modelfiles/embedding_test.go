package modelfiles

import (
	"strings"
	"testing"
	"testing/fstest"
)

const (
	transformer = `{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}`
	pooling     = `{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}`
	normalize   = `{"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}`
	dense       = `{"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}`
	meanFlags   = `{"word_embedding_dimension": 384, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false, "pooling_mode_mean_sqrt_len_tokens": false}`
	clsFlags    = `{"word_embedding_dimension": 384, "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}`
)

func TestReadEmbedding(t *testing.T) {
	list := func(modules ...string) string { return "[" + strings.Join(modules, ", ") + "]" }
	for _, tc := range []struct {
		name  string
		files map[string]string
		want  Embedding
		err   string
	}{
		{"nothing said", nil, Embedding{Pooling: Mean}, ""},
		{"mean", map[string]string{Modules: list(transformer, pooling, normalize), PoolingConfig: meanFlags}, Embedding{Pooling: Mean, From: PoolingConfig}, ""},
		{"cls without modules", map[string]string{PoolingConfig: clsFlags}, Embedding{Pooling: CLS, From: PoolingConfig}, ""},
		{"max", map[string]string{PoolingConfig: `{"pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": true}`}, Embedding{Pooling: Max, From: PoolingConfig}, ""},
		{"by name", map[string]string{PoolingConfig: `{"embedding_dimension": 8, "pooling_mode": "cls", "include_prompt": true}`}, Embedding{Pooling: CLS, From: PoolingConfig}, ""},
		{"silent", map[string]string{PoolingConfig: `{"word_embedding_dimension": 8}`}, Embedding{Pooling: Mean, From: PoolingConfig}, ""},
		{"another length of the mean", map[string]string{PoolingConfig: `{"pooling_mode_mean_tokens": false, "pooling_mode_mean_sqrt_len_tokens": true}`}, Embedding{Pooling: Mean, From: PoolingConfig}, ""},
		{"elsewhere", map[string]string{Modules: list(transformer, strings.Replace(pooling, "1_Pooling", "pool", 1)), "pool/config.json": clsFlags}, Embedding{Pooling: CLS, From: "pool/config.json"}, ""},
		{"details", map[string]string{SentenceConfig: `{"max_seq_length": 75, "do_lower_case": true}`, Prompts: `{"prompts": {"query": "q: "}, "default_prompt_name": null}`}, Embedding{Pooling: Mean, MaxLength: 75, Lower: true}, ""},
		{"length not said", map[string]string{SentenceConfig: `{"max_seq_length": null}`}, Embedding{Pooling: Mean}, ""},
		{"two poolings", map[string]string{PoolingConfig: `{"pooling_mode_cls_token": true}`}, Embedding{}, "1_Pooling/config.json: it asks for 2 poolings side by side (cls_token, mean_tokens)"},
		{"two by name", map[string]string{PoolingConfig: `{"pooling_mode": ["cls", "mean"]}`}, Embedding{}, "it asks for 2 poolings side by side (cls, mean)"},
		{"none", map[string]string{PoolingConfig: `{"pooling_mode_mean_tokens": false}`}, Embedding{}, "it asks for 0 poolings"},
		{"the last token", map[string]string{PoolingConfig: `{"pooling_mode": "lasttoken"}`}, Embedding{}, `pooling "lasttoken" is not supported; cls, mean and max are`},
		{"weighted", map[string]string{PoolingConfig: `{"pooling_mode_mean_tokens": false, "pooling_mode_weightedmean_tokens": true}`}, Embedding{}, `pooling "weightedmean_tokens" is not supported`},
		{"of tomorrow", map[string]string{PoolingConfig: `{"pooling_mode": "attention"}`}, Embedding{}, `pooling "attention" is not supported`},
		{"no flag", map[string]string{PoolingConfig: `{"pooling_mode_cls_token": 1}`}, Embedding{}, "pooling_mode_cls_token is 1; want true or false"},
		{"a dense layer", map[string]string{Modules: list(transformer, pooling, dense), PoolingConfig: meanFlags}, Embedding{}, "modules.json: module 2 is sentence_transformers.models.Dense (2_Dense); only Transformer, Pooling and Normalize are computed"},
		{"no pooling", map[string]string{Modules: list(transformer)}, Embedding{}, "modules.json: it lists no Pooling"},
		{"pooling lost", map[string]string{Modules: list(transformer, pooling)}, Embedding{}, "modules.json: pooling lies in 1_Pooling/config.json, which is missing"},
		{"encoder elsewhere", map[string]string{Modules: list(strings.Replace(transformer, `"path": ""`, `"path": "0_BERT"`, 1), pooling)}, Embedding{}, "the encoder lies in 0_BERT; give that folder"},
		{"a way out", map[string]string{Modules: list(transformer, strings.Replace(pooling, "1_Pooling", "../x", 1))}, Embedding{}, "it lists no Pooling"},
		{"a prompt", map[string]string{Prompts: `{"default_prompt_name": "query"}`}, Embedding{}, `default_prompt_name is "query"`},
		{"no room", map[string]string{SentenceConfig: `{"max_seq_length": 2}`}, Embedding{}, "max_seq_length is 2; want at least 3 tokens"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, text := range tc.files {
				files[name] = &fstest.MapFile{Data: []byte(text)}
			}
			got, err := ReadEmbedding(files)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%v; want %s", err, tc.err)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Errorf("%+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}
