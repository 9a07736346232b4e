package runreport

import (
	_ "embed"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
	"github.com/deeplora/deeplora/train"
)

//go:embed report.html.tmpl
var reportText string

// chartWidth is a chart's, in points: a phone shows it nearly as it is.
const chartWidth = 380

// openRows is how many rows of a table are shown at once; a longer one is folded away.
const openRows = 20

const (
	namedClasses = 8  // that are listed in a sentence
	longestName  = 60 // of a class, in characters
)

// shortened are names of classes without what is too long for a table.
func shortened(names ...string) []string {
	short := slices.Clone(names)
	for i, name := range short {
		if runes := []rune(name); len(runes) > longestName {
			short[i] = string(runes[:longestName-1]) + "…"
		}
	}
	return short
}

func class(name string) page.Entry { return page.Entry{Text: shortened(name)[0]} }

// pair is a name and what stands behind it.
type pair struct{ Name, Value string }

// contents are what the template shows.
type contents struct {
	Title, Headline string
	Lead            []string
	Notices         []string

	Metrics      page.Table
	MetricNotes  []string
	ByClass      folded
	Confusion    []page.Figure
	Confusions   folded
	ScoreFigures []page.Figure
	Mistakes     []mistake
	MistakeNote  string

	Curves    []page.Figure
	CurveNote string

	Files       page.Table
	Splits      page.Table
	Missing     string
	Counts      folded
	CountNote   string
	DataFigures []page.Figure

	AdapterLead []string
	Deltas      folded
	Spectra     []page.Figure

	Changed, Settings page.Table
	Cost              []pair
	Software          []pair
	ModelFiles        page.Table
}

// folded is a table of which the first rows are shown and, if it is long, the whole is folded away.
type folded struct {
	page.Table
	Whole page.Table
	Fold  string // what the whole is; empty: the table is
}

func fold(t page.Table, what string) folded { return foldAt(t, openRows, what) }

func foldAt(t page.Table, rows int, what string) folded {
	if len(t.Rows) <= rows {
		return folded{Table: t}
	}
	f := folded{t, t, what}
	f.Rows = t.Rows[:rows]
	return f
}

// Write writes the page.
func (f *Facts) Write(w io.Writer) error {
	c := &contents{Notices: slices.Concat(f.Notices, f.longNotices()), Missing: f.Missing}
	f.lead(c)
	f.metrics(c)
	f.byClass(c)
	f.mistakes(c)
	f.settings(c)
	f.provenance(c)
	f.describeData(c)
	for _, draw := range []func(*contents) error{f.drawConfusion, f.drawScores, f.drawCurves, f.drawLengths, f.adapter} {
		if err := draw(c); err != nil {
			return fmt.Errorf("report: %w", err)
		}
	}
	return page.Write(w, reportText, c, nil)
}

// lead is what the run is, and its headline metric.
func (f *Facts) lead(c *contents) {
	r := &f.Result
	c.Title = fmt.Sprintf("%s: %s on %s", f.Task.Name, f.Adapter.Method, ModelName(f.Run.Model))
	name := f.Task.Primary
	c.Headline = name + " " + MetricText(f.Evaluation.Metrics[name])
	if i := f.Intervals[name]; !math.IsNaN(i.Low) {
		c.Headline += fmt.Sprintf(", 95\u00a0%% interval %s to %s", MetricText(i.Low), MetricText(i.High))
	}
	measured := fmt.Sprintf("Measured on %s of %s.", page.Count(f.Evaluation.Examples, f.Evaluation.Split+" example"), f.Evaluated.Source.File)
	if f.Evaluation.Dropped > 0 {
		measured = strings.TrimSuffix(measured, ".") + fmt.Sprintf("; %s left out as longer than %d tokens.", page.Count(f.Evaluation.Dropped, "other"), f.Run.MaxLength)
	}
	c.Lead = append(c.Lead, measured)
	switch {
	case f.Adapter.Imported:
		c.Lead = append(c.Lead, fmt.Sprintf("The adapter was imported: it has rank %d on %s.", f.Adapter.Rank, page.Count(len(f.Adapter.Kernels), "kernel")))
	case len(f.Adapter.Kernels) > 0:
		head := ""
		if f.Adapter.HeadTrained {
			head = ", the head's among them"
		}
		c.Lead = append(c.Lead, fmt.Sprintf("%s of rank %d on %s: %s%s, trained on %s in %s.", f.Adapter.Method, f.Adapter.Rank,
			page.Count(len(f.Adapter.Kernels), "kernel"), page.Count(r.Parameters, "parameter"), head, page.Count(r.Shots, "example"), page.Count(r.Steps, "step")))
	default:
		c.Lead = append(c.Lead, fmt.Sprintf("%s: %s of the model itself, trained on %s in %s.", f.Adapter.Method, page.Count(r.Parameters, "parameter"),
			page.Count(r.Shots, "example"), page.Count(r.Steps, "step")))
	}
	switch {
	case f.Task.Regression():
		c.Lead = append(c.Lead, "What is predicted is a score.")
	case f.Task.Multi:
		c.Lead = append(c.Lead, fmt.Sprintf("An example may have any of %d labels, or none; one is predicted from the probability %g on.", len(f.Task.Labels), f.Run.Threshold))
	default:
		text := "An example has one of " + page.Count(len(f.Task.Labels), "class", "classes")
		if len(f.Task.Labels) <= namedClasses {
			text += ": " + strings.Join(shortened(f.Task.Labels...), ", ")
		}
		c.Lead = append(c.Lead, text+".")
	}
	if r.Selected != r.Steps && !f.Adapter.Imported {
		c.Lead = append(c.Lead, fmt.Sprintf("The adapter kept is that of step %d, the best.", r.Selected))
	}
	if r.Skipped > 0 {
		c.Notices = append(c.Notices, fmt.Sprintf("%d of %d steps were skipped: their loss or gradient was infinite or NaN", r.Skipped, r.Steps))
	}
}

