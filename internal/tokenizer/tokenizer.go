// Package tokenizer holds the parts that tokenizers are put together from, each giving what Hugging Face's tokenizers
// library gives: normalisers, what cuts a text into words, and the models that turn a word into ids. It reads
// SentencePiece's files, and knows nothing of models' folders and of special tokens around a text.
package tokenizer

import (
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Model turns one word into ids.
type Model interface {
	// Append appends the ids of a word, which is not empty, to ids.
	Append(ids []int32, word string) []int32
	// IDs are its tokens.
	IDs() map[string]int32
	// Unknown is the id of what no token spells, -1 where such text gives nothing.
	Unknown() int32
}

// Pipeline turns texts into ids: it finds the added tokens, normalises the text between them, cuts that into words and
// asks the model for each. Safe for concurrent use.
type Pipeline struct {
	Added        []AddedToken
	Normalizer   Normalizer
	PreTokenizer PreTokenizer
	Model        Model

	raw, normalized *Matcher
	words           cache
}

// Prepare makes p ready to encode; its parts stay as they are from here on.
func (p *Pipeline) Prepare() {
	p.raw = NewMatcher(p.Added, p.Normalizer.Normalize, false)
	p.normalized = NewMatcher(p.Added, p.Normalizer.Normalize, true)
	p.words.ids = make(map[string][]int32)
}

// Encode appends the ids of a text, which must be valid UTF-8, to ids.
func (p *Pipeline) Encode(ids []int32, text string) []int32 {
	e := pipelineText{Pipeline: p, ids: ids, start: true}
	p.words.RLock()
	p.raw.Split(text, e.piece, e.token)
	p.words.RUnlock()
	p.words.learn(e.learnt)
	return e.ids
}

// pipelineText is one text on its way.
type pipelineText struct {
	*Pipeline
	ids    []int32
	start  bool // nothing of the text was met before
	learnt []met
}

func (e *pipelineText) token(id int32) {
	e.ids = append(e.ids, id)
	e.start = false
}

// piece encodes a text between added tokens.
func (e *pipelineText) piece(text string) {
	plain := e.Normalizer.Normalize(text)
	e.start = e.start && !dropsStart(text, plain)
	e.normalized.Split(plain, func(s string) {
		e.PreTokenizer.Split(s, e.start, e.word)
		e.start = false
	}, e.token)
	e.start = false
}

// word encodes a word, from memory if it was met before.
func (e *pipelineText) word(word string, _ bool) {
	if known, ok := e.words.ids[word]; ok {
		e.ids = append(e.ids, known...)
		return
	}
	from := len(e.ids)
	e.ids = e.Model.Append(e.ids, word)
	if len(word) <= longestKnown && len(e.words.ids) < mostKnown {
		// Copies: the word is a part of the text, which may be long.
		e.learnt = append(e.learnt, met{strings.Clone(word), slices.Clone(e.ids[from:])})
	}
}

// dropsStart reports that a normaliser took white space from a text's beginning.
func dropsStart(text, normalized string) bool {
	r, _ := utf8.DecodeRuneInString(text)
	first, _ := utf8.DecodeRuneInString(normalized)
	return unicode.IsSpace(r) && !unicode.IsSpace(first)
}

// longestKnown bounds the bytes of a word that is remembered, mostKnown how many are: text is made of the same words,
// and finding one takes a tenth of the time of working it out.
const (
	longestKnown = 64
	mostKnown    = 1 << 15
)

// cache are the words met so far. It is locked once a text.
type cache struct {
	sync.RWMutex
	ids map[string][]int32
}

type met struct {
	word string
	ids  []int32
}

func (c *cache) learn(words []met) {
	if len(words) == 0 {
		return
	}
	c.Lock()
	defer c.Unlock()
	for _, m := range words {
		if len(c.ids) < mostKnown {
			c.ids[m.word] = m.ids
		}
	}
}
