package study

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/deeplora/deeplora/internal/rng"
)

// golden is testdata/stats.json.
type golden struct {
	Moments []struct {
		Values           []float64
		Mean, SD, Median float64
	}
	Wilcoxon []struct {
		Differences []float64
		P           float64
	}
	BCA []struct {
		Values    []float64
		Seed      uint64
		Resamples int
		Low, High float64
	}
	Holm []struct{ P, Adjusted []float64 }
}

func readGolden(t *testing.T) golden {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "stats.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.Moments) == 0 || len(g.Wilcoxon) == 0 || len(g.BCA) == 0 || len(g.Holm) == 0 {
		t.Fatal("testdata/stats.json: a part is missing")
	}
	return g
}

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestStatisticsAreSciPys(t *testing.T) {
	g := readGolden(t)
	for i, c := range g.Moments {
		near(t, fmt.Sprint("mean ", i), mean(c.Values), c.Mean, 1e-12)
		near(t, fmt.Sprint("deviation ", i), deviation(c.Values), c.SD, 1e-12)
		near(t, fmt.Sprint("median ", i), median(c.Values), c.Median, 1e-12)
	}
	for _, c := range g.Wilcoxon {
		near(t, fmt.Sprintf("wilcoxon of %d: %.4v", len(c.Differences), c.Differences), wilcoxon(c.Differences)/c.P, 1, 1e-9)
	}
	for i, c := range g.BCA {
		x := c.Seed
		low, high := bca(c.Values, c.Resamples, func(n int) int {
			x = x*6364136223846793005 + 1442695040888963407
			return int(x >> 33 % uint64(n))
		})
		near(t, fmt.Sprintf("low end %d of %d values", i, len(c.Values)), low, c.Low, 1e-9)
		near(t, fmt.Sprintf("high end %d of %d values", i, len(c.Values)), high, c.High, 1e-9)
	}
	for i, c := range g.Holm {
		for j, got := range holm(c.P) {
			near(t, fmt.Sprintf("holm %d, p %d", i, j), got, c.Adjusted[j], 1e-12)
		}
	}
}

// Scores are fractions of few examples: their differences tie, and rounding must not undo that.
func TestWilcoxonSeesTiesThroughRounding(t *testing.T) {
	rounded := []float64{0.62 - 0.60, 0.64 - 0.62, 0.60 - 0.62, 0.1 + 0.2 - 0.3, 0.66 - 0.62}
	exact := []float64{0.02, 0.02, -0.02, 0, 0.04}
	if got, want := wilcoxon(rounded), wilcoxon(exact); got != want {
		t.Errorf("p %v, want %v", got, want)
	}
}

func TestSmallestP(t *testing.T) {
	for n := 1; n <= 12; n++ {
		ahead := make([]float64, n)
		for i := range ahead {
			ahead[i] = float64(i + 1)
		}
		if got := wilcoxon(ahead); got != smallestP(n) {
			t.Errorf("%d pairs, all ahead: p %v, want %v", n, got, smallestP(n))
		}
	}
	for comparisons, want := range map[int]int{1: 6, 3: 7, 8: 9} {
		if got := seedsFor(comparisons); got != want {
			t.Errorf("%d comparisons need %d seeds, want %d", comparisons, got, want)
		}
	}
}

func TestStatisticsOfLittle(t *testing.T) {
	low, high := interval([]float64{1})
	for name, v := range map[string]float64{
		"mean of none": mean(nil), "deviation of one": deviation([]float64{1}), "median of none": median(nil),
		"interval of one": low, "its high end": high, "wilcoxon of zeros": wilcoxon([]float64{0, 0}), "smallest p of none": smallestP(0),
	} {
		if !math.IsNaN(v) {
			t.Errorf("%s is %v", name, v)
		}
	}
	if low, high := interval([]float64{0.5, 0.5}); low != 0.5 || high != 0.5 {
		t.Errorf("interval of equal values %v to %v", low, high)
	}
	if adjusted := holm([]float64{0.04, math.NaN(), 0.01}); adjusted[0] != 0.04 || adjusted[2] != 0.02 || !math.IsNaN(adjusted[1]) {
		t.Errorf("holm with a p that is not there: %v", adjusted)
	}
}

func TestIntervalIsTheSameEveryTime(t *testing.T) {
	values := []float64{0.1, 0.3, 0.2, 0.25, 0.05}
	low, high := interval(values, "shots 16", "deep")
	again, andAgain := interval(values, "shots 16", "deep")
	if low != again || high != andAgain {
		t.Error("two intervals of the same differ")
	}
	if other, _ := interval(values, "shots 64", "deep"); other == low {
		t.Error("two rows share their draws")
	}
	if !(low < mean(values) && mean(values) < high) {
		t.Errorf("%v to %v does not hold the mean", low, high)
	}
}

// How often the interval holds the truth, for the numbers of seeds that people run: what the report says of it.
func TestIntervalCoverage(t *testing.T) {
	if os.Getenv("DEEPLORA_SLOW") == "" {
		t.Skip("set DEEPLORA_SLOW=1: it draws some hundred million numbers")
	}
	for n, want := range map[int]float64{5: 0.8, 10: 0.88, 20: 0.91} {
		stream, held := rng.New(1, "coverage"), 0
		const trials = 3000
		values := make([]float64, n)
		for range trials {
			for i := range values {
				values[i] = stream.Normal()
			}
			if low, high := bca(values, 1000, stream.IntN); low <= 0 && 0 <= high {
				held++
			}
		}
		share := float64(held) / trials
		t.Logf("%d values: %.3f", n, share)
		if share < want {
			t.Errorf("%d values: %.3f of the intervals hold the mean, want %v", n, share, want)
		}
	}
}
