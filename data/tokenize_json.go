package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
)

// tokenizerJSON is the part of tokenizer.json that decides ids.
type tokenizerJSON struct {
	Added        []addedToken    `json:"added_tokens"`
	Normalizer   *normalizerJSON `json:"normalizer"`
	PreTokenizer *struct {
		Type string `json:"type"`
	} `json:"pre_tokenizer"`
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
	Type     string          `json:"type"`
	UNK      *string         `json:"unk_token"`
	Prefix   *string         `json:"continuing_subword_prefix"`
	MaxChars *int            `json:"max_input_chars_per_word"`
	Vocab    json.RawMessage `json:"vocab"`
	Merges   json.RawMessage `json:"merges"` // BPE's mark
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

func parseTokenizerJSON(content []byte, config *tokenizerConfig, file string) (*vocabulary, error) {
	var t tokenizerJSON
	if err := parseJSON(content, &t, file); err != nil {
		return nil, err
	}
	v, err := t.vocabulary()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := v.addAll(t.Added); err != nil {
		return nil, fmt.Errorf("%s: added_tokens: %w", file, err)
	}
	cls, sep, err := t.PostProcessor.specials()
	if err != nil {
		return nil, fmt.Errorf("%s: post_processor %w", file, err)
	}
	if err := v.findSpecials(cls.name, sep.name, config); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if v.special.CLS != cls.id || v.special.SEP != sep.id {
		return nil, fmt.Errorf("%s: post_processor gives %s and %s the ids %d and %d, the vocabulary %d and %d",
			file, cls.name, sep.name, cls.id, sep.id, v.special.CLS, v.special.SEP)
	}
	return v, nil
}

// vocabulary checks that t is BERT's kind of tokenizer and returns it, yet without added tokens.
func (t *tokenizerJSON) vocabulary() (*vocabulary, error) {
	m := &t.Model
	if kind := m.kind(); kind != "WordPiece" {
		return nil, fmt.Errorf("model is of type %.40s, which is not supported; want WordPiece, the tokenizer of BERT", kind)
	}
	clean, err := t.cleaner()
	if err != nil {
		return nil, err
	}
	switch {
	case t.PreTokenizer == nil:
		return nil, fmt.Errorf("pre_tokenizer is missing; want BertPreTokenizer")
	case t.PreTokenizer.Type != "BertPreTokenizer":
		return nil, fmt.Errorf("pre_tokenizer is of type %.40s, which is not supported; want BertPreTokenizer", t.PreTokenizer.Type)
	case m.UNK == nil || m.Prefix == nil || m.MaxChars == nil || len(m.Vocab) == 0:
		return nil, fmt.Errorf("model lacks one of unk_token, continuing_subword_prefix, max_input_chars_per_word, vocab")
	case *m.Prefix == "":
		return nil, fmt.Errorf(`model.continuing_subword_prefix is "", which is not supported; BERT's is "##"`)
	case *m.MaxChars < 1 || *m.MaxChars > maxWord:
		return nil, fmt.Errorf("model.max_input_chars_per_word is %d; want 1 to %d (BERT's is 100)", *m.MaxChars, maxWord)
	}
	v := &vocabulary{clean: clean, unk: *m.UNK, prefix: *m.Prefix, maxChars: *m.MaxChars}
	if err := json.Unmarshal(m.Vocab, &v.ids); err != nil {
		return nil, fmt.Errorf("model.vocab: want an object of tokens and ids from 0 to %d: %w", math.MaxInt32, err)
	}
	return v, v.index()
}

func (t *tokenizerJSON) cleaner() (cleaner, error) {
	n := t.Normalizer
	switch {
	case n == nil:
		return cleaner{}, fmt.Errorf("normalizer is missing; want BertNormalizer")
	case n.Type != "BertNormalizer":
		return cleaner{}, fmt.Errorf("normalizer is of type %.40s, which is not supported; want BertNormalizer", n.Type)
	case n.Clean == nil || n.Chinese == nil || n.Lower == nil:
		return cleaner{}, fmt.Errorf("normalizer lacks one of clean_text, handle_chinese_chars, lowercase")
	}
	c := cleaner{Clean: *n.Clean, Chinese: *n.Chinese, Lower: *n.Lower, Strip: *n.Lower}
	if n.Strip != nil {
		c.Strip = *n.Strip
	}
	return c, nil
}

// postProcessorJSON says which special tokens stand around the texts.
type postProcessorJSON struct {
	Type string `json:"type"`

	// TemplateProcessing
	Single   []templatePiece `json:"single"`
	Pair     []templatePiece `json:"pair"`
	Specials map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`

	// BertProcessing: a token and its id
	CLS []json.RawMessage `json:"cls"`
	SEP []json.RawMessage `json:"sep"`
}

type templatePiece struct {
	Special  *templateItem `json:"SpecialToken"`
	Sequence *templateItem `json:"Sequence"`
}

type templateItem struct {
	ID   string `json:"id"`
	Type int    `json:"type_id"`
}

// specials returns the tokens and ids of [CLS] and [SEP], having checked that inputs are put together
// as EncodePair does it.
func (p *postProcessorJSON) specials() (cls, sep namedID, err error) {
	switch {
	case p == nil:
		return cls, sep, fmt.Errorf("is missing; want TemplateProcessing or BertProcessing, as BERT's tokenizers have")
	case p.Type == "BertProcessing":
		if cls, err = namedIDFrom(p.CLS); err == nil {
			sep, err = namedIDFrom(p.SEP)
		}
		return cls, sep, err
	case p.Type != "TemplateProcessing":
		return cls, sep, fmt.Errorf("is of type %.40s, which is not supported; want TemplateProcessing or BertProcessing", p.Type)
	case len(p.Single) != 3 || p.Single[0].Special == nil || p.Single[2].Special == nil:
		return cls, sep, errTemplate
	}
	cls.name, sep.name = p.Single[0].Special.ID, p.Single[2].Special.ID
	c, a, s := cls.name+":0", sequence+"A:0", sep.name+":0"
	if spell(p.Single) != join(c, a, s) || spell(p.Pair) != join(c, a, s, sequence+"B:1", sep.name+":1") {
		return cls, sep, errTemplate
	}
	for _, n := range []*namedID{&cls, &sep} {
		ids := p.Specials[n.name].IDs
		if len(ids) != 1 {
			return cls, sep, fmt.Errorf("special_tokens gives %q %d ids; want one", n.name, len(ids))
		}
		n.id = ids[0]
	}
	return cls, sep, nil
}

var errTemplate = errors.New("has another template than BERT's; want [CLS] A [SEP] of type 0, and B [SEP] of type 1 behind it for a pair")

// sequence marks a text's place in a spelled template, where a special token has its name.
const sequence = "\x01"

func join(pieces ...string) string { return strings.Join(pieces, "\x00") }

// spell writes a template in a comparable form.
func spell(template []templatePiece) string {
	pieces := make([]string, len(template))
	for i, p := range template {
		switch {
		case p.Special != nil:
			pieces[i] = fmt.Sprintf("%s:%d", p.Special.ID, p.Special.Type)
		case p.Sequence != nil:
			pieces[i] = fmt.Sprintf("%s%s:%d", sequence, p.Sequence.ID, p.Sequence.Type)
		}
	}
	return join(pieces...)
}

type namedID struct {
	name string
	id   int32
}

func namedIDFrom(tuple []json.RawMessage) (n namedID, err error) {
	if len(tuple) == 2 {
		if err = json.Unmarshal(tuple[0], &n.name); err == nil {
			err = json.Unmarshal(tuple[1], &n.id)
		}
	}
	if len(tuple) != 2 || err != nil {
		return n, fmt.Errorf(`wants cls and sep to be a token and its id, as ["[SEP]", 102]`)
	}
	return n, nil
}
