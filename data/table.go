package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/deeplora/deeplora/internal/jsonfile"
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
	fields, err := jsonfile.Fields([]byte(line))
	if err != nil {
		return Example{}, err
	}
	texts := make([]string, len(s.Task.Columns))
	for i, column := range s.Task.Columns {
		value, ok := fields.Get(column)
		if !ok {
			var names []string
			for _, f := range fields {
				names = append(names, f.Name)
			}
			return Example{}, s.Task.noColumn("field", column, names)
		}
		if texts[i], err = jsonText(column, value); err != nil {
			return Example{}, err
		}
	}
	value, _ := fields.Get("label")
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

// label checks a numeric label. In test splits -1 stands for an unknown label.
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

func jsonText(name string, value json.RawMessage) (string, error) {
	var text *string
	if err := json.Unmarshal(value, &text); err != nil || text == nil {
		return "", fmt.Errorf("field %q is %.60s; want a string", name, value)
	}
	return *text, nil
}
