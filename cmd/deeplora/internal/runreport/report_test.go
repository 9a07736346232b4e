package runreport

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testpage"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

func contains(t *testing.T, page string, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(page, text) {
			t.Errorf("no %q in the page", text)
		}
	}
}

func TestPageHasEverySection(t *testing.T) {
	f := fabricate(t, films(), verdicts(30))
	f.Notices = []string{"a notice that is needed"}
	f.Evaluations = []loop.Evaluated{{Step: 2, Metrics: loop.Metrics{"accuracy": 0.4}}, {Step: 3, Metrics: loop.Metrics{"accuracy": 0.5}}}
	f.Run.Steps = 3
	page := write(t, f)
	elements := testpage.WellFormed(t, page)
	for _, section := range []string{"metrics", "confusion", "errors", "curve", "data", "adapter", "settings", "cost", "software"} {
		contains(t, page, `<h2 id="`+section+`">`, `href="#`+section+`"`)
	}
	contains(t, page, "accuracy 0.5000, 95\u00a0% interval 0.4000 to 0.6000", "Measured on 30 validation examples of memory:validation", "a notice that is needed",
		"one of 3 classes: bad, good, so-so", "12,345 parameters", "always says bad", "has an accuracy of 0.3333",
		"The 20 examples of 30 with the highest loss", "film number 0 was seen", "the effective rank", "encoder.layer.0.attention.self.query", fmt.Sprintf("All %d settings", len(train.Settings())),
		"v1.2.3", "prefers-color-scheme: dark", `<span class="bar"`)
	// The confusion matrix, the loss, one picture of the metrics, two of lengths, the spectra.
	if elements["figure"] != 6 || elements["svg"] != 6 || strings.Count(page, `role="img" aria-label="`) != 6 {
		t.Errorf("%d figures", elements["figure"])
	}
	if write(t, f) != page {
		t.Error("two pages of the same run differ")
	}
}

// The page opens where there is no network, and tells nobody.
func TestPageNeedsNothingElse(t *testing.T) {
	page := write(t, fabricate(t, films(), verdicts(30)))
	for _, load := range []string{"http:", "https:", "src=", "url(", "@import", "<link", "<iframe", "<img"} {
		if strings.Contains(page, load) {
			t.Errorf("%s in the page", load)
		}
	}
	for _, href := range strings.Split(page, `href="`)[1:] {
		if !strings.HasPrefix(href, "#") {
			t.Errorf("a link to %.40q", href)
		}
	}
	if strings.Count(page, "<script") != 1 {
		t.Error("more than one script")
	}
}

// Texts, names of classes and of files are somebody else's.
func TestPageEscapesWhatItIsGiven(t *testing.T) {
	const evil = "<script>alert(1)</script>\x1b[31m\u202e\x00 </p></li>"
	pair := evil
	task := data.Task{Name: evil, Labels: []string{evil, "b"}, Columns: []string{evil, "c" + evil}}
	long := strings.Repeat(evil+" word ", 200)
	f := fabricate(t, task, []outcome{{text: evil, pair: &pair, is: []string{evil}, said: []string{"b"}, loss: 3}, {text: long, pair: new(string), is: []string{"b"}, said: []string{evil}, loss: 2}})
	f.Notices = []string{evil}
	f.NoGradient, f.Missing = evil, evil
	f.Run.Model, f.Run.Labels = evil, evil
	f.Deltas[0].Kernel = evil
	f.Evaluated.Source.File = evil
	f.Run.Provenance.Libraries = map[string]string{evil: evil}
	page := write(t, f)
	if elements := testpage.WellFormed(t, page); elements["script"] != 1 {
		t.Errorf("%d scripts", elements["script"])
	}
	for _, bad := range []string{"<script>alert", "\x1b", "\u202e", "\x00"} {
		if strings.Contains(page, bad) {
			t.Errorf("%q is in the page", bad)
		}
	}
	contains(t, page, "&lt;script&gt;alert(1)&lt;/script&gt;\ufffd[31m\ufffd", "The rest of the text", "(empty)")
}

