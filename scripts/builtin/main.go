// Command builtin makes the split embedded in internal/builtin from GLUE's STS-B:
//
//	go run ./scripts/builtin GLUE-FOLDER internal/builtin
//
// The rows are whole lines of the original files, drawn by Split.Sample without replacement, seed 0.
// Only rows whose text may be passed on under CC BY-SA are drawn from: image captions (PASCAL VOC-2008)
// and the 2017 English track (SNLI). The other sources have terms of their own, which STS-B's
// LICENSE.txt lists: agreements with Microsoft, links to authors, news agencies' texts.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
)

const folder = "STS-B"

// shareable are the sources, by the column "filename", under CC BY-SA.
var shareable = []string{"images", "track5.en-en"}

// sizes are how many rows of a split are drawn.
var sizes = []struct {
	split string
	rows  int
}{{data.Train, 256}, {data.Validation, 250}}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go run ./scripts/builtin GLUE-FOLDER internal/builtin")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "builtin:", err)
		os.Exit(1)
	}
}

func run(glue, out string) error {
	made, err := generate(glue)
	if err != nil {
		return err
	}
	for _, name := range []string{"train.tsv", "validation.tsv", "LICENSE.txt", "readme.txt"} {
		err := atomicfile.Write(filepath.Join(out, folder, name), func(w io.Writer) error {
			_, err := w.Write(made[name])
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// generate returns the files by name, from the folder that has STS-B in it.
func generate(glue string) (map[string][]byte, error) {
	made := map[string][]byte{}
	for _, name := range []string{"LICENSE.txt", "readme.txt"} { // word for word
		content, err := os.ReadFile(filepath.Join(glue, folder, name))
		if err != nil {
			return nil, err
		}
		made[name] = content
	}
	for _, s := range sizes {
		content, err := drawn(glue, s.split, s.rows)
		if err != nil {
			return nil, err
		}
		made[s.split+".tsv"] = content
	}
	return made, nil
}

// drawn returns the header and the drawn lines of a split's file.
func drawn(glue, split string, rows int) ([]byte, error) {
	task, err := data.LookupTask("stsb")
	if err != nil {
		return nil, err
	}
	whole, err := data.Load(filepath.Join(glue, folder), task, split)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(glue, folder, filepath.FromSlash(whole.Source.File)))
	if err != nil {
		return nil, err
	}
	lines := bytes.SplitAfter(content, []byte("\n"))
	column := slices.Index(strings.Split(string(lines[0]), "\t"), "filename")
	if column < 0 {
		return nil, fmt.Errorf("%s has no column filename", whole.Source.File)
	}
	from := whole.Filter(func(e data.Example) bool {
		return slices.Contains(shareable, strings.Split(string(lines[e.Row+1]), "\t")[column])
	})
	sample, _, err := from.Sample(data.DrawOptions{Shots: rows})
	if err != nil {
		return nil, err
	}
	out := bytes.Clone(lines[0])
	for _, e := range sample.Examples {
		out = append(out, lines[e.Row+1]...)
	}
	return out, nil
}
