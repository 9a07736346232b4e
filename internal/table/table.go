// Package table reads the files that people keep examples in: CSV, TSV, JSONL, JSON arrays and parquet, each also
// compressed by gzip. A file becomes rows of named cells that know where they stand. The package does not know what a
// text or a label is.
package table

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Kind says what a cell holds.
type Kind byte

// The kinds of cells. All cells of CSV and TSV are Strings.
const (
	Null Kind = iota
	String
	Number
	Bool
	Other // a list or an object: Text is its JSON
)

// Cell is one value: its text as the file has it.
type Cell struct {
	Kind Kind
	Text string
}

// JSON is the cell as a JSON value.
func (c Cell) JSON() json.RawMessage {
	switch c.Kind {
	case Null:
		return json.RawMessage("null")
	case String:
		return quoted(c.Text)
	default:
		return json.RawMessage(c.Text)
	}
}

// quoted is a JSON string, <, > and & as they are.
func quoted(text string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always can be encoded
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// String is the cell as an error shows it.
func (c Cell) String() string {
	if c.Kind == String {
		return fmt.Sprintf("%.60q", c.Text)
	}
	return fmt.Sprintf("%.60s", c.JSON())
}

// List reads the items of a cell that holds a list of single values, none of them null.
func List(c Cell) ([]Cell, error) {
	var values []json.RawMessage
	if err := json.Unmarshal([]byte(c.Text), &values); err != nil || c.Kind != Other || values == nil {
		return nil, errors.New("no list")
	}
	items := make([]Cell, len(values))
	for i, v := range values {
		var err error
		if items[i], err = jsonCell(v); err != nil {
			return nil, fmt.Errorf("item %d: %w", i+1, err)
		}
		if items[i].Kind == Null || items[i].Kind == Other {
			return nil, fmt.Errorf("item %d is %v", i+1, items[i])
		}
	}
	return items, nil
}

// Row is one row: cells, and their columns' names in the same order.
type Row struct {
	Line    int      // in the file, from 1; of parquet the row, from 1
	Names   []string // shared between rows where they are the same
	Cells   []Cell
	columns []int32 // where each cell begins in its line, from 1; nil where that is not known
	lines   []int32 // the line that each cell begins on; nil: Line
	file    string  // that it came from, where a table is of several; empty: the table's name
}

// Get returns the cell of a column.
func (r Row) Get(name string) (c Cell, ok bool) {
	i := slices.Index(r.Names, name)
	if i < 0 {
		return Cell{}, false
	}
	return r.Cells[i], true
}

// Table is a file that was read.
type Table struct {
	Name    string   // as errors give it
	Columns []string // in the order in which they appear
	Rows    []Row
	Notices []string            // what the user should know of how the file was read
	Classes map[string][]string // names of a column's classes in the order of their ids, where the file has them; cells have names
	unit    string              // what Row.Line counts: "" for lines, else "row "
}

// At is the place of a cell: file:line:column, as far as it is known.
func (t *Table) At(r Row, column string) string {
	file, i := cmp.Or(r.file, t.Name), slices.Index(r.Names, column)
	switch {
	case t.unit != "":
		return fmt.Sprintf("%s: %s%d, column %s", file, t.unit, r.Line, column)
	case i >= 0 && r.columns != nil:
		return fmt.Sprintf("%s:%d:%d", file, r.lines[i], r.columns[i])
	default:
		return fmt.Sprintf("%s:%d", file, r.Line)
	}
}

// formats are the endings that are read.
var formats = []string{".csv", ".tsv", ".jsonl", ".json", ".parquet"}

// Formats returns the names of the formats, best known first.
func Formats() []string {
	names := make([]string, len(formats))
	for i, f := range formats {
		names[i] = f[1:]
	}
	return names
}

// Format is the format that a file's name stands for: "csv" of reviews.csv and of reviews.csv.gz, "" where none does.
func Format(name string) string {
	ending := strings.ToLower(path.Ext(strings.TrimSuffix(strings.ToLower(name), ".gz")))
	if ending == ".ndjson" {
		return "jsonl"
	}
	if !slices.Contains(formats, ending) {
		return ""
	}
	return ending[1:]
}

// maxUnpacked bounds what a file compressed by gzip may hold: a few bytes can stand for gigabytes of zeros.
const maxUnpacked = 4 << 30

// Parse reads a file's content. An empty format is taken from the name.
func Parse(name, format string, content []byte) (*Table, error) {
	if format == "" {
		format = Format(name)
	}
	if format == "" {
		return nil, fmt.Errorf("%s: the ending says no format; want %s, each also .gz", name, strings.Join(formats, " "))
	}
	if bytes.HasPrefix(content, []byte{0x1f, 0x8b}) {
		var err error
		if content, err = unpacked(content); err != nil {
			return nil, fmt.Errorf("%s: gzip: %w", name, err)
		}
	} else if strings.HasSuffix(strings.ToLower(name), ".gz") {
		return nil, fmt.Errorf("%s: not compressed by gzip, in spite of its name; rename it", name)
	}
	t := &Table{Name: name}
	if format == "parquet" {
		return t, t.readParquet(content)
	}
	content, err := t.text(content)
	if err != nil {
		return nil, err
	}
	switch format {
	case "csv", "tsv":
		err = t.readDelimited(content, format)
	case "jsonl":
		err = t.readJSONL(content)
	case "json":
		err = t.readJSON(content)
	default:
		err = fmt.Errorf("%s: unknown format %q; want %s", name, format, strings.Join(Formats(), " "))
	}
	if err != nil {
		return nil, err
	}
	if len(t.Rows) == 0 {
		return nil, fmt.Errorf("%s: no data rows", name)
	}
	return t, nil
}

func unpacked(content []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	all, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("the file ends too early; is it cut off?")
	case err == nil && len(all) > maxUnpacked:
		return nil, fmt.Errorf("more than %d bytes", maxUnpacked)
	}
	return all, err
}

