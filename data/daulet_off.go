//go:build !daulet

package data

// newTokenizer makes the tokenizer that OpenTokenizer returns; the build tag daulet has another.
func newTokenizer(v *vocabulary) (Tokenizer, error) { return newGoTokenizer(v), nil }
