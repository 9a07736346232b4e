package serve

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/jsonfile"
)

// request is what a client asks.
type request struct {
	inputs   []data.Example
	single   bool // one input by itself, whose answer is not in a list
	truncate bool // inputs that are too long are cut
	raw      bool // logits are wanted, not what they mean
}

// requestFields are what a request may have.
var requestFields = []string{"inputs", "truncate", "raw_scores", "truncation_direction"}

// parse reads a request of at most so many inputs: a JSON object whose field inputs is a text, a list of one or two texts
// (a text and its pair), or a list of such lists.
func parse(body []byte, most int) (*request, error) {
	if !utf8.Valid(body) {
		return nil, invalid("the body is not valid UTF-8")
	}
	fields, err := jsonfile.Fields(body)
	if err != nil {
		return nil, invalid("the body: %v", err)
	}
	if err := fields.OnlyKnown(requestFields); err != nil {
		return nil, invalid("%v", err)
	}
	r := &request{}
	for name, to := range map[string]*bool{"truncate": &r.truncate, "raw_scores": &r.raw} {
		if value, ok := fields.Get(name); ok && json.Unmarshal(value, to) != nil {
			return nil, invalid("%s is %.40s; want true or false", name, value)
		}
	}
	if value, ok := fields.Get("truncation_direction"); ok {
		var direction string
		if json.Unmarshal(value, &direction) != nil || !strings.EqualFold(direction, "right") {
			return nil, invalid(`truncation_direction is %.40s; inputs are only cut on the "Right"`, value)
		}
	}
	inputs, ok := fields.Get("inputs")
	if !ok {
		return nil, invalid(`the field "inputs" is missing; want a text, ["text", "pair"], or a list of such lists`)
	}
	return r, r.read(inputs, most)
}

// read reads the inputs.
func (r *request) read(inputs json.RawMessage, most int) error {
	list, err := elements(inputs)
	if err != nil {
		return err
	}
	if list == nil || kind(list[0]) == '"' {
		r.single, list = true, []json.RawMessage{inputs}
	}
	if len(list) > most {
		return tooLarge("%d inputs; at most %d are taken in a request", len(list), most)
	}
	for i, text := range list {
		x, err := example(text)
		if err != nil {
			f := *faultOf(err)
			if f.Text = "inputs: " + f.Text; !r.single {
				f.Text = strings.Replace(f.Text, "inputs", "inputs["+itoa(i)+"]", 1)
			}
			return &f
		}
		r.inputs = append(r.inputs, x)
	}
	return nil
}

// elements are those of a list that is not empty; nil of a text.
func elements(value json.RawMessage) ([]json.RawMessage, error) {
	switch kind(value) {
	case '"':
		return nil, nil
	case '[':
		var list []json.RawMessage
		if err := json.Unmarshal(value, &list); err != nil {
			return nil, invalid("inputs: %v", err)
		}
		if len(list) == 0 {
			return nil, invalid("inputs is an empty list")
		}
		return list, nil
	}
	return nil, invalid(`inputs is %.40s; want a text, ["text", "pair"], or a list of such lists`, value)
}

// kind is the first byte of a JSON value, which says what it is.
func kind(value json.RawMessage) byte {
	if value = bytes.TrimLeft(value, " \t\r\n"); len(value) == 0 {
		return 0
	}
	return value[0]
}

// example reads a text, or a list of a text and perhaps its pair.
func example(value json.RawMessage) (x data.Example, err error) {
	texts := []json.RawMessage{value}
	if kind(value) == '[' {
		if json.Unmarshal(value, &texts) != nil || len(texts) < 1 || len(texts) > 2 {
			return x, invalid("a list of %d; want a text, or a text and its pair", len(texts))
		}
	}
	if x.Text, err = text(texts[0]); err != nil || len(texts) == 1 {
		return x, err
	}
	x.HasPair = true
	x.Pair, err = text(texts[1])
	return x, err
}

// text reads a JSON string. Half of a pair of surrogates is no character: it would be read as U+FFFD, and lost when the
// text is cleaned.
func text(value json.RawMessage) (s string, err error) {
	if kind(value) != '"' || json.Unmarshal(value, &s) != nil {
		return "", invalid("%.40s is not a text", value)
	}
	const replacement = "\ufffd"
	if n := strings.Count(s, replacement); n > 0 {
		raw := string(value)
		if n > strings.Count(raw, replacement)+strings.Count(strings.ToLower(raw), `\ufffd`) {
			return "", untokenized(`a \u escape is half of a character beyond U+FFFF; send both halves, or the character itself`)
		}
	}
	return s, nil
}