// ModelName is a model without the folders that it lies in.
func ModelName(ref string) string {
	if filepath.IsAbs(ref) {
		return filepath.Base(ref)
	}
	return ref
}

// MetricText is a figure with the digits that matter: four decimals, or five digits of a large one.
func MetricText(v float64) string {
	switch {
	case math.IsNaN(v):
		return "undefined"
	case math.Abs(v) >= 10:
		return strconv.FormatFloat(v, 'g', 5, 64)
	}
	return strconv.FormatFloat(v, 'f', 4, 64)
}

// metrics is the table of figures, with what was noted when training ended beside them.
func (f *Facts) metrics(c *contents) {
	c.Metrics = page.Table{Label: "Metrics", Columns: append(page.Words("metric"), page.Numbers("value", "95\u00a0% from", "to")...)}
	c.Metrics.Columns = append(c.Metrics.Columns, page.Words("interval by")...)
	noted := f.Evaluation.Split == f.Result.Split && len(f.Result.Metrics) > 0
	if noted {
		c.Metrics.Columns = append(c.Metrics.Columns, page.Numbers("when trained")...)
	}
	for _, name := range MetricNames(f.Task, f.Evaluation.Metrics) {
		v, i := f.Evaluation.Metrics[name], f.Intervals[name]
		row := []page.Entry{{Text: name}, figure(v), figure(i.Low), figure(i.High), {Text: i.By}}
		if math.IsNaN(v) {
			row[1].Text = "undefined"
		}
		if noted {
			then, there := f.Result.Metrics[name]
			if !there {
				then = math.NaN()
			}
			row = append(row, figure(then))
		}
		c.Metrics.Rows = append(c.Metrics.Rows, row)
	}
	c.MetricNotes = append(c.MetricNotes, "Intervals: where the figure of this model would lie if other examples of the same kind had been drawn. Another training, with another seed, differs besides. "+
		"Wilson's is of shares of examples; Fisher's z is of correlations, Spearman's with the variance of Bonett and Wright; bootstrap is the 2.5 and 97.5 percentiles of 1,000 resamples of the examples (of one class each: within each true class, so that rare ones are not lost), always the same ones.")
	if f.Task.Labels != nil && !f.Task.Multi {
		if name, n := f.mostFrequent(); n > 0 {
			c.MetricNotes = append(c.MetricNotes, fmt.Sprintf("To compare with: whoever always says %s, the most frequent class of these examples, has an accuracy of %s.", name, MetricText(float64(n)/float64(f.Evaluation.Examples))))
		}
	}
}

// mostFrequent is the class that most of the examples evaluated have, and how many.
func (f *Facts) mostFrequent() (name string, examples int) {
	for _, label := range f.Evaluation.Labels {
		if n := f.Evaluation.PerLabel[label].Support; n > examples {
			name, examples = label, n
		}
	}
	return name, examples
}

func figure(v float64) page.Entry { return page.Number(v, MetricText(v)) }

