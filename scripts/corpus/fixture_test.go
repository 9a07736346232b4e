package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// put writes a file below a folder.
func put(t *testing.T, text string, elem ...string) {
	t.Helper()
	if err := writeText(filepath.Join(elem...), text); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, elem ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q; want %q in it", err, part)
		}
	}
}

// The data files of a WordNet of seven synsets, of which some hold what the fixture's validation sets do.
var (
	nouns = `  1 This software and database is being provided to you, the LICENSEE, by
  2 Princeton University under the following license.
00000010 03 n 01 entity 0 001 ~ 00000020 n 0000 | that which is perceived or known
00000020 03 n 02 physical_object 0 thing 1 001 @ 00000010 n 0000 | a tangible; and visible entity; "it was full of rackets, balls and other objects"; "he owned many things"
`
	verbs = `00000030 29 v 01 breathe 0 000 02 + 02 00 + 08 00 | draw air into, and expel out of, the lungs; "They said: a man, plays the old GUITAR on stage again"
`
	adjectives = `00000040 00 a 01 ready(p) 0 000 | completely prepared; "a man plays guitar badly"
00000050 00 s 0b a 0 b(a) 0 c(ip) 0 d 0 e 0 f_g 0 h 0 i 0 j 0 k 0 l 0 001 & 00000040 a 0000 | of eleven words
`
	adverbs = `00000060 02 r 01 wholly 0 000 | to a complete degree or to the full extent (` + "`whole'" + ` is often used informally)
`
)

// packages writes what fetch.sh would have unpacked, in little.
func packages(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"noun": nouns, "verb": verbs, "adj": adjectives, "adv": adverbs} {
		put(t, text, dir, "wordnet-base/usr/share/wordnet", "data."+name)
	}
	for name, text := range map[string]string{
		"jargon": "bug\n n.\n\n    An unwanted property of a program. Antonym of {feature}.\n",
		"devil":  "FIB, n.  A lie that has not cut its teeth.\n\n    A verse that no one reads again.\n",
		"gcide":  "Abjure \\Ab*jure\"\\, v. t. [L. abjurare.]\n   1. To renounce upon oath; to forswear. --Shak.\n      [1913 Webster]\n",
	} {
		putDict(t, text, filepath.Join(dir, "dict-"+name, "usr/share/dictd", name+".dict.dz"))
	}
	return dir
}

// putDict compresses a dictionary as dictzip does: gzip with a table of its chunks in the header.
func putDict(t *testing.T, text, path string) {
	t.Helper()
	var b strings.Builder
	z := gzip.NewWriter(&b)
	z.Extra = []byte("RA\x08\x00\x01\x00\xcb\xe3\x01\x00\x40\x00")
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	put(t, b.String(), path)
}

// glueRows are the fixture's training rows. The last of ten (STS-B, RTE) and of fifty (SST-2) is split off.
type glueRows struct{ stsb, sst2, rte []string }

const (
	validated = "A man plays the old guitar on stage."           // STS-B, validation
	reviewed  = "a gripping film "                               // SST-2, validation: short
	premised  = "The China\u00e2\u0080\u0099s mayor spoke today" // RTE, validation: a damaged apostrophe
	phrase    = "gorgeous , witty and seductive and never dull"  // SST-2, split off
	captioned = "Two brown dogs run through deep snow."          // STS-B, split off
)

func newRows() glueRows {
	var r glueRows
	for i := range 50 {
		r.sst2 = append(r.sst2, fmt.Sprintf("a film of number %d", i))
	}
	for i := range 10 {
		r.stsb = append(r.stsb, fmt.Sprintf("A dog eats %d bones.\tA cat eats %d fish.", i, i))
		r.rte = append(r.rte, fmt.Sprintf("The mayor of town %d has resigned.\tTown %d lost its mayor.", i, i))
	}
	r.sst2[49] = phrase
	r.stsb[9] = captioned + "\tSome dogs play."
	return r
}

// glue writes the data folders of a fixture; labels are those of row numbers, from a shift on.
func (r glueRows) glue(t *testing.T, shift int) string {
	t.Helper()
	dir := t.TempDir()
	file := func(folder, header string, rows []string, label func(i int) string) {
		text := header + "\n"
		for i, row := range rows {
			text += row + "\t" + label(i+shift) + "\n"
		}
		put(t, text, dir, folder)
	}
	score := func(i int) string { return []string{"0.000", "3.800", "4.25", "5", "1e-05"}[i%5] }
	sign := func(i int) string { return fmt.Sprint(i % 2) }
	entails := func(i int) string { return []string{"entailment", "not_entailment"}[i%2] }
	const pair = "sentence1\tsentence2\t"
	file("STS-B/train.tsv", pair+"score", r.stsb, score)
	file("STS-B/validation.tsv", pair+"score", []string{validated + "\tNobody plays."}, score)
	file("SST-2/train.tsv", "sentence\tlabel", r.sst2, sign)
	file("SST-2/validation.tsv", "sentence\tlabel", []string{reviewed}, sign)
	file("RTE/train.tsv", pair+"label", r.rte, entails)
	file("RTE/validation.tsv", pair+"label", []string{premised + "\tThe mayor spoke."}, entails)
	return dir
}

// built builds a corpus and returns its folder.
func built(t *testing.T, packages, glue, without string) string {
	t.Helper()
	out := t.TempDir()
	if err := build(packages, glue, out, without, io.Discard); err != nil {
		t.Fatal(err)
	}
	return out
}
