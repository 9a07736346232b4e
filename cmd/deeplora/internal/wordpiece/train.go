package wordpiece

import (
	"fmt"
	"iter"
	"slices"
)

// specials are the first tokens of every vocabulary, in the order of their ids. They are looked for by these names
// in the files that Files makes.
var specials = []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}

// continuing marks a piece that others stand before in its word.
const continuing = "##"

// Options say what vocabulary is wanted. MinFrequency and LimitAlphabet are 0 for the defaults, which are those of
// tokenizers' BertWordPieceTokenizer.
type Options struct {
	Size          int  // number of tokens, special tokens and single characters included
	Lowercase     bool // lower case without accents, as uncased models have it
	MinFrequency  int  // how often a pair of pieces must occur in the text to be joined; default 2
	LimitAlphabet int  // how many characters are kept, the most frequent ones; default 1000
}

const (
	defaultMinFrequency  = 2
	defaultLimitAlphabet = 1000
)

// Train returns the vocabulary of texts, tokens by id: the special tokens, the characters by code point, those that
// stand inside words once more with ## by code point, then pieces, the most frequent pair of pieces joined first. It
// ends before o.Size tokens when no pair is left that comes o.MinFrequency times.
//
// This is what tokenizers' WordPieceTrainer gives, which numbers the ## characters in another order each time it
// runs, and joins pairs of one count by their numbers: where its order is made ours, no token differs. The vocabulary
// depends on how often each word comes, not on the order of texts.
//
// Errors: no text, text that is not UTF-8, an o.Size that its characters alone exceed. Characters beyond the
// limit are left out of the training; a tokenizer turns words that contain them into [UNK].
func Train(texts iter.Seq[string], o Options) ([]string, error) {
	o, err := o.resolved()
	if err != nil {
		return nil, fmt.Errorf("vocabulary: %w", err)
	}
	words, err := countWords(texts, o.Lowercase)
	if err != nil {
		return nil, fmt.Errorf("vocabulary: %w", err)
	}
	vocab, err := train(words, alphabetOf(words, o.LimitAlphabet), o)
	if err != nil {
		return nil, fmt.Errorf("vocabulary: %w", err)
	}
	return vocab, nil
}

// resolved is o with its defaults.
func (o Options) resolved() (Options, error) {
	switch {
	case o.Size <= len(specials):
		return o, fmt.Errorf("size is %d; want more than the %d special tokens (BERT's is 30522)", o.Size, len(specials))
	case o.MinFrequency < 0:
		return o, fmt.Errorf("min frequency is %d; want 1 or more, or 0 for %d", o.MinFrequency, defaultMinFrequency)
	case o.LimitAlphabet < 0:
		return o, fmt.Errorf("limit of the alphabet is %d; want 1 or more, or 0 for %d", o.LimitAlphabet, defaultLimitAlphabet)
	}
	if o.MinFrequency == 0 {
		o.MinFrequency = defaultMinFrequency
	}
	if o.LimitAlphabet == 0 {
		o.LimitAlphabet = defaultLimitAlphabet
	}
	return o, nil
}

// train joins pairs until o.Size tokens are there. Of the alphabet the order counts too: ids decide between pairs
// that come equally often.
func train(words []word, letters alphabet, o Options) ([]string, error) {
	if least := len(specials) + len(letters.plain) + len(letters.inside); o.Size < least {
		return nil, fmt.Errorf("size is %d, but special tokens and single characters of this text are %d (%d, %d, and %d with %s); "+
			"want at least that, or a lower limit of the alphabet than its %d characters",
			o.Size, least, len(specials), len(letters.plain), len(letters.inside), continuing, len(letters.plain))
	}
	m := newMerger(words, letters)
	m.countPairs()
	for len(m.tokens) < o.Size {
		next, ok := m.mostFrequent()
		if !ok || next.count < int64(o.MinFrequency) {
			break
		}
		m.merge(next)
	}
	return slices.Clip(m.tokens), nil
}
