package serve

import (
	"cmp"
	"slices"

	"github.com/deeplora/deeplora/train"
)

// scored is a label and its score: a probability, a logit, or the value of a regression.
type scored struct {
	Score float64 `json:"score"`
	Label string  `json:"label"`
}

// regressionLabel is the label of a model that gives one value.
const regressionLabel = "score"

// answer is what the logits of an input mean, by falling score.
func (a *Adapter) answer(logits []float32, raw bool) []scored {
	p := a.Interpret(logits)
	if p.Score != nil {
		return []scored{{*p.Score, regressionLabel}}
	}
	list := make([]scored, len(logits))
	for i, label := range a.Labels() {
		list[i] = scored{p.Probabilities[i], label}
		if raw {
			list[i].Score = float64(logits[i])
		}
	}
	slices.SortStableFunc(list, func(x, y scored) int { return cmp.Compare(y.Score, x.Score) })
	return list
}

// problem says what kind of answer the model gives.
func (a *Adapter) problem() string {
	p := a.Interpret(make([]float32, a.Config().NumLabels()))
	switch {
	case p.Score != nil:
		return "regression"
	case p.Labels != nil:
		return "multilabel"
	}
	return "classification"
}

// labels are the names that answers have.
func (a *Adapter) labels() []string {
	if a.problem() == "regression" {
		return []string{regressionLabel}
	}
	return a.Labels()
}

// takesPair says whether inputs are pairs of texts; known is false where nobody said what the model was trained on.
func takesPair(p *train.Predictor) (pair, known bool) {
	return p.Task.Pair(), len(p.Task.Columns) > 0
}