// byClass is the table of each class's figures.
func (f *Facts) byClass(c *contents) {
	e := f.Evaluation
	if len(e.Labels) == 0 {
		return
	}
	noun := "class"
	if f.Task.Multi {
		noun = "label"
	}
	t := page.Table{Label: "Precision, recall and F1 of each " + noun, Columns: append(page.Words(noun), page.Numbers("precision", "recall", "F1", "examples")...)}
	labels := slices.Clone(e.Labels)
	if len(labels) > openRows { // those with most examples are not folded away
		slices.SortStableFunc(labels, func(a, b string) int { return e.PerLabel[b].Support - e.PerLabel[a].Support })
	}
	for _, name := range labels {
		of := e.PerLabel[name]
		t.Rows = append(t.Rows, []page.Entry{class(name), figure(of.Precision), figure(of.Recall), figure(of.F1), page.Whole(of.Support)})
	}
	c.ByClass = fold(t, fmt.Sprintf("All %s", page.Count(len(t.Rows), noun, noun+map[bool]string{true: "es", false: "s"}[noun == "class"])))
}

// settings are the tables of settings: those that differ from the defaults, and all.
func (f *Facts) settings(c *contents) {
	table, defaults := train.Settings(), train.Default()
	// What the run chose by itself differs from no default: it is what a run that leaves the choice would choose again.
	again := f.Run.Config
	for _, r := range table {
		if r.Unset != nil {
			r.Copy(&again, &defaults)
		}
	}
	chosen := again.Resolve() == nil
	c.Changed = page.Table{Label: "Settings that differ from the defaults", Columns: page.Words("setting", "value", "default", "meaning")}
	c.Settings = page.Table{Label: "All settings", Columns: c.Changed.Columns}
	for _, r := range table {
		standard := settingText(r.Default)
		if r.Unset != nil {
			standard = "chosen by the run unless given"
		}
		row := []page.Entry{{Text: r.Name}, {Text: settingText(r.Value(&f.Run.Config)), Class: "value"}, {Text: standard}, {Text: r.Help}}
		c.Settings.Rows = append(c.Settings.Rows, row)
		if !r.Same(&f.Run.Config, &defaults) && !(r.Unset != nil && chosen && r.Same(&f.Run.Config, &again)) {
			c.Changed.Rows = append(c.Changed.Rows, row)
		}
	}
}

// longestSetting is how many characters of a setting are shown: a thousand names of classes are a page of their own.
const longestSetting = 200

func settingText(value any) string {
	text := fmt.Sprint(value)
	if list, ok := value.([]string); ok {
		text = strings.Join(list, " ")
	}
	if runes := []rune(text); len(runes) > longestSetting {
		text = string(runes[:longestSetting]) + "…"
	}
	if text == "" || text == "<nil>" {
		return "–"
	}
	return text
}

// provenance is what computed the run, and what that took.
func (f *Facts) provenance(c *contents) {
	p, r := &f.Run.Provenance, &f.Result
	if !f.Adapter.Imported {
		c.Cost = []pair{
			{"training", seconds(r.TrainSeconds) + " in optimizer steps, of all processes"},
			{"start to first step", seconds(r.StartSeconds)},
			{"drawing the adapter", seconds(r.InitSeconds)},
			{"last process as a whole", seconds(r.WallSeconds)},
			{"speed", page.Grouped(int(math.Round(r.TokensPerSecond))) + " tokens a second, padding not counted"},
			{"trained parameters", page.Grouped(r.Parameters)},
		}
		if r.PeakRSS > 0 {
			c.Cost = append(c.Cost, pair{"peak memory", fmt.Sprintf("%s MiB resident", page.Grouped(int(r.PeakRSS>>20)))})
		}
	}
	c.Software = []pair{{"deeplora", p.Version}, {"engine", fmt.Sprintf("%s with %s", p.Backend, page.Count(p.Threads, "thread"))}}
	if p.PluginSHA256 != "" {
		c.Software = append(c.Software, pair{"plugin", "sha256 " + p.PluginSHA256})
	}
	for _, name := range slices.Sorted(maps.Keys(p.Libraries)) {
		c.Software = append(c.Software, pair{name, p.Libraries[name]})
	}
	if p.ModelRevision != "" {
		c.Software = append(c.Software, pair{"model's revision", p.ModelRevision})
	}
	c.ModelFiles = page.Table{Label: "Files of the base model", Columns: page.Words("file of "+f.Run.Model, "sha256")}
	for _, file := range f.Adapter.BaseFiles {
		c.ModelFiles.Rows = append(c.ModelFiles.Rows, []page.Entry{{Text: file.File}, {Text: file.SHA256}})
	}
}

func seconds(s float64) string { return strconv.FormatFloat(s, 'f', 1, 64) + " s" }
