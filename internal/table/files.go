package table

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/internal/readfile"
)

// maxFile is how many bytes a file may have, since all of it is read.
const maxFile = 4 << 30

// Read reads files as one table, the rows of one behind those of the other. sum is the sha256 of their bytes, in hex.
func Read(paths ...string) (t *Table, sum string, err error) {
	hash := sha256.New()
	for _, path := range paths {
		content, err := readfile.Path(path, maxFile)
		if err != nil {
			return nil, "", err
		}
		hash.Write(content)
		part, err := Parse(path, "", content)
		if err != nil {
			return nil, "", err
		}
		if t, err = t.with(part); err != nil {
			return nil, "", err
		}
	}
	return t, hex.EncodeToString(hash.Sum(nil)), nil
}

// with is t with the rows of another part behind its own; t may be nil.
func (t *Table) with(part *Table) (*Table, error) {
	if t == nil {
		return part, nil
	}
	for _, name := range part.Columns {
		if !slices.Contains(t.Columns, name) {
			t.Columns = append(t.Columns, name)
		}
	}
	for i := range part.Rows {
		part.Rows[i].file = part.Name
	}
	for _, column := range part.Columns {
		if slices.Contains(t.Columns, column) && !slices.Equal(t.Classes[column], part.Classes[column]) {
			return nil, fmt.Errorf("%s: column %q has the class names %q, in %s %q; parts of one split have the same", part.Name, column, part.Classes[column], t.Name, t.Classes[column])
		}
	}
	if t.Classes == nil {
		t.Classes = map[string][]string{}
	}
	maps.Copy(t.Classes, part.Classes) // of columns that only this part has
	t.Rows, t.Notices = append(t.Rows, part.Rows...), append(t.Notices, part.Notices...)
	return t, nil
}

// Find looks in a folder for the files of a split that may have one of several names ("dev", "validation"), with any
// ending that is read, whole or in shards. The error is fs.ErrNotExist where there are none, and says what there is.
func Find(dir string, stems []string) (paths, notices []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, err
	}
	var all []string
	for _, e := range entries {
		if !e.IsDir() {
			all = append(all, e.Name())
		}
	}
	var found [][]string
	for _, format := range Formats() {
		for _, stem := range stems {
			for _, name := range all {
				if Format(name) == format && strings.EqualFold(stemOf(name), stem) {
					found = append(found, []string{name})
				}
			}
			shards, err := shardsOf(all, stem, format)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", dir, err)
			}
			if len(shards) > 0 {
				found = append(found, shards)
			}
		}
	}
	if len(found) == 0 {
		return nil, nil, noFile(dir, stems, all)
	}
	if len(found) > 1 {
		notices = append(notices, fmt.Sprintf("%s: reading %s, not %s", dir, found[0][0], found[1][0]))
	}
	for _, name := range found[0] {
		paths = append(paths, filepath.Join(dir, name))
	}
	return paths, notices, nil
}

// noFile says what was looked for, and what there is instead.
func noFile(dir string, stems, all []string) error {
	there := "it has no file that is read"
	if readable := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return Format(name) == "" }); len(readable) > 0 {
		there = "it has " + strings.Join(readable[:min(len(readable), 5)], ", ")
	}
	return fmt.Errorf("%s: %w: looked for %s with %s, each also .gz or in shards (-00000-of-00002); %s",
		dir, errNoSplit, strings.Join(stems, " or "), strings.Join(formats, " "), there)
}

var errNoSplit = missing{}

// missing is fs.ErrNotExist in other words.
type missing struct{}

func (missing) Error() string        { return "no such file" }
func (missing) Is(target error) bool { return target == fs.ErrNotExist }

func stemOf(name string) string {
	name = strings.TrimSuffix(name, ".gz")
	return strings.TrimSuffix(name, filepath.Ext(name))
}

// shard is the name of one part of many, as Hugging Face writes them; some programs append a hash.
var shard = regexp.MustCompile(`^(.+)-(\d{5})-of-(\d{5})(-[0-9a-f]+)?$`)

// shardsOf are the parts of a split, in order and all there; none where it is not in parts.
func shardsOf(all []string, stem, format string) ([]string, error) {
	var parts []string
	count := 0
	for _, name := range all { // which are sorted
		m := shard.FindStringSubmatch(stemOf(name))
		if m == nil || m[1] != stem || Format(name) != format {
			continue
		}
		count, _ = strconv.Atoi(m[3])
		if at, _ := strconv.Atoi(m[2]); at != len(parts) {
			return nil, fmt.Errorf("shard %d of %s is missing, or there twice: after %d of them comes %s", len(parts), stem, len(parts), name)
		}
		parts = append(parts, name)
	}
	if len(parts) != count {
		return nil, fmt.Errorf("%d shards of %s; their names say %d", len(parts), stem, count)
	}
	return parts, nil
}

// IsFolder reports whether a path is a folder. The error says what lies beside it where it is nothing.
func IsFolder(path string) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("there is no file or folder %s%s", path, beside(path))
	}
	return err == nil && info.IsDir(), err
}

// beside names a file of the same stem: train.csv where train.tsv was looked for.
func beside(path string) string {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return ""
	}
	for _, e := range entries {
		if stemOf(e.Name()) == stemOf(filepath.Base(path)) && Format(e.Name()) != "" {
			return fmt.Sprintf("; %s is there", filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	return ""
}
