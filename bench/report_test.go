package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// The table of a file is what it was, number by number: testdata/results.md is read by people, not written by -update.
func TestTableOfAFile(t *testing.T) {
	var r results
	if err := jsonfile.Read("testdata/results.json", &r); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/results.md")
	if err != nil {
		t.Fatal(err)
	}
	if got := table(&r); got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}, {[]float64{1, 8, 2, 3}, 2.5}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}

func TestEpochTimes(t *testing.T) {
	var steps []step
	for _, s := range []float64{5, 1, 2, 2, 2, 2.5} { // three steps an epoch
		steps = append(steps, step{Seconds: s, Speed: 10})
	}
	first, later, tokens := epochTimes(steps)
	if first != 8 || later != 6.5 || tokens != 80 {
		t.Errorf("%v with compiling, %v, %d tokens; want 8, 6.5 and 80", first, later, tokens)
	}
}

func TestCompareRefusesWhatDiffers(t *testing.T) {
	ours := answers{Loss: 2, Logits: [][]float64{{1, -200}, {0.5, 0}}}
	for _, c := range []struct {
		name   string
		theirs answers
		fault  string
	}{
		{"close", answers{2.00001, [][]float64{{1.00005, -200.01}, {0.5, 0}}}, ""},
		{"loss", answers{2.001, ours.Logits}, "the loss is 2, the peer's 2.001"},
		{"undefined loss", answers{math.NaN(), ours.Logits}, "the peer's NaN"},
		{"a logit", answers{2, [][]float64{{1, -200}, {0.5, 0.001}}}, "row 1 has logit 0, the peer's is 0.001"},
		{"rows", answers{2, ours.Logits[:1]}, "logits of 2 rows, the peer's are of 1"},
		{"labels", answers{2, [][]float64{{1}, {0.5}}}, "row 0 has 2 logits, the peer's 1"},
	} {
		_, err := compare(ours, c.theirs)
		if (err == nil) != (c.fault == "") || (err != nil && !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.fault)
		}
	}
}

func TestSameWork(t *testing.T) {
	o := outcome{Tokens: 1000}
	for _, c := range []struct {
		ours, peer int
		fault      string
	}{{995, 1000, ""}, {0, 0, ""}, {900, 1000, "deeplora computed 900 tokens of 1000"}, {1000, 999, "the peer computed 999 tokens of 1000"}} {
		err := o.sameWork(round{Ours: &timing{Tokens: c.ours}, Peer: &timing{Tokens: c.peer}})
		if (err == nil) != (c.fault == "") || (err != nil && !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%d and %d: %v, want %q", c.ours, c.peer, err, c.fault)
		}
	}
}

// Results go on in the same file under the same conditions only.
func TestResumeKeepsConditionsApart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.json")
	s := settings{json: file, conditions: conditions{Device: "cpu", Steps: 6, Precision: "f32"}}
	b := bench{settings: s, results: results{Conditions: s.conditions}}
	b.results.of(workloads[0]).Rounds = []round{{Ours: &timing{Seconds: 1}}}
	if err := b.save(); err != nil {
		t.Fatal(err)
	}
	again := bench{settings: s}
	if err := again.resume(); err != nil || len(again.results.of(workloads[0]).Rounds) != 1 {
		t.Errorf("resumed with %+v, %v", again.results, err)
	}
	again.Threads = 1
	if err := again.resume(); err == nil || !strings.Contains(err.Error(), "name another file") {
		t.Errorf("other threads: %v", err)
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for _, c := range []struct{ line, fault string }{
		{"--only a,d2 --rounds 1", ""},
		{"--only a,z", `no workload "z" (known: a b c`},
		{"--device tpu", "want cpu or cuda"},
		{"--steps 1", "want at least 1, 2 and 0"},
		{"rest", "flags only"},
	} {
		_, err := parse(strings.Fields(c.line), &strings.Builder{})
		if (err == nil) != (c.fault == "") || (err != nil && !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s: %v, want %q", c.line, err, c.fault)
		}
	}
}

// Without --glue and --minilm a line says what is left out, and why.
func TestLeftOut(t *testing.T) {
	b := bench{}
	for name, want := range map[string]string{"a": "", "d2": "--glue", "e": "--minilm"} {
		w, _ := lookup(name)
		if why := b.leftOut(w); (why == "") != (want == "") || !strings.Contains(why, want) {
			t.Errorf("%s: %q, want %q", name, why, want)
		}
	}
}

func TestProcessorTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"cpu  100 20 30 9000 400 5 6 7 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n": 1680 * time.Millisecond, "": 0, "cpu 1 2": 0, "intr 1 2 3 4 5 6 7 8 9": 0,
	} {
		if got := processorTime(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// Rows that should be full are, whatever the embedded sentences are like.
func TestRowsAreFull(t *testing.T) {
	b := bench{dir: t.TempDir()}
	w, _ := lookup("a")
	lengths, err := b.writeData(&job{workload: w, size: common, model: "../internal/builtin/tiny"})
	if err != nil || len(lengths) != batch || sum(lengths) != batch*maxLength {
		t.Errorf("%v, %v", lengths, err)
	}
}

// Two files beside each other: their times, ratios, and what the second takes of the first.
func TestTablesBesideEachOther(t *testing.T) {
	file := func(precision string, ours, peer float64, memory int64) *results {
		return &results{
			Machine: []fact{{"processor", "x"}}, Conditions: conditions{Precision: precision},
			Outcomes: []*outcome{{Name: "a", Rounds: []round{{&timing{Seconds: ours, PeakRSS: memory}, &timing{Seconds: peer, PeakRSS: 1}}}}},
		}
	}
	first, second := file("", 4, 5, 2e9), file("bf16", 2, 2.5, 15e8)
	first.Outcomes = append(first.Outcomes, &outcome{Name: "h", Rounds: []round{{Ours: &timing{Seconds: 1}}}})
	got := beside(first, second)
	for _, want := range []string{
		"- f32: processor: x\n- bf16: processor: x\n",
		"| deeplora f32, s | peer, s | ratio | deeplora bf16, s | peer, s | ratio | deeplora bf16 / f32 | memory |",
		"| a | step of 16 x 128 tokens, LoRA on query and value | 4.000 | 5.000 | 0.80 | 2.000 | 2.500 | 0.80 | 0.50 | 0.75 |",
		"| h | load and compressed initialisation, every dense kernel | 1.000 |  |  |  |  |  |  |  |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
