package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
)

func TestMeasured(t *testing.T) {
	m, err := measure(newRows().glue(t, 0))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		line line
		want bool
	}{
		{"a validation sentence", line{validated, ""}, true},
		{"up to case and punctuation", line{`"a man, plays the OLD guitar; on stage`, ""}, true},
		{"on the right of a pair", line{"Someone plays.", validated}, true},
		{"inside a longer line", line{"Look: " + validated + " Again.", ""}, true},
		{"inside, at its end", line{"some text", "See how a man plays the old guitar on stage"}, true},
		{"inside, with a word that only begins alike", line{"A man plays the old guitar on stages.", ""}, false},
		{"inside, with a word that only ends alike", line{"Batman? a-a man plays the old guitar on sta ge", ""}, false},
		{"a part of one", line{"A man plays the old guitar.", ""}, false},
		{"a short one", line{"A gripping film!", ""}, true},
		{"a short one inside a longer line", line{"It is a gripping film all the same.", ""}, false},
		{"one with damaged bytes", line{"The Chinaâs mayor spoke today.", "Something else."}, true},
		{"a row split off", line{"two brown dogs run through deep snow", ""}, true},
		{"a phrase split off", line{strings.ReplaceAll(phrase, " ,", ","), ""}, true},
		{"a phrase split off, inside a longer one", line{"a movie that is " + phrase, ""}, false},
		{"a training row", line{"A dog eats 1 bones.", "A cat eats 1 fish."}, false},
		{"nothing", line{}, false},
	} {
		if got := m.has(c.line); got != c.want {
			t.Errorf("%s: %q is measured with: %v, want %v", c.name, c.line, got, c.want)
		}
	}
}

// inside is quicker than trying every run of words, and finds the same.
func TestInsideFindsEveryRun(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := func(n int) string {
		var list []string
		for range n {
			list = append(list, []string{"a", "a", "a", "a", "ab", "b"}[r.IntN(6)])
		}
		return strings.Join(list, " ")
	}
	found := 0
	for range 500 {
		line, sentence := words(30), words(longWords+r.IntN(2))
		m := &measured{whole: map[string]bool{}, long: map[string][]string{}}
		m.add(data.Example{Text: sentence}, true)
		want := strings.Contains(" "+line+" ", " "+sentence+" ")
		if got := m.inside(line); got != want {
			t.Errorf("%q inside %q: %v, want %v", sentence, line, got, want)
		} else if got {
			found++
		}
	}
	if found < 50 || found > 450 {
		t.Errorf("%d of 500 found: the cases are one-sided", found)
	}
}

func TestFirstWords(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{{"", "", false}, {"a b c d e", "a b c d e", false}, {"a b c d e f", "a b c d e f", true}, {"a b c d é f g", "a b c d é f", true}} {
		if got, ok := firstWords(c.text); got != c.want || ok != c.ok {
			t.Errorf("firstWords(%q) = %q, %v", c.text, got, ok)
		}
	}
}

// A line that slips in where lines are kept is found before anything is written, and in a corpus written earlier.
func TestSmuggledLines(t *testing.T) {
	glue := newRows().glue(t, 0)
	m, err := measure(glue)
	if err != nil {
		t.Fatal(err)
	}
	clean := []line{{"A dog eats.", ""}, {"A cat eats.", "A cow eats."}}
	if err := m.verify(clean); err != nil {
		t.Fatal(err)
	}
	wantError(t, m.verify(append(clean, line{"We saw it:", strings.ToUpper(validated)}, line{phrase, ""})),
		"2 lines share a sentence with what is measured with, the first is line 3", strings.ToUpper(validated))

	out := filepath.Join(t.TempDir(), "out")
	wantError(t, publish(out, glue, []line{{validated, ""}}, m, &report{}), "1 lines share a sentence")
	if _, err := os.Stat(out); err == nil {
		t.Error("something was written")
	}

	path := filepath.Join(built(t, packages(t), glue, ""), "corpus.txt")
	var said strings.Builder
	if err := check(path, glue, &said); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "none of which shares a sentence") {
		t.Errorf("check says %q", said.String())
	}
	text := get(t, path)
	put(t, text+"it was "+strings.ToLower(validated)+"\n", path)
	wantError(t, check(path, glue, &said), path, fmt.Sprintf("1 lines share a sentence with what is measured with, the first is line %d", strings.Count(text, "\n")+1))
}

func TestCheckRefusesWhatIsNoCorpus(t *testing.T) {
	glue, path := newRows().glue(t, 0), filepath.Join(t.TempDir(), "corpus.txt")
	wantError(t, check(path, glue, nil), "no such file")
	for _, c := range []struct{ text, fault string }{
		{"", "no lines"},
		{"one line\n\nthird\n", ":2: \"\" is no line of a corpus"},
		{"a b\tc d\te f\n", ":1: \"a b\\tc d\\te f\" is no line of a corpus"},
		{"fine\n" + strings.Repeat("x", 1<<20+1), ":2: bufio.Scanner: token too long"},
	} {
		put(t, c.text, path)
		wantError(t, check(path, glue, nil), path, c.fault)
	}
}
