package train

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// trainOnly is a folder with the small data's training file and no other.
func trainOnly(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "train.jsonl"), fileBytes(t, filepath.Join(smallData(), "train.jsonl")), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A run with a fold is trained and measured on its own draw, needs no validation file, and can be resumed, replayed from
// its manifest and evaluated again.
func TestFoldIsMeasuredOnItsOwnDraw(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Data, c.Fold, c.Steps, c.Warmup = trainOnly(t), "2/4", 4, 0
	out := filepath.Join(t.TempDir(), "run")
	result := trainSmall(t, b, c, out)
	if result.Shots != 15 || result.Examples != 5 {
		t.Errorf("trained on %d, measured on %d of 20 examples; want 15 and 5", result.Shots, result.Examples)
	}
	m, err := data.ReadManifest(filepath.Join(out, manifestJSON))
	if err != nil {
		t.Fatal(err)
	}
	all, err := embedded().Split(t.Context(), c.Data, mustTask(t, "stsb"), data.Train)
	if err != nil {
		t.Fatal(err)
	}
	_, whole, err := all.Sample(data.DrawOptions{Shots: 20})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(slices.Values(append(slices.Clone(m.Indices), m.Held.Indices...))), slices.Sorted(slices.Values(whole.Indices)); !slices.Equal(got, want) {
		t.Errorf("the run saw rows %v, its draw is %v", got, want)
	}

	p, err := Open(t.Context(), out, b, OpenOptions{Sources: embedded()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	held, err := p.Split(t.Context(), embedded(), "", data.Validation)
	if err != nil {
		t.Fatal(err)
	}
	again, err := p.Evaluate(t.Context(), held, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := again.Metrics["pearson"], result.Metrics["pearson"]; got-want > 1e-6 || want-got > 1e-6 || again.Examples != 5 {
		t.Errorf("evaluated again: %g on %d examples, the run has %g", got, again.Examples, want)
	}

	stopped := filepath.Join(t.TempDir(), "stopped")
	interruptAt(t, b, c, stopped, 2)
	trainSmall(t, b, c, stopped, func(o *Options) { o.Resume = true })
	sameAdapter(t, out, stopped)
	replayed := c
	replayed.Shots, replayed.Fold, replayed.Manifest = 0, "", filepath.Join(out, manifestJSON)
	second := filepath.Join(t.TempDir(), "replayed")
	interruptAt(t, b, replayed, second, 2)
	trainSmall(t, b, replayed, second, func(o *Options) { o.Resume = true })
	sameAdapter(t, out, second)
}

func mustTask(t *testing.T, name string) data.Task {
	t.Helper()
	task, err := data.LookupTask(name)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

// What cannot be a fold is said before anything is trained.
func TestFoldFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(c *Config)
		want string
	}{
		{"no part", func(c *Config) { c.Fold = "half" }, `fold: "half" is not a part of several; want one such as 1/4`},
		{"part of one", func(c *Config) { c.Fold = "1/1" }, `fold: "1/1" is not a part of several`},
		{"beyond the last", func(c *Config) { c.Fold = "5/4" }, `fold: "5/4" is not a part of several`},
		{"more text", func(c *Config) { c.Fold = "1/4x" }, `fold: "1/4x" is not a part of several`},
		{"few shots", func(c *Config) { c.Shots, c.Fold = 7, "1/4" }, "train.jsonl: fold: 7 examples are too few for 4 parts of at least two; take fewer parts, or draw more"},
		{"no validation file", func(c *Config) { *c = ownScores(t); c.Fold = "1/4" }, "fold: rows of the training file are kept for validation already, and other ones with another seed; give a validation file of its own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := small()
			c.set(&config)
			if err := config.CheckFiles(t.Context(), embedded()); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}
