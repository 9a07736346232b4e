package tokenizer

import (
	"encoding/json"
	"unicode"
	"unicode/utf8"
)

// byteLevel cuts as GPT-2 does, into words that begin with the space before them, which its model reads byte by byte.
type byteLevel struct {
	prefix bool // a text begins with a space, given one where it has none
	words  bool // cut; else the text stays whole
}

func parseByteLevel(raw json.RawMessage) (PreTokenizer, error) {
	var p struct {
		Type   string `json:"type"`
		Prefix *bool  `json:"add_prefix_space"`
		Trim   *bool  `json:"trim_offsets"` // of places in the text, which ids do not know
		Regex  *bool  `json:"use_regex"`
	}
	if err := parseStrictly(raw, &p, "ByteLevel"); err != nil {
		return nil, err
	}
	if p.Prefix == nil {
		return nil, lacks("ByteLevel", "add_prefix_space")
	}
	return byteLevel{*p.Prefix, p.Regex == nil || *p.Regex}, nil
}

func (b byteLevel) Split(s string, first bool, yield func(string, bool)) {
	if s == "" {
		return
	}
	if b.prefix && s[0] != ' ' {
		s = " " + s
	}
	if !b.words {
		yield(s, first)
		return
	}
	wordsOfGPT2(s, func(start, end int) { yield(s[start:end], first && start == 0) })
}

// kinds of characters that runs are made of.
const (
	spaces = iota
	letters
	numbers
	others
)

func kindOf(r rune) int {
	switch {
	case 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z':
		return letters
	case r == ' ':
		return spaces
	case '0' <= r && r <= '9':
		return numbers
	case unicode.IsSpace(r):
		return spaces
	case r < utf8.RuneSelf:
		return others
	case isLetter(r):
		return letters
	case isNumber(r):
		return numbers
	}
	return others
}

// wordsOfGPT2 calls found with each match of gpt2Pattern; they cover all of s. A word is an English ending behind an
// apostrophe, or a run of letters, of numbers or of others, with a space before it where there is one. White space is
// a run too, but for its last character, which is left to the word behind it.
func wordsOfGPT2(s string, found func(start, end int)) {
	for start := 0; start < len(s); {
		end := wordEnd(s, start)
		found(start, end)
		start = end
	}
}

func wordEnd(s string, start int) int {
	if s[start] == '\'' {
		if n := ending(s[start+1:]); n > 0 {
			return start + 1 + n
		}
	}
	at := start
	if s[at] == ' ' && at+1 < len(s) {
		at++
	}
	r, size := utf8.DecodeRuneInString(s[at:])
	kind := kindOf(r)
	if kind != spaces {
		return runEnd(s, at+size, kind)
	}
	_, size = utf8.DecodeRuneInString(s[start:])
	end := runEnd(s, start+size, spaces)
	if end == len(s) {
		return end
	}
	if _, last := utf8.DecodeLastRuneInString(s[start:end]); end-last > start {
		return end - last
	}
	return end
}

// runEnd is where characters of one kind end.
func runEnd(s string, at, kind int) int {
	for at < len(s) {
		r, size := rune(s[at]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[at:])
		}
		if kindOf(r) != kind {
			break
		}
		at += size
	}
	return at
}

// ending is the length of s, t, re, ve, m, ll or d at the beginning of s, 0 if none is there.
func ending(s string) int {
	if s == "" {
		return 0
	}
	switch s[0] {
	case 's', 't', 'm', 'd':
		return 1
	}
	if len(s) > 1 {
		switch s[:2] {
		case "re", "ve", "ll":
			return 2
		}
	}
	return 0
}

// alphabet spells each byte as a character that can be seen: the printable ones of Latin-1 stand for themselves, the
// others are numbered on from U+0100.
var alphabet = func() (letters [256]string) {
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if '!' <= r && r <= '~' || 0xA1 <= r && r <= 0xAC || 0xAE <= r && r <= 0xFF {
			letters[b] = string(r)
			continue
		}
		letters[b] = string(next)
		next++
	}
	return letters
}()
