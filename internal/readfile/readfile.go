// Package readfile reads whole files from folders that we do not trust: regular files only, and at most a given number
// of bytes. Such a folder may hold a link to an endless device, or a pipe on which a read would wait for ever.
//
// It knows nothing of what the files contain.
package readfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrTooLarge is wrapped by errors about files that have more bytes than allowed.
var ErrTooLarge = errors.New("file is too large")

// ErrNoFile is wrapped by errors about a folder, a device or a pipe where a file is expected.
var ErrNoFile = errors.New("not a file")

// FS reads the file name of a file system, most bytes of it. Links are followed. Errors name it; fs.ErrNotExist
// comes through.
func FS(fsys fs.FS, name string, most int64) ([]byte, error) { return read(fsys, name, name, most) }

// Path is FS for a path of the operating system.
func Path(path string, most int64) ([]byte, error) {
	dir, name := filepath.Split(filepath.Clean(path))
	if dir == "" {
		dir = "."
	}
	content, err := read(os.DirFS(dir), name, path, most)
	if fault := (*fs.PathError)(nil); errors.As(err, &fault) {
		fault.Path = path
	}
	return content, err
}

func read(fsys fs.FS, name, shown string, most int64) ([]byte, error) {
	if err := regular(fsys, name, shown); err != nil {
		return nil, err
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The size from Stat cannot be trusted: some file systems report 0.
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", shown, err)
	case int64(len(content)) > most:
		return nil, fmt.Errorf("%s: %w: more than %s", shown, ErrTooLarge, megabytes(most))
	default:
		return content, nil
	}
}

// Regular returns an error if name is not a regular file; it does not open it, which could wait for ever.
func Regular(fsys fs.FS, name string) error { return regular(fsys, name, name) }

func regular(fsys fs.FS, name, shown string) error {
	info, err := fs.Stat(fsys, name)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w but %s", shown, ErrNoFile, kind(info.Mode()))
	}
	return err
}

func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	default:
		return "a device"
	}
}

func megabytes(n int64) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%d MB", n>>20)
}
