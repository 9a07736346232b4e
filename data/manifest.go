package data

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/readfile"
)

// The rules by which a manifest's rows were chosen.
const (
	ruleAll                = "all" // every example; no indices
	ruleWithReplacement    = "with-replacement"
	ruleWithoutReplacement = "without-replacement"
	rulePerClass           = "per-class"          // LM-BFF's training half
	rulePerClassHeld       = "per-class-held-out" // LM-BFF's development half
	rulePerLabel           = "per-label"          // of each class of a multilabel task
	rulePerLabelHeld       = "per-label-held-out"
	rulePerQuantile        = "per-quantile" // of scores of any range
	rulePerQuantileHeld    = "per-quantile-held-out"
	ruleList               = "list" // chosen by someone else, such as a draw of another program
)

var rules = []string{ruleAll, ruleWithReplacement, ruleWithoutReplacement, rulePerClass, rulePerClassHeld, rulePerLabel, rulePerLabelHeld, rulePerQuantile, rulePerQuantileHeld, ruleList}

const manifestVersion = 1

// Manifest records a draw so that it can be replayed: which file, which rows of it, in which order.
// Rule and seed say where the rows came from; replaying uses the rows alone.
type Manifest struct {
	Version int    `json:"version"`
	Task    string `json:"task"`
	Split   string `json:"split"`
	File    string `json:"file"`   // within the data directory, or memory:SPLIT
	SHA256  string `json:"sha256"` // of the file
	Rows    int    `json:"rows"`   // data rows of the file
	Rule    string `json:"rule"`
	Seed    uint64 `json:"seed"`
	N       int    `json:"n"`                 // examples drawn
	Indices []int  `json:"indices,omitempty"` // their rows, from 0, the header not counted; repeats happen

	Held *held `json:"validation,omitempty"` // rows of the file that are kept for validation (Split.HoldOut, Manifest.Fold)
}

// manifestFields are the names above. encoding/json would also accept them in upper case.
var manifestFields = []string{"version", "task", "split", "file", "sha256", "rows", "rule", "seed", "n", "indices", "validation"}

// maxManifest is how many bytes a manifest may have. One that lists all rows of GLUE's largest file has fewer.
const maxManifest = 64 << 20

// ReadManifest reads a manifest file and checks all that can be checked without the data.
func ReadManifest(path string) (*Manifest, error) {
	content, err := readfile.Path(path, maxManifest)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	m, err := parseManifest(content)
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", path, err)
	}
	return m, nil
}

// parseManifest is ReadManifest from a file's content. Unknown, repeated and missing fields are errors.
func parseManifest(content []byte) (*Manifest, error) {
	fields, err := jsonfile.Fields(content)
	if err != nil {
		return nil, err
	}
	if err := fields.OnlyKnown(manifestFields); err != nil {
		return nil, err
	}
	for _, name := range manifestFields {
		value, ok := fields.Get(name)
		if ok && (string(value) == "null" || bytes.Contains(value, []byte("null")) && optional(name)) {
			return nil, fmt.Errorf("field %q: null is no value", name)
		}
		if !ok && !optional(name) {
			return nil, fmt.Errorf("no field %q", name)
		}
	}
	var m Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil, err
	}
	return &m, m.check()
}

func optional(field string) bool { return field == "indices" || field == "validation" }

