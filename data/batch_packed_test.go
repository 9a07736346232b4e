package data

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestAssemblePacked(t *testing.T) {
	rows := rowsOf(2, 3, 1, 4)
	rows[2].Types = nil
	p := Packing{Length: 5, Rows: []int{1, 3}, Examples: 5}
	b, err := p.Assemble(rows, []float64{2, math.NaN(), 0.5, 1}, []int{2, 0, 3, 1}, 9)
	if err != nil {
		t.Fatal(err)
	}
	equal := func(name string, got []int32, want ...int32) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s %v, want %v", name, got, want)
		}
	}
	// The longest first: 4 and, after 3 and 2 have filled a row, 1.
	equal("ids", b.IDs, 301, 302, 303, 304, 201, 101, 102, 103, 1, 2, 9, 9, 9, 9, 9)
	equal("types", b.Types, 0, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0)
	equal("positions", b.Positions, 0, 1, 2, 3, 0, 0, 1, 2, 0, 1, 0, 0, 0, 0, 0)
	equal("segments", b.Segments, 2, 2, 2, 2, 1, 2, 2, 2, 1, 1, 0, 0, 0, 0, 0)
	equal("first", b.First, 4, 8, 0, 5, 0)
	if !slices.Equal(b.Labels, []float32{0.5, 2, 1, 0, 0}) || !slices.Equal(b.Weights, []float32{1, 1, 1, 0, 0}) {
		t.Errorf("labels %v, weights %v", b.Labels, b.Weights)
	}
	if b.Rows != 3 || b.Len != 5 || b.Tokens != 10 || b.Mask != nil || !slices.Equal(b.Index, []int{2, 0, 3, 1, -1}) {
		t.Errorf("shape [%d %d], %d tokens, mask %v, index %v", b.Rows, b.Len, b.Tokens, b.Mask, b.Index)
	}
	_, err = p.Assemble(rowsOf(6), nil, []int{0}, 0)
	wantError(t, err, "assemble batch: example 0 has 6 tokens, the batch holds 5")
}

// readBack finds the examples of a packed batch in it, and no other token.
func readBack(t *rapid.T, b Batch, rows []Encoded) {
	tokens := 0
	for e, i := range b.Index {
		if i < 0 {
			continue
		}
		start := int(b.First[e])
		n := len(rows[i].IDs)
		tokens += n
		if start/b.Len != (start+n-1)/b.Len || !slices.Equal(b.IDs[start:start+n], rows[i].IDs) {
			t.Fatalf("example %d of %d tokens is not at %d of %v", i, n, start, b.IDs)
		}
		segment, row := b.Segments[start], b.Segments[start/b.Len*b.Len:][:b.Len]
		for j := range n {
			if b.Positions[start+j] != int32(j) {
				t.Fatalf("token %d of example %d has position %d", j, i, b.Positions[start+j])
			}
		}
		of := 0
		for _, s := range row {
			if s == segment {
				of++
			}
		}
		if segment == 0 || of != n {
			t.Fatalf("example %d of %d tokens has segment %d, of %d tokens", i, n, segment, of)
		}
	}
	padding := 0
	for _, s := range b.Segments {
		if s == 0 {
			padding++
		}
	}
	if tokens != b.Tokens || tokens+padding != b.Rows*b.Len {
		t.Fatalf("%d tokens and %d of padding in [%d %d], %d counted", tokens, padding, b.Rows, b.Len, b.Tokens)
	}
}

func drawRows(t *rapid.T, most int) []Encoded {
	return rowsOf(rapid.SliceOfN(rapid.IntRange(1, 80), 1, most).Draw(t, "lengths")...)
}

// Every example of a run's batches is in its packed batch once, in its order, and the shapes are planned ones.
func TestPlanPacking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 40)
		batch := rapid.IntRange(1, 9).Draw(t, "batch")
		o, err := NewOrder(1, len(rows), batch, false)
		if err != nil {
			t.Fatal(err)
		}
		var batches [][]int
		for i := range 12 {
			batches = append(batches, slices.Clone(o.Batch(i)))
		}
		p := PlanPacking(rows, slices.Values(batches), batch, rapid.SampledFrom([]int{0, 100, 1e6}).Draw(t, "graph"))
		if len(p.Rows) > maxGraphs || p.Examples != batch {
			t.Fatalf("planned %+v", p)
		}
		for _, index := range batches {
			b, err := p.Assemble(rows, nil, index, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Contains(p.Rows, b.Rows) || b.Len != p.Length || !slices.Equal(b.Index[:len(index)], index) {
				t.Fatalf("index %v in %d rows of %d for %v, planned %+v", b.Index, b.Rows, b.Len, index, p)
			}
			readBack(t, b, rows)
		}
	})
}

