//go:build !amd64 || !goexperiment.simd

package linalg

func widen(to []float64, from []float32) { plainWiden(to, from) }

func addDots(sums *[lanes][lanes]float64, b *block, x [][lanes]float64) { plainAddDots(sums, b, x) }

func addRows(z []float64, w *[lanes]float64, b *block) { plainAddRows(z, w, b, 0) }
