package data

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func rowsOf(lengths ...int) []Encoded {
	rows := make([]Encoded, len(lengths))
	for i, n := range lengths {
		for j := range n {
			rows[i].IDs = append(rows[i].IDs, int32(100*i+j+1))
			rows[i].Types = append(rows[i].Types, int32(j%2))
		}
	}
	return rows
}

func TestAssemble(t *testing.T) {
	rows := rowsOf(2, 3, 1)
	rows[2].Types = nil
	b, err := Assemble(rows, []float64{2, math.NaN(), 0.5}, []int{2, 0, 1}, 4, 4, 9)
	if err != nil {
		t.Fatal(err)
	}
	equal := func(name string, got, want []int32) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s %v, want %v", name, got, want)
		}
	}
	equal("ids", b.IDs, []int32{201, 9, 9, 9, 1, 2, 9, 9, 101, 102, 103, 9, 9, 9, 9, 9})
	equal("types", b.Types, []int32{0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	// The filler row keeps one token: attention needs something to divide by.
	equal("mask", b.Mask, []int32{1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0, 0, 0})
	if !slices.Equal(b.Labels, []float32{0.5, 2, 0, 0}) || !slices.Equal(b.Weights, []float32{1, 1, 0, 0}) {
		t.Errorf("labels %v, weights %v", b.Labels, b.Weights)
	}
	if b.Rows != 4 || b.Len != 4 || b.Tokens != 6 || !slices.Equal(b.Index, []int{2, 0, 1, -1}) {
		t.Errorf("shape [%d %d], %d tokens, index %v", b.Rows, b.Len, b.Tokens, b.Index)
	}
}

// Every row of a batch can be read back from it, whatever the lengths.
func TestAssembleLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rowsOf(rapid.SliceOfN(rapid.IntRange(1, 20), 1, 9).Draw(t, "lengths")...)
		index := rapid.SliceOfN(rapid.IntRange(0, len(rows)-1), 0, 7).Draw(t, "index")
		length := PadBucket.Length(Longest(rows, index), 20)
		b, err := Assemble(rows, nil, index, 7, length, 0)
		if err != nil {
			t.Fatal(err)
		}
		for r, i := range b.Index {
			n := 0
			for j := range length {
				n += int(b.Mask[r*length+j])
			}
			switch {
			case r >= len(index) && (i != -1 || n != 1):
				t.Fatalf("filler row %d: index %d, %d tokens", r, i, n)
			case r < len(index) && (i != index[r] || !slices.Equal(b.IDs[r*length:r*length+n], rows[i].IDs) ||
				!slices.Equal(b.Types[r*length:r*length+n], rows[i].Types)):
				t.Fatalf("row %d is not example %d", r, index[r])
			}
			if b.Weights[r] != 0 {
				t.Fatalf("weight %v without labels", b.Weights[r])
			}
		}
	})
}

func TestAssembleFaults(t *testing.T) {
	rows := rowsOf(2, 5, 0)
	rows = append(rows, Encoded{IDs: []int32{1, 2}, Types: []int32{0}})
	for _, c := range []struct {
		name          string
		labels        []float64
		index         []int
		batch, length int
		want          string
	}{
		{"too long", nil, []int{0, 1}, 2, 4, "assemble batch: example 1 has 5 tokens, the batch holds 4"},
		{"empty", nil, []int{2}, 2, 4, "example 2 has no tokens"},
		{"types", nil, []int{3}, 2, 4, "example 3 has 2 tokens and 1 token types"},
		{"too many", nil, []int{0, 0, 0}, 2, 4, "3 rows for a batch of 2"},
		{"out of range", nil, []int{4}, 2, 4, "example 4 of 4"},
		{"labels", []float64{1}, []int{0}, 2, 4, "1 labels for 4 examples"},
		{"no shape", nil, nil, 0, 4, "shape [0 4]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Assemble(rows, c.labels, c.index, c.batch, c.length, 0)
			wantError(t, err, c.want)
		})
	}
}

func TestPadding(t *testing.T) {
	for _, c := range []struct {
		p                 Padding
		longest, max, len int
	}{
		{PadFixed, 3, 128, 128},
		{PadPacked, 17, 128, 32},
		{PadBucket, 0, 128, 16},
		{PadBucket, 16, 128, 16},
		{PadBucket, 17, 128, 32},
		{PadBucket, 97, 128, 128},
		{PadBucket, 97, 100, 100},
		{PadBucket, 10, 12, 12},
		{PadBucket, 512, 512, 512},
		{PadBucket, 600, 700, 700},
	} {
		if got := c.p.Length(c.longest, c.max); got != c.len {
			t.Errorf("%s: %d of %d tokens padded to %d, want %d", c.p, c.longest, c.max, got, c.len)
		}
	}
}

