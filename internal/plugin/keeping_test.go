//go:build linux && !noxla

package plugin_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// wave computes something that rounding would show, and says what the graph takes.
func wave(t *testing.T, b compute.Backend) (sum []float32, working int64) {
	t.Helper()
	flat := make([]float32, 64*64)
	for i := range flat {
		flat[i] = float32(i%13) / 7
	}
	e := MustNewExec(b, func(x *Node) *Node {
		for range 3 {
			x = Add(Softmax(Dot(x, x).Product(), -1), Tanh(x))
		}
		return ReduceSum(Mul(x, Sin(x)), 0)
	})
	defer e.Finalize()
	x := tensors.FromFlatDataAndDimensions(flat, 64, 64)
	g, err := e.Compile(x.Shape())
	if err != nil {
		t.Fatal(err)
	}
	working, _ = plugin.WorkingMemory(g.Executable())
	return tensors.MustCopyFlatData[float32](e.MustCall(x)[0]), working
}

// stored are the files in a folder with their contents.
func stored(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// A graph that was compiled before comes from the folder, with the same bits and the same memory; what the plugin does not
// take is compiled again.
func TestCompiledGraphsAreKept(t *testing.T) {
	p, dir := testbackend.Plugin(t), filepath.Join(t.TempDir(), "compiled")
	open := func(folder string) ([]float32, int64) {
		b, opened, err := plugin.OpenKeeping(p, folder, 1)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Finalize()
		if len(opened.SHA256) != 64 || b.Name() != "xla" {
			t.Errorf("%s, %+v", b.Name(), opened)
		}
		return wave(t, b)
	}
	plain, memory := open("")
	first, _ := open(dir)
	files := stored(t, dir)
	if len(files) == 0 || !slices.Equal(plain, first) {
		t.Fatalf("%d files; the same bits: %v", len(files), slices.Equal(plain, first))
	}
	old := time.Now().Add(-time.Hour)
	for name := range files {
		if err := os.Chtimes(filepath.Join(dir, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	again, loaded := open(dir)
	if !slices.Equal(plain, again) || loaded != memory {
		t.Errorf("the same bits: %v; working memory %d, compiled %d", slices.Equal(plain, again), loaded, memory)
	}
	for name, content := range stored(t, dir) {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(content, files[name]) || info.ModTime().Before(old.Add(time.Minute)) {
			t.Errorf("%s was not used: %v, %v", name, info, err)
		}
		// Sound to the eye, and nothing that the plugin wrote.
		strange := []byte(strings.Repeat("no machine code ", 64))
		sum := sha256.Sum256(strange)
		if err := os.WriteFile(filepath.Join(dir, name), append(sum[:], strange...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	anew, _ := open(dir)
	if !slices.Equal(plain, anew) || len(stored(t, dir)) != len(files) {
		t.Errorf("the same bits: %v; %d files", slices.Equal(plain, anew), len(stored(t, dir)))
	}
	if _, _ = open(""); len(stored(t, dir)) != len(files) {
		t.Error("a graph was kept where none is to be")
	}
}
