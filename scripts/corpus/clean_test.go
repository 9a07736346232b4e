package main

import (
	"slices"
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	sixty := strings.TrimSpace(strings.Repeat("word ", 60))
	for _, c := range []struct{ text, want string }{
		{"  Two\t words\n", "Two words"},
		{"no\u00a0break\u2028space", "no break space"},
		{"China\u00e2\u0080\u0099s don\x12t \ufffd", "Chinaâs dont"},
		{"word", ""},
		{"", ""},
		{"1 2 3 4", ""},
		{"ab 12", ""}, // two letters of five bytes
		{"abc 12", "abc 12"},
		{sixty, sixty},
		{sixty + " more", ""},
	} {
		if got := clean(c.text); got != c.want {
			t.Errorf("clean(%q) = %q, want %q", c.text, got, c.want)
		} else if again := clean(got); again != got {
			t.Errorf("clean(%q) = %q: not the same twice", got, again)
		}
	}
}

func TestNormal(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"A man, plays -- the GUITAR!", "a man plays the guitar"},
		{"“Don't” (1,000 times)", "don t 1 000 times"},
		{"don’t", "don t"},
		{"ÉTÉ à Québec", "ete a quebec"},
		{" ... ", ""},
	} {
		if got := normal(c.text); got != c.want {
			t.Errorf("normal(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

func TestSentences(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"One is here. Two\n  is not! Three?", []string{"One is here.", "Two is not!", "Three?"}},
		{"It is e.g. small. and 3.5 more. (An aside.) “Quoted.” So.", []string{"It is e.g. small. and 3.5 more.", "(An aside.)", "“Quoted.”", "So."}},
		{`He said "no." She left.`, []string{`He said "no."`, "She left."}},
		{"no end", []string{"no end"}},
	} {
		if got := sentences(c.text); !slices.Equal(got, c.want) {
			t.Errorf("sentences(%q) = %q, want %q", c.text, got, c.want)
		}
	}
}

func TestAdjacent(t *testing.T) {
	if got, want := adjacent([]string{"a", "b", "c"}), []line{{"a", "b"}, {"c", ""}}; !slices.Equal(got, want) {
		t.Errorf("pairs %q, want %q", got, want)
	}
	if got := adjacent(nil); got != nil {
		t.Errorf("pairs of nothing: %q", got)
	}
}
