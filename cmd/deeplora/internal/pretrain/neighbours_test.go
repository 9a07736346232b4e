package pretrain

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// scaleToUnit scales a row to length 1.
func scaleToUnit(row []float32) {
	length := float32(math.Sqrt(float64(cosine(row, row))))
	for i := range row {
		row[i] /= length
	}
}

// unitRows are random embeddings of length 1.
func unitRows(n, width int) [][]float32 {
	s := rng.New(6, "rows")
	rows := make([][]float32, n)
	for i := range rows {
		rows[i] = make([]float32, width)
		for j := range rows[i] {
			rows[i][j] = float32(s.Normal())
		}
		scaleToUnit(rows[i])
	}
	return rows
}

// Neighbours are those that a search through all cosines finds.
func TestNeighboursAreTheNearest(t *testing.T) {
	embeddings := unitRows(80, 6)
	var list []int
	for i := 5; i < 70; i += 2 { // some texts only
		list = append(list, i)
	}
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		done := 0
		near, err := neighbours(t.Context(), b, list, embeddings, rng.New(1, "neighbours"), func(n, total int) { done = n })
		if err != nil {
			t.Fatal(err)
		}
		if len(near) != len(list) || done != len(list) {
			t.Errorf("%d texts have neighbours, want %d", len(near), len(list))
		}
		for _, text := range list {
			want := slices.DeleteFunc(slices.Clone(list), func(i int) bool { return i == text })
			slices.SortFunc(want, func(i, j int) int {
				return -cmp.Compare(cosine(embeddings[text], embeddings[i]), cosine(embeddings[text], embeddings[j]))
			})
			if !slices.Equal(near[text], want[:nearest]) {
				t.Errorf("near %d: %v, want %v", text, near[text], want[:nearest])
			}
		}
		again, err := neighbours(t.Context(), b, list, embeddings, rng.New(1, "neighbours"), func(int, int) {})
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range list {
			if !slices.Equal(again[text], near[text]) {
				t.Errorf("near %d: %v the second time", text, again[text])
			}
		}
	})
}

// A list of few texts has the neighbours that there are, one of none has none.
func TestNeighboursOfFew(t *testing.T) {
	b := testbackend.All(t)[0]
	embeddings := unitRows(4, 3)
	for n, want := range map[int]int{0: 0, 1: 0, 2: 1, 4: 3} {
		near, err := neighbours(t.Context(), b, []int{0, 1, 2, 3}[:n], embeddings, rng.New(1, "few"), func(int, int) {})
		if err != nil {
			t.Fatal(err)
		}
		for text, found := range near {
			if len(found) != want || slices.Contains(found, text) {
				t.Errorf("of %d texts %d has the neighbours %v", n, text, found)
			}
		}
	}
}

func TestTop(t *testing.T) {
	texts := []int{10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	for _, tc := range []struct {
		name    string
		cosines []float32
		self    int
		want    []int
	}{
		{"ascending", []float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 10, []int{19, 18, 17, 16, 15, 14, 13, 12}},
		{"descending", []float32{10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}, 0, []int{11, 12, 13, 14, 15, 16, 17, 18}},
		{"all the same", []float32{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 2, []int{10, 11, 13, 14, 15, 16, 17, 18}},
		{"ties keep their order", []float32{5, 7, 5, 7, 5}, 4, []int{11, 13, 10, 12}},
		{"a tie at the edge", []float32{2, 9, 9, 9, 9, 9, 9, 9, 2, 2, 2}, 10, []int{11, 12, 13, 14, 15, 16, 17, 10}},
		{"alone", []float32{1}, 0, []int{}},
	} {
		if got := top(tc.cosines, tc.self, texts[:len(tc.cosines)]); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestNeighboursStopWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := neighbours(ctx, testbackend.All(t)[0], []int{0, 1}, unitRows(2, 3), rng.New(1, "few"), func(int, int) {})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
