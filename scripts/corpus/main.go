// Command corpus builds the text that the embedded encoder is pretrained on, out of unpacked Debian packages
// (fetch.sh) and the training texts of GLUE tasks, and splits off what recipes are chosen by.
//
//	scripts/corpus/fetch.sh packages
//	go run ./scripts/corpus --packages packages --glue glue --out corpus --without gcide
//	go run ./scripts/corpus --check corpus/corpus.txt --glue glue
//
// corpus.txt has a text on a line, or two that belong together with a tab between; corpus.json counts them, and
// heldout/ has data folders with every tenth row of STS-B's and RTE's training sets, and every fiftieth of SST-2's, to
// validate on. The same packages and data give the same bytes.
//
// Labels are not read into the text. No line is a sentence of a validation set or of a row split off, nor has one of a
// validation set inside, of six words or more, up to case and punctuation.
package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/nearest"
)

func main() {
	packages := flag.String("packages", "", "folder of unpacked packages")
	glue := flag.String("glue", "", "folder with STS-B, SST-2 and RTE")
	out := flag.String("out", "", "folder to write corpus.txt, corpus.json and heldout/ into")
	without := flag.String("without", "", "sources to leave out, separated by commas")
	written := flag.String("check", "", "a corpus.txt to look for sentences in that models are measured with, instead of building one")
	flag.Parse()
	building := *packages != "" && *out != ""
	if *glue == "" || building == (*written != "") || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	var err error
	if building {
		err = build(*packages, *glue, *out, *without, os.Stdout)
	} else {
		err = check(*written, *glue, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}

// line is one line of the corpus: a text, or two that belong together.
type line struct{ text, pair string }

func (l line) String() string {
	if l.pair == "" {
		return l.text
	}
	return l.text + "\t" + l.pair
}

// source is where lines come from.
type source struct {
	Name    string `json:"name"`
	Licence string `json:"licence"`
	read    func() ([]line, error)

	Lines   int `json:"lines"`
	Words   int `json:"words"`
	Shared  int `json:"shared_removed"` // lines removed because a sentence is measured with
	Repeats int `json:"repeats_removed"`
}

// report is corpus.json.
type report struct {
	SHA256  string    `json:"sha256"`
	Lines   int       `json:"lines"`
	Words   int       `json:"words"`
	Sources []*source `json:"sources"`
}

func sources(packages, glue string) []*source {
	dict := func(name string) string {
		return filepath.Join(packages, "dict-"+name, "usr/share/dictd", name+".dict.dz")
	}
	wordnet := filepath.Join(packages, "wordnet-base", "usr/share/wordnet")
	return []*source{
		{Name: "wordnet", Licence: "WordNet 3.0 licence (Princeton University)", read: func() ([]line, error) { return readWordNet(wordnet) }},
		{Name: "jargon", Licence: "public domain", read: func() ([]line, error) { return readDict(dict("jargon"), jargonText) }},
		{Name: "devil", Licence: "public domain", read: func() ([]line, error) { return readDict(dict("devil"), devilText) }},
		{Name: "glue", Licence: "training texts of STS-B, SST-2 and RTE, without labels", read: func() ([]line, error) { return readGLUE(glue) }},
		{Name: "gcide", Licence: "GPL-2-or-later", read: func() ([]line, error) { return readDict(dict("gcide"), gcideText) }},
	}
}

// leaveOut returns the sources but for those of a list of names.
func leaveOut(list string, all []*source) ([]*source, error) {
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	for name := range strings.SplitSeq(list, ",") {
		if name != "" && !slices.Contains(names, name) {
			return nil, fmt.Errorf("--without: unknown source %q; nearest: %s (known: %s)", name, nearest.Of(name, names), strings.Join(names, " "))
		}
		all = slices.DeleteFunc(all, func(s *source) bool { return s.Name == name })
	}
	return all, nil
}

// build reads the sources and writes the corpus and what is held out.
func build(packages, glue, out, without string, to io.Writer) error {
	from, err := leaveOut(without, sources(packages, glue))
	if err != nil {
		return err
	}
	m, err := measure(glue)
	if err != nil {
		return err
	}
	r := report{Sources: from}
	var all []line
	seen := map[string]bool{}
	for _, s := range from {
		lines, err := s.read()
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		all = append(all, s.keep(lines, m, seen)...)
	}
	if err := publish(out, glue, all, m, &r); err != nil {
		return err
	}
	return r.print(to)
}

// publish writes a corpus and what is held out, once no line is found that models are measured with.
func publish(out, glue string, lines []line, m *measured, r *report) error {
	if err := m.verify(lines); err != nil {
		return err
	}
	if err := holdOut(glue, filepath.Join(out, "heldout")); err != nil {
		return err
	}
	if err := write(filepath.Join(out, "corpus.txt"), lines, r); err != nil {
		return err
	}
	return jsonfile.Write(filepath.Join(out, "corpus.json"), *r)
}

// keep cleans lines and leaves out those that are no text, or measured with, or repeats.
func (s *source) keep(lines []line, m *measured, seen map[string]bool) []line {
	var kept []line
	for _, l := range lines {
		l.text, l.pair = clean(l.text), clean(l.pair)
		if l.text == "" {
			l.text, l.pair = l.pair, ""
		}
		if l.text == "" {
			continue
		}
		if m.has(l) {
			s.Shared++
			continue
		}
		if key := normal(l.text) + "\t" + normal(l.pair); seen[key] {
			s.Repeats++
			continue
		} else {
			seen[key] = true
		}
		s.Lines++
		s.Words += len(strings.Fields(l.text)) + len(strings.Fields(l.pair))
		kept = append(kept, l)
	}
	return kept
}

func write(path string, lines []line, r *report) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	h := sha256.New()
	err := atomicfile.Write(path, func(w io.Writer) error {
		w = io.MultiWriter(w, h)
		for _, l := range lines {
			if _, err := io.WriteString(w, l.String()+"\n"); err != nil {
				return err
			}
		}
		return nil
	})
	r.SHA256, r.Lines = hex.EncodeToString(h.Sum(nil)), len(lines)
	for _, s := range r.Sources {
		r.Words += s.Words
	}
	return err
}

func (r report) print(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "source\tlines\twords\tshared, removed\trepeats, removed\tlicence")
	sorted := slices.Clone(r.Sources)
	slices.SortStableFunc(sorted, func(a, b *source) int { return cmp.Compare(b.Lines, a.Lines) })
	for _, s := range sorted {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\n", s.Name, s.Lines, s.Words, s.Shared, s.Repeats, s.Licence)
	}
	fmt.Fprintf(w, "all\t%d\t%d\n", r.Lines, r.Words)
	fmt.Fprintf(w, "sha256 %s\n", r.SHA256)
	return w.Flush()
}
