package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is shown may quote files and servers of strangers: names of tensors and labels, lines of data, words of an
// index. None of it may command the terminal it is shown on, or look like another line.

// commands reports runes that a terminal obeys rather than shows, or that turn the direction of what follows.
func commands(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

// plain writes what commands a terminal as Go writes it in a string. The ends of lines stay, and tabs.
func plain(text string) string {
	if !strings.ContainsFunc(text, func(r rune) bool { return commands(r) || r == utf8.RuneError }) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch _, size := utf8.DecodeRuneInString(text[i:]); {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case r == '\n' || r == '\t' || !commands(r):
			b.WriteRune(r)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// plainCell is plain for a cell of a table, which tabs and the ends of lines would tear apart.
func plainCell(text string) string {
	return strings.NewReplacer("\t", `\t`, "\n", `\n`).Replace(plain(text))
}

// plainJSON makes a writer for a JSON encoder, which leaves some such runes as they are. In JSON they are escaped
// like those that it does not leave, and mean the same.
func plainJSON(w io.Writer) io.Writer { return jsonEscaper{w} }

type jsonEscaper struct{ io.Writer }

// Write takes whole values, as an encoder writes them.
func (w jsonEscaper) Write(text []byte) (int, error) {
	if !bytes.ContainsFunc(text, escapesInJSON) {
		return w.Writer.Write(text)
	}
	var b bytes.Buffer
	for _, r := range string(text) {
		if escapesInJSON(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	if _, err := w.Writer.Write(b.Bytes()); err != nil {
		return 0, err
	}
	return len(text), nil
}

// escapesInJSON leaves out what can only be white space between values.
func escapesInJSON(r rune) bool { return r >= 0x7f && commands(r) }
