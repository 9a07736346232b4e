package main

import (
	"bytes"
	"index/suffixarray"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testshared"
)

// bare is normal said in another way, for lines and validation sentences alike.
func bare(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r):
			b.WriteRune(unicode.ToLower(r))
		case unicode.IsControl(r) && !unicode.IsSpace(r), r == '\ufffd':
		default:
			b.WriteByte(' ')
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// wantNoneInside looks for every validation sentence of GLUE's files in the whole of a text at once: by a suffix
// array, so that measured is not checked by itself.
func wantNoneInside(t *testing.T, glue, corpus string) {
	t.Helper()
	var all bytes.Buffer
	for text := range strings.FieldsFuncSeq(corpus, func(r rune) bool { return r == '\n' || r == '\t' }) {
		all.WriteString("\n " + bare(text) + " \n")
	}
	index := suffixarray.New(all.Bytes())
	sentences := 0
	for _, task := range []string{"STS-B sentence1 sentence2", "SST-2 sentence", "RTE sentence1 sentence2"} {
		columns := strings.Fields(task)
		rows := strings.Split(strings.TrimSuffix(get(t, glue, columns[0], "validation.tsv"), "\n"), "\n")
		header := strings.Split(rows[0], "\t")
		for _, row := range rows[1:] {
			for _, column := range columns[1:] {
				sentence := " " + bare(strings.Split(row, "\t")[slices.Index(header, column)]) + " "
				if len(strings.Fields(sentence)) < 6 {
					sentence = "\n" + sentence + "\n" // short ones count whole
				}
				sentences++
				if index.Lookup([]byte(sentence), 1) == nil {
					continue
				}
				t.Errorf("%s: %q is in the corpus", columns[0], sentence)
			}
		}
	}
	if want := 2*1500 + 872 + 2*277; sentences != want {
		t.Errorf("%d sentences looked for, want %d", sentences, want)
	}
}

// A corpus of GLUE's own training texts, with a fixture's packages, has no sentence of their validation sets.
func TestCorpusOfGLUE(t *testing.T) {
	glue := filepath.Dir(testshared.Path(t, "glue", "RTE"))
	out := built(t, packages(t), glue, "")
	corpus := get(t, out, "corpus.txt")
	if lines := strings.Count(corpus, "\n"); lines < 60000 {
		t.Errorf("%d lines", lines)
	}
	wantNoneInside(t, glue, corpus)
	texts := map[string]bool{"": false}
	for text := range strings.FieldsFuncSeq(corpus, func(r rune) bool { return r == '\n' || r == '\t' }) {
		texts[bare(text)] = true
	}
	for _, task := range glueTasks {
		off, err := task.load(filepath.Join(out, "heldout"), data.Validation)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range off.Examples {
			if texts[bare(e.Text)] || texts[bare(e.Pair)] {
				t.Errorf("%s: row %d is held out, and in the corpus: %q, %q", task.name, e.Row, e.Text, e.Pair)
			}
		}
	}
}

// A whole corpus, where there is one to look at.
func TestCorpusThatWasTrainedOn(t *testing.T) {
	path := os.Getenv("DEEPLORA_CORPUS")
	if path == "" {
		t.Skip("set DEEPLORA_CORPUS to a corpus.txt")
	}
	glue := filepath.Dir(testshared.Path(t, "glue", "RTE"))
	var said strings.Builder
	if err := check(path, glue, &said); err != nil {
		t.Fatal(err)
	}
	t.Log(said.String())
	wantNoneInside(t, glue, get(t, path))
}