// Where there is nothing to gain a batch is what it is without packing, token for token.
func TestPackingFullExamples(t *testing.T) {
	rows := rowsOf(100, 100, 100, 100)
	p := PlanPacking(rows, slices.Values([][]int{{0, 1, 2}, {3}}), 3, 1e6)
	if p.Length != 100 || !slices.Equal(p.Rows, []int{3}) {
		t.Errorf("planned %+v, want three rows of 100", p)
	}
	p, batches := PackEvaluation(rows, 8, 100)
	if p.Length != 100 || len(batches) != 1 || !slices.Equal(p.Rows, []int{4}) || p.Examples != 4 {
		t.Errorf("evaluation %+v of %v, want four rows of 100", p, batches)
	}
}

// A dear graph leaves one number of rows, a cheap one as many as are needed.
func TestPackingWeighsGraphs(t *testing.T) {
	rows := rowsOf(64, 64, 64, 64, 64)
	batches := slices.Values([][]int{{0}, {0, 1}, {0, 1, 2}, {0, 1}})
	for graph, want := range map[int][]int{0: {1, 2, 3}, 1e6: {3}, 100: {2, 3}} {
		if p := PlanPacking(rows, batches, 3, graph); p.Length != 64 || !slices.Equal(p.Rows, want) {
			t.Errorf("graphs of %d tokens: planned %+v, want rows %v", graph, p, want)
		}
	}
	if p := PlanPacking(rows, batches, 3, 0); p.rows(2) != 2 || p.rows(4) != 4 {
		t.Errorf("made up to %d and %d rows", p.rows(2), p.rows(4))
	}
}

// The chosen groups are the cheapest of all ways to group.
func TestLevels(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batchesOf := rapid.MapOfN(rapid.IntRange(1, 12), rapid.IntRange(1, 5), 1, 7).Draw(t, "batches")
		graph := rapid.IntRange(0, 20).Draw(t, "graph")
		price := func(batches, need int) int { return batches*need + graph }
		chosen, total := levels(batchesOf, price)
		cost := func(levels []int) (sum int) {
			of := map[int]int{}
			for need, batches := range batchesOf {
				i, _ := slices.BinarySearch(levels, need)
				if i == len(levels) {
					return math.MaxInt
				}
				of[levels[i]] += batches
			}
			for level, batches := range of {
				sum += price(batches, level)
			}
			return sum
		}
		if got := cost(chosen); got != total || !slices.IsSorted(chosen) {
			t.Fatalf("levels %v cost %d, said %d", chosen, got, total)
		}
		for set := range 1 << 12 {
			var levels []int
			for i := range 12 {
				if set>>i&1 == 1 {
					levels = append(levels, i+1)
				}
			}
			if c := cost(levels); c < total {
				t.Fatalf("levels %v cost %d, chosen %v cost %d: %v", levels, c, chosen, total, batchesOf)
			}
		}
	})
}

// Every row is in one evaluation batch, and the batches are of one shape.
func TestPackEvaluation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := drawRows(t, 200)
		limit := rapid.IntRange(1, 9).Draw(t, "limit")
		p, batches := PackEvaluation(rows, limit, 80)
		seen := make([]int, len(rows))
		for _, index := range batches {
			b, err := p.Assemble(rows, nil, index, 0)
			if err != nil {
				t.Fatal(err)
			}
			if b.Rows != p.Rows[0] || b.Rows > max(1, limit*64/b.Len) {
				t.Fatalf("%d rows of %d, planned %+v, limit %d", b.Rows, b.Len, p, limit)
			}
			readBack(t, b, rows)
			for _, i := range index {
				seen[i]++
			}
		}
		if slices.ContainsFunc(seen, func(n int) bool { return n != 1 }) {
			t.Fatalf("times seen: %v", seen)
		}
	})
	if p, batches := PackEvaluation(nil, 8, 128); len(batches) != 0 || p.Examples != 0 {
		t.Errorf("batches of nothing: %v, %+v", batches, p)
	}
}

// Chunks of a stream share their shapes, a short last one apart.
func TestPackEvaluationShapesAreFew(t *testing.T) {
	shapes := map[[3]int]bool{}
	for seed := range 20 {
		var lengths []int
		for i := range 1024 {
			lengths = append(lengths, 15+(i*7919+seed*104729)%30)
		}
		p, _ := PackEvaluation(rowsOf(lengths...), 32, 128)
		shapes[[3]int{p.Length, p.Rows[0], p.Examples}] = true
	}
	if len(shapes) > 2 {
		t.Errorf("shapes of 20 chunks: %v", shapes)
	}
}

func TestRoundUp(t *testing.T) {
	var got []int
	for n := 1; n <= 33; n++ {
		if r := roundUp(n); !slices.Contains(got, r) {
			got = append(got, r)
		}
		if r := roundUp(n); r < n || r > n+(n+1)/2 {
			t.Errorf("%d rounds up to %d", n, r)
		}
	}
	if want := []int{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48}; !slices.Equal(got, want) {
		t.Errorf("rounded %v, want %v", got, want)
	}
}
