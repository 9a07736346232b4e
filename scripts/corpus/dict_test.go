package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestReadDict(t *testing.T) {
	for _, c := range []struct {
		name  string
		of    func(string) []string
		text  string
		lines []line
	}{
		{"jargon: indented prose without heads, links, brackets", jargonText, `benchmark
 n.

    [techspeak] An inaccurate measure of
    {computer performance}. Well-known ones include “Whetstone” and {MIPS}. Ha ha. (See also nothing at all.)

    Use the <b>bold tag</b> here and there. Three words only.
`, []line{
			{"An inaccurate measure of computer performance.", "Well-known ones include “Whetstone” and MIPS."},
			{"(See also nothing at all.)", ""},
		}},
		{"devil: entries without verses", devilText, `ACCORD, n.  Harmony of two minds.  It does not last.

    With deviltry did so accord,
    That he'd suggested to the Lord.


IDLENESS, n.  A model farm where the devil experiments with _seeds_ of sins.
`, []line{{"Harmony of two minds.", "It does not last."}}},
		{"gcide: definitions without heads, marks and sayers", gcideText, `Abjure \Ab*jure"\, v. t. [imp. & p. p. {Abjured}; L. abjurare
   to deny].
   1. To renounce upon oath; to forswear. To abjure the realm, is
      to swear to abandon it. --Shak.
      [1913 Webster]

   2. To renounce or reject with solemnity.
      [1913 Webster]

   Syn: See {Renounce} and some more.

Head only here is no definition
`, []line{
			{"To renounce upon oath; to forswear.", "To abjure the realm, is to swear to abandon it."},
			{"To renounce or reject with solemnity.", ""},
		}},
		{"no encoding", devilText, "BAD, n.  A word of \xe9 old bytes here.\n\nGOOD, n.  A word that is plain.\n", []line{{"A word that is plain.", ""}}},
	} {
		path := filepath.Join(t.TempDir(), "x.dict.dz")
		putDict(t, c.text, path)
		got, err := readDict(path, c.of)
		if err != nil || !slices.Equal(got, c.lines) {
			t.Errorf("%s:\n%q, %v; want\n%q", c.name, got, err, c.lines)
		}
	}
}

func TestDamagedDict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.dict.dz")
	_, err := readDict(path, devilText)
	wantError(t, err, path, "no such file", "scripts/corpus/fetch.sh gets the package")

	put(t, "plain text", path)
	_, err = readDict(path, devilText)
	wantError(t, err, path, "gzip: invalid header")

	putDict(t, "FIB, n.  A lie that has not cut its teeth.\n", path)
	whole := get(t, path)
	if err := os.WriteFile(path, []byte(whole[:len(whole)-6]), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = readDict(path, devilText)
	wantError(t, err, path, "unexpected EOF")
}
