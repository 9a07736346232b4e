package serve

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/deeplora/deeplora/data"
)

// A batch has one of the shapes that are compiled before the server is ready, holds the input that waits longest, and
// lays inputs into rows without overlap.
func TestPack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		longest := rapid.IntRange(3, 600).Draw(t, "longest")
		p := newPlan(rapid.IntRange(1, 100).Draw(t, "batch"), longest)
		lengths := rapid.SliceOfN(rapid.IntRange(2, longest), 1, 150).Draw(t, "lengths")
		inputs := make([]data.Encoded, len(lengths))
		for i, n := range lengths {
			inputs[i].IDs = make([]int32, n)
		}
		l := p.pack(inputs)
		if !slices.Contains(p.shapes(), l.shape) {
			t.Fatalf("shape %v is not among %v", l.shape, p.shapes())
		}
		if len(l.index) == 0 || l.index[0] != 0 || len(l.index) != len(l.spots) || len(l.index) > min(p.inputs, l.inputs) || !slices.IsSorted(l.index) {
			t.Fatalf("%d inputs, the first %v, in %v", len(l.index), l.index[:min(1, len(l.index))], l.shape)
		}
		held := make([]bool, l.rows*l.length)
		for i, s := range l.spots {
			for at := range lengths[l.index[i]] {
				if s.Start+at >= l.length || held[s.Row*l.length+s.Start+at] {
					t.Fatalf("input %d overlaps another or leaves its row", i)
				}
				held[s.Row*l.length+s.Start+at] = true
			}
		}
	})
}

// Rows of a full batch are filled, and a lone input takes a short one.
func TestPackFills(t *testing.T) {
	p := newPlan(64, 128)
	inputs := func(n, tokens int) []data.Encoded {
		return slices.Repeat([]data.Encoded{{IDs: make([]int32, tokens)}}, n)
	}
	for _, test := range []struct {
		inputs []data.Encoded
		want   shape
		taken  int
	}{
		{inputs(1, 20), shape{1, 32, 2}, 1},
		{inputs(1, 33), shape{1, 64, 4}, 1},
		{inputs(2, 28), shape{1, 64, 4}, 2},
		{inputs(64, 28), shape{32, 64, 64}, 64},
		{inputs(200, 16), shape{16, 64, 64}, 64},
		{inputs(64, 64), shape{32, 64, 64}, 32},
		{inputs(20, 128), shape{16, 128, 64}, 16},
		{inputs(5, 60), shape{4, 64, 16}, 4}, // the fifth waits: eight rows would be half empty
		{inputs(7, 60), shape{8, 64, 32}, 7},
	} {
		l := p.pack(test.inputs)
		if l.shape != test.want || len(l.index) != test.taken {
			t.Errorf("%d of %d tokens: %v with %d, want %v with %d", len(test.inputs), len(test.inputs[0].IDs), l.shape, len(l.index), test.want, test.taken)
		}
	}
}
