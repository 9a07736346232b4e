package completion

import (
	"math"
	"slices"

	"github.com/deeplora/deeplora/internal/rng"
)

// Entries are some entries of a rows × cols matrix, row by row: those of row i are Col[Start[i]:Start[i+1]],
// ascending, with their Value.
type Entries struct {
	Rows, Cols int
	Start      []int
	Col        []int32
	Value      []float64
}

// Len is the number of entries.
func (e *Entries) Len() int { return len(e.Col) }

// Norm is the root of the sum of squares.
func (e *Entries) Norm() float64 {
	sum := 0.0
	for _, v := range e.Value {
		sum += v * v
	}
	return math.Sqrt(sum)
}

// Triple is one entry by its place, from 0.
type Triple struct {
	Row, Col int
	Value    float64
}

// newEntries takes triples that are sorted by row, then column, distinct and inside.
func newEntries(rows, cols int, sorted []Triple) *Entries {
	e := &Entries{
		Rows: rows, Cols: cols, Start: make([]int, rows+1), Col: make([]int32, len(sorted)), Value: make([]float64, len(sorted)),
	}
	for n, t := range sorted {
		e.Start[t.Row+1]++
		e.Col[n], e.Value[n] = int32(t.Col), t.Value
	}
	for i := range rows {
		e.Start[i+1] += e.Start[i]
	}
	return e
}

// sample draws count distinct places of a rows × cols matrix uniformly, without values. Time and memory are those of
// the places, never of the matrix, unless nearly all are asked for.
func sample(s *rng.Stream, rows, cols, count int) *Entries {
	total := rows * cols
	if count > total/2 && count < total {
		return complement(distinct(s, total, total-count), rows, cols)
	}
	if count == total {
		return complement(nil, rows, cols)
	}
	e := &Entries{Rows: rows, Cols: cols, Start: make([]int, rows+1), Col: make([]int32, count), Value: make([]float64, count)}
	for n, place := range distinct(s, total, count) {
		e.Start[int(place)/cols+1]++
		e.Col[n] = int32(int(place) % cols)
	}
	for i := range rows {
		e.Start[i+1] += e.Start[i]
	}
	return e
}

// distinct returns count different numbers below total, ascending, every set of them equally likely: numbers are drawn
// until there are so many different ones, and only what is missing is drawn in each round.
func distinct(s *rng.Stream, total, count int) []uint64 {
	places := make([]uint64, 0, count)
	for len(places) < count {
		for range count - len(places) {
			places = append(places, uint64(s.IntN(total)))
		}
		slices.Sort(places)
		places = slices.Compact(places)
	}
	return places
}

// complement is all places but the given ones.
func complement(absent []uint64, rows, cols int) *Entries {
	count := rows*cols - len(absent)
	e := &Entries{Rows: rows, Cols: cols, Start: make([]int, rows+1), Col: make([]int32, 0, count), Value: make([]float64, count)}
	for i := range rows {
		for j := range cols {
			if len(absent) > 0 && absent[0] == uint64(i*cols+j) {
				absent = absent[1:]
				continue
			}
			e.Col = append(e.Col, int32(j))
		}
		e.Start[i+1] = len(e.Col)
	}
	return e
}
