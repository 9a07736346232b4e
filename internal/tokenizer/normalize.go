package tokenizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Normalizer rewrites a text before it is cut into words.
type Normalizer interface {
	// Normalize returns s itself where nothing is to be rewritten.
	Normalize(s string) string
}

// NormalizerFunc is a function as a Normalizer.
type NormalizerFunc func(s string) string

// Normalize calls f.
func (f NormalizerFunc) Normalize(s string) string { return f(s) }

// normalizers are one after another.
type normalizers []Normalizer

func (n normalizers) Normalize(s string) string {
	for _, part := range n {
		s = part.Normalize(s)
	}
	return s
}

// simpleNormalizers have no options.
var simpleNormalizers = map[string]NormalizerFunc{
	"NFC":          nfc,
	"NFD":          nfd,
	"NFKC":         nfkc,
	"NFKD":         nfkd,
	"Lowercase":    lowercase,
	"StripAccents": stripAccents,
	"Nmt":          nmt,
}

// ParseNormalizer reads the normalizer of a tokenizer.json; null is one that changes nothing.
func ParseNormalizer(raw json.RawMessage) (Normalizer, error) {
	kind, err := typeOf(raw)
	if err != nil {
		return nil, err
	}
	if simple, ok := simpleNormalizers[kind]; ok {
		return simple, onlyType(raw, kind)
	}
	switch kind {
	case "":
		return normalizers(nil), nil
	case "Sequence":
		var sequence struct {
			Type  string            `json:"type"`
			Parts []json.RawMessage `json:"normalizers"`
		}
		if err := parseStrictly(raw, &sequence, kind); err != nil {
			return nil, err
		}
		all := normalizers{}
		for _, part := range sequence.Parts {
			n, err := ParseNormalizer(part)
			if err != nil {
				return nil, err
			}
			all = append(all, n)
		}
		return all, nil
	case "BertNormalizer":
		return parseCleaner(raw)
	case "Strip":
		return parseStrip(raw)
	case "Replace":
		return parseReplace(raw)
	case "Prepend":
		var prepend struct {
			Type string `json:"type"`
			Text string `json:"prepend"`
		}
		if err := parseStrictly(raw, &prepend, kind); err != nil {
			return nil, err
		}
		return NormalizerFunc(func(s string) string {
			if s == "" {
				return s
			}
			return prepend.Text + s
		}), nil
	case "Precompiled":
		return parseCharsmap(raw)
	}
	return nil, fmt.Errorf("type %.40s is not supported; want BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, Replace, Prepend, Nmt, Precompiled or a Sequence of them", kind)
}

func parseCleaner(raw json.RawMessage) (Normalizer, error) {
	var n struct {
		Type    string `json:"type"`
		Clean   *bool  `json:"clean_text"`
		Chinese *bool  `json:"handle_chinese_chars"`
		Strip   *bool  `json:"strip_accents"`
		Lower   *bool  `json:"lowercase"`
	}
	if err := parseStrictly(raw, &n, "BertNormalizer"); err != nil {
		return nil, err
	}
	if n.Clean == nil || n.Chinese == nil || n.Lower == nil {
		return nil, lacks("BertNormalizer", "one of clean_text, handle_chinese_chars, lowercase")
	}
	c := Cleaner{Clean: *n.Clean, Chinese: *n.Chinese, Lower: *n.Lower, Strip: *n.Lower}
	if n.Strip != nil {
		c.Strip = *n.Strip
	}
	return c, nil
}

func parseStrip(raw json.RawMessage) (Normalizer, error) {
	var n struct {
		Type  string `json:"type"`
		Left  *bool  `json:"strip_left"`
		Right *bool  `json:"strip_right"`
	}
	if err := parseStrictly(raw, &n, "Strip"); err != nil {
		return nil, err
	}
	if n.Left == nil || n.Right == nil {
		return nil, lacks("Strip", "one of strip_left, strip_right")
	}
	left, right := *n.Left, *n.Right
	return NormalizerFunc(func(s string) string {
		if left {
			s = strings.TrimLeftFunc(s, unicode.IsSpace)
		}
		if right {
			s = strings.TrimRightFunc(s, unicode.IsSpace)
		}
		return s
	}), nil
}

func parseReplace(raw json.RawMessage) (Normalizer, error) {
	var n struct {
		Type    string   `json:"type"`
		Pattern *pattern `json:"pattern"`
		Content *string  `json:"content"`
	}
	if err := parseStrictly(raw, &n, "Replace"); err != nil {
		return nil, err
	}
	if n.Pattern == nil || n.Content == nil {
		return nil, lacks("Replace", "one of pattern, content")
	}
	content := *n.Content
	if text := n.Pattern.text; text != "" {
		return NormalizerFunc(func(s string) string { return strings.ReplaceAll(s, text, content) }), nil
	}
	if n.Pattern.source == gpt2Pattern {
		return nil, fmt.Errorf("%s: the pattern that cuts words is not supported", "Replace")
	}
	expression, needed := n.Pattern.expression, ""
	if n.Pattern.source == " {2,}" { // every SentencePiece tokenizer's; a search is far quicker than an expression
		needed = "  "
	}
	return NormalizerFunc(func(s string) string {
		if !strings.Contains(s, needed) {
			return s
		}
		return expression.ReplaceAllLiteralString(s, content)
	}), nil
}

func lowercase(s string) string {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' {
			w := cleanWriter{Cleaner: Cleaner{Lower: true}, dst: make([]byte, 0, len(s)+8)}
			for _, r := range s {
				w.put(r)
			}
			return string(w.dst)
		}
	}
	return s
}

func stripAccents(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf && isMark(r) {
			return -1
		}
		return r
	}, s)
}

// nmt drops and blanks what SentencePiece's rule of that name does.
func nmt(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 1 <= r && r <= 8, r == 0xb, 0xe <= r && r <= 0x1f, r == 0x7f, r == 0x8f, r == 0x9f:
			return -1
		case r == '\t', r == '\n', r == '\f', r == '\r', r == 0x1680, 0x200b <= r && r <= 0x200f,
			r == 0x2028, r == 0x2029, r == 0x2581, r == 0xfeff, r == 0xfffd:
			return ' '
		}
		return r
	}, s)
}
