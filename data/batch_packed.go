package data

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math/bits"
	"slices"
)

// Packing is the shape of packed batches: examples laid end to end in rows of one length, which has nothing to do
// with the longest an example may be.
type Packing struct {
	Length   int   // tokens of a row
	Rows     []int // how many rows a batch may have, ascending: each number is a graph to compile
	Examples int   // places for examples in a batch
}

// rowLengths are the lengths to choose from. Attention costs by the length; short rows leave more of their ends empty.
var rowLengths = []int{64, 128, 256}

// maxGraphs bounds the numbers of rows: a graph takes memory too.
const maxGraphs = 6

// cost of computing rows, in tokens of a short row: attention takes about an eighth of a layer at 128.
func cost(rows, length int) int { return rows * length * (1024 + length) / 1024 }

// PlanPacking chooses the packing for batches of up to so many of the examples rows: the length, and the numbers of
// rows that batches are made up to, that cost least together with the graphs, one a number. graph is what compiling
// one costs, in tokens.
func PlanPacking(rows []Encoded, batches iter.Seq[[]int], examples, graph int) Packing {
	longest := 0
	for _, r := range rows {
		longest = max(longest, len(r.IDs))
	}
	best, least := Packing{}, -1
	for _, length := range plannedLengths(longest) {
		p := Packing{Length: length, Examples: examples}
		if total := p.plan(rows, batches, graph); least < 0 || total < least {
			best, least = p, total
		}
	}
	return best
}

// plannedLengths are just the longest example's, for examples that are all as long, and those in steps of 16 above it:
// which of them examples fill best is a matter of chance.
func plannedLengths(longest int) []int {
	const step, most = 16, 256
	lengths := []int{longest}
	for length := max(rowLengths[0], (longest/step+1)*step); length <= max(longest, most); length += step {
		lengths = append(lengths, length)
	}
	return lengths
}

// plan settles the numbers of rows and returns what the batches cost then.
func (p *Packing) plan(rows []Encoded, batches iter.Seq[[]int], graph int) (total int) {
	batchesOf := map[int]int{} // by the rows they need
	for index := range batches {
		_, used := p.place(rows, index)
		batchesOf[used]++
	}
	for {
		p.Rows, total = levels(batchesOf, func(batches, rows int) int { return batches*cost(rows, p.Length) + graph })
		if len(p.Rows) <= maxGraphs {
			return total
		}
		graph += cost(1, p.Length)
	}
}

// levels groups the needs of batches, each made up to the largest of its group, so that the groups cost least in sum:
// what is best for all needs is a last group after what is best for those before it. It returns the largest needs of
// the groups, ascending.
func levels(batchesOf map[int]int, cost func(batches, need int) int) (chosen []int, total int) {
	needs := slices.Sorted(maps.Keys(batchesOf))
	best := make([]int, len(needs)+1)  // cost of the needs before an end
	group := make([]int, len(needs)+1) // where their last group begins
	for end := 1; end <= len(needs); end++ {
		best[end] = -1
		batches := 0
		for start := end - 1; start >= 0; start-- {
			batches += batchesOf[needs[start]]
			if c := best[start] + cost(batches, needs[end-1]); best[end] < 0 || c < best[end] {
				best[end], group[end] = c, start
			}
		}
	}
	for end := len(needs); end > 0; end = group[end] {
		chosen = append(chosen, needs[end-1])
	}
	slices.Reverse(chosen)
	return chosen, best[len(needs)]
}

