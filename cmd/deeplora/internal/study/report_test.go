package study

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testpage"
)

func report(t testing.TB, f fabricated) string {
	t.Helper()
	var b bytes.Buffer
	if err := f.summary(t).WriteReport(&b, f.measured); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestReportHasEverySection(t *testing.T) {
	f := fabricate(t, smallStudy)
	page := report(t, f)
	elements := testpage.WellFormed(t, page)
	for _, section := range []string{"scores", "differences", "settings", "curves", "spectra", "angles", "cost", "runs", "statistics"} {
		if !strings.Contains(page, `<h2 id="`+section+`">`) || !strings.Contains(page, `href="#`+section+`"`) {
			t.Errorf("no section %s, or no link to it", section)
		}
	}
	// Pictures: scores, differences, settings (2 of shots, 3 of rank), 6 conditions of curves and of spectra, 2 of angles, 3 of cost.
	if elements["figure"] != 1+1+5+6+6+2+3 || elements["figcaption"] != elements["figure"] || elements["svg"] != elements["figure"] {
		t.Errorf("%d pictures", elements["figure"])
	}
	if n := strings.Count(page, `role="img" aria-label="`); n != elements["svg"] {
		t.Errorf("%d of %d pictures say what they show", n, elements["svg"])
	}
	for _, text := range []string{
		"90 of 90 runs finished", "deep-compressed is ahead of vanilla in 6 of 6 conditions", "There are not enough seeds",
		"They are of bert-base-cased; these runs used builtin:tiny. Compare the differences between methods, not the values.",
		"vanilla, published", "0.529 (20)", "0.751 spearman", `href="runs/` + f.runs[0].Key + `"`, "Each point is the mean of 3 steps", "xla:cpu with 2 threads",
		"prefers-color-scheme: dark", "@media print", "aria-sort",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("no %q", text)
		}
	}
	if report(t, f) != page {
		t.Error("two reports of the same differ")
	}
}

// The report opens where there is no network, and tells nobody.
func TestReportNeedsNothingElse(t *testing.T) {
	page := report(t, fabricate(t, smallStudy))
	for _, load := range []string{"http:", "https:", "src=", "url(", "@import", "<link", "<iframe", "<img"} {
		if strings.Contains(page, load) {
			t.Errorf("%s in the page", load)
		}
	}
	if strings.Count(page, "<script") != 1 {
		t.Error("more than one script")
	}
}

func TestReportEscapesWhatItIsGiven(t *testing.T) {
	const evil = `<script>alert(1)</script>\u001b[31m`
	f := fabricate(t, `{"title": "`+evil+`", "description": "`+evil+`", "set": {"steps": 3},
		"grid": {"data": ["`+evil+`", "b"], "seed": [0, 1]},
		"variants": [{"name": "`+evil+`", "method": "vanilla"}, {"name": "\"'><img>", "method": "deep-narrow"}],
		"published": {"source": "`+evil+`", "model": "`+evil+`", "rows": [{"where": {"seed": 0}, "metric": "`+evil+`", "value": 1}]}}`)
	f.measured[0].Result.Metrics["pearson"] = math.NaN()
	for i := range f.measured {
		f.measured[i].Result.Metrics[evil] = 0.5
		f.measured[i].Result.Backend = evil
		for j := range f.measured[i].Updates {
			f.measured[i].Updates[j].Kernel = evil
		}
	}
	f.measured = slices.Delete(f.measured, 3, 4)
	page := report(t, f)
	elements := testpage.WellFormed(t, page)
	if elements["script"] != 1 || elements["img"] != 0 || strings.Contains(page, "<script>alert") {
		t.Errorf("markup from data: %d scripts, %d images", elements["script"], elements["img"])
	}
	if strings.Contains(page, "\x1b") {
		t.Error("a title of the data commands the terminal that the report is printed on")
	}
	if !strings.Contains(page, "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the title is not there")
	}
}

func TestReportNamesWhatIsNotThere(t *testing.T) {
	f := fabricate(t, smallStudy)
	undefined, missing := f.find(t, "deep-narrow", "shots 64, rank 8", 2), f.find(t, "vanilla", "shots 16, rank 8", 4)
	f.measured[undefined].Result.Metrics["pearson"] = math.NaN()
	keys := []string{f.measured[undefined].Key, f.measured[missing].Key}
	f.measured = slices.Delete(f.measured, missing, missing+1)
	page := report(t, f)
	for _, text := range []string{"89 of 90 runs finished", "1 run missing", "1 run finished with a score that is undefined", keys[0], keys[1], ">undefined<"} {
		if !strings.Contains(page, text) {
			t.Errorf("no %q", text)
		}
	}
}

func TestReportOfLittle(t *testing.T) {
	one := `{"title": "one", "set": {"steps": 3, "method": "vanilla"}, "grid": {"seed": [0]}}`
	two := `{"title": "two", "set": {"steps": 3}, "grid": {"method": ["vanilla", "head-only"], "seed": [0]}}`
	for _, c := range []struct {
		name, experiment string
		change           func(*fabricated)
		want             []string
	}{
		{"nothing finished", smallStudy, func(f *fabricated) { f.measured = nil }, []string{"No run is finished yet.", "90 runs missing"}},
		{"one arm", one, func(*fabricated) {}, []string{"vanilla ran alone", "1 of 1 run finished"}},
		{"one seed", two, func(*fabricated) {}, []string{"too few seeds", "it takes 6 seeds"}},
		{"no curves or updates", two, func(f *fabricated) {
			for i := range f.measured {
				f.measured[i].Curve, f.measured[i].Updates = nil, nil
			}
		}, []string{"1 pair"}},
		{"updates that are zero", two, func(f *fabricated) {
			for i := range f.measured {
				for j := range f.measured[i].Updates {
					u := &f.measured[i].Updates[j]
					u.Values, u.Gradient.Input, u.Gradient.Output = []float64{0, 0}, []float64{}, []float64{}
				}
			}
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := fabricate(t, c.experiment)
			c.change(&f)
			page := report(t, f)
			testpage.WellFormed(t, page)
			for _, text := range append(c.want, "<h1>") {
				if !strings.Contains(page, text) {
					t.Errorf("no %q", text)
				}
			}
			if strings.Contains(page, "NaN") {
				t.Error("NaN in the page")
			}
		})
	}
}

// bigStudy has 1,000 runs.
const bigStudy = `{"title": "big", "set": {"steps": 200}, "grid": {"method": ["vanilla", "deep-compressed"],
	"shots": [16, 32, 64, 128, 256], "rank": [4, 8, 16, 32, 64], "lr": [1e-4, 3e-4, 1e-3, 3e-3], "seed": [0, 1, 2, 3, 4]}}`

func BenchmarkReport(b *testing.B) {
	f := fabricate(b, bigStudy)
	b.ReportAllocs()
	for b.Loop() {
		size := len(report(b, f))
		b.ReportMetric(float64(size)/1e6, "MB/report")
	}
}
