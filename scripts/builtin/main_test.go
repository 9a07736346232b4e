package main

import (
	"bytes"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/builtin"
	"github.com/deeplora/deeplora/internal/testshared"
)

// The embedded files are what this program makes, and LICENSE.txt and readme.txt are the originals.
func TestEmbeddedFilesAreRegenerated(t *testing.T) {
	made, err := generate(filepath.Dir(testshared.Path(t, "glue", folder)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range made {
		got, err := fs.ReadFile(builtin.Data(), folder+"/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from what scripts/builtin makes; run it again", name)
		}
	}
	if len(made) != 4 {
		t.Errorf("%d files made", len(made))
	}
}

func TestEmbeddedSplit(t *testing.T) {
	task, err := data.LookupTask("stsb")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{} // where a pair was seen
	for _, size := range sizes {
		s, err := data.LoadFS(builtin.Data(), task, size.split)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Examples) != size.rows || s.Notices != nil {
			t.Errorf("%s: %d rows, notices %q", size.split, len(s.Examples), s.Notices)
		}
		labels := s.Labels()
		if low, high := slices.Min(labels), slices.Max(labels); low > 0.5 || high < 4.5 || spread(labels) < 1 {
			t.Errorf("%s: scores from %v to %v, standard deviation %.2f: too narrow a split to learn from", size.split, low, high, spread(labels))
		}
		for _, e := range s.Examples {
			pair := e.Text + "\t" + e.Pair
			if before, seen := texts[pair]; seen && before != size.split {
				t.Errorf("%q is in both splits", pair)
			}
			texts[pair] = size.split
		}
	}
}

func TestEmbeddedLicence(t *testing.T) {
	for _, name := range []string{"LICENSE.txt", "readme.txt", "ATTRIBUTION.md"} {
		content, err := fs.ReadFile(builtin.Data(), folder+"/"+name)
		if err != nil || len(content) < 500 {
			t.Errorf("%s: %d bytes, %v", name, len(content), err)
		}
	}
}

func spread(x []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, v := range x {
		sum, squares = sum+v, squares+v*v
	}
	n := float64(len(x))
	return math.Sqrt(squares/n - sum*sum/n/n)
}
