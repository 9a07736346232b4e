package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/deeplora/deeplora/internal/atomicfile"
)

// RunDir is a run directory that this process has locked.
type RunDir struct {
	path string
	lock *flock.Flock
}

// CreateRun makes and locks a new run directory; marker is the file that will make it a run. An existing one must
// be empty, or hold nothing but what a run that died before its first file left behind.
func CreateRun(path, marker string) (*RunDir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("create run directory: %w", err)
	}
	r, err := lockRun(path)
	if err != nil {
		return nil, err
	}
	err = CheckVacant(path, marker)
	if err == nil {
		err = r.clean(path)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// beforeMarker is what a run writes before the marker that makes it one: a process that died between them left no run.
var beforeMarker = []string{manifestJSON, fromDir}

// CheckVacant refuses a path that holds anything but a lock or what a run that died before its marker left.
func CheckVacant(path, marker string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s: %w: a file is in its place; choose another --out", path, ErrInUse)
	case err != nil:
		return fmt.Errorf("output directory: %w", err)
	}
	ours := slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == lockFile })
	for _, e := range entries {
		if e.Name() == lockFile || strings.Contains(e.Name(), ".tmp") || ours && slices.Contains(beforeMarker, e.Name()) && !IsRun(path, marker) {
			continue
		}
		if IsRun(path, marker) {
			return fmt.Errorf("%s: %w by a run; --resume goes on with it, or choose another --out", path, ErrInUse)
		}
		return fmt.Errorf("%s: %w: it holds %s; choose another --out", path, ErrInUse, e.Name())
	}
	return nil
}

// IsRun reports whether a directory holds a run that got as far as its marker.
func IsRun(path, marker string) bool {
	_, err := os.Stat(filepath.Join(path, marker))
	return err == nil
}

// OpenRun locks an existing run directory and clears what an interrupted write left.
func OpenRun(path, marker string) (*RunDir, error) {
	if !IsRun(path, marker) {
		return nil, fmt.Errorf("%s: %w: it has no %s", path, ErrNoRun, marker)
	}
	r, err := lockRun(path)
	if err != nil {
		return nil, err
	}
	if err := r.clean(path, filepath.Join(path, checkpointsDir)); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// clean removes what interrupted writes left in directories of the run.
func (r *RunDir) clean(dirs ...string) error {
	for _, dir := range dirs {
		if _, err := atomicfile.CleanLeftovers(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clean %s: %w", dir, err)
		}
	}
	return nil
}

// lockRun takes the directory's lock; the kernel frees it when the process ends, however it ends.
func lockRun(path string) (*RunDir, error) {
	name := filepath.Join(path, lockFile)
	if err := ownFile(name); err != nil {
		return nil, err
	}
	lock := flock.New(name)
	got, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !got {
		owner, _ := os.ReadFile(name)
		return nil, fmt.Errorf("%s: %w by another process (%s)", path, ErrInUse, strings.TrimSpace(string(owner)))
	}
	host, _ := os.Hostname()
	if err := os.WriteFile(name, fmt.Appendf(nil, "process %d on %s\n", os.Getpid(), host), 0o644); err != nil {
		lock.Unlock()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &RunDir{path, lock}, nil
}

// ownFile is the error for what is no file of its own at a path that is written in place: in a run directory from
// elsewhere a link could lead to any file of this user's.
func ownFile(path string) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: it is a link or a device, not a file; remove it", path, ErrCorrupt)
	}
	return nil
}

// Held reports whether a process, this one or another, has locked the run directory.
func Held(path string) bool {
	name := filepath.Join(path, lockFile)
	if _, err := os.Stat(name); err != nil {
		return false
	}
	lock := flock.New(name)
	got, err := lock.TryLock()
	if got {
		_ = lock.Unlock() // nobody else's
	}
	return err == nil && !got
}

// Close frees the lock.
func (r *RunDir) Close() { r.lock.Unlock() }

// File is the path of a file of the run.
func (r *RunDir) File(name string) string { return filepath.Join(r.path, name) }
