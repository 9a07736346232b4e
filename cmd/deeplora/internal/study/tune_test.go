package study

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testpage"
	"github.com/deeplora/deeplora/train"
)

const tunedStudy = `{
 "title": "STS-B, tuned",
 "set": {"task": "stsb", "steps": 20, "shots": 16},
 "grid": {"rank": [8, 32], "seed": [0, 1, 2, 3]},
 "baseline": "LoRA, tuned",
 "tune": {"grid": {"lr": [1e-3, 3e-3, 1e-2]}, "seeds": [10, 11], "shots-from": "train", "folds": 4, "folds-run": 2},
 "variants": [
  {"name": "LoRA", "method": "vanilla", "init": "peft"},
  {"name": "deep", "method": "deep-compressed", "tune": {"grid": {"lr": [0.0031, 0, 0.031]}}},
  {"name": "head", "method": "head-only", "tune": {"grid": {}}}]
}`

func tuningOf(t *testing.T, e *Experiment) []Run {
	t.Helper()
	runs, err := e.TuningRuns()
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// Every tuned arm tries its combinations on the same draws and folds; no run of them reads what the study is evaluated on.
func TestTuningRunsAreOfFolds(t *testing.T) {
	e := parse(t, tunedStudy)
	runs := tuningOf(t, e)
	if want := 2 * 2 * 2 * 2 * 3; len(runs) != want { // seeds, folds, ranks, arms, rates
		t.Fatalf("%d tuning runs, want %d", len(runs), want)
	}
	draws := map[string][]string{} // by arm
	for _, r := range runs {
		c := r.Config
		if r.Stage != stageTuning || c.Fold == "" || c.Shots != 16 || c.Seed < 10 || c.Steps != 20 || r.Arm == "head" {
			t.Fatalf("%s: stage %q, %d shots, seed %d, fold %q", r, r.Stage, c.Shots, c.Seed, c.Fold)
		}
		if at := fmt.Sprint(c.Seed, c.Fold, c.Rank); !slices.Contains(draws[r.Arm], at) {
			draws[r.Arm] = append(draws[r.Arm], at)
		}
	}
	if !slices.Equal(draws["LoRA"], draws["deep"]) || len(draws["LoRA"]) != 8 {
		t.Errorf("draws %v", draws)
	}
	if got := runs[0].String(); got != "LoRA, rank 8, seed 10, lr 1e-3, fold 1/4" {
		t.Errorf("the first is %s", got)
	}
	// Without seeds of its own, tuning cuts the study's draws.
	own := parse(t, strings.Replace(tunedStudy, `"seeds": [10, 11], `, "", 1))
	if runs := tuningOf(t, own); len(runs) != 2*48 || runs[len(runs)-1].Config.Seed != 3 {
		t.Errorf("%d runs, the last has seed %d", len(runs), runs[len(runs)-1].Config.Seed)
	}
	// Sensitivity evaluates every combination, on the study's seeds and no fold.
	more := tuningOf(t, parse(t, strings.Replace(tunedStudy, `"folds": 4`, `"sensitivity": true, "folds": 4`, 1)))
	if last := more[len(more)-1]; len(more) != 48+4*2*2*3 || last.Stage != stageGrid || last.Config.Fold != "" || last.Config.Seed != 3 {
		t.Errorf("%d runs, the last is %s", len(more), last)
	}
	if none := tuningOf(t, parse(t, sweep)); none != nil {
		t.Errorf("an experiment that does not tune has %d tuning runs", len(none))
	}
}

func TestTunedExperimentIsReadBack(t *testing.T) {
	e := parse(t, tunedStudy)
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	again := tuningOf(t, parse(t, string(text)))
	for i, r := range tuningOf(t, e) {
		if again[i].Key != r.Key || again[i].String() != r.String() {
			t.Fatalf("run %d of the saved experiment is %s, want %s", i, again[i], r)
		}
	}
	if err := e.Override("lr", "1e-3"); err == nil || !strings.Contains(err.Error(), "is what the experiment varies") {
		t.Errorf("a tuned setting is overridden: %v", err)
	}
}

func TestTuneFaults(t *testing.T) {
	with := func(tune string) string { return `{"title": "x", "tune": ` + tune + `}` }
	for _, c := range []struct{ name, text, want string }{
		{"no object", with(`[1]`), `tune: [1]; want an object with a grid`},
		{"unknown field", with(`{"gird": {}}`), `tune: unknown field "gird"; nearest: grid`},
		{"no grid", with(`{}`), "tune: grid: it has no settings to try"},
		{"empty grid", with(`{"grid": {}}`), "tune: grid: it has no settings to try"},
		{"no list", with(`{"grid": {"lr": 1}}`), `grid: "lr" is 1; want a list of values`},
		{"empty list", with(`{"grid": {"lr": []}}`), `tune: grid: "lr" has no values`},
		{"value twice", with(`{"grid": {"lr": [1, 1]}}`), `tune: grid: "lr" has a value twice`},
		{"one value", with(`{"grid": {"lr": [1]}}`), "tune: grid: there is one combination: nothing to choose from"},
		{"unknown setting", with(`{"grid": {"lrr": [1, 2]}}`), `tune: grid: unknown setting "lrr"; nearest: lr`},
		{"seeds", with(`{"grid": {"seed": [1, 2]}}`), `tune: grid: "seed" cannot be tuned: seeds are what scores are averaged over`},
		{"steps", with(`{"grid": {"steps": [1, 2]}}`), `"steps" cannot be tuned: every arm gets the same number of steps`},
		{"examples", with(`{"grid": {"shots": [16, 32]}}`), `"shots" cannot be tuned: it changes what the arms are compared on`},
		{"validation", with(`{"grid": {"lr": [1, 2]}, "shots-from": "validation"}`), `tune: shots-from: "validation" is unknown; want "train"`},
		{"one fold", with(`{"grid": {"lr": [1, 2]}, "folds": 1}`), "tune: folds: 1; a draw is cut into at least two"},
		{"folds run", with(`{"grid": {"lr": [1, 2]}, "folds": 4, "folds-run": 5}`), "tune: folds-run: 5 of 4 folds; want 1 to 4"},
		{"no folds run", with(`{"grid": {"lr": [1, 2]}, "folds-run": 0}`), "tune: folds-run: 0 of 4 folds"},
		{"no seeds", with(`{"grid": {"lr": [1, 2]}, "seeds": []}`), "tune: seeds: there are none; leave the field out"},
		{"seed twice", with(`{"grid": {"lr": [1, 2]}, "seeds": [1, 2, 1]}`), "tune: seeds: one is there twice"},
		{"set and tuned", `{"title": "x", "set": {"lr": 1}, "tune": {"grid": {"lr": [1, 2]}}}`, `tune: grid: setting "lr" is in set already; a setting is fixed, varied or tuned`},
		{"varied and tuned", `{"title": "x", "grid": {"rank": [4]}, "tune": {"grid": {"rank": [2, 4]}}}`, `tune: grid: setting "rank" is in grid already`},
		{"arm fixes it", `{"title": "x", "variants": [{"name": "a", "lr": 1}], "tune": {"grid": {"lr": [1, 2]}}}`, `tune: grid: "lr" is what variant 1 sets; leave it out of the variant, or give that a grid without it`},
		{"arm fixes what it tunes", `{"title": "x", "variants": [{"lr": 1, "tune": {"grid": {"lr": [1, 2]}}}], "tune": {}}`, `variants: variant 1: tune: grid: "lr" is what variant 1 sets`},
		{"arm's unknown field", `{"title": "x", "variants": [{"tune": {"lr": [1, 2]}}], "tune": {"grid": {"lr": [1, 2]}}}`, `variants: tune: unknown field "lr"; nearest: grid`},
		{"arm's no grid", `{"title": "x", "variants": [{"tune": {}}], "tune": {"grid": {"lr": [1, 2]}}}`, `variants: tune: it has no grid; {"grid": {}} says that a variant has nothing to tune`},
		{"arm alone", `{"title": "x", "variants": [{"tune": {"grid": {"lr": [1, 2]}}}]}`, `variants: variant 1 has a grid to tune by, and the experiment no "tune"`},
		{"budget", `{"title": "x", "variants": [{"name": "a", "tune": {"grid": {"lr": [1, 2, 3]}}}, {"name": "b", "method": "vanilla"}], "tune": {"grid": {"lr": [1, 2]}}}`, "tune: a tries 3 combinations and b 2; arms are tuned alike if they try as many"},
		{"same run", `{"title": "x", "variants": [{"name": "a", "method": "vanilla", "init": "peft"}], "tune": {"grid": {"alpha": [0, 8]}}}`, "is the same run as a, all, seed 0, alpha 0, fold 1/4"},
		{"not valid", `{"title": "x", "tune": {"grid": {"rank": [8, 7]}}}`, "deep-compressed, rank 7, fold 1/4: method deep-compressed: rank 7 is odd"},
		{"a name of tuned arms", `{"title": "x", "variants": [{"name": "a, tuned"}], "tune": {"grid": {"lr": [1, 2]}}}`, `variants: "a, tuned" ends as the names of tuned arms do`},
		{"baseline", `{"title": "x", "baseline": "b, tuned", "variants": [{"name": "a"}], "tune": {"grid": {"lr": [1, 2]}}}`, `baseline: "b, tuned" does not compete; nearest: a, tuned (there are: a, a, tuned)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := ParseExperiment([]byte(c.text))
			if err == nil {
				_, err = e.Runs()
			}
			if err == nil {
				_, err = e.TuningRuns()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// tuned is a study whose tuning runs score as of says, and whose other runs as a fabricated one does.
func tuned(t *testing.T, text string, of func(Run) float64) (fabricated, ended) {
	t.Helper()
	f := fabricated{experiment: parse(t, text)}
	end := ended{planned: tuningOf(t, f.experiment), diverged: map[string]bool{}}
	var tries []Measured
	for _, r := range end.planned {
		m := measurement(r)
		m.Result.Metrics["pearson"] = of(r)
		tries = append(tries, m)
	}
	end.measured = byID(tries)
	var err error
	if f.runs, err = f.experiment.runsWith(f.experiment.tuning(end).chosen()); err != nil {
		t.Fatal(err)
	}
	for _, r := range f.runs {
		f.measured = append(f.measured, measurement(r))
	}
	return f, end
}

// rateScore prefers lr 3e-3 for LoRA, and its default for deep.
func rateScore(r Run) float64 {
	score := 0.5 + 0.001*float64(r.Config.Seed%2)
	if lr := valueOf(r.Tried, "lr"); lr == "3e-3" || lr == "0" {
		score += 0.1
	}
	return score
}

func TestTheBestCombinationIsChosen(t *testing.T) {
	f, end := tuned(t, tunedStudy, rateScore)
	tuning := f.experiment.tuning(end)
	if len(tuning.Choices) != 4 || tuning.Runs != 48 || tuning.Finished != 48 || tuning.Steps != 48*20 || !slices.Equal(tuning.Seeds, []uint64{10, 11}) {
		t.Fatalf("%+v", tuning)
	}
	for _, c := range tuning.Choices {
		want := map[string]string{"LoRA": "lr 3e-3", "deep": "lr by default"}[c.Arm]
		if ConditionText(c.Chosen) != want || c.Runs != 12 || c.Finished != 12 || c.Steps != 240 || len(c.Tries) != 3 {
			t.Errorf("%s: %d of %d runs, want %s", c.Text(), c.Finished, c.Runs, want)
		}
		for _, r := range f.runs { // the default that lr 0 stands for
			if r.Arm == c.Arm && ConditionText(r.Condition) == ConditionText(c.Condition) && valueOf(c.Default, "lr") != fmt.Sprint(r.Config.LR) {
				t.Errorf("%s at its default has lr %g, not %s", r, r.Config.LR, ConditionText(c.Default))
			}
		}
		if try := c.Tries[0]; try.N != 4 || try.Undefined != 0 || !try.SD.There() || try.EvaluatedMean.There() {
			t.Errorf("%+v", try)
		}
	}
	if got := arms(f.runs); !slices.Equal(got, []string{"LoRA", "LoRA, tuned", "deep", "deep, tuned", "head"}) {
		t.Errorf("arms %q", got)
	}
	for _, r := range f.runs {
		switch r.Arm {
		case "LoRA, tuned":
			if r.Config.LR != 3e-3 || r.Config.Fold != "" || r.Stage != stageTuned {
				t.Errorf("%s: lr %g, fold %q", r, r.Config.LR, r.Config.Fold)
			}
		case "deep, tuned": // to its default: one run on disk
			if !slices.ContainsFunc(f.runs, func(o Run) bool { return o.Arm == "deep" && o.Key == r.Key }) {
				t.Errorf("%s has another key than the default, whose settings it has", r)
			}
		}
	}
}

// A run that ended in no score makes its combination a bad one; a run that has not ended leaves the choice open.
func TestUndefinedScoresAreNotChosen(t *testing.T) {
	_, end := tuned(t, tunedStudy, rateScore)
	e := parse(t, tunedStudy)
	best := slices.IndexFunc(end.planned, func(r Run) bool { return r.Arm == "LoRA" && r.Config.LR == 3e-3 })
	key := end.planned[best].id()
	score := end.measured[key].Result.Metrics
	score["pearson"] = math.NaN()
	if c := e.tuning(end).Choices[0]; ConditionText(c.Chosen) == "lr 3e-3" || c.Tries[1].Undefined != 1 || c.Tries[1].N != 3 {
		t.Errorf("with an undefined score %s; %+v", c.Text(), c.Tries[1])
	}
	delete(end.measured, key)
	if tuning := e.tuning(end); tuning.Choices[0].Chosen != nil || tuning.Choices[1].Chosen == nil || len(tuning.Missing) != 1 || len(tuning.chosen()) != 3 {
		t.Errorf("with a run missing %s; %+v", tuning.Choices[0].Text(), tuning.Missing)
	}
	end.diverged[key] = true
	if tuning := e.tuning(end); tuning.Choices[0].Chosen == nil || ConditionText(tuning.Choices[0].Chosen) == "lr 3e-3" || len(tuning.Diverged) != 1 {
		t.Errorf("with a run that diverged %s", tuning.Choices[0].Text())
	}
	for id := range end.measured {
		end.measured[id].Result.Metrics["pearson"] = math.NaN()
	}
	if tuning := e.tuning(end); len(tuning.chosen()) != 0 {
		t.Errorf("without a score %s", tuning.Choices[0].Text())
	}
}

func tunedSummary(t *testing.T, f fabricated, end ended) *Summary {
	t.Helper()
	s := f.summary(t)
	if err := s.tune(f.experiment.tuning(end), f.runs, f.measured); err != nil {
		t.Fatal(err)
	}
	return s
}

// What an arm loses by not being tuned is the difference of its own pairs; tuned arms are compared like any other.
func TestLossByNotTuning(t *testing.T) {
	f, end := tuned(t, tunedStudy, rateScore)
	for i := range f.measured {
		m := &f.measured[i]
		m.Result.Metrics["pearson"] = 0.5 + 0.01*float64(m.Config.Seed)
		if m.Arm == "LoRA, tuned" {
			m.Result.Metrics["pearson"] += 0.02 + 0.01*float64(m.Config.Seed)
		}
	}
	s := tunedSummary(t, f, end)
	if len(s.Tuning.Losses) != 4 || len(s.Tuning.Overall) != 2 || s.Baseline != "LoRA, tuned" {
		t.Fatalf("%+v", s.Tuning)
	}
	for _, d := range s.Tuning.Losses {
		want := map[string]float64{"LoRA": 0.035, "deep": 0}[d.Arm]
		if near(t, "loss of "+d.Arm, float64(d.Mean), want, 1e-12); d.N != 4 {
			t.Errorf("%d pairs of %s", d.N, d.Arm)
		}
	}
	if o := s.Tuning.Overall[0]; o.Arm != "LoRA" || o.Conditions != 2 || o.Low <= 0 {
		t.Errorf("%+v", o)
	}
	if n := len(s.Overall); n != 4 || s.Overall[0].Arm != "LoRA" || s.Overall[0].Mean >= 0 {
		t.Errorf("%d arms against the tuned baseline; the first %+v", n, s.Overall[0])
	}
	if text := strings.Join(s.answer(), "\n"); !strings.Contains(text, "Tuning LoRA gains 0.035") || !strings.Contains(text, "Tuning deep changes its score by 0.000") {
		t.Error(text)
	}
}

func TestTunedStudysFiles(t *testing.T) {
	f, end := tuned(t, strings.Replace(tunedStudy, `"folds": 4`, `"sensitivity": true, "folds": 4`, 1), rateScore)
	s := tunedSummary(t, f, end)
	var b bytes.Buffer
	if err := s.WriteReport(&b, f.measured); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	testpage.WellFormed(t, text)
	for _, want := range []string{
		`<h2 id="tuning">`, `href="#tuning"`, `<h3 id="loss">`, `<h3 id="sensitivity">`, "a draw of the condition's size is cut into 4 parts, of which the first 2 in turn are measured on",
		"Score against lr: rank 8, on what the study is evaluated on", "Score against lr: LoRA, on what the study is evaluated on", "rank 32",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report has no %q", want)
		}
	}
	b.Reset()
	if err := s.WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if header := strings.Join(lines[0], ","); !strings.HasPrefix(header, "key,arm,rank,seed,stage,lr,fold,primary_metric,score,") {
		t.Errorf("header %s", header)
	}
	stages := map[string]int{}
	for _, line := range lines[1:] {
		stages[line[4]]++
	}
	if fmt.Sprint(stages) != "map[default:24 grid:48 tuned:16 tuning:48]" {
		t.Errorf("lines %v", stages)
	}
	first := lines[len(lines)-96]
	if first[1] != "LoRA" || first[4] != "tuning" || first[5] != "1e-3" || first[6] != "1/4" {
		t.Errorf("the first tuning run is %q", first)
	}
	// What is read back is the same, and a study whose tuning has not begun has a report too.
	rounded(t, s)
	end.measured, f.measured = nil, nil
	b.Reset()
	if s = tunedSummary(t, f, end); len(s.Tuning.Missing) != 96 {
		t.Errorf("%d runs are missing", len(s.Tuning.Missing))
	}
	if err := s.WriteReport(&b, nil); err != nil || !strings.Contains(b.String(), "96 runs missing") {
		t.Error(err)
	}
}

// Equal faults are one, which names where it is; each model, data and draw is opened once, whatever the seed.
func TestCheckSaysEqualFaultsOnce(t *testing.T) {
	e := parse(t, `{"title": "x", "grid": {"shots": [16, 64, 256], "seed": [0, 1, 2]}, "variants": [{"name": "a"}, {"name": "b", "rank": 4}, {"name": "c", "model": "/other"}]}`)
	opened := 0
	err := Check(t.Context(), t.TempDir(), e, func(_ context.Context, c train.Config) error {
		switch opened++; {
		case c.Shots == 256:
			return errors.New("256 examples of 100")
		case c.Model == "/other":
			return errors.New("no such model")
		}
		return nil
	})
	if want := "c, shots 16; c, shots 64: no such model\nshots 256: 256 examples of 100"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if opened != 6 {
		t.Errorf("opened %d times, want once for each of 3 draws and 2 models", opened)
	}
	opened = 0
	if err := Check(t.Context(), t.TempDir(), parse(t, tunedStudy), func(context.Context, train.Config) error { opened++; return nil }); err != nil || opened != 3 {
		t.Errorf("%v; a tuned study is opened %d times, want once with kernels, once without and once as a fold", err, opened)
	}
}
