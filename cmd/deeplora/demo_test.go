package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// pairsOf are runs of the demo, seed by seed: Pearson of vanilla and of deep-compressed.
func pairsOf(values ...[2]float64) (runs []train.Result) {
	for seed, pair := range values {
		for i, v := range pair {
			runs = append(runs, train.Result{
				Method: demoMethods[i], Seed: uint64(seed), TrainSeconds: 2,
				Metrics: loop.Metrics{"pearson": v, "spearman": v / 2},
			})
		}
	}
	return runs
}

func TestDemoVerdict(t *testing.T) {
	nan := math.NaN()
	for _, test := range []struct {
		name string
		runs []train.Result
		want string
	}{
		{"all", pairsOf([2]float64{0.5, 0.53}, [2]float64{0.6, 0.63}, [2]float64{0.4, 0.433}), "deep-compressed is ahead on 3 of 3 seeds by 0.031 of pearson on average"},
		{"the other", pairsOf([2]float64{0.55, 0.5}, [2]float64{0.65, 0.6}), "vanilla is ahead on 2 of 2 seeds by 0.05 of pearson on average"},
		{"one seed", pairsOf([2]float64{0.5, 0.6}), "deep-compressed is ahead on 1 of 1 seeds by 0.1 of pearson on average"},
		{
			"by one seed", pairsOf([2]float64{0.5, 0.9}, [2]float64{0.5, 0.45}, [2]float64{0.5, 0.45}),
			"deep-compressed is ahead by 0.1 of pearson on average, yet on 1 of 3 seeds only, less than the spread of the differences, ±0.26",
		},
		{"equal", pairsOf([2]float64{0.5, 0.5}), "neither method is ahead on average over 1 of 1 seeds"},
		{"some undefined", pairsOf([2]float64{nan, 0.5}, [2]float64{0.1, 0.2}), "deep-compressed is ahead on 1 of 2 seeds by 0.1 of pearson on average; undefined, and left out, on 1"},
		{"all undefined", pairsOf([2]float64{nan, 0.5}), "pearson is undefined on every seed (where all predictions are one number): nothing to compare; try more --steps"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := summarize(test.runs)
			if got := s.verdict(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
			if _, err := json.Marshal(s); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDemoSummaryIsOverSeeds(t *testing.T) {
	s := summarize(pairsOf([2]float64{0.1, 0.5}, [2]float64{0.2, 0.7}, [2]float64{0.3, 0.6}))
	rows := s.rows()
	if got, want := strings.Join(rows[1], "|"), "vanilla|0|0|0.200 ± 0.100|0.10 0.20 0.30|0.100|2s"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := strings.Join(rows[2], "|"), "deep-compressed|0|0|0.600 ± 0.100|0.50 0.70 0.60|0.300|2s"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	single := summarize(pairsOf([2]float64{0.1, math.NaN()}))
	if got, want := single.rows()[1][3]+"|"+single.rows()[2][3], "0.100|undefined"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestDemoPredictsWithTheBest(t *testing.T) {
	nan := math.NaN()
	for _, test := range []struct {
		runs []train.Result
		want uint64
	}{
		{pairsOf([2]float64{0.9, 0.1}, [2]float64{0, 0.3}, [2]float64{0, 0.2}), 1},
		{pairsOf([2]float64{0, nan}, [2]float64{0, -0.3}), 1},
		{pairsOf([2]float64{0, 0.2}, [2]float64{0, nan}, [2]float64{0, 0.2}), 0},
		{pairsOf([2]float64{0, nan}, [2]float64{0, nan}), 0},
	} {
		if best := bestOf(test.runs); best.Seed != test.want || best.Method != demoMethods[1] {
			t.Errorf("%s with seed %d, want seed %d", best.Method, best.Seed, test.want)
		}
	}
}

// What the Go engine does less of by itself, flags that are given have their way with.
func TestDemoOnTheGoEngine(t *testing.T) {
	for _, test := range []struct {
		backend, steps, seeds string // flags, or empty
		wantSteps, wantSeeds  int
		told                  bool
	}{
		{backendCPU, "", "", demoSteps, demoSeeds, false},
		{backendGo, "", "", demoStepsGo, demoSeedsGo, true},
		{backendGo, "5", "", 5, demoSeedsGo, true},
		{backendGo, "5", "4", 5, 4, false},
	} {
		var said strings.Builder
		d := &demo{shared: &shared{ui: newUI(nil, &said, false, false)}}
		f := pflag.NewFlagSet("demo", pflag.ContinueOnError)
		f.IntVar(&d.steps, "steps", demoSteps, "")
		f.IntVar(&d.seeds, "seeds", demoSeeds, "")
		for name, value := range map[string]string{"steps": test.steps, "seeds": test.seeds} {
			if value == "" {
				continue
			}
			if err := f.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
		d.provenance.Backend = test.backend
		d.fit(f)
		if d.steps != test.wantSteps || d.seeds != test.wantSeeds || (said.String() != "") != test.told {
			t.Errorf("%+v: %d steps, %d seeds, said %q", test, d.steps, d.seeds, said.String())
		}
	}
}

func TestEmbeddedPairs(t *testing.T) {
	p := &demoPairs{}
	if err := p.read(strings.NewReader(string(embeddedPairs)), pairsJSONL); err != nil || len(p.rows) != 3 {
		t.Fatalf("%d pairs, error %v", len(p.rows), err)
	}
}

func TestTextsFitTheirColumn(t *testing.T) {
	for text, want := range map[string]string{
		"Ein Mädchen spielt.":    "Ein Mädchen spielt.",
		"a\tb\x1b[2K\nc":         "a b [2K c",
		strings.Repeat("é", 100): strings.Repeat("é", 59) + "…",
	} {
		if got := shown(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

// An interrupted demo that keeps its runs goes on with the line that it prints; one that does not leaves nothing.
func TestDemoInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("runs processes")
	}
	out, temporary := filepath.Join(t.TempDir(), "out"), t.TempDir()
	for _, keep := range []bool{true, false} {
		args := []string{"demo", "--backend", "go", "--steps", "100000", "--seeds", "1"}
		if keep {
			args = append(args, "--out", out)
		}
		p := program(t, args...)
		p.Env = append(p.Env, "TMPDIR="+temporary)
		p.begin(t)
		p.until(t, "the first step", func() bool { return strings.Contains(p.err.String(), "vanilla-0: step 1/") })
		if err := p.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		code := p.code(t)
		line := "go on with: deeplora demo --out " + out + " --steps 100000 --seeds 1 --backend go"
		if said := p.err.String(); code != exitInterrupted || strings.Contains(said, line) != keep {
			t.Errorf("keep %v: exit code %d, said\n%s", keep, code, said)
		}
		if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
			t.Errorf("left %v, error %v", left, err)
		}
	}
}
