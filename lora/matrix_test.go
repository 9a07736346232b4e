package lora_test

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
)

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

func firstColumns(a *mat.Dense, k int) *mat.Dense {
	rows, _ := a.Dims()
	return mat.DenseCopyOf(a.Slice(0, rows, 0, k))
}

func gram(a *mat.Dense) *mat.Dense {
	var g mat.Dense
	g.Mul(a.T(), a)
	return &g
}

func identity(n int) *mat.Dense { return scaled(1, n) }

func scaled(x float64, n int) *mat.Dense {
	m := mat.NewDense(n, n, nil)
	for i := range n {
		m.Set(i, i, x)
	}
	return m
}

func multiply(factors ...mat.Matrix) *mat.Dense {
	product := mat.DenseCopyOf(factors[0])
	for _, f := range factors[1:] {
		var next mat.Dense
		next.Mul(product, f)
		product = &next
	}
	return product
}

// projector is the orthogonal projection onto the column span of a.
func projector(a *mat.Dense) *mat.Dense {
	q := linalg.Orth(a)
	return multiply(q, q.T())
}

// square is the squared Frobenius norm.
func square(a *mat.Dense) float64 { norm := mat.Norm(a, 2); return norm * norm }

// relative is ‖a − b‖/‖b‖.
func relative(a, b mat.Matrix) float64 {
	var gap mat.Dense
	gap.Sub(a, b)
	return mat.Norm(&gap, 2) / max(mat.Norm(b, 2), 1e-12)
}

// within fails unless every entry of got is within tolerance of want's.
func within(t *testing.T, what string, got, want mat.Matrix, tolerance float64) {
	t.Helper()
	rows, cols := want.Dims()
	if r, c := got.Dims(); r != rows || c != cols {
		t.Errorf("%s is %d × %d, want %d × %d", what, r, c, rows, cols)
		return
	}
	worst := 0.0
	for i := range rows {
		for j := range cols {
			if d := math.Abs(got.At(i, j) - want.At(i, j)); !(d <= worst) {
				worst = d // NaN stays
			}
		}
	}
	if !(worst <= tolerance) {
		t.Errorf("%s: off by %g, want at most %g", what, worst, tolerance)
	}
}

func withinSlice(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	within(t, what, mat.NewDense(1, len(got), got), mat.NewDense(1, len(want), want), tolerance)
}

// inSpan fails unless the columns of a lie in the column span of b.
func inSpan(t *testing.T, what string, a, b *mat.Dense, tolerance float64) {
	t.Helper()
	within(t, what, multiply(projector(b), a), a, tolerance)
}
