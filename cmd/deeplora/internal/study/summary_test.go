package study

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// scored is a study of two arms whose scores are set by hand: one condition, by seed.
func scored(t *testing.T, base, other []float64) fabricated {
	t.Helper()
	seeds := make([]string, len(base))
	for i := range seeds {
		seeds[i] = string(rune('0' + i))
	}
	f := fabricate(t, `{"title": "t", "set": {"steps": 3}, "grid": {"method": ["vanilla", "deep-narrow"], "seed": [`+strings.Join(seeds, ",")+`]}}`)
	for i := range f.measured {
		m := &f.measured[i]
		scores := base
		if m.Arm != "vanilla" {
			scores = other
		}
		m.Result.Metrics["pearson"] = scores[m.Config.Seed]
	}
	return f
}

func TestSummaryOfPairs(t *testing.T) {
	f := scored(t, []float64{0.5, 0.4, 0.6, 0.5, 0.5}, []float64{0.6, 0.5, 0.5, 0.5, 0.9})
	s := f.summary(t)
	if s.Baseline != "vanilla" || !slices.Equal(s.Arms, []string{"vanilla", "deep-narrow"}) || s.Planned != 10 || s.Finished != 10 {
		t.Errorf("%+v", s)
	}
	near(t, "mean", float64(s.Scores[0].Mean), 0.5, 1e-12)
	near(t, "deviation", float64(s.Scores[0].SD), math.Sqrt(0.02/4), 1e-12)
	d := s.Differences[0]
	if len(s.Differences) != 1 || d.N != 5 || d.Wins != 3 || d.Losses != 1 || d.Ties != 1 {
		t.Errorf("differences %+v", s.Differences)
	}
	near(t, "mean difference", float64(d.Mean), 0.1, 1e-12)
	near(t, "p", float64(d.P), wilcoxon([]float64{1, 1, -1, 4}), 1e-12)
	if d.HolmP != d.P || d.SmallestP != 0.0625 || s.Method.SeedsNeeded != 6 {
		t.Errorf("p %v, corrected %v, smallest %v; %+v", d.P, d.HolmP, d.SmallestP, s.Method)
	}
	if o := s.Overall[0]; o.Conditions != 1 || o.Ahead != 1 || o.Seeds != 5 || math.Abs(float64(o.Mean-d.Mean)) > 1e-12 {
		t.Errorf("overall %+v", o)
	}
}

// Nothing is dropped in silence: what is undefined or missing is named, and pairs are of what both arms have.
func TestSummaryNamesWhatIsNotThere(t *testing.T) {
	f := scored(t, []float64{0.5, math.NaN(), 0.6, 0.5}, []float64{0.6, 0.5, 0.5, 0.7})
	f.measured = slices.Delete(f.measured, 6, 7) // vanilla's seed 3
	s := f.summary(t)
	if s.Finished != 7 || len(s.Missing) != 1 || s.Missing[0].Seed != 3 || s.Missing[0].Arm != "vanilla" {
		t.Errorf("missing %+v", s.Missing)
	}
	if len(s.Undefined) != 1 || s.Undefined[0].Seed != 1 || s.Scores[0].Undefined != 1 || s.Scores[0].N != 2 || s.Scores[0].Missing != 1 {
		t.Errorf("undefined %+v, scores %+v", s.Undefined, s.Scores[0])
	}
	if d := s.Differences[0]; d.N != 2 || d.Undefined != 1 || !slices.Equal([]SeedScore{{0, d.Pairs[0].Score}, {2, d.Pairs[1].Score}}, d.Pairs) {
		t.Errorf("difference %+v", d)
	}
}

