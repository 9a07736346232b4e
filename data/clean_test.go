package data

import (
	"strings"
	"testing"
)

func TestBasicTokensAreTheWordsOfATokenizer(t *testing.T) {
	const text = "Élan vital,\tnaïve 東京 [MASK]\u200bx"
	for _, c := range []struct {
		lowercase bool
		want      string
	}{
		{true, "elan vital , naive 東 京 [ mask ] x"},
		{false, "Élan vital , naïve 東 京 [ MASK ] x"},
	} {
		var words []string
		err := BasicTokens(text, c.lowercase, func(w []byte) { words = append(words, string(w)) })
		if got := strings.Join(words, " "); err != nil || got != c.want {
			t.Errorf("lowercase %t: %q (%v), want %q", c.lowercase, got, err, c.want)
		}
	}
	called := false
	err := BasicTokens("a\xff", true, func([]byte) { called = true })
	if err == nil || called {
		t.Errorf("error %v and words %t for an invalid byte, want an error alone", err, called)
	}
}
