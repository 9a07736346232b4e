package lora

import (
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"
)

// NewFactor makes a Factor [rows, cols] that starts as the matrix value returns, rounded to float32. value is called
// when the factor's Value is.
func NewFactor(name string, rows, cols int, rate float64, value func() (mat.Matrix, error)) Factor {
	return Factor{name, []int{rows, cols}, rate, func() (*tensors.Tensor, error) {
		m, err := value()
		if err != nil {
			return nil, err
		}
		flat := make([]float32, 0, rows*cols)
		for i := range rows {
			for j := range cols {
				flat = append(flat, float32(m.At(i, j)))
			}
		}
		return tensors.FromFlatDataAndDimensions(flat, rows, cols), nil
	}}
}
