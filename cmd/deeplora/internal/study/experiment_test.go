package study

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/train"
)

const sweep = `{
 "title": "STS-B, few shots", "preset": "reference",
 "set": {"task": "stsb", "steps": 20, "model": "builtin:tiny"},
 "grid": {"shots": [16, 64], "method": ["vanilla", "deep-narrow"], "rank": [8, 16], "seed": [0, 1, 2]},
 "published": {"source": "a paper", "model": "bert-base-cased",
  "rows": [{"where": {"method": "vanilla", "rank": 8}, "metric": "pearson", "value": 0.539, "seeds": 5}]}
}`

func parse(t *testing.T, text string) *Experiment {
	t.Helper()
	e, err := ParseExperiment([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func runsOf(t *testing.T, e *Experiment) []Run {
	t.Helper()
	runs, err := e.Runs()
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func TestGridMultipliesOut(t *testing.T) {
	runs := runsOf(t, parse(t, sweep))
	if len(runs) != 2*2*2*3 {
		t.Fatalf("%d runs, want 24", len(runs))
	}
	var first []string
	for _, r := range runs[:5] {
		first = append(first, r.String())
	}
	// Seed by seed, condition by condition, arm by arm: what is interrupted compares too.
	want := []string{
		"vanilla, shots 16, rank 8, seed 0", "deep-narrow, shots 16, rank 8, seed 0",
		"vanilla, shots 16, rank 16, seed 0", "deep-narrow, shots 16, rank 16, seed 0",
		"vanilla, shots 64, rank 8, seed 0",
	}
	if !slices.Equal(first, want) {
		t.Errorf("the first runs are %q,\nwant %q", first, want)
	}
	c := runs[0].Config
	if !c.Reference || c.Sample != "with-replacement" || c.Steps != 20 || c.Shots != 16 || c.LR != 1e-4 || c.HeadSeed != 0 {
		t.Errorf("the first run's settings are %+v", c)
	}
}

func TestVariantsCompete(t *testing.T) {
	e := parse(t, `{"title": "x", "grid": {"seed": [0, 1]}, "baseline": "LoRA, 1e-3",
	 "variants": [{"method": "deep-compressed"}, {"name": "LoRA, 1e-3", "method": "vanilla", "init": "peft", "lr": 1e-3}]}`)
	runs := runsOf(t, e)
	if got := arms(runs); !slices.Equal(got, []string{"deep-compressed", "LoRA, 1e-3"}) {
		t.Errorf("arms are %q", got)
	}
	if e.baseline(runs) != "LoRA, 1e-3" || runs[1].Config.LR != 1e-3 || runs[1].Config.Init != "peft" {
		t.Errorf("the second arm is %+v", runs[1])
	}
	if ConditionText(runs[0].Condition) != "all" {
		t.Errorf("without a grid the condition is %q", ConditionText(runs[0].Condition))
	}
}

// A run is known by its settings, whatever the experiment that asks for it and in whatever words.
func TestKeysFollowFromSettings(t *testing.T) {
	a := runsOf(t, parse(t, `{"title": "a", "set": {"rank": 8, "steps": 5, "rate-rule": "none"}, "grid": {"method": ["vanilla"], "seed": [3]}}`))
	b := runsOf(t, parse(t, `{"title": "b", "set": {"steps": 5, "rate-rule": "none"}, "variants": [{"name": "other", "method": "vanilla", "lr": 1e-4}], "grid": {"seed": [0, 3]}}`))
	if a[0].Key != b[1].Key {
		t.Errorf("the same settings have keys %s and %s", a[0].Key, b[1].Key)
	}
	if b[0].Key == b[1].Key || len(a[0].Key) != 16 {
		t.Errorf("keys %s and %s", b[0].Key, b[1].Key)
	}
}

func TestOverride(t *testing.T) {
	e := parse(t, sweep)
	for _, s := range [][2]string{{"model", "12"}, {"steps", "7"}, {"train-head", "true"}, {"target", `["query$"]`}} {
		if err := e.Override(s[0], s[1]); err != nil {
			t.Fatal(err)
		}
	}
	c := runsOf(t, e)[0].Config
	if c.Model != "12" || c.Steps != 7 || !c.TrainHead || !slices.Equal(c.Target, []string{"query$"}) {
		t.Errorf("settings are %+v", c)
	}
	for _, bad := range [][3]string{
		{"stepz", "1", `unknown setting "stepz"; nearest: steps`},
		{"rank", "4", `setting "rank" is what the experiment varies; change the file`},
		{"steps", "many", `setting "steps": "many" is not a value of it`},
	} {
		if err := e.Override(bad[0], bad[1]); err == nil || err.Error() != bad[2] {
			t.Errorf("%s: %v, want %s", bad[0], err, bad[2])
		}
	}
	// What is saved is what was overridden.
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	again := runsOf(t, parse(t, string(text)))
	for i, r := range runsOf(t, e) {
		if again[i].Key != r.Key || again[i].String() != r.String() {
			t.Fatalf("run %d of the saved experiment is %s %s, want %s %s", i, again[i].Key, again[i], r.Key, r)
		}
	}
}

func TestExperimentFaults(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"not an object", `[]`, "cannot unmarshal"},
		{"ends early", `{"title": "x"`, "unexpected EOF"},
		{"syntax", "{\n\"title\": x}", "line 2: "},
		{"more text", `{"title": "x"} {}`, "text after the JSON object"},
		{"unknown field", `{"titel": "x"}`, `unknown field "titel"; nearest: title`},
		{"no title", `{}`, "title: it has none"},
		{"preset", `{"title": "x", "preset": "paper"}`, `preset: "paper" is unknown; want "reference" or nothing`},
		{"given twice", `{"title": "x", "set": {"rank": 4, "rank": 8}}`, `field "rank" is given twice`},
		{"set and varied", `{"title": "x", "set": {"rank": 4}, "grid": {"rank": [4]}}`, `grid: setting "rank" is in set already`},
		{"varied twice", `{"title": "x", "grid": {"rank": [4]}, "variants": [{"rank": 8}]}`, `variants: variant 1 sets "rank", which is in grid`},
		{"methods twice", `{"title": "x", "grid": {"method": ["vanilla"]}, "variants": [{"rank": 8}]}`, "variants: the grid has methods already"},
		{"seed of a variant", `{"title": "x", "variants": [{"seed": 8}]}`, "variants: variant 1 sets the seed"},
		{"no list", `{"title": "x", "grid": {"rank": 4}}`, `grid: "rank" is 4; want a list of values`},
		{"empty list", `{"title": "x", "grid": {"rank": []}}`, `grid: "rank" has no values`},
		{"value twice", `{"title": "x", "grid": {"rank": [4, 8, 4]}}`, `grid: "rank" has a value twice`},
		{"no source", `{"title": "x", "published": {"rows": []}}`, "published: it has no source"},
		{"no metric", `{"title": "x", "published": {"source": "s", "rows": [{"value": 1}]}}`, "published: row 1 has no metric or no where"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ParseExperiment([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func TestRunFaults(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"unknown setting", `{"title": "x", "set": {"stepz": 4}}`, `set: unknown setting "stepz"; nearest: steps`},
		{"type", `{"title": "x", "set": {"rank": "four"}}`, `set: setting "rank": a string where int is wanted`},
		{"null", `{"title": "x", "grid": {"rank": [null]}}`, `grid: setting "rank" is null`},
		{"not valid", `{"title": "x", "grid": {"rank": [8, 7]}}`, "deep-compressed, rank 7: method deep-compressed: rank 7 is odd"},
		{"same run", `{"title": "x", "variants": [{"name": "a"}, {"name": "b", "gamma": 0.1}]}`, "b, all, seed 0 is the same run as a, all, seed 0"},
		{"same name", `{"title": "x", "variants": [{"rank": 4}, {"rank": 8}]}`, `variants: two are called "deep-compressed"`},
		{"baseline", `{"title": "x", "baseline": "vanila", "grid": {"method": ["vanilla"]}}`, `baseline: "vanila" does not compete; nearest: vanilla (there are: vanilla)`},
		{"published", `{"title": "x", "published": {"source": "s", "rows": [{"where": {"rnak": 4}, "metric": "pearson", "value": 1}]}}`, `published: row 1: unknown setting "rnak"; nearest: rank`},
		{"too many", `{"title": "x", "grid": {"seed": [` + strings.TrimSuffix(strings.Repeat("1,", 400), ",") + `]}}`, "twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := ParseExperiment([]byte(c.text))
			if err == nil {
				_, err = e.Runs()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

// Settings written for `train` are those in which it differs from the defaults that train starts from.
func TestDifferencesGiveTheSettingsBack(t *testing.T) {
	for _, preset := range []train.Config{train.Default(), train.Reference()} {
		c := preset
		c.Rank, c.Pad, c.Steps, c.Method = 16, "bucket", 7, "vanilla"
		if err := c.Resolve(); err != nil {
			t.Fatal(err)
		}
		values, err := differences(c)
		if err != nil {
			t.Fatal(err)
		}
		back := preset
		if err := values.apply(&back, "set"); err != nil {
			t.Fatal(err)
		}
		want, _ := c.Key()
		if got, _ := back.Key(); got != want {
			t.Errorf("settings %v give back %+v, want %+v", values, back, c)
		}
		if said := slices.ContainsFunc(values, func(f Field) bool { return f.Name == "reference" }); said != c.Reference {
			t.Errorf("reference: %v among %v", c.Reference, values)
		}
	}
}

func FuzzExperiment(f *testing.F) {
	f.Add([]byte(sweep))
	f.Add([]byte(`{"title": "x", "variants": [{"name": "a", "rank": 4}, {"name": "b"}], "grid": {"seed": [0, 1]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := ParseExperiment(text)
		if err != nil {
			return
		}
		runs, err := e.Runs()
		if err != nil {
			return
		}
		saved, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseExperiment(saved)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if more, err := again.Runs(); err != nil || len(more) != len(runs) {
			t.Fatalf("the saved experiment has %d runs (%v), want %d", len(more), err, len(runs))
		}
	})
}

// The experiments of the repository can be run as they stand.
func TestExperimentsOfTheRepository(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "..", "scripts", "experiments", "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		e, err := ReadExperiment(file)
		if err != nil {
			t.Error(err)
			continue
		}
		runs, err := e.Runs()
		if err != nil || len(runs) == 0 {
			t.Errorf("%s: %d runs, %v", file, len(runs), err)
		}
		if _, err := e.TuningRuns(); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
