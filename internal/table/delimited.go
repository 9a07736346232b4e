package table

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// delimiters may stand between the fields of a CSV, by RFC 4180 and as spreadsheets of other countries write them.
var delimiters = []struct {
	mark byte
	name string
}{{',', "commas"}, {';', "semicolons"}, {'\t', "tabs"}}

// readDelimited reads a CSV or TSV, whose first line names the columns.
func (t *Table) readDelimited(content []byte, format string) error {
	mark := byte('\t')
	if format == "csv" {
		mark = t.delimiter(content)
		return t.readQuoted(content, mark)
	}
	if !bytes.ContainsRune(content, '"') {
		return t.readPlain(content)
	}
	// A quote in a TSV is either text, as in GLUE's, or stands around a field. Only a file that is sound with
	// quoted fields, and has one, is read so.
	quoted := &Table{Name: t.Name}
	if !hasQuotedField(content) || quoted.readQuoted(content, mark) != nil {
		t.Notices = append(t.Notices, fmt.Sprintf("%s: quotes are taken as text", t.Name))
		return t.readPlain(content)
	}
	*t = *quoted
	t.Notices = append(t.Notices, fmt.Sprintf("%s: quotes are taken as standing around fields", t.Name))
	return nil
}

func hasQuotedField(content []byte) bool {
	return bytes.HasPrefix(content, []byte(`"`)) || bytes.Contains(content, []byte("\t\"")) || bytes.Contains(content, []byte("\n\""))
}

// delimiter is what the header has most of outside quotes.
func (t *Table) delimiter(content []byte) byte {
	counts := map[byte]int{}
	inside := false
	for _, c := range content {
		if c == '"' {
			inside = !inside
		}
		if c == '\n' && !inside {
			break
		}
		if !inside {
			counts[c]++
		}
	}
	best := delimiters[0]
	for _, d := range delimiters[1:] {
		if counts[d.mark] > counts[best.mark] {
			best = d
		}
	}
	if best.mark != ',' {
		t.Notices = append(t.Notices, fmt.Sprintf("%s: fields are separated by %s", t.Name, best.name))
	}
	return best.mark
}

// readQuoted reads fields that may stand in quotes, by RFC 4180.
func (t *Table) readQuoted(content []byte, mark byte) error {
	r := csv.NewReader(bytes.NewReader(content))
	r.Comma, r.FieldsPerRecord = rune(mark), -1
	names, err := r.Read()
	if err != nil {
		return t.csvFault(err)
	}
	if err := t.header(names); err != nil {
		return err
	}
	for {
		fields, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return t.csvFault(err)
		}
		line, _ := r.FieldPos(0)
		if err := t.width(line, len(fields)); err != nil {
			return err
		}
		row := t.strings(line, fields)
		row.columns, row.lines = make([]int32, len(fields)), make([]int32, len(fields))
		for i := range fields {
			line, column := r.FieldPos(i)
			row.lines[i], row.columns[i] = int32(line), int32(column)
		}
		t.Rows = append(t.Rows, row)
	}
}

// csvFault says what is wrong with a CSV and how it would be right.
func (t *Table) csvFault(err error) error {
	var p *csv.ParseError
	if !errors.As(err, &p) {
		return fmt.Errorf("%s: %w", t.Name, err)
	}
	at := fmt.Sprintf("%s:%d:%d", t.Name, p.Line, p.Column)
	switch {
	case errors.Is(p.Err, csv.ErrBareQuote):
		return fmt.Errorf(`%s: a quote inside a field without quotes; write "…""…"`, at)
	case errors.Is(p.Err, csv.ErrQuote) && p.StartLine != p.Line:
		return fmt.Errorf("%s: the quote that begins in the row of line %d does not end well; a quote inside a field is written twice", at, p.StartLine)
	case errors.Is(p.Err, csv.ErrQuote):
		return fmt.Errorf("%s: a quoted field does not end well; a quote inside a field is written twice", at)
	default:
		return fmt.Errorf("%s: %w", at, p.Err)
	}
}

// readPlain reads fields between tabs, a quote being text.
func (t *Table) readPlain(content []byte) error {
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		fields := strings.Split(line, "\t")
		if number == 1 {
			if err := t.header(fields); err != nil {
				return err
			}
			continue
		}
		if line == "" {
			continue
		}
		if err := t.width(number, len(fields)); err != nil {
			return err
		}
		row := t.strings(number, fields)
		row.columns, row.lines = make([]int32, len(fields)), slices.Repeat([]int32{int32(number)}, len(fields))
		at := 1
		for i, f := range fields {
			row.columns[i] = int32(at)
			at += len(f) + 1
		}
		t.Rows = append(t.Rows, row)
	}
	return nil
}

func (t *Table) header(names []string) error {
	names = slices.Clone(names)
	for i, name := range names {
		names[i] = strings.TrimSpace(name)
	}
	if err := checkNames(names); err != nil {
		return fmt.Errorf("%s:1: %w", t.Name, err)
	}
	t.Columns = names
	return nil
}

func (t *Table) width(line, fields int) error {
	if fields != len(t.Columns) {
		return fmt.Errorf("%s:%d: %d fields; want %d, as the header has (%.200s)", t.Name, line, fields, len(t.Columns), strings.Join(t.Columns, ", "))
	}
	return nil
}

func (t *Table) strings(line int, fields []string) Row {
	cells := make([]Cell, len(fields))
	for i, f := range fields {
		cells[i] = Cell{String, f}
	}
	return Row{Line: line, Names: t.Columns, Cells: cells}
}
