package lora

import (
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/rng"
)

// Compress shows compress to the tests outside.
func Compress[T float32 | float64](g []T, in, out, rank int, s *rng.Stream) (left, right *mat.Dense, err error) {
	o, err := compress(g, in, out, rank, s)
	return o.left, o.right, err
}

// Cheapest shows the plan of a product.
var Cheapest = cheapest
