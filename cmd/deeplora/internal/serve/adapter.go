package serve

import (
	"fmt"
	"strconv"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train"
)

// Adapter is what is served under a name: a run beside the shared base, a merged run, or a checkpoint.
type Adapter struct {
	Name string
	*train.Predictor
	MaxLength int    // tokens of an input
	Base      string // what the model is called, which is no path
	Method    string // of a run; empty: a checkpoint
}

// CheckName is the error for a name that cannot stand in a URL as it is.
func CheckName(name string) error {
	if name == "" || name == "." || name == ".." {
		return fmt.Errorf("an adapter's name is %q; give one with --run RUN=NAME", name)
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-') {
			return fmt.Errorf("an adapter's name is %q, which stands in URLs; give one of letters, digits, dots, dashes and underscores with --run RUN=NAME", name)
		}
	}
	return nil
}

// encode tokenizes a request's inputs.
func (a *Adapter) encode(r *request) ([]data.Encoded, error) {
	limit := 0
	if r.truncate {
		limit = a.MaxLength
	}
	rows := make([]data.Encoded, len(r.inputs))
	for i, x := range r.inputs {
		e, _, err := data.EncodePair(a.Tokenizer, x.Text, x.Pair, x.HasPair, limit)
		if err == nil && len(e.IDs) <= a.MaxLength {
			err = a.Config().Check(e.IDs, e.Types, len(e.IDs))
		}
		switch {
		case err != nil:
			return nil, untokenized("inputs[%d] cannot be tokenized: %v", i, err)
		case len(e.IDs) > a.MaxLength:
			return nil, tooLarge(`inputs[%d] has %d tokens, special ones included; at most %d are taken; send "truncate": true to have it cut`, i, len(e.IDs), a.MaxLength)
		}
		rows[i] = e
	}
	return rows, nil
}

func itoa(n int) string { return strconv.Itoa(n) }
