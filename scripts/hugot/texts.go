package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// checked is how many rows at the end of the file are predicted; those before them may be trained on.
const checked = 100

// row is two sentences of STS-B.
type row struct{ first, second string }

// read takes the sentences of STS-B's TSV.
func read(path string) (rows []row, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	header := strings.Split(lines[0], "\t")
	first, second := slices.Index(header, "sentence1"), slices.Index(header, "sentence2")
	if first < 0 || second < 0 {
		return nil, fmt.Errorf("%s: no columns sentence1 and sentence2", path)
	}
	for i, line := range lines[1:] {
		fields := strings.Split(line, "\t")
		if len(fields) <= max(first, second) {
			return nil, fmt.Errorf("%s:%d: %d columns", path, i+2, len(fields))
		}
		rows = append(rows, row{fields[first], fields[second]})
	}
	if len(rows) < 2*checked {
		return nil, fmt.Errorf("%s: %d rows, want %d", path, len(rows), 2*checked)
	}
	return rows, nil
}

var (
	people  = regexp.MustCompile(`(?i)\b(woman|women|girl|lady|she|man|men|boy|guy|he|people|person|children)\b`)
	animals = regexp.MustCompile(`(?i)\b(dogs?|cats?|kittens?|pupp(y|ies)|birds?|monkeys?|horses?|pandas?|fish|animals?)\b`)
)

// writeTraining writes sentences with a class that a short run can learn: whom they speak of.
func writeTraining(path string, rows []row) error {
	lines := [][]string{{"text", "label"}}
	for _, r := range rows[:len(rows)-checked] {
		class := "things"
		switch {
		case people.MatchString(r.first):
			class = "people"
		case animals.MatchString(r.first):
			class = "animals"
		}
		lines = append(lines, []string{r.first, class})
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := csv.NewWriter(f).WriteAll(lines); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
