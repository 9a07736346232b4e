package train

import (
	"fmt"
)

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

// resolveClasses settles what the settings say of the task's classes, once the training examples are known.
func (in *inputs) resolveClasses(c *Config) (err error) {
	if c.Threshold != multilabelThreshold && !in.task.Multi {
		return fmt.Errorf("threshold: %s is no multilabel task: it has no output to hold against %g", in.task.Name, c.Threshold)
	}
	if in.classWeights, err = c.resolveClassWeights(in.task, in.train.labels); err != nil || in.classWeights == nil {
		return err
	}
	in.task = in.task.Weighted()
	return nil
}
