package data

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"

	"github.com/deeplora/deeplora/internal/table"
)

// maxParquetText bounds the text of a parquet file. A column that repeats one long value is a few bytes
// on disk; the whole of GLUE is a tenth of this.
const maxParquetText = 1 << 30

// parquetReader fills a split from a parquet file.
type parquetReader struct {
	split   *Split
	columns []int // number of each text column, then of the label: -1 where it is absent
	limit   int   // more rows than this cannot be in a file of this size
	text    int   // bytes of text read
}

// readParquet reads the columns it needs from every row group. The library trusts the file's numbers
// and panics if some are wrong: this function makes errors of such panics.
func (s *Split) readParquet(content []byte, name string) (err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%s: corrupt parquet file: %v", name, fault)
		}
	}()
	file, err := table.OpenParquet(content)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	r := &parquetReader{split: s, limit: max(1<<20, len(content))}
	if err := r.open(file.Schema()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, group := range file.RowGroups() {
		if err := r.read(group); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// open finds the columns.
func (r *parquetReader) open(schema *parquet.Schema) error {
	var names []string
	for _, field := range schema.Fields() {
		names = append(names, field.Name())
	}
	task := r.split.Task
	for _, name := range append(slices.Clone(task.Columns), "label") {
		leaf, ok := schema.Lookup(name)
		switch {
		case !ok && name == "label" && r.split.Name == Test:
			r.columns = append(r.columns, -1)
		case !ok:
			return task.noColumn("column", name, names)
		case leaf.Node.Repeated():
			return fmt.Errorf("column %q is a list; want one value a row", name)
		case name != "label" && leaf.Node.Type().Kind() != parquet.ByteArray:
			return fmt.Errorf("column %q is %v; want strings", name, leaf.Node.Type())
		default:
			r.columns = append(r.columns, leaf.ColumnIndex)
		}
	}
	return nil
}

// read appends the examples of a row group.
func (r *parquetReader) read(group parquet.RowGroup) error {
	s, chunks := r.split, group.ColumnChunks()
	texts := make([][]string, len(s.Task.Columns))
	for i, name := range s.Task.Columns {
		var err error
		if texts[i], err = readColumn(r, chunks[r.columns[i]], name, r.textValue); err != nil {
			return err
		}
	}
	labels := slices.Repeat([]float64{math.NaN()}, len(texts[0]))
	if at := r.columns[len(texts)]; at >= 0 {
		var err error
		if labels, err = readColumn(r, chunks[at], "label", s.parquetLabel); err != nil {
			return err
		}
	}
	if len(labels) != len(texts[0]) || len(texts[len(texts)-1]) != len(texts[0]) {
		return errors.New("corrupt parquet file: columns of different length")
	}
	row := make([]string, len(texts))
	for i, label := range labels {
		for j := range texts {
			row[j] = texts[j][i]
		}
		e := newExample(row, label)
		e.Row = s.Source.Rows
		s.Examples = append(s.Examples, e)
		s.Source.Rows++
	}
	return nil
}

// readColumn reads a column of a row group, page by page, each value through convert. It is not a
// method because of its type parameter.
func readColumn[T any](r *parquetReader, chunk parquet.ColumnChunk, name string, convert func(parquet.Value) (T, error)) ([]T, error) {
	pages := chunk.Pages()
	defer pages.Close()
	var all []T
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("column %q: %w", name, err)
		}
		all, err = readPage(r, page, all, convert)
		parquet.Release(page)
		if err != nil {
			return nil, fmt.Errorf("row %d: column %q: %w", r.split.Source.Rows+len(all), name, err)
		}
	}
}

func readPage[T any](r *parquetReader, page parquet.Page, all []T, convert func(parquet.Value) (T, error)) ([]T, error) {
	values, buffer := page.Values(), make([]parquet.Value, 256)
	for {
		n, err := values.ReadValues(buffer)
		for _, v := range buffer[:n] {
			converted, err := convert(v)
			if err != nil {
				return all, err
			}
			all = append(all, converted)
		}
		switch {
		case r.split.Source.Rows+len(all) > r.limit:
			return all, errors.New("corrupt parquet file: more rows than its size allows")
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return all, err
		case n == 0:
			return all, io.ErrNoProgress
		}
	}
}

// textValue copies a string out of the page, whose memory is used again.
func (r *parquetReader) textValue(v parquet.Value) (string, error) {
	if v.IsNull() {
		return "", errors.New("no text (null)")
	}
	text := v.ByteArray()
	switch r.text += len(text); {
	case r.text > maxParquetText:
		return "", fmt.Errorf("more than %d bytes of text", maxParquetText)
	case !utf8.Valid(text):
		return "", errors.New("not valid UTF-8")
	}
	return string(text), nil
}

func (s *Split) parquetLabel(v parquet.Value) (float64, error) {
	if v.IsNull() {
		return s.noLabel("no label (null)")
	}
	switch v.Kind() {
	case parquet.Int32:
		return s.label(float64(v.Int32()))
	case parquet.Int64:
		return s.label(float64(v.Int64()))
	case parquet.Float:
		return s.label(shortest(v.Float()))
	case parquet.Double:
		return s.label(v.Double())
	case parquet.ByteArray:
		return s.Task.parseLabel(string(v.ByteArray()))
	default:
		return 0, fmt.Errorf("a label of kind %v; want an integer, a float or a class name", v.Kind())
	}
}

// shortest widens a float32 to the float64 of its shortest decimal form: 3.8 and not
// 3.799999952316284, so that the hub's parquet and the official TSV give the same scores.
func shortest(v float32) float64 {
	wide, err := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	if err != nil {
		return float64(v)
	}
	return wide
}