// text checks that content is text in UTF-8, and drops a byte order mark.
func (t *Table) text(content []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(content, []byte{0xff, 0xfe}), bytes.HasPrefix(content, []byte{0xfe, 0xff}):
		return nil, fmt.Errorf("%s: is UTF-16; save it as UTF-8", t.Name)
	case bytes.HasPrefix(content, []byte("PK\x03\x04")):
		return nil, fmt.Errorf("%s: is a zip archive or a spreadsheet; save it as CSV", t.Name)
	case bytes.HasPrefix(content, []byte("PAR1")):
		return nil, fmt.Errorf("%s: is a parquet file; rename it to .parquet", t.Name)
	case len(bytes.TrimSpace(content)) == 0:
		return nil, fmt.Errorf("%s: empty file", t.Name)
	}
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	for number, rest := 1, content; len(rest) > 0; number++ {
		line, after, _ := bytes.Cut(rest, []byte("\n"))
		switch {
		case !utf8.Valid(line):
			return nil, fmt.Errorf("%s:%d: not valid UTF-8; convert the file first", t.Name, number)
		case bytes.IndexByte(line, 0) >= 0:
			return nil, fmt.Errorf("%s:%d: a zero byte; is this a text file?", t.Name, number)
		}
		rest = after
	}
	return content, nil
}

// add appends a row of named cells of which each row may have others.
func (t *Table) add(line int, names []string, cells []Cell) {
	if n := len(t.Rows); n > 0 && slices.Equal(t.Rows[n-1].Names, names) {
		names = t.Rows[n-1].Names
	} else {
		for _, name := range names {
			if !slices.Contains(t.Columns, name) {
				t.Columns = append(t.Columns, name)
			}
		}
	}
	t.Rows = append(t.Rows, Row{Line: line, Names: names, Cells: cells})
}

// checkNames refuses a header in which two columns have one name. Columns without a name get one.
func checkNames(names []string) error {
	for i, name := range names {
		if name == "" {
			names[i] = "column " + strconv.Itoa(i+1)
		} else if slices.Contains(names[:i], name) {
			return fmt.Errorf("two columns are called %q", name)
		}
	}
	return nil
}
