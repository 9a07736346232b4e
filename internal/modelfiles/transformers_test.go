package modelfiles

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

const casedJSON = `{"added_tokens": [{"id": 0, "content": "[PAD]"}],
	"normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": false},
	"post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]},
	"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {"[PAD]": 0, "[MASK]": 4}}}`

// What is written was held against Transformers 5.24: with it AutoTokenizer gives the ids of tokenizer.json, without it
// other ones.
func TestForTransformers(t *testing.T) {
	edit := func(from, to string) string {
		if !strings.Contains(casedJSON, from) {
			t.Fatalf("no %s", from)
		}
		return strings.Replace(casedJSON, from, to, 1)
	}
	uncased := edit(`"lowercase": false`, `"lowercase": true`)
	whole := map[string]any{
		"tokenizer_class": "BertTokenizer", "model_max_length": 512.0, "do_lower_case": false, "strip_accents": nil, "tokenize_chinese_chars": true,
		"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]",
	}
	with := func(pairs ...any) map[string]any {
		m := map[string]any{}
		for k, v := range whole {
			m[k] = v
		}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		return m
	}
	names := []any{"input_ids", "token_type_ids", "attention_mask"}
	for _, tc := range []struct {
		name, tokenizer, config, model string
		want                           map[string]any // nil: nothing is written
	}{
		{"cased, alone", casedJSON, "", "", whole},
		{"uncased, alone", uncased, "", "", with("do_lower_case", true)},
		{"accents dropped", edit(`"strip_accents": null`, `"strip_accents": true`), "", "", with("strip_accents", true)},
		{"ideographs together", edit(`"handle_chinese_chars": true`, `"handle_chinese_chars": false`), "", "", with("tokenize_chinese_chars", false)},
		{"no [MASK]", edit(`"[MASK]": 4`, `"x": 4`), "", "", with("mask_token", nil)},
		{"longer words", edit(`_word": 100`, `_word": 200`), "", "", with("tokenizer_class", "PreTrainedTokenizerFast", "model_input_names", names)},
		{"all said", casedJSON, `{"do_lower_case": false}`, "", nil},
		{"nothing to say", uncased, `{}`, "", nil},
		{"case not said", casedJSON, `{"model_max_length": 7}`, "", map[string]any{"model_max_length": 7.0, "do_lower_case": false}},
		{"as it stands", casedJSON, `{"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "token_type_ids"]}`, "", nil},
		{"as it stands, by config.json", casedJSON, `{}`, `{"tokenizer_class": "PreTrainedTokenizerFast"}`, map[string]any{"model_input_names": names}},
		{"text not cleaned", edit(`"clean_text": true`, `"clean_text": false`), `{"do_lower_case": false, "tokenizer_class": "BertTokenizer"}`, "", map[string]any{"do_lower_case": false, "tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": names}},
		{"vocab.txt", "", `{"do_lower_case": false}`, "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, text := range map[string]string{Tokenizer: tc.tokenizer, TokenizerConfig: tc.config, "config.json": tc.model} {
				if text != "" {
					files[name] = &fstest.MapFile{Data: []byte(text)}
				}
			}
			text, err := ForTransformers(files, 512)
			if err != nil {
				t.Fatal(err)
			}
			if tc.want == nil {
				if text != nil {
					t.Errorf("written: %s", text)
				}
				return
			}
			var got map[string]any
			if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v, %v; want %v", got, err, tc.want)
			}
		})
	}
}

const (
	bytesJSON = `{"normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
	"post_processor": {"type": "RobertaProcessing", "cls": ["<s>", 0], "sep": ["</s>", 1]},
	"model": {"type": "BPE", "vocab": {"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "<mask>": 4}, "merges": []}}`
	piecesJSON = `{"normalizer": {"type": "Sequence", "normalizers": [{"type": "Precompiled"}, {"type": "Replace"}]},
	"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "prepend_scheme": "always"}]},
	"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[CLS]"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "[SEP]"}}],
		"pair": [{"SpecialToken": {"id": "[CLS]"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "[SEP]"}}, {"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}]},
	"model": {"type": "Unigram", "unk_id": 1, "vocab": [["<pad>", 0], ["<unk>", 0], ["[CLS]", 0], ["[SEP]", 0]]}}`
)

// Classes of Transformers build pipelines of their own: where these are others than tokenizer.json's, the class that takes
// the file as it stands is named. Held against Transformers 5.24, on the golden tokenizers of six families.
func TestForTransformersOtherFamilies(t *testing.T) {
	names := []any{"input_ids", "token_type_ids", "attention_mask"}
	for _, tc := range []struct {
		name, tokenizer, config, model string
		want                           map[string]any // nil: nothing is written
	}{
		{"RoBERTa's own", bytesJSON, `{"tokenizer_class": "RobertaTokenizer", "add_prefix_space": false}`, "", nil},
		{"a space before", strings.Replace(bytesJSON, `"add_prefix_space": false`, `"add_prefix_space": true`, 1), `{"tokenizer_class": "RobertaTokenizerFast"}`, "", map[string]any{"tokenizer_class": "PreTrainedTokenizerFast"}},
		{"RoBERTa, alone", bytesJSON, "", `{"model_type": "roberta", "type_vocab_size": 1}`, map[string]any{
			"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512.0, "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>",
		}},
		{"XLM-RoBERTa's own", piecesJSON, `{"tokenizer_class": "XLMRobertaTokenizer"}`, "", nil},
		{"DeBERTa loses its rewritings", piecesJSON, `{"tokenizer_class": "DebertaV2Tokenizer"}`, `{"model_type": "deberta-v2", "type_vocab_size": 0}`, map[string]any{"tokenizer_class": "PreTrainedTokenizerFast"}},
		{"ALBERT, with types", piecesJSON, "", `{"model_type": "albert"}`, map[string]any{
			"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512.0, "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "<pad>", "unk_token": "<unk>", "mask_token": nil, "model_input_names": names,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			files := fstest.MapFS{}
			for name, text := range map[string]string{Tokenizer: tc.tokenizer, TokenizerConfig: tc.config, "config.json": tc.model} {
				if text != "" {
					files[name] = &fstest.MapFile{Data: []byte(text)}
				}
			}
			text, err := ForTransformers(files, 512)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string]any
			if text != nil {
				if err := json.Unmarshal(text, &got); err != nil {
					t.Fatal(err)
				}
				for name := range got { // what was said stays
					if strings.Contains(tc.config, name) && tc.want[name] == nil {
						delete(got, name)
					}
				}
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%s; want %v", text, tc.want)
			}
		})
	}
}
