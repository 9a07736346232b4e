package sums

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"b": "two", "a": "one", "deep/c d": "three"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Sums are those of sha256sum, which checks them too.
func TestSumsAreThoseOfSha256sum(t *testing.T) {
	dir := folder(t)
	text, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	const want = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed  a\n" +
		"3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3  b\n" +
		"8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f  deep/c d\n"
	if string(text) != want {
		t.Errorf("sums\n%swant\n%s", text, want)
	}
	tool, err := exec.LookPath("sha256sum")
	if err != nil {
		t.Skip("no sha256sum here")
	}
	check := exec.Command(tool, "--check", "--strict", File)
	check.Dir = dir
	if text, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	for name, c := range map[string]struct {
		change func(dir string) error
		only   []string
		want   string // empty: no error
	}{
		"nothing":        {func(string) error { return nil }, nil, ""},
		"no sums":        {func(dir string) error { return os.Remove(filepath.Join(dir, File)) }, nil, ""},
		"another file":   {func(dir string) error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o644) }, nil, ""},
		"a bit":          {func(dir string) error { return os.WriteFile(filepath.Join(dir, "deep/c d"), []byte("thref"), 0o644) }, nil, "deep/c d: file is damaged: its sha256 is "},
		"missing":        {func(dir string) error { return os.Remove(filepath.Join(dir, "a")) }, nil, "a: file is damaged: it is missing, and SHA256SUMS lists it"},
		"of no interest": {func(dir string) error { return os.Remove(filepath.Join(dir, "a")) }, []string{"b", "new"}, ""},
		"of interest":    {func(dir string) error { return os.Remove(filepath.Join(dir, "a")) }, []string{"a", "b"}, "it is missing"},
		"the sums":       {func(dir string) error { return os.WriteFile(filepath.Join(dir, File), []byte("7692  a\n"), 0o644) }, nil, "SHA256SUMS:1: file is damaged: want a sha256"},
		"a way out": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, File), []byte(strings.Repeat("ab", 32)+"  ../a\n"), 0o644)
		}, nil, "SHA256SUMS:1: file is damaged"},
		"an endless line": {func(dir string) error { return os.WriteFile(filepath.Join(dir, File), make([]byte, 1<<20), 0o644) }, nil, "SHA256SUMS: file is damaged"},
		"in capitals": {func(dir string) error {
			return rewrite(dir, func(text string) string {
				var lines []string
				for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
					lines = append(lines, strings.ToUpper(line[:64])+line[64:]+"\r\n")
				}
				return strings.Join(lines, "")
			})
		}, nil, ""},
		"from ./*": {func(dir string) error {
			return rewrite(dir, func(text string) string { return strings.ReplaceAll(text, "  ", "  ./") })
		}, nil, ""},
		"from ./*, damaged": {func(dir string) error {
			return errors.Join(rewrite(dir, func(text string) string { return strings.ReplaceAll(text, "  ", "  ./") }), os.Remove(filepath.Join(dir, "a")))
		}, nil, "a: file is damaged: it is missing"},
		"with --tag": {func(dir string) error { return rewrite(dir, tagged) }, nil, ""},
		"with --tag, a bit": {func(dir string) error {
			return errors.Join(rewrite(dir, tagged), os.WriteFile(filepath.Join(dir, "deep/c d"), []byte("thref"), 0o644))
		}, nil, "deep/c d: file is damaged: its sha256 is "},
		"with --tag, no sum": {func(dir string) error { return rewrite(dir, func(string) string { return "SHA256 (a)\n" }) }, nil, "SHA256SUMS:1: file is damaged"},
		"as binary, by *":    {func(dir string) error { return star(dir) }, nil, ""},
		"an empty listing":   {func(dir string) error { return os.WriteFile(filepath.Join(dir, File), nil, 0o644) }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := folder(t)
			if err := c.change(dir); err != nil {
				t.Fatal(err)
			}
			err := Verify(os.DirFS(dir), c.only...)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("error %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, jsonfile.ErrCorrupt)):
				t.Errorf("error %v, want %s", err, c.want)
			}
		})
	}
}

func star(dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, File), []byte(strings.ReplaceAll(string(text), "  ", " *")), 0o644)
}

// Sums of some of the files are of those alone.
func TestWriteSomeSums(t *testing.T) {
	dir := folder(t)
	if err := Write(dir, "b"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, File)); err != nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("sums %s, error %v", text, err)
	}
	if err := Write(dir, "none"); err == nil {
		t.Error("the sum of no file")
	}
}

func rewrite(dir string, change func(text string) string) error {
	path := filepath.Join(dir, File)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(change(string(text))), 0o644)
}

// tagged writes sums as sha256sum --tag does.
func tagged(text string) string {
	var lines []string
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		lines = append(lines, "SHA256 ("+line[66:]+") = "+line[:64]+"\n")
	}
	return strings.Join(lines, "")
}
