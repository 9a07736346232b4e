package tokenizer

import (
	"cmp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// AddedToken is a token looked for in the text itself, before words are.
type AddedToken struct {
	ID         int32  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only where no letter or digit touches it
	Lstrip     bool   `json:"lstrip"`      // swallows white space before it
	Rstrip     bool   `json:"rstrip"`      // and behind it
	Normalized bool   `json:"normalized"`  // looked for in the normalised text, in normalised form
	Special    bool   `json:"special"`
}

// Matcher finds added tokens in a text: leftmost first, of those the longest, never overlapping.
type Matcher struct {
	byFirst [256][]addedForm // by the first byte, longest first
	empty   bool
}

// Empty reports that there is nothing to look for.
func (m *Matcher) Empty() bool { return m.empty }

type addedForm struct {
	AddedToken
	form string // what is looked for
}

// Form is how an added token is spelled where it is looked for: in the text, or in the normalised text.
func (a AddedToken) Form(normalize func(string) string) string {
	if a.Normalized {
		return normalize(a.Content)
	}
	return a.Content
}

// NewMatcher finds those of the added tokens that are looked for in normalised text, or the others.
func NewMatcher(added []AddedToken, normalize func(string) string, normalized bool) *Matcher {
	m := &Matcher{empty: true}
	for _, a := range added {
		if a.Normalized == normalized {
			form := a.Form(normalize)
			m.byFirst[form[0]] = append(m.byFirst[form[0]], addedForm{a, form})
			m.empty = false
		}
	}
	for _, patterns := range m.byFirst {
		// Of two that normalise to the same, a special one is taken, then the first.
		slices.SortStableFunc(patterns, func(a, b addedForm) int {
			return cmp.Or(cmp.Compare(len(b.form), len(a.form)), compareBool(b.Special, a.Special))
		})
	}
	return m
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// Split cuts text at its added tokens: piece is called with what lies between, token with each token's id,
// in order.
func (m *Matcher) Split(text string, piece func(string), token func(id int32)) {
	from, done := 0, 0 // where to look on; what has been handed out
	for !m.empty {
		at, p := m.find(text, from)
		if p == nil {
			break
		}
		start, end := at, at+len(p.form)
		from = end
		if p.SingleWord && (endsInWord(text[:start]) || startsWithWord(text[end:])) {
			continue
		}
		if p.Lstrip {
			start = max(done, len(strings.TrimRightFunc(text[:start], unicode.IsSpace)))
		}
		if p.Rstrip {
			end = len(text) - len(strings.TrimLeftFunc(text[end:], unicode.IsSpace))
		}
		if start >= end {
			continue // white space that the token before it has swallowed
		}
		if done < start {
			piece(text[done:start])
		}
		token(p.ID)
		done = end
	}
	if done < len(text) {
		piece(text[done:])
	}
}

// find returns the first token at or behind from. Forms are valid UTF-8, as text is, so that a match can
// only begin where a character does.
func (m *Matcher) find(text string, from int) (int, *addedForm) {
	for i := from; i < len(text); i++ {
		patterns := m.byFirst[text[i]]
		for j := range patterns {
			if strings.HasPrefix(text[i:], patterns[j].form) {
				return i, &patterns[j]
			}
		}
	}
	return 0, nil
}

func endsInWord(text string) bool {
	r, size := utf8.DecodeLastRuneInString(text)
	return size > 0 && isWordCharacter(r)
}

func startsWithWord(text string) bool {
	r, size := utf8.DecodeRuneInString(text)
	return size > 0 && isWordCharacter(r)
}

// isWordCharacter is \w of Unicode's regular expressions (UTS 18, annex C).
func isWordCharacter(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.Nd, unicode.Nl, unicode.Pc, unicode.Other_Alphabetic, unicode.Join_Control)
}
