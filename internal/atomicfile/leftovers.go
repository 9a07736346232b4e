package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// CleanLeftovers removes from dir what killed processes left: files called .NAME.tmp-DIGITS and
// directories called NAME.tmp. It does not look into other directories and follows no links. Call it
// only where nobody else is writing (under the run's lock) and only in directories that are ours: it
// takes every NAME.tmp directory for a leftover.
//
// It returns the paths removed, sorted, also beside an error.
func CleanLeftovers(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, err
	}
	var removed []string
	var faults []error
	for _, e := range entries {
		if !isLeftover(e) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if err := os.RemoveAll(path); err != nil {
			faults = append(faults, err)
			continue
		}
		removed = append(removed, path)
	}
	return removed, errors.Join(faults...)
}

func isLeftover(e os.DirEntry) bool {
	name := e.Name()
	if e.IsDir() {
		return strings.HasSuffix(name, ".tmp") && name != ".tmp"
	}
	i := strings.LastIndex(name, ".tmp-")
	return e.Type().IsRegular() && name[0] == '.' && i > 1 && isDigits(name[i+len(".tmp-"):])
}

// isDigits holds for what os.CreateTemp puts in place of the star.
func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
