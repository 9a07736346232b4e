package data

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/readfile"
	"github.com/deeplora/deeplora/internal/table"
)

// Example is one row of a task, its text exactly as the file has it.
type Example struct {
	Text    string  // the first, or only, text
	Pair    string  // the second text, if HasPair
	HasPair bool    // an empty second text is still one
	Label   float64 // class id or score, 0 where there may be several classes; NaN where there is none (test files)
	Classes []int   // of a multilabel task, the ids of the classes it has, which may be none; nil of other tasks
	Row     int     // number of the data row in the source file, from 0; the header is not counted
}

// Source is the file that a split was read from, or stands for the examples given to NewSplit.
type Source struct {
	File   string // within the data directory, with forward slashes: "train.tsv"
	SHA256 string // of the file's bytes, in hex
	Rows   int    // data rows, those skipped included
}

// Split is a set of examples of one task. Methods that choose among examples return a new Split with
// the same Source.
type Split struct {
	Task     Task
	Name     string // train, validation or test
	Examples []Example
	Source   Source
	Skipped  int      // rows of the file that have too few fields (QQP)
	Notices  []string // what the user should know: rows skipped, files ignored

	held *held // rows of the file that were split off for validation, or nil
}

// Labels returns the labels in order: class ids or scores, NaN where there is none. Of a multilabel task they are
// [examples, classes], row-major: 1 where the example has the class, 0 where not.
func (s *Split) Labels() []float64 {
	if s.Task.Multi {
		return s.classSets()
	}
	labels := make([]float64, len(s.Examples))
	for i, e := range s.Examples {
		labels[i] = e.Label
	}
	return labels
}

// Filter returns the examples for which keep holds, in order.
func (s *Split) Filter(keep func(e Example) bool) *Split {
	var index []int
	for i, e := range s.Examples {
		if keep(e) {
			index = append(index, i)
		}
	}
	return s.pick(index)
}

// pick returns the examples at these positions, repeats included.
func (s *Split) pick(index []int) *Split {
	picked := *s
	picked.Examples = make([]Example, len(index))
	for i, j := range index {
		picked.Examples[i] = s.Examples[j]
	}
	return &picked
}

// Load reads a split of a task (Train, Validation or Test) from a directory. It looks there, in the
// task's folder there (STS-B, or the hub's stsb) and in data/ for, in this order,
//
//   - the official TSV or a TSV of the split's name: dev.tsv, validation.tsv;
//   - the same with .jsonl, one object a line with the columns of Task.Columns and "label";
//   - the same with .parquet, or Hugging Face's validation-00000-of-00001.parquet.
//
// Columns are found by name and further ones ignored. Labels are class names or ids, or scores; only a
// test split may lack them. Text is not changed in any way. Errors name the file, the line and the remedy. If no
// file is found, the error lists the names that were tried.
func Load(dir string, t Task, split string) (*Split, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("glue: data directory: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("glue: %s is a file; want the directory that holds it", dir)
	}
	return load(folder{os.DirFS(dir), dir}, t, split)
}

// maxTable is how many bytes a split may have, since all of it is read. GLUE's largest, of QQP, has 50 MB.
const maxTable = 4 << 30

// LoadFS is Load from a file system, such as builtin.Data().
func LoadFS(fsys fs.FS, t Task, split string) (*Split, error) {
	return load(folder{fsys, ""}, t, split)
}

func load(in folder, t Task, split string) (*Split, error) {
	t, err := t.WithDefaults()
	if err == nil {
		err = t.checkColumns()
	}
	if err == nil {
		err = t.checkSplit(split)
	}
	if err != nil {
		return nil, fmt.Errorf("glue: %w", err)
	}
	file, notices, err := in.find(t, split)
	if err != nil {
		return nil, fmt.Errorf("glue: %w", err)
	}
	content, err := readfile.FS(in.fsys, file, maxTable)
	if err != nil {
		return nil, fmt.Errorf("glue: %s: %w", in.path(path.Dir(file)), err)
	}
	sum := sha256.Sum256(content)
	s := &Split{Task: t, Name: split, Notices: notices, Source: Source{File: file, SHA256: hex.EncodeToString(sum[:])}}
	if err := s.read(content, in.path(file)); err != nil {
		return nil, fmt.Errorf("glue: %w", err)
	}
	return s, nil
}

