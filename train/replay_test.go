package train

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

// overflowing is a model whose first feed-forward kernel overflows float32.
func overflowing(t *testing.T) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "model")
	if err := writeModel(dir, nil); err != nil {
		t.Fatal(err)
	}
	rewriteModel(t, dir, func(entries map[string]safetensors.Entry) {
		name := "bert.encoder.layer.0.intermediate.dense.weight"
		e := entries[name]
		e.Data = slices.Repeat([]float32{3e38}, len(e.Data.([]float32)))
		entries[name] = e
	})
	return dir
}

// A run of the program's own model names the kernel, and a replay finds it again.
func TestReplay(t *testing.T) {
	b, dir := testbackend.All(t)[0], overflowing(t)
	c := small()
	c.Model, c.Method = dir, "vanilla"
	out := filepath.Join(t.TempDir(), "run")
	_, err := Train(t.Context(), c, Options{Backend: b, Out: out})
	if !errors.Is(err, loop.ErrNonfinite) || !strings.Contains(err.Error(), "first in the forward pass, at bert.encoder.layer.0.intermediate.dense (") {
		t.Fatalf("error %v", err)
	}
	r, err := Replay(t.Context(), Options{Backend: b, Out: out})
	if err != nil || !r.Same || r.Origin.Kernel != "bert.encoder.layer.0.intermediate.dense" || len(r.Diagnostic.Examples) != c.Batch {
		t.Errorf("replayed %+v, error %v", r, err)
	}
	if _, err := Replay(t.Context(), Options{Backend: b, Out: smallData()}); !errors.Is(err, rundir.ErrNoRun) {
		t.Errorf("replay of no run: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(out, "diagnostic")); err != nil {
		t.Fatal(err)
	}
	if _, err := Replay(t.Context(), Options{Backend: b, Out: out}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "has no diagnostic") {
		t.Errorf("replay of a run without a diagnostic: %v", err)
	}
}
