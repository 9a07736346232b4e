package train

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// ownScores is a run on a table of scores from 1000 up.
func ownScores(t *testing.T) Config {
	t.Helper()
	text := "a,b,stars\n"
	for i := range 30 {
		text += fmt.Sprintf("one %d,two %d,%d\n", i, i*i, 1000+i*i)
	}
	path := filepath.Join(t.TempDir(), "stars.csv")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := small()
	c.Task, c.Data, c.Text, c.Pair, c.Label = "regression", path, "a", "b", "stars"
	c.Shots, c.Steps = 0, 4
	return c
}

// What a run of one's own files says of itself is enough to open it, to resume it to the same bits and to go on from it.
func TestOwnRunIsOpenedResumedAndGoneOnFrom(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() == "xla" {
			t.Skip("nothing here depends on the engine")
		}
		c := ownScores(t)
		whole, parts := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "parts")
		result := trainSmall(t, b, c, whole)
		interruptAt(t, b, c, parts, 2)
		trainSmall(t, b, c, parts, func(o *Options) { o.Resume = true })
		sameAdapter(t, whole, parts)

		p, err := Open(t.Context(), whole, b, OpenOptions{Sources: embedded()})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		split, err := p.Split(t.Context(), embedded(), "", data.Validation)
		if err != nil {
			t.Fatal(err)
		}
		found, err := p.Evaluate(t.Context(), split, nil)
		if err != nil || found.Examples != 3 || math.Abs(found.Metrics["pearson"]-result.Metrics["pearson"]) > 1e-4 {
			t.Errorf("%+v, %v; trained: %v", found, err, result.Metrics)
		}
		said, err := p.Predict(t.Context(), split.Examples)
		if err != nil || *said[0].Score < 1000 || *said[0].Score > 1900 {
			t.Errorf("%+v, %v: not in the scale of the file", said, err)
		}

		on := ownScores(t)
		on.Data, on.From, on.Shots = c.Data, whole, 10
		further := filepath.Join(t.TempDir(), "further")
		trainSmall(t, b, on, further)
		from, err := ReadAdapterInfo(whole)
		if err != nil {
			t.Fatal(err)
		}
		to, err := ReadAdapterInfo(further)
		if err != nil || to.labelScale != from.labelScale || from.Scale == 0 {
			t.Errorf("%+v goes on as %+v, %v", from.labelScale, to.labelScale, err)
		}
	})
}

// A manifest of a draw repeats the rows that were kept for validation, whatever the seed is.
func TestManifestRepeatsTheValidationRows(t *testing.T) {
	c := ownScores(t)
	read := func(c Config) (train, validation *data.Split, m *data.Manifest) {
		task, err := c.task()
		if err != nil {
			t.Fatal(err)
		}
		if train, validation, err = (Sources{}).ownSplits(t.Context(), &c, task); err != nil {
			t.Fatal(err)
		}
		in := &inputs{}
		if train, err = in.draw(&c, train); err != nil {
			t.Fatal(err)
		}
		return train, validation, in.manifest
	}
	c.Shots = 8
	train, validation, m := read(c)
	path := filepath.Join(t.TempDir(), "manifest.json")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := m.Encode(file); err != nil {
		t.Fatal(err)
	}
	c.Shots, c.Manifest, c.Seed = 0, path, 5
	again, kept, _ := read(c)
	if !reflect.DeepEqual(again.Examples, train.Examples) || !reflect.DeepEqual(kept.Examples, validation.Examples) {
		t.Errorf("%v, %v", again.Examples, kept.Examples)
	}
	for _, set := range []func(c *Config){func(c *Config) { c.Validation = c.Data }, func(c *Config) { c.ValidationShare = 0.4 }} {
		c := c
		set(&c)
		task, err := c.task()
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = (Sources{}).ownSplits(t.Context(), &c, task)
		if want := "says which rows are kept for validation; leave out --validation and --validation-share"; !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// What a user sees of settings of one's own files that cannot be meant.
func TestOwnSettings(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"train.csv": "text,label\na,x\nb,y\n", "validation.csv": "text,label\na,x\n", "same.csv": "text,score\na,3\nb,3\nc,3\nd,3\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		set  func(c *Config)
		want string
	}{
		{func(c *Config) { c.Data = BuiltinData }, "data: task classification reads files of your own; give --data a file, a folder or a data set of the hub"},
		{func(c *Config) { c.Data = HubData }, "data: task classification reads files of your own"},
		{func(c *Config) { c.Labels = "a" }, "task classification has 1 classes; want two or more"},
		{func(c *Config) { c.Labels = "a,a" }, `class 1 is called "a"; want a name of its own for each`},
		{func(c *Config) { c.Labels = `"a,b` }, `labels "\"a,b"`},
		{func(c *Config) { c.Task, c.Labels = "regression", "a,b" }, "labels: those of regression are known"},
		{func(c *Config) { c.ValidationShare = 1 }, "validation-share: 1 is not between 0 and 1"},
		{func(c *Config) { c.ValidationShare = 0.3 }, "validation-share: there is a validation file, validation.csv; leave the setting out"},
		{func(c *Config) { c.Data = filepath.Join(dir, "nosuch") }, "there is no file or folder"},
		{func(c *Config) { c.Validation = filepath.Join(dir, "nosuch.csv") }, "there is no file or folder"},
		{func(c *Config) { c.Task, c.Data = "regression", filepath.Join(dir, "same.csv") }, "there is nothing to learn; the first is 3"},
	} {
		c := small()
		c.Task, c.Data, c.Shots = "classification", dir, 0
		tc.set(&c)
		_, err := Train(t.Context(), c, Options{Backend: testbackend.All(t)[0], Out: filepath.Join(t.TempDir(), "run"), Sources: embedded()})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v; want %q", err, tc.want)
		}
	}
}
