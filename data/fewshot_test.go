package data

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"

	"github.com/deeplora/deeplora/internal/testshared"
)

func TestNumPyShuffle(t *testing.T) {
	content, err := os.ReadFile("testdata/numpy_shuffle.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Shuffles []struct {
			Seed  uint32
			N     int
			Order []int
		}
	}
	if err := json.Unmarshal(content, &golden); err != nil || len(golden.Shuffles) == 0 {
		t.Fatal(err)
	}
	for _, g := range golden.Shuffles {
		if got := numpyShuffle(g.Seed, g.N); !slices.Equal(got, g.Order) {
			t.Errorf("seed %d, %d items: %v…, NumPy gives %v…", g.Seed, g.N, got[:min(8, g.N)], g.Order[:min(8, g.N)])
		}
	}
}

// The published LM-BFF splits, row for row and in order: both tasks whose train.tsv they came from,
// all five seeds, both halves.
func TestLMBFFSplits(t *testing.T) {
	root := testshared.Path(t, "glue")
	for _, c := range []struct{ folder, task string }{{"RTE", "rte"}, {"STS-B", "stsb"}} {
		whole, err := Load(filepath.Join(root, c.folder), lookup(t, c.task), Train)
		if err != nil {
			t.Fatal(err)
		}
		for _, seed := range []uint64{13, 21, 42, 87, 100} {
			published := filepath.Join(root, "k-shot", c.folder, fmt.Sprintf("16-%d", seed))
			for split, held := range map[string]bool{Train: false, Validation: true} {
				t.Run(fmt.Sprintf("%s/%d/%s", c.folder, seed, split), func(t *testing.T) {
					want, err := Load(published, lookup(t, c.task), split)
					if err != nil {
						t.Fatal(err)
					}
					got, m, err := whole.Sample(DrawOptions{PerClass: 16, Held: held, Seed: seed})
					if err != nil {
						t.Fatal(err)
					}
					if len(got.Examples) != 32 || len(want.Examples) != 32 || m.N != 32 {
						t.Fatalf("%d examples, published are %d", len(got.Examples), len(want.Examples))
					}
					for i, e := range got.Examples {
						w := want.Examples[i]
						if w.Row = e.Row; !same(e, w) {
							t.Errorf("example %d is row %d, %+v; published is %+v", i, e.Row, e, w)
						}
					}
					sameSplit(t, m, whole, got)
				})
			}
		}
	}
}

// sameSplit sends a manifest through its file form and replays it.
func sameSplit(t *testing.T, m *Manifest, whole, want *Split) {
	t.Helper()
	var file bytes.Buffer
	if err := m.Encode(&file); err != nil {
		t.Fatal(err)
	}
	read, err := parseManifest(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := read.Replay(whole)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got.Examples, want.Examples, same) {
		t.Error("the replayed draw differs from the draw")
	}
}

