package model

import (
	"math"
	"testing"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/testbackend"
)

// Held kernels give the product and its gradient as near to float32's as their bits allow.
func TestHeldProduct(t *testing.T) {
	for _, b := range testbackend.All(t) {
		if b.Name() != "xla" {
			continue
		}
		rows, in, out := 6, 40, 24
		x, w := wave(rows, in, 1), wave(in, out, 2)
		product := func(p Precision) (y, dx []float32) {
			e, err := NewExec(b, func(x, w *Node) []*Node {
				if p != F32 {
					w = p.hold(w)
				}
				y := Frozen(Kernel{Name: "k", In: in, Out: out}, x, w)
				return []*Node{y, Gradient(ReduceAllSum(Mul(y, Sin(y))), x)[0]}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer e.Finalize()
			got, err := e.Call(x, w)
			if err != nil {
				t.Fatal(err)
			}
			return tensors.MustCopyFlatData[float32](got[0]), tensors.MustCopyFlatData[float32](got[1])
		}
		y, dx := product(F32)
		for p, most := range map[Precision]float64{bf16: 2e-2, bf16x3: 2e-5} {
			y16, dx16 := product(p)
			for what, pair := range map[string][2][]float32{"product": {y, y16}, "gradient": {dx, dx16}} {
				if off := relative(pair[0], pair[1]); off > most || off == 0 {
					t.Errorf("%s: %s off by %g, at most %g is allowed, and not 0", p, what, off, most)
				}
			}
		}
	}
}

// wave is a matrix of numbers that bfloat16 does not have.
func wave(rows, cols int, phase float64) *tensors.Tensor {
	flat := make([]float32, rows*cols)
	for i := range flat {
		flat[i] = float32(math.Sin(phase + 0.7*float64(i) + 0.01*float64(i*i%97)))
	}
	return tensors.FromFlatDataAndDimensions(flat, rows, cols)
}

// relative is the norm of the difference over that of a.
func relative(a, b []float32) float64 {
	var difference, norm float64
	for i := range a {
		difference += float64(a[i]-b[i]) * float64(a[i]-b[i])
		norm += float64(a[i]) * float64(a[i])
	}
	return math.Sqrt(difference / norm)
}
