package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
)

// glueTask is a task whose training texts are part of the corpus, and how many of its training rows are split off
// to choose recipes by: one in so many.
type glueTask struct {
	name, folder string
	oneIn        int
	header       string
	row          func(e data.Example) string
}

var glueTasks = []glueTask{
	{"stsb", "STS-B", 10, "sentence1\tsentence2\tscore", func(e data.Example) string { return fmt.Sprintf("%s\t%s\t%g", e.Text, e.Pair, e.Label) }},
	{"sst2", "SST-2", 50, "sentence\tlabel", func(e data.Example) string { return fmt.Sprintf("%s\t%g", e.Text, e.Label) }},
	{"rte", "RTE", 10, "sentence1\tsentence2\tlabel", func(e data.Example) string {
		return fmt.Sprintf("%s\t%s\t%s", e.Text, e.Pair, []string{"entailment", "not_entailment"}[int(e.Label)])
	}},
}

// heldOut reports whether a training row, counted from 0, is split off: the last of every n.
func (t glueTask) heldOut(i int) bool { return i%t.oneIn == t.oneIn-1 }

func (t glueTask) load(glue, split string) ([]data.Example, error) {
	task, err := data.LookupTask(t.name)
	if err != nil {
		return nil, err
	}
	s, err := data.Load(filepath.Join(glue, t.folder), task, split)
	if err != nil {
		return nil, err
	}
	return s.Examples, nil
}

// readGLUE gives the training texts that are not split off. Labels stay behind.
func readGLUE(glue string) ([]line, error) {
	var lines []line
	for _, t := range glueTasks {
		examples, err := t.load(glue, data.Train)
		if err != nil {
			return nil, err
		}
		for i, e := range examples {
			if !t.heldOut(i) {
				lines = append(lines, line{e.Text, e.Pair})
			}
		}
	}
	return lines, nil
}

// measured are the sentences that models are measured with: none may be trained on.
type measured struct {
	whole map[string]bool // normalised
	long  map[string]bool // those of so many words that a line which contains one contains it not by chance
}

// longWords is the length of such a sentence.
const longWords = 6

// holdOut writes the training rows that recipes are chosen by as data folders of their own, and returns all
// sentences that no line may hold: those, and the validation sets'.
func holdOut(glue, out string) (*measured, error) {
	m := &measured{whole: map[string]bool{}, long: map[string]bool{}}
	for _, t := range glueTasks {
		train, err := t.load(glue, data.Train)
		if err != nil {
			return nil, err
		}
		var rest, held strings.Builder
		for _, b := range []*strings.Builder{&rest, &held} {
			b.WriteString(t.header + "\n")
		}
		for i, e := range train {
			b := &rest
			if t.heldOut(i) {
				b = &held
				m.add(e, false)
			}
			b.WriteString(t.row(e) + "\n")
		}
		for name, text := range map[string]string{"train.tsv": rest.String(), "validation.tsv": held.String()} {
			if err := writeText(filepath.Join(out, t.folder, name), text); err != nil {
				return nil, err
			}
		}
		validation, err := t.load(glue, data.Validation)
		if err != nil {
			return nil, err
		}
		for _, e := range validation {
			m.add(e, true)
		}
	}
	return m, nil
}

// add notes the sentences of an example. Those of the validation sets count also inside a line; SST-2's training
// phrases are parts of one another, and count whole.
func (m *measured) add(e data.Example, inside bool) {
	for _, text := range []string{e.Text, e.Pair} {
		text = normal(text)
		if text == "" {
			continue
		}
		m.whole[text] = true
		if inside && len(strings.Fields(text)) >= longWords {
			m.long[text] = true
		}
	}
}

// has reports whether a line holds such a sentence.
func (m *measured) has(l line) bool {
	for _, text := range []string{normal(l.text), normal(l.pair)} {
		if text != "" && (m.whole[text] || m.inside(text)) {
			return true
		}
	}
	return false
}

// inside looks for the long sentences at every run of words of a text.
func (m *measured) inside(text string) bool {
	words := strings.Fields(text)
	for i := range words {
		for j := i + longWords; j <= len(words); j++ {
			if m.long[strings.Join(words[i:j], " ")] {
				return true
			}
		}
	}
	return false
}

// shared lists the lines that hold one: none, in a corpus that is sound.
func (m *measured) shared(lines []line) []line {
	var found []line
	for _, l := range lines {
		if m.has(l) {
			found = append(found, l)
		}
	}
	return found
}

func writeText(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}
