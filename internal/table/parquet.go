package table

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
)

// maxParquetText bounds the text of a parquet file: a column that repeats one long value is a few bytes on disk.
const maxParquetText = 4 << 30

// readParquet reads every column, those inside others by their names with dots: "translation.en". A list is one cell.
// The library trusts the file's numbers and panics where some are wrong: such panics become errors here.
func (t *Table) readParquet(content []byte) (err error) {
	t.unit = "row "
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%s: corrupt parquet file: %v", t.Name, fault)
		}
	}()
	file, err := OpenParquet(content)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Name, err)
	}
	lists := map[int]int{}
	for i, path := range file.Schema().Columns() {
		there, isList := listLevel(file.Schema(), path)
		if isList {
			lists[i] = there
		}
		t.Columns = append(t.Columns, columnName(path, isList))
	}
	if err := checkNames(t.Columns); err != nil {
		return fmt.Errorf("%s: %w", t.Name, err)
	}
	t.Classes = declaredClasses(file)
	r := &parquetRows{table: t, lists: lists, limit: max(1<<20, len(content))}
	for _, group := range file.RowGroups() {
		if err := r.read(group); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	if len(t.Rows) == 0 {
		return fmt.Errorf("%s: no data rows", t.Name)
	}
	return nil
}

// listLevel says whether a column is a list, and from which definition level on there is one, be it empty: below, it is
// null.
func listLevel(node parquet.Node, path []string) (there int, isList bool) {
	for _, name := range path {
		at := slices.IndexFunc(node.Fields(), func(f parquet.Field) bool { return f.Name() == name })
		if at < 0 {
			return 0, false
		}
		node = node.Fields()[at]
		switch {
		case node.Repeated():
			return there, true
		case node.Optional():
			there++
		}
	}
	return 0, false
}

// OpenParquet opens a file whose rows are all read, so that its indices and filters are not needed. The library panics
// where some of a file's numbers are wrong, here or while it is read: the caller makes errors of that.
func OpenParquet(content []byte) (*parquet.File, error) {
	if err := checkFooter(content); err != nil {
		return nil, fmt.Errorf("not a parquet file: %w", err)
	}
	file, err := parquet.OpenFile(bytes.NewReader(content), int64(len(content)), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, fmt.Errorf("not a parquet file: %w", err)
	}
	return file, nil
}

// columnName joins a path. The levels that parquet puts into a list ("list", "element") are no names of the user's.
func columnName(path []string, repeated bool) string {
	if n := len(path); repeated && n > 2 && path[n-2] == "list" {
		path = path[:n-2]
	}
	return strings.Join(path, ".")
}

// checkFooter compares the length of the file's metadata, its last number, with the size of the file: the library
// allocates as much as that number says, up to 4 GiB.
func checkFooter(content []byte) error {
	const magic, tail = 4, 8 // "PAR1" in front; length and "PAR1" behind
	if len(content) < magic+tail {
		return fmt.Errorf("%d bytes", len(content))
	}
	if n := binary.LittleEndian.Uint32(content[len(content)-tail:]); int64(n) > int64(len(content)-magic-tail) {
		return errors.New("its footer is longer than the file; is it cut off?")
	}
	return nil
}

type parquetRows struct {
	table *Table
	lists map[int]int // columns that are lists: listLevel
	limit int         // more rows than this cannot be in a file of this size
	text  int
}

func (r *parquetRows) read(group parquet.RowGroup) error {
	rows := group.Rows()
	defer rows.Close()
	buffer := make([]parquet.Row, 64)
	for {
		n, err := rows.ReadRows(buffer)
		for _, row := range buffer[:n] {
			if err := r.add(row); err != nil {
				return fmt.Errorf("row %d: %w", len(r.table.Rows)+1, err)
			}
		}
		switch {
		case len(r.table.Rows) > r.limit:
			return errors.New("corrupt parquet file: more rows than its size allows")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case n == 0:
			return io.ErrNoProgress
		}
	}
}

