package data

import "slices"

// Divide deals a batch out to n devices: each gets as many of its rows, and with a row the examples in it, so that the
// parts are of one shape. Rows are dealt out in turn, as those that lie next to each other have examples of about one
// length. Fillers make up what does not divide. examples is how many places for examples a part of packed rows has at
// least: what MostExamples gives for the batches that are to have the same shape.
//
// A part's RowPlaces and ExamplePlaces say what of the batch it is.
func (b Batch) Divide(n, examples int) []Batch {
	rows := (b.Rows + n - 1) / n
	of := b.examplesOf(n)
	places := rows
	if b.Packed() {
		places = min(len(b.Weights), max(examples, most(of)))
	}
	parts := make([]Batch, n)
	for d := range parts {
		parts[d] = b.part(d, n, rows, places, of[d])
	}
	return parts
}

// MostExamples is how many examples of a batch Divide gives one of n devices at most.
func (b Batch) MostExamples(n int) int { return most(b.examplesOf(n)) }

func most(of [][]int) (m int) {
	for _, list := range of {
		m = max(m, len(list))
	}
	return m
}

// examplesOf are the examples of each of n devices, by their places in the batch; fillers are left out.
func (b Batch) examplesOf(n int) [][]int {
	of := make([][]int, n)
	for e, i := range b.Index {
		if i >= 0 {
			row := b.rowOf(e)
			of[row%n] = append(of[row%n], e)
		}
	}
	return of
}

func (b Batch) rowOf(example int) int {
	if b.Packed() {
		return int(b.First[example]) / b.Len
	}
	return example
}

// part is what device d of n gets: as many rows, and places for examples, of which it has those of.
func (b Batch) part(d, n, rows, places int, of []int) Batch {
	width := len(b.Labels) / len(b.Weights)
	p := Batch{
		Rows: rows, Len: b.Len, RowPlaces: make([]int32, rows), ExamplePlaces: make([]int32, places),
		Labels: make([]float32, places*width), Weights: make([]float32, places), Index: slices.Repeat([]int{-1}, places),
	}
	grids := []struct{ to, from *[]int32 }{{&p.IDs, &b.IDs}, {&p.Types, &b.Types}, {&p.Mask, &b.Mask}, {&p.Segments, &b.Segments}, {&p.Positions, &b.Positions}}
	grids = slices.DeleteFunc(grids, func(g struct{ to, from *[]int32 }) bool { return *g.from == nil })
	for _, g := range grids {
		*g.to = make([]int32, rows*b.Len)
	}
	for r := range rows {
		at := r*n + d
		p.RowPlaces[r] = int32(at)
		switch {
		case at < b.Rows:
			for _, g := range grids {
				copy((*g.to)[r*b.Len:], (*g.from)[at*b.Len:(at+1)*b.Len])
			}
			p.Tokens += b.tokensOf(at)
		case p.Mask != nil: // a row with nothing to attend to would divide by zero
			p.Mask[r*b.Len] = 1
		}
	}
	if b.Packed() {
		p.First = make([]int32, places)
	}
	for i, e := range of {
		at := i
		if b.Packed() {
			p.First[i] = int32(b.rowOf(e)/n*b.Len + int(b.First[e])%b.Len)
		} else {
			at = e / n
		}
		p.ExamplePlaces[at], p.Weights[at], p.Index[at] = int32(e), b.Weights[e], b.Index[e]
		copy(p.Labels[at*width:], b.Labels[e*width:(e+1)*width])
	}
	return p
}

// tokensOf counts the real tokens of a row.
func (b Batch) tokensOf(row int) (tokens int) {
	real := b.Segments
	if !b.Packed() {
		if b.Index[row] < 0 {
			return 0
		}
		real = b.Mask
	}
	for _, v := range real[row*b.Len : (row+1)*b.Len] {
		if v != 0 {
			tokens++
		}
	}
	return tokens
}