func numbered(t testing.TB, n int) *Split {
	t.Helper()
	var b strings.Builder
	b.WriteString("sentence\tlabel\n")
	for i := range n {
		fmt.Fprintf(&b, "text %d\t%d\n", i, i%2)
	}
	s, err := LoadFS(fstest.MapFS{"train.tsv": text(b.String())}, lookup(t, "sst2"), Train)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// N draws with replacement out of N leave out about 1/e.
func TestT29DrawsRepeat(t *testing.T) {
	const n = 2000
	whole := numbered(t, n)
	for seed := range uint64(5) {
		s, m, err := whole.Sample(DrawOptions{Shots: n, Replace: true, Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		distinct := map[int]bool{}
		for _, e := range s.Examples {
			distinct[e.Row] = true
		}
		if share := float64(len(distinct)) / n; math.Abs(share-(1-1/math.E)) > 0.03 {
			t.Errorf("seed %d: %.4f of the rows occur; want %.4f", seed, share, 1-1/math.E)
		}
		if m.Rule != ruleWithReplacement || len(s.Examples) != n {
			t.Errorf("rule %s, %d examples", m.Rule, len(s.Examples))
		}
		sameSplit(t, m, whole, s)
	}
}

func TestDrawsWithoutReplacement(t *testing.T) {
	whole := numbered(t, 97)
	rapid.Check(t, func(t *rapid.T) {
		opt := DrawOptions{Shots: rapid.IntRange(1, 97).Draw(t, "shots"), Seed: rapid.Uint64().Draw(t, "seed")}
		s, m, err := whole.Sample(opt)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[int]bool{}
		for i, e := range s.Examples {
			if seen[e.Row] || !same(e, whole.Examples[e.Row]) || m.Indices[i] != e.Row {
				t.Fatalf("example %d: %+v", i, e)
			}
			seen[e.Row] = true
		}
		again, _, err := whole.Sample(opt)
		if err != nil || !slices.EqualFunc(again.Examples, s.Examples, same) || len(s.Examples) != opt.Shots {
			t.Fatalf("the same draw gave %d and %d examples: %v", len(s.Examples), len(again.Examples), err)
		}
	})
}

// Draws and orders are part of every published number: they must not change with a version of anything.
func TestDrawsAreStable(t *testing.T) {
	content, err := os.ReadFile("testdata/draws.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Draws []struct {
			Rows, Shots int
			Seed        uint64
			Replace     bool
			Indices     []int
		}
		Orders []struct {
			Seed     uint64
			Epoch, N int
			Order    []int
		}
	}
	if err := json.Unmarshal(content, &golden); err != nil || len(golden.Draws) == 0 || len(golden.Orders) == 0 {
		t.Fatal(err)
	}
	for _, g := range golden.Draws {
		_, m, err := numbered(t, g.Rows).Sample(DrawOptions{Shots: g.Shots, Replace: g.Replace, Seed: g.Seed})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(m.Indices, g.Indices) {
			t.Errorf("%d of %d, seed %d, replace %v: rows %v, want %v", g.Shots, g.Rows, g.Seed, g.Replace, m.Indices, g.Indices)
		}
	}
	for _, g := range golden.Orders {
		if got := epochOrder(g.Seed, g.Epoch, g.N); !slices.Equal(got, g.Order) {
			t.Errorf("seed %d, epoch %d: %v, want %v", g.Seed, g.Epoch, got, g.Order)
		}
	}
}

// What was filtered out cannot be drawn, and manifests still speak of the file's rows.
func TestDrawsAfterAFilter(t *testing.T) {
	whole := numbered(t, 50)
	odd := whole.Filter(func(e Example) bool { return e.Row%2 == 1 })
	s, m, err := odd.Sample(DrawOptions{Shots: 25})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range s.Examples {
		if e.Row%2 == 0 || m.Indices[i] != e.Row {
			t.Fatalf("drew %+v as row %d", e, m.Indices[i])
		}
	}
	sameSplit(t, m, odd, s)
	sameSplit(t, m, whole, s) // the rows are the same whoever has them
	if _, err := m.Replay(whole.Filter(func(e Example) bool { return e.Row != 7 })); err == nil {
		t.Error("row 7 is gone, the replay does not say so")
	} else {
		wantError(t, err, "replay manifest: row 7 of train.tsv is not among the examples")
	}
}

func TestTheWholeSet(t *testing.T) {
	whole := numbered(t, 5)
	s, m, err := whole.Sample(DrawOptions{Seed: 3})
	if err != nil || m.Rule != ruleAll || m.Indices != nil || m.N != 5 {
		t.Fatalf("%+v, %v", m, err)
	}
	sameSplit(t, m, whole, s)
	_, err = m.Replay(whole.Filter(func(e Example) bool { return e.Row > 0 }))
	wantError(t, err, "4 examples are left, the manifest says 5; are tokenizer, --max-length and --overlong the same?")
}

func TestDrawFaults(t *testing.T) {
	whole := numbered(t, 10)
	ones := whole.Filter(func(e Example) bool { return e.Label == 1 })
	hidden := numbered(t, 2)
	hidden.Examples[1].Label = math.NaN()
	for _, c := range []struct {
		name string
		from *Split
		opt  DrawOptions
		want string
	}{
		{"too many", whole, DrawOptions{Shots: 11}, "draw from train.tsv: 11 examples of 10 without replacement; lower --shots or use --sample with-replacement"},
		{"negative", whole, DrawOptions{Shots: -1}, "want positive numbers"},
		{"both", whole, DrawOptions{Shots: 1, PerClass: 1}, "exclude each other"},
		{"per class with replacement", whole, DrawOptions{PerClass: 1, Replace: true}, "a draw per class is without replacement"},
		{"too many of a class", whole, DrawOptions{PerClass: 6}, "has 5 examples; want 6"},
		{"too many for the held-out half", whole, DrawOptions{PerClass: 3, Held: true}, "has 5 examples; want 6"},
		{"a class without examples", ones, DrawOptions{PerClass: 1}, "only 1 of 2 classes occur"},
		{"a seed NumPy has not", whole, DrawOptions{PerClass: 1, Seed: 1 << 32}, "seed 4294967296: draws per class use NumPy's generator, whose seeds end at 4294967295"},
		{"no label", hidden, DrawOptions{PerClass: 1}, "row 1 has no label to draw by"},
		{"nothing left", whole.Filter(func(Example) bool { return false }), DrawOptions{Shots: 1, Replace: true}, "no examples to draw from"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := c.from.Sample(c.opt)
			wantError(t, err, c.want)
		})
	}
}