// Many classes: the picture of those that are confused most, tables that are folded away.
func TestPageOfManyClasses(t *testing.T) {
	for _, c := range []struct {
		classes int
		want    []string
		size    int
	}{
		{52, []string{"An example has one of 52 classes.", "All 52 classes", "class 51"}, 300e3},
		{1000, []string{"The 30 of 1000 classes that are confused most", "All 1,000 classes", "The 100 most frequent"}, 2e6},
	} {
		task := data.Task{Name: "many"}
		for i := range c.classes {
			task.Labels = append(task.Labels, fmt.Sprintf("class %d", i))
		}
		var outcomes []outcome
		for i := range 3 * c.classes {
			said := i * i % c.classes
			outcomes = append(outcomes, outcome{text: "a text", is: task.Labels[i%c.classes : i%c.classes+1], said: task.Labels[said : said+1], loss: 1})
		}
		page := write(t, fabricate(t, task, outcomes))
		testpage.WellFormed(t, page)
		contains(t, page, c.want...)
		if len(page) > c.size {
			t.Errorf("%d classes: %d bytes", c.classes, len(page))
		}
	}
}

func TestPageOfScores(t *testing.T) {
	pair := "the second"
	var outcomes []outcome
	for i := range 40 {
		outcomes = append(outcomes, outcome{text: "the first", pair: &pair, truth: float64(i / 4), as: float64(i/4) + 0.5, loss: 0.25})
	}
	f := fabricate(t, data.Task{Name: "scores", Columns: []string{"one", "two"}}, outcomes)
	page := write(t, f)
	testpage.WellFormed(t, page)
	contains(t, page, "pearson 0.5000", "What is predicted is a score.", "Predicted score over the true one", "in 5 parts of about as many examples", "off by 0.5",
		"Scores of the training examples: 0 to 9, mean 4.5", `<p class="column">one</p>`, "the second")
	if strings.Contains(page, `id="confusion"`) || strings.Contains(page, "always says") {
		t.Error("classes in a page of scores")
	}
}

func TestPageOfSetsOfLabels(t *testing.T) {
	task := data.Task{Name: "tags", Labels: []string{"sport", "city", "money"}, Multi: true}
	page := write(t, fabricate(t, task, []outcome{
		{text: "one", is: []string{"sport", "city"}, said: []string{"sport"}, loss: 0.7},
		{text: "two", said: []string{"money"}, loss: 0.6},
		{text: "three", is: []string{"city"}, said: []string{"city"}, loss: 0.1},
	}))
	testpage.WellFormed(t, page)
	contains(t, page, "micro_f1 0.5000", "any of 3 labels, or none; one is predicted from the probability 0.5 on", "Precision, recall and F1 of each label", "Examples of each label",
		"2 (66.7\u00a0%)", "true <b>sport, city</b>", "true <b>none</b>", `<li class="right">`)
	if strings.Contains(page, `id="confusion"`) || strings.Contains(page, "the true class had") {
		t.Error("a confusion matrix, or the probability of one class")
	}
}

