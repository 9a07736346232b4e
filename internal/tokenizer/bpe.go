package tokenizer

import (
	"container/heap"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// BPE joins the characters of a word, or its bytes, two by two, those first that were joined first when it was made.
type BPE struct {
	Vocab  map[string]int32
	Merges []Merge

	Unknown      string // the token of what is not in the vocabulary; empty: it gives nothing
	Prefix       string // of what does not begin a word
	Suffix       string // of what ends one
	FuseUnknown  bool   // unknown characters in a row are one
	ByteFallback bool   // unknown characters are spelled in tokens of bytes, <0x41>
	IgnoreMerges bool   // a word that is a token is that token
	Bytes        bool   // words are read byte by byte, in the alphabet of ByteLevel
}

// Merge is two tokens that are joined.
type Merge [2]string

// UnmarshalJSON reads the newer form, of two strings, and the older one, of one with a space between.
func (m *Merge) UnmarshalJSON(content []byte) error {
	if len(content) > 0 && content[0] == '[' {
		var parts []string
		if err := json.Unmarshal(content, &parts); err != nil || len(parts) != 2 {
			return fmt.Errorf("a merge is %.40s; want two tokens", content)
		}
		*m = Merge(parts)
		return nil
	}
	var text string
	if err := json.Unmarshal(content, &text); err != nil {
		return fmt.Errorf("a merge is %.40s; want two tokens", content)
	}
	return m.Parse(text)
}

// Parse reads a merge written with a space between.
func (m *Merge) Parse(text string) error {
	parts := strings.Split(text, " ")
	if len(parts) != 2 {
		return fmt.Errorf("a merge is %.40q; want two tokens with one space between", text)
	}
	*m = Merge(parts)
	return nil
}

// bpe is a BPE made ready.
type bpe struct {
	BPE
	unknown int32
	merges  map[uint64]joined
	bytes   [256]int32 // the token of each byte, -1 where there is none
}

type joined struct {
	rank, id int32
}

// Model makes b ready.
func (b BPE) Model() (Model, error) {
	m := &bpe{BPE: b, unknown: -1, merges: make(map[uint64]joined, len(b.Merges))}
	if b.Unknown != "" {
		id, ok := b.Vocab[b.Unknown]
		if !ok {
			return nil, fmt.Errorf("unk_token %.40q is not in the vocabulary", b.Unknown)
		}
		m.unknown = id
	}
	for i, pair := range b.Merges {
		left, right := pair[0], pair[1]
		rest, ok := strings.CutPrefix(right, b.Prefix)
		if !ok {
			return nil, fmt.Errorf("merges: %.40q, number %d, does not begin with continuing_subword_prefix %.40q", right, i+1, b.Prefix)
		}
		var ids [3]int32
		for k, token := range []string{left, right, left + rest} {
			if ids[k], ok = b.Vocab[token]; !ok {
				return nil, fmt.Errorf("merges: %.40q, of number %d, is not in the vocabulary; are they of one model?", token, i+1)
			}
		}
		m.merges[pairKey(ids[0], ids[1])] = joined{int32(i), ids[2]} // of a pair that is there twice, the last counts
	}
	for c, letter := range alphabet {
		m.bytes[c] = -1
		if id, ok := b.Vocab[letter]; ok {
			m.bytes[c] = id
		}
	}
	return m, nil
}

func pairKey(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

func (m *bpe) IDs() map[string]int32 { return m.Vocab }

func (m *bpe) Unknown() int32 { return m.unknown }

// Append encodes a word.
func (m *bpe) Append(ids []int32, word string) []int32 {
	if m.IgnoreMerges {
		if id, ok := m.Vocab[m.spell(word)]; ok {
			return append(ids, id)
		}
	}
	var symbols []int32
	if m.Bytes && m.Prefix == "" && m.Suffix == "" && m.unknown < 0 {
		symbols = make([]int32, 0, len(word))
		for i := range len(word) {
			if id := m.bytes[word[i]]; id >= 0 { // else the byte is lost, without a word
				symbols = append(symbols, id)
			}
		}
	} else {
		symbols = m.symbols(m.spell(word))
	}
	return append(ids, m.merge(symbols)...)
}

// spell writes a word as the vocabulary does.
func (m *bpe) spell(word string) string {
	if !m.Bytes {
		return word
	}
	var b strings.Builder
	for i := range len(word) {
		b.WriteString(alphabet[word[i]])
	}
	return b.String()
}

// symbols are the tokens of a word's characters.
func (m *bpe) symbols(word string) (symbols []int32) {
	unknown := 0 // characters, or one for a run of them, that wait to be written
	flush := func() {
		for ; unknown > 0; unknown-- {
			symbols = append(symbols, m.unknown)
		}
	}
	for i, r := range word {
		end := i + utf8.RuneLen(r)
		if r == utf8.RuneError {
			_, size := utf8.DecodeRuneInString(word[i:])
			end = i + size
		}
		token := word[i:end]
		if i > 0 {
			token = m.Prefix + token
		}
		if end == len(word) {
			token += m.Suffix
		}
		if id, ok := m.Vocab[token]; ok {
			flush()
			symbols = append(symbols, id)
			continue
		}
		if bytes, ok := m.fallback(token); ok {
			symbols = append(symbols, bytes...) // before unknown ones that wait: the library's order
			continue
		}
		if m.unknown >= 0 && (unknown == 0 || !m.FuseUnknown) {
			if unknown > 0 {
				flush()
			}
			unknown = 1
		}
	}
	flush()
	return symbols
}

// fallback spells a token in bytes, if all of them are in the vocabulary.
func (m *bpe) fallback(token string) (ids []int32, ok bool) {
	if !m.ByteFallback {
		return nil, false
	}
	return spellBytes(m.Vocab, token)
}

func spellBytes(vocab map[string]int32, text string) (ids []int32, ok bool) {
	for i := range len(text) {
		id, ok := vocab[fmt.Sprintf("<0x%02X>", text[i])]
		if !ok {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

// shortWord is up to which length looking at all pairs again and again is faster than a heap.
const shortWord = 48

// merge joins pairs of symbols, the lowest rank first, of equal ones the leftmost.
func (m *bpe) merge(symbols []int32) []int32 {
	if len(symbols) > shortWord {
		return m.mergeLong(symbols)
	}
	const none = 1<<31 - 1
	var buf [shortWord]joined
	pairs := buf[:max(0, len(symbols)-1)]
	look := func(i int) {
		var ok bool
		if pairs[i], ok = m.merges[pairKey(symbols[i], symbols[i+1])]; !ok {
			pairs[i].rank = none
		}
	}
	for i := range pairs {
		look(i)
	}
	for {
		best := -1
		for i := range pairs {
			if pairs[i].rank != none && (best < 0 || pairs[i].rank < pairs[best].rank) {
				best = i
			}
		}
		if best < 0 {
			return symbols
		}
		symbols[best] = pairs[best].id
		symbols = slices.Delete(symbols, best+1, best+2)
		pairs = slices.Delete(pairs, best, best+1)
		if best < len(pairs) {
			look(best)
		}
		if best > 0 {
			look(best - 1)
		}
	}
}

// link is a symbol in a list that pairs are joined in.
type link struct {
	id         int32
	prev, next int // -1 at the ends
	gone       bool
}

// candidate is a pair that may be joined: it has expired where its left symbol makes another pair by now.
type candidate struct {
	joined
	at int
}

type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	return c[i].rank < c[j].rank || c[i].rank == c[j].rank && c[i].at < c[j].at
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}

// mergeLong is merge in n log n: a text may be one word of a hundred thousand characters.
func (m *bpe) mergeLong(symbols []int32) []int32 {
	links := make([]link, len(symbols))
	for i, id := range symbols {
		links[i] = link{id, i - 1, i + 1, false}
	}
	links[len(links)-1].next = -1
	var queue candidates
	pair := func(at int) (joined, bool) {
		if at < 0 || links[at].next < 0 {
			return joined{}, false
		}
		j, ok := m.merges[pairKey(links[at].id, links[links[at].next].id)]
		return j, ok
	}
	for i := range links {
		if j, ok := pair(i); ok {
			queue = append(queue, candidate{j, i})
		}
	}
	heap.Init(&queue)
	for len(queue) > 0 {
		top := heap.Pop(&queue).(candidate)
		now, ok := pair(top.at)
		if links[top.at].gone || !ok || now != top.joined {
			continue
		}
		left := &links[top.at]
		right := &links[left.next]
		left.id, left.next, right.gone = top.id, right.next, true
		if left.next >= 0 {
			links[left.next].prev = top.at
		}
		for _, at := range []int{left.prev, top.at} {
			if j, ok := pair(at); ok {
				heap.Push(&queue, candidate{j, at})
			}
		}
	}
	out := symbols[:0]
	for _, l := range links {
		if !l.gone {
			out = append(out, l.id)
		}
	}
	return out
}
