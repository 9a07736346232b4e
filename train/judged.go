package train

import (
	"cmp"
	"math"
	"slices"

	"github.com/deeplora/deeplora/data"
)

// judged is an example and what was predicted of it.
type judged struct {
	Row       int      `json:"row"` // of its file, from 0
	Text      string   `json:"text"`
	Pair      *string  `json:"pair,omitempty"`
	Truth     []string `json:"truth,omitempty"` // class names: one, or of a multilabel task any number
	Predicted []string `json:"predicted,omitempty"`
	Value     *float64 `json:"value,omitempty"` // of a regression, the score there is, and
	Score     *float64 `json:"score,omitempty"` // the one predicted
	Loss      float64  `json:"loss"`            // as in training, without class weights
}

// Worst keeps, in Errors, the examples with the highest loss, the worst first. For models that are right nearly always
// they are where wrong labels are found.
func (e *Evaluation) Worst(n int) {
	if e.judge != nil {
		e.Errors = e.judge(n)
	}
}

// worst are the n examples with the highest loss; of equals, the first in the file.
func (p *Predictor) worst(e *examples, logits [][]float32, n int) []judged {
	width := len(e.labels) / max(1, len(logits))
	label := func(i int) []float64 { return e.labels[i*width : (i+1)*width] }
	losses, order := make([]float64, len(logits)), make([]int, len(logits))
	for i, row := range logits {
		losses[i], order[i] = exampleLoss(p.Task, row, label(i)), i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(losses[b], losses[a]) })
	worst := make([]judged, min(n, len(order)))
	for at := range worst {
		i := order[at]
		x := e.split.Examples[i]
		j := judged{Row: x.Row, Text: x.Text, Loss: losses[i]}
		if x.HasPair {
			j.Pair = &x.Pair
		}
		predicted := p.Interpret(logits[i])
		switch {
		case p.Task.Regression():
			j.Value, j.Score = &x.Label, predicted.Score
		case p.Task.Multi:
			j.Predicted = predicted.Labels
			for class, is := range label(i) {
				if is == 1 {
					j.Truth = append(j.Truth, p.Task.Labels[class])
				}
			}
		default:
			j.Truth, j.Predicted = []string{p.Task.Labels[int(x.Label)]}, []string{predicted.Label}
		}
		worst[at] = j
	}
	return worst
}

// exampleLoss is one example's loss by loss.go's formulas, in float64.
func exampleLoss(task data.Task, logits []float32, label []float64) float64 {
	switch {
	case task.Regression():
		d := float64(logits[0]) - label[0]
		return d * d
	case task.Multi:
		sum := 0.0
		for i, l := range logits {
			x := float64(l)
			sum += max(x, 0) - x*label[i] + math.Log1p(math.Exp(-math.Abs(x)))
		}
		return sum / float64(len(logits))
	default:
		largest, sum := float64(logits[argmax(logits)]), 0.0
		for _, l := range logits {
			sum += math.Exp(float64(l) - largest)
		}
		return math.Log(sum) + largest - float64(logits[int(label[0])])
	}
}
