package data

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The parts of a batch have its examples, each once, in parts of one shape, and say where they stood.
func TestDivideLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 20)
		labels := make([]float64, len(rows))
		for i := range labels {
			labels[i] = float64(i)
		}
		index := rapid.Permutation(indices(len(rows))).Draw(t, "index")
		var b Batch
		var err error
		packed := rapid.Bool().Draw(t, "packed")
		if packed {
			b, err = Packing{Length: 80, Examples: len(index) + 2}.Assemble(rows, labels, index, 0)
		} else {
			b, err = Assemble(rows, labels, index, len(index)+rapid.IntRange(0, 3).Draw(t, "fillers"), 80, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.IntRange(1, 5).Draw(t, "devices")
		least := rapid.IntRange(0, 25).Draw(t, "places")
		parts := b.Divide(n, least)
		var seen []int
		tokens, weight := 0, 0.0
		for d, p := range parts {
			if p.Rows != (b.Rows+n-1)/n || p.Len != b.Len || len(p.Weights) != len(parts[0].Weights) || p.Packed() != packed {
				t.Fatalf("part %d is [%d %d] with %d places, the first [%d %d] with %d", d, p.Rows, p.Len, len(p.Weights), parts[0].Rows, parts[0].Len, len(parts[0].Weights))
			}
			tokens, weight = tokens+p.Tokens, weight+p.Weight()
			for r, at := range p.RowPlaces {
				if int(at) < b.Rows && !slices.Equal(p.IDs[r*p.Len:(r+1)*p.Len], b.IDs[int(at)*p.Len:int(at+1)*p.Len]) {
					t.Fatalf("row %d of part %d is not row %d of the batch", r, d, at)
				}
			}
			for e, i := range p.Index {
				if i < 0 {
					if p.Weights[e] != 0 {
						t.Fatalf("a filler weighs %g", p.Weights[e])
					}
					continue
				}
				seen = append(seen, i)
				whole := p.ExamplePlaces[e]
				if b.Index[whole] != i || p.Labels[e] != b.Labels[whole] || p.Weights[e] != b.Weights[whole] {
					t.Fatalf("example %d is said to be %d of the batch, which is %d", i, whole, b.Index[whole])
				}
				row := p.rowOf(e)
				if int(p.RowPlaces[row]) != b.rowOf(int(whole)) || packed && p.First[e]%int32(p.Len) != b.First[whole]%int32(b.Len) {
					t.Fatalf("example %d begins elsewhere than in the batch", i)
				}
			}
		}
		slices.Sort(seen)
		if !slices.Equal(seen, indices(len(rows))) || tokens != b.Tokens || weight != b.Weight() {
			t.Fatalf("examples %v with %d tokens and weight %g, the batch has %d, %d and %g", seen, tokens, weight, len(rows), b.Tokens, b.Weight())
		}
	})
}

// Parts have the places for examples that they need, or those that are asked for.
func TestDividePlaces(t *testing.T) {
	b, err := Packing{Length: 5, Examples: 8}.Assemble(rowsOf(5, 5, 5, 2, 1, 1, 1), nil, []int{0, 1, 2, 3, 4, 5, 6}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if b.MostExamples(2) != 5 { // rows of 5; 5; 5; 2, 1, 1, 1
		t.Errorf("%d examples at most, want 5", b.MostExamples(2))
	}
	for least, want := range map[int]int{0: 5, 5: 5, 7: 7, 9: 8} {
		if got := len(b.Divide(2, least)[0].Weights); got != want {
			t.Errorf("%d places where %d are asked for, want %d", got, least, want)
		}
	}
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}
