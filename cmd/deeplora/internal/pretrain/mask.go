package pretrain

import (
	"slices"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rng"
)

// masking replaces tokens as BERT's pretraining does: of those chosen, 80 % become [MASK], 10 % a random token,
// 10 % stay (Devlin et al. 2019, 3.1).
type masking struct {
	special     data.Special
	vocabulary  int
	probability float64
	piece       []bool // by id: it continues a word; nil: every token stands alone
}

// mask changes ids in place and returns the positions chosen, ascending, with the tokens that stood there.
// Special tokens are never chosen.
func (m *masking) mask(ids []int32, s *rng.Stream) (at []int, was []int32) {
	words := m.words(ids)
	want := int(m.probability*float64(total(words)) + s.Float64()) // rounded at random: short texts count too
	for _, w := range s.Perm(len(words)) {
		if len(at) >= want {
			break
		}
		for i := words[w][0]; i < words[w][1]; i++ {
			at = append(at, i)
		}
	}
	slices.Sort(at)
	for _, i := range at {
		was = append(was, ids[i])
		switch u := s.Float64(); {
		case u < 0.8:
			ids[i] = m.special.MASK
		case u < 0.9:
			ids[i] = m.random(s)
		}
	}
	return at, was
}

// random draws a token that is not special.
func (m *masking) random(s *rng.Stream) int32 {
	for {
		if id := int32(s.IntN(m.vocabulary)); !isSpecial(m.special, id) {
			return id
		}
	}
}

func isSpecial(s data.Special, id int32) bool {
	return id == s.CLS || id == s.SEP || id == s.PAD || id == s.UNK || id == s.MASK
}

// words are the spans [from, to) that are chosen as a whole: tokens, or words of several pieces.
func (m *masking) words(ids []int32) (spans [][2]int) {
	for i, id := range ids {
		switch {
		case isSpecial(m.special, id):
		case m.piece != nil && m.piece[id] && len(spans) > 0 && spans[len(spans)-1][1] == i:
			spans[len(spans)-1][1] = i + 1
		default:
			spans = append(spans, [2]int{i, i + 1})
		}
	}
	return spans
}

func total(spans [][2]int) int {
	n := 0
	for _, s := range spans {
		n += s[1] - s[0]
	}
	return n
}
