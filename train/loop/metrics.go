package loop

import (
	"encoding/json"
	"math"
)

// Metrics are named figures of an evaluation, as fractions. NaN means undefined (a constant prediction has no
// correlation) and is written as null.
type Metrics map[string]float64

// MarshalJSON writes undefined metrics as null; JSON has no NaN.
func (m Metrics) MarshalJSON() ([]byte, error) {
	values := make(map[string]*float64, len(m))
	for name, v := range m {
		values[name] = nil
		if !math.IsNaN(v) {
			values[name] = &v
		}
	}
	return json.Marshal(values)
}

// UnmarshalJSON reads null back as NaN.
func (m *Metrics) UnmarshalJSON(text []byte) error {
	var values map[string]*float64
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	*m = make(Metrics, len(values))
	for name, v := range values {
		(*m)[name] = math.NaN()
		if v != nil {
			(*m)[name] = *v
		}
	}
	return nil
}
