package readfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
)

func TestOnlyFilesOfABoundedSize(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.WriteFile(path("small"), []byte("12345"), 0o600),
		os.WriteFile(path("large"), []byte("123456"), 0o600),
		os.Mkdir(path("folder"), 0o755),
		os.Symlink("small", path("link")),
		os.Symlink("/dev/zero", path("endless")),
		os.Symlink("nowhere", path("dangling")),
		syscall.Mkfifo(path("pipe"), 0o600), // opening it would wait for a writer
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		is   error
		want string
	}{
		{"small", nil, ""},
		{"link", nil, ""},
		{"large", ErrTooLarge, path("large") + ": file is too large: more than 5 bytes"},
		{"folder", ErrNoFile, "folder: not a file but a directory"},
		{"endless", ErrNoFile, "endless: not a file but a device"},
		{"pipe", ErrNoFile, "pipe: not a file but a pipe"},
		{"dangling", fs.ErrNotExist, path("dangling")},
		{"absent", fs.ErrNotExist, path("absent")},
	} {
		content, err := Path(path(c.name), 5)
		if c.is == nil {
			if err != nil || string(content) != "12345" {
				t.Errorf("%s: %q, %v", c.name, content, err)
			}
			continue
		}
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.want) || content != nil {
			t.Errorf("%s: %q, %v", c.name, content, err)
		}
	}
	t.Chdir(dir)
	if content, err := Path("small", 5); err != nil || string(content) != "12345" {
		t.Errorf("without a folder: %q, %v", content, err)
	}
}

func TestSizesInWords(t *testing.T) {
	memory := fstest.MapFS{"x": {Data: make([]byte, 3<<20)}}
	if _, err := FS(memory, "x", 2<<20); err == nil || err.Error() != "x: file is too large: more than 2 MB" {
		t.Error(err)
	}
}
