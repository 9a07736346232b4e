package data

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// NewSplit makes a split (Train, Validation or Test) of examples held in memory, for a task of GLUE or of your own,
// which it completes as Task.WithDefaults does; a task without Columns gets "text", and "pair" if the examples are
// pairs. Examples are copied, and their Row becomes their place among them.
//
// It is an error, which names the example, if a label is neither NaN (none) nor a class id or a score of the task, if
// Classes are not ids of a multilabel task, each once, or given to a task of another kind,
// if some examples are pairs and others are not, or if a text is not valid UTF-8.
//
// Source.File is "memory:" and the name. Source.SHA256 is that of the examples written one after another, each as
// the netstrings (length in bytes, colon, content, comma) of its text, of its second text if there is one, and of
// its label, then a line end. A label is the class's name, or the score in the fewest digits that give it back, or
// empty if there is none: the positive "good film" gives "9:good film,4:good,\n". That of a multilabel task is the
// netstrings of its classes' names in the order of ids, or of the empty name alone where it has none of them.
// Manifests and runs compare it.
func NewSplit(task Task, name string, examples []Example) (*Split, error) {
	fault := func(err error) (*Split, error) { return nil, fmt.Errorf("%s split in memory: %w", name, err) }
	task, err := task.WithDefaults()
	if err != nil {
		return fault(err)
	}
	if err := checkSplitName(name); err != nil {
		return fault(err)
	}
	if len(examples) == 0 {
		return fault(errors.New("no examples"))
	}
	if len(task.Columns) == 0 {
		task.Columns = []string{"text"}
		if examples[0].HasPair {
			task.Columns = []string{"text", "pair"}
		}
	}
	s := &Split{Task: task, Name: name, Examples: slices.Clone(examples), Source: Source{File: "memory:" + name, Rows: len(examples)}}
	sum := sha256.New()
	for i := range s.Examples {
		e := &s.Examples[i]
		e.Row = i
		if err := task.checkExample(*e); err != nil {
			return fault(fmt.Errorf("example %d: %w", i, err))
		}
		task.writeExample(sum, *e)
	}
	s.Source.SHA256 = hex.EncodeToString(sum.Sum(nil))
	return s, nil
}

func (t Task) checkExample(e Example) error {
	switch {
	case e.HasPair && !t.Pair():
		return fmt.Errorf("has two texts; those of %s have one", t.Name)
	case !e.HasPair && t.Pair():
		return fmt.Errorf("has one text; those of %s have two (set HasPair, the second may be empty)", t.Name)
	case !e.HasPair && e.Pair != "":
		return errors.New("has a second text without HasPair; set it")
	case !utf8.ValidString(e.Text) || !utf8.ValidString(e.Pair):
		return errors.New("is not valid UTF-8; convert the text first")
	case t.Multi || e.Classes != nil:
		return t.checkClasses(e)
	case math.IsNaN(e.Label):
		return nil
	}
	_, err := t.numberLabel(e.Label)
	return err
}

// writeExample writes an example in the form that NewSplit's hash is taken of.
func (t Task) writeExample(w io.Writer, e Example) {
	label := ""
	switch {
	case math.IsNaN(e.Label):
	case t.Multi:
		label = t.classNames(e)
	case t.Regression():
		label = strconv.FormatFloat(e.Label, 'g', -1, 64)
	default:
		label = t.Labels[int(e.Label)]
	}
	fields := []string{e.Text, e.Pair, label}
	if !e.HasPair {
		fields = []string{e.Text, label}
	}
	for _, f := range fields {
		fmt.Fprintf(w, "%d:%s,", len(f), f)
	}
	fmt.Fprintln(w)
}
