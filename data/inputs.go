package data

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/table"
)

// Input is one row to predict: texts to tokenize, or ids that already are.
type Input struct {
	Line    int     // in the file, from 1
	Example Example // the texts, if not Ready; no label
	Encoded Encoded // the ids, if Ready; at least one
	Ready   bool

	Rest json.RawMessage // the row's other fields in their order, a JSON object; nil if there are none
}

// inputFields are what a JSONL row may have. The last two are what the tokenize command writes beside
// the ids, so that its output can be read again.
var inputFields = []string{"text", "pair", "input_ids", "token_type_ids", "attention_mask", "tokens"}

// ReadInputs reads the rows that predict and tokenize take:
//
//   - jsonl: {"text": …} or {"text": …, "pair": …}, or {"input_ids": […], "token_type_ids": […]} with the types
//     optional. With a task, its own columns are as good, and other fields come along as Input.Rest; without one they
//     are errors;
//   - tsv with a task of GLUE: its file, whose label, if any, is ignored;
//   - csv, json, parquet and other tsv: tables with the task's columns or, without a task, with columns that are named
//     as texts are.
//
// JSONL and GLUE's TSVs are read one row at a time in constant memory. An empty format is taken from the name's ending,
// jsonl if that says none. Blank lines of JSONL are skipped. With a task, rows must have as many texts as it has. name
// is for errors, "-" being standard input. The first error, which names the line, ends the sequence.
func ReadInputs(format string, r io.Reader, name string, t *Task) iter.Seq2[Input, error] {
	if format == "" {
		format = cmp.Or(table.Format(name), "jsonl")
	}
	if name == "-" {
		name = "standard input"
	}
	packed := strings.HasSuffix(name, ".gz")
	switch {
	case format == "tsv" && !packed && (t == nil || !t.Own()):
		return readInputTSV(r, name, t)
	case format == "jsonl" && !packed:
		return readInputJSONL(r, name, t)
	case slices.Contains(table.Formats(), format):
		return readInputTable(format, r, name, t)
	}
	return func(yield func(Input, error) bool) {
		yield(Input{}, fmt.Errorf("%s: unknown format %q; want one of %s", name, format, strings.Join(table.Formats(), " ")))
	}
}

func readInputTable(format string, r io.Reader, name string, t *Task) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		content, err := io.ReadAll(io.LimitReader(r, maxTable))
		var rows *table.Table
		if err == nil {
			rows, err = table.Parse(name, format, content)
		}
		if err == nil && t == nil {
			if columns := findTexts(rows.Columns, ""); columns != nil {
				t = &Task{Columns: columns}
			} else {
				err = fmt.Errorf("%s: no column is named as texts are; it has %s", name, columnList(rows.Columns))
			}
		}
		if err != nil {
			yield(Input{}, err)
			return
		}
		for i, row := range rows.Rows {
			fields := make(jsonfile.Object, len(row.Cells))
			for j, c := range row.Cells {
				fields[j] = jsonfile.Field{Name: row.Names[j], Value: c.JSON()}
			}
			in, err := taskInput(fields, t)
			if err != nil {
				err = fmt.Errorf("%s: %w", rows.At(row, ""), err)
			}
			in.Line, in.Example.Row = row.Line, i
			if !yield(in, err) || err != nil {
				return
			}
		}
	}
}

// taskInput reads a row that has the texts of a task, under the names of its columns or as "text" and "pair", or ids.
func taskInput(fields jsonfile.Object, t *Task) (Input, error) {
	has := func(name string) bool { _, ok := fields.Get(name); return ok }
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	if t.Own() && len(t.Columns) == 0 { // of an imported adapter they are not known
		found := t.WithColumns("", "", "")
		found.Columns = findTexts(names, "")
		t = &found
	}
	columns := t.Columns
	if len(columns) == 0 || !has(columns[0]) {
		columns = []string{"text", "pair"}
	}
	if has(columns[0]) && has("input_ids") {
		return Input{}, fmt.Errorf(`both %q and "input_ids"; want one of them`, columns[0])
	}
	if !has(columns[0]) {
		if has("input_ids") || !t.Own() || len(t.Columns) == 0 {
			return plainInput(fields, t)
		}
		return Input{}, fmt.Errorf("no field %q; nearest: %.60q (it has %s)", t.Columns[0], nearest.Of(t.Columns[0], names), columnList(names))
	}
	var texts, rest jsonfile.Object
	for _, f := range fields {
		switch at := slices.Index(columns, f.Name); {
		case at >= 0 && (at == 0 || t.Pair()):
			texts = append(texts, jsonfile.Field{Name: []string{"text", "pair"}[at], Value: f.Value})
		default:
			rest = append(rest, f)
		}
	}
	if len(columns) == 2 && !t.Pair() && has("pair") && columns[1] == "pair" && !t.Own() { // of a GLUE task one is too many
		return plainInput(fields, t)
	}
	in := Input{}
	var err error
	if in.Example, err = parseTexts(texts, t); err == nil && len(rest) > 0 {
		in.Rest, err = rest.MarshalJSON()
	}
	return in, err
}

func readInputTSV(r io.Reader, name string, t *Task) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		if t == nil {
			yield(Input{}, fmt.Errorf("%s: the columns of a TSV depend on the task; give --task, or JSONL", name))
			return
		}
		if err := t.checkColumns(); err != nil {
			yield(Input{}, fmt.Errorf("%s: %w", name, err))
			return
		}
		rows, err := newTSVReader(r, name, *t, false)
		if err != nil {
			yield(Input{}, err)
			return
		}
		rows.label = -1
		for {
			e, err := rows.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if !yield(Input{Line: rows.lines.number, Example: e}, err) || err != nil {
				return
			}
		}
	}
}