// read fills the split from a file's content; name is the file's in errors.
func (s *Split) read(content []byte, name string) error {
	var err error
	switch path.Ext(name) {
	case ".tsv":
		err = s.readTSV(content, name)
	case ".jsonl":
		err = s.readJSONL(content, name)
	default:
		err = s.readParquet(content, name)
	}
	if err != nil {
		return err
	}
	if s.Skipped > 0 {
		s.Notices = append(s.Notices, fmt.Sprintf("%s: %d of %d rows have too few fields and were skipped", name, s.Skipped, s.Source.Rows))
	}
	if len(s.Examples) == 0 {
		return fmt.Errorf("%s: no data rows", name)
	}
	return nil
}

// folder is where the files of a task are looked for.
type folder struct {
	fsys fs.FS
	name string // the directory as the user wrote it, "" for a file system without one
}

func (f folder) path(file string) string {
	if f.name == "" {
		return file
	}
	return filepath.Join(f.name, filepath.FromSlash(file))
}

// find returns the file of a split, and notices about other files that would also fit.
func (f folder) find(t Task, split string) (string, []string, error) {
	subfolders := []string{".", t.folder(), t.hubFolder(), "data"}
	stems := t.stems(split)
	for _, sub := range subfolders {
		entries, err := fs.ReadDir(f.fsys, sub)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return "", nil, err
		}
		found := matching(entries, stems)
		if len(found) == 0 {
			continue
		}
		var notices []string
		if len(found) > 1 {
			notices = []string{fmt.Sprintf("%s: reading %s, not %s", f.path(sub), found[0], strings.Join(found[1:], ", "))}
		}
		return path.Join(sub, found[0]), notices, nil
	}
	for i, sub := range subfolders {
		subfolders[i] = f.path(sub)
	}
	slices.Sort(subfolders)
	names := stems[0]
	if len(stems) > 1 {
		names = "{" + strings.Join(stems, ",") + "}"
	}
	return "", nil, fmt.Errorf("no %s file of %s: looked for %s.{tsv,jsonl,parquet} and %s-00000-of-00001.parquet in %s%s",
		split, t.Name, names, names, strings.Join(slices.Compact(subfolders), ", "), f.otherFormat(stems))
}

// otherFormat names a file of the split in a format that GLUE's files do not have.
func (f folder) otherFormat(stems []string) string {
	entries, err := fs.ReadDir(f.fsys, ".")
	if err != nil {
		return ""
	}
	for _, e := range entries {
		stem, _, _ := strings.Cut(e.Name(), ".")
		if !e.IsDir() && slices.Contains(stems, stem) && table.Format(e.Name()) != "" {
			return fmt.Sprintf("; %s is there: --text, --pair and --label say its columns", f.path(e.Name()))
		}
	}
	return ""
}

// matching returns the entries that hold a split, best first.
func matching(entries []fs.DirEntry, stems []string) []string {
	var found []string
	// Some programs append a hash to the shard's number.
	for _, pattern := range []string{"%s.tsv", "%s.jsonl", "%s.parquet", "%s-00000-of-00001*.parquet"} {
		for _, stem := range stems {
			for _, e := range entries {
				if ok, _ := path.Match(fmt.Sprintf(pattern, stem), e.Name()); ok && !e.IsDir() {
					found = append(found, e.Name())
				}
			}
		}
	}
	return found
}

