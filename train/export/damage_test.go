package export

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// damaged copies a directory and changes the last bit of one of its files.
func damaged(t *testing.T, dir, file string) string {
	t.Helper()
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(copied, file)
	content := get(t, path)
	content[len(content)-1] ^= 1
	put(t, path, string(content))
	return copied
}

// files are the files below a directory.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A merged model of which any file but the card has changed is not opened, and says what to do.
func TestDamagedMergedModelIsRefused(t *testing.T) {
	o := options(t, writeRun(t, writeBase(t, 1, true), "vanilla", "only-query-value"))
	if _, err := (Merged{Options: o, DType: dtypes.Float32, ShardBytes: 4000}).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	open := func(dir string) error {
		_, _, err := train.Sources{}.Model(t.Context(), dir)
		return err
	}
	if err := open(o.Out); err != nil {
		t.Fatal(err)
	}
	names := files(t, o.Out)
	if len(names) < 8 { // shards, index, config, tokenizer, card, sums
		t.Fatalf("files %v", names)
	}
	for _, name := range names {
		dir := damaged(t, o.Out, name)
		err := open(dir)
		if name == "README.md" {
			if err != nil {
				t.Errorf("the card is anyone's to edit: %v", err)
			}
			continue
		}
		if !errors.Is(err, loop.ErrCorrupt) || !strings.Contains(err.Error(), "get the files again or, where they were changed on purpose, remove SHA256SUMS") {
			t.Errorf("%s: error %v", name, err)
		}
		if err := os.Remove(filepath.Join(dir, sums.File)); err != nil {
			t.Fatal(err)
		}
		if err := open(dir); err != nil {
			t.Errorf("%s, without sums: %v", name, err)
		}
	}
}

// Of an adapter in which the run that travels with it is damaged nothing is made; with the adapter itself changed it
// is another program's.
func TestDamagedSidecarIsRefused(t *testing.T) {
	base := writeBase(t, 1, true)
	dir, _ := exported(t, writeRun(t, base, "deep-narrow", "only-query-value"))
	for _, name := range files(t, filepath.Join(dir, sidecarDir)) {
		i := importing(t, damaged(t, dir, filepath.Join(sidecarDir, name)), base)
		_, err := i.Write(t.Context())
		if !errors.Is(err, loop.ErrCorrupt) || !strings.Contains(err.Error(), "remove that directory") {
			t.Errorf("%s: error %v", name, err)
		}
		nothingAt(t, i.Out)
		if err := os.RemoveAll(filepath.Join(i.In, sidecarDir)); err != nil {
			t.Fatal(err)
		}
		if done, err := i.Write(t.Context()); err != nil || done.Factors {
			t.Errorf("%s, with the remedy: %+v, %v", name, done, err)
		}
	}
}