func TestSummaryOfNothing(t *testing.T) {
	f := scored(t, []float64{0.5}, []float64{0.6})
	f.measured = nil
	s := f.summary(t)
	if s.Finished != 0 || len(s.Missing) != 2 || len(s.Scores) != 2 || s.Scores[0].Mean.There() || s.Differences[0].P.There() {
		t.Errorf("%+v", s)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
}

func TestSummaryKeepsTheOrderOfTheExperiment(t *testing.T) {
	f := fabricate(t, smallStudy)
	want := f.summary(t)
	slices.Reverse(f.measured)
	if got := f.summary(t); !reflect.DeepEqual(rounded(t, got), rounded(t, want)) {
		t.Error("the order of measured runs shows in the summary")
	}
	if n := len(want.Scores); n != 18 || want.Scores[0].Arm != "vanilla" || want.Scores[1].Arm != "deep-compressed" || ConditionText(want.Scores[3].Condition) != "shots 16, rank 32" {
		t.Errorf("%d rows, the fourth %+v", n, want.Scores[3])
	}
	for i := 1; i < len(want.Differences); i++ {
		if d := want.Differences[i]; d.HolmP < d.P || d.HolmP > 1 {
			t.Errorf("p %v corrected is %v", d.P, d.HolmP)
		}
	}
	if want.Method.Comparisons != 12 || want.Method.SeedsNeeded != 9 {
		t.Errorf("%+v", want.Method)
	}
}

// rounded is a summary as JSON: NaN, which equals nothing, is null there.
func rounded(t *testing.T, s *Summary) string {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSummaryIsReadBack(t *testing.T) {
	f := fabricate(t, smallStudy)
	f.measured[0].Result.Metrics["pearson"] = math.NaN()
	s := f.summary(t)
	path := filepath.Join(t.TempDir(), "summary.json")
	if err := jsonfile.Write(path, s); err != nil {
		t.Fatal(err)
	}
	var again Summary
	if err := jsonfile.Read(path, &again); err != nil {
		t.Fatal(err)
	}
	if rounded(t, &again) != rounded(t, s) {
		t.Error("the summary that was read is another")
	}
}

func TestPublishedStandBesideTheStudysOwn(t *testing.T) {
	f := fabricate(t, smallStudy)
	s := f.summary(t)
	first := s.Scores[0] // vanilla, shots 16, rank 8
	if len(first.Published) != 1 || first.Published[0].Value != 0.529 || first.Published[0].Seeds != 20 || first.Published[0].Ours != first.Mean || first.Published[0].Same {
		t.Errorf("%+v", first.Published)
	}
	if s.Source.Same || !slices.Equal(s.Source.Models, []string{"builtin:tiny"}) {
		t.Errorf("%+v", s.Source)
	}
	near(t, "published difference", float64(s.Differences[0].Published), 0.069, 1e-12)
	for _, row := range s.Scores {
		if row.Arm == "deep-compressed" && ConditionText(row.Condition) == "shots 64, rank 8" {
			if p := row.Published[0]; p.Metric != "spearman" || p.Ours != row.Others[0].Mean {
				t.Errorf("a metric beside the score: %+v", p)
			}
		}
	}
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"bert-base-cased", "google-bert/BERT-base-cased@main", true},
		{"bert-base-cased", "/models/bert-base-cased", true},
		{"bert-base-cased", "bert-base-uncased", false},
		{"", "", false},
	} {
		if sameModel(c.a, c.b) != c.want {
			t.Errorf("%q and %q: %v", c.a, c.b, !c.want)
		}
	}
}

func TestSummaryRefuses(t *testing.T) {
	f := scored(t, []float64{0.5}, []float64{0.6})
	stranger := f.measured[0]
	stranger.Key = "0123456789abcdef"
	if _, err := Summarize(f.experiment, f.runs, []Measured{stranger}); err == nil || !strings.Contains(err.Error(), stranger.Key) {
		t.Errorf("a run of another study: %v", err)
	}
	f.measured[1].Result.PrimaryMetric = "spearman"
	if _, err := Summarize(f.experiment, f.runs, f.measured); err == nil || !strings.Contains(err.Error(), "cannot be compared") {
		t.Errorf("two metrics: %v", err)
	}
}

func TestCSVHasALineARun(t *testing.T) {
	f := fabricate(t, smallStudy)
	f.measured[0].Result.Metrics["pearson"] = math.NaN()
	var b bytes.Buffer
	if err := f.summary(t).WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	header := strings.Join(lines[0], ",")
	if want := "key,arm,shots,rank,seed,primary_metric,score,pearson,spearman,train_seconds,"; !strings.HasPrefix(header, want) {
		t.Errorf("header %s", header)
	}
	if len(lines) != 1+90 || lines[1][6] != "" || lines[1][7] != "" || lines[2][6] == "" || lines[2][1] != "deep-compressed" || lines[2][2] != "16" {
		t.Errorf("%d lines, the first %q", len(lines), lines[1])
	}
}
