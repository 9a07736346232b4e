package runreport

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
	"github.com/deeplora/deeplora/internal/picture"
)

// Limits of what is shown of predictions.
const (
	drawnClasses   = 60   // of a confusion matrix; of more, those that are confused most
	confusedOnes   = 30   // of them
	confusionRows  = 100  // most frequent ones in the table
	openConfusions = 10   // of them that are shown at once
	openText       = 320  // characters of an example's text that are shown at once
	longestText    = 6000 // and at all
	scoreBins      = 20   // of the picture of a regression's predictions
	binExamples    = 5    // at least, of a bin
)

// Confusion is a true class, another that was predicted, and how often.
type Confusion struct{ Truth, Said, N int }

// Confusions are those of a matrix, a row a true class, the most frequent first; of equals, those of the first classes.
func Confusions(matrix [][]int) (list []Confusion) {
	for i, row := range matrix {
		for j, n := range row {
			if i != j && n > 0 {
				list = append(list, Confusion{i, j, n})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Confusion) int { return cmp.Compare(b.N, a.N) })
	return list
}

// drawConfusion is the confusion matrix, or of many classes that of those which are confused most, and a table of the most
// frequent confusions.
func (f *Facts) drawConfusion(c *contents) error {
	all := f.Evaluation.Confusion
	if len(all) == 0 {
		return nil
	}
	list := Confusions(all)
	var classes []int
	if len(all) <= drawnClasses {
		for i := range all {
			classes = append(classes, i)
		}
	} else {
		for _, x := range list {
			for _, class := range []int{x.Truth, x.Said} {
				if !slices.Contains(classes, class) && len(classes) < confusedOnes {
					classes = append(classes, class)
				}
			}
		}
		slices.Sort(classes)
	}
	caption := "A row a true class, a column a predicted one. The darker a cell, the larger its share of its row; blue is right, orange wrong."
	if len(classes) < len(all) {
		caption = fmt.Sprintf("The %d of %d classes that are confused most. %s", len(classes), len(all), caption)
	}
	if len(classes) > 0 {
		m := picture.Matrix{Title: "Confusion matrix", RowLabel: "true", ColumnLabel: "predicted"}
		for _, i := range classes {
			row := make([]int, len(classes))
			for at, j := range classes {
				row[at] = all[i][j]
			}
			m.Names, m.Counts = append(m.Names, f.Evaluation.Labels[i]), append(m.Counts, row)
		}
		figure, err := page.Draw(m, caption)
		if err != nil {
			return err
		}
		figure.Wide = true
		c.Confusion = []page.Figure{figure}
	}
	c.Confusions = f.confusionTable(list)
	return nil
}

func (f *Facts) confusionTable(list []Confusion) folded {
	t := page.Table{Label: "Most frequent confusions", Columns: append(page.Words("true", "predicted"), page.Numbers("examples", "of true")...)}
	for _, x := range list[:min(confusionRows, len(list))] {
		truth := f.Evaluation.Labels[x.Truth]
		support := f.Evaluation.PerLabel[truth].Support
		t.Rows = append(t.Rows, []page.Entry{class(truth), class(f.Evaluation.Labels[x.Said]), page.Whole(x.N), percent(x.N, support)})
	}
	what := fmt.Sprintf("The %d most frequent", len(t.Rows))
	if len(t.Rows) == len(list) {
		what = "All " + page.Count(len(list), "pair")
	}
	return foldAt(t, openConfusions, what)
}

func percent(n, of int) page.Entry {
	share := float64(n) / float64(of)
	return page.Number(share, fmt.Sprintf("%.1f\u00a0%%", 100*share))
}

// drawScores is how a regression's predictions lie to the true scores: their median and the middle 80 % in bins of as many
// examples each.
func (f *Facts) drawScores(c *contents) error {
	if !f.Task.Regression() {
		return nil
	}
	type point struct{ truth, said float64 }
	var points []point
	for _, x := range f.Evaluation.Errors {
		if x.Value != nil && x.Score != nil {
			points = append(points, point{*x.Value, *x.Score})
		}
	}
	if len(points) == 0 {
		return nil
	}
	slices.SortFunc(points, func(a, b point) int { return cmp.Or(cmp.Compare(a.truth, b.truth), cmp.Compare(a.said, b.said)) })
	said := picture.Series{Name: "predicted", Low: []float64{}, High: []float64{}}
	for from, to := 0, 0; from < len(points); from = to {
		to = min(from+max(binExamples, (len(points)+scoreBins-1)/scoreBins), len(points))
		for to < len(points) && (points[to].truth == points[to-1].truth || len(points)-to < binExamples) {
			to++ // equal scores stay together, and a few at the end are no part of their own
		}
		in := points[from:to]
		var values []float64
		sum := 0.0
		for _, p := range in {
			values = append(values, p.said)
			sum += p.truth
		}
		slices.Sort(values)
		said.X, said.Y = append(said.X, sum/float64(len(in))), append(said.Y, quantile(values, 0.5))
		said.Low, said.High = append(said.Low, quantile(values, 0.1)), append(said.High, quantile(values, 0.9))
	}
	low, high := points[0].truth, points[len(points)-1].truth
	right := picture.Series{Name: "right", X: []float64{low, high}, Y: []float64{low, high}, Color: picture.Dashed(2)}
	chart := picture.Lines{Title: "Predicted score over the true one", XLabel: "true score", YLabel: "predicted score", Width: chartWidth, Height: 280, Series: []picture.Series{said, right}}
	figure, err := page.Draw(chart, fmt.Sprintf("Median of the predictions, and the middle 80\u00a0%% of them as a band, in %s of about as many examples each by true score.", page.Count(len(said.X), "part")))
	c.ScoreFigures = []page.Figure{figure}
	return err
}

// quantile of sorted values: the nearest of them.
func quantile[T int | float64](sorted []T, share float64) T {
	return sorted[int(math.Round(share*float64(len(sorted)-1)))]
}

// mistake is an example whose loss is high.
type mistake struct {
	Loss, Row, Truth, Predicted, Note string
	Class                             string // right or wrong; empty, of scores
	Texts                             []excerpt
}

// excerpt is a text: its beginning, and the rest, which is folded away.
type excerpt struct {
	Name, Begin, Rest, Note string
}

// mistakes are the examples with the highest loss.
func (f *Facts) mistakes(c *contents) {
	worst := f.Evaluation.Errors[:min(f.Shown, len(f.Evaluation.Errors))]
	if len(worst) == 0 {
		return
	}
	loss := "as in training without class weights"
	if f.Task.Scaled() {
		loss = "the square of how far the score is off, in the scale of the file"
	}
	c.MistakeNote = fmt.Sprintf("The %s of %s with the highest loss, %s. Where a model is right nearly always, wrong labels are found here. Rows are counted from 0, the header not among them.",
		page.Count(len(worst), "example"), page.Grouped(f.Evaluation.Examples), loss)
	for _, x := range worst {
		m := mistake{Loss: MetricText(x.Loss), Row: strconv.Itoa(x.Row), Truth: list(x.Truth), Predicted: list(x.Predicted)}
		if m.Class = "right"; m.Truth != m.Predicted {
			m.Class = "wrong"
		}
		switch {
		case x.Value != nil && x.Score != nil:
			m.Truth, m.Predicted = strconv.FormatFloat(*x.Value, 'g', 5, 64), strconv.FormatFloat(*x.Score, 'g', 5, 64)
			m.Class = ""
			m.Note = fmt.Sprintf("off by %.4g", *x.Score-*x.Value)
		case !f.Task.Multi: // the loss is -log of it
			m.Note = fmt.Sprintf("the true class had the probability %.3g", math.Exp(-x.Loss))
		}
		names := f.Evaluated.Task.Columns
		for i, text := range []*string{&x.Text, x.Pair} {
			if text == nil {
				continue
			}
			name := ""
			if x.Pair != nil && i < len(names) {
				name = names[i]
			}
			m.Texts = append(m.Texts, excerptOf(name, *text))
		}
		c.Mistakes = append(c.Mistakes, m)
	}
}

// list is names of classes as text.
func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func excerptOf(name, text string) excerpt {
	runes := []rune(text)
	e := excerpt{Name: name}
	if len(runes) > longestText {
		e.Note = page.Count(len(runes)-longestText, "more character") + " left out"
		runes = runes[:longestText]
	}
	if at := min(len(runes), openText); len(runes) > at+openText/4 { // else the rest is not worth a click
		for back := at; back > at-40; back-- {
			if runes[back] == ' ' { // not within a word
				at = back
				break
			}
		}
		e.Begin, e.Rest = string(runes[:at]), string(runes[at:])
		return e
	}
	e.Begin = string(runes)
	if strings.TrimSpace(e.Begin) == "" {
		e.Begin = "(empty)"
	}
	return e
}
