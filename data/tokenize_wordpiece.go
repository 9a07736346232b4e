package data

import (
	"encoding/json"
	"math"
	"sync"
	"unicode/utf8"

	"github.com/gomlx/go-huggingface/tokenizers/api"
	"github.com/gomlx/go-huggingface/tokenizers/hftokenizer"
)

// goTokenizer is the tokenizer without cgo. Finding added tokens, normalising and cutting into words are
// this package's; go-huggingface turns one word into word pieces (docs/decisions/0011-tokenizer.md).
type goTokenizer struct {
	*vocabulary
	raw, normalized *matcher
	pieces          *hftokenizer.Tokenizer
	cache           wordCache
}

var _ Tokenizer = (*goTokenizer)(nil)

func newGoTokenizer(v *vocabulary) (*goTokenizer, error) {
	pieces, err := newWordPieces(v)
	if err != nil {
		return nil, err
	}
	return &goTokenizer{
		vocabulary: v,
		raw:        newMatcher(v.added, v.clean, false),
		normalized: newMatcher(v.added, v.clean, true),
		pieces:     pieces,
		cache:      wordCache{ids: make(map[string][]int32)},
	}, nil
}

// newWordPieces gives go-huggingface a tokenizer.json with nothing but the model in it, and no limit on a
// word's length: it counts bytes where the limit is in characters.
func newWordPieces(v *vocabulary) (*hftokenizer.Tokenizer, error) {
	model := v.model()
	model["max_input_chars_per_word"] = math.MaxInt32
	content, err := json.Marshal(map[string]any{"model": model})
	if err != nil {
		return nil, err
	}
	pieces, err := hftokenizer.NewFromContent(nil, content)
	if err != nil {
		return nil, err
	}
	return pieces, pieces.With(api.EncodeOptions{AddSpecialTokens: false}) // before any goroutine sees it
}

func (t *goTokenizer) Encode(text string) ([]int32, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	e := encoding{goTokenizer: t, ids: make([]int32, 0, len(text)/4+4)}
	e.run(text)
	t.cache.add(e.fresh)
	return e.ids, nil
}

// encoding is one call of Encode.
type encoding struct {
	*goTokenizer
	ids   []int32
	buf   []byte // the piece at hand, normalised
	fresh []wordIDs
}

func (e *encoding) run(text string) {
	e.cache.mu.RLock() // once a text, not once a word
	defer e.cache.mu.RUnlock()
	e.raw.split(text, e.piece, e.token)
}

func (e *encoding) token(id int32) { e.ids = append(e.ids, id) }

// piece encodes a text between added tokens.
func (e *encoding) piece(text string) {
	e.buf = e.clean.appendTo(e.buf[:0], text)
	if e.normalized.empty {
		splitWords(e.buf, e.word)
		return
	}
	e.normalized.split(string(e.buf), func(s string) { splitWords([]byte(s), e.word) }, e.token)
}

func (e *encoding) word(word []byte) {
	ids, known := e.cache.ids[string(word)]
	if !known {
		ids = e.wordPieces(string(word))
		if len(word) <= maxCachedWord {
			e.fresh = append(e.fresh, wordIDs{string(word), ids})
		}
	}
	e.ids = append(e.ids, ids...)
}

func (t *goTokenizer) wordPieces(word string) []int32 {
	if utf8.RuneCountInString(word) > t.maxChars {
		return []int32{t.special.UNK}
	}
	pieces := t.pieces.Encode(word)
	ids := make([]int32, len(pieces))
	for i, id := range pieces {
		ids[i] = int32(id)
	}
	return ids
}

// wordCache remembers the ids of words. GLUE repeats its words, and go-huggingface builds a string for
// every prefix it tries: without the cache STS-B takes more than ten times as long. What it holds depends on
// what came first, what Encode returns does not.
type wordCache struct {
	mu  sync.RWMutex
	ids map[string][]int32
}

type wordIDs struct {
	word string
	ids  []int32
}

// The cache holds at most 10 MB. Long words are rare, and the frequent ones come early.
const (
	maxCachedWords = 1 << 16
	maxCachedWord  = 32 // bytes
)

func (c *wordCache) add(words []wordIDs) {
	if len(words) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range words {
		if len(c.ids) >= maxCachedWords {
			return
		}
		c.ids[w.word] = w.ids
	}
}
