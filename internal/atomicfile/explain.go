package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// fullError marks an error that already says that the disk is full: a Write inside a WriteDir says it
// once.
type fullError struct {
	free string
	err  error
}

func (e *fullError) Error() string {
	return fmt.Sprintf("the disk is full (%s with the partial copy removed); free some space there and try again: %v", e.free, e.err)
}

func (e *fullError) Unwrap() error { return e.err }

// explain wraps err, if it is one, with path and what to do about it. It measures free space after the
// partial copy was removed: the write needed more than that, and df will show the same number.
func explain(path, dir string, err error) error {
	var full *fullError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &full):
	case errors.Is(err, syscall.ENOSPC):
		free := "free space unknown"
		if n, err := freeBytes(dir); err == nil {
			free = fmt.Sprintf("%d bytes free", n)
		}
		err = &fullError{free, err}
	case errors.Is(err, syscall.EDQUOT):
		err = fmt.Errorf("your disk quota is used up; free some space there and try again: %w", err)
	case errors.Is(err, fs.ErrNotExist) && !exists(dir):
		err = fmt.Errorf("there is no directory %s; create it first: %w", dir, err)
	}
	return fmt.Errorf("write %s: %w", path, err)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
