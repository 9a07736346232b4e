package completion

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// wide is f = W_L···W_1 with f formed: the baseline that the others are compared with. A gradient takes 2L products,
// of 2·d³ flops each for square factors.
type wide struct {
	observed *Entries
	all      []*parameter
	w        []*mat.Dense // the parameters' values
	g        []*mat.Dense // and gradients
	below    []*mat.Dense // below[l] = W_l···W_1, the product of the first l factors, from l = 1; the last is f
	above    []*mat.Dense // above[l] = (W_L···W_{l+1})ᵀ·E; above[L] = E, which is zero but at observed places
	truth    *mat.Dense   // Φ, once it is asked for
}

// newWide makes the model of factors [W_1, …, W_L], which are copied.
func newWide(e *Entries, factors []*mat.Dense) *wide {
	depth := len(factors)
	m := &wide{observed: e, below: make([]*mat.Dense, depth+1), above: make([]*mat.Dense, depth+1)}
	for l, f := range factors {
		rows, cols := f.Dims()
		p := newParameter(fmt.Sprintf("W%d", l+1), rows, cols, cols, 1)
		p.set(f)
		m.all = append(m.all, p)
		m.w, m.g = append(m.w, mat.NewDense(rows, cols, p.value)), append(m.g, mat.NewDense(rows, cols, p.gradient))
		m.below[l+1] = mat.NewDense(rows, e.Cols, nil)
	}
	m.below[1] = m.w[0]
	for l := 1; l < depth; l++ {
		m.above[l] = mat.NewDense(m.all[l].cols, e.Cols, nil)
	}
	m.above[depth] = mat.NewDense(e.Rows, e.Cols, nil)
	return m
}

func (m *wide) factors() []*parameter { return m.all }

func (m *wide) gradient() float64 {
	depth := len(m.w)
	for l := 1; l < depth; l++ {
		m.below[l+1].Mul(m.w[l], m.below[l])
	}
	square := m.residual()
	// ∇W_l = (W_L···W_{l+1})ᵀ·E·(W_{l-1}···W_1)ᵀ (method.md 1.1)
	for l := depth; l > 1; l-- {
		m.g[l-1].Mul(m.above[l], m.below[l-1].T())
		m.above[l-1].Mul(m.w[l-1].T(), m.above[l])
	}
	copy(m.all[0].gradient, m.above[1].RawMatrix().Data)
	return square
}

// residual sets above[L] to M∘(f - Y) and returns its squared norm.
func (m *wide) residual() float64 {
	f, e := m.product(), m.above[len(m.w)]
	return sumOver(m.observed, func(i, j, n int) float64 {
		d := f.At(i, j) - m.observed.Value[n]
		e.Set(i, j, d)
		return d
	})
}

func (m *wide) product() *mat.Dense { return m.below[len(m.w)] }

func (m *wide) distance(t *Truth) float64 {
	if m.truth == nil {
		m.truth = new(mat.Dense)
		m.truth.Mul(t.Left, t.Right.T())
	}
	f := m.product()
	sums := make([]float64, m.observed.Rows)
	parts(len(sums), func(from, to int) {
		for i := from; i < to; i++ {
			fi := f.RawRowView(i)
			for j, x := range m.truth.RawRowView(i) {
				d := fi[j] - x
				sums[i] += d * d
			}
		}
	})
	total := 0.0
	for _, s := range sums {
		total += s
	}
	return math.Sqrt(total)
}

func (m *wide) squares(e *Entries, values []float64) float64 {
	f := m.product()
	return sumOver(e, func(i, j, n int) float64 { return f.At(i, j) - values[n] })
}

// WideBytes is about what the wide method needs: values, gradients and products of every factor.
func WideBytes(rows, cols, depth int) uint64 {
	side := uint64(max(rows, cols))
	return 32 * uint64(depth) * side * side
}
