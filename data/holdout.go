package data

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/deeplora/deeplora/internal/rng"
)

// The rules by which rows of a training file are kept for validation: of each class the same share, or a part of what
// was drawn for training.
const (
	ruleShare         = "share-per-class"
	ruleSharePerLabel = "share-per-label" // of a multilabel task
	ruleFold          = "fold"            // Manifest.Fold
)

// held are the rows of a training file that are kept for validation.
type held struct {
	Rule    string  `json:"rule"`
	Share   float64 `json:"share"`
	Seed    uint64  `json:"seed"`
	Indices []int   `json:"indices"`         // rows of the file, in its order
	Part    int     `json:"part,omitempty"`  // of a fold: which part it is, from 1,
	Parts   int     `json:"parts,omitempty"` // and of how many
}

// HoldOut splits examples off for validation where there is no file of them: of each class the given share, rounded, and
// at least one of those that have two; of scores, one of each of as many parts of their order as the share has examples;
// of a multilabel task, close to the share of each class.
// Which ones the stream "hold-out" of internal/rng says. Sample notes them in the manifest.
func (s *Split) HoldOut(share float64, seed uint64) (train, validation *Split, err error) {
	if !(share > 0 && share < 1) {
		return nil, nil, fmt.Errorf("validation-share: %g is not between 0 and 1", share)
	}
	stream, rule, choose := rng.New(seed, "hold-out"), ruleShare, s.shareOfEach
	if s.Task.Multi {
		rule, choose = ruleSharePerLabel, s.shareOfSets
	}
	kept, err := choose(share, stream)
	if err != nil {
		return nil, nil, err
	}
	slices.Sort(kept)
	h := &held{Rule: rule, Share: share, Seed: seed}
	for _, i := range kept {
		h.Indices = append(h.Indices, s.Examples[i].Row)
	}
	train, validation = s.parted(h)
	return train, validation, nil
}

// shareOfEach are the examples that are kept: a share of each stratum.
func (s *Split) shareOfEach(share float64, stream *rng.Stream) (kept []int, err error) {
	groups, err := s.strata(share)
	if err != nil {
		return nil, err
	}
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
		return nil, errors.New("no class has two examples, so that none can be kept for validation; give --validation")
	}
	return kept, nil
}

// shareOfSets are the examples of a multilabel task that are kept, by iterative stratification (Sechidis, Tsoumakas and
// Vlahavas 2011): the label with the fewest examples left gives each of them to the part that lacks most of the label.
func (s *Split) shareOfSets(share float64, stream *rng.Stream) (kept []int, err error) {
	of, err := s.byLabel()
	if err != nil {
		return nil, err
	}
	shares := [2]float64{1 - share, share} // of training, of validation
	var lacks [2][]float64                 // by label
	var room [2]float64                    // of all examples
	for part, share := range shares {
		room[part] = share * float64(len(s.Examples))
		for _, members := range of {
			lacks[part] = append(lacks[part], share*float64(len(members)))
		}
	}
	placed := make([]bool, len(s.Examples))
	place := func(i, by int) {
		part := 0
		if more := cmp.Compare(lack(lacks[1], by), lack(lacks[0], by)); more > 0 || more == 0 && room[1] > room[0] {
			part, kept = 1, append(kept, i)
		}
		placed[i] = true
		room[part]--
		for _, c := range s.Examples[i].Classes {
			lacks[part][c]--
		}
	}
	order := stream.Perm(len(s.Examples))
	for {
		left := s.leftOf(order, placed)
		label := fewest(left)
		if label < 0 {
			break
		}
		for _, i := range left[label] {
			place(i, label)
		}
	}
	for _, i := range order { // those without any class
		if !placed[i] {
			place(i, -1)
		}
	}
	if len(kept) == 0 || len(kept) == len(s.Examples) {
		return nil, fmt.Errorf("validation-share: %g of %d examples are %d; give --validation, or another share", share, len(s.Examples), len(kept))
	}
	return kept, nil
}

// lack is what a part lacks of a label; of none, nothing.
func lack(lacks []float64, label int) float64 {
	if label < 0 {
		return 0
	}
	return lacks[label]
}

// leftOf are the examples of each label that are not placed, in the order given.
func (s *Split) leftOf(order []int, placed []bool) [][]int {
	left := make([][]int, len(s.Task.Labels))
	for _, i := range order {
		if placed[i] {
			continue
		}
		for _, c := range s.Examples[i].Classes {
			left[c] = append(left[c], i)
		}
	}
	return left
}

// fewest is the place of the smallest group that is not empty, the first of equals; -1 where all are.
func fewest(groups [][]int) int {
	least := -1
	for i, g := range groups {
		if len(g) > 0 && (least < 0 || len(g) < len(groups[least])) {
			least = i
		}
	}
	return least
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
		return cut(order, parts), nil
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
