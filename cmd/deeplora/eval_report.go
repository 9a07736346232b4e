package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/runreport"
	"github.com/deeplora/deeplora/train"
)

const (
	matrixClasses = 12 // classes of which a confusion matrix is shown as a whole
	confusions    = 10 // most frequent ones shown of more classes
	classWidth    = 16 // characters of a class's name in a matrix
	textWidth     = 72 // characters of an example's text
)

// report prints an evaluation: its metrics, the confusion matrix of classes or the figures of each label of sets, and the
// worst examples if they are asked for.
func (u *ui) report(e *train.Evaluation) error {
	err := u.table([][]string{
		{"task", e.Task}, {"evaluated", fmt.Sprintf("%d %s examples", e.Examples, e.Split)}, {"metrics", metricText(e.Metrics)},
	})
	for _, rows := range [][][]string{confusionRows(e), labelRows(e), errorRows(e)} {
		if err == nil && len(rows) > 0 {
			fmt.Fprintln(u.out)
			err = u.table(rows)
		}
	}
	return err
}

// confusionRows are the confusion matrix: a row a true class, a column a predicted one. Of many classes only what is
// mistaken for what most often fits a screen.
func confusionRows(e *train.Evaluation) [][]string {
	n := len(e.Confusion)
	if n == 0 {
		return nil
	}
	if n > matrixClasses {
		return confusedRows(e)
	}
	header := []string{"true \\ predicted"}
	for _, name := range e.Labels {
		header = append(header, shortened(name, classWidth))
	}
	rows := [][]string{header}
	for i, counts := range e.Confusion {
		row := []string{shortened(e.Labels[i], classWidth)}
		for _, c := range counts {
			row = append(row, strconv.Itoa(c))
		}
		rows = append(rows, row)
	}
	return rows
}

// confusedRows are the most frequent confusions; of equally frequent ones, those of the first classes.
func confusedRows(e *train.Evaluation) [][]string {
	pairs := runreport.Confusions(e.Confusion)
	rows := [][]string{{"true", "predicted", "examples"}}
	for _, p := range pairs[:min(confusions, len(pairs))] {
		rows = append(rows, []string{shortened(e.Labels[p.Truth], textWidth), shortened(e.Labels[p.Said], textWidth), strconv.Itoa(p.N)})
	}
	if len(pairs) > confusions {
		rows = append(rows, []string{fmt.Sprintf("and %d more pairs: --json has the whole matrix", len(pairs)-confusions)})
	}
	return rows
}

// labelRows are the figures of each label of sets, which have no confusion matrix.
func labelRows(e *train.Evaluation) [][]string {
	if e.Confusion != nil || len(e.Labels) == 0 {
		return nil
	}
	rows := [][]string{{"label", "precision", "recall", "f1", "support"}}
	for _, name := range e.Labels {
		f := e.PerLabel[name]
		rows = append(rows, []string{shortened(name, textWidth), metricValue(f.Precision), metricValue(f.Recall), metricValue(f.F1), strconv.Itoa(f.Support)})
	}
	return rows
}

// errorRows are the examples with the highest loss, their texts cut.
func errorRows(e *train.Evaluation) [][]string {
	if len(e.Errors) == 0 {
		return nil
	}
	rows := [][]string{{"loss", "row", "true", "predicted", "text"}}
	for _, x := range e.Errors {
		truth, predicted := strings.Join(x.Truth, ", "), strings.Join(x.Predicted, ", ")
		if x.Value != nil {
			truth, predicted = fmt.Sprintf("%.4g", *x.Value), fmt.Sprintf("%.4g", *x.Score)
		}
		text := shortened(x.Text, textWidth)
		if x.Pair != nil {
			text = shortened(x.Text, textWidth/2) + " | " + shortened(*x.Pair, textWidth/2)
		}
		rows = append(rows, []string{metricValue(x.Loss), strconv.Itoa(x.Row), shortened(truth, 2*classWidth), shortened(predicted, 2*classWidth), text})
	}
	return rows
}

// shortened is a text on one line of so many characters at most. What commands a terminal is written out before it is
// cut: it would be longer after.
func shortened(text string, characters int) string {
	if limit := 4 * characters; len(text) > limit { // enough of it for any characters; the rest is not looked at
		for limit > 0 && !utf8.RuneStart(text[limit]) {
			limit--
		}
		text = text[:limit] + "…"
	}
	text = plainCell(text)
	if runes := []rune(text); len(runes) > characters {
		text = string(runes[:characters-1]) + "…"
	}
	return text
}
