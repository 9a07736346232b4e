//go:build !amd64 || !goexperiment.simd

package completion

import "unsafe"

func subtract(e, value []float64, at []uint32, u []float64, v unsafe.Pointer) float64 {
	return plainSubtract(e, value, at, u, v)
}

func spread(e []float64, at []uint32, x, sum []float64, v, byCol unsafe.Pointer) {
	plainSpread(e, at, x, sum, v, byCol)
}
