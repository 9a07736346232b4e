package tokenizer

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"sync"
	"unicode/utf8"
)

// Unigram cuts a word into the tokens whose scores add up to the most.
type Unigram struct {
	Pieces       []Piece
	Unknown      int  // the id of what no token spells
	ByteFallback bool // unknown text is spelled in tokens of bytes, <0x41>, where all of them are there
}

// Piece is a token and its score, a logarithm of how frequent it is. Its id is its place.
type Piece struct {
	Text  string
	Score float64
}

// UnmarshalJSON reads ["▁the", -3.8].
func (p *Piece) UnmarshalJSON(content []byte) error {
	parts := [2]any{&p.Text, &p.Score}
	var list []json.RawMessage
	if err := json.Unmarshal(content, &list); err != nil || len(list) != 2 {
		return fmt.Errorf("a token is %.40s; want its text and its score", content)
	}
	for i := range list {
		if err := json.Unmarshal(list[i], parts[i]); err != nil {
			return fmt.Errorf("a token is %.40s; want its text and its score", content)
		}
	}
	return nil
}

// unknownPenalty is how much less than the least frequent token an unknown character scores.
const unknownPenalty = 10

// unigram is a Unigram made ready.
type unigram struct {
	Unigram
	ids          map[string]int32
	trie         trie
	unknownScore float64
	scratch      sync.Pool
}

// Model makes u ready.
func (u Unigram) Model() (Model, error) {
	if u.Unknown < 0 || u.Unknown >= len(u.Pieces) {
		return nil, fmt.Errorf("unk_id is %d of %d tokens", u.Unknown, len(u.Pieces))
	}
	m := &unigram{Unigram: u, ids: make(map[string]int32, len(u.Pieces))}
	least := math.Inf(1)
	for i, p := range u.Pieces {
		if p.Text == "" || math.IsNaN(p.Score) || math.IsInf(p.Score, 0) {
			return nil, fmt.Errorf("token %d is %.40q with score %g", i, p.Text, p.Score)
		}
		if !utf8.ValidString(p.Text) {
			return nil, fmt.Errorf("token %d, %.40q, is not UTF-8", i, p.Text)
		}
		m.ids[p.Text] = int32(i) // of equal ones the last counts
		least = min(least, p.Score)
	}
	m.unknownScore = least - unknownPenalty
	m.trie = newTrie(m.ids)
	m.scratch.New = func() any { return new([]step) }
	return m, nil
}

func (m *unigram) IDs() map[string]int32 { return m.ids }

func (m *unigram) Unknown() int32 { return int32(m.Unigram.Unknown) }

// step is the best way to a place of a word.
type step struct {
	score float64
	from  int32 // where its last token begins, -1: no way is known
	id    int32
}

// Append encodes a word: from the left it finds the best way to each place, then goes back from the end.
func (m *unigram) Append(ids []int32, word string) []int32 {
	scratch := m.scratch.Get().(*[]step)
	defer m.scratch.Put(scratch)
	best := slices.Grow((*scratch)[:0], len(word)+1)[:len(word)+1]
	*scratch = best
	if cap(best) > 1<<16 {
		*scratch = nil // one long text is not kept for all
	}
	for i := range best {
		best[i] = step{from: -1}
	}
	unknown := int32(m.Unigram.Unknown)
	for at := 0; at < len(word); {
		_, size := utf8.DecodeRuneInString(word[at:])
		here, single := best[at].score, false
		for node, end := uint32(0), at; end < len(word); {
			var ok bool
			if node, ok = m.trie.child(node, word[end]); !ok {
				break
			}
			end++
			id := m.trie.values[node]
			if id < 0 {
				continue
			}
			if score := m.Pieces[id].Score + here; best[end].from < 0 || score > best[end].score {
				best[end] = step{score, int32(at), id}
			}
			single = single || end == at+size
		}
		if to := &best[at+size]; !single {
			if score := m.unknownScore + here; to.from < 0 || score > to.score {
				*to = step{score, int32(at), unknown}
			}
		}
		at += size
	}
	return m.back(ids, word, best)
}

// back collects the tokens of the best way. Unknown ones in a row are one.
func (m *unigram) back(ids []int32, word string, best []step) []int32 {
	start := len(ids)
	for end := len(word); end > 0; {
		s := best[end]
		if int(s.id) != m.Unigram.Unknown {
			ids = append(ids, s.id)
			end = int(s.from)
			continue
		}
		from := int(s.from)
		for from > 0 && int(best[from].id) == m.Unigram.Unknown {
			from = int(best[from].from)
		}
		ids = m.appendUnknown(ids, word[from:end])
		end = from
	}
	slices.Reverse(ids[start:])
	return ids
}

// appendUnknown appends what unknown text gives, backwards. Put together it may be a token after all.
func (m *unigram) appendUnknown(ids []int32, text string) []int32 {
	if id, ok := m.ids[text]; ok {
		return append(ids, id)
	}
	if m.ByteFallback {
		if bytes, ok := spellBytes(m.ids, text); ok {
			slices.Reverse(bytes)
			return append(ids, bytes...)
		}
	}
	return append(ids, int32(m.Unigram.Unknown))
}

// trie holds tokens by their bytes: the children of a node lie side by side, in the order of their bytes.
type trie struct {
	labels []byte   // the byte that leads to each node
	first  []uint32 // a node's children are first[node] to first[node+1]
	values []int32  // the id of the token that ends here, -1: none does
	root   [256]uint32
}

func newTrie(ids map[string]int32) trie {
	tokens := make([]string, 0, len(ids))
	for token := range ids {
		tokens = append(tokens, token)
	}
	slices.Sort(tokens)
	t := trie{labels: []byte{0}, values: []int32{-1}}
	type group struct{ from, to, depth int } // the tokens below a node
	level := []group{{0, len(tokens), 0}}
	for node := 0; node < len(level); node++ { // level by level: children get the next numbers
		g := level[node]
		t.first = append(t.first, uint32(len(level)))
		at := g.from
		for at < g.to && len(tokens[at]) == g.depth {
			t.values[node] = ids[tokens[at]]
			at++
		}
		for at < g.to {
			c, from := tokens[at][g.depth], at
			for at < g.to && tokens[at][g.depth] == c {
				at++
			}
			t.labels, t.values = append(t.labels, c), append(t.values, -1)
			level = append(level, group{from, at, g.depth + 1})
		}
	}
	t.first = append(t.first, uint32(len(level)))
	for node := t.first[0]; node < t.first[1]; node++ {
		t.root[t.labels[node]] = node
	}
	return t
}

// child is the node that a byte leads to.
func (t *trie) child(node uint32, c byte) (uint32, bool) {
	if node == 0 {
		n := t.root[c]
		return n, n != 0
	}
	lo, hi := t.first[node], t.first[node+1]
	for hi-lo > 8 {
		if mid := (lo + hi) / 2; t.labels[mid] <= c {
			lo = mid
		} else {
			hi = mid
		}
	}
	for ; lo < hi; lo++ {
		if t.labels[lo] == c {
			return lo, true
		}
	}
	return 0, false
}
