package data

import "github.com/deeplora/deeplora/internal/tokenizer"

// cleaner is BERT's normaliser.
type cleaner = tokenizer.Cleaner

// BasicTokens calls yield with each word of text, in order, as BERT's tokenizer cuts it before it looks for word
// pieces: cleaned, with spaces around ideographs, in small letters without accents if lowercase, then cut at white
// space and around each punctuation mark. It knows no special tokens. A word may be kept only as a copy. An error
// means text is not valid UTF-8.
func BasicTokens(text string, lowercase bool, yield func(word []byte)) error {
	if err := checkText(text); err != nil {
		return err
	}
	c := cleaner{Clean: true, Chinese: true, Strip: lowercase, Lower: lowercase}
	tokenizer.SplitWords(c.AppendTo(make([]byte, 0, len(text)+8), text), yield)
	return nil
}
