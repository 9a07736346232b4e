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
	in.warnOfClasses(notice)
	if n := repeated(in.train.split, in.validation.split); n > 0 {
		notice("validation: %s: the figures say less of new texts than they seem to", shareOf(n, len(in.validation.rows), "examples have a text that is trained on too"))
	}
	for _, e := range []*examples{in.train, in.validation} {
		unlabelled := 0
		for _, x := range e.split.Examples {
			if math.IsNaN(x.Label) {
				unlabelled++
			}
		}
		if unlabelled > 0 {
			notice("%s: %s and do not count", e.split.Name, shareOf(unlabelled, len(e.rows), "examples have no label"))
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
func (in *inputs) warnOfClasses(notice func(format string, args ...any)) {
	if in.task.Regression() {
		return
	}
	seen := make([]int, len(in.task.Labels))
	for _, x := range in.train.split.Examples {
		switch {
		case math.IsNaN(x.Label):
		case in.task.Multi:
			for _, class := range x.Classes {
				seen[class]++
			}
		default:
			seen[int(x.Label)]++
		}
	}
	var never, occur []string
	for i, n := range seen {
		if n == 0 {
			never = append(never, in.task.Labels[i])
		} else {
			occur = append(occur, in.task.Labels[i])
		}
	}
	switch {
	case len(occur) == 1 && !in.task.Multi:
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
	m, task := r.job.measured, r.job.inputs.task
	remedy := "; train longer, with another --lr, or see whether the classes are balanced (--class-weights)"
	switch said := m.said(); {
	case m.n < 2:
	case task.Regression() && constant(m.predicted):
		r.Notice("every prediction is %.4g: nothing was learned of the texts; train longer, or with another --lr", m.predicted[0])
	case task.Multi && len(said) == 0:
		r.Notice("no class was predicted for any of %d examples%s", m.n, strings.TrimSuffix(remedy, " (--class-weights)")+", or lower --threshold")
	case !task.Multi && len(said) == 1:
		share := float64(m.counts[said[0]].is) / float64(m.n)
		r.Notice("every prediction is of class %q: an accuracy of %.4f is that of reading no text%s", task.Labels[said[0]], share, remedy)
	}
	if text := m.interval(task.Primary, values); text != "" {
		r.Notice("%d %s examples tell little: %s", m.n, data.Validation, text)
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

const (
	fewExamples = 200         // below that a figure's 95% interval is wider than ±5 points
	normal95    = 1.959963985 // quantile of the normal distribution: 95% lie within ± that
)

// interval says how far off the primary metric of few examples may be, or, where no formula gives that, the share of
// examples that are right. It is "" where there are many examples.
func (m *measurement) interval(primary string, values loop.Metrics) string {
	if m.n >= fewExamples || m.n == 0 {
		return ""
	}
	const format = "%s %.4f, 95%% interval %.2f to %.2f"
	if v := values[primary]; primary == "pearson" && m.n > 3 && !math.IsNaN(v) {
		// Fisher's z: atanh of a correlation is nearly normal with the variance 1/(n-3).
		z, half := math.Atanh(v), normal95/math.Sqrt(float64(m.n-3))
		return fmt.Sprintf(format, primary, v, math.Tanh(z-half), math.Tanh(z+half))
	}
	if m.counts == nil {
		return ""
	}
	low, high := wilson(m.exact, m.n)
	name := "accuracy"
	if m.confusion == nil {
		name = "subset_accuracy"
	} else if primary == "micro_f1" {
		name = primary // the same number
	}
	return fmt.Sprintf(format, name, m.accuracy(), low, high)
}

// wilson is Wilson's 95% interval of a share (1927), which stays within 0 and 1.
func wilson(right, n int) (low, high float64) {
	p, z, count := float64(right)/float64(n), normal95, float64(n)
	center := p + z*z/(2*count)
	half := z * math.Sqrt(p*(1-p)/count+z*z/(4*count*count))
	scale := 1 + z*z/count
	return max(0, (center-half)/scale), min(1, (center+half)/scale)
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
