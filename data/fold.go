package data

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/deeplora/deeplora/internal/rng"
)

// Fold cuts a draw into parts and takes one of them, from 1, out of training: what is chosen by it has seen no other
// example than the draw's. It is for draws that the manifest describes, and notes in it which rows are left and which are
// held. The parts share no row, and together they are the draw; their sizes differ by one row at most. Each has its
// share of every class or, of scores, of every range; sets of labels count by their rarest class. Which rows they are the
// stream "fold" of internal/rng says, for all parts of a seed alike. A row that was drawn several times is in one part,
// once.
//
// It is an error if a part had fewer than two rows, or if the manifest holds rows already: of a training file without
// a validation file, those that are kept for it depend on the seed.
func (m *Manifest) Fold(drawn *Split, part, parts int, seed uint64) (train, validation *Split, err error) {
	switch {
	case parts < 2 || part < 1 || part > parts:
		return nil, nil, fmt.Errorf("fold: part %d of %d; want one of at least two parts, from 1", part, parts)
	case m.Held != nil:
		return nil, nil, errors.New("fold: rows of the training file are kept for validation already, and other ones with another seed; give a validation file of its own")
	}
	rows, err := drawn.foldOrder(rng.New(seed, "fold"), parts)
	if err != nil {
		return nil, nil, fmt.Errorf("fold: %w", err)
	}
	if len(rows) < 2*parts {
		return nil, nil, fmt.Errorf("fold: %d examples are too few for %d parts of at least two; take fewer parts, or draw more", len(rows), parts)
	}
	h := &held{Rule: ruleFold, Share: 1 / float64(parts), Seed: seed, Part: part, Parts: parts}
	for place, row := range rows {
		if place%parts == part-1 {
			h.Indices = append(h.Indices, row)
		}
	}
	slices.Sort(h.Indices)
	train, validation = drawn.parted(h)
	validation.Examples = onceByRow(validation.Examples)
	m.Held, m.N = h, len(train.Examples)
	if m.Rule != ruleAll {
		m.Indices = fileRows(train.Examples)
	}
	return train, validation, nil
}

// foldOrder lists the rows of a draw, each once, so that those that are alike stand together: dealt out in turn they
// spread over all parts.
func (s *Split) foldOrder(stream *rng.Stream, parts int) (rows []int, err error) {
	once := *s
	once.Examples = onceByRow(s.Examples)
	var groups [][]int // positions among once
	switch {
	case slices.ContainsFunc(once.Examples, func(e Example) bool { return math.IsNaN(e.Label) }):
		return nil, errors.New("there are rows without a label to split by")
	case s.Task.Multi:
		groups, err = once.byRarest()
	case s.Task.Regression():
		groups = slices.Collect(slices.Chunk(once.byScore(), parts))
	default:
		groups = make([][]int, len(s.Task.Labels))
		for i, e := range once.Examples {
			groups[int(e.Label)] = append(groups[int(e.Label)], i)
		}
	}
	for _, group := range groups {
		for _, i := range stream.Perm(len(group)) {
			rows = append(rows, once.Examples[group[i]].Row)
		}
	}
	return rows, err
}

// byRarest are the examples of a multilabel task by their rarest class, and last those that have none.
func (s *Split) byRarest() ([][]int, error) {
	of, err := s.byLabel()
	if err != nil {
		return nil, err
	}
	groups, placed := [][]int{}, make([]bool, len(s.Examples))
	for _, label := range rarest(of) {
		group := slices.DeleteFunc(slices.Clone(of[label]), func(i int) bool { return placed[i] })
		for _, i := range group {
			placed[i] = true
		}
		groups = append(groups, group)
	}
	var none []int
	for i := range s.Examples {
		if !placed[i] {
			none = append(none, i)
		}
	}
	return append(groups, none), nil
}

// onceByRow are examples in the order of their rows, each row once.
func onceByRow(examples []Example) []Example {
	sorted := slices.Clone(examples)
	slices.SortStableFunc(sorted, func(a, b Example) int { return cmp.Compare(a.Row, b.Row) })
	return slices.CompactFunc(sorted, func(a, b Example) bool { return a.Row == b.Row })
}

func fileRows(examples []Example) []int {
	rows := make([]int, len(examples))
	for i, e := range examples {
		rows[i] = e.Row
	}
	return rows
}
