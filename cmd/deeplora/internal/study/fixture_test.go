package study

import (
	"fmt"
	"math"
	"testing"

	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// fabricated is an experiment whose runs were never made: what they would have measured is drawn.
type fabricated struct {
	experiment *Experiment
	runs       []Run
	measured   []Measured
}

// smallStudy has two settings, three arms, five seeds and published numbers of another model.
const smallStudy = `{
 "title": "STS-B, few examples", "description": "Two methods against LoRA as the examples and the rank grow.",
 "set": {"task": "stsb", "steps": 200},
 "grid": {"method": ["vanilla", "deep-compressed", "deep-narrow"], "shots": [16, 64, 256], "rank": [8, 32], "seed": [0, 1, 2, 3, 4]},
 "published": {"source": "the authors' stored runs", "model": "bert-base-cased", "rows": [
   {"where": {"arm": "vanilla", "shots": 16, "rank": 8}, "metric": "pearson", "value": 0.529, "seeds": 20},
   {"where": {"arm": "deep-compressed", "shots": 16.0, "rank": 8}, "metric": "pearson", "value": 0.598, "seeds": 20},
   {"where": {"arm": "vanilla", "shots": 64, "rank": 8}, "metric": "pearson", "value": 0.735, "seeds": 20},
   {"where": {"arm": "deep-compressed", "shots": 64, "rank": 8}, "metric": "spearman", "value": 0.751}
 ]}
}`

func fabricate(t testing.TB, text string) fabricated {
	t.Helper()
	e, err := ParseExperiment([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	runs, err := e.Runs()
	if err != nil {
		t.Fatal(err)
	}
	f := fabricated{experiment: e, runs: runs}
	seen := map[string]bool{}
	for _, r := range runs {
		m := measurement(r)
		if at := r.Arm + ConditionText(r.Condition); !seen[at] {
			seen[at], m.Updates = true, someUpdates(r)
		}
		f.measured = append(f.measured, m)
	}
	return f
}

// measurement is a plausible result: the deep methods are ahead, less so with more examples, and vanilla suffers
// from rank.
func measurement(r Run) Measured {
	stream := rng.New(r.Config.Seed, "fabricated", r.Arm, ConditionText(r.Condition))
	deep := 0.0
	if r.Arm != "vanilla" {
		deep = 1
	}
	shots := math.Log2(max(16, float64(r.Config.Shots)) / 16)
	score := 0.5 + 0.07*shots + 0.08*deep/(1+shots) - 0.004*float64(r.Config.Rank)*(1-deep) + 0.03*stream.Normal()
	m := Measured{Run: r, Result: train.Result{
		Task: r.Config.Task, Split: "validation", PrimaryMetric: "pearson", Metrics: loop.Metrics{"pearson": score, "spearman": score - 0.01},
		Examples: 1500, Method: r.Config.Method, Rank: r.Config.Rank, Seed: r.Config.Seed, Shots: r.Config.Shots, Steps: r.Config.Steps,
		Selected: r.Config.Steps, Parameters: 110_849 + 400*r.Config.Rank, TrainSeconds: 34 + 6*deep + stream.Float64(),
		WallSeconds: 50 + stream.Float64(), TokensPerSecond: 5200 - 600*deep + 100*stream.Normal(), PeakRSS: 410 << 20, Backend: "xla:cpu",
		Threads: 2, FinalLoss: 0.4,
	}}
	for step := 1; step <= r.Config.Steps; step++ {
		loss := (2-0.4*deep)*math.Exp(-float64(step)/60) + 0.3 + 0.1*math.Abs(stream.Normal())
		m.Curve = append(m.Curve, loop.Step{Step: step, Loss: loss})
	}
	return m
}

func someUpdates(r Run) []train.KernelDelta {
	var updates []train.KernelDelta
	stream := rng.New(0, "fabricated updates", r.Arm, ConditionText(r.Condition))
	for layer := range 3 {
		for _, kind := range []string{"attention.self.query", "attention.self.value", "intermediate.dense"} {
			decay := 0.85
			if r.Arm != "vanilla" {
				decay = 0.4
			}
			u := train.KernelDelta{Kernel: fmt.Sprintf("bert.encoder.layer.%d.%s", layer, kind), In: 256, Out: 256, EffectiveRank: 3, Norm: 1}
			for i := range r.Config.Rank {
				u.Values = append(u.Values, math.Pow(decay, float64(i))*(1+0.1*stream.Float64()))
			}
			if r.Arm != "vanilla" {
				u.Gradient = &train.GradientAngles{UpdateDirections: 2, GradientDirections: 4}
				u.Gradient.Input = []float64{10 + 5*stream.Float64(), 30 + 5*stream.Float64()}
				u.Gradient.Output = []float64{15 + 5*stream.Float64(), 40 + 5*stream.Float64()}
			} else {
				u.Gradient = &train.GradientAngles{UpdateDirections: 2, GradientDirections: 4, Input: []float64{70, 85}, Output: []float64{60, 80}}
			}
			updates = append(updates, u)
		}
	}
	return updates
}

func (f *fabricated) summary(t testing.TB) *Summary {
	t.Helper()
	s, err := Summarize(f.experiment, f.runs, f.measured)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// find is the index of the measured run of an arm, condition and seed.
func (f *fabricated) find(t testing.TB, arm, condition string, seed uint64) int {
	t.Helper()
	for i, m := range f.measured {
		if m.Arm == arm && ConditionText(m.Condition) == condition && m.Config.Seed == seed {
			return i
		}
	}
	t.Fatalf("no run of %s, %s, seed %d", arm, condition, seed)
	return 0
}