// PackEvaluation cuts rows, none longer than maxLength, into packed batches of the tokens of so many of the shortest
// rows. The packed rows of the whole set are filled before they are dealt out, so that long and short examples meet.
// Shapes are round numbers: sets of about one size, such as the chunks of a stream, have the same.
func PackEvaluation(rows []Encoded, batch, maxLength int) (p Packing, batches [][]int) {
	all := make([]int, len(rows))
	for i := range all {
		all[i] = i
	}
	longest := Longest(rows, all)
	var spots []Spot
	needed, least := 0, -1
	for _, length := range append([]int{max(longest, maxLength)}, rowLengths...) {
		if length < longest {
			continue
		}
		at, used := Packing{Length: length}.place(rows, all)
		if c := cost(used, length); least < 0 || c < least {
			p.Length, spots, needed, least = length, at, used, c
		}
	}
	limit := max(1, batch*rowLengths[0]/p.Length)
	batches = make([][]int, (needed+limit-1)/limit)
	for i, at := range spots {
		b := at.Row % len(batches)
		batches[b] = append(batches[b], i)
	}
	for _, index := range batches {
		p.Examples = max(p.Examples, roundUp(len(index)))
	}
	if len(batches) > 0 {
		p.Rows = []int{min(limit, roundUp((needed+len(batches)-1)/len(batches)))}
	}
	return p, batches
}

// roundUp is the next of 1, 2, 3, 4, 6, 8, 12, 16, …
func roundUp(n int) int {
	step := 1 << max(0, bits.Len(uint(n-1))-2)
	return (n + step - 1) / step * step
}

// rows is the number of rows for a batch that needs some: a planned one, or what it needs.
func (p Packing) rows(needed int) int {
	if i, _ := slices.BinarySearch(p.Rows, needed); i < len(p.Rows) {
		return p.Rows[i]
	}
	return needed
}

// Spot is where an example lies in packed rows: its row, and how many tokens of it come before.
type Spot struct{ Row, Start int }

// place lays the examples that index names into rows, longest first, each into the first row with room: spots in the
// order of index, and the number of rows used. Examples of one length keep their order, so that the examples of some
// of the rows, laid again by themselves, fill these rows as before.
func (p Packing) place(rows []Encoded, index []int) (spots []Spot, used int) {
	order := make([]int, len(index))
	for i := range order {
		order[i] = i
	}
	length := func(i int) int { return len(rows[index[i]].IDs) }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(length(b), length(a)) })
	spots = make([]Spot, len(index))
	var filled []int // tokens in each row
	row, last := 0, 0
	for _, i := range order {
		tokens := length(i)
		if tokens != last { // a shorter one may fit where the one before did not
			row, last = 0, tokens
		}
		for row < len(filled) && filled[row]+tokens > p.Length {
			row++
		}
		if row == len(filled) {
			filled = append(filled, 0)
		}
		spots[i] = Spot{row, filled[row]}
		filled[row] += tokens
	}
	return spots, len(filled)
}

// Assemble is the function of that name for packed rows: labels, weights and index have p.Examples places, in the
// order of index, and First says where each example begins. Places that a short index leaves over have weight 0 and
// begin where the first row does.
func (p Packing) Assemble(rows []Encoded, labels []float64, index []int, padID int32) (Batch, error) {
	if err := checkAssembly(rows, labels, index, p.Examples, p.Length); err != nil {
		return Batch{}, fmt.Errorf("assemble batch: %w", err)
	}
	spots, used := p.place(rows, index)
	examples := make([]Encoded, len(index))
	for e, i := range index {
		examples[e] = rows[i]
	}
	b := p.Lay(examples, spots, p.rows(used), padID)
	b.widen(labels, rows)
	for e, i := range index {
		b.label(e, i, labels)
	}
	return b, nil
}

// Lay lays examples, at most p.Examples, into so many rows, each at its spot; they must not overlap. None has a label.
func (p Packing) Lay(examples []Encoded, spots []Spot, rows int, padID int32) Batch {
	b := newBatch(rows, p.Length, p.Examples, padID)
	n := b.Rows * b.Len
	b.Segments, b.Positions, b.First = make([]int32, n), make([]int32, n), make([]int32, p.Examples)
	inRow := make([]int32, b.Rows)
	for e, at := range spots {
		start := at.Row*b.Len + at.Start
		inRow[at.Row]++
		b.put(start, examples[e])
		for j := range examples[e].IDs {
			b.Segments[start+j], b.Positions[start+j] = inRow[at.Row], int32(j)
		}
		b.First[e] = int32(start)
	}
	return b
}
