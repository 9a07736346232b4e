package main

import (
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func TestReadWordNet(t *testing.T) {
	got, err := readWordNet(filepath.Join(packages(t), "wordnet-base/usr/share/wordnet"))
	if err != nil {
		t.Fatal(err)
	}
	want := []line{
		{"entity: that which is perceived or known", ""},
		{"physical object, thing: a tangible; and visible entity", ""},
		{"a tangible; and visible entity", "that which is perceived or known"},
		{"it was full of rackets, balls and other objects", "a tangible; and visible entity"},
		{"he owned many things", ""},
		{"breathe: draw air into, and expel out of, the lungs", ""},
		{"They said: a man, plays the old GUITAR on stage again", "draw air into, and expel out of, the lungs"},
		{"ready: completely prepared", ""},
		{"a man plays guitar badly", "completely prepared"},
		{"a, b, c, d, e, f g, h, i, j, k, l: of eleven words", ""},
		{"wholly: to a complete degree or to the full extent (`whole' is often used informally)", ""},
	}
	if !slices.Equal(got, want) {
		t.Errorf("lines\n%q, want\n%q", got, want)
	}
}

func TestParseSynset(t *testing.T) {
	for _, c := range []struct {
		name, text, key string
		want            synset
	}{
		{
			"the first hypernym of two, and none of instances", `00001740 04 n 01 run 0 003 @i 00000001 n 0000 @ 00000002 n 0000 @ 00000003 n 0000 | moving fast  `,
			"n00001740",
			synset{words: []string{"run"}, parent: "n00000002", gloss: "moving fast"},
		},
		{
			"frames of a verb are no pointers", `00001740 29 v 02 run 0 go_fast 3 001 @ 00000005 v 0000 02 + 02 00 + 08 01 | move fast`,
			"v00001740",
			synset{words: []string{"run", "go fast"}, parent: "v00000005", gloss: "move fast"},
		},
		{
			"parts without words are no part of a gloss", `00001740 00 a 01 red(a) 0 000 | of a colour, "a red car" - ; "a "; ; like blood`,
			"a00001740",
			synset{words: []string{"red"}, gloss: "of a colour; like blood", examples: []string{"a red car", "a "}},
		},
		{
			"a lone quote stays", `00001740 00 r 01 six_inches 0 000 | about 6" long`,
			"r00001740",
			synset{words: []string{"six inches"}, gloss: `about 6" long`},
		},
	} {
		key, got, err := parseSynset(c.text)
		if err != nil || key != c.key || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %s %+v, %v; want %s %+v", c.name, key, got, err, c.key, c.want)
		}
	}
}

func TestDamagedSynsets(t *testing.T) {
	for _, c := range []struct{ text, fault string }{
		{"00001740 04 n 01 run 0 000", "not a synset"},
		{"", "not a synset"},
		{"1 2 3 | short", "not a synset"},
		{"00001740 04 n xx run 0 000 | gloss", `synset 00001740: word count "xx"`},
		{"00001740 04 n 00 run 0 000 | gloss", `word count "00"`},
		{"00001740 04 n -1 run 0 000 | gloss", `word count "-1"`},
		{"00001740 04 n 02 run 0 000 | gloss", `word count "02" with 7 fields`},
		{"00001740 04 n ff run 0 000 | gloss", `word count "ff"`},
	} {
		_, _, err := parseSynset(c.text)
		wantError(t, err, c.fault)
	}
	dir := t.TempDir()
	put(t, nouns+"what is this\n", dir, "data.noun")
	_, err := readWordNet(dir)
	wantError(t, err, "data.noun:5: not a synset")
}
