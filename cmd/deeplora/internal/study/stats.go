package study

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/deeplora/deeplora/internal/rng"
)

// Number is a figure of a summary. NaN means that there is none, and is written as null; JSON has no NaN.
type Number float64

// none is the missing Number.
var none = Number(math.NaN())

// There reports whether the number is not missing.
func (n Number) There() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// MarshalJSON writes NaN and infinities as null.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.There() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads null back as NaN.
func (n *Number) UnmarshalJSON(text []byte) error {
	var v *float64
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	*n = none
	if v != nil {
		*n = Number(*v)
	}
	return nil
}

// mean of values; NaN without any.
func mean(values []float64) float64 { return stat.Mean(values, nil) }

// deviation is the sample standard deviation; NaN for fewer than two values.
func deviation(values []float64) float64 {
	if len(values) < 2 {
		return math.NaN()
	}
	return stat.StdDev(values, nil)
}

// median of values, the mean of the middle two if their number is even; NaN without any.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Statistics of a summary: which they are, in numbers.
const (
	confidence     = 0.95
	bootstrapSeed  = 0
	bootstrapDraws = 10_000
	exactPairs     = 50 // up to which Wilcoxon's distribution is enumerated, as SciPy does
)

// interval is the bias-corrected and accelerated (BCa) bootstrap interval of the mean of values, with confidence
// 0.95 and 10,000 resamples from the stream of seed 0 named "bootstrap" and names: the same resamples for the same
// names on any machine. NaN for fewer than two values; the value itself where all are equal.
func interval(values []float64, names ...string) (low, high float64) {
	stream := rng.New(bootstrapSeed, append([]string{"bootstrap"}, names...)...)
	return bca(values, bootstrapDraws, stream.IntN)
}

// bca is Efron's interval (Efron and Tibshirani 1993, 14.3) of the mean, from resamples whose indices draw gives:
// percentiles of the resampled means, moved by their bias against the mean and by the skewness of the values.
func bca(values []float64, resamples int, draw func(n int) int) (low, high float64) {
	n := len(values)
	if n < 2 {
		return math.NaN(), math.NaN()
	}
	if slices.Min(values) == slices.Max(values) {
		return values[0], values[0]
	}
	center := mean(values)
	means := make([]float64, resamples)
	below := 0.0 // resampled means below the mean; one that equals it counts by half
	for i := range means {
		sum := 0.0
		for range n {
			sum += values[draw(n)]
		}
		switch means[i] = sum / float64(n); {
		case same(means[i], center):
			below += 0.5
		case means[i] < center:
			below++
		}
	}
	slices.Sort(means)
	bias := distuv.UnitNormal.Quantile(below / float64(resamples))
	skew := acceleration(values)
	at := func(tail float64) float64 {
		z := bias + distuv.UnitNormal.Quantile(tail)
		return percentile(means, distuv.UnitNormal.CDF(bias+z/(1-skew*z)))
	}
	return at((1 - confidence) / 2), at((1 + confidence) / 2)
}

// acceleration is a sixth of the skewness of the jackknife's means.
func acceleration(values []float64) float64 {
	center, squares, cubes := mean(values), 0.0, 0.0
	for _, v := range values {
		d := (v - center) / float64(len(values)-1) // the mean without v lies so far below the mean
		squares += d * d
		cubes += d * d * d
	}
	return cubes / (6 * math.Pow(squares, 1.5))
}

// percentile is the share-th quantile of sorted values, linear between them.
func percentile(sorted []float64, share float64) float64 {
	at := share * float64(len(sorted)-1)
	i := min(max(int(at), 0), len(sorted)-1)
	next := min(i+1, len(sorted)-1)
	return sorted[i] + (at-float64(i))*(sorted[next]-sorted[i])
}

// same says whether two scores, or differences of scores, are equal but for rounding: 0.62-0.60 is 0.64-0.62.
func same(a, b float64) bool { return math.Abs(a-b) <= 1e-12 }

// wilcoxon is the two-sided p of Wilcoxon's signed-rank test that differences are symmetric about zero, as
// scipy.stats.wilcoxon has it. Differences of zero are dropped, as Wilcoxon did. Up to 50 that are left the
// distribution over all signs is exact, with mean ranks for ties; beyond, it is the normal approximation,
// corrected for ties and not for continuity. NaN if no difference is left.
func wilcoxon(differences []float64) float64 {
	left := slices.DeleteFunc(slices.Clone(differences), func(d float64) bool { return same(d, 0) })
	n := len(left)
	if n == 0 {
		return math.NaN()
	}
	ranks, ties := doubleRanks(left)
	plus, total := 0, 0
	for i, d := range left {
		total += ranks[i]
		if d > 0 {
			plus += ranks[i]
		}
	}
	if n <= exactPairs {
		return min(1, 2*tail(ranks, min(plus, total-plus), total))
	}
	m := float64(n)
	variance := m*(m+1)*(2*m+1)/24 - ties/48
	z := (float64(plus)/2 - m*(m+1)/4) / math.Sqrt(variance)
	return 2 * distuv.UnitNormal.CDF(-math.Abs(z))
}

// doubleRanks are twice the ranks of the magnitudes of d, so that the mean ranks of ties are integers, and the
// sum of t³-t over groups of t ties.
func doubleRanks(d []float64) (ranks []int, ties float64) {
	order := make([]int, len(d))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(math.Abs(d[a]), math.Abs(d[b])) })
	ranks = make([]int, len(d))
	for first := 0; first < len(order); {
		last := first
		for last+1 < len(order) && same(math.Abs(d[order[last+1]]), math.Abs(d[order[first]])) {
			last++
		}
		for _, i := range order[first : last+1] {
			ranks[i] = first + last + 2 // twice the mean of first+1 … last+1
		}
		t := float64(last - first + 1)
		ties += t*t*t - t
		first = last + 1
	}
	return ranks, ties
}

// tail is the probability that ranks whose signs are drawn with even odds have positive ones that sum to at most
// sum: a count of all 2^n signs, by how many give each sum, exact in float64 up to 50 ranks.
func tail(ranks []int, sum, total int) float64 {
	ways := make([]float64, total+1)
	ways[0] = 1
	for _, r := range ranks {
		for s := total; s >= r; s-- {
			ways[s] += ways[s-r]
		}
	}
	count := 0.0
	for _, w := range ways[:sum+1] {
		count += w
	}
	return math.Ldexp(count, -len(ranks))
}

// smallestP is the smallest p that the test can give for n pairs: all of one sign.
func smallestP(n int) float64 {
	if n == 0 {
		return math.NaN()
	}
	return min(1, math.Ldexp(2, -n))
}

// seedsFor is how many pairs let the test's p, corrected for so many comparisons, fall below 0.05.
func seedsFor(comparisons int) int {
	n := 1
	for smallestP(n)*float64(comparisons) >= significant {
		n++
	}
	return n
}

// significant is the level that p is held against.
const significant = 0.05

// holm corrects ps for their number by Holm's step-down method; those that are NaN stay so and do not count.
func holm(ps []float64) []float64 {
	adjusted := slices.Clone(ps)
	var order []int
	for i, p := range ps {
		if !math.IsNaN(p) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ps[a], ps[b]) })
	largest := 0.0
	for place, i := range order {
		largest = max(largest, min(1, ps[i]*float64(len(order)-place)))
		adjusted[i] = largest
	}
	return adjusted
}
