package rundir

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
	"github.com/deeplora/deeplora/internal/jsonfile"
)

// ErrInUse is wrapped by errors about an output directory that another run owns or has filled.
var ErrInUse = errors.New("output directory is in use")

// ErrNoRun is wrapped by errors about a directory that holds no run.
var ErrNoRun = errors.New("not a run directory")

const lockFile = ".lock"

// Dir is a run directory that this process has locked.
type Dir struct {
	path string
	lock *flock.Flock
}

// Create makes and locks a new run directory; marker is the file that will make it a run. An existing one must
// be empty, or hold nothing but what a run that died before its first file left behind.
func Create(path, marker string) (*Dir, error) {
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
var beforeMarker = []string{"manifest.json", "from"}

// Checkpoints is the folder of a run's checkpoints, where an interrupted write may have left something.
const Checkpoints = "checkpoints"

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
		if e.Name() == lockFile || strings.Contains(e.Name(), ".tmp") || ours && slices.Contains(beforeMarker, e.Name()) && !Is(path, marker) {
			continue
		}
		if Is(path, marker) {
			return fmt.Errorf("%s: %w by a run; --resume goes on with it, or choose another --out", path, ErrInUse)
		}
		return fmt.Errorf("%s: %w: it holds %s; choose another --out", path, ErrInUse, e.Name())
	}
	return nil
}

// Is reports whether a directory holds a run that got as far as its marker.
func Is(path, marker string) bool {
	_, err := os.Stat(filepath.Join(path, marker))
	return err == nil
}

// Open locks an existing run directory and clears what an interrupted write left.
func Open(path, marker string) (*Dir, error) {
	if !Is(path, marker) {
		return nil, fmt.Errorf("%s: %w: it has no %s", path, ErrNoRun, marker)
	}
	r, err := lockRun(path)
	if err != nil {
		return nil, err
	}
	if err := r.clean(path, filepath.Join(path, Checkpoints)); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// clean removes what interrupted writes left in directories of the run.
func (r *Dir) clean(dirs ...string) error {
	for _, dir := range dirs {
		if _, err := atomicfile.CleanLeftovers(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clean %s: %w", dir, err)
		}
	}
	return nil
}

// lockRun takes the directory's lock; the kernel frees it when the process ends, however it ends.
func lockRun(path string) (*Dir, error) {
	name := filepath.Join(path, lockFile)
	if err := OwnFile(name); err != nil {
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
	if err := os.WriteFile(name, fmt.Appendf(nil, ownerFormat, os.Getpid(), host), 0o644); err != nil {
		lock.Unlock()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &Dir{path, lock}, nil
}

// ownerFormat is what a lock file says of the process that has, or had, the run: its number and its machine.
const ownerFormat = "process %d on %s\n"

// Owned reports whether the process is alive that last had the run in a directory; known is false where that cannot be
// told, as it ran on another machine. The lock itself is not tried: to try it is to hold it for a moment, in which a run
// that begins would find itself kept out.
func Owned(path string) (alive, known bool) {
	text, err := os.ReadFile(filepath.Join(path, lockFile))
	if err != nil {
		return false, false
	}
	var process int
	var host string
	here, err := os.Hostname()
	if n, _ := fmt.Sscanf(string(text), ownerFormat, &process, &host); n != 2 || err != nil || host != here || process <= 1 {
		return false, false
	}
	err = syscall.Kill(process, 0)
	return err == nil || errors.Is(err, syscall.EPERM), true
}

// OwnFile refuses a link or a device at a path that is written in place: in a run directory that came from elsewhere a
// link could lead to any file of this user's.
func OwnFile(path string) error {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w: it is a link or a device, not a file; remove it", path, jsonfile.ErrCorrupt)
	}
	return nil
}

// CheckFormat refuses to go on with a run whose files another version of the program wrote.
func CheckFormat(path string, format, now int) error {
	switch {
	case format < now:
		return fmt.Errorf("%s was begun by an earlier version of deeplora (format %d, now %d), whose checkpoints this one cannot go on with; finish it with that version, or begin again with another --out", path, format, now)
	case format > now:
		return fmt.Errorf("%s was written by a later version of deeplora (format %d; this one reads up to %d)", path, format, now)
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
func (r *Dir) Close() { r.lock.Unlock() }

// File is the path of a file of the run.
func (r *Dir) File(name string) string { return filepath.Join(r.path, name) }
