package completion

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ReadOptions are what a file of triples cannot say itself.
type ReadOptions struct {
	Rows, Cols int  // of the matrix; 0: as many as the entries need
	OneBased   bool // places count from 1; Matrix Market's always do
}

const (
	maxLine = 4096 // bytes
	banner  = "%%MatrixMarket"
)

// ReadFile is Read of a file.
func ReadFile(path string, o ReadOptions) (*Entries, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, path, o)
}

// Read reads observed entries: lines of row, column and value with tabs between, or a Matrix Market file (coordinate,
// real or integer, general or symmetric; the other triangle of a symmetric one is observed too), which its first line
// tells. Values are finite decimal numbers; a place that comes twice is an error, as is anything else that was not
// meant; every error names the file and the line.
func Read(r io.Reader, name string, o ReadOptions) (*Entries, error) {
	p := &parser{name: name, lines: bufio.NewReaderSize(r, maxLine), rows: o.Rows, cols: o.Cols}
	if o.OneBased {
		p.base = 1
	}
	text, err := p.next()
	if err == io.EOF {
		return nil, p.fault("the file is empty; want lines of row, column and value")
	}
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(text, banner) {
		err = p.matrixMarket(text, o)
	} else {
		err = p.table(text)
	}
	if err != nil {
		return nil, err
	}
	return p.entries()
}

type parser struct {
	name  string
	lines *bufio.Reader
	line  int

	rows, cols int // 0: not known yet
	base       int
	triples    []placed
	top        Triple // largest row and column
}

// placed is an entry and the line it comes from.
type placed struct {
	Triple
	line int
}

func (p *parser) fault(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", p.name, max(p.line, 1), fmt.Errorf(format, args...))
}

// next returns the next line without its end; io.EOF after the last.
func (p *parser) next() (string, error) {
	text, err := p.lines.ReadSlice('\n')
	if err == io.EOF && len(text) == 0 {
		return "", io.EOF
	}
	p.line++
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", p.fault("the line is longer than %d bytes", maxLine)
	case err != nil && err != io.EOF:
		return "", fmt.Errorf("%s: %w", p.name, err)
	}
	text = bytes.TrimSuffix(text, []byte("\n"))
	return string(bytes.TrimSuffix(text, []byte("\r"))), nil
}

// table reads lines of triples, the first of which is text.
func (p *parser) table(text string) (err error) {
	for ; err == nil; text, err = p.next() {
		fields := strings.Split(text, "\t")
		if len(fields) != 3 {
			return p.fault("%d fields with tabs between; want 3: row, column, value", len(fields))
		}
		if _, err := p.add(fields); err != nil {
			return err
		}
	}
	if err != io.EOF {
		return err
	}
	return nil
}

// matrixMarket reads a file whose banner is text.
func (p *parser) matrixMarket(text string, o ReadOptions) error {
	p.base = 1
	words := strings.Fields(strings.ToLower(text))
	if len(words) != 5 || words[1] != "matrix" || words[2] != "coordinate" {
		return p.fault("%q; want %s matrix coordinate and two words more", text, banner)
	}
	if words[3] != "real" && words[3] != "integer" {
		return p.fault("entries are %q; want real or integer", words[3])
	}
	if words[4] != "general" && words[4] != "symmetric" {
		return p.fault("the matrix is %q; want general or symmetric", words[4])
	}
	count, err := p.size(o)
	if err != nil {
		return err
	}
	if words[4] == "symmetric" && p.rows != p.cols {
		return p.fault("a symmetric matrix of %d × %d", p.rows, p.cols)
	}
	for n := 0; ; n++ {
		text, err := p.next()
		switch {
		case err == io.EOF && n == count:
			return nil
		case err == io.EOF:
			return p.fault("%d entries; the size line says %d", n, count)
		case err != nil:
			return err
		case n == count:
			return p.fault("more entries than the %d of the size line", count)
		}
		t, err := p.add(strings.Fields(text))
		if err != nil {
			return err
		}
		if words[4] == "symmetric" && t.Row != t.Col {
			if t.Row < t.Col {
				return p.fault("row %d, column %d is above the diagonal; a symmetric file has the lower triangle", t.Row+1, t.Col+1)
			}
			p.triples = append(p.triples, placed{Triple{t.Col, t.Row, t.Value}, p.line})
		}
	}
}

