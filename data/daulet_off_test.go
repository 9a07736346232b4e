//go:build !daulet

package data

// engines are the tokenizers that parity is asked of.
var engines = map[string]func(*vocabulary) (Tokenizer, error){
	"go": func(v *vocabulary) (Tokenizer, error) { return newGoTokenizer(v), nil },
}
