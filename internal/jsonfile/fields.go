package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/nearest"
)

// Field is one field of a JSON object.
type Field struct {
	Name  string
	Value json.RawMessage
}

// Object is a JSON object as it stands in the text: fields in their order, each once.
type Object []Field

// Get returns a field's value; ok says whether it is there.
func (o Object) Get(name string) (value json.RawMessage, ok bool) {
	for _, f := range o {
		if f.Name == name {
			return f.Value, true
		}
	}
	return nil, false
}

// OnlyKnown refuses fields that are not among the known ones.
func (o Object) OnlyKnown(known []string) error {
	for _, f := range o {
		if !slices.Contains(known, f.Name) {
			return fmt.Errorf("unknown field %.60q; nearest: %s (known: %s)", f.Name, nearest.Of(f.Name, known), strings.Join(known, " "))
		}
	}
	return nil
}

// Fields reads a JSON object of whatever program wrote it. A name that is there twice is an error: encoding/json
// would keep the last of them without a word. Errors of syntax name their line, or the column of a text of one line.
func Fields(text []byte) (Object, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	switch start, err := d.Token(); {
	case errors.As(err, new(*json.SyntaxError)):
		return nil, syntax(text, d, err)
	case err != nil || start != json.Delim('{'):
		return nil, errors.New("not a JSON object, {…}")
	}
	var fields Object
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, syntax(text, d, err)
		}
		field := Field{Name: key.(string)} // inside an object the decoder gives names as strings
		if err := d.Decode(&field.Value); err != nil {
			return nil, fmt.Errorf("field %.60q: %w", field.Name, syntax(text, d, err))
		}
		if seen[field.Name] {
			return nil, fmt.Errorf("field %.60q is given twice", field.Name)
		}
		seen[field.Name] = true
		fields = append(fields, field)
	}
	if _, err := d.Token(); err != nil {
		return nil, syntax(text, d, err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("text after the JSON object")
	}
	return fields, nil
}

// syntax adds the place to an error of the JSON decoder.
func syntax(text []byte, d *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	at := d.InputOffset()
	if !bytes.Contains(text, []byte("\n")) {
		return fmt.Errorf("column %d: %w", at+1, err)
	}
	if s := (*json.SyntaxError)(nil); errors.As(err, &s) {
		at = s.Offset
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(text[:min(at, int64(len(text)))], []byte("\n")), err)
}

// MarshalJSON writes the fields in their order.
func (o Object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range o {
		name, err := json.Marshal(f.Name)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(f.Value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
