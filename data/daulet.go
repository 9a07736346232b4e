//go:build daulet

package data

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"

	tokenizers "github.com/daulet/tokenizers"
)

// rustTokenizer is Hugging Face's own library behind cgo, in the build tag daulet. It needs
// libtokenizers.a: see scripts/build_tokenizers.sh.
type rustTokenizer struct {
	*vocabulary
	library *tokenizers.Tokenizer
	ours    Tokenizer // of texts with NUL, which do not cross as a C string
}

var _ Tokenizer = (*rustTokenizer)(nil)

// newTokenizer makes the tokenizer that OpenTokenizer returns.
func newTokenizer(v *vocabulary) (Tokenizer, error) { return newRustTokenizer(v) }

func newRustTokenizer(v *vocabulary) (*rustTokenizer, error) {
	content, err := json.Marshal(v.document())
	if err != nil {
		return nil, err
	}
	library, err := tokenizers.FromBytes(content)
	if err != nil {
		return nil, err
	}
	t := &rustTokenizer{vocabulary: v, library: library, ours: newGoTokenizer(v)}
	runtime.AddCleanup(t, func(library *tokenizers.Tokenizer) { library.Close() }, library)
	return t, nil
}

func (t *rustTokenizer) Encode(text string) ([]int32, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	if strings.ContainsRune(text, 0) {
		return t.ours.Encode(text)
	}
	encoded, err := t.library.EncodeWithOptionsErr(text, false)
	runtime.KeepAlive(t)
	if err != nil {
		return nil, fmt.Errorf("tokenizers library: %w", err)
	}
	ids := make([]int32, len(encoded.IDs))
	for i, id := range encoded.IDs {
		ids[i] = int32(id)
	}
	return ids, nil
}

// document is a tokenizer.json for v, without truncation, padding and special tokens around a text.
func (v *vocabulary) document() map[string]any {
	d := map[string]any{
		"version": "1.0", "truncation": nil, "padding": nil, "post_processor": nil, "decoder": nil,
		"added_tokens": append([]addedToken{}, v.added...),
		"normalizer": map[string]any{
			"type": "BertNormalizer", "clean_text": v.clean.Clean, "handle_chinese_chars": v.clean.Chinese,
			"strip_accents": v.clean.Strip, "lowercase": v.clean.Lower,
		},
		"pre_tokenizer": map[string]any{"type": "BertPreTokenizer"},
		"model": map[string]any{
			"type": "WordPiece", "unk_token": v.unk, "continuing_subword_prefix": v.prefix,
			"max_input_chars_per_word": v.maxChars, "vocab": v.ids,
		},
	}
	if v.pipeline != nil {
		d["normalizer"], d["pre_tokenizer"], d["model"] = orNull(v.parts.normalizer), orNull(v.parts.preTokenizer), v.parts.model()
	}
	return d
}

func orNull(raw []byte) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

// model is the model of a tokenizer.json.
func (p parts) model() map[string]any {
	if u := p.unigram; u != nil {
		vocab := make([][2]any, len(u.Pieces))
		for i, piece := range u.Pieces {
			vocab[i] = [2]any{piece.Text, piece.Score}
		}
		return map[string]any{"type": "Unigram", "unk_id": u.Unknown, "byte_fallback": u.ByteFallback, "vocab": vocab}
	}
	b := p.bpe
	m := map[string]any{
		"type": "BPE", "dropout": nil, "fuse_unk": b.FuseUnknown, "byte_fallback": b.ByteFallback, "ignore_merges": b.IgnoreMerges,
		"vocab": b.Vocab, "merges": b.Merges, "unk_token": nil, "continuing_subword_prefix": nil, "end_of_word_suffix": nil,
	}
	for name, value := range map[string]string{"unk_token": b.Unknown, "continuing_subword_prefix": b.Prefix, "end_of_word_suffix": b.Suffix} {
		if value != "" {
			m[name] = value
		}
	}
	return m
}
