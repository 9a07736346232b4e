package data

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/deeplora/deeplora/internal/rng"
)

// ruleShare is the rule by which HoldOut chooses: of each class the same share.
const ruleShare = "share-per-class"

// held are the rows of a training file that are kept for validation.
type held struct {
	Rule    string  `json:"rule"`
	Share   float64 `json:"share"`
	Seed    uint64  `json:"seed"`
	Indices []int   `json:"indices"` // rows of the file, in its order
}

// HoldOut splits examples off for validation where there is no file of them: of each class the given share, rounded, and
// at least one of those that have two; of scores, one of each of as many parts of their order as the share has examples.
// Which ones the stream "hold-out" of internal/rng says. Sample notes them in the manifest.
func (s *Split) HoldOut(share float64, seed uint64) (train, validation *Split, err error) {
	if !(share > 0 && share < 1) {
		return nil, nil, fmt.Errorf("validation-share: %g is not between 0 and 1", share)
	}
	groups, err := s.strata(share)
	if err != nil {
		return nil, nil, err
	}
	stream := rng.New(seed, "hold-out")
	var kept []int
	for _, group := range groups {
		n := 0
		if len(group) > 1 {
			n = min(max(1, int(math.Round(share*float64(len(group))))), len(group)-1)
		}
		for _, i := range stream.Perm(len(group))[:n] {
			kept = append(kept, group[i])
		}
	}
	if len(kept) == 0 {
		return nil, nil, errors.New("no class has two examples, so that none can be kept for validation; give --validation")
	}
	slices.Sort(kept)
	h := &held{Rule: ruleShare, Share: share, Seed: seed}
	for _, i := range kept {
		h.Indices = append(h.Indices, s.Examples[i].Row)
	}
	train, validation = s.parted(h)
	return train, validation, nil
}

// parted are the examples that are not held, and those that are.
func (s *Split) parted(h *held) (train, validation *Split) {
	isHeld := func(e Example) bool { _, found := slices.BinarySearch(h.Indices, e.Row); return found }
	train = s.Filter(func(e Example) bool { return !isHeld(e) })
	validation = s.Filter(isHeld)
	train.held = h
	validation.Name, validation.Notices, validation.Skipped = Validation, nil, 0
	return train, validation
}

// strata are the examples by class, classes in order; of scores, equal parts of their order of which each gives one.
func (s *Split) strata(share float64) ([][]int, error) {
	if s.Task.Regression() {
		order := s.byScore()
		parts := max(1, min(int(math.Round(share*float64(len(order)))), len(order)/2))
		groups := make([][]int, parts)
		for at, i := range order {
			groups[at*parts/len(order)] = append(groups[at*parts/len(order)], i)
		}
		return groups, nil
	}
	groups := make([][]int, len(s.Task.Labels))
	for i, e := range s.Examples {
		if math.IsNaN(e.Label) {
			return nil, fmt.Errorf("row %d has no label to split by", e.Row)
		}
		groups[int(e.Label)] = append(groups[int(e.Label)], i)
	}
	return groups, nil
}

// byScore is the order of the examples by score, that of the file among equals.
func (s *Split) byScore() []int {
	order := make([]int, len(s.Examples))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch x, y := s.Examples[a].Label, s.Examples[b].Label; {
		case x < y:
			return -1
		case x > y:
			return 1
		default:
			return 0
		}
	})
	return order
}

// HeldOut splits off the examples that the manifest keeps for validation. ok says whether it keeps any.
func (m *Manifest) HeldOut(s *Split) (train, validation *Split, ok bool, err error) {
	if m.Held == nil {
		return s, nil, false, nil
	}
	if m.SHA256 != s.Source.SHA256 {
		return nil, nil, false, fmt.Errorf("manifest: %s has sha256 %s, the manifest's %s has %s; use the file it was drawn from",
			s.Source.File, s.Source.SHA256, m.File, m.SHA256)
	}
	train, validation = s.parted(m.Held)
	if len(validation.Examples) != len(m.Held.Indices) {
		return nil, nil, false, fmt.Errorf("manifest: of %d rows kept for validation %d are among the examples", len(m.Held.Indices), len(validation.Examples))
	}
	return train, validation, true, nil
}
