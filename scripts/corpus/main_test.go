package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const builtText = `entity: that which is perceived or known
physical object, thing: a tangible; and visible entity
a tangible; and visible entity	that which is perceived or known
it was full of rackets, balls and other objects	a tangible; and visible entity
he owned many things
breathe: draw air into, and expel out of, the lungs
ready: completely prepared
a man plays guitar badly	completely prepared
a, b, c, d, e, f g, h, i, j, k, l: of eleven words
wholly: to a complete degree or to the full extent (` + "`whole'" + ` is often used informally)
An unwanted property of a program.
A lie that has not cut its teeth.
`

func TestBuild(t *testing.T) {
	dir := packages(t)
	r := newRows()
	r.sst2 = []string{"A dog eats 0 bones.", "a film", "A film!", "lone", strings.ToUpper(reviewed), "12 34 56"}
	r.stsb = append(r.stsb[:1], "One more dog.\t"+validated)
	r.rte = []string{strings.Repeat("long ", 61) + "\tA short one."}
	out := built(t, dir, r.glue(t, 0), "gcide")
	want := builtText + "A dog eats 0 bones.\tA cat eats 0 fish.\nA dog eats 0 bones.\na film\nA short one.\n"
	if got := get(t, out, "corpus.txt"); got != want {
		t.Errorf("corpus\n%s, want\n%s", got, want)
	}

	var got report
	if err := json.Unmarshal([]byte(get(t, out, "corpus.json")), &got); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(want))); got.SHA256 != want || got.Lines != 16 || got.Words != len(strings.Fields(get(t, out, "corpus.txt"))) {
		t.Errorf("report %+v; want sha256 %s", got, want)
	}
	wordnet, glue := got.Sources[0], got.Sources[3]
	if len(got.Sources) != 4 || wordnet.Lines != 10 || wordnet.Shared != 1 || glue.Lines != 4 || glue.Shared != 2 || glue.Repeats != 1 {
		t.Errorf("sources: wordnet %+v, glue %+v", *wordnet, *glue)
	}
}

// Two builds give the same bytes, whatever the labels are: these are not read into the text.
func TestBuildIsTheSameWhateverTheLabels(t *testing.T) {
	dir, rows := packages(t), newRows()
	glue := rows.glue(t, 0)
	first, second, other := built(t, dir, glue, ""), built(t, dir, glue, ""), built(t, dir, rows.glue(t, 1), "")
	files := 0
	err := filepath.WalkDir(first, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		name, err := filepath.Rel(first, path)
		if get(t, path) != get(t, second, name) {
			t.Errorf("%s differs between two builds", name)
		}
		if same := get(t, path) == get(t, other, name); same != !strings.HasPrefix(name, "heldout") {
			t.Errorf("%s with other labels: the same is %v", name, same)
		}
		return err
	})
	if err != nil || files != 2+2*len(glueTasks) {
		t.Errorf("%d files, %v", files, err)
	}
	if text := get(t, first, "corpus.txt"); !strings.Contains(text, "To renounce upon oath; to forswear.\n") {
		t.Errorf("gcide's definition is absent from\n%s", text)
	}
}

func TestLeaveOut(t *testing.T) {
	for _, c := range []struct{ list, want string }{
		{"", "wordnet jargon devil glue gcide"},
		{"gcide", "wordnet jargon devil glue"},
		{"glue,wordnet,", "jargon devil gcide"},
	} {
		left, err := leaveOut(c.list, sources("", ""))
		var names []string
		for _, s := range left {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != c.want {
			t.Errorf("without %q: %q, %v; want %q", c.list, got, err, c.want)
		}
	}
	_, err := leaveOut("gcide,wordnut", sources("", ""))
	wantError(t, err, `--without: unknown source "wordnut"; nearest: wordnet (known: wordnet jargon devil glue gcide)`)
}

// Faults are found before anything is written.
func TestBuildRefuses(t *testing.T) {
	dir, rows := packages(t), newRows()
	glue := rows.glue(t, 0)
	refused := func(name, packages, glue, without string, parts ...string) {
		t.Helper()
		out := filepath.Join(t.TempDir(), "out")
		wantError(t, build(packages, glue, out, without, io.Discard), parts...)
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: something was written", name)
		}
	}
	refused("no packages", t.TempDir(), glue, "", "wordnet: open", "data.noun: no such file", "scripts/corpus/fetch.sh gets the package")
	refused("unknown source", dir, glue, "gcid", "nearest: gcide")
	refused("no GLUE", dir, t.TempDir(), "", "data directory", "STS-B")

	if err := os.RemoveAll(filepath.Join(dir, "dict-gcide")); err != nil {
		t.Fatal(err)
	}
	refused("one package", dir, glue, "", "gcide: open", "gcide.dict.dz: no such file", "scripts/corpus/fetch.sh gets the package")
	built(t, dir, glue, "gcide") // not needed where it is left out

	for _, c := range []struct{ file, row, fault string }{
		{"STS-B/train.tsv", "One.\tTwo.\t5.5", "score 5.5 is out of range; want 0 to 5"},
		{"RTE/train.tsv", "One.\tTwo.\t2", "label 2 is not a class; want entailment, not_entailment"},
		{"RTE/validation.tsv", "One.\tTwo.\tneutral", `label "neutral" is not known`},
		{"SST-2/train.tsv", "One.\t-1", "label -1 is not a class"},
	} {
		glue := rows.glue(t, 0)
		text := get(t, glue, c.file)
		put(t, text+c.row+"\n", glue, c.file)
		refused(c.file, dir, glue, "gcide", c.file, fmt.Sprintf(":%d: ", strings.Count(text, "\n")+1), c.fault)
	}
}