func (m *Manifest) check() error {
	if err := checkSplitName(m.Split); err != nil {
		return err
	}
	sum, err := hex.DecodeString(m.SHA256)
	switch {
	case m.Version != manifestVersion:
		return fmt.Errorf("version %d; this program knows version %d", m.Version, manifestVersion)
	case m.Task == "":
		return errors.New("task is empty; want the name of the task that the rows are of")
	case err != nil || len(sum) != 32 || m.SHA256 != strings.ToLower(m.SHA256):
		return fmt.Errorf("sha256 %.70q; want 64 hexadecimal digits, lower case", m.SHA256)
	case m.Rows < 1:
		return fmt.Errorf("rows %d; want at least 1", m.Rows)
	case !slices.Contains(rules, m.Rule):
		return fmt.Errorf("unknown rule %.40q; nearest: %s", m.Rule, nearest.Of(m.Rule, rules))
	case m.N < 1:
		return fmt.Errorf("n %d; want at least 1", m.N)
	case m.Rule == ruleAll && m.Indices != nil:
		return fmt.Errorf("rule %q goes without indices", m.Rule)
	case m.Rule == ruleAll && m.N > m.Rows:
		return fmt.Errorf("n %d of %d rows", m.N, m.Rows)
	case m.Rule != ruleAll && len(m.Indices) != m.N:
		return fmt.Errorf("%d indices; n is %d", len(m.Indices), m.N)
	}
	for i, row := range m.Indices {
		if row < 0 || row >= m.Rows {
			return fmt.Errorf("indices[%d] is %d; the file has rows 0 to %d", i, row, m.Rows-1)
		}
	}
	return m.checkHeld()
}

// checkHeld checks the rows that are kept for validation: in order, each once, none of them drawn.
func (m *Manifest) checkHeld() error {
	if m.Held == nil {
		return nil
	}
	rows := m.Held.Indices
	for i, row := range rows {
		if row < 0 || row >= m.Rows || i > 0 && row <= rows[i-1] {
			return fmt.Errorf("validation: indices[%d] is %d; want rows from 0 to %d in order, each once", i, row, m.Rows-1)
		}
	}
	for _, row := range m.Indices {
		if _, both := slices.BinarySearch(rows, row); both {
			return fmt.Errorf("validation: row %d is among the training rows too", row)
		}
	}
	if known := []string{ruleShare, ruleSharePerLabel, ruleFold}; !slices.Contains(known, m.Held.Rule) || len(rows) == 0 {
		return fmt.Errorf("validation: rule %q of %d rows; want %s, and rows", m.Held.Rule, len(rows), strings.Join(known, " or "))
	}
	if part, parts := m.Held.Part, m.Held.Parts; (m.Held.Rule == ruleFold) != (part > 0 && part <= parts && parts > 1) {
		return fmt.Errorf("validation: part %d of %d with rule %q; a fold is one of at least two parts, and no other rule has parts", part, parts, m.Held.Rule)
	}
	return nil
}

// Encode writes the manifest as one line of JSON.
func (m *Manifest) Encode(w io.Writer) error {
	if err := m.check(); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	return json.NewEncoder(w).Encode(m)
}

// Replay returns the examples of s that the manifest names, in its order. It is an error if s is of
// another task or of other content (Source.SHA256), or if one of the rows is not among its examples because it was
// filtered out.
func (m *Manifest) Replay(s *Split) (*Split, error) {
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("replay manifest: %w", err)
	}
	switch {
	case m.Task != s.Task.Name:
		return nil, fmt.Errorf("replay manifest: it is of task %s, the data of %s", m.Task, s.Task.Name)
	case m.SHA256 != s.Source.SHA256:
		return nil, fmt.Errorf("replay manifest: %s has sha256 %s, the manifest's %s has %s; use the file it was drawn from",
			s.Source.File, s.Source.SHA256, m.File, m.SHA256)
	case m.Rows != s.Source.Rows:
		return nil, fmt.Errorf("replay manifest: %s has %d rows, the manifest says %d", s.Source.File, s.Source.Rows, m.Rows)
	case m.Rule == ruleAll && m.N != len(s.Examples):
		return nil, fmt.Errorf("replay manifest: %d examples are left, the manifest says %d; are tokenizer, --max-length and --overlong the same?",
			len(s.Examples), m.N)
	case m.Rule == ruleAll:
		return s, nil
	}
	at := make(map[int]int, len(s.Examples))
	for i, e := range s.Examples {
		at[e.Row] = i
	}
	index := make([]int, len(m.Indices))
	for i, row := range m.Indices {
		position, ok := at[row]
		if !ok {
			return nil, fmt.Errorf("replay manifest: row %d of %s is not among the examples: it was skipped, or dropped as too long", row, s.Source.File)
		}
		index[i] = position
	}
	return s.pick(index), nil
}
