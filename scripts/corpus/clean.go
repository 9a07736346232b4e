package main

import (
	"regexp"
	"strings"
	"unicode"

	"github.com/deeplora/deeplora/data"
)

// Lengths of a text, in words: shorter ones say nothing, longer ones the trainer would cut.
const (
	fewestWords = 2
	mostWords   = 60
)

// printable makes white space spaces and takes out what is no character: the remains of bytes in other encodings.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r == unicode.ReplacementChar || unicode.IsControl(r):
			return -1
		default:
			return r
		}
	}, text)
}

// clean makes a text one line of plain words, or "" where it is none.
func clean(text string) string {
	words := strings.Fields(printable(text))
	if len(words) < fewestWords || len(words) > mostWords {
		return ""
	}
	text = strings.Join(words, " ")
	letters := 0
	for _, r := range text {
		if unicode.IsLetter(r) {
			letters++
		}
	}
	if 2*letters < len(text) { // bytes: other scripts fall out too
		return ""
	}
	return text
}

// normal is what texts are compared by: words of small letters and digits, without accents.
func normal(text string) string {
	var words []string
	err := data.BasicTokens(text, true, func(word []byte) {
		w := strings.Map(func(r rune) rune {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return r
			}
			return -1
		}, string(word))
		if w != "" {
			words = append(words, w)
		}
	})
	if err != nil { // not UTF-8: clean takes none of it, and nothing equals it
		return ""
	}
	return strings.Join(words, " ")
}

// spaceless is a normal text by which whole texts are compared: "love seat" is "loveseat".
func spaceless(normal string) string { return strings.ReplaceAll(normal, " ", "") }

var sentenceEnd = regexp.MustCompile(`([.!?]["”’)]?)\s+([A-Z"“(])`)

// sentences cuts a paragraph after full stops that a capital follows.
func sentences(paragraph string) []string {
	paragraph = strings.Join(strings.Fields(paragraph), " ")
	return strings.Split(sentenceEnd.ReplaceAllString(paragraph, "$1\n$2"), "\n")
}

// adjacent makes lines of sentences that follow one another: pairs of two, the last alone where they are odd.
func adjacent(list []string) []line {
	var lines []line
	for i := 0; i < len(list); i += 2 {
		l := line{text: list[i]}
		if i+1 < len(list) {
			l.pair = list[i+1]
		}
		lines = append(lines, l)
	}
	return lines
}
