package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	if err := CheckVacant(path, marker); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// CheckVacant refuses a path that holds anything but a lock or a file that was never finished.
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
	for _, e := range entries {
		if e.Name() == lockFile || strings.Contains(e.Name(), ".tmp") {
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
	for _, dir := range []string{path, filepath.Join(path, checkpointsDir)} {
		if _, err := atomicfile.CleanLeftovers(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.Close()
			return nil, fmt.Errorf("clean %s: %w", dir, err)
		}
	}
	return r, nil
}

// lockRun takes the directory's lock; the kernel frees it when the process ends, however it ends.
func lockRun(path string) (*RunDir, error) {
	name := filepath.Join(path, lockFile)
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

// Close frees the lock.
func (r *RunDir) Close() { r.lock.Unlock() }

// File is the path of a file of the run.
func (r *RunDir) File(name string) string { return filepath.Join(r.path, name) }
