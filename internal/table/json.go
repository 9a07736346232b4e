package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// readJSONL reads one object a line; blank lines are left out.
func (t *Table) readJSONL(content []byte) error {
	number := 0
	for line := range bytes.Lines(content) {
		number++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		names, cells, err := Object(bytes.TrimSpace(line))
		if err != nil {
			return fmt.Errorf("%s:%d: %w", t.Name, number, err)
		}
		t.add(number, names, cells)
	}
	return nil
}

// readJSON reads a list of objects.
func (t *Table) readJSON(content []byte) error {
	d := json.NewDecoder(bytes.NewReader(content))
	line := func() int { return 1 + bytes.Count(content[:d.InputOffset()], []byte("\n")) }
	if start, err := d.Token(); err != nil || start != json.Delim('[') {
		return fmt.Errorf("%s: not a list of objects, [{…}, …]; a file of one object a line is called .jsonl", t.Name)
	}
	for d.More() {
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return fmt.Errorf("%s:%d: %w", t.Name, line(), jsonFault(err))
		}
		at := line() - bytes.Count(value, []byte("\n"))
		names, cells, err := Object(value)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", t.Name, at, err)
		}
		t.add(at, names, cells)
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("%s:%d: %w", t.Name, line(), jsonFault(err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s:%d: text after the list", t.Name, line())
	}
	return nil
}

func jsonFault(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	return err
}

// Object reads a JSON object as a row: names and cells in its order.
func Object(text []byte) (names []string, cells []Cell, err error) {
	fields, err := jsonfile.Fields(text)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range fields {
		c, err := jsonCell(f.Value)
		if err != nil {
			return nil, nil, fmt.Errorf("field %.60q: %w", f.Name, err)
		}
		names, cells = append(names, f.Name), append(cells, c)
	}
	return names, cells, nil
}

func jsonCell(value json.RawMessage) (Cell, error) {
	switch value[0] {
	case 'n':
		return Cell{}, nil
	case '"':
		var s string
		err := json.Unmarshal(value, &s)
		return Cell{String, s}, err
	case 't', 'f':
		return Cell{Bool, string(value)}, nil
	case '[', '{':
		return Cell{Other, string(value)}, nil
	default:
		return Cell{Number, string(value)}, nil
	}
}