// Every epoch shows each example once, in an order of its own that depends on nothing but its number.
func TestOrder(t *testing.T) {
	o, err := NewOrder(7, 10, 4, false)
	if err != nil {
		t.Fatal(err)
	}
	if o.StepsPerEpoch() != 3 {
		t.Fatalf("%d steps an epoch", o.StepsPerEpoch())
	}
	var epochs [2][]int
	var steps [6][]int
	for step := range steps {
		steps[step] = slices.Clone(o.Batch(step))
		epochs[step/3] = append(epochs[step/3], steps[step]...)
	}
	if len(steps[2]) != 2 || slices.Equal(epochs[0], epochs[1]) {
		t.Errorf("steps %v", steps)
	}
	for e, order := range epochs {
		if !slices.Equal(order, epochOrder(7, e, 10)) {
			t.Errorf("epoch %d: %v, want %v", e, order, epochOrder(7, e, 10))
		}
		if slices.Sort(order); !slices.Equal(order, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("epoch %d shows %v", e, order)
		}
	}
	resumed, err := NewOrder(7, 10, 4, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []int{5, 0, 4, 1} {
		if got := resumed.Batch(step); !slices.Equal(got, steps[step]) {
			t.Errorf("step %d asked alone: %v, in turn: %v", step, got, steps[step])
		}
	}
	other, _ := NewOrder(8, 10, 4, false)
	if slices.Equal(other.Batch(0), steps[0]) {
		t.Error("another seed gives the same order")
	}
}

func TestOrderDropsTheLastBatch(t *testing.T) {
	o, err := NewOrder(7, 10, 4, true)
	if err != nil {
		t.Fatal(err)
	}
	for step := range 8 {
		if got := o.Batch(step); len(got) != 4 || !slices.Equal(got, epochOrder(7, step/2, 10)[step%2*4:step%2*4+4]) {
			t.Errorf("step %d: %v", step, got)
		}
	}
	_, err = NewOrder(7, 3, 4, true)
	wantError(t, err, "batch size 4 is larger than the 3 examples")
	_, err = NewOrder(7, 0, 4, false)
	wantError(t, err, "no examples to train on")
	_, err = NewOrder(7, 3, 0, false)
	wantError(t, err, "batch size 0; want at least 1")
}

// With N = batch size every step sees the same batch (the reference's 16 examples).
func TestT29SameBatch(t *testing.T) {
	for _, n := range []int{16, 5} {
		o, err := NewOrder(3, n, 16, n == 16)
		if err != nil {
			t.Fatal(err)
		}
		first := slices.Clone(o.Batch(0))
		for step := range 50 {
			if got := o.Batch(step); len(got) != n || !slices.Equal(got, first) {
				t.Fatalf("step %d: %v, step 0: %v", step, got, first)
			}
		}
		slices.Sort(first)
		if len(slices.Compact(first)) != n {
			t.Errorf("the batch repeats examples: %v", first)
		}
	}
}

// Examples of 129 tokens are dropped, of 128 kept.
func TestT29DropsOverlong(t *testing.T) {
	whole := numbered(t, 5)
	rows := rowsOf(128, 129, 3, 500, 127)
	s, kept, dropped, err := whole.DropOverlong(rows, 128)
	if err != nil {
		t.Fatal(err)
	}
	if dropped != 2 || len(kept) != 3 || len(s.Examples) != 3 {
		t.Fatalf("dropped %d, %d encodings and %d examples left", dropped, len(kept), len(s.Examples))
	}
	for i, want := range []int{0, 2, 4} {
		if s.Examples[i].Row != want || len(kept[i].IDs) != len(rows[want].IDs) {
			t.Errorf("left at %d: row %d of %d tokens, want row %d", i, s.Examples[i].Row, len(kept[i].IDs), want)
		}
	}
	_, _, _, err = whole.DropOverlong(rows, 2)
	wantError(t, err, "train.tsv: all 5 examples of train are longer than 2 tokens; raise --max-length or use --overlong truncate")
	_, _, _, err = whole.DropOverlong(rows[1:], 2)
	wantError(t, err, "4 encodings for 5 examples")
}

func TestEvalBatches(t *testing.T) {
	rows := rowsOf(3, 9, 1, 9, 4)
	got := EvalBatches(rows, 2)
	want := [][]int{{1, 3}, {4, 0}, {2}}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if !slices.Equal(got[i], want[i]) {
			t.Errorf("batch %d: %v, want %v", i, got[i], want[i])
		}
	}
	if got := EvalBatches(nil, 2); len(got) != 0 {
		t.Errorf("batches of nothing: %v", got)
	}
}