func readInputJSONL(r io.Reader, name string, t *Task) iter.Seq2[Input, error] {
	return func(yield func(Input, error) bool) {
		lines := newLineReader(r, name)
		for row := 0; ; {
			line, err := lines.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil && strings.TrimSpace(line) == "" {
				continue
			}
			var in Input
			if err == nil {
				if in, err = parseInput(line, t); err != nil {
					err = lines.fail("%w", err)
				}
			}
			in.Line, in.Example.Row = lines.number, row
			if row++; !yield(in, err) || err != nil {
				return
			}
		}
	}
}

func parseInput(line string, t *Task) (Input, error) {
	fields, err := jsonfile.Fields([]byte(line))
	if err != nil {
		return Input{}, err
	}
	if t != nil {
		return taskInput(fields, t)
	}
	return plainInput(fields, nil)
}

// plainInput reads a row that has text and pair, or ids, and nothing else.
func plainInput(fields jsonfile.Object, t *Task) (Input, error) {
	if err := fields.OnlyKnown(inputFields); err != nil {
		return Input{}, err
	}
	_, hasText := fields.Get("text")
	ids, hasIDs := fields.Get("input_ids")
	switch {
	case hasText && hasIDs:
		return Input{}, errors.New(`both "text" and "input_ids"; want one of them`)
	case hasIDs:
		encoded, err := parseEncoded(ids, fields)
		return Input{Encoded: encoded, Ready: true}, err
	default:
		example, err := parseTexts(fields, t)
		return Input{Example: example}, err
	}
}

func parseTexts(fields jsonfile.Object, t *Task) (Example, error) {
	e := Example{Label: math.NaN()}
	for _, f := range fields {
		var err error
		switch f.Name {
		case "text":
			e.Text, err = jsonText(f.Name, f.Value)
		case "pair":
			if string(f.Value) != "null" { // as data frames write a missing one
				e.HasPair = true
				e.Pair, err = jsonText(f.Name, f.Value)
			}
		default:
			err = fmt.Errorf(`field %q goes with "input_ids"`, f.Name)
		}
		if err != nil {
			return Example{}, err
		}
	}
	if _, ok := fields.Get("text"); !ok {
		return Example{}, errors.New(`neither "text" nor "input_ids"`)
	}
	switch {
	case t != nil && t.Pair() && !e.HasPair:
		return Example{}, fmt.Errorf(`%s takes two texts; "pair" is missing`, t.Name)
	case t != nil && !t.Pair() && e.HasPair:
		return Example{}, fmt.Errorf(`%s takes one text; "pair" is too many`, t.Name)
	}
	return e, nil
}

func parseEncoded(ids json.RawMessage, fields jsonfile.Object) (Encoded, error) {
	if _, ok := fields.Get("pair"); ok {
		return Encoded{}, errors.New(`field "pair" goes with "text"`)
	}
	var e Encoded
	var err error
	if e.IDs, err = jsonInts("input_ids", ids, math.MaxInt32); err != nil {
		return Encoded{}, err
	}
	if value, ok := fields.Get("token_type_ids"); ok && string(value) != "null" {
		if e.Types, err = jsonInts("token_type_ids", value, math.MaxInt32); err != nil {
			return Encoded{}, err
		}
		if len(e.Types) != len(e.IDs) {
			return Encoded{}, fmt.Errorf("%d token_type_ids for %d input_ids", len(e.Types), len(e.IDs))
		}
	}
	return e.unpadded(fields)
}

// unpadded cuts off the padding that an attention mask shows.
func (e Encoded) unpadded(fields jsonfile.Object) (Encoded, error) {
	n := len(e.IDs)
	if value, ok := fields.Get("attention_mask"); ok && string(value) != "null" {
		mask, err := jsonInts("attention_mask", value, 1)
		if err != nil {
			return Encoded{}, err
		}
		if len(mask) != n {
			return Encoded{}, fmt.Errorf("attention_mask has %d numbers for %d input_ids", len(mask), n)
		}
		for n > 0 && mask[n-1] == 0 {
			n--
		}
		for i := range n {
			if mask[i] == 0 {
				return Encoded{}, fmt.Errorf("attention_mask[%d] is 0 before a 1; want padding at the right only", i)
			}
		}
	}
	if n == 0 {
		return Encoded{}, errors.New("input_ids has no token")
	}
	e.IDs = e.IDs[:n]
	if e.Types != nil {
		e.Types = e.Types[:n]
	}
	return e, nil
}

// jsonInts reads a list of integers from 0 to limit.
func jsonInts(name string, value json.RawMessage, limit int32) ([]int32, error) {
	var ints []int32
	// Go reads null as 0, and in a list of integers nothing else can contain the word.
	if err := json.Unmarshal(value, &ints); err != nil || bytes.Contains(value, []byte("null")) {
		return nil, fmt.Errorf("field %q is not a list of 32-bit integers", name)
	}
	for i, v := range ints {
		if v < 0 || v > limit {
			return nil, fmt.Errorf("%s[%d] is %d; want 0 to %d", name, i, v, limit)
		}
	}
	return ints, nil
}
