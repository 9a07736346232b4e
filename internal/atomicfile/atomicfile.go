package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gofrs/flock"
)

const (
	fileMode = 0o644 // readable by others, unlike os.CreateTemp's 0600: checkpoints are shared
	dirMode  = 0o755
	bufBytes = 1 << 16
)

// Write replaces path by what write puts into w, or leaves it as it was. The writer is buffered; write
// need not flush. The file gets mode 0644; a symbolic link at path is itself replaced, not its target.
//
// An error names path. On a full disk it says so with the bytes free and keeps syscall.ENOSPC for
// errors.Is; an error of write is kept likewise. If only the last step fails, syncing the directory,
// the new file is in place but might not survive a power cut.
//
// A process that is killed leaves its temporary file; the next that writes path removes it.
func Write(path string, write func(w io.Writer) error) error {
	dir := filepath.Dir(path)
	tmp, err := writeTemp(path, write)
	if err == nil {
		if err = os.Rename(tmp.Path(), path); err != nil {
			err = errors.Join(bare(err), removeTemp(tmp.Path()))
		}
		_ = tmp.Unlock() // its file has another name, or is gone
	}
	if err == nil {
		sweep(path)
		err = syncDir(dir)
	}
	return explain(path, dir, err)
}

// WriteBytes is Write of content that is in memory already.
func WriteBytes(path string, content []byte) error {
	return Write(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}

// writeTemp writes, syncs and closes a temporary file beside path, and returns the lock on it. When it returns an
// error, or write panics, the file is gone.
func writeTemp(path string, write func(w io.Writer) error) (tmp *flock.Flock, err error) {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		return nil, errors.New("there is a directory of this name; name a file in it, or another place")
	}
	f, lock, err := createTemp(path)
	if err != nil {
		return nil, err
	}
	done := false
	defer func() {
		if !done { // an error, a panic or runtime.Goexit
			err = errors.Join(err, ignoreClosed(f.Close()), removeTemp(f.Name()), lock.Unlock())
		}
	}()
	buf := bufio.NewWriterSize(bareWriter{f}, bufBytes)
	if err := write(buf); err != nil {
		return nil, err
	}
	if err := buf.Flush(); err != nil {
		return nil, err
	}
	if err := f.Chmod(fileMode); err != nil {
		return nil, bare(err)
	}
	if err := f.Sync(); err != nil {
		return nil, bare(err)
	}
	if err := f.Close(); err != nil {
		return nil, bare(err)
	}
	done = true
	return lock, nil
}

// WriteDir creates the directory path with what fill puts into tmp, a directory inside path + ".tmp" until every
// file and directory in it is synced. It replaces nothing: if path exists, or another process is filling the
// temporary directory, or that is not one of ours, the error is fs.ErrExist, and what is there stays as it is. A
// temporary directory that a killed process left is cleared first. The directory gets mode 0755.
//
// Errors are those of Write. When WriteDir returns one, or fill panics, the temporary directory is gone.
func WriteDir(path string, fill func(tmp string) error) error {
	path = filepath.Clean(path)
	parent := filepath.Dir(path)
	err := fillTemp(path, fill)
	if err == nil {
		err = syncDir(parent)
	}
	return explain(path, parent, err)
}

// fillTemp makes and fills path + ".tmp" and renames its content to path.
func fillTemp(path string, fill func(tmp string) error) (err error) {
	if err := absent(path); err != nil {
		return err
	}
	c, err := claimDir(path + tmpSuffix)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.release()) }()
	content, err := c.content()
	if err != nil {
		return err
	}
	if err := fill(content); err != nil {
		return err
	}
	if err := os.Chmod(content, dirMode); err != nil { // Mkdir's mode went through the umask
		return bare(err)
	}
	if err := syncTree(content); err != nil {
		return err
	}
	// rename(2) takes the place of an empty directory, so look once more. Whoever makes one between
	// these two lines loses an empty directory and nothing else.
	if err := absent(path); err != nil {
		return err
	}
	return bare(os.Rename(content, path))
}

// absent is fs.ErrExist with a remedy where something has the name path.
func absent(path string) error {
	switch _, err := os.Lstat(path); {
	case err == nil:
		return fmt.Errorf("it exists and is not replaced; name another place or remove it: %w", fs.ErrExist)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return bare(err)
	}
}

// syncTree syncs every regular file below dir, then the directories, the innermost first.
func syncTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch path := filepath.Join(dir, e.Name()); {
		case e.IsDir():
			err = syncTree(path)
		case e.Type().IsRegular():
			err = syncPath(path)
		}
		if err != nil {
			return err
		}
	}
	return syncDir(dir)
}

func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncDir makes renames in dir durable. Some file systems cannot sync a directory and answer EINVAL:
// there is nothing to be done about that, and nothing wrong with the files.
func syncDir(dir string) error {
	if err := syncPath(dir); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// bareWriter keeps the temporary file's name out of errors: the caller knows the file as path.
type bareWriter struct{ f *os.File }

func (w bareWriter) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	return n, bare(err)
}

// bare strips the operation and the temporary name from an error of package os.
func bare(err error) error {
	var link *os.LinkError
	var path *fs.PathError
	switch {
	case errors.As(err, &link):
		return link.Err
	case errors.As(err, &path):
		return path.Err
	}
	return err
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return bare(err)
}

func removeTemp(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("and its temporary file stays: %w", err)
	}
	return nil
}
