package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Field is one field of a JSON object.
type Field struct {
	Name  string
	Value json.RawMessage
}

// Fields reads a JSON object's fields in their order, of whatever program wrote it. A name that is there twice is an
// error: encoding/json would keep the last of them without a word. Errors of syntax name their line.
func Fields(text []byte) ([]Field, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	var fields []Field
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, syntax(text, d, err)
		}
		field := Field{Name: key.(string)}
		if err := d.Decode(&field.Value); err != nil {
			return nil, fmt.Errorf("field %q: %w", field.Name, syntax(text, d, err))
		}
		if seen[field.Name] {
			return nil, fmt.Errorf("field %q is given twice", field.Name)
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

// syntax adds the line to an error of the JSON decoder.
func syntax(text []byte, d *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	at := d.InputOffset()
	if s := (*json.SyntaxError)(nil); errors.As(err, &s) {
		at = s.Offset
	}
	return fmt.Errorf("line %d: %w", 1+bytes.Count(text[:min(at, int64(len(text)))], []byte("\n")), err)
}

// Object writes fields as a JSON object, in their order.
func Object(fields []Field) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range fields {
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
