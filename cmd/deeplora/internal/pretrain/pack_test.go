package pretrain

import (
	"reflect"
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/train/loop"
)

// drawnCorpus are ids of texts, without special tokens: some longer than a segment may be, some empty.
func drawnCorpus(n int) [][]int32 {
	s := rng.New(4, "corpus")
	ids := make([][]int32, n)
	for i := range ids {
		ids[i] = make([]int32, s.IntN(30))
		for j := range ids[i] {
			ids[i][j] = int32(5 + s.IntN(100))
		}
	}
	return ids
}

func newPacker(ids [][]int32) *packer {
	return &packer{special: testSpecial, ids: ids, maxLength: 20, rows: 3, length: 48, perRow: 5}
}

// Each segment stands once, whole but for what is over its length, in a row that it shares without overlap.
func TestPackerPlacesEverySegmentOnce(t *testing.T) {
	ids := drawnCorpus(300)
	s := rng.New(4, "segments")
	var segments []segment
	for i := range ids {
		segments = append(segments, segment{i, -1}, segment{s.IntN(300), s.IntN(300)})
	}
	batches := newPacker(ids).pack(segments)
	var placedSegments []segment
	for n, batch := range batches {
		var used [3][48]bool
		var count [3]int
		for _, p := range batch {
			placedSegments = append(placedSegments, p.segment)
			if count[p.row]++; count[p.row] > 5 {
				t.Errorf("batch %d: row %d has more than 5 segments", n, p.row)
			}
			var b []int32
			if p.b >= 0 {
				b = ids[p.b]
			}
			want, _ := testSpecial.Join(ids[p.a], b, p.b >= 0, 20)
			if !reflect.DeepEqual(p.encoded, want) || len(want.IDs) > 20 {
				t.Errorf("batch %d: segment %v is %v, want %v", n, p.segment, p.encoded, want)
			}
			for i := range p.encoded.IDs {
				if used[p.row][p.start+i] {
					t.Fatalf("batch %d: two segments at %d of row %d", n, p.start+i, p.row)
				}
				used[p.row][p.start+i] = true
			}
		}
		if len(batch) == 0 {
			t.Errorf("batch %d is empty", n)
		}
	}
	if !slices.Equal(placedSegments, segments) { // in the order of their batches: they came so
		t.Errorf("%d segments were placed, want %d in their order", len(placedSegments), len(segments))
	}
	tokens, room := 0, len(batches)*3*48
	for _, batch := range batches {
		for _, p := range batch {
			tokens += len(p.encoded.IDs)
		}
	}
	if float64(tokens) < 0.75*float64(room) {
		t.Errorf("%d tokens in %d places", tokens, room)
	}
	if again := newPacker(ids).pack(segments); !reflect.DeepEqual(again, batches) {
		t.Error("packed again it is another plan")
	}
}

func TestPackerOfNothing(t *testing.T) {
	if batches := newPacker(nil).pack(nil); len(batches) > 0 {
		t.Errorf("batches of nothing: %v", batches)
	}
}

// The arrays of a batch say what the segments in it are.
func TestFillerWritesSegments(t *testing.T) {
	embeddings := [][]float32{{1, 0}, {0, 1}, {0.6, 0.8}}
	f := &filler{shape: shape{rows: 2, length: 12, perRow: 3, width: 2}, pad: 9, embeddings: embeddings}
	encoded := func(a, b []int32, pair bool) data.Encoded {
		e, _ := testSpecial.Join(a, b, pair, 0)
		return e
	}
	a := f.fill([]placed{
		{segment{0, -1}, 0, 0, encoded([]int32{10, 11}, nil, false)},
		{segment{2, 1}, 1, 0, encoded([]int32{12}, []int32{13, 14}, true)},
		{segment{1, -1}, 0, 4, encoded([]int32{15}, nil, false)},
	}, rng.New(1, "mask"))
	for _, check := range []struct {
		name      string
		got, want any
	}{
		{"ids", a.IDs, []int32{2, 10, 11, 3, 2, 15, 3, 9, 9, 9, 9, 9, 2, 12, 3, 13, 14, 3, 9, 9, 9, 9, 9, 9}},
		{"types", a.Types, []int32{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0}},
		{"segments", a.Segments, []int32{1, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0}},
		{"positions", a.Positions, []int32{0, 1, 2, 3, 0, 1, 2, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 0, 0, 0, 0, 0, 0}},
		{"first", a.first, []int32{0, 4, 0, 12, 0, 0}},
		{"singles", a.singleWeight, []float32{1, 1, 0, 0, 0, 0}},
		{"embeddings", a.embedding, []float32{1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}},
		{"pairs", a.pairWeight, []float32{0, 0, 0, 1, 0, 0}},
		{"cosines", a.pairCosine, []float32{0, 0, 0, 0.8, 0, 0}},
		{"tokens", a.Tokens, 13},
		{"inputs", len(a.Args(dtypes.Float32)), a.inputs()},
	} {
		if !reflect.DeepEqual(check.got, check.want) {
			t.Errorf("%s are %v, want %v", check.name, check.got, check.want)
		}
	}
}

