package train

import (
	"fmt"

	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/model"
)

// SetThreshold makes the classes of a multilabel model count from this probability on, instead of the run's. It is
// ErrConfig where the model's outputs are no labels each by itself, or the number is not between 0 and 1.
func (p *Predictor) SetThreshold(threshold float64) error {
	if p.config.ProblemType != model.MultiLabel {
		return settings.Error(fmt.Errorf("threshold: the model is not multilabel (its problem_type is %q): it has no output to hold against %g", p.config.ProblemType, threshold))
	}
	if err := settings.Between(0, 1)(threshold); err != nil {
		return settings.Error(fmt.Errorf("threshold: %w", err))
	}
	p.Run.Threshold = threshold
	return nil
}

// several says which of the classes of a multilabel model hold: each by itself, by its probability.
func (p *Predictor) several(logits []float32) Prediction {
	labels := p.Labels()
	predicted := Prediction{Labels: []string{}, Probabilities: make([]float64, len(logits)), Logits: logits}
	for i, l := range logits {
		if predicted.Probabilities[i] = sigmoid(l); predicted.Probabilities[i] >= p.Run.Threshold {
			predicted.Labels = append(predicted.Labels, labels[i])
		}
	}
	return predicted
}
