package serve

import (
	"slices"

	"github.com/deeplora/deeplora/data"
)

// plan says into what shapes batches are laid: few, since each is a graph, and all of them are compiled before the server
// is ready. Inputs lie end to end in rows, as in evaluation.
type plan struct {
	inputs  int   // of a batch, at most
	lengths []int // of rows, ascending; the first is for what fits one such row alone
}

// shape is that of a batch: rows of a length, and places for inputs.
type shape struct{ rows, length, inputs int }

const (
	shortest    = 32 // tokens of the shortest row
	meanInput   = 32 // a batch is full with this many tokens an input: of STS-B's pairs 28, so that rows are filled first
	tokensPlace = 16 // a row has a place for an input for each of so many tokens
)

// newPlan is for inputs of up to maxLength tokens.
func newPlan(maxBatch, maxLength int) plan {
	p := plan{inputs: maxBatch, lengths: []int{shortest, 2 * shortest}}
	for last := 2 * shortest; last < maxLength; {
		last *= 2
		p.lengths = append(p.lengths, last)
	}
	return p
}

// steps are the numbers of rows of a length that a batch may have: powers of two, and as many as are a full batch's.
func (p plan) steps(length int) (list []int) {
	most := max(1, p.inputs*meanInput/length)
	if length == p.lengths[0] {
		most = 1
	}
	for n := 1; n < most; n *= 2 {
		list = append(list, n)
	}
	return append(list, most)
}

func (p plan) shape(rows, length int) shape {
	return shape{rows, length, min(p.inputs, rows*places(length))}
}

func places(length int) int { return length / tokensPlace }

// shapes are all that pack can give.
func (p plan) shapes() (list []shape) {
	for _, length := range p.lengths {
		for _, rows := range p.steps(length) {
			list = append(list, p.shape(rows, length))
		}
	}
	return list
}

// laid is what pack chose: which inputs, in their order, and where each lies.
type laid struct {
	shape
	index []int
	spots []data.Spot
}

// pack lays waiting inputs, oldest first, into a batch. The first of them is always in it. Each goes into the first row
// with room; rows that the next larger graph would mostly leave empty are left for the next batch.
func (p plan) pack(waiting []data.Encoded) laid {
	waiting = waiting[:min(len(waiting), p.inputs)]
	length := p.length(waiting)
	steps := p.steps(length)
	l := place(waiting, length, steps[len(steps)-1])
	used := 0
	for _, s := range l.spots {
		used = max(used, s.Row+1)
	}
	at, exact := slices.BinarySearch(steps, used)
	if !exact && 2*used <= 3*steps[at-1] { // less than three quarters of the larger graph
		at--
	}
	l.shape = p.shape(steps[at], length)
	var kept laid
	for i, s := range l.spots {
		if s.Row < l.rows {
			kept.index, kept.spots = append(kept.index, l.index[i]), append(kept.spots, s)
		}
	}
	kept.shape = l.shape
	return kept
}

// length is that of the rows for these inputs.
func (p plan) length(waiting []data.Encoded) int {
	longest, total := 0, 0
	for _, e := range waiting {
		longest, total = max(longest, len(e.IDs)), total+len(e.IDs)
	}
	if total <= p.lengths[0] && len(waiting) <= places(p.lengths[0]) {
		return p.lengths[0]
	}
	at, _ := slices.BinarySearch(p.lengths[1:], longest)
	return p.lengths[1+at]
}

// place puts each input into the first of at most so many rows that has room.
func place(waiting []data.Encoded, length, rows int) (l laid) {
	tokens, inputs := make([]int, rows), make([]int, rows)
	for i, e := range waiting {
		for row := range rows {
			if tokens[row]+len(e.IDs) > length || inputs[row] == places(length) {
				continue
			}
			l.index, l.spots = append(l.index, i), append(l.spots, data.Spot{Row: row, Start: tokens[row]})
			tokens[row] += len(e.IDs)
			inputs[row]++
			break
		}
	}
	return l
}
