package data

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
	"unicode/utf8"

	"github.com/deeplora/deeplora/internal/modelfiles"
)

// White space separates words, and nothing else does across it: texts may be cut there. \v, \f and
// U+0085 are no white space to BERT.
func fields(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return unicode.IsSpace(r) && r != '\v' && r != '\f' && r != 0x85 })
}

func FuzzEncode(f *testing.F) {
	for _, text := range []string{
		"", "a bab.cab é É e\u0301", "a[SEP]b [MASK]\u200b[S\u00adEP]", "\x00\v\f\u0085\ufeff", strings.Repeat("ab", 60), "北京a İ\u0307",
		"\u302e\U0001d166\u1baa", "caf\xe9", "ＡＢ [CLS",
	} {
		f.Add(text)
	}
	v, err := readVocabulary(folder{letterFolder(), ""})
	if err != nil {
		f.Fatal(err)
	}
	tok, err := newTokenizer(v)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ids, err := tok.Encode(text)
		if (err == nil) != utf8.ValidString(text) {
			t.Fatalf("valid UTF-8: %v, error: %v", utf8.ValidString(text), err)
		}
		if err != nil {
			return
		}
		for _, id := range ids {
			if id < 0 || int(id) >= tok.VocabSize() || tok.Token(id) == "" {
				t.Fatalf("id %d is not in the vocabulary", id)
			}
		}
		fresh, err := newTokenizer(v)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := fresh.Encode(text); err != nil || !slices.Equal(ids, again) {
			t.Fatalf("%v, from a tokenizer that has seen nothing yet %v, %v", ids, again, err)
		}
		var apart []int32
		for _, word := range fields(text) {
			part, err := tok.Encode(word)
			if err != nil {
				t.Fatal(err)
			}
			apart = append(apart, part...)
		}
		if !slices.Equal(ids, apart) {
			t.Fatalf("%v, word by word %v", ids, apart)
		}
		enc, cut, err := EncodePair(tok, text, text, true, 10)
		if err != nil || len(enc.IDs) != min(10, 2*len(ids)+3) || len(enc.IDs) != len(enc.Types) || cut != 2*len(ids)+3-len(enc.IDs) {
			t.Fatalf("pair of %d tokens each: %d ids, %d types, %d cut, %v", len(ids), len(enc.IDs), len(enc.Types), cut, err)
		}
	})
}

// Hostile files give a clear error or a tokenizer that keeps its promises. An empty file is left out.
func FuzzTokenizerJSON(f *testing.F) {
	f.Add([]byte(smallJSON), []byte(""), []byte(""))
	f.Add([]byte(smallJSON), []byte(smallVocab), []byte(`{"do_lower_case": true, "strip_accents": null, "pad_token": {"content": "[PAD]"}}`))
	f.Add([]byte(""), []byte(smallVocab), []byte(`{"do_lower_case": false, "added_tokens_decoder": {"4": {"content": "[MASK]", "lstrip": true}}, "additional_special_tokens": ["a"]}`))
	f.Add([]byte(withPostProcessor(`{"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]}`)), []byte(""), []byte("{}"))
	f.Add([]byte(`{"model": {"type": "BPE"}}`), []byte(""), []byte(""))
	f.Add([]byte(bytesJSON), []byte(""), []byte(`{"tokenizer_class": "RobertaTokenizer", "add_prefix_space": false}`))
	f.Add([]byte(piecesJSON), []byte(""), []byte(`{"tokenizer_class": "XLMRobertaTokenizer"}`))
	f.Add([]byte(strings.Replace(smallJSON, `"##a": 7`, `"##a": 2147483647`, 1)), []byte(""), []byte(""))
	f.Fuzz(func(t *testing.T, json, vocab, config []byte) {
		fsys := fstest.MapFS{}
		for name, content := range map[string][]byte{tokenizerFile: json, vocabFile: vocab, configFile: config} {
			if len(content) > 0 {
				fsys[name] = &fstest.MapFile{Data: content}
			}
		}
		tok, err := OpenTokenizer(fsys, "m")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "tokenizer: m") {
				t.Fatalf("the error does not say where: %v", err)
			}
			return
		}
		enc, _, err := EncodePair(tok, "a aa [MASK]b CAB Ünï 北[SEP]"+strings.Repeat("x", 1500), "a\u0301.b", true, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range enc.IDs {
			if id < 0 || int(id) >= tok.VocabSize() {
				t.Fatalf("id %d of %d", id, tok.VocabSize())
			}
		}
	})
}

// bytesJSON is a small byte-level tokenizer, piecesJSON one of SentencePiece's kind.
const (
	bytesJSON = `{"added_tokens": [{"id": 0, "content": "<s>", "special": true}, {"id": 1, "content": "</s>", "special": true}, {"id": 7, "content": "<mask>", "lstrip": true, "special": true}],
	"normalizer": null, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
	"post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": true, "add_prefix_space": false},
	"model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false,
		"vocab": {"<s>": 0, "</s>": 1, "<pad>": 2, "a": 3, "Ġ": 4, "Ġa": 5, "aa": 6}, "merges": ["Ġ a", ["a", "a"]]}}`
	piecesJSON = `{"added_tokens": [{"id": 0, "content": "<s>", "special": true}, {"id": 2, "content": "</s>", "special": true}, {"id": 7, "content": "<mask>", "lstrip": true, "special": true}],
	"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
	"pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}]},
	"post_processor": {"type": "TemplateProcessing",
		"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
		"pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}},
			{"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
		"special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}}},
	"model": {"type": "Unigram", "unk_id": 3, "byte_fallback": false, "vocab": [["<s>", 0], ["<pad>", 0], ["</s>", 0], ["<unk>", 0], ["▁", -2], ["▁a", -1], ["a", -1.5]]}}`
)

// The older files of the other families: hostile ones give a clear error, or a tokenizer that keeps its promises.
func FuzzOlderFiles(f *testing.F) {
	f.Add("roberta", []byte(`{"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "a": 4, "aa": 5}`), []byte("#version: 0.2\na a\n"), []byte("{}"))
	for name, g := range familyGoldens(f) {
		files := g.folder(f)
		for _, file := range []string{modelfiles.SentencePieceBPE, modelfiles.SentencePieceS} {
			if content := files[file]; content != nil {
				f.Add(strings.TrimSuffix(name, "-cased"), content.Data, []byte(""), []byte(`{"do_lower_case": true, "keep_accents": false}`))
			}
		}
	}
	f.Fuzz(func(t *testing.T, model string, first, second, config []byte) {
		fsys := fstest.MapFS{"config.json": {Data: []byte(`{"model_type": "` + model + `"}`)}}
		for name, content := range map[string][]byte{
			modelfiles.VocabularyJSON: first, modelfiles.SentencePieceBPE: first, modelfiles.SentencePieceS: first, modelfiles.SentencePieceSPM: first,
			modelfiles.Merges: second, configFile: config,
		} {
			if len(content) > 0 {
				fsys[name] = &fstest.MapFile{Data: content}
			}
		}
		tok, err := OpenTokenizer(fsys, "m")
		if err != nil {
			if !strings.HasPrefix(err.Error(), "tokenizer: m") {
				t.Fatalf("the error does not say where: %v", err)
			}
			return
		}
		enc, _, err := EncodePair(tok, "a aa <mask>b CAB Ünï 北</s>"+strings.Repeat("x", 500), "a\u0301.b 1,", true, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range enc.IDs {
			if id < 0 || int(id) >= tok.VocabSize() {
				t.Fatalf("id %d of %d", id, tok.VocabSize())
			}
		}
	})
}
