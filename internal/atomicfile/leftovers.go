package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// createTemp makes the temporary file of path, and locks it for as long as someone writes it: one that can be locked
// was left by a process that is dead.
func createTemp(path string) (*os.File, *flock.Flock, error) {
	for {
		f, err := os.CreateTemp(filepath.Dir(path), tempPrefix(path)+"*")
		if err != nil {
			return nil, nil, bare(err)
		}
		lock := flock.New(f.Name(), flock.SetFlag(os.O_RDONLY))
		if err := lock.Lock(); err == nil && !same(lock, f.Name()) || errors.Is(err, os.ErrNotExist) {
			f.Close() // swept between these lines
			_ = lock.Unlock()
			continue
		}
		return f, lock, nil // unlocked where the file system knows no locks: there nothing is swept
	}
}

// sweep removes the temporary files of path that dead processes left. What cannot be removed does no harm.
func sweep(path string) {
	dir, prefix := filepath.Dir(path), tempPrefix(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !isLeftover(e) || e.IsDir() || !strings.HasPrefix(e.Name(), prefix) || !isDigits(e.Name()[len(prefix):]) {
			continue
		}
		name := filepath.Join(dir, e.Name())
		lock := flock.New(name, flock.SetFlag(os.O_RDONLY))
		if got, err := lock.TryLock(); err == nil && got {
			if same(lock, name) {
				_ = os.Remove(name)
			}
			_ = lock.Unlock()
		}
	}
}

// tempPrefix is what the names of a file's temporary files begin with; digits follow.
func tempPrefix(path string) string { return "." + filepath.Base(path) + ".tmp-" }

// same reports whether the locked file is still the one of that name.
func same(lock *flock.Flock, name string) bool {
	held, err := lock.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(name)
	return err == nil && os.SameFile(held, there)
}

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
		return strings.HasSuffix(name, tmpSuffix) && name != tmpSuffix
	}
	i := strings.LastIndex(name, ".tmp-")
	return e.Type().IsRegular() && name[0] == '.' && i > 1 && isDigits(name[i+len(".tmp-"):])
}

// isDigits holds for what os.CreateTemp puts in place of the star.
func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