func testPlan(seed uint64) *plan {
	ids := drawnCorpus(120)
	c := &Config{Plan: loop.Plan{Seed: seed}, Neighbours: 0.25, RandomPairs: 0.1, SamePairs: 0.05}
	p := &plan{config: c, packer: func() *packer { return newPacker(ids) }, near: map[int][]int{}}
	for i := range ids {
		p.texts = append(p.texts, i)
		if i%10 != 0 { // one in ten has none
			p.near[i] = []int{(i + 1) % 120, (i + 2) % 120}
		}
	}
	p.pairs = [][2]int{{3, 4}, {50, 7}}
	return p
}

// Batch i is the same whatever was asked before: a resumed run needs only its number.
func TestPlanIsRandomAccess(t *testing.T) {
	inOrder := testPlan(1)
	var want [][]placed
	for i := range 60 {
		want = append(want, inOrder.at(i))
	}
	if inOrder.epoch < 2 {
		t.Fatalf("60 batches are epochs 0 to %d only", inOrder.epoch)
	}
	for _, i := range []int{59, 0, 31, 30, 1, 58, 2} {
		for name, p := range map[string]*plan{"the same plan": inOrder, "a new one": testPlan(1)} {
			if got := p.at(i); !reflect.DeepEqual(got, want[i]) {
				t.Errorf("batch %d of %s differs", i, name)
			}
		}
	}
	if reflect.DeepEqual(testPlan(2).at(0), want[0]) {
		t.Error("another seed, the same batch")
	}
}

// Every epoch has each text alone and each given pair once, and draws its other pairs anew.
func TestPlanEpochs(t *testing.T) {
	p := testPlan(1)
	var drawn [2]map[segment]int
	for epoch := range 2 {
		counts := map[segment]int{}
		for _, batch := range p.pack(epoch) {
			for _, s := range batch {
				counts[s.segment]++
			}
		}
		for _, text := range p.texts {
			if s := (segment{text, -1}); counts[s] != 1 {
				t.Errorf("epoch %d: text %d stands %d times alone", epoch, text, counts[s])
			}
			delete(counts, segment{text, -1})
		}
		for _, pair := range p.pairs {
			if counts[segment{pair[0], pair[1]}] == 0 {
				t.Errorf("epoch %d: the given pair %v is absent", epoch, pair)
			}
			counts[segment{pair[0], pair[1]}]--
		}
		near, same, all := 0, 0, 0
		for s, n := range counts {
			all += n
			if s.a == s.b {
				same += n
			}
			if slices.Contains(p.near[s.a], s.b) || slices.Contains(p.near[s.b], s.a) {
				near += n
			}
		}
		// 30 near ones are drawn, about a tenth of them for nothing; 12 of any texts; 6 of a text with itself.
		if all < 40 || all > 48 || near < 20 || near > 34 || same < 6 || same > 8 {
			t.Errorf("epoch %d: %d pairs drawn, %d near, %d same", epoch, all, near, same)
		}
		drawn[epoch] = counts
	}
	if reflect.DeepEqual(drawn[0], drawn[1]) || reflect.DeepEqual(p.pack(0), p.pack(1)) {
		t.Error("two epochs are the same")
	}
}

func TestWithin(t *testing.T) {
	got := within([][2]int{{1, 2}, {2, 3}, {9, 1}, {5, 5}}, []int{1, 2, 5, 9})
	if want := [][2]int{{1, 2}, {9, 1}, {5, 5}}; !slices.Equal(got, want) {
		t.Errorf("pairs %v, want %v", got, want)
	}
}
