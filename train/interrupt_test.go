package train

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

// A run that is cancelled before its first step or in its last evaluation says so and goes on, as one that is
// cancelled between steps does.
func TestInterruptedOutsideTheLoop(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Steps, c.Warmup, c.EvalBatch = 2, 0, 8 // several batches to evaluate
	whole := filepath.Join(t.TempDir(), "whole")
	trainSmall(t, b, c, whole)
	for name, when := range map[string]func(loop.Event) bool{
		"initialise": func(e loop.Event) bool {
			p, ok := e.(loop.Phase)
			return ok && p.Name == "initialise "+c.Method && p.Done == 3
		},
		"evaluate": func(e loop.Event) bool { p, ok := e.(loop.Phase); return ok && p.Name == "evaluate" },
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "run")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := Train(ctx, c, Options{Backend: b, Out: out, OnEvent: func(e loop.Event) {
				if when(e) {
					cancel()
				}
			}})
			if !errors.Is(err, loop.ErrInterrupted) || !errors.Is(err, context.Canceled) {
				t.Fatalf("error %v, want one that says the run was interrupted", err)
			}
			trainSmall(t, b, c, out, func(o *Options) { o.Resume = true })
			sameAdapter(t, whole, out)
		})
	}
}

// A run keeps its own copy of a draw that it replays.
func TestResumeWithoutTheManifestItBeganWith(t *testing.T) {
	b := testbackend.All(t)[0]
	first := filepath.Join(t.TempDir(), "first")
	c := small()
	c.Steps, c.Warmup = 4, 0
	trainSmall(t, b, c, first)

	replayed := c
	replayed.Shots, replayed.Manifest = 0, filepath.Join(t.TempDir(), "draw.json")
	if err := os.WriteFile(replayed.Manifest, fileBytes(t, filepath.Join(first, manifestJSON)), 0o644); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(t.TempDir(), "second")
	interruptAt(t, b, replayed, second, 2)
	if err := os.Remove(replayed.Manifest); err != nil {
		t.Fatal(err)
	}
	trainSmall(t, b, replayed, second, func(o *Options) { o.Resume = true })
	sameAdapter(t, first, second)
}

// Resolved makes of a command line what the run made of it, whatever it left to defaults.
func TestResolvedAsTheRun(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Steps, c.Epochs, c.Batch, c.Shots, c.Warmup = 0, 1, 64, 10, 0 // a batch that the examples do not fill
	out := filepath.Join(t.TempDir(), "run")
	trainSmall(t, b, c, out)
	saved, err := ReadRunConfig(out)
	if err != nil {
		t.Fatal(err)
	}
	if saved.Batch != 10 || saved.Steps != 1 {
		t.Fatalf("batch %d and %d steps, want 10 and 1", saved.Batch, saved.Steps)
	}
	got, err := saved.Resolved(out, c)
	if err != nil {
		t.Fatal(err)
	}
	got.Steps = saved.Steps // given as epochs
	if !reflect.DeepEqual(got, saved.Config) {
		t.Errorf("resolved %+v\nwant     %+v", got, saved.Config)
	}
	if _, err := ReadRunConfig(t.TempDir()); !errors.Is(err, rundir.ErrNoRun) {
		t.Errorf("an empty directory: error %v, want rundir.ErrNoRun", err)
	}
	if _, err := Open(t.Context(), t.TempDir(), b, OpenOptions{}); !errors.Is(err, rundir.ErrNoRun) {
		t.Errorf("open an empty directory: error %v, want rundir.ErrNoRun", err)
	}
}
