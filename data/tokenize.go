package data

import (
	"fmt"
	"unicode/utf8"
)

// Tokenizer turns text into the token ids of one model's vocabulary. Implementations are safe for
// concurrent use and give the same ids for the same text always.
type Tokenizer interface {
	// Encode returns the ids of one text, without the special tokens around it. Text that spells a special
	// token, as in "the [MASK] sat", gives that token's id. An error means text is not valid UTF-8.
	Encode(text string) ([]int32, error)
	// Token returns the token with this id as the vocabulary spells it ("##ing", "Ġthe"), or "" if there is none.
	Token(id int32) string
	// Special returns the ids of the special tokens.
	Special() Special
	// VocabSize returns one more than the largest id that Encode can give, to be compared with the rows of a
	// model's word embedding.
	VocabSize() int
}

// Special holds the ids of a vocabulary's special tokens, and how they stand around texts. CLS and SEP are those
// before and behind a single text, whatever they are called: <s> and </s> for RoBERTa. MASK is -1 where the
// vocabulary has none, UNK where nothing is unknown; the others always exist.
type Special struct {
	CLS, SEP, PAD, UNK, MASK int32

	around *form // nil: as around BERT's texts
}

func (s Special) form() form {
	if s.around != nil {
		return *s.around
	}
	return bertForm(s.CLS, s.SEP)
}

// Count is the number of special tokens around one text, or two.
func (s Special) Count(pair bool) int { return specials(s.form().of(pair)) }

// EncodePair assembles a model's input as its kind was trained on it. For BERT that is [CLS] text [SEP], and with
// hasPair then pair [SEP], of types 0 up to and including the first [SEP], then 1; for RoBERTa <s> text </s>, and then
// </s> pair </s>, all of type 0. An empty pair is a pair.
//
// Inputs longer than maxLength tokens, special ones included, are cut on the right, the longer text
// first; 0 sets no limit. Cut is the number of tokens lost. Ids, types and cuts are those of the
// tokenizers library under Hugging Face's fast tokenizers (formats.md 5).
func EncodePair(tok Tokenizer, text, pair string, hasPair bool, maxLength int) (enc Encoded, cut int, err error) {
	special := tok.Special()
	if least := special.Count(hasPair); maxLength != 0 && maxLength < least {
		return Encoded{}, 0, fmt.Errorf("max length is %d; want at least %d, the special tokens alone, or 0 for no limit", maxLength, least)
	}
	a, err := tok.Encode(text)
	if err != nil {
		return Encoded{}, 0, err
	}
	var b []int32
	if hasPair {
		if b, err = tok.Encode(pair); err != nil {
			return Encoded{}, 0, fmt.Errorf("pair: %w", err)
		}
	}
	enc, cut = special.Join(a, b, hasPair, maxLength)
	return enc, cut, nil
}

// Join is EncodePair of texts that are token ids already, without special tokens. Of a maxLength that does not hold
// the special tokens, these are all that is left.
func (s Special) Join(a, b []int32, hasPair bool, maxLength int) (enc Encoded, cut int) {
	pieces := s.form().of(hasPair)
	if !hasPair {
		b = nil
	}
	whole := len(a) + len(b)
	if maxLength != 0 {
		na, nb := longestFirst(len(a), len(b), max(0, maxLength-specials(pieces)), hasPair)
		a, b = a[:na], b[:nb]
	}
	return assemble(pieces, a, b), whole - len(a) - len(b)
}

// longestFirst shares a budget of tokens between texts of a and b tokens: the longer is cut first. When
// both are cut, each gets half, and the odd token goes to the longer, which on a tie is the second. (Cutting
// token by token, as the older tokenizers do, gives that one to the first.)
func longestFirst(a, b, budget int, pair bool) (na, nb int) {
	if !pair {
		return min(a, budget), 0
	}
	if a+b <= budget {
		return a, b
	}
	short := min(a, b, budget/2)
	if a > b {
		return budget - short, short
	}
	return short, budget - short
}

// checkText refuses what is not text: an invalid byte would otherwise become U+FFFD and vanish in cleaning.
func checkText(text string) error {
	if utf8.ValidString(text) {
		return nil
	}
	at := 0
	for at < len(text) {
		r, size := utf8.DecodeRuneInString(text[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return fmt.Errorf("byte %#02x at offset %d is not valid UTF-8; convert the text first", text[at], at)
}
