package data

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/deeplora/deeplora/internal/rng"
)

// DrawOptions says which examples of a split are used. The zero value takes all of them.
type DrawOptions struct {
	Shots   int  // N examples, each with the same probability
	Replace bool // with replacement, as in the reference: an example may be drawn more than once

	PerClass int  // or k examples of each class, by LM-BFF's rule
	Held     bool // the next k of each class instead: LM-BFF's development half

	Seed uint64
}

// Sample draws examples and returns them, in the order drawn, with the manifest that replays the draw.
//
// Draws of N use the stream "draw" of internal/rng. Only examples of s are drawn: what was filtered out before
// (examples that are too long, as in the reference) is not. Draws per class repeat
// Gao et al.'s published splits (LM-BFF; their seeds are 13, 21, 42, 87 and 100, k 16) bit for bit if s
// is a whole train.tsv: their rule, and NumPy's legacy shuffle. For STS-B the two classes are scores
// below 2.5 and the others; of scores of any range, the lower half and the upper, spread over both. Of a multilabel
// task each class has k examples at least.
//
// It is an error to draw more than there is without replacement, or more of a class than it has.
func (s *Split) Sample(opt DrawOptions) (*Split, *Manifest, error) {
	index, rule, err := draw(s, opt)
	if err != nil {
		return nil, nil, fmt.Errorf("draw from %s: %w", s.Source.File, err)
	}
	m := &Manifest{
		Version: manifestVersion, Task: s.Task.Name, Split: s.Name, File: s.Source.File, SHA256: s.Source.SHA256,
		Rows: s.Source.Rows, Rule: rule, Seed: opt.Seed, N: len(s.Examples), Held: s.held,
	}
	if rule == ruleAll {
		return s, m, nil
	}
	drawn := s.pick(index)
	m.N, m.Indices = len(index), fileRows(drawn.Examples)
	return drawn, m, nil
}

func draw(s *Split, opt DrawOptions) (index []int, rule string, err error) {
	n := len(s.Examples)
	switch {
	case opt.Shots < 0 || opt.PerClass < 0:
		return nil, "", fmt.Errorf("%d examples, %d per class; want positive numbers", opt.Shots, opt.PerClass)
	case opt.Shots > 0 && opt.PerClass > 0:
		return nil, "", errors.New("shots and shots per class exclude each other")
	case opt.Replace && opt.PerClass > 0:
		return nil, "", errors.New("a draw per class is without replacement")
	case opt.PerClass > 0 && opt.Seed > math.MaxUint32:
		return nil, "", fmt.Errorf("seed %d: draws per class use NumPy's generator, whose seeds end at %d", opt.Seed, uint32(math.MaxUint32))
	case opt.PerClass > 0 && s.Task.Multi:
		return drawPerLabel(s, opt)
	case opt.PerClass > 0 && s.Task.Regression() && s.Task.files.most == 0:
		return drawPerQuantile(s, opt)
	case opt.PerClass > 0:
		return drawPerClass(s, opt)
	case opt.Shots == 0:
		return nil, ruleAll, nil
	case n == 0:
		return nil, "", errors.New("no examples to draw from")
	case opt.Replace:
		stream := rng.New(opt.Seed, "draw")
		index = make([]int, opt.Shots)
		for i := range index {
			index[i] = stream.IntN(n)
		}
		return index, ruleWithReplacement, nil
	case opt.Shots > n:
		return nil, "", fmt.Errorf("%d examples of %d without replacement; lower --shots or use --sample with-replacement", opt.Shots, n)
	default:
		return rng.New(opt.Seed, "draw").Perm(n)[:opt.Shots], ruleWithoutReplacement, nil
	}
}

