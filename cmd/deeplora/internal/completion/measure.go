package completion

import (
	"math"

	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"
)

// distance is ‖[U, -P]·[V, Q]ᵀ‖ for f = U·Vᵀ and Φ = P·Qᵀ: orthonormal factors leave the norm of R_1·R_2ᵀ, whose
// entries are differences of numbers of f's size. The result is right to about 1e-15·‖Φ‖, where Gram matrices, which
// square first, would lose everything below 1e-8·‖Φ‖.
func (t *thin) distance(truth *Truth) float64 {
	var minus mat.Dense
	minus.Scale(-1, truth.Left)
	var difference mat.Dense
	r1 := triangle(unpad(t.u, t.left.rows, t.width, t.left.stride), &minus)
	r2 := triangle(t.right.dense(), truth.Right)
	difference.Mul(r1, r2.T())
	return mat.Norm(&difference, 2)
}

// triangle is R of the QR factorisation of [a, b], which are of as many rows.
func triangle(a, b *mat.Dense) *mat.Dense {
	var both mat.Dense
	both.Augment(a, b)
	raw := both.RawMatrix()
	short := min(raw.Rows, raw.Cols)
	tau := make([]float64, short)
	query := make([]float64, 1)
	lapack64.Geqrf(raw, tau, query, -1)
	work := make([]float64, int(query[0]))
	lapack64.Geqrf(raw, tau, work, len(work))
	r := mat.NewDense(short, raw.Cols, nil)
	for i := range short {
		copy(r.RawRowView(i)[i:], both.RawRowView(i)[i:])
	}
	return r
}

func (t *thin) squares(e *Entries, values []float64) float64 {
	stride := t.left.stride
	return sumOver(e, func(i, j, n int) float64 {
		return dot(t.u[i*stride:][:t.width], t.right.value[j*stride:][:t.width]) - values[n]
	})
}

// sumOver adds d(i, j, n)² over entries, n-th of them at (i, j), part by part in order.
func sumOver(e *Entries, d func(i, j, n int) float64) float64 {
	sums := make([]float64, (e.Rows+partSize-1)/partSize)
	parts(e.Rows, func(from, to int) {
		sum := 0.0
		for i := from; i < to; i++ {
			for n := e.Start[i]; n < e.Start[i+1]; n++ {
				x := d(i, int(e.Col[n]), n)
				sum += x * x
			}
		}
		sums[from/partSize] = sum
	})
	total := 0.0
	for _, s := range sums {
		total += s
	}
	return total
}

// Errors are what is measured of one iterate.
type Errors struct {
	Train    float64  // ½·mean over all entries of (M∘(f - Y))²
	Relative float64  // ‖M∘(f - Y)‖ / ‖M∘Y‖
	HeldOut  *float64 // ½·mean over all entries of ((1-M)∘(f - Φ))², or over held-out ones of (f - Y)²; nil without either
	Recovery *float64 // ‖f - Φ‖ / ‖Φ‖; nil without a truth
}

// gauge measures iterates of a problem.
type gauge struct {
	*Problem
	norm float64 // ‖M∘Y‖
}

func newGauge(p *Problem) gauge { return gauge{p, p.Observed.Norm()} }

// train is the errors that come with a gradient.
func (p gauge) train(square float64) Errors {
	return Errors{Train: square / 2 / p.entries(), Relative: ratio(math.Sqrt(square), p.norm)}
}

// entries is the number of all entries of the matrix.
func (p *Problem) entries() float64 { return float64(p.Observed.Rows) * float64(p.Observed.Cols) }

// measure adds what must be computed beside the gradient, whose ‖M∘(f - Y)‖² is square.
func (p gauge) measure(m learner, square float64) Errors {
	e := p.train(square)
	switch {
	case p.Truth != nil:
		all := m.distance(p.Truth)
		e.Recovery = pointer(ratio(all, p.Truth.Norm))
		observed := square
		if p.Clean != nil {
			observed = m.squares(p.Observed, p.Clean)
		}
		if float64(p.Observed.Len()) < p.entries() {
			e.HeldOut = pointer(max(0, all*all-observed) / 2 / p.entries())
		}
	case p.HeldOut != nil:
		e.HeldOut = pointer(m.squares(p.HeldOut, p.HeldOut.Value) / 2 / float64(p.HeldOut.Len()))
	}
	return e
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return a
	}
	return a / b
}

func pointer(x float64) *float64 { return &x }
