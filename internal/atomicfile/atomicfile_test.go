package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func put(content string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, content)
		return err
	}
}

// names lists dir.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", dir, got, want)
	}
}

func wantContent(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s holds %q, want %q", path, got, want)
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		t.Errorf("mode of %s is %o, want %o", path, got, want)
	}
}

func TestWriteReplaces(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.json")
	if err := os.WriteFile(path, []byte("a longer old content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, put("new")); err != nil {
		t.Fatal(err)
	}
	wantContent(t, path, "new")
	wantMode(t, path, 0o644)
	wantNames(t, dir, "config.json")
}

func TestWriteInTheCurrentDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := Write("plain", put("x")); err != nil {
		t.Fatal(err)
	}
	wantContent(t, "plain", "x")
}

// The old file must be readable in full while the new one is being written.
func TestOldContentStaysUntilRename(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Write(path, put("old")); err != nil {
		t.Fatal(err)
	}
	err := Write(path, func(w io.Writer) error {
		if _, err := w.Write(bytes.Repeat([]byte("n"), 3*bufBytes)); err != nil {
			return err
		}
		wantContent(t, path, "old")
		if got := names(t, dir); len(got) != 2 || !strings.HasPrefix(got[0], ".f.tmp-") {
			t.Errorf("while writing the directory holds %q, want .f.tmp-* and f", got)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, path, strings.Repeat("n", 3*bufBytes))
}

func TestErrorLeavesNothing(t *testing.T) {
	mine := errors.New("loss is NaN")
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Write(path, put("old")); err != nil {
		t.Fatal(err)
	}
	err := Write(path, func(w io.Writer) error {
		w.Write([]byte("half"))
		return mine
	})
	if !errors.Is(err, mine) || err.Error() != "write "+path+": loss is NaN" {
		t.Errorf("error %q, want the callback's after the path", err)
	}
	wantContent(t, path, "old")
	err = WriteDir(filepath.Join(dir, "d"), func(tmp string) error {
		return errors.Join(os.WriteFile(filepath.Join(tmp, "x"), nil, 0o644), mine)
	})
	if !errors.Is(err, mine) {
		t.Errorf("error %q, want the callback's", err)
	}
	wantNames(t, dir, "f")
}

func TestPanicLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	catch := func(fn func()) (got any) {
		defer func() { got = recover() }()
		fn()
		return nil
	}
	got := catch(func() { _ = Write(filepath.Join(dir, "f"), func(io.Writer) error { panic("boom") }) })
	if got != "boom" {
		t.Errorf("Write swallowed the panic: got %v", got)
	}
	got = catch(func() { _ = WriteDir(filepath.Join(dir, "d"), func(string) error { panic("boom") }) })
	if got != "boom" {
		t.Errorf("WriteDir swallowed the panic: got %v", got)
	}
	wantNames(t, dir)
}

func TestWriteDir(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "step-10")
	err := WriteDir(path+"/", func(tmp string) error {
		if filepath.Dir(tmp) != path+".tmp" {
			t.Errorf("temporary directory is %s, want it in %s.tmp", tmp, path)
		}
		if err := os.MkdirAll(filepath.Join(tmp, "sub", "subsub"), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("nowhere", filepath.Join(tmp, "link")); err != nil {
			return err
		}
		return Write(filepath.Join(tmp, "sub", "f"), put("content"))
	})
	if err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "step-10")
	wantMode(t, path, 0o755)
	wantContent(t, filepath.Join(path, "sub", "f"), "content")
}

func TestWriteDirReplacesNothing(t *testing.T) {
	for _, name := range []string{"empty directory", "file", "dangling link", "not ours"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d")
			var err error
			want := path + ": it exists and is not replaced"
			switch name {
			case "empty directory":
				err = os.Mkdir(path, 0o755)
			case "file":
				err = os.WriteFile(path, nil, 0o644)
			case "dangling link":
				err = os.Symlink("nowhere", path)
			case "not ours":
				err = os.MkdirAll(filepath.Join(path+".tmp", "content"), 0o755)
				want = path + ".tmp is there, and is not what a write that was cut short leaves; move it away"
			}
			if err != nil {
				t.Fatal(err)
			}
			before := names(t, filepath.Dir(path))
			err = WriteDir(path, func(string) error { t.Error("fill was called"); return nil })
			if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), want) {
				t.Errorf("error %q, want fs.ErrExist and %q", err, want)
			}
			wantNames(t, filepath.Dir(path), before...)
		})
	}
}

// Somebody may create the directory while ours is being filled: theirs stays.
func TestWriteDirLosesARace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d")
	err := WriteDir(path, func(string) error { return os.Mkdir(path, 0o755) })
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want fs.ErrExist", err)
	}
	wantNames(t, dir, "d")
}

func TestErrorsNameThePathAndTheRemedy(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "no", "such")
	for _, tc := range []struct {
		name string
		err  error
		want string
		is   error
	}{
		{
			"directory missing", Write(filepath.Join(missing, "f"), put("")),
			fmt.Sprintf("write %s/f: there is no directory %s; create it first: no such file or directory", missing, missing), fs.ErrNotExist,
		},
		{
			"parent missing", WriteDir(filepath.Join(missing, "d"), func(string) error { return nil }),
			fmt.Sprintf("write %s/d: there is no directory %s; create it first: no such file or directory", missing, missing), fs.ErrNotExist,
		},
		{
			"a directory", Write(dir, put("")),
			fmt.Sprintf("write %s: there is a directory of this name; name a file in it, or another place", dir), nil,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.err == nil || tc.err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", tc.err, tc.want)
			}
			if tc.is != nil && !errors.Is(tc.err, tc.is) {
				t.Errorf("%v is not %v", tc.err, tc.is)
			}
		})
	}
}

func TestCleanLeftovers(t *testing.T) {
	dir := t.TempDir()
	files := []string{".adapter.safetensors.tmp-123", ".f.tmp-x.tmp-9", ".f.tmp-x", ".f.tmp-", ".tmp-12", "f.tmp-12", "model.tmp", "f"}
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"step-20.tmp/sub", "keep/step-30.tmp", ".tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("keep", filepath.Join(dir, "link.tmp")); err != nil {
		t.Fatal(err)
	}
	removed, err := CleanLeftovers(dir)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, name := range []string{".adapter.safetensors.tmp-123", ".f.tmp-x.tmp-9", "step-20.tmp"} {
		want = append(want, filepath.Join(dir, name))
	}
	if !slices.Equal(removed, want) {
		t.Errorf("removed %q\nwant    %q", removed, want)
	}
	wantNames(t, dir, ".f.tmp-", ".f.tmp-x", ".tmp", ".tmp-12", "f", "f.tmp-12", "keep", "link.tmp", "model.tmp")
	wantNames(t, filepath.Join(dir, "keep"), "step-30.tmp")
	if _, err := CleanLeftovers(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v for a missing directory, want fs.ErrNotExist", err)
	}
}

// What a killed process leaves must be what CleanLeftovers knows. Exiting the goroutine would clean
// up, so take the names while both writers are at work.
func TestLeftoverNamesMatch(t *testing.T) {
	dir := t.TempDir()
	err := WriteDir(filepath.Join(dir, "d"), func(string) error {
		return Write(filepath.Join(dir, "we*ird"), func(io.Writer) error {
			entries, err := os.ReadDir(dir)
			if err != nil || len(entries) != 2 {
				t.Fatalf("%v, %v: want two temporary entries", entries, err)
			}
			for _, e := range entries {
				if !isLeftover(e) {
					t.Errorf("%s would not be cleaned", e.Name())
				}
			}
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "d", "we*ird")
}
