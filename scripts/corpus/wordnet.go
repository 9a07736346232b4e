package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// synset is one entry of WordNet's data files (wndb(5WN)).
type synset struct {
	words    []string
	parent   string // part of speech and offset of the first hypernym, or ""
	gloss    string
	examples []string
}

// readWordNet gives, for each synset, its words with its gloss, its gloss with its hypernym's, and its usage
// examples, the first with the gloss.
func readWordNet(dir string) ([]line, error) {
	all := map[string]*synset{}
	var order []string
	for _, pos := range []string{"noun", "verb", "adj", "adv"} {
		keys, err := readSynsets(filepath.Join(dir, "data."+pos), all)
		if err != nil {
			return nil, err
		}
		order = append(order, keys...)
	}
	var lines []line
	for _, key := range order {
		lines = append(lines, all[key].lines(all)...)
	}
	return lines, nil
}

// readSynsets adds the synsets of a data file to all, and returns their keys in the file's order.
func readSynsets(path string, all map[string]*synset) (keys []string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w; scripts/corpus/fetch.sh gets the package", err)
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		if strings.HasPrefix(in.Text(), " ") { // the licence
			continue
		}
		key, s, err := parseSynset(in.Text())
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		all[key] = s
		keys = append(keys, key)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

func (s *synset) lines(all map[string]*synset) []line {
	lines := []line{{text: strings.Join(s.words, ", ") + ": " + s.gloss}}
	if parent := all[s.parent]; parent != nil {
		lines = append(lines, line{s.gloss, parent.gloss})
	}
	for i, example := range s.examples {
		l := line{text: example}
		if i == 0 {
			l.pair = s.gloss
		}
		lines = append(lines, l)
	}
	return lines
}

var quoted = regexp.MustCompile(`"([^"]*)"`)

// parseSynset reads a data line: offset, file, part of speech, words, pointers, and the gloss after a bar.
func parseSynset(text string) (key string, s *synset, err error) {
	head, gloss, ok := strings.Cut(text, " | ")
	fields := strings.Fields(head)
	if !ok || len(fields) < 6 {
		return "", nil, fmt.Errorf("not a synset: %.60q", text)
	}
	count, err := strconv.ParseUint(fields[3], 16, 8) // two hexadecimal digits
	if err != nil || count == 0 || len(fields) < 4+2*int(count)+1 {
		return "", nil, fmt.Errorf("synset %s: word count %q with %d fields", fields[0], fields[3], len(fields))
	}
	s = &synset{}
	for i := range int(count) {
		word, _, _ := strings.Cut(fields[4+2*i], "(") // adjectives: a mark of their place
		s.words = append(s.words, strings.ReplaceAll(word, "_", " "))
	}
	pointers := fields[4+2*int(count)+1:]
	for i := 0; i+3 < len(pointers); i += 4 {
		if pointers[i] == "@" && s.parent == "" {
			s.parent = pointers[i+2] + pointers[i+1]
		}
	}
	for _, m := range quoted.FindAllStringSubmatch(gloss, -1) {
		s.examples = append(s.examples, m[1])
	}
	parts := strings.FieldsFunc(quoted.ReplaceAllString(gloss, ""), func(r rune) bool { return r == ';' })
	var kept []string
	for _, p := range parts {
		if p = strings.Trim(p, " ,:-"); p != "" {
			kept = append(kept, p)
		}
	}
	s.gloss = strings.Join(kept, "; ")
	return fields[2] + fields[0], s, nil
}