func (r *parquetRows) add(row parquet.Row) error {
	t := r.table
	cells := make([]Cell, len(t.Columns))
	items, there := map[int][]string{}, map[int]bool{}
	for _, v := range row {
		c, err := parquetCell(v)
		if err != nil {
			return fmt.Errorf("column %s: %w", t.Columns[v.Column()], err)
		}
		if names := t.Classes[t.Columns[v.Column()]]; names != nil {
			if c, err = named(c, names); err != nil {
				return fmt.Errorf("column %s: %w", t.Columns[v.Column()], err)
			}
		}
		if r.text += len(c.Text); r.text > maxParquetText {
			return fmt.Errorf("more than %d bytes of text", maxParquetText)
		}
		level, isList := r.lists[v.Column()]
		switch {
		case !isList:
			cells[v.Column()] = c
		case v.DefinitionLevel() >= level:
			there[v.Column()] = true
			if v.DefinitionLevel() > level { // an item; a null one is one too
				items[v.Column()] = append(items[v.Column()], string(c.JSON()))
			}
		}
	}
	for i := range there {
		cells[i] = Cell{Other, "[" + strings.Join(items[i], ",") + "]"}
	}
	t.Rows = append(t.Rows, Row{Line: len(t.Rows) + 1, Names: t.Columns, Cells: cells})
	return nil
}

// declaredClasses are the class names that Hugging Face's programs write into a parquet file, where the cells are ids.
func declaredClasses(file *parquet.File) map[string][]string {
	text, ok := file.Lookup("huggingface")
	if !ok {
		return nil
	}
	var about struct {
		Info struct {
			Features map[string]json.RawMessage `json:"features"`
		} `json:"info"`
	}
	if json.Unmarshal([]byte(text), &about) != nil {
		return nil
	}
	classes := map[string][]string{}
	for column, feature := range about.Info.Features {
		if names := classNames(feature); names != nil {
			classes[column] = names
		}
	}
	return classes
}

// classNames are those of a feature that is a class, or a list of them in either of the two ways they are written.
func classNames(feature json.RawMessage) []string {
	var list []json.RawMessage
	if json.Unmarshal(feature, &list) == nil && len(list) == 1 {
		feature = list[0]
	}
	var f struct {
		Type    string          `json:"_type"`
		Names   []string        `json:"names"`
		Feature json.RawMessage `json:"feature"`
	}
	if json.Unmarshal(feature, &f) != nil {
		return nil
	}
	if f.Type != "ClassLabel" && len(f.Feature) > 0 {
		return classNames(f.Feature)
	}
	if f.Type != "ClassLabel" {
		return nil
	}
	return f.Names
}

// named is the cell of a class id with the class's name. Ids of -1 are those of rows without a label.
func named(c Cell, names []string) (Cell, error) {
	if c.Kind != Number {
		return c, nil
	}
	id, err := strconv.Atoi(c.Text)
	switch {
	case err == nil && id == -1:
		return Cell{}, nil
	case err != nil || id < 0 || id >= len(names):
		return c, fmt.Errorf("class id %s; the file names %d classes", c.Text, len(names))
	default:
		return Cell{String, names[id]}, nil
	}
}

func parquetCell(v parquet.Value) (Cell, error) {
	if v.IsNull() {
		return Cell{}, nil
	}
	switch v.Kind() {
	case parquet.Boolean:
		return Cell{Bool, strconv.FormatBool(v.Boolean())}, nil
	case parquet.Int32:
		return Cell{Number, strconv.FormatInt(int64(v.Int32()), 10)}, nil
	case parquet.Int64:
		return Cell{Number, strconv.FormatInt(v.Int64(), 10)}, nil
	case parquet.Float:
		return float(float64(v.Float()), 32), nil
	case parquet.Double:
		return float(v.Double(), 64), nil
	case parquet.ByteArray, parquet.FixedLenByteArray:
		if text := v.ByteArray(); utf8.Valid(text) {
			return Cell{String, string(text)}, nil
		}
		return Cell{String, base64.StdEncoding.EncodeToString(v.ByteArray())}, nil // an image, or the like
	default:
		return Cell{String, v.String()}, nil
	}
}

// float is the shortest decimal of a number. NaN and infinities, which JSON cannot write, are strings, NaN being what
// data frames write for nothing.
func float(v float64, bits int) Cell {
	switch {
	case v != v:
		return Cell{}
	case v-v != 0:
		return Cell{String, strconv.FormatFloat(v, 'g', -1, bits)}
	default:
		return Cell{Number, strconv.FormatFloat(v, 'g', -1, bits)}
	}
}
