package loratest

import (
	"math"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/lora"
)

// Objective is ½‖M∘(ΔK − Φ)‖² over the factors of one kernel, in float64, compiled once.
type Objective struct{ exec *Exec }

// NewObjective builds the objective for a target Φ [in, out] and a mask M of ones and zeros (nil: all ones).
func NewObjective(backend compute.Backend, a lora.Adapter, target, mask *mat.Dense) *Objective {
	if mask == nil {
		mask = ones(target.Dims())
	}
	exec := MustNewExec(backend, func(f []*Node) []*Node {
		g := f[0].Graph()
		delta := a.Delta(f).Matrix()
		residual := Mul(Const(g, tensorOf(mask)), Sub(delta, Const(g, tensorOf(target))))
		loss := MulScalar(ReduceAllSum(Square(residual)), 0.5)
		return append([]*Node{loss, delta}, Gradient(loss, f...)...)
	})
	return &Objective{exec}
}

// At returns the loss, ΔK and the gradient of each factor.
func (o *Objective) At(factors []*mat.Dense) (loss float64, delta *mat.Dense, gradients []*mat.Dense) {
	args := make([]any, len(factors))
	for i, f := range factors {
		args[i] = tensorOf(f)
	}
	out := o.exec.MustCall(args...)
	for _, t := range out[2:] {
		gradients = append(gradients, matrixOf(t))
	}
	return tensors.ToScalar[float64](out[0]), matrixOf(out[1]), gradients
}

// AdamW is the optimizer of method.md 2.4 in plain float64, one state for each factor.
type AdamW struct {
	WeightDecay float64
	m, v        [][]float64
	steps       float64
}

// Step updates the factors in place: p ← p − lr·rate·( m̂/(√v̂ + 1e-6) + wd·p ).
func (a *AdamW) Step(factors, gradients []*mat.Dense, lr float64, rates []float64) {
	const b1, b2, epsilon = 0.9, 0.999, 1e-6
	a.steps++
	c1, c2 := 1-math.Pow(b1, a.steps), 1-math.Pow(b2, a.steps)
	for i, f := range factors {
		p, g := f.RawMatrix().Data, gradients[i].RawMatrix().Data
		if len(a.m) <= i {
			a.m, a.v = append(a.m, make([]float64, len(p))), append(a.v, make([]float64, len(p)))
		}
		m, v := a.m[i], a.v[i]
		for j := range p {
			m[j] = b1*m[j] + (1-b1)*g[j]
			v[j] = b2*v[j] + (1-b2)*g[j]*g[j]
			p[j] -= lr * rates[i] * (m[j]/c1/(math.Sqrt(v[j]/c2)+epsilon) + a.WeightDecay*p[j])
		}
	}
}

// Matrices returns the initial values of factors in float64, and their rates.
func Matrices(t testing.TB, factors []lora.Factor) (values []*mat.Dense, rates []float64) {
	t.Helper()
	for _, f := range factors {
		v, err := f.Value()
		if err != nil {
			t.Fatal(err)
		}
		values, rates = append(values, matrixOf(v)), append(rates, f.Rate)
	}
	return values, rates
}

func tensorOf(m *mat.Dense) *tensors.Tensor {
	rows, cols := m.Dims()
	return tensors.FromFlatDataAndDimensions(mat.DenseCopyOf(m).RawMatrix().Data, rows, cols)
}

func matrixOf(t *tensors.Tensor) *mat.Dense {
	var data []float64
	switch flat := t.Value().(type) {
	case [][]float64:
		for _, row := range flat {
			data = append(data, row...)
		}
	case [][]float32:
		for _, row := range flat {
			for _, x := range row {
				data = append(data, float64(x))
			}
		}
	}
	return mat.NewDense(t.Shape().Dim(0), t.Shape().Dim(1), data)
}

func ones(rows, cols int) *mat.Dense {
	m := mat.NewDense(rows, cols, nil)
	m.Apply(func(int, int, float64) float64 { return 1 }, m)
	return m
}
