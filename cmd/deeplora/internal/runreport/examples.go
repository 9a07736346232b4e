package runreport

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/stat"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/picture"
)

// splits are the examples that are shown, those of training first.
func (f *Facts) splits() (list []*Examples) {
	if f.Trained != nil {
		list = append(list, f.Trained)
	}
	return append(list, f.Evaluated)
}

// name is what a split was for: the evaluated one may be that which was trained on.
func (f *Facts) name(e *Examples) string {
	if e == f.Trained {
		return "training"
	}
	return "evaluated"
}

// describeData is the files, the examples and their classes.
func (f *Facts) describeData(c *contents) {
	c.Files = page.Table{Label: "Files", Columns: page.Words("file", "of", "rows", "sha256")}
	c.Files.Columns[2].Numeric = true
	add := func(file, of, rows, sum string) {
		c.Files.Rows = append(c.Files.Rows, []page.Entry{{Text: file}, {Text: of}, {Text: rows, Sort: rows}, {Text: sum}})
	}
	m, s := f.Manifest, f.Evaluated.Source
	same := m != nil && s.SHA256 == m.SHA256 && s.File == m.File
	switch evaluated := f.Evaluated.Name + ", evaluated"; {
	case same:
		add(m.File, "training; "+evaluated, strconv.Itoa(m.Rows), m.SHA256)
	case m != nil:
		add(m.File, "training", strconv.Itoa(m.Rows), m.SHA256)
		fallthrough
	default:
		add(s.File, evaluated, strconv.Itoa(s.Rows), s.SHA256)
	}
	c.Splits = page.Table{Label: "Examples", Columns: append(page.Words("examples"), page.Numbers("number", "median tokens", "95\u00a0% have up to", "longest", fmt.Sprintf("above %d", f.Run.MaxLength), "median characters", "longest")...)}
	for _, e := range f.splits() {
		c.Splits.Rows = append(c.Splits.Rows, f.splitRow(e))
	}
	f.countClasses(c)
	if m := f.Manifest; m != nil {
		c.CountNote = drawText(m)
	}
}

// drawText says how the training examples were drawn.
func drawText(m *data.Manifest) string {
	text := fmt.Sprintf("Of %s of %s, %s are trained on", page.Count(m.Rows, "row"), m.File, page.Grouped(m.N))
	switch m.Rule {
	case "all":
	case "list":
		text += ", listed by someone else"
	default:
		text += fmt.Sprintf(", drawn %s with seed %d", strings.ReplaceAll(m.Rule, "-", " "), m.Seed)
	}
	switch {
	case m.Held == nil:
	case m.Held.Parts > 0:
		text += fmt.Sprintf("; %s that were drawn with them, part %d of %d, are kept to measure on", page.Grouped(len(m.Held.Indices)), m.Held.Part, m.Held.Parts)
	default:
		text += fmt.Sprintf("; %s are kept for validation, of each class or part of the scores the same share (%g)", page.Grouped(len(m.Held.Indices)), m.Held.Share)
	}
	return text + "."
}

func (f *Facts) splitRow(e *Examples) []page.Entry {
	tokens, characters := slices.Sorted(slices.Values(e.Tokens)), slices.Sorted(slices.Values(e.Characters))
	at := func(sorted []int, share float64) page.Entry { return page.Whole(quantile(sorted, share)) }
	long := f.overlong(e)
	cut := page.Whole(long)
	cut.Text += fmt.Sprintf(" (%.1f\u00a0%%)", 100*float64(long)/float64(len(tokens)))
	return []page.Entry{
		{Text: fmt.Sprintf("%s (%s)", f.name(e), e.Name)},
		page.Whole(len(tokens)),
		at(tokens, 0.5), at(tokens, 0.95), at(tokens, 1), cut, at(characters, 0.5), at(characters, 1),
	}
}

// overlong counts examples beyond max-length.
func (f *Facts) overlong(e *Examples) (n int) {
	for _, tokens := range e.Tokens {
		if tokens > f.Run.MaxLength {
			n++
		}
	}
	return n
}

