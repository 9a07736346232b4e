package pretrain

import (
	"math"
	"slices"

	"github.com/deeplora/deeplora/internal/rng"
)

// plan says which segments each batch holds. It has no state but the epoch in hand: Batch(i) is the same whatever
// was asked before, so that a resumed run needs only its step number.
type plan struct {
	config *Config
	packer func() *packer
	texts  []int         // to train on
	pairs  [][2]int      // given ones, to train on
	near   map[int][]int // nil where no pairs are wanted

	epoch   int
	first   int // batch of the epoch's first
	batches [][]placed
}

// at returns the segments of batch i, counted from 0 through all epochs.
func (p *plan) at(i int) []placed {
	if p.batches == nil || i < p.first {
		p.epoch, p.first, p.batches = 0, 0, p.pack(0)
	}
	for i >= p.first+len(p.batches) {
		p.first += len(p.batches)
		p.epoch++
		p.batches = p.pack(p.epoch)
	}
	return p.batches[i-p.first]
}

// pack plans one epoch: every text alone, and where pairs are wanted the given ones, near ones and random ones.
func (p *plan) pack(epoch int) [][]placed {
	s := rng.New(p.config.Seed, "order").At(uint64(epoch))
	segments := singles(p.texts)
	if p.near != nil {
		segments = append(segments, joined(p.pairs)...)
		segments = append(segments, p.drawPairs(p.config.Neighbours, s, func(a int) int { return pick(p.near[a], s) })...)
		segments = append(segments, p.drawPairs(p.config.RandomPairs, s, func(int) int { return p.texts[s.IntN(len(p.texts))] })...)
		segments = append(segments, p.drawPairs(p.config.SamePairs, s, func(a int) int { return a })...)
	}
	shuffled := make([]segment, len(segments))
	for i, at := range s.Perm(len(segments)) {
		shuffled[i] = segments[at]
	}
	return p.packer().pack(shuffled)
}

func singles(texts []int) []segment {
	segments := make([]segment, len(texts))
	for i, t := range texts {
		segments[i] = segment{t, -1}
	}
	return segments
}

func joined(pairs [][2]int) []segment {
	segments := make([]segment, len(pairs))
	for i, p := range pairs {
		segments[i] = segment{p[0], p[1]}
	}
	return segments
}

// drawPairs draws a share of the texts as first texts of pairs, and their partners. partner gives -1 for none.
func (p *plan) drawPairs(share float64, s *rng.Stream, partner func(a int) int) []segment {
	var segments []segment
	for range int(math.Round(share * float64(len(p.texts)))) {
		a := p.texts[s.IntN(len(p.texts))]
		b := partner(a)
		if s.IntN(2) == 1 {
			a, b = b, a
		}
		if a >= 0 && b >= 0 {
			segments = append(segments, segment{a, b})
		}
	}
	return segments
}

// pick draws one of a list, or -1 where it is empty.
func pick(list []int, s *rng.Stream) int {
	if len(list) == 0 {
		return -1
	}
	return list[s.IntN(len(list))]
}

// within keeps the pairs of which both texts are in an ascending list.
func within(pairs [][2]int, texts []int) [][2]int {
	var kept [][2]int
	for _, p := range pairs {
		_, a := slices.BinarySearch(texts, p[0])
		_, b := slices.BinarySearch(texts, p[1])
		if a && b {
			kept = append(kept, p)
		}
	}
	return kept
}
