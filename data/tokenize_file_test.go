package data

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// smallJSON is a tokenizer.json that has everything; tests change one thing of it.
const smallJSON = `{
	"version": "1.0",
	"truncation": {"max_length": 3, "strategy": "LongestFirst", "stride": 0},
	"padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
	"added_tokens": [
		{"id": 0, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true},
		{"id": 4, "content": "[MASK]", "single_word": false, "lstrip": true, "rstrip": false, "normalized": false, "special": true},
		{"id": 8, "content": "CAB", "single_word": true, "lstrip": false, "rstrip": false, "normalized": true, "special": false}
	],
	"normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true},
	"pre_tokenizer": {"type": "BertPreTokenizer"},
	"post_processor": {"type": "TemplateProcessing",
		"single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
		"pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
			{"Sequence": {"id": "B", "type_id": 1}}, {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
		"special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
	"decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
	"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
		"vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5, "b": 6, "##a": 7}}
}`

const smallVocab = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##a\n"

func openFiles(files map[string]string) (Tokenizer, error) {
	fsys := fstest.MapFS{}
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return OpenTokenizer(fsys, "m")
}

func TestOpenTokenizer(t *testing.T) {
	const lower = `{"do_lower_case": true}`
	for _, c := range []struct {
		name  string
		files map[string]string
		text  string
		want  []int32
	}{
		{"truncation and padding of the file are ignored", map[string]string{tokenizerFile: smallJSON}, "a b a b a b", []int32{5, 6, 5, 6, 5, 6}},
		{"left strip", map[string]string{tokenizerFile: smallJSON}, "a \t[MASK] b", []int32{5, 4, 6}},
		{"added token in normalised form, as a whole word", map[string]string{tokenizerFile: smallJSON}, "Càb cabs a.CAB", []int32{8, 1, 5, 1, 8}},
		{"agreeing files", map[string]string{tokenizerFile: smallJSON, vocabFile: smallVocab, configFile: lower}, "aa", []int32{5, 7}},
		{"blank lines at the end of vocab.txt", map[string]string{tokenizerFile: smallJSON, vocabFile: smallVocab + "\n\n", configFile: lower}, "aa", []int32{5, 7}},
		{"blank line at the end of vocab.txt alone", map[string]string{vocabFile: smallVocab + "\n", configFile: lower}, "aa", []int32{5, 7}},
		{"config that says nothing", map[string]string{tokenizerFile: smallJSON, configFile: "{}"}, "A", []int32{5}},
		{"no type", map[string]string{tokenizerFile: strings.Replace(smallJSON, `"type": "WordPiece", "unk`, `"unk`, 1)}, "A", []int32{5}},
		{"BertProcessing", map[string]string{tokenizerFile: withPostProcessor(`{"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]}`)}, "A", []int32{5}},
		{"RobertaProcessing", map[string]string{tokenizerFile: withPostProcessor(`{"type": "RobertaProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3], "trim_offsets": true, "add_prefix_space": false}`)}, "A", []int32{5}},
		{"pair of one type", map[string]string{tokenizerFile: strings.Replace(smallJSON, `"B", "type_id": 1`, `"B", "type_id": 0`, 1)}, "A", []int32{5}},
		{"Sequence of post_processors", map[string]string{tokenizerFile: withPostProcessor(`{"type": "Sequence", "processors": [{"type": "ByteLevel", "trim_offsets": true}, {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]}]}`)}, "A", []int32{5}},
		{"vocab.txt", map[string]string{vocabFile: smallVocab, configFile: lower}, "Aa[SEP]b", []int32{5, 7, 3, 6}},
		{"vocab.txt with CRLF and no last line end", map[string]string{vocabFile: strings.TrimSpace(strings.ReplaceAll(smallVocab, "\n", "\r\n")), configFile: lower}, "Aa", []int32{5, 7}},
		{"cased vocab.txt", map[string]string{vocabFile: smallVocab, configFile: `{"do_lower_case": false}`}, "A a", []int32{1, 5}},
		{"strip_accents without case", map[string]string{vocabFile: smallVocab, configFile: `{"do_lower_case": false, "strip_accents": true}`}, "á", []int32{5}},
		{"null means as case", map[string]string{vocabFile: smallVocab, configFile: `{"do_lower_case": false, "strip_accents": null}`}, "á", []int32{1}},
		{"ideographs not split", map[string]string{vocabFile: smallVocab, configFile: `{"do_lower_case": false, "tokenize_chinese_chars": false}`}, "a一", []int32{1}},
		{"special tokens as objects", map[string]string{vocabFile: strings.Replace(smallVocab, "[SEP]", "</s>", 1), configFile: `{"do_lower_case": true, "sep_token": {"__type": "AddedToken", "content": "</s>"}}`}, "a</s>", []int32{5, 3}},
		{"special tokens of the older file", map[string]string{vocabFile: strings.Replace(smallVocab, "[SEP]", "</s>", 1), configFile: lower, specialsFile: `{"sep_token": "</s>"}`}, "a</s>", []int32{5, 3}},
		{"numbered added tokens", map[string]string{vocabFile: smallVocab, configFile: `{"do_lower_case": true, "added_tokens_decoder": {"8": {"content": "x y"}, "4": {"content": "[MASK]", "rstrip": true}}}`}, "ax y[MASK] b", []int32{5, 8, 4, 6}},
		{"further special tokens", map[string]string{vocabFile: smallVocab, configFile: `{"do_lower_case": true, "additional_special_tokens": ["b", "[SEP]"]}`}, "xB xb", []int32{1, 1, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			tok, err := openFiles(c.files)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tok.Encode(c.text)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q gives %v, %v; want %v", c.text, got, err, c.want)
			}
			if s := tok.Special(); s.CLS != 2 || s.SEP != 3 || s.PAD != 0 || s.UNK != 1 || s.MASK != 4 {
				t.Errorf("special tokens %+v", s)
			}
		})
	}
}

