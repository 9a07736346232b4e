package wordpiece

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/deeplora/deeplora/data"
)

// word is a distinct word of the text and how often it comes.
type word struct {
	text  string
	count int64
}

// countWords returns the distinct words of texts in the order of their bytes.
func countWords(texts iter.Seq[string], lowercase bool) ([]word, error) {
	var words []word
	index := map[string]int{}
	add := func(w []byte) {
		i, known := index[string(w)] // no copy: the map is asked with the bytes
		if !known {
			i = len(words)
			words = append(words, word{text: string(w)})
			index[words[i].text] = i
		}
		words[i].count++
	}
	n := 0
	for text := range texts {
		n++
		if err := data.BasicTokens(text, lowercase, add); err != nil {
			return nil, fmt.Errorf("text %d: %w", n, err)
		}
	}
	if len(words) == 0 {
		return nil, errors.New("no words in the text; want some, better a few million")
	}
	slices.SortFunc(words, func(a, b word) int { return strings.Compare(a.text, b.text) })
	return words, nil
}

// alphabet is the characters of a text, each list in the order in which they get their ids.
type alphabet struct {
	plain  []rune // all of them
	inside []rune // those that stand behind another one in some word
}

// alphabetOf returns the characters of words by code point: at most limit of them, the most frequent ones, and of
// equally frequent ones those of smaller code points.
func alphabetOf(words []word, limit int) alphabet {
	counts, inside := map[rune]int64{}, map[rune]bool{}
	for _, w := range words {
		for i, r := range w.text {
			counts[r] += w.count
			if i > 0 {
				inside[r] = true
			}
		}
	}
	var a alphabet
	for r := range counts {
		a.plain = append(a.plain, r)
	}
	slices.SortFunc(a.plain, func(p, q rune) int { return cmp.Or(cmp.Compare(counts[q], counts[p]), cmp.Compare(p, q)) })
	a.plain = a.plain[:min(limit, len(a.plain))]
	slices.Sort(a.plain)
	for _, r := range a.plain {
		if inside[r] {
			a.inside = append(a.inside, r)
		}
	}
	return a
}

// pieces cuts words into characters: token ids by word. Characters beyond the alphabet are left out, and their
// neighbours become each other's; a character behind one still stands inside its word.
func (a alphabet) pieces(words []word, ids map[string]int32) [][]int32 {
	plain, inside := make(map[rune]int32, len(a.plain)), make(map[rune]int32, len(a.inside))
	for _, r := range a.plain {
		plain[r] = ids[string(r)]
	}
	for _, r := range a.inside {
		inside[r] = ids[continuing+string(r)]
	}
	total := 0
	for _, w := range words {
		total += utf8.RuneCountInString(w.text)
	}
	flat := make([]int32, 0, total) // one allocation for all words
	pieces := make([][]int32, len(words))
	for i, w := range words {
		start := len(flat)
		for at, r := range w.text {
			from := inside
			if at == 0 {
				from = plain
			}
			if id, ok := from[r]; ok {
				flat = append(flat, id)
			}
		}
		pieces[i] = flat[start:]
	}
	return pieces
}
