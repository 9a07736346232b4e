package study

import (
	"math"
	"slices"
)

// Difference is an arm against the baseline in a condition: score minus the baseline's, of runs with the same
// seed, which share their examples and their head.
type Difference struct {
	Condition []Setting   `json:"condition"`
	Arm       string      `json:"arm"`
	Metric    string      `json:"metric"`
	N         int         `json:"n"`         // pairs
	Undefined int         `json:"undefined"` // pairs that are left out, because a score is undefined
	Mean      Number      `json:"mean"`
	Low       Number      `json:"ci_low"`
	High      Number      `json:"ci_high"`
	Wins      int         `json:"wins"`
	Losses    int         `json:"losses"`
	Ties      int         `json:"ties"`
	P         Number      `json:"p"`          // Wilcoxon's; null where no pair differs
	HolmP     Number      `json:"p_holm"`     // corrected for all rows of the study
	SmallestP Number      `json:"smallest_p"` // that n pairs can give
	Published Number      `json:"published"`  // the difference of the published values; null where there are not both
	Pairs     []SeedScore `json:"pairs"`      // differences, by seed
}

// Overall is an arm against the baseline over all conditions with pairs.
type Overall struct {
	Arm        string `json:"arm"`
	Conditions int    `json:"conditions"`
	Ahead      int    `json:"ahead"` // conditions in which the mean difference is above zero
	Behind     int    `json:"behind"`
	Mean       Number `json:"mean"`   // of the conditions' mean differences
	Seeds      int    `json:"seeds"`  // with a pair in every one of the conditions
	Low        Number `json:"ci_low"` // of those seeds' means over conditions
	High       Number `json:"ci_high"`
	Wins       int    `json:"wins"` // of all pairs
	Losses     int    `json:"losses"`
	Ties       int    `json:"ties"`
}

// compare fills in differences, what they say over all conditions, and the statistics' description.
func (s *Summary) compare(cells []*cell) {
	base := map[string]int{} // of a condition: the index of its baseline
	for i, c := range cells {
		if c.arm == s.Baseline {
			base[ConditionText(c.condition)] = i
		}
	}
	var ps []float64
	for i, c := range cells {
		at, there := base[ConditionText(c.condition)]
		if !there || c.arm == s.Baseline {
			continue
		}
		d := paired(cells[at], c)
		d.Published = publishedDifference(s.Scores[at], s.Scores[i])
		s.Differences = append(s.Differences, d)
		ps = append(ps, float64(d.P))
	}
	most, comparisons := 0, 0
	for i, p := range holm(ps) {
		d := &s.Differences[i]
		d.HolmP = Number(p)
		if most = max(most, d.N); !math.IsNaN(p) {
			comparisons++
		}
	}
	for _, arm := range s.Arms {
		if arm != s.Baseline {
			s.Overall = append(s.Overall, overall(arm, s.Differences))
		}
	}
	s.Method = Method{
		Interval: "BCa bootstrap of the mean of paired differences", Confidence: confidence, Resamples: bootstrapDraws, Seed: bootstrapSeed,
		Test: "Wilcoxon signed-rank, two-sided, zeros dropped, exact up to 50 pairs", Correction: "Holm", Comparisons: comparisons,
		SmallestP: Number(smallestP(most)), SeedsNeeded: seedsFor(max(1, comparisons)),
	}
}

// paired is the difference between two cells of a condition.
func paired(base, c *cell) Difference {
	d := Difference{Condition: c.runs[0].name().Condition, Arm: c.arm, Metric: c.metric(), Pairs: []SeedScore{}, HolmP: none, Published: none}
	scores := map[uint64]float64{}
	for _, m := range base.measured {
		scores[m.Config.Seed] = m.Score()
	}
	var values []float64
	for _, m := range c.measured {
		score, there := scores[m.Config.Seed]
		if !there {
			continue
		}
		v := m.Score() - score
		if math.IsNaN(v) {
			d.Undefined++
			continue
		}
		switch values = append(values, v); {
		case same(v, 0):
			d.Ties++
		case v > 0:
			d.Wins++
		default:
			d.Losses++
		}
		d.Pairs = append(d.Pairs, SeedScore{m.Config.Seed, Number(v)})
	}
	low, high := interval(values, ConditionText(c.condition), c.arm)
	d.N, d.Mean, d.Low, d.High = len(values), Number(mean(values)), Number(low), Number(high)
	d.P, d.SmallestP = Number(wilcoxon(values)), Number(smallestP(len(values)))
	return d
}

// overall is an arm over the conditions in which it has pairs.
func overall(arm string, differences []Difference) Overall {
	o := Overall{Arm: arm}
	var means []float64
	bySeed := map[uint64][]float64{}
	var seeds []uint64
	for _, d := range differences {
		if d.Arm != arm || d.N == 0 {
			continue
		}
		o.Wins, o.Losses, o.Ties = o.Wins+d.Wins, o.Losses+d.Losses, o.Ties+d.Ties
		switch v := float64(d.Mean); {
		case same(v, 0):
		case v > 0:
			o.Ahead++
		default:
			o.Behind++
		}
		means = append(means, float64(d.Mean))
		for _, p := range d.Pairs {
			if bySeed[p.Seed] == nil {
				seeds = append(seeds, p.Seed)
			}
			bySeed[p.Seed] = append(bySeed[p.Seed], float64(p.Score))
		}
	}
	o.Conditions, o.Mean = len(means), Number(mean(means))
	var complete []float64
	for _, seed := range slices.Compact(slices.Sorted(slices.Values(seeds))) {
		if len(bySeed[seed]) == o.Conditions {
			complete = append(complete, mean(bySeed[seed]))
		}
	}
	low, high := interval(complete, "overall", arm)
	o.Seeds, o.Low, o.High = len(complete), Number(low), Number(high)
	return o
}