// longNotices say how many examples are not read to their end.
func (f *Facts) longNotices() (lines []string) {
	for _, e := range f.splits() {
		switch n := f.overlong(e); {
		case n == 0:
		case f.Run.Overlong == "drop":
			if e != f.Trained { // of these they are left out already
				lines = append(lines, fmt.Sprintf("%s: %d of %d examples (%.3g%%) are longer than %d tokens, and left out", e.Name, n, len(e.Tokens), 100*float64(n)/float64(len(e.Tokens)), f.Run.MaxLength))
			}
		default:
			lines = append(lines, fmt.Sprintf("%s: %d of %d examples (%.3g%%) are longer than %d tokens: only their beginning is read", e.Name, n, len(e.Tokens), 100*float64(n)/float64(len(e.Tokens)), f.Run.MaxLength))
		}
	}
	return lines
}

// countClasses is the table of class counts, those with most training examples first.
func (f *Facts) countClasses(c *contents) {
	if f.Task.Labels == nil {
		return
	}
	noun, plural := "class", "classes"
	if f.Task.Multi {
		noun, plural = "label", "labels"
	}
	t := page.Table{Label: "Examples of each " + noun, Columns: page.Words(noun)}
	splits := f.splits()
	counts := make([][]int, len(splits))
	order := make([]int, len(f.Task.Labels))
	for i := range order {
		order[i] = i
	}
	for s, e := range splits {
		counts[s] = e.ClassCounts()
		t.Columns = append(t.Columns, page.Numbers(f.name(e))...)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(counts[0][b], counts[0][a]) })
	for _, id := range order {
		row := []page.Entry{class(f.Task.Labels[id])}
		for s, e := range splits {
			entry := page.Whole(counts[s][id])
			entry.Text = fmt.Sprintf("%d (%.1f\u00a0%%)", counts[s][id], 100*float64(counts[s][id])/float64(len(e.Examples)))
			entry.Class, entry.Bar = "bars", math.Round(1000*float64(counts[s][id])/float64(max(1, slices.Max(counts[s]))))/10
			row = append(row, entry)
		}
		t.Rows = append(t.Rows, row)
	}
	c.Counts = fold(t, "All "+page.Count(len(t.Rows), noun, plural))
}

// drawLengths is the distributions of lengths and, of a regression, of scores.
func (f *Facts) drawLengths(c *contents) error {
	limit := float64(f.Run.MaxLength)
	for _, e := range f.splits() {
		values := make([]float64, len(e.Tokens))
		for i, n := range e.Tokens {
			values[i] = float64(n)
		}
		sorted := slices.Sorted(slices.Values(values))
		most := max(quantile(sorted, 0.99), 1.1*limit)
		what := "cut"
		if f.Run.Overlong == "drop" {
			what = "left out"
		}
		caption := fmt.Sprintf("Length of the %s examples, special tokens included. Dashed: max-length; %s of %s are longer, and %s.", f.name(e), page.Grouped(f.overlong(e)), page.Grouped(len(values)), what)
		if f.overlong(e) == 0 {
			caption = fmt.Sprintf("Length of the %s examples, special tokens included. Dashed: max-length; none is longer.", f.name(e))
		}
		if longest := sorted[len(sorted)-1]; longest > most {
			caption += fmt.Sprintf(" The last bar has all beyond too, up to %.0f.", longest)
		}
		h := picture.Histogram{Title: "Tokens of the " + f.name(e) + " examples", XLabel: "tokens", YLabel: "examples", Values: values, Whole: true, Zero: true, Most: &most, At: &limit, Width: chartWidth, Height: 220}
		if err := c.drawData(h, caption); err != nil {
			return err
		}
	}
	if !f.Task.Regression() {
		return nil
	}
	for _, e := range f.splits() {
		values := e.Labels()
		h := picture.Histogram{Title: "Scores of the " + f.name(e) + " examples", XLabel: "score", YLabel: "examples", Values: values, Color: 3, Width: chartWidth, Height: 220}
		if err := c.drawData(h, fmt.Sprintf("Scores of the %s examples: %s.", f.name(e), scoreText(values))); err != nil {
			return err
		}
	}
	return nil
}

func (c *contents) drawData(h picture.Histogram, caption string) error {
	figure, err := page.Draw(h, caption)
	c.DataFigures = append(c.DataFigures, figure)
	return err
}

// scoreText is the range, mean and deviation of scores.
func scoreText(values []float64) string {
	values = slices.DeleteFunc(slices.Clone(values), math.IsNaN)
	if len(values) == 0 {
		return "none"
	}
	mean, deviation := stat.PopMeanStdDev(values, nil)
	return fmt.Sprintf("%.4g to %.4g, mean %.4g, standard deviation %.4g", slices.Min(values), slices.Max(values), mean, deviation)
}
