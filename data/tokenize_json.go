package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/tokenizer"
)

// tokenizerJSON is the part of tokenizer.json that decides ids.
type tokenizerJSON struct {
	Added         []addedToken       `json:"added_tokens"`
	Normalizer    json.RawMessage    `json:"normalizer"`
	PreTokenizer  json.RawMessage    `json:"pre_tokenizer"`
	PostProcessor *postProcessorJSON `json:"post_processor"`
	Model         modelJSON          `json:"model"`
}

type normalizerJSON struct {
	Type    string `json:"type"`
	Clean   *bool  `json:"clean_text"`
	Chinese *bool  `json:"handle_chinese_chars"`
	Strip   *bool  `json:"strip_accents"` // null: as lowercase
	Lower   *bool  `json:"lowercase"`
}

type modelJSON struct {
	Type   string          `json:"type"`
	UNK    *string         `json:"unk_token"`
	Prefix *string         `json:"continuing_subword_prefix"`
	Vocab  json.RawMessage `json:"vocab"`

	MaxChars *int `json:"max_input_chars_per_word"` // of WordPiece

	// BPE
	Merges       json.RawMessage `json:"merges"`
	Dropout      *float64        `json:"dropout"`
	Suffix       *string         `json:"end_of_word_suffix"`
	FuseUNK      bool            `json:"fuse_unk"`
	IgnoreMerges bool            `json:"ignore_merges"`

	UNKID *int `json:"unk_id"` // of Unigram

	ByteFallback bool `json:"byte_fallback"` // of both
}

// kind names the model's type. Files from before 2020 do not say it, but can be told apart.
func (m *modelJSON) kind() string {
	switch {
	case m.Type != "":
		return m.Type
	case len(m.Merges) > 0:
		return "BPE"
	case bytes.HasPrefix(m.Vocab, []byte("[")):
		return "Unigram"
	case m.Prefix == nil:
		return "WordLevel"
	}
	return "WordPiece"
}

// modelFields are those of each type of model: one that is not here may ask for what is not done.
var modelFields = map[string][]string{
	"BPE": {
		"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk", "byte_fallback",
		"ignore_merges", "vocab", "merges",
	},
	"Unigram": {"type", "unk_id", "byte_fallback", "vocab"},
}

func parseTokenizerJSON(content []byte, config *tokenizerConfig, file string) (*vocabulary, error) {
	var t tokenizerJSON
	if err := parseJSON(content, &t, file); err != nil {
		return nil, err
	}
	v, err := t.vocabulary()
	if err == nil && v.pipeline != nil {
		err = checkFields(content, t.Model.kind())
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := v.addAll(t.Added); err != nil {
		return nil, fmt.Errorf("%s: added_tokens: %w", file, err)
	}
	around, err := t.PostProcessor.template()
	if err != nil {
		return nil, fmt.Errorf("%s: post_processor %w", file, err)
	}
	if err := v.findSpecials(around, config); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if v.special.CLS != around.cls.id || v.special.SEP != around.sep.id {
		return nil, fmt.Errorf("%s: post_processor gives %s and %s the ids %d and %d, the vocabulary %d and %d",
			file, around.cls.name, around.sep.name, around.cls.id, around.sep.id, v.special.CLS, v.special.SEP)
	}
	for _, p := range slices.Concat(around.single, around.pair) {
		if p.text == 0 && v.tokens[p.id] == "" {
			return nil, fmt.Errorf("%s: post_processor gives a special token the id %d, which the vocabulary has not", file, p.id)
		}
	}
	return v, nil
}

// checkFields refuses fields of the model that are not known.
func checkFields(content []byte, kind string) error {
	var t struct {
		Model map[string]json.RawMessage `json:"model"`
	}
	if err := json.Unmarshal(content, &t); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(t.Model)) {
		if !slices.Contains(modelFields[kind], name) {
			return fmt.Errorf("model.%.40s is %.40s, a field that is not known; want %s alone", name, t.Model[name], strings.Join(modelFields[kind], ", "))
		}
	}
	return nil
}

// vocabulary makes the tokenizer, yet without added tokens.
func (t *tokenizerJSON) vocabulary() (*vocabulary, error) {
	switch kind := t.Model.kind(); kind {
	case "WordPiece":
		return t.wordPiece()
	case "BPE":
		return t.bpe()
	case "Unigram":
		return t.unigram()
	default:
		return nil, fmt.Errorf("model is of type %.40s, which is not supported; want WordPiece, BPE or Unigram", kind)
	}
}

