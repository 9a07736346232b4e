package data

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// graded is a split of n texts of which every fourth has class b, or whose scores are 0 to n-1.
func graded(t *testing.T, task string, n int) *Split {
	t.Helper()
	content := "text,label\n"
	for i := range n {
		label := []string{"a", "a", "a", "b"}[i%4]
		if task == "regression" {
			label = fmt.Sprint((i * 7) % n)
		}
		content += fmt.Sprintf("t%d,%s\n", i, label)
	}
	return ownSplit(t, task, content)
}

// folds are the parts of one draw: what each leaves for training, and what it holds.
func folds(t *testing.T, s *Split, opt DrawOptions, parts int, seed uint64) (train, held []*Split, manifests []*Manifest) {
	t.Helper()
	for part := range parts {
		drawn, m, err := s.Sample(opt)
		if err != nil {
			t.Fatal(err)
		}
		left, kept, err := m.Fold(drawn, part+1, parts, seed)
		if err != nil {
			t.Fatal(err)
		}
		train, held, manifests = append(train, left), append(held, kept), append(manifests, m)
	}
	return train, held, manifests
}

// The parts of a draw share no row and together are the draw; nothing else is seen.
func TestFoldsAreTheDraw(t *testing.T) {
	s := graded(t, "classification", 80)
	drawn, _, err := s.Sample(DrawOptions{Shots: 18, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Sorted(slices.Values(fileRows(drawn.Examples)))
	train, held, _ := folds(t, s, DrawOptions{Shots: 18, Seed: 3}, 4, 3)
	var all []int
	for i := range held {
		rows := fileRows(held[i].Examples)
		all = append(all, rows...)
		if n := len(rows); n != 4 && n != 5 || held[i].Name != Validation {
			t.Errorf("part %d has %d rows, name %s", i+1, n, held[i].Name)
		}
		if got := slices.Sorted(slices.Values(append(rows, fileRows(train[i].Examples)...))); !slices.Equal(got, want) {
			t.Errorf("part %d and what it leaves are rows %v, want the draw's %v", i+1, got, want)
		}
	}
	if slices.Sort(all); !slices.Equal(all, want) {
		t.Errorf("the parts are rows %v, want the draw's %v", all, want)
	}
	_, other, _ := folds(t, s, DrawOptions{Shots: 18, Seed: 3}, 4, 4)
	if reflect.DeepEqual(other[0].Examples, held[0].Examples) {
		t.Error("another seed cuts the draw alike")
	}
}

// Each part has its share of every class, and of every range of scores.
func TestFoldsAreStratified(t *testing.T) {
	_, held, _ := folds(t, graded(t, "classification", 80), DrawOptions{}, 5, 1)
	for i, h := range held {
		counts := map[float64]int{}
		for _, e := range h.Examples {
			counts[e.Label]++
		}
		if counts[0] != 12 || counts[1] != 4 {
			t.Errorf("part %d has classes %v, want 12 and 4", i+1, counts)
		}
	}
	_, held, _ = folds(t, graded(t, "regression", 40), DrawOptions{}, 4, 1)
	for i, h := range held {
		quarter := map[int]bool{}
		for _, e := range h.Examples {
			quarter[int(e.Label)/4] = true // of each four neighbours one
		}
		if len(quarter) != 10 {
			t.Errorf("part %d has scores of %d of 10 ranges", i+1, len(quarter))
		}
	}
	_, held, _ = folds(t, setsOf(t), DrawOptions{}, 3, 1)
	for i, h := range held {
		if n := countLabel(h, 2); n != 2 || len(h.Examples) != 40 {
			t.Errorf("part %d of sets: the rarest class in %d of %d, want 2 of 40", i+1, n, len(h.Examples))
		}
	}
}

func countLabel(s *Split, label int) (n int) {
	for _, e := range s.Examples {
		if slices.Contains(e.Classes, label) {
			n++
		}
	}
	return n
}

// A row that was drawn twice is not trained on in one place and measured in another.
func TestFoldsKeepRepeatedRowsTogether(t *testing.T) {
	s := graded(t, "classification", 12)
	train, held, _ := folds(t, s, DrawOptions{Shots: 40, Replace: true}, 3, 0)
	repeated := false
	for i := range held {
		rows := fileRows(held[i].Examples)
		if sorted := slices.Compact(slices.Sorted(slices.Values(rows))); len(sorted) != len(rows) {
			t.Errorf("part %d holds a row twice: %v", i+1, rows)
		}
		seen := map[int]bool{}
		for _, row := range fileRows(train[i].Examples) {
			repeated = repeated || seen[row]
			if seen[row] = true; slices.Contains(rows, row) {
				t.Errorf("part %d: row %d is trained on and held", i+1, row)
			}
		}
	}
	if !repeated {
		t.Error("training rows come once each, though they were drawn with replacement")
	}
}

// The manifest says which part is held, and gives the same examples again.
func TestManifestGivesTheFoldAgain(t *testing.T) {
	s := graded(t, "regression", 40)
	for _, opt := range []DrawOptions{{}, {Shots: 13, Seed: 2}} {
		train, held, manifests := folds(t, s, opt, 3, 2)
		for i, m := range manifests {
			read := readAgain(t, m)
			left, kept, ok, err := read.HeldOut(s)
			if err != nil || !ok {
				t.Fatal(err, ok)
			}
			if left, err = read.Replay(left); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(left.Examples, train[i].Examples) || !reflect.DeepEqual(kept.Examples, held[i].Examples) {
				t.Errorf("%+v, part %d: other examples come back", opt, i+1)
			}
			if read.Held.Part != i+1 || read.Held.Parts != 3 || read.Held.Seed != 2 {
				t.Errorf("the manifest says part %d of %d, seed %d", read.Held.Part, read.Held.Parts, read.Held.Seed)
			}
		}
	}
}

func TestFoldRefuses(t *testing.T) {
	s := graded(t, "classification", 40)
	fold := func(s *Split, shots, part, parts int) error {
		drawn, m, err := s.Sample(DrawOptions{Shots: shots})
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = m.Fold(drawn, part, parts, 0)
		return err
	}
	wantError(t, fold(s, 7, 1, 4), "fold: 7 examples are too few for 4 parts of at least two; take fewer parts, or draw more")
	wantError(t, fold(s, 16, 0, 4), "fold: part 0 of 4; want one of at least two parts")
	wantError(t, fold(s, 16, 1, 1), "fold: part 1 of 1")
	left, _, err := s.HoldOut(0.2, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, fold(left, 16, 1, 4), "are kept for validation already", "give a validation file")
	_, m, err := s.Sample(DrawOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	m.Held = &held{Rule: ruleFold, Share: 0.5, Indices: []int{1}}
	wantError(t, m.Encode(&b), `part 0 of 0 with rule "fold"`)
}
