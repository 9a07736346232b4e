package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/nearest"
)

// This file reads tables whose columns have Hugging Face's names: those of Task.Columns, and "label".

func (s *Split) readJSONL(content []byte, name string) error {
	lines := newLineReader(bytes.NewReader(content), name)
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		e, err := s.jsonExample(line)
		if err != nil {
			return lines.fail("%w", err)
		}
		e.Row = s.Source.Rows
		s.Source.Rows++
		s.Examples = append(s.Examples, e)
	}
}

func (s *Split) jsonExample(line string) (Example, error) {
	fields, err := parseObject(line)
	if err != nil {
		return Example{}, err
	}
	texts := make([]string, len(s.Task.Columns))
	for i, column := range s.Task.Columns {
		value, ok := fields.get(column)
		if !ok {
			return Example{}, s.Task.noColumn("field", column, fields.names())
		}
		if texts[i], err = jsonText(column, value); err != nil {
			return Example{}, err
		}
	}
	value, _ := fields.get("label")
	label, err := s.jsonLabel(value)
	if err != nil {
		return Example{}, err
	}
	return newExample(texts, label), nil
}

// newExample makes an example of one text, or two.
func newExample(texts []string, label float64) Example {
	e := Example{Text: texts[0], Label: label}
	if len(texts) == 2 {
		e.Pair, e.HasPair = texts[1], true
	}
	return e
}

// jsonLabel reads a label given as class name, class id or score; value is nil where it is absent.
func (s *Split) jsonLabel(value json.RawMessage) (float64, error) {
	if value == nil || string(value) == "null" {
		return s.noLabel(`no field "label"`)
	}
	var label any
	if err := json.Unmarshal(value, &label); err != nil {
		return 0, err
	}
	switch label := label.(type) {
	case string:
		return s.Task.parseLabel(label)
	case float64:
		return s.label(label)
	default:
		return 0, fmt.Errorf("label %.60s is neither a name nor a number", value)
	}
}

// label checks a numeric label. Test splits have -1 for "not told".
func (s *Split) label(v float64) (float64, error) {
	if s.Name == Test && v == -1 {
		return math.NaN(), nil
	}
	return s.Task.numberLabel(v)
}

func (s *Split) noLabel(what string) (float64, error) {
	if s.Name == Test {
		return math.NaN(), nil
	}
	return 0, fmt.Errorf("%s; only a test split may lack labels", what)
}

// object is a JSON object as it stands in the text: fields in order, each once.
type object []jsonField

type jsonField struct {
	name  string
	value json.RawMessage
}

func (o object) get(name string) (json.RawMessage, bool) {
	for _, f := range o {
		if f.name == name {
			return f.value, true
		}
	}
	return nil, false
}

func (o object) names() []string {
	names := make([]string, len(o))
	for i, f := range o {
		names[i] = f.name
	}
	return names
}

// onlyKnown refuses fields that are not among the known ones.
func (o object) onlyKnown(known []string) error {
	for _, f := range o {
		if !slices.Contains(known, f.name) {
			return fmt.Errorf("unknown field %.60q; nearest: %s (known: %s)", f.name, nearest.Of(f.name, known), strings.Join(known, " "))
		}
	}
	return nil
}

// parseObject reads one JSON object. encoding/json alone keeps the last of two equal names and takes
// names in any case; both would hide a mistake.
func parseObject(text string) (object, error) {
	d := json.NewDecoder(strings.NewReader(text))
	if open, err := d.Token(); err != nil || open != json.Delim('{') {
		return nil, jsonFault(d, err, "want a JSON object, {…}")
	}
	var o object
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, jsonFault(d, err, "")
		}
		f := jsonField{name: name.(string)} // a decoder inside an object gives names as strings
		if err := d.Decode(&f.value); err != nil {
			return nil, jsonFault(d, err, "")
		}
		if _, twice := o.get(f.name); twice {
			return nil, fmt.Errorf("field %.60q occurs twice", f.name)
		}
		o = append(o, f)
	}
	if _, err := d.Token(); err != nil {
		return nil, jsonFault(d, err, "")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, jsonFault(d, nil, "text after the object")
	}
	return o, nil
}

func jsonFault(d *json.Decoder, err error, want string) error {
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		want = "the JSON ends too early"
	case err != nil:
		want = err.Error()
	}
	return fmt.Errorf("column %d: %s", d.InputOffset()+1, want)
}

func jsonText(name string, value json.RawMessage) (string, error) {
	var text *string
	if err := json.Unmarshal(value, &text); err != nil || text == nil {
		return "", fmt.Errorf("field %q is %.60s; want a string", name, value)
	}
	return *text, nil
}