func TestPageOfLittle(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Facts)
		want   []string
		not    []string
	}{
		{"undefined metrics", func(f *Facts) {
			for name := range f.Evaluation.Metrics {
				f.Evaluation.Metrics[name], f.Intervals[name] = math.NaN(), Interval{math.NaN(), math.NaN(), ""}
			}
			f.Evaluations = []loop.Evaluated{{Step: 1, Metrics: f.Evaluation.Metrics}, {Step: 2, Metrics: f.Evaluation.Metrics}}
		}, []string{"accuracy undefined", ">undefined<"}, nil},
		{
			"training data that are gone", func(f *Facts) { f.Trained, f.Missing = nil, "there is no file or folder x.csv" },
			[]string{"are not shown: there is no file or folder x.csv."},
			[]string{">training <"},
		},
		{"no log", func(f *Facts) { f.Steps = nil }, []string{"The run has no log of its training."}, nil},
		{
			"no adapter", func(f *Facts) { f.Adapter.Method, f.Adapter.Kernels, f.Deltas = "bitfit", nil, nil },
			[]string{"Method bitfit trains 12,345 parameters of the model itself: there is no adapter whose ΔK could be taken apart."},
			[]string{"effective rank"},
		},
		{
			"imported", func(f *Facts) { f.Adapter.Imported, f.Result = true, train.Result{}; f.Steps, f.Trained = nil, nil },
			[]string{"The adapter was imported"},
			[]string{"when trained", `id="cost"`},
		},
		{"no examples are asked for", func(f *Facts) { f.Shown = 0 }, nil, []string{`id="errors"`, "film number"}},
		{"all is right", func(f *Facts) { f.Evaluation.Confusion = [][]int{{10, 0, 0}, {0, 10, 0}, {0, 0, 10}} }, []string{"None: every example is right."}, nil},
		{"steps that were skipped", func(f *Facts) { f.Result.Skipped = 1 }, []string{"1 of 3 steps were skipped"}, nil},
		{"long texts", func(f *Facts) { f.Evaluated.Tokens[0] = 500 }, []string{"validation: 1 of 30 examples (3.33%) are longer than 128 tokens: only their beginning is read"}, nil},
		{"long texts left out", func(f *Facts) { f.Evaluated.Tokens[0], f.Run.Overlong, f.Evaluation.Dropped = 500, "drop", 1 }, []string{"and left out", "1 other left out as longer than 128 tokens"}, nil},
		{"no angles", func(f *Facts) { f.NoGradient = "first gradient: the data are gone" }, []string{"could not be computed again: first gradient: the data are gone."}, nil},
		{"angles", func(f *Facts) {
			for i := range f.Deltas {
				f.Deltas[i].Gradient = &train.GradientAngles{Input: []float64{1, 12.34}, Output: []float64{}}
			}
		}, []string{"12.3°", "input angle"}, nil},
		{"a long setting", func(f *Facts) { f.Run.Labels = strings.Repeat("class,", 1000) }, []string{"class,cl…"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fabricate(t, films(), verdicts(30))
			c.change(f)
			page := write(t, f)
			testpage.WellFormed(t, page)
			contains(t, page, c.want...)
			for _, not := range append(c.not, ">NaN", ",NaN", " to NaN", "Infinity") {
				if strings.Contains(strings.ReplaceAll(page, `data-sort="-Infinity"`, ""), not) {
					t.Errorf("%q in the page", not)
				}
			}
		})
	}
}

// One class only, and one example.
func TestPageOfOneClass(t *testing.T) {
	page := write(t, fabricate(t, data.Task{Name: "one", Labels: []string{"only", "never"}}, []outcome{{text: "t", is: []string{"only"}, said: []string{"only"}, loss: 0}}))
	testpage.WellFormed(t, page)
	contains(t, page, "Measured on 1 validation example of", "None: every example is right.")
}

func TestSettingsThatDiffer(t *testing.T) {
	f := fabricate(t, films(), verdicts(3))
	f.Run.Config = train.Default()
	if err := f.Run.Resolve(); err != nil {
		t.Fatal(err)
	}
	var c contents
	if f.settings(&c); len(c.Changed.Rows) != 0 {
		t.Errorf("of a run with all defaults these differ: %v", c.Changed.Rows)
	}
	f.Run.Rank, f.Run.LR = 4, 0.5
	c = contents{}
	f.settings(&c)
	names := ""
	for _, row := range c.Changed.Rows {
		names += row[0].Text + " " + row[1].Text + " "
	}
	if !strings.Contains(names, "rank 4 ") || !strings.Contains(names, "lr 0.5 ") {
		t.Errorf("these differ: %s", names)
	}
}

func TestExcerptsEndBetweenWords(t *testing.T) {
	e := excerptOf("", strings.Repeat("word ", 200))
	if !strings.HasSuffix(e.Begin, "word") || e.Begin+e.Rest != strings.Repeat("word ", 200) || len(e.Begin) > openText {
		t.Errorf("%q", e.Begin)
	}
	if e := excerptOf("", strings.Repeat("word ", 70)); e.Rest != "" {
		t.Errorf("%q is folded away", e.Rest)
	}
	if e := excerptOf("", strings.Repeat("x", longestText+5)); e.Note != "5 more characters left out" || len(e.Begin)+len(e.Rest) != longestText {
		t.Errorf("%d and %d, %s", len(e.Begin), len(e.Rest), e.Note)
	}
}
