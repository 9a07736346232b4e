package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// Input is one row to predict: texts to tokenize, or ids that already are.
type Input struct {
	Line    int     // in the file, from 1
	Example Example // the texts, if not Ready; no label
	Encoded Encoded // the ids, if Ready; at least one
	Ready   bool
}

// inputFields are what a JSONL row may have. The last two are what the tokenize command writes beside
// the ids, so that its output can be read again.
var inputFields = []string{"text", "pair", "input_ids", "token_type_ids", "attention_mask", "tokens"}

// ReadInputs reads the rows that predict and tokenize take, one at a time in constant memory:
//
//   - jsonl: {"text": …} or {"text": …, "pair": …}, or {"input_ids": […], "token_type_ids": […]} with
//     the types optional; unknown fields are errors;
//   - tsv: a GLUE file of task t, whose label, if any, is ignored.
//
// An empty format stands for tsv if name ends in .tsv, else for jsonl. Blank lines of JSONL are skipped. With a task,
// rows must have as many texts as it has; t may be nil for JSONL. name is for errors, "-" being standard input. The
// first error, which names the line, ends the sequence.
func ReadInputs(format string, r io.Reader, name string, t *Task) iter.Seq2[Input, error] {
	if format == "" && strings.HasSuffix(name, ".tsv") {
		format = "tsv"
	}
	if name == "-" {
		name = "standard input"
	}
	switch format {
	case "tsv":
		return readInputTSV(r, name, t)
	case "", "jsonl":
		return readInputJSONL(r, name, t)
	}
	return func(yield func(Input, error) bool) {
		yield(Input{}, fmt.Errorf("%s: unknown format %q; want jsonl or tsv", name, format))
	}
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
