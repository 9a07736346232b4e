package main

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"
)

// readDict reads a dictionary of the DICT project, which dictzip compressed: a gzip file. Paragraphs are
// separated by empty lines.
func readDict(path string, text func(paragraph string) []string) ([]line, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w; scripts/corpus/fetch.sh gets the package", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	all, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var lines []line
	for _, paragraph := range strings.Split(string(all), "\n\n") {
		if !utf8.ValidString(paragraph) { // a few entries of old dictionaries are in no encoding
			continue
		}
		lines = append(lines, adjacent(text(paragraph))...)
	}
	return lines, nil
}

var (
	links    = strings.NewReplacer("{", "", "}", "", "`", "'", "''", `"`)
	brackets = regexp.MustCompile(`\[[^\]]*\]`)
	numbered = regexp.MustCompile(`^\s*(\d+\.|\([a-z]\))\s*`)
	sayer    = regexp.MustCompile(`\s*--\s?[A-Z][^.]*\.?\s*$`)
)

// jargonText gives the sentences of a paragraph of the Jargon File: indented prose, without its headings.
func jargonText(paragraph string) []string {
	if !strings.HasPrefix(paragraph, "    ") {
		return nil
	}
	return prose(paragraph)
}

// devilText gives the sentences of an entry of The Devil's Dictionary, its head word included; verses, which are
// indented, are left out.
func devilText(paragraph string) []string {
	if strings.HasPrefix(strings.TrimLeft(paragraph, "\n"), " ") {
		return nil
	}
	return prose(paragraph)
}

// gcideText gives definitions and quotations of the Collaborative International Dictionary: indented, without
// pronunciations, etymologies, source marks and the names of who is quoted.
func gcideText(paragraph string) []string {
	if !strings.HasPrefix(strings.TrimLeft(paragraph, "\n"), "   ") {
		_, body, ok := strings.Cut(paragraph, "\n   ") // a head word, then its definition
		if !ok {
			return nil
		}
		paragraph = body
	}
	return prose(sayer.ReplaceAllString(brackets.ReplaceAllString(paragraph, ""), ""))
}

// prose cuts a paragraph into sentences of letters that end as sentences do.
func prose(paragraph string) []string {
	paragraph = numbered.ReplaceAllString(links.Replace(brackets.ReplaceAllString(paragraph, "")), "")
	var kept []string
	for _, s := range sentences(paragraph) {
		s = strings.TrimSpace(s)
		if len(strings.Fields(s)) < 4 || strings.ContainsAny(s, `\|<>=_[]`) || strings.Contains(s, "Syn:") {
			continue
		}
		kept = append(kept, s)
	}
	return kept
}