// withPostProcessor is smallJSON with another post_processor.
func withPostProcessor(p string) string {
	start, end := strings.Index(smallJSON, `{"type": "TemplateProcessing"`), strings.Index(smallJSON, ",\n\t\"decoder\"")
	return smallJSON[:start] + p + smallJSON[end:]
}

func TestOpenTokenizerErrors(t *testing.T) {
	change := func(old, new string) map[string]string {
		if strings.Count(smallJSON, old) != 1 {
			t.Fatalf("%q is not once in smallJSON", old)
		}
		return map[string]string{tokenizerFile: strings.Replace(smallJSON, old, new, 1)}
	}
	vocab := func(config string) map[string]string {
		return map[string]string{vocabFile: smallVocab, configFile: config}
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"nothing", nil, "m has no tokenizer: looked for tokenizer.json, and for vocab.txt with tokenizer_config.json; copy them from where the model came from: file does not exist"},
		{"vocab.txt alone", map[string]string{vocabFile: smallVocab}, `m has vocab.txt but no tokenizer_config.json that says whether letters are made small; write one: {"tokenizer_class": "BertTokenizer", "do_lower_case": true} for an uncased model, false for a cased one`},
		{"WordLevel", change(`"type": "WordPiece", "unk`, `"type": "WordLevel", "unk`), "m/tokenizer.json: model is of type WordLevel, which is not supported; want WordPiece, BPE or Unigram"},
		{"BPE without merges", change(`"type": "WordPiece", "unk`, `"type": "BPE", "unk`), "m/tokenizer.json: model.merges is missing; want a list of pairs of tokens"},
		{"Unigram", map[string]string{tokenizerFile: `{"model": {"type": "Unigram", "unk_id": 0, "vocab": [["a", -1.5]]}}`}, "m/tokenizer.json: post_processor is missing"},
		{"BPE that does not say so", map[string]string{tokenizerFile: `{"model": {"vocab": {"a": 0}, "merges": ["a a"]}}`}, `model: merges: "aa", of number 1, is not in the vocabulary; are they of one model?`},
		{"Unigram that does not say so", map[string]string{tokenizerFile: `{"model": {"vocab": [["a", -1.5]]}}`}, "model.unk_id is missing, which is not supported; want the id of unknown text"},
		{"WordLevel that does not say so", map[string]string{tokenizerFile: `{"model": {"vocab": {"a": 0}, "unk_token": "a"}}`}, "model is of type WordLevel, which"},
		{"not JSON", map[string]string{tokenizerFile: "{\n\"model\": {,}\n}"}, "m/tokenizer.json:2: invalid character ','"},
		{"empty", map[string]string{tokenizerFile: ""}, "m/tokenizer.json:1: unexpected end of JSON input"},
		{"a list", map[string]string{tokenizerFile: "[]"}, "m/tokenizer.json:1: the file is a JSON array; want an object"},
		{"wrong kind of field", change(`"max_input_chars_per_word": 100`, `"max_input_chars_per_word": "100"`), "m/tokenizer.json:18: model.max_input_chars_per_word is a JSON string; want a whole number"},
		{"another normalizer", change(`"BertNormalizer"`, `"NFC"`), "m/tokenizer.json: normalizer is of type NFC, which is not supported; want BertNormalizer"},
		{"no normalizer", change(`"normalizer": {`, `"normalizer": null, "x": {`), "normalizer is missing; want BertNormalizer"},
		{"normalizer lacks a field", change(`"lowercase": true`, `"lower": true`), "normalizer lacks one of clean_text, handle_chinese_chars, lowercase"},
		{"another pre_tokenizer", change(`"BertPreTokenizer"`, `"Whitespace"`), "pre_tokenizer is of type Whitespace, which is not supported; want BertPreTokenizer"},
		{"no pre_tokenizer", change(`"pre_tokenizer"`, `"pre"`), "pre_tokenizer is missing; want BertPreTokenizer"},
		{"no prefix", change(`"continuing_subword_prefix": "##"`, `"continuing_subword_prefix": ""`), `model.continuing_subword_prefix is "", which is not supported; BERT's is "##"`},
		{"no unk_token", change(`"unk_token": "[UNK]", `, ``), "model lacks one of unk_token, continuing_subword_prefix, max_input_chars_per_word, vocab"},
		{"no length", change(`"max_input_chars_per_word": 100`, `"max_input_chars_per_word": 0`), "model.max_input_chars_per_word is 0; want 1 to 1000 (BERT's is 100)"},
		{"absurd length", change(`"max_input_chars_per_word": 100`, `"max_input_chars_per_word": 100000`), "model.max_input_chars_per_word is 100000; want 1 to 1000 (BERT's is 100)"},
		{"negative id", change(`"a": 5`, `"a": -5`), `model.vocab: token "a" has id -5; want 0 to 2147483647`},
		{"id out of range", change(`"a": 5`, `"a": 4294967296`), "model.vocab: want an object of tokens and ids from 0 to 2147483647"},
		{"shared id", change(`"a": 5`, `"a": 6`), `model.vocab: tokens "a" and "b" share id 6`},
		{"vocabulary a list", map[string]string{tokenizerFile: strings.Replace(strings.Replace(smallJSON, `"vocab": {`, `"vocab": [{`, 1), "}}\n}", "}]}\n}", 1)}, "model.vocab: want an object of tokens and ids"},
		{"[UNK] not there", change(`"unk_token": "[UNK]"`, `"unk_token": "<unk>"`), `token "<unk>" (unk_token) is not in the vocabulary`},
		{"pad token not there", map[string]string{tokenizerFile: smallJSON, configFile: `{"pad_token": "<pad>"}`}, `token "<pad>" (pad_token) is not in the vocabulary`},
		{"added token with another id", change(`"id": 4, "content": "[MASK]"`, `"id": 5, "content": "[MASK]"`), `added_tokens: "[MASK]" has id 5; want 4, by its place in the vocabulary or behind it`},
		{"new token with another id", change(`"id": 8, "content"`, `"id": 9, "content"`), `added_tokens: "CAB" has id 9; want 8, by its place in the vocabulary or behind it`},
		{"new token in a gap", map[string]string{tokenizerFile: strings.Replace(strings.Replace(smallJSON, `"##a": 7`, `"##a": 8`, 1), `"id": 8, "c`, `"id": 8, "c`, 1)}, `added_tokens: "CAB" would share id 8 with "##a": the vocabulary's ids have gaps`},
		{"added token twice", change(`"content": "[MASK]"`, `"content": "[PAD]"`), `added_tokens: "[PAD]" is there twice`},
		{"added token of nothing", change(`"content": "CAB"`, `"content": "\u00ad\u0301"`), `is empty once normalised`},
		{"no post_processor", map[string]string{tokenizerFile: withPostProcessor("null")}, "m/tokenizer.json: post_processor is missing; want TemplateProcessing or BertProcessing, as BERT's tokenizers have"},
		{"RobertaProcessing", map[string]string{tokenizerFile: withPostProcessor(`{"type": "RobertaProcessing"}`)}, `post_processor wants cls and sep to be a token and its id, as ["[SEP]", 102]`},
		{"another post_processor", map[string]string{tokenizerFile: withPostProcessor(`{"type": "ByteLevel"}`)}, "post_processor is of type ByteLevel, which is not supported; want TemplateProcessing, BertProcessing or RobertaProcessing"},
		{"two post_processors", map[string]string{tokenizerFile: withPostProcessor(`{"type": "Sequence", "processors": [{"type": "BertProcessing"}, {"type": "RobertaProcessing"}]}`)}, "post_processor is a Sequence of both BertProcessing and RobertaProcessing"},
		{"a Sequence of none", map[string]string{tokenizerFile: withPostProcessor(`{"type": "Sequence", "processors": [{"type": "ByteLevel"}]}`)}, "post_processor is missing"},
		{"pair the other way round", change(`"id": "B", "type_id": 1`, `"id": "A", "type_id": 1`), "post_processor has another template than BERT's or RoBERTa's"},
		{"BertProcessing without ids", map[string]string{tokenizerFile: withPostProcessor(`{"type": "BertProcessing", "cls": ["[CLS]"]}`)}, `post_processor wants cls and sep to be a token and its id, as ["[SEP]", 102]`},
		{"BertProcessing of another vocabulary", map[string]string{tokenizerFile: withPostProcessor(`{"type": "BertProcessing", "cls": ["[CLS]", 101], "sep": ["[SEP]", 102]}`)}, "post_processor gives [CLS] and [SEP] the ids 101 and 102, the vocabulary 2 and 3"},
		{"empty template", map[string]string{tokenizerFile: withPostProcessor(`{"type": "TemplateProcessing"}`)}, "post_processor has another template than BERT's"},
		{"a third type", change(`"B", "type_id": 1`, `"B", "type_id": 2`), "post_processor has tokens of type 2; want 0 or 1"},
		{"template without ids", change(`"ids": [2]`, `"ids": []`), `post_processor special_tokens gives "[CLS]" 0 ids; want one`},

		{"case disagrees", map[string]string{tokenizerFile: smallJSON, configFile: `{"do_lower_case": false}`}, "m/tokenizer_config.json says do_lower_case false, m/tokenizer.json says normalizer.lowercase true; correct the one that is wrong"},
		{"accents disagree", map[string]string{tokenizerFile: smallJSON, configFile: `{"strip_accents": false}`}, "m/tokenizer_config.json says strip_accents false, m/tokenizer.json says normalizer.strip_accents true"},
		{"ideographs disagree", map[string]string{tokenizerFile: smallJSON, configFile: `{"tokenize_chinese_chars": false}`}, "m/tokenizer_config.json says tokenize_chinese_chars false"},
		{"strip_accents of another kind", map[string]string{tokenizerFile: smallJSON, configFile: `{"strip_accents": "no"}`}, `m/tokenizer_config.json: strip_accents is "no"; want true, false or null`},
		{"vocab.txt has more", map[string]string{tokenizerFile: smallJSON, vocabFile: smallVocab + "c\n"}, `m/tokenizer.json and m/vocab.txt disagree: line 9, token "c", is in vocab.txt alone; are they of one model?`},
		{"vocab.txt has less", map[string]string{tokenizerFile: smallJSON, vocabFile: strings.TrimSuffix(smallVocab, "##a\n")}, "m/tokenizer.json and m/vocab.txt disagree: they have 8 and 7 tokens; are they of one model?"},
		{"vocab.txt in another order", map[string]string{tokenizerFile: smallJSON, vocabFile: strings.Replace(smallVocab, "a\nb\n", "b\na\n", 1)}, `token "b" has id 6, but by its line 5; are they`},
		{"vocab.txt empty", map[string]string{tokenizerFile: smallJSON, vocabFile: ""}, "they have 8 and 0 tokens"},

		{"case not said", vocab(`{}`), "m/tokenizer_config.json: do_lower_case is missing; say true for an uncased model, false for a cased one"},
		{"another class", vocab(`{"tokenizer_class": "RobertaTokenizer", "do_lower_case": true}`), "m has no tokenizer of RobertaTokenizer: looked for tokenizer.json, and for vocab.json with merges.txt"},
		{"a class nobody has", vocab(`{"tokenizer_class": "T5Tokenizer", "do_lower_case": true}`), "m/tokenizer_config.json: tokenizer_class is T5Tokenizer, which is not supported; want BertTokenizer, MPNetTokenizer, RobertaTokenizer, XLMRobertaTokenizer, CamembertTokenizer, AlbertTokenizer, DebertaV2Tokenizer"},
		{"a class that begins alike", vocab(`{"tokenizer_class": "BertJapaneseTokenizer", "do_lower_case": true}`), "m/tokenizer_config.json: tokenizer_class is BertJapaneseTokenizer, which is not supported; want BertTokenizer"},
		{"a class that begins alike, beside tokenizer.json", map[string]string{tokenizerFile: smallJSON, configFile: `{"tokenizer_class": "BertGenerationTokenizer"}`}, "m/tokenizer_config.json: tokenizer_class is BertGenerationTokenizer, which is not supported"},
		{"a class of config.json", map[string]string{vocabFile: smallVocab, configFile: `{"do_lower_case": true}`, "config.json": `{"tokenizer_class": "BertJapaneseTokenizer"}`}, "m/config.json: tokenizer_class is BertJapaneseTokenizer, which is not supported"},
		{"a class that needs tokenizer.json", vocab(`{"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": true}`), "tokenizer_class is PreTrainedTokenizerFast, which is not supported"},
		{"words by MeCab", vocab(`{"do_lower_case": true, "word_tokenizer_type": "mecab"}`), `m/tokenizer_config.json: word_tokenizer_type is "mecab", which is not supported; want null or "basic"`},
		{"pieces of one character", vocab(`{"do_lower_case": true, "subword_tokenizer_type": "character"}`), `subword_tokenizer_type is "character", which is not supported; want null or "wordpiece"`},
		{"a dictionary", vocab(`{"do_lower_case": true, "mecab_kwargs": {"mecab_dic": "ipadic"}}`), `mecab_kwargs is {"mecab_dic":"ipadic"}, which is not supported; want null or {}`},
		{"texts cut on the left", map[string]string{tokenizerFile: smallJSON, configFile: `{"truncation_side": "left"}`}, `truncation_side is "left", which is not supported; want null or "right"`},
		{"special tokens that are text", vocab(`{"do_lower_case": true, "split_special_tokens": true}`), `split_special_tokens is true, which is not supported; want null or false`},
		{"further special token by the newer name", vocab(`{"do_lower_case": true, "extra_special_tokens": ["unknown"]}`), `m/tokenizer_config.json: additional_special_tokens: "unknown" is not in vocab.txt`},
		{"no basic tokenizer", vocab(`{"do_basic_tokenize": false, "do_lower_case": true}`), "do_basic_tokenize false is not supported"},
		{"never_split", vocab(`{"never_split": ["x"], "do_lower_case": true}`), "never_split is not supported; make them added tokens of a tokenizer.json"},
		{"added_tokens.json", map[string]string{vocabFile: smallVocab, configFile: `{"do_lower_case": true}`, addedFile: "{}"}, "m/added_tokens.json: added tokens are read from tokenizer.json alone"},
		{"no [CLS] in vocab.txt", map[string]string{vocabFile: strings.Replace(smallVocab, "[CLS]", "CLS", 1), configFile: `{"do_lower_case": true}`}, `m/vocab.txt: token "[CLS]" (cls_token) is not in the vocabulary`},
		{"vocab.txt is not UTF-8", map[string]string{vocabFile: "[PAD]\ncaf\xe9\n", configFile: `{"do_lower_case": true}`}, "m/vocab.txt:2: not valid UTF-8; convert the file first"},
		{"numbered otherwise", vocab(`{"do_lower_case": true, "added_tokens_decoder": {"8": {"content": "b"}}}`), `m/tokenizer_config.json: "b" has id 8; want 6, by its place in the vocabulary or behind it`},
		{"further special token of another vocabulary", vocab(`{"do_lower_case": true, "additional_special_tokens": ["unknown"]}`), `m/tokenizer_config.json: additional_special_tokens: "unknown" is not in vocab.txt`},
		{"special token of another kind", vocab(`{"do_lower_case": true, "cls_token": 101}`), `m/tokenizer_config.json: a special token is 101; want a string or an object with "content"`},
		{"key that is no id", vocab(`{"do_lower_case": true, "added_tokens_decoder": {"x": {"content": "y"}}}`), `added_tokens_decoder: key "x" is not a token id`},
		{"config is not JSON", vocab("{"), "m/tokenizer_config.json:1: unexpected end of JSON input"},
		{"config of another kind", vocab(`{"do_lower_case": "yes"}`), "m/tokenizer_config.json:1: do_lower_case is a JSON string; want true or false"},
		{"huge file", map[string]string{tokenizerFile: strings.Repeat(" ", maxTokenizerFile+1)}, "m/tokenizer.json is larger than 64 MB; no encoder's tokenizer is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := openFiles(c.files)
			if err == nil || !strings.HasPrefix(err.Error(), "tokenizer: m") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant tokenizer: … %s", err, c.want)
			}
		})
	}
}

func TestOpenTokenizerOnDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	if _, err := OpenTokenizer(os.DirFS(dir), dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("no directory: %v", err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTokenizer(os.DirFS(dir), dir); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir+" has no tokenizer") {
		t.Errorf("empty directory: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, tokenizerFile), []byte(smallJSON), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTokenizer(os.DirFS(dir), dir); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, vocabFile), []byte("a\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTokenizer(os.DirFS(dir), dir); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, vocabFile)+" disagree") {
		t.Errorf("disagreeing files: %v", err)
	}
	if _, err := OpenTokenizer(os.DirFS(filepath.Join(dir, vocabFile)), vocabFile); err == nil {
		t.Error("a file is opened as a directory")
	}
}

// Every field that Transformers writes is honoured, harmless for a reason, or held to one value.
func TestEveryFieldOfTheTokenizerHasAFate(t *testing.T) {
	for _, fault := range tokenizerFields.Faults() {
		t.Error(fault)
	}
	for _, f := range tokenizerFields {
		if f.Only == nil {
			continue
		}
		if _, err := openFiles(map[string]string{tokenizerFile: smallJSON, configFile: `{"` + f.Name + `": {"a": 1}}`}); err == nil || !strings.Contains(err.Error(), f.Name+` is {"a":1}, which is not supported`) {
			t.Errorf("%s: %v", f.Name, err)
		}
		for _, value := range f.Only {
			if _, err := openFiles(map[string]string{tokenizerFile: smallJSON, configFile: `{"` + f.Name + `": ` + value + `}`}); err != nil {
				t.Errorf("%s %s: %v", f.Name, value, err)
			}
		}
	}
	for _, class := range slices.Concat(bertClasses, fileClasses) {
		if _, err := openFiles(map[string]string{tokenizerFile: smallJSON, "config.json": `{"tokenizer_class": "` + class + `"}`}); err != nil {
			t.Error(err)
		}
	}
}
