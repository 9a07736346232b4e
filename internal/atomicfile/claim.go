package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
)

// A directory that WriteDir is filling is path + ".tmp". In it lies a marker, which the process that fills it keeps
// locked, and content/, which takes the name path once it is whole. The kernel frees the lock when the process
// ends, however it ends: a marker that can be locked was left by one that is dead. The content is renamed out of the
// directory, so that there is no moment in which it lies there without its marker.
const (
	tmpSuffix   = ".tmp"
	markerName  = ".unfinished"
	contentName = "content"
)

// claim is a temporary directory that is ours to fill.
type claim struct {
	dir       string
	lock      *flock.Flock
	abandoned bool // a process that died had it before
}

// ClearAbandoned removes path + ".tmp" where a process that was killed in WriteDir(path, …) left it, and returns its
// name; where there is none it returns "". It is fs.ErrExist if a living process is filling it, or if it is not what
// WriteDir makes. WriteDir clears as much by itself: this is for callers who tell their user, or want to know early.
func ClearAbandoned(path string) (removed string, err error) {
	path = filepath.Clean(path)
	if _, err := os.Lstat(path + tmpSuffix); err != nil {
		return "", nil // there is none, or WriteDir will say what is wrong
	}
	c, err := claimDir(path + tmpSuffix)
	if err == nil {
		if err = c.release(); err == nil && c.abandoned {
			removed = c.dir
		}
	}
	return removed, explain(path, filepath.Dir(path), err)
}

// claimDir makes the temporary directory, or takes one that a dead process left.
func claimDir(dir string) (*claim, error) {
	for range 10 { // an owner may give it up between two looks at it
		c, err := tryClaim(dir)
		if c != nil || err != nil {
			return c, err
		}
	}
	return nil, busy(dir)
}

// tryClaim returns nil and no error if the directory vanished while it was looked at.
func tryClaim(dir string) (*claim, error) {
	c := &claim{dir: dir}
	err := os.Mkdir(dir, dirMode)
	made := err == nil
	switch {
	case errors.Is(err, fs.ErrExist):
		c.abandoned, err = isOurs(dir)
	case err != nil:
		return nil, bare(err)
	}
	if err == nil {
		err = c.take()
	}
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case made:
		return nil, errors.Join(bare(err), ignoreTaken(os.Remove(dir)))
	default:
		return nil, bare(err)
	}
}

// take locks the marker, and says in it who did. It is fs.ErrNotExist if another owner removed it meanwhile.
func (c *claim) take() error {
	marker := filepath.Join(c.dir, markerName)
	c.lock = flock.New(marker)
	got, err := c.lock.TryLock()
	if err != nil {
		return err
	}
	if !got {
		return busy(c.dir)
	}
	if err := c.sign(marker); err != nil {
		return errors.Join(err, c.lock.Unlock())
	}
	return nil
}

// sign writes who we are into the marker, which must be the file that is locked.
func (c *claim) sign(marker string) error {
	held, err := c.lock.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(marker)
	if err != nil {
		return err
	}
	if !os.SameFile(held, there) {
		return fs.ErrNotExist
	}
	host, _ := os.Hostname()
	return os.WriteFile(marker, fmt.Appendf(nil, "process %d on %s\n", os.Getpid(), host), fileMode)
}

// isOurs reports whether the directory has our marker, so that someone has or had it. One with anything but what we
// put there is refused; an empty one is as good as new.
func isOurs(dir string) (marked bool, err error) {
	foreign := fmt.Errorf("%s is there, and is not what a write that was cut short leaves; move it away, or name another place: %w", dir, fs.ErrExist)
	if info, err := os.Lstat(dir); err != nil {
		return false, err
	} else if !info.IsDir() {
		return false, foreign
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		switch {
		case e.Name() == markerName && e.Type().IsRegular():
			marked = true
		case e.Name() == contentName && e.IsDir():
		default:
			return false, foreign
		}
	}
	if len(entries) > 0 && !marked {
		return false, foreign
	}
	return marked, nil
}

func busy(dir string) error {
	who, _ := os.ReadFile(filepath.Join(dir, markerName))
	if who = bytes.TrimSpace(who); len(who) > 0 {
		who = fmt.Appendf(nil, " (%s)", who)
	}
	return fmt.Errorf("%s is there: another process is writing it%s: %w", dir, who, fs.ErrExist)
}

// content makes the empty directory to fill.
func (c *claim) content() (string, error) {
	dir := filepath.Join(c.dir, contentName)
	if err := os.RemoveAll(dir); err != nil {
		return "", bare(err)
	}
	return dir, bare(os.Mkdir(dir, dirMode))
}

// release removes the temporary directory with what is in it, and frees the lock last: whoever waits for it finds
// that what it would lock is gone.
func (c *claim) release() error {
	err := os.RemoveAll(filepath.Join(c.dir, contentName))
	if err == nil {
		err = errors.Join(os.Remove(filepath.Join(c.dir, markerName)), ignoreTaken(os.Remove(c.dir)))
	}
	if err = errors.Join(err, c.lock.Unlock()); err != nil {
		return fmt.Errorf("and its temporary directory stays: %w", err)
	}
	return nil
}

// ignoreTaken passes over a directory that another process has put its marker in meanwhile.
func ignoreTaken(err error) error {
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