// wordPiece checks that t is BERT's kind of tokenizer and returns it.
func (t *tokenizerJSON) wordPiece() (*vocabulary, error) {
	m := &t.Model
	clean, err := t.cleaner()
	if err != nil {
		return nil, err
	}
	pre, err := t.preTokenizer()
	switch {
	case err != nil:
		return nil, err
	case pre == "":
		return nil, fmt.Errorf("pre_tokenizer is missing; want BertPreTokenizer")
	case pre != "BertPreTokenizer":
		return nil, fmt.Errorf("pre_tokenizer is of type %.40s, which is not supported; want BertPreTokenizer before a WordPiece model", pre)
	case m.UNK == nil || m.Prefix == nil || m.MaxChars == nil || len(m.Vocab) == 0:
		return nil, fmt.Errorf("model lacks one of unk_token, continuing_subword_prefix, max_input_chars_per_word, vocab")
	case *m.Prefix == "":
		return nil, fmt.Errorf(`model.continuing_subword_prefix is "", which is not supported; BERT's is "##"`)
	case *m.MaxChars < 1 || *m.MaxChars > maxWord:
		return nil, fmt.Errorf("model.max_input_chars_per_word is %d; want 1 to %d (BERT's is 100)", *m.MaxChars, maxWord)
	}
	v := &vocabulary{clean: clean, unk: *m.UNK, prefix: *m.Prefix, maxChars: *m.MaxChars}
	if v.ids, err = m.tokens(); err != nil {
		return nil, err
	}
	return v, v.index()
}

func (m *modelJSON) tokens() (ids map[string]int32, err error) {
	if err := json.Unmarshal(m.Vocab, &ids); err != nil {
		return nil, fmt.Errorf("model.vocab: want an object of tokens and ids from 0 to %d: %w", math.MaxInt32, err)
	}
	return ids, nil
}

func (t *tokenizerJSON) preTokenizer() (string, error) {
	var p struct {
		Type string `json:"type"`
	}
	if len(t.PreTokenizer) == 0 {
		return "", nil
	}
	if err := json.Unmarshal(t.PreTokenizer, &p); err != nil {
		return "", fmt.Errorf(`pre_tokenizer is %.40s; want an object with "type"`, t.PreTokenizer)
	}
	return p.Type, nil
}

func (t *tokenizerJSON) cleaner() (cleaner, error) {
	var n *normalizerJSON
	if len(t.Normalizer) > 0 {
		if err := json.Unmarshal(t.Normalizer, &n); err != nil {
			return cleaner{}, fmt.Errorf("normalizer: %w", err)
		}
	}
	switch {
	case n == nil:
		return cleaner{}, fmt.Errorf("normalizer is missing; want BertNormalizer")
	case n.Type != "BertNormalizer":
		return cleaner{}, fmt.Errorf("normalizer is of type %.40s, which is not supported; want BertNormalizer before a WordPiece model", n.Type)
	case n.Clean == nil || n.Chinese == nil || n.Lower == nil:
		return cleaner{}, fmt.Errorf("normalizer lacks one of clean_text, handle_chinese_chars, lowercase")
	}
	c := cleaner{Clean: *n.Clean, Chinese: *n.Chinese, Lower: *n.Lower, Strip: *n.Lower}
	if n.Strip != nil {
		c.Strip = *n.Strip
	}
	return c, nil
}

func (t *tokenizerJSON) bpe() (*vocabulary, error) {
	m := &t.Model
	if m.Dropout != nil && *m.Dropout != 0 {
		return nil, fmt.Errorf("model.dropout is %g, which is not supported; want null: with it a text has other ids each time", *m.Dropout)
	}
	ids, err := m.tokens()
	if err != nil {
		return nil, err
	}
	b := &tokenizer.BPE{Vocab: ids, FuseUnknown: m.FuseUNK, ByteFallback: m.ByteFallback, IgnoreMerges: m.IgnoreMerges}
	for _, s := range []struct {
		to   *string
		from *string
	}{{&b.Unknown, m.UNK}, {&b.Prefix, m.Prefix}, {&b.Suffix, m.Suffix}} {
		if s.from != nil {
			*s.to = *s.from
		}
	}
	if len(m.Merges) == 0 {
		return nil, errors.New("model.merges is missing; want a list of pairs of tokens")
	}
	if err := json.Unmarshal(m.Merges, &b.Merges); err != nil {
		return nil, fmt.Errorf("model.merges: %w", err)
	}
	v := &vocabulary{}
	return v, v.build(parts{t.Normalizer, t.PreTokenizer, b, nil})
}

func (t *tokenizerJSON) unigram() (*vocabulary, error) {
	m := &t.Model
	if m.UNKID == nil {
		return nil, errors.New("model.unk_id is missing, which is not supported; want the id of unknown text")
	}
	u := &tokenizer.Unigram{Unknown: *m.UNKID, ByteFallback: m.ByteFallback}
	if err := json.Unmarshal(m.Vocab, &u.Pieces); err != nil {
		return nil, fmt.Errorf("model.vocab: want a list of tokens and their scores: %w", err)
	}
	v := &vocabulary{}
	return v, v.build(parts{t.Normalizer, t.PreTokenizer, nil, u})
}
