package data

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/deeplora/deeplora/internal/modelfiles"
)

func TestPipelines(t *testing.T) {
	const vocabJSON, merges = `{"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "a": 4, "Ġ": 5, "aa": 6, "Ġa": 7}`, "#version: 0.2\na a\nĠ a\n"
	older := func(config string) map[string]string {
		return map[string]string{modelfiles.VocabularyJSON: vocabJSON, modelfiles.Merges: merges, configFile: config}
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		text  string
		want  []int32
	}{
		{"bytes", map[string]string{tokenizerFile: bytesJSON}, "aaa a", []int32{6, 3, 5}},
		{"bytes that no token spells are lost", map[string]string{tokenizerFile: bytesJSON}, "abé", []int32{3}},
		{"a mask and the space before it", map[string]string{tokenizerFile: bytesJSON}, "a <mask> a", []int32{3, 7, 5}},
		{"vocab.json, agreeing", map[string]string{tokenizerFile: bytesJSON, modelfiles.VocabularyJSON: `{"a": 3, "aa": 6}`}, "aa", []int32{6}},
		{"a space is put before", map[string]string{tokenizerFile: strings.Replace(bytesJSON, `"add_prefix_space": false, "trim_offsets": true, "use`, `"add_prefix_space": true, "trim_offsets": true, "use`, 1)}, "a", []int32{5}},
		{"pieces", map[string]string{tokenizerFile: piecesJSON}, "a  A\ta", []int32{5, 5, 5}},
		{"unknown letters in a row are one", map[string]string{tokenizerFile: piecesJSON}, "axya", []int32{5, 3, 6}},
		{"case is not what this class heeds", map[string]string{tokenizerFile: piecesJSON, configFile: `{"tokenizer_class": "XLMRobertaTokenizerFast", "do_lower_case": false}`}, "A", []int32{5}},
		{"older files", older(`{"tokenizer_class": "RobertaTokenizer"}`), "aa a<mask>a", []int32{6, 7, 8, 4}},
		{"older files, by the model's type", map[string]string{modelfiles.VocabularyJSON: vocabJSON, modelfiles.Merges: merges, "config.json": `{"model_type": "roberta"}`}, "aa", []int32{6}},
		{"older files, with a space before", older(`{"tokenizer_class": "RobertaTokenizer", "add_prefix_space": true}`), "a", []int32{7}},
		{"older files, a mask that strips", older(`{"tokenizer_class": "RobertaTokenizerFast", "mask_token": {"content": "<mask>", "lstrip": true}}`), "a <mask>", []int32{4, 8}},
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
		})
	}
	tok, err := openFiles(map[string]string{tokenizerFile: bytesJSON})
	if err != nil {
		t.Fatal(err)
	}
	if s := tok.Special(); s.UNK != -1 || s.PAD != 2 || s.MASK != 7 || s.Count(true) != 4 || tok.VocabSize() != 8 {
		t.Errorf("special tokens %+v, %d around a pair, vocabulary of %d", s, s.Count(true), tok.VocabSize())
	}
	if enc, cut, err := EncodePair(tok, "a a", "a", true, 5); err != nil || cut != 2 || !slices.Equal(enc.IDs, []int32{0, 1, 1, 3, 1}) && !slices.Equal(enc.IDs, []int32{0, 3, 1, 1, 1}) {
		t.Errorf("%v, %d cut, %v", enc.IDs, cut, err)
	}
	if _, _, err := EncodePair(tok, "a", "a", true, 3); err == nil || !strings.Contains(err.Error(), "want at least 4, the special tokens alone") {
		t.Errorf("three tokens for a pair: %v", err)
	}
}

