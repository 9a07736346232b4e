package train

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train/loop"
)

// warn announces what of the data makes a training useless, or its figures: before it is trained on.
func (in *inputs) warn(notice func(format string, args ...any)) {
	warn(in.task, in.train.split, in.validation.split, notice)
}

// Warnings are what of the examples makes a run's training useless, or the figures of those that it is evaluated on: a
// line each, as training gives them. trained may be nil, where it is not known.
func (p *Predictor) Warnings(trained, evaluated *data.Split) (lines []string) {
	warn(p.Task, trained, evaluated, func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) })
	return lines
}

func warn(task data.Task, train, evaluated *data.Split, notice func(format string, args ...any)) {
	splits := []*data.Split{evaluated}
	if train != nil {
		warnOfClasses(task, train, notice)
		if n := repeated(train, evaluated); n > 0 && evaluated.Name != data.Train {
			notice("%s: %s: the figures say less of new texts than they seem to", evaluated.Name, shareOf(n, len(evaluated.Examples), "examples have a text that is trained on too"))
		}
		splits = []*data.Split{train, evaluated}
	}
	for _, s := range splits {
		unlabelled := 0
		for _, x := range s.Examples {
			if math.IsNaN(x.Label) {
				unlabelled++
			}
		}
		if unlabelled > 0 {
			notice("%s: %s and do not count", s.Name, shareOf(unlabelled, len(s.Examples), "examples have no label"))
		}
	}
}

// countOf is "3 of 40 (7.5%)".
func countOf(n, of int) string {
	return fmt.Sprintf("%d of %d (%.3g%%)", n, of, 100*float64(n)/float64(of))
}

// shareOf is "3 of 40 WHAT (7.5%)".
func shareOf(n, of int, what string) string {
	return fmt.Sprintf("%d of %d %s (%.3g%%)", n, of, what, 100*float64(n)/float64(of))
}

// warnOfClasses announces classes that cannot be learned, as no training example has them.
func warnOfClasses(task data.Task, train *data.Split, notice func(format string, args ...any)) {
	if task.Regression() {
		return
	}
	seen := train.ClassCounts()
	var never, occur []string
	for i, n := range seen {
		if n == 0 {
			never = append(never, task.Labels[i])
		} else {
			occur = append(occur, task.Labels[i])
		}
	}
	switch {
	case len(occur) == 1 && !task.Multi:
		notice("train: every example is of class %q: there is nothing to tell it from, and it will always be predicted", occur[0])
	case len(never) > 0:
		notice("train: %s: %s: they will hardly ever be predicted", shareOf(len(never), len(seen), "classes have no example"), quoted(never, 5))
	}
}

// quoted are the first of a list, quoted, and how many more there are.
func quoted(list []string, most int) string {
	var names []string
	for _, s := range list[:min(most, len(list))] {
		names = append(names, fmt.Sprintf("%.40q", s))
	}
	text := strings.Join(names, ", ")
	if more := len(list) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// repeated counts the examples of b whose texts are those of an example of a.
func repeated(a, b *data.Split) (n int) {
	type texts struct{ text, pair string }
	known := make(map[texts]bool, len(a.Examples))
	for _, x := range a.Examples {
		known[texts{x.Text, x.Pair}] = true
	}
	for _, x := range b.Examples {
		if known[texts{x.Text, x.Pair}] {
			n++
		}
	}
	return n
}

// warnOfResult announces figures that do not mean what they seem to: of predictions that are all the same, and of few
// examples.
func (r *run) warnOfResult(values loop.Metrics) {
	r.job.measured.warn(r.job.inputs.task, data.Validation, values, r.Notice)
}

// Warnings are what makes the figures of an evaluation mean less than they seem to: a line each, as training gives them.
func (e *Evaluation) Warnings() (lines []string) {
	e.measured.warn(e.task, e.Split, e.Metrics, func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) })
	return lines
}

func (m *measurement) warn(task data.Task, split string, values loop.Metrics, notice func(format string, args ...any)) {
	remedy := "; train longer, with another --lr, or see whether the classes are balanced (--class-weights)"
	switch said := m.said(); {
	case m.n < 2:
	case task.Regression() && constant(m.predicted):
		notice("every prediction is %.4g: nothing was learned of the texts; train longer, or with another --lr", m.predicted[0])
	case task.Multi && len(said) == 0:
		notice("no class was predicted for any of %d examples%s", m.n, strings.TrimSuffix(remedy, " (--class-weights)")+", or lower --threshold")
	case !task.Multi && len(said) == 1:
		share := float64(m.counts[said[0]].is) / float64(m.n)
		notice("every prediction is of class %q: an accuracy of %.4f is that of reading no text%s", task.Labels[said[0]], share, remedy)
	}
	if text := m.interval(task.Primary, values); text != "" {
		notice("%d %s examples tell little: %s", m.n, split, text)
	}
}

// said are the classes that were predicted.
func (m *measurement) said() (classes []int) {
	for i, c := range m.counts {
		if c.said > 0 {
			classes = append(classes, i)
		}
	}
	return classes
}

const fewExamples = 200 // below that a figure's 95% interval is wider than ±5 points

// interval says how far off the primary metric of few examples may be, or, where no formula gives that, the share of
// examples that are right. It is "" where there are many examples.
func (m *measurement) interval(primary string, values loop.Metrics) string {
	if m.n >= fewExamples || m.n == 0 {
		return ""
	}
	const format = "%s %.4f, 95%% interval %.2f to %.2f"
	if v := values[primary]; primary == "pearson" && m.n > 3 && !math.IsNaN(v) {
		b := fisher(v, m.n, 1)
		return fmt.Sprintf(format, primary, v, b.Low, b.High)
	}
	if m.counts == nil {
		return ""
	}
	b := wilson(m.exact, m.n)
	name := "accuracy"
	if m.confusion == nil {
		name = "subset_accuracy"
	} else if primary == "micro_f1" {
		name = primary // the same number
	}
	return fmt.Sprintf(format, name, m.accuracy(), b.Low, b.High)
}

// labelled are the logits and labels of the examples that have labels.
func labelled(logits [][]float32, labels []float64) ([][]float32, []float64) {
	if !slices.ContainsFunc(labels, math.IsNaN) {
		return logits, labels
	}
	width := cmp.Or(len(labels)/max(1, len(logits)), 1)
	var keptLogits [][]float32
	var kept []float64
	for i, row := range logits {
		if of := labels[i*width : (i+1)*width]; !math.IsNaN(of[0]) {
			keptLogits, kept = append(keptLogits, row), append(kept, of...)
		}
	}
	return keptLogits, kept
}