// drawPerClass is LM-BFF's rule (formats.md 4.1): shuffle, group by class in the order in which
// classes appear, and take k of each group: the first k, or the k after them.
func drawPerClass(s *Split, opt DrawOptions) (index []int, rule string, err error) {
	classes, err := s.classes()
	if err != nil {
		return nil, "", err
	}
	groups := groupByClass(classes, numpyShuffle(uint32(opt.Seed), len(s.Examples)))
	from, rule := 0, rulePerClass
	if opt.Held {
		from, rule = opt.PerClass, rulePerClassHeld
	}
	if want := max(2, len(s.Task.Labels)); len(groups) < want {
		return nil, "", fmt.Errorf("only %d of %d classes occur", len(groups), want)
	}
	for _, group := range groups {
		// Without k·2 the half asked for would be short, or share examples with the other.
		if len(group) < from+opt.PerClass {
			return nil, "", fmt.Errorf("class %s has %d examples; want %d", s.className(classes[group[0]]), len(group), from+opt.PerClass)
		}
		index = append(index, group[from:from+opt.PerClass]...)
	}
	return index, rule, nil
}

// groupByClass returns the positions in order by class, classes as they first appear.
func groupByClass(classes, order []int) [][]int {
	var groups [][]int
	at := map[int]int{} // class -> place in groups
	for _, i := range order {
		g, seen := at[classes[i]]
		if !seen {
			g = len(groups)
			at[classes[i]], groups = g, append(groups, nil)
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

// drawPerLabel draws sets of labels until each label has k examples: the rarest label first, of its examples the first in
// the shuffled order that are not drawn yet. A frequent label may come to more, with rarer ones. The half that is held
// repeats that with the examples that are left.
func drawPerLabel(s *Split, opt DrawOptions) (index []int, rule string, err error) {
	of, err := s.byLabel()
	if err != nil {
		return nil, "", err
	}
	order, taken := numpyShuffle(uint32(opt.Seed), len(s.Examples)), make([]bool, len(s.Examples))
	index, have := s.drawEach(of, order, taken, opt.PerClass)
	need := opt.PerClass
	rule = rulePerLabel
	if opt.Held {
		index, have = s.drawEach(of, order, taken, opt.PerClass)
		rule, need = rulePerLabelHeld, 2*opt.PerClass
	}
	for label, members := range of {
		if have[label] < opt.PerClass {
			return nil, "", fmt.Errorf("class %s has %d examples, of which %d are drawn; want %d", s.Task.Labels[label], len(members), have[label], need)
		}
	}
	return index, rule, nil
}

// drawEach takes examples of each label, rarest first, until k have it, and says how many of them have each.
func (s *Split) drawEach(of [][]int, order []int, taken []bool, k int) (index, have []int) {
	have = make([]int, len(of))
	for _, label := range rarest(of) {
		for _, i := range order {
			if have[label] >= k {
				break
			}
			if taken[i] || !slices.Contains(s.Examples[i].Classes, label) {
				continue
			}
			taken[i], index = true, append(index, i)
			for _, c := range s.Examples[i].Classes {
				have[c]++
			}
		}
	}
	return index, have
}

// byLabel are the examples that have each class of a multilabel task.
func (s *Split) byLabel() ([][]int, error) {
	of := make([][]int, len(s.Task.Labels))
	for i, e := range s.Examples {
		if math.IsNaN(e.Label) {
			return nil, fmt.Errorf("row %d has no labels to draw by", e.Row)
		}
		for _, c := range e.Classes {
			of[c] = append(of[c], i)
		}
	}
	return of, nil
}

// rarest are the places of groups in order of size, the first of equals first.
func rarest(groups [][]int) []int {
	order := make([]int, len(groups))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(len(groups[a]), len(groups[b])) })
	return order
}

// drawPerQuantile draws scores of any range: the examples in order of their scores are cut into 2k equal parts, and each
// gives one, the first in the shuffled order; the half that is held, the second. Those are k of the lower half of the
// scores and k of the upper, as LM-BFF draws STS-B, and spread over both.
func drawPerQuantile(s *Split, opt DrawOptions) (index []int, rule string, err error) {
	parts, at, rule := 2*opt.PerClass, 0, rulePerQuantile
	if opt.Held {
		at, rule = 1, rulePerQuantileHeld
	}
	if slices.ContainsFunc(s.Examples, func(e Example) bool { return math.IsNaN(e.Label) }) {
		return nil, "", errors.New("there are rows without a score to draw by")
	}
	if n := len(s.Examples); n < parts*(at+1) {
		return nil, "", fmt.Errorf("%d examples; want %d, for %d of the lower half of the scores and as many of the upper", n, parts*(at+1), opt.PerClass)
	}
	place := make([]int, len(s.Examples)) // in the shuffled order
	for p, i := range numpyShuffle(uint32(opt.Seed), len(s.Examples)) {
		place[i] = p
	}
	for _, part := range cut(s.byScore(), parts) {
		slices.SortFunc(part, func(a, b int) int { return cmp.Compare(place[a], place[b]) })
		index = append(index, part[at])
	}
	return index, rule, nil
}

// cut divides a list into so many parts of equal length, give or take one.
func cut(list []int, parts int) [][]int {
	groups := make([][]int, parts)
	for at, i := range list {
		g := at * parts / len(list)
		groups[g] = append(groups[g], i)
	}
	return groups
}

// classes are the class ids of the examples; for scores, which half of the task's range each lies in.
func (s *Split) classes() ([]int, error) {
	classes := make([]int, len(s.Examples))
	for i, e := range s.Examples {
		switch {
		case math.IsNaN(e.Label):
			return nil, fmt.Errorf("row %d has no label to draw by", e.Row)
		case !s.Task.Regression():
			classes[i] = int(e.Label)
		case e.Label >= s.Task.files.most/2:
			classes[i] = 1
		}
	}
	return classes, nil
}

func (s *Split) className(class int) string {
	if s.Task.Regression() {
		return []string{"score < 2.5", "score >= 2.5"}[class]
	}
	return s.Task.Labels[class]
}

// numpyShuffle returns 0 … n-1 in the order that numpy.random.seed(seed); numpy.random.shuffle leaves
// a list in. (NumPy's developers promise that this generator, RandomState, never changes.)
func numpyShuffle(seed uint32, n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	g := newMT19937(seed)
	for i := n - 1; i > 0; i-- {
		j := g.atMost(uint32(i))
		order[i], order[j] = order[j], order[i]
	}
	return order
}

// mt19937 is Matsumoto and Nishimura's Mersenne Twister, 32-bit (1998, with the initialisation of 2002).
type mt19937 struct {
	state [624]uint32
	next  int
}

func newMT19937(seed uint32) *mt19937 {
	g := &mt19937{next: 624}
	g.state[0] = seed
	for i := 1; i < len(g.state); i++ {
		before := g.state[i-1]
		g.state[i] = 1812433253*(before^before>>30) + uint32(i)
	}
	return g
}

func (g *mt19937) uint32() uint32 {
	if g.next == len(g.state) {
		g.twist()
	}
	y := g.state[g.next]
	g.next++
	y ^= y >> 11
	y ^= y << 7 & 0x9d2c5680
	y ^= y << 15 & 0xefc60000
	return y ^ y>>18
}

func (g *mt19937) twist() {
	const n, m = 624, 397
	for i := range n {
		y := g.state[i]&0x80000000 | g.state[(i+1)%n]&0x7fffffff
		g.state[i] = g.state[(i+m)%n] ^ y>>1
		if y&1 == 1 {
			g.state[i] ^= 0x9908b0df
		}
	}
	g.next = 0
}

// atMost returns a uniform integer in [0, limit]: it draws numbers of as many bits as limit has until one is not
// above it.
func (g *mt19937) atMost(limit uint32) uint32 {
	mask := limit
	for shift := 1; shift < 32; shift *= 2 {
		mask |= mask >> shift
	}
	for {
		if v := g.uint32() & mask; v <= limit {
			return v
		}
	}
}
