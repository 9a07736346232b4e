package train

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
