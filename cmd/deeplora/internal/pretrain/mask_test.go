package pretrain

import (
	"math"
	"slices"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rng"
)

var testSpecial = data.Special{PAD: 0, UNK: 1, CLS: 2, SEP: 3, MASK: 4}

// drawnTexts are encoded texts of ids from 5 to 199, with an [UNK] here and there.
func drawnTexts(n int) [][]int32 {
	s := rng.New(3, "texts")
	texts := make([][]int32, n)
	for i := range texts {
		texts[i] = append(texts[i], testSpecial.CLS)
		for range 5 + s.IntN(40) {
			id := int32(5 + s.IntN(195))
			if s.IntN(50) == 0 {
				id = testSpecial.UNK
			}
			texts[i] = append(texts[i], id)
		}
		texts[i] = append(texts[i], testSpecial.SEP)
	}
	return texts
}

// binomial fails where a share of n draws is not p, within five standard deviations.
func binomial(t *testing.T, what string, count, n int, p float64) {
	t.Helper()
	if off := math.Abs(float64(count) - p*float64(n)); off > 5*math.Sqrt(float64(n)*p*(1-p)) {
		t.Errorf("%s: %d of %d, want a share of %.3f", what, count, n, p)
	}
}

// Of 15 % of the tokens, 80 % become [MASK], 10 % another token, 10 % stay; special ones are never chosen.
func TestMaskShares(t *testing.T) {
	m := &masking{special: testSpecial, vocabulary: 200, probability: 0.15}
	stream := rng.New(1, "mask")
	var words, chosen, masked, kept, replaced int
	random := map[int32]int{}
	for _, text := range drawnTexts(5000) {
		ids := slices.Clone(text)
		at, was := m.mask(ids, stream)
		if !slices.IsSorted(at) || len(at) != len(was) {
			t.Fatalf("positions %v of tokens %v", at, was)
		}
		for _, id := range text {
			if !isSpecial(testSpecial, id) {
				words++
			}
		}
		chosen += len(at)
		for i, pos := range at {
			if was[i] != text[pos] || isSpecial(testSpecial, was[i]) || i > 0 && at[i-1] == pos {
				t.Fatalf("token %d at %d noted as %d", text[pos], pos, was[i])
			}
			switch ids[pos] {
			case testSpecial.MASK:
				masked++
			case was[i]:
				kept++
			default:
				replaced++
				random[ids[pos]]++
			}
			text[pos] = ids[pos]
		}
		if !slices.Equal(text, ids) {
			t.Fatal("a token that was not chosen has changed")
		}
	}
	if words < 1e5 {
		t.Fatalf("%d tokens only", words)
	}
	binomial(t, "chosen", chosen, words, 0.15)
	binomial(t, "masked", masked, chosen, 0.8)
	binomial(t, "kept", kept, chosen, 0.1+0.1/195) // a random token may be the one that stood there
	binomial(t, "replaced", replaced, chosen, 0.1-0.1/195)
	for id := range random {
		if isSpecial(testSpecial, id) || id >= 200 {
			t.Errorf("token %d was put in", id)
		}
	}
	if len(random) < 190 {
		t.Errorf("%d of 195 tokens were put in", len(random))
	}
}

func TestMaskTakesWholeWords(t *testing.T) {
	m := &masking{special: testSpecial, vocabulary: 200, probability: 0.15, piece: make([]bool, 200)}
	for id := 100; id < 150; id++ {
		m.piece[id] = true
	}
	stream := rng.New(2, "mask")
	words, chosen := 0, 0
	for _, text := range drawnTexts(4000) {
		spans := m.words(text)
		words += total(spans)
		at, _ := m.mask(slices.Clone(text), stream)
		chosen += len(at)
		for _, span := range spans {
			_, first := slices.BinarySearch(at, span[0])
			for i := span[0]; i < span[1]; i++ {
				if _, found := slices.BinarySearch(at, i); found != first {
					t.Fatalf("the word at %v is masked in part: %v", span, at)
				}
				if i > span[0] && !m.piece[text[i]] {
					t.Fatalf("the word at %v holds token %d", span, text[i])
				}
			}
		}
	}
	if share := float64(chosen) / float64(words); share < 0.15 || share > 0.18 { // the last word may exceed its share
		t.Errorf("%.3f of the tokens are masked", share)
	}
}

// A piece behind a special token begins a word: nothing joins it to what stood before.
func TestMaskWords(t *testing.T) {
	m := &masking{special: testSpecial, piece: make([]bool, 20)}
	m.piece[10], m.piece[11] = true, true
	got := m.words([]int32{2, 10, 5, 10, 11, 1, 11, 6, 3})
	if want := [][2]int{{1, 2}, {2, 5}, {6, 7}, {7, 8}}; !slices.Equal(got, want) {
		t.Errorf("words %v, want %v", got, want)
	}
	if got := m.words([]int32{2, 3}); len(got) > 0 {
		t.Errorf("an empty text has words %v", got)
	}
}

func TestMaskIsReproducible(t *testing.T) {
	m := &masking{special: testSpecial, vocabulary: 200, probability: 0.15}
	text := drawnTexts(1)[0]
	one, two, other := slices.Clone(text), slices.Clone(text), slices.Clone(text)
	m.mask(one, rng.New(1, "mask").At(3))
	m.mask(two, rng.New(1, "mask").At(3))
	m.mask(other, rng.New(1, "mask").At(4))
	if !slices.Equal(one, two) || slices.Equal(one, other) {
		t.Error("one stream masks in two ways, or two in one")
	}
}

// fillAll fills a batch of one row a text.
func fillAll(f *filler, texts [][]int32) *arrays {
	var segments []placed
	for i, ids := range texts {
		segments = append(segments, placed{segment{i, -1}, i, 0, data.Encoded{IDs: slices.Clone(ids), Types: make([]int32, len(ids))}})
	}
	return f.fill(segments, rng.New(1, "mask"))
}

// Where a batch has more masked tokens than slots, those beyond stand there unmasked.
func TestMaskedSlotsOverflow(t *testing.T) {
	texts := drawnTexts(6)
	f := &filler{
		shape:   shape{rows: 6, length: 64, perRow: 1, masked: 8},
		masking: &masking{special: testSpecial, vocabulary: 200, probability: 0.5}, share: 1,
	}
	a := fillAll(f, texts)
	for row, ids := range texts {
		for i, id := range ids {
			at := int32(row*64 + i)
			slot := slices.Index(a.maskedAt, at)
			if slot < 0 && a.IDs[at] != id {
				t.Errorf("token %d at %d is no masked one but became %d", id, at, a.IDs[at])
			}
			if slot >= 0 && a.maskedWas[slot] != id {
				t.Errorf("slot %d says %d stood where %d did", slot, a.maskedWas[slot], id)
			}
		}
	}
	for slot, w := range a.maskedWeight {
		if w != 1 {
			t.Errorf("slot %d is empty", slot)
		}
	}

	f.masked = 400 // and where it has fewer, the slots left weigh nothing
	a = fillAll(f, texts)
	used := 0
	for slot, w := range a.maskedWeight {
		if used += int(w); w == 0 && (a.maskedAt[slot] != 0 || a.maskedWas[slot] != 0) {
			t.Errorf("slot %d is empty and says %d at %d", slot, a.maskedWas[slot], a.maskedAt[slot])
		}
	}
	if used < 20 || used == 400 {
		t.Errorf("%d of 400 slots are used", used)
	}
}
