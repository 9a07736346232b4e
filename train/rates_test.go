package train

import (
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testshared"
)

// The rule of rates on the embedded encoder, 16 pairs of STS-B: ten updates change ΔK by the same spectral norm whatever
// the rank, within a factor of 1.5; at the rate of rank 8 they do not. Of methods, the default in fast tests.
func TestRuleKeepsTheFirstUpdates(t *testing.T) {
	compressed := func(depth int) func(c *Config) { return func(c *Config) { c.Depth = depth } }
	method := func(name, init string) func(c *Config) { return func(c *Config) { c.Method, c.Init = name, init } }
	cases := []struct {
		name   string
		change func(c *Config)
		ranks  []int
		fast   bool
	}{
		{"deep-compressed", compressed(3), []int{4, 128}, true},
		{"depth 4", compressed(4), []int{4, 128}, false},
		{"depth 5", compressed(5), []int{4, 128}, false},
		{"vanilla", method("vanilla", "reference"), []int{4, 16, 128}, false},
		{"peft's start", method("vanilla", "peft"), []int{4, 16, 128}, false},
		{"rslora", method("rslora", "reference"), []int{4, 16, 128}, false},
		{"lora-plus", method("lora-plus", "reference"), []int{4, 16, 128}, false},
	}
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		for _, tc := range cases {
			if !tc.fast && !testshared.Thorough() {
				continue
			}
			ruled := span{math.Inf(1), 0}
			for _, rank := range tc.ranks {
				norm := tenUpdates(t, b, func(c *Config) { tc.change(c); c.Rank = rank })
				t.Logf("%s: rank %d: %.3g", tc.name, rank, norm)
				ruled.add(norm)
			}
			top := tc.ranks[len(tc.ranks)-1]
			eight := Default()
			tc.change(&eight)
			eight.Steps = 10
			if err := eight.resolve(16); err != nil {
				t.Fatal(err)
			}
			fixed := tenUpdates(t, b, func(c *Config) {
				tc.change(c)
				c.Rank, c.LR, c.HeadLR, c.InitScale, c.Gamma = top, eight.LR, eight.HeadLR, eight.InitScale, eight.Gamma
			})
			t.Logf("%s: %.3g to %.3g over ranks %v; at rank 8's rate %.3g at rank %d", tc.name, ruled.low, ruled.high, tc.ranks, fixed, top)
			if ruled.high > 1.5*ruled.low {
				t.Errorf("%s: ten updates change ΔK by %.3g to %.3g over ranks %v; want a factor of 1.5 at most", tc.name, ruled.low, ruled.high, tc.ranks)
			}
			if fixed < 2*ruled.high {
				t.Errorf("%s: at rank 8's rate ten updates change ΔK by %.3g at rank %d, and by %.3g by the rule: the test shows nothing", tc.name, fixed, top, ruled.high)
			}
		}
	})
}

type span struct{ low, high float64 }

func (s *span) add(x float64) { s.low, s.high = min(s.low, x), max(s.high, x) }

// tenUpdates is the mean over kernels of ‖ΔK‖₂ after ten updates. What ΔK begins with is a small part of that.
func tenUpdates(t *testing.T, b compute.Backend, change func(c *Config)) float64 {
	t.Helper()
	c := Default()
	c.Shots, c.Steps, c.DecayRatio, c.MaxLength, c.Pad, c.Dropout = 16, 10, 1, 64, string(data.PadPacked), 0
	change(&c)
	out := filepath.Join(t.TempDir(), fmt.Sprint(c.Method, c.Rank))
	trainSmall(t, b, c, out)
	f, err := ReadFinished(t.Context(), out, OpenOptions{Sources: embedded()})
	if err != nil {
		t.Fatal(err)
	}
	kernels, err := f.Deltas(t.Context(), DeltaOptions{Backend: b, Sources: embedded(), Tolerance: 1e-3, Progress: func(int, int) {}})
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, k := range kernels {
		sum += k.Values[0]
	}
	return sum / float64(len(kernels))
}
