package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/train"
)

// answer is what is predicted for a row, with the fields of the row that are passed through.
type answer struct {
	train.Prediction
	rest json.RawMessage // a JSON object, or nil
}

// answers writes predictions in a format, a row each.
type answers struct {
	named  bool     // probabilities are written by the names of their classes
	labels []string // in the order of the probabilities
	lines  *json.Encoder
	table  *csv.Writer // instead of lines
	header []string    // of the table, once it is written: names of passed fields, in order

	separator string // between the classes of a cell, where there are several
}

// newAnswers writes to w: JSONL, or CSV, whose cells have the separator between several classes.
func newAnswers(w io.Writer, format string, named bool, labels []string, separator string) *answers {
	a := &answers{named: named, labels: labels, separator: separator}
	if format == "csv" {
		a.table = csv.NewWriter(w)
	} else {
		a.lines = json.NewEncoder(plainJSON(w))
	}
	return a
}

func (a *answers) write(one answer) error {
	if a.table == nil && !a.named && one.rest == nil {
		return a.lines.Encode(one.Prediction)
	}
	passed, err := a.passed(one.rest)
	if err != nil {
		return err
	}
	if a.table != nil {
		return a.row(passed, one.Prediction)
	}
	said, err := a.fields(one.Prediction)
	if err != nil {
		return err
	}
	return a.lines.Encode(append(passed, said...))
}

// flush writes what a table still holds.
func (a *answers) flush() error {
	if a.table == nil {
		return nil
	}
	a.table.Flush()
	return a.table.Error()
}

// answerFields are the names of what is predicted. A passed field of such a name, as the label of a training row, is
// written with "input_" before it.
var answerFields = []string{"label", "labels", "score", "probabilities", "logits"}

func (a *answers) passed(rest json.RawMessage) (jsonfile.Object, error) {
	if rest == nil {
		return nil, nil
	}
	fields, err := jsonfile.Fields(rest)
	for i := range fields {
		for slices.Contains(answerFields, fields[i].Name) || slices.ContainsFunc(fields[:i], func(f jsonfile.Field) bool { return f.Name == fields[i].Name }) {
			fields[i].Name = "input_" + fields[i].Name
		}
	}
	return fields, err
}

// fields are a prediction's, probabilities by name where that is asked for.
func (a *answers) fields(p train.Prediction) (jsonfile.Object, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	fields, err := jsonfile.Fields(text)
	if err != nil || !a.named {
		return fields, err
	}
	for i := range fields {
		if fields[i].Name != "probabilities" {
			continue
		}
		var byName jsonfile.Object
		for j, probability := range p.Probabilities {
			value, err := json.Marshal(probability)
			if err != nil {
				return nil, err
			}
			byName = append(byName, jsonfile.Field{Name: a.labels[j], Value: value})
		}
		if fields[i].Value, err = byName.MarshalJSON(); err != nil {
			return nil, err
		}
	}
	return fields, nil
}

// row writes a prediction as a row of a table whose columns the first row settles.
func (a *answers) row(passed jsonfile.Object, p train.Prediction) error {
	if a.header == nil {
		a.header = []string{}
		for _, f := range passed {
			a.header = append(a.header, f.Name)
		}
		if err := a.writeHeader(p); err != nil {
			return err
		}
	}
	cells := make([]string, len(a.header))
	for _, f := range passed {
		i := slices.Index(a.header, f.Name)
		if i < 0 {
			return fmt.Errorf("field %.60q is not in the first row, whose fields are the table's columns; use --format jsonl", f.Name)
		}
		cells[i] = cellText(f.Value)
	}
	if p.Score != nil {
		return a.table.Write(append(cells, number(*p.Score)))
	}
	cells = append(cells, a.said(p))
	for _, probability := range p.Probabilities {
		cells = append(cells, number(probability))
	}
	return a.table.Write(cells)
}

// writeHeader writes the names of the columns: those of passed fields, then those of a prediction.
func (a *answers) writeHeader(p train.Prediction) error {
	names := slices.Clone(a.header)
	switch {
	case p.Score != nil:
		return a.table.Write(append(names, "score"))
	case p.Labels == nil:
		names = append(names, "label")
	default:
		for _, label := range a.labels {
			if strings.Contains(label, a.separator) {
				return fmt.Errorf("class %.60q holds %s, which stands between the classes of a cell; use --format jsonl", label, a.separator)
			}
		}
		names = append(names, "labels")
	}
	for _, label := range a.labels {
		names = append(names, "probability_"+label)
	}
	return a.table.Write(names)
}

// said is the class predicted, or of several all of them: the separator alone where there is none, as it is read again.
func (a *answers) said(p train.Prediction) string {
	switch {
	case p.Labels == nil:
		return p.Label
	case len(p.Labels) == 0:
		return a.separator
	default:
		return strings.Join(p.Labels, a.separator)
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// cellText is a JSON value as a table has it: a string as it is, null as nothing.
func cellText(value json.RawMessage) string {
	var text string
	if err := json.Unmarshal(value, &text); err == nil {
		return text
	}
	return string(value)
}
