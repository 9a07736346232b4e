package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/deeplora/deeplora/data"
)

// measured are the sentences that models are measured with, normalised: none may be trained on.
type measured struct {
	whole map[string]bool
	long  map[string][]string // those of longWords or more, by their first: a line that has one inside has it not by chance
}

// longWords is the length of such a sentence.
const longWords = 6

// measure reads all sentences that no line may hold: those of the validation sets, and of the rows split off.
func measure(glue string) (*measured, error) {
	m := &measured{whole: map[string]bool{}, long: map[string][]string{}}
	for _, t := range glueTasks {
		train, err := t.load(glue, data.Train)
		if err != nil {
			return nil, err
		}
		for i, e := range train.Examples {
			if t.heldOut(i) {
				m.add(e, false)
			}
		}
		validation, err := t.load(glue, data.Validation)
		if err != nil {
			return nil, err
		}
		for _, e := range validation.Examples {
			m.add(e, true)
		}
	}
	return m, nil
}

// add notes the sentences of an example. Those of the validation sets count also inside a line; those of rows split
// off count whole, since SST-2's training phrases are parts of one another.
func (m *measured) add(e data.Example, inside bool) {
	for _, text := range []string{e.Text, e.Pair} {
		text = normal(printable(text)) // as lines are
		if text == "" {
			continue
		}
		m.whole[spaceless(text)] = true
		if start, ok := firstWords(text); ok && inside {
			m.long[start] = append(m.long[start], text)
		}
	}
}

// has reports whether a line holds such a sentence.
func (m *measured) has(l line) bool {
	for _, text := range []string{normal(l.text), normal(l.pair)} {
		if m.whole[spaceless(text)] || m.inside(text) {
			return true
		}
	}
	return false
}

// inside looks for the long sentences from every word of a text on.
func (m *measured) inside(text string) bool {
	for {
		start, ok := firstWords(text)
		if !ok {
			return false
		}
		for _, sentence := range m.long[start] {
			if rest, ok := strings.CutPrefix(text, sentence); ok && (rest == "" || rest[0] == ' ') {
				return true
			}
		}
		_, text, _ = strings.Cut(text, " ")
	}
}

// firstWords cuts a normalised text after longWords words; ok is false where it has fewer.
func firstWords(text string) (start string, ok bool) {
	spaces := 0
	for i := range len(text) {
		if text[i] != ' ' {
			continue
		}
		if spaces++; spaces == longWords {
			return text[:i], true
		}
	}
	return text, spaces == longWords-1
}

// verify returns an error where a line holds one: the last look before a corpus is written, and check's.
func (m *measured) verify(lines []line) error {
	found, first := 0, 0
	for i, l := range lines {
		if !m.has(l) {
			continue
		}
		if found++; found == 1 {
			first = i
		}
	}
	if found > 0 {
		return fmt.Errorf("%d lines share a sentence with what is measured with, the first is line %d: %q", found, first+1, lines[first])
	}
	return nil
}

// check verifies a corpus that was written earlier.
func check(path, glue string, to io.Writer) error {
	m, err := measure(glue)
	if err != nil {
		return err
	}
	lines, sum, err := readCorpus(path)
	if err != nil {
		return err
	}
	if err := m.verify(lines); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, err = fmt.Fprintf(to, "%s: %d lines, none of which shares a sentence with what is measured with\nsha256 %s\n", path, len(lines), sum)
	return err
}

// readCorpus reads the lines of a corpus, and the SHA-256 of its bytes in hex.
func readCorpus(path string) (lines []line, sum string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	h := sha256.New()
	in := bufio.NewScanner(io.TeeReader(f, h))
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		text, pair, _ := strings.Cut(in.Text(), "\t")
		if text == "" || strings.Contains(pair, "\t") {
			return nil, "", fmt.Errorf("%s:%d: %.60q is no line of a corpus: a text, or two with a tab between", path, len(lines)+1, in.Text())
		}
		lines = append(lines, line{text, pair})
	}
	if err := in.Err(); err != nil {
		return nil, "", fmt.Errorf("%s:%d: %w", path, len(lines)+1, err)
	}
	if len(lines) == 0 {
		return nil, "", fmt.Errorf("%s: no lines", path)
	}
	return lines, fmt.Sprintf("%x", h.Sum(nil)), nil
}