// size reads a Matrix Market file's size line, past its comments.
func (p *parser) size(o ReadOptions) (count int, err error) {
	text := "%"
	for strings.HasPrefix(text, "%") || strings.TrimSpace(text) == "" {
		if text, err = p.next(); err != nil {
			if err == io.EOF {
				err = p.fault("the file ends before its size line: rows, columns, entries")
			}
			return 0, err
		}
	}
	fields := strings.Fields(text)
	if len(fields) != 3 {
		return 0, p.fault("%q is not a size line: rows, columns, entries", text)
	}
	var sizes [3]int
	for i, field := range fields {
		n, err := strconv.ParseUint(field, 10, 31)
		if err != nil {
			return 0, p.fault("%q in the size line is not a whole number from 0 to %d", field, math.MaxInt32)
		}
		sizes[i] = int(n)
	}
	for _, side := range []struct {
		what        string
		said, given int
	}{{"rows", sizes[0], o.Rows}, {"columns", sizes[1], o.Cols}} {
		if side.said < 1 {
			return 0, p.fault("a matrix of %d %s", side.said, side.what)
		}
		if side.given != 0 && side.given != side.said {
			return 0, p.fault("%d %s; %d were asked for", side.said, side.what, side.given)
		}
	}
	p.rows, p.cols = sizes[0], sizes[1]
	return sizes[2], nil
}

// add reads one entry.
func (p *parser) add(fields []string) (t Triple, err error) {
	if len(fields) != 3 {
		return t, p.fault("%d fields; want 3: row, column, value", len(fields))
	}
	if t.Row, err = p.place("row", fields[0], p.rows); err != nil {
		return t, err
	}
	if t.Col, err = p.place("column", fields[1], p.cols); err != nil {
		return t, err
	}
	t.Value, err = strconv.ParseFloat(fields[2], 64)
	if err != nil || t.Value-t.Value != 0 || strings.ContainsAny(fields[2], "xX_") {
		return t, p.fault("value %q is not a finite decimal number", fields[2])
	}
	if len(p.triples) >= math.MaxInt32-1 {
		return t, p.fault("more than %d entries", math.MaxInt32)
	}
	p.top.Row, p.top.Col = max(p.top.Row, t.Row), max(p.top.Col, t.Col)
	p.triples = append(p.triples, placed{t, p.line})
	return t, nil
}

// place reads a row or a column as a number from 0.
func (p *parser) place(what, text string, limit int) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	most := math.MaxInt32 - 1
	if limit > 0 {
		most = limit - 1 + p.base
	}
	switch {
	case err != nil && p.line == 1:
		return 0, p.fault("%s %q is not a whole number from %d up; a header line is not expected", what, text, p.base)
	case err != nil || int(n) < p.base:
		return 0, p.fault("%s %q is not a whole number from %d up", what, text, p.base)
	case int(n) > most:
		return 0, p.fault("%s %d is beyond the last, %d%s", what, n, most, p.hint())
	}
	return int(n) - p.base, nil
}

func (p *parser) hint() string {
	if p.base == 0 {
		return " (counted from 0)"
	}
	return " (counted from 1)"
}

// maxEmpty is how many rows or columns a matrix may have for each observed entry, and beside them: a stray number of
// nine digits would otherwise make arrays of gigabytes.
const maxEmpty = 1 << 20

// entries sorts what was read.
func (p *parser) entries() (*Entries, error) {
	if len(p.triples) == 0 {
		return nil, p.fault("no entries")
	}
	rows, cols := p.rows, p.cols
	if rows == 0 {
		rows = p.top.Row + 1
	}
	if cols == 0 {
		cols = p.top.Col + 1
	}
	if most := 64*len(p.triples) + maxEmpty; rows > most || cols > most {
		return nil, fmt.Errorf("%s: a matrix of %d × %d with %d entries is nearly all empty rows or columns; number them without gaps", p.name, rows, cols, len(p.triples))
	}
	slices.SortFunc(p.triples, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col), cmp.Compare(a.line, b.line))
	})
	triples := make([]Triple, len(p.triples))
	for n, t := range p.triples {
		if n > 0 && triples[n-1].Row == t.Row && triples[n-1].Col == t.Col {
			p.line = t.line
			return nil, p.fault("row %d, column %d comes again after line %d", t.Row+p.base, t.Col+p.base, p.triples[n-1].line)
		}
		triples[n] = t.Triple
	}
	return newEntries(rows, cols, triples), nil
}
