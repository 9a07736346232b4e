package train

import (
	"math"

	"github.com/deeplora/deeplora/data"
)

// multilabelThreshold is the probability from which on an output of several counts as said, where nothing else is.
const multilabelThreshold = 0.5

// measurement is what an evaluation counts. Counts are exact; metrics divide once.
type measurement struct {
	n     int // examples
	exact int // examples that are right as a whole

	// Of classes, by id.
	counts    []tally
	confusion [][]int // truth, then prediction; nil where an example may have several classes

	// Of a regression, in the examples' order.
	predicted, truth []float64
}

// tally is a class's: predictions that are right, all predictions of it, and the examples that have it.
type tally struct{ right, said, is int }

// measured counts a task's predictions against the labels as data.Split.Labels gives them.
func measured(task data.Task, logits [][]float32, labels []float64, threshold float64) *measurement {
	logits, labels = labelled(logits, labels)
	switch {
	case task.Regression():
		m := &measurement{n: len(logits), truth: labels}
		for _, row := range logits {
			m.predicted = append(m.predicted, float64(row[0]))
		}
		return m
	case task.Multi:
		return countSets(logits, labels, task.NumLabels(), threshold)
	default:
		predicted := make([]float64, len(logits))
		for i, row := range logits {
			predicted[i] = float64(argmax(row))
		}
		return countClasses(predicted, labels, task.NumLabels())
	}
}

// countClasses counts examples of one class each.
func countClasses(predicted, labels []float64, classes int) *measurement {
	m := &measurement{n: len(labels), counts: make([]tally, classes), confusion: make([][]int, classes)}
	for i := range m.confusion {
		m.confusion[i] = make([]int, classes)
	}
	for i, p := range predicted {
		said, is := int(p), int(labels[i])
		m.confusion[is][said]++
		m.counts[said].said++
		m.counts[is].is++
		if said == is {
			m.counts[is].right++
			m.exact++
		}
	}
	return m
}

// countSets counts examples that have any number of classes: labels are 1 and 0 by class.
func countSets(logits [][]float32, labels []float64, classes int, threshold float64) *measurement {
	m := &measurement{n: len(logits), counts: make([]tally, classes)}
	for i, row := range logits {
		same := true
		for class, logit := range row {
			c := &m.counts[class]
			said, is := sigmoid(logit) >= threshold, labels[i*classes+class] == 1
			same = same && said == is
			if said {
				c.said++
			}
			if is {
				c.is++
			}
			if said && is {
				c.right++
			}
		}
		if same {
			m.exact++
		}
	}
	return m
}

func sigmoid(logit float32) float64 { return 1 / (1 + math.Exp(-float64(logit))) }

func (m *measurement) accuracy() float64 { return float64(m.exact) / float64(m.n) }

// Figures of a class are 0 where they would be 0/0, as scikit-learn's with zero_division=0.
func ratio(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func (c tally) precision() float64 { return ratio(c.right, c.said) }
func (c tally) recall() float64    { return ratio(c.right, c.is) }
func (c tally) f1() float64        { return ratio(2*c.right, c.said+c.is) }

// macroF1 is the mean over classes. Of examples with one class each, classes that are neither said nor true are left
// out; of sets of labels they count as 0. scikit-learn does so.
func (m *measurement) macroF1() float64 {
	sum, classes := 0.0, 0
	for _, c := range m.counts {
		if m.confusion == nil || c.said+c.is > 0 {
			sum += c.f1()
			classes++
		}
	}
	return sum / float64(classes)
}

// microF1 counts all classes together: of examples with one class each it is the accuracy.
func (m *measurement) microF1() float64 {
	if m.n == 0 {
		return math.NaN()
	}
	var all tally
	for _, c := range m.counts {
		all.right += c.right
		all.said += c.said
		all.is += c.is
	}
	return all.f1()
}

// weightedF1 is the mean over classes by the examples that have them.
func (m *measurement) weightedF1() float64 {
	if m.n == 0 {
		return math.NaN()
	}
	sum, weight := 0.0, 0
	for _, c := range m.counts {
		sum += float64(c.is) * c.f1()
		weight += c.is
	}
	if weight == 0 {
		return 0
	}
	return sum / float64(weight)
}

// matthews is Gorodkin's correlation of k classes, for two of them Matthews' own: the covariance of the
// indicator vectors over the root of their variances; 0 where either is constant, as scikit-learn has it.
func (m *measurement) matthews() float64 {
	n := float64(m.n)
	var cross, saidSquares, isSquares float64 // sums of integers: exact
	for _, c := range m.counts {
		said, is := float64(c.said), float64(c.is)
		saidSquares += said * said
		isSquares += is * is
		cross += said * is
	}
	variance := (n*n - saidSquares) * (n*n - isSquares)
	if variance == 0 {
		return 0
	}
	return (float64(m.exact)*n - cross) / math.Sqrt(variance)
}

// meanError is the mean of a function of prediction − truth.
func meanError(m *measurement, of func(difference float64) float64) float64 {
	sum := 0.0
	for i, p := range m.predicted {
		sum += of(p - m.truth[i])
	}
	return sum / float64(m.n)
}

// r2 is the share of the scores' variance that is predicted. Of scores that are all equal it is 1 where they are
// predicted to the bit and else 0, as scikit-learn has it; of less than two it is undefined.
func (m *measurement) r2() float64 {
	if m.n < 2 {
		return math.NaN()
	}
	mean := 0.0
	for _, y := range m.truth {
		mean += y / float64(m.n)
	}
	var left, all float64
	for i, y := range m.truth {
		left += (y - m.predicted[i]) * (y - m.predicted[i])
		all += (y - mean) * (y - mean)
	}
	switch {
	case !constant(m.truth) && all > 0:
		return 1 - left/all
	case left == 0:
		return 1
	default:
		return 0
	}
}

// byLabel is what results say of each class, beside the metrics.
type byLabel struct {
	Labels    []string               `json:"labels,omitempty"`    // in the order of the head
	Confusion [][]int                `json:"confusion,omitempty"` // examples: a row a true class, a column a predicted one
	PerLabel  map[string]labelFigure `json:"per_label,omitempty"`
}

// labelFigure measures one class against all others.
type labelFigure struct {
	Precision float64 `json:"precision"`
	Recall    float64 `json:"recall"`
	F1        float64 `json:"f1"`
	Support   int     `json:"support"` // examples that have it
}

func (m *measurement) byLabel(task data.Task) byLabel {
	if task.Regression() {
		return byLabel{}
	}
	b := byLabel{Labels: task.Labels, Confusion: m.confusion, PerLabel: map[string]labelFigure{}}
	for i, c := range m.counts {
		b.PerLabel[task.Labels[i]] = labelFigure{c.precision(), c.recall(), c.f1(), c.is}
	}
	return b
}
