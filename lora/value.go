package lora

import (
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"
)

// value is an initial value in the making: a matrix, made when asked for.
type value func() (mat.Matrix, error)

// factor makes a Factor [rows, cols] whose tensor is that of v, rounded once to float32.
func factor(name string, rows, cols int, rate float64, v value) Factor {
	return Factor{name, []int{rows, cols}, rate, func() (*tensors.Tensor, error) {
		m, err := v()
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

// drawn is a value that cannot fail.
func drawn(draw func() mat.Matrix) value {
	return func() (mat.Matrix, error) { return draw(), nil }
}

func zeros(rows, cols int) value {
	return drawn(func() mat.Matrix { return mat.NewDense(rows, cols, nil) })
}