func TestPipelineErrors(t *testing.T) {
	change := func(in, old, new string) map[string]string {
		if strings.Count(in, old) != 1 {
			t.Fatalf("%q is there %d times", old, strings.Count(in, old))
		}
		return map[string]string{tokenizerFile: strings.Replace(in, old, new, 1)}
	}
	with := func(in, config string) map[string]string {
		return map[string]string{tokenizerFile: in, configFile: config}
	}
	normalizer := func(n string) map[string]string { return change(bytesJSON, `"normalizer": null`, `"normalizer": `+n) }
	pre := func(p string) map[string]string {
		return change(bytesJSON, `{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}`, p)
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"dropout", change(bytesJSON, `"dropout": null`, `"dropout": 0.1`), "m/tokenizer.json: model.dropout is 0.1, which is not supported; want null"},
		{"a field of tomorrow", change(bytesJSON, `"fuse_unk": false`, `"fuse_unk": false, "vowels": true`), "m/tokenizer.json: model.vowels is true, a field that is not known"},
		{"no such merge", change(bytesJSON, `"Ġ a"`, `"Ġ b"`), `model: merges: "b", of number 1, is not in the vocabulary; are they of one model?`},
		{"a merge of three", change(bytesJSON, `"Ġ a"`, `"Ġ a a"`), `model.merges: a merge is "Ġ a a"; want two tokens with one space between`},
		{"unk_token not there", change(bytesJSON, `"unk_token": null`, `"unk_token": "x"`), `model: unk_token "x" is not in the vocabulary`},
		{"no such normalizer", normalizer(`{"type": "ByteLevel"}`), "normalizer: type ByteLevel is not supported; want BertNormalizer, NFC"},
		{"within a Sequence", normalizer(`{"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Sequence", "normalizers": [{"type": "X"}]}]}`), "normalizer: type X is not supported"},
		{"no type", normalizer(`{"kind": "NFC"}`), `normalizer: is {"kind": "NFC"}; it has no type`},
		{"an option that is not known", normalizer(`{"type": "NFC", "form": 1}`), `normalizer: NFC: unknown field "form"`},
		{"looking ahead", normalizer(`{"type": "Replace", "pattern": {"Regex": "a(?!b)"}, "content": ""}`), `normalizer: Replace: pattern "a(?!b)" is not supported: (?!b is more than Go's expressions do`},
		{"a line's end", normalizer(`{"type": "Replace", "pattern": {"Regex": "a$"}, "content": ""}`), "$ means a line's end"},
		{"an escape", normalizer(`{"type": "Replace", "pattern": {"Regex": "\\bx"}, "content": ""}`), `the escape \bx is not known`},
		{"matches nothing", normalizer(`{"type": "Replace", "pattern": {"Regex": "a*"}, "content": ""}`), "it matches nothing at all"},
		{"no pattern", normalizer(`{"type": "Replace", "content": ""}`), "Replace lacks one of pattern, content"},
		{"half an option", normalizer(`{"type": "Strip", "strip_left": true}`), "Strip lacks one of strip_left, strip_right"},
		{"no base64", normalizer(`{"type": "Precompiled", "precompiled_charsmap": "?"}`), "precompiled_charsmap is no base64"},
		{"half a table", normalizer(`{"type": "Precompiled", "precompiled_charsmap": "CAAAAAAA"}`), "the file is damaged"},
		{"no such pre_tokenizer", pre(`{"type": "UnicodeScripts"}`), "pre_tokenizer: type UnicodeScripts is not supported; want BertPreTokenizer, ByteLevel"},
		{"bytes first", pre(`{"type": "Sequence", "pretokenizers": [{"type": "ByteLevel", "add_prefix_space": false}, {"type": "WhitespaceSplit"}]}`), "pre_tokenizer: ByteLevel is not the last of the Sequence"},
		{"no such behavior", pre(`{"type": "Punctuation", "behavior": "Kept"}`), `pre_tokenizer: Punctuation: behavior is "Kept"; want Isolated`},
		{"two spaces for one", pre(`{"type": "Metaspace", "replacement": "__"}`), "Metaspace: replacement is not one character"},
		{"a scheme nobody has", pre(`{"type": "Metaspace", "replacement": "_", "prepend_scheme": "last"}`), `prepend_scheme is "last"; want always, first or never`},
		{"schemes that disagree", pre(`{"type": "Metaspace", "replacement": "_", "prepend_scheme": "first", "add_prefix_space": false}`), "add_prefix_space is false, prepend_scheme first"},
		{"bytes before pieces", change(piecesJSON, `{"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}]}`, `{"type": "ByteLevel", "add_prefix_space": false}`), "ByteLevel stands before a model other than BPE"},
		{"nothing for the unknown", change(piecesJSON, `"unk_id": 3, `, ``), "model.unk_id is missing"},
		{"the unknown is nowhere", change(piecesJSON, `"unk_id": 3`, `"unk_id": 30`), "model: unk_id is 30 of 7 tokens"},
		{"a token without score", change(piecesJSON, `["a", -1.5]`, `["a"]`), `a token is ["a"]; want its text and its score`},
		{"<mask> has another id", change(piecesJSON, `"id": 7`, `"id": 9`), `added_tokens: "<mask>" has id 9; want 7`},
		{"a special token is nowhere", change(piecesJSON, `"ids": [2]`, `"ids": [20]`), "post_processor gives <s> and </s> the ids 0 and 20, the vocabulary 0 and 2"},

		{"another class's model", with(piecesJSON, `{"tokenizer_class": "RobertaTokenizer"}`), "m/tokenizer_config.json: tokenizer_class is RobertaTokenizer, whose model is of type BPE, but in m/tokenizer.json it is of type Unigram"},
		{"prefix disagrees", with(bytesJSON, `{"tokenizer_class": "RobertaTokenizer", "add_prefix_space": true}`), "m/tokenizer_config.json says add_prefix_space true, m/tokenizer.json has add_prefix_space false; correct the one that is wrong"},
		{"case disagrees", with(piecesJSON, `{"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": false}`), "says do_lower_case false, m/tokenizer.json has lower-casing true"},
		{"accents disagree", with(piecesJSON, `{"tokenizer_class": "AlbertTokenizer", "keep_accents": false}`), "says keep_accents false, m/tokenizer.json has accents kept true"},
		{"punctuation disagrees", with(piecesJSON, `{"tokenizer_class": "DebertaV2TokenizerFast", "split_by_punct": true}`), "says split_by_punct true, m/tokenizer.json has cutting at punctuation false"},
		{"vocab.json disagrees", map[string]string{tokenizerFile: bytesJSON, modelfiles.VocabularyJSON: `{"a": 4}`}, `m/tokenizer.json and m/vocab.json disagree on token "a", which has the ids 3 and 4`},
		{"sampling", with(piecesJSON, `{"sp_model_kwargs": {"enable_sampling": true}}`), `sp_model_kwargs is {"enable_sampling":true}, which is not supported`},
		{"DeBERTa's first vocabulary", with(piecesJSON, `{"vocab_type": "gpt2"}`), `vocab_type is "gpt2", which is not supported; want null or "spm"`},

		{"merges.txt is missing", map[string]string{modelfiles.VocabularyJSON: "{}", "config.json": `{"model_type": "roberta"}`}, "m has no tokenizer of RobertaTokenizer: looked for tokenizer.json, and for vocab.json with merges.txt"},
		{"a line of three", map[string]string{modelfiles.VocabularyJSON: "{}", modelfiles.Merges: "#version: 0.2\na b c\n", "config.json": `{"model_type": "roberta"}`}, `m/merges.txt:2: a merge is "a b c"; want two tokens`},
		{"pieces of nobody knows what", map[string]string{modelfiles.SentencePieceS: "x"}, `m has spiece.model, but nothing says what reads it; write tokenizer_class into tokenizer_config.json, as "AlbertTokenizer"`},
		{"no SentencePiece model", map[string]string{modelfiles.SentencePieceS: "x", "config.json": `{"model_type": "albert"}`}, "m/spiece.model: no SentencePiece model, or a damaged one"},
		{"an empty one", map[string]string{modelfiles.SentencePieceSPM: "", "config.json": `{"model_type": "deberta-v2"}`}, "m/spm.model: no SentencePiece model, or a damaged one: it has no tokens"},
		{"BPE of SentencePiece's", map[string]string{modelfiles.SentencePieceS: "\n\x07\n\x05<unk>\x12\x02\x18\x02", "config.json": `{"model_type": "albert"}`}, "m/spiece.model: the model is of kind 2, which is not supported; want 1, unigram"},
		{"bytes of SentencePiece's", map[string]string{modelfiles.SentencePieceS: "\n\x07\n\x05<unk>\x12\x03\x98\x02\x01", "config.json": `{"model_type": "albert"}`}, "m/spiece.model: byte_fallback is not supported"},
		{"added tokens of another vocabulary", map[string]string{modelfiles.VocabularyJSON: `{"<s>": 0, "</s>": 1, "<pad>": 2}`, modelfiles.Merges: "", addedFile: `{"<x>": 9}`, "config.json": `{"model_type": "roberta"}`}, `m/added_tokens.json: "<x>" has the id 9, which nothing else gives it`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := openFiles(c.files)
			if err == nil || !strings.HasPrefix(err.Error(), "tokenizer: m") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant tokenizer: … %s", err, c.want)
			}
		})
	}
}

// Goroutines that share a tokenizer, and the words that it remembers, get what one alone gets.
func TestPipelineConcurrently(t *testing.T) {
	open := func() Tokenizer {
		tok, err := OpenTokenizer(fstest.MapFS{tokenizerFile: {Data: []byte(piecesJSON)}}, "m")
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	shared := open()
	texts := make([]string, 300)
	for i := range texts {
		texts[i] = strings.Repeat("a", i%40) + " " + strings.Repeat("aX", i%7) + " <mask> " + strings.Repeat("é", i%3)
	}
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			alone := open()
			for i := range texts {
				text := texts[(i*(2*g+1))%len(texts)]
				got, err := shared.Encode(text)
				want, _ := alone.Encode(text)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
				}
			}
		})
	}
	wait.Wait()
}
