package data

import (
	"strings"
	"unicode/utf8"

	"github.com/deeplora/deeplora/internal/tokenizer"
)

// goTokenizer is BERT's tokenizer in Go: it finds the added tokens, cleans the text between them, cuts that into
// words and the words into word pieces (docs/decisions/0011-tokenizer.md).
type goTokenizer struct {
	*vocabulary
	raw, normalized *tokenizer.Matcher
	first, later    pieces // for the beginning of a word, and for what follows it
}

var _ Tokenizer = (*goTokenizer)(nil)

func newWordPiece(v *vocabulary) *goTokenizer {
	t := &goTokenizer{
		vocabulary: v,
		raw:        tokenizer.NewMatcher(v.added, v.clean.Normalize, false),
		normalized: tokenizer.NewMatcher(v.added, v.clean.Normalize, true),
		first:      pieces{ids: v.ids},
		later:      pieces{ids: make(map[string]int32)},
	}
	for token, id := range v.ids {
		t.first.longest = max(t.first.longest, len(token))
		if rest, ok := strings.CutPrefix(token, v.prefix); ok {
			t.later.ids[rest] = id
			t.later.longest = max(t.later.longest, len(rest))
		}
	}
	return t
}

// pieces are the tokens that may stand at one place of a word, without the continuation prefix.
type pieces struct {
	ids     map[string]int32
	longest int // bytes
}

// prefix returns the longest piece that word begins with, and its length in bytes: 0 if there is none.
func (p pieces) prefix(word []byte) (id int32, n int) {
	for n = min(p.longest, len(word)); n > 0; n-- {
		if n < len(word) && !utf8.RuneStart(word[n]) {
			continue // within a code point
		}
		if id, ok := p.ids[string(word[:n])]; ok {
			return id, n
		}
	}
	return 0, 0
}

func (t *goTokenizer) Encode(text string) ([]int32, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	e := encoding{goTokenizer: t, ids: make([]int32, 0, len(text)/4+4)}
	e.raw.Split(text, e.piece, e.token)
	return e.ids, nil
}

// encoding is one call of Encode.
type encoding struct {
	*goTokenizer
	ids []int32
	buf []byte // the text at hand, normalised
}

func (e *encoding) token(id int32) { e.ids = append(e.ids, id) }

// piece encodes a text between added tokens.
func (e *encoding) piece(text string) {
	e.buf = e.clean.AppendTo(e.buf[:0], text)
	if e.normalized.Empty() {
		tokenizer.SplitWords(e.buf, e.word)
		return
	}
	e.normalized.Split(string(e.buf), func(s string) { tokenizer.SplitWords([]byte(s), e.word) }, e.token)
}

// word takes the longest piece from the left, again and again. If a rest begins with no piece, or the word is too
// long, the whole word is unknown.
func (e *encoding) word(word []byte) {
	known := len(e.ids)
	if len(word) > e.maxChars && utf8.RuneCount(word) > e.maxChars {
		e.ids = append(e.ids, e.special.UNK)
		return
	}
	for at := e.first; len(word) > 0; at = e.later {
		id, n := at.prefix(word)
		if n == 0 {
			e.ids = append(e.ids[:known], e.special.UNK)
			return
		}
		e.ids = append(e.ids, id)
		word = word[n:]
	}
}