func (s *Split) readTSV(content []byte, name string) error {
	rows, err := newTSVReader(bytes.NewReader(content), name, s.Task, s.Name != Test)
	if err != nil {
		return err
	}
	for {
		e, err := rows.next()
		if errors.Is(err, io.EOF) {
			s.Source.Rows, s.Skipped = rows.row, rows.skipped
			return nil
		} else if err != nil {
			return err
		}
		s.Examples = append(s.Examples, e)
	}
}

// tsvReader reads GLUE's TSVs in constant memory: fields between tabs, no quoting, no escapes. A
// quote is text: a CSV reader would join all rows up to the next quote.
type tsvReader struct {
	lines   *lineReader
	task    Task
	width   int   // fields a row must have
	text    []int // columns of the texts
	label   int   // column of the label, -1 where there is none
	hidden  bool  // the label may be -1 or empty where it is unknown, as in a test file
	row     int   // data rows read so far
	skipped int
	first   string // the line already read of a file without a header
	bare    bool
}

// newTSVReader reads the header. If labelled, a file without a label column is an error.
func newTSVReader(r io.Reader, name string, t Task, labelled bool) (*tsvReader, error) {
	tsv := &tsvReader{lines: newLineReader(r, name), task: t, label: -1, hidden: !labelled}
	line, err := tsv.lines.next()
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: empty file; want a header line", name)
	} else if err != nil {
		return nil, err
	}
	header := strings.Split(line, "\t")
	if bare := t.files.bare; len(header) == len(bare) && !slices.Contains(header, t.textHeaders()[0]) {
		header, tsv.first, tsv.bare = bare, line, true
	}
	return tsv, tsv.columns(header, labelled)
}

// columns finds the texts and the label in the header, by GLUE's names or else by Hugging Face's.
func (t *tsvReader) columns(header []string, labelled bool) error {
	t.width = len(header)
	for i, official := range t.task.textHeaders() {
		at, err := t.column(header, official, t.task.Columns[i])
		if err != nil {
			return err
		}
		t.text = append(t.text, at)
	}
	if !labelled && !slices.Contains(header, t.task.labelHeader()) && !slices.Contains(header, "label") {
		return nil
	}
	at, err := t.column(header, t.task.labelHeader(), "label")
	t.label = at
	return err
}

func (t *tsvReader) column(header []string, names ...string) (int, error) {
	for _, name := range names {
		at := slices.Index(header, name)
		if at < 0 {
			continue
		}
		if slices.Contains(header[at+1:], name) {
			return -1, t.lines.fail("two columns are called %q", name)
		}
		return at, nil
	}
	return -1, t.lines.fail("%w", t.task.noColumn("column", names[0], header))
}

// next returns the next example, or io.EOF.
func (t *tsvReader) next() (Example, error) {
	for {
		line, err := t.line()
		if err != nil {
			return Example{}, err
		}
		fields := strings.Split(line, "\t")
		t.row++
		switch {
		case len(fields) < t.width && t.task.files.short:
			t.skipped++ // and still counted: Hugging Face's idx counts them too
		case len(fields) < t.width || len(fields) > t.width && !t.task.files.long:
			return Example{}, t.lines.fail("%d fields; want %d", len(fields), t.width)
		default:
			return t.example(fields)
		}
	}
}

func (t *tsvReader) line() (string, error) {
	if t.bare {
		t.bare = false
		return t.first, nil
	}
	return t.lines.next()
}

func (t *tsvReader) example(fields []string) (Example, error) {
	e := Example{Text: fields[t.text[0]], Label: math.NaN(), Row: t.row - 1}
	if len(t.text) == 2 {
		e.Pair, e.HasPair = fields[t.text[1]], true
	}
	if t.label >= 0 && !(t.hidden && (fields[t.label] == "-1" || fields[t.label] == "")) {
		label, err := t.task.parseLabel(fields[t.label])
		if err != nil {
			return Example{}, t.lines.fail("%w", err)
		}
		e.Label = label
	}
	return e, nil
}
