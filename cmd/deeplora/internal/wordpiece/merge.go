package wordpiece

import (
	"cmp"
	"container/heap"
	"strings"
)

// merger joins pairs of neighbouring pieces, as the trainer of tokenizers does (models/bpe/trainer.rs, version 0.23):
// one heap of pairs, and counts that are kept up to date from the words in which a pair was joined.
type merger struct {
	tokens []string // by id
	ids    map[string]int32

	words  []word
	pieces [][]int32 // of each word
	counts map[pair]int64
	queue  queue
	pushed int

	// Of the merge at hand: the pairs it made, in the order in which they appeared, and in which words.
	fresh []pair
	where map[pair][]int32
}

// pair is two token ids, the first in the upper half: pairs compare as the ids do, the first one first.
type pair uint64

func pairOf(a, b int32) pair { return pair(uint32(a))<<32 | pair(uint32(b)) }

func (p pair) ids() (a, b int32) { return int32(p >> 32), int32(uint32(p)) }

func newMerger(words []word, letters alphabet) *merger {
	m := &merger{ids: map[string]int32{}, words: words, counts: map[pair]int64{}, where: map[pair][]int32{}}
	for _, s := range specials {
		m.id(s)
	}
	for _, r := range letters.plain {
		m.id(string(r))
	}
	for _, r := range letters.inside {
		m.id(continuing + string(r))
	}
	m.pieces = letters.pieces(words, m.ids)
	return m
}

// id returns the id of a token, a new one if there is none yet.
func (m *merger) id(token string) int32 {
	id, known := m.ids[token]
	if !known {
		id = int32(len(m.tokens))
		m.ids[token] = id
		m.tokens = append(m.tokens, token)
	}
	return id
}

func (m *merger) countPairs() {
	for w, pieces := range m.pieces {
		for i := 1; i < len(pieces); i++ {
			m.change(pairOf(pieces[i-1], pieces[i]), 1, w)
		}
	}
	m.enqueue()
}

// mostFrequent takes the next pair from the queue. Counts in the queue are those of when a pair was put there: it
// goes back with the count of now if that is another.
func (m *merger) mostFrequent() (candidate, bool) {
	for len(m.queue) > 0 {
		next := heap.Pop(&m.queue).(candidate)
		now := m.counts[next.pair]
		if next.count == now {
			return next, true
		}
		next.count = now
		heap.Push(&m.queue, next)
	}
	return candidate{}, false
}

// merge makes a token of a pair, in the words where it was seen when it was put in the queue. Several pairs may spell
// one token: the second adds none.
//
// A pair that is joined keeps its count, and may come back into the queue with that and more, since a token that is
// made in two ways makes its pairs twice. Then the queue holds it twice too, with other words each. That is
// tokenizers' way, and kept: it decides which pair comes next.
func (m *merger) merge(next candidate) {
	a, b := next.pair.ids()
	id := m.id(m.tokens[a] + strings.TrimPrefix(m.tokens[b], continuing))
	for _, w := range next.words {
		m.mergeIn(int(w), a, b, id)
	}
	m.enqueue()
}

// mergeIn puts id in the place of each a, b in a word, from left to right, and counts the pairs that go and come.
func (m *merger) mergeIn(w int, a, b, id int32) {
	old := m.pieces[w]
	pieces := old[:0] // what is written lies behind what is read
	for i := 0; i < len(old); i++ {
		if old[i] != a || i+1 == len(old) || old[i+1] != b {
			pieces = append(pieces, old[i])
			continue
		}
		if n := len(pieces); n > 0 {
			m.change(pairOf(pieces[n-1], a), -1, w)
			m.change(pairOf(pieces[n-1], id), 1, w)
		}
		if i+2 < len(old) {
			m.change(pairOf(b, old[i+2]), -1, w)
			m.change(pairOf(id, old[i+2]), 1, w)
		}
		pieces = append(pieces, id)
		i++
	}
	m.pieces[w] = pieces
}

// change counts a pair that came (1) or went (-1) in a word.
func (m *merger) change(p pair, by int64, w int) {
	m.counts[p] += by * m.words[w].count
	if by < 0 {
		return
	}
	in, known := m.where[p]
	if !known {
		m.fresh = append(m.fresh, p)
	}
	if len(in) == 0 || in[len(in)-1] != int32(w) { // words come one after the other
		m.where[p] = append(in, int32(w))
	}
}

// enqueue puts the pairs that came into the queue.
func (m *merger) enqueue() {
	for _, p := range m.fresh {
		if count := m.counts[p]; count > 0 {
			heap.Push(&m.queue, candidate{pair: p, count: count, words: m.where[p], turn: m.pushed})
			m.pushed++
		}
	}
	m.fresh = m.fresh[:0]
	clear(m.where)
}

// candidate is a pair that may be joined.
type candidate struct {
	pair  pair
	count int64
	words []int32 // indices, ascending
	turn  int     // when it came: between entries of one pair, which tokenizers leaves to chance
}

// queue is a heap of candidates: the most frequent first, of those the pair of the smallest ids.
type queue []candidate

func (q queue) Len() int { return len(q) }

func (q queue) Less(i, j int) bool {
	a, b := &q[i], &q[j]
	return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.pair, b.pair), cmp.Compare(a.turn, b.turn)) < 0
}

func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }

func (q *queue) Push(c any) { *q = append(*q, c.(candidate)) }

func (q *queue) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	(*q)[last] = candidate{} // its words are free to go
	*q = (*q)[:last]
	return c
}
