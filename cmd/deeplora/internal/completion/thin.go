package completion

import (
	"fmt"

	"gonum.org/v1/gonum/mat"
)

// learner is a model in training.
type learner interface {
	// gradient computes the gradient of ½‖M∘(f - Y)‖² at the current factors into them, and returns ‖M∘(f - Y)‖².
	gradient() float64
	// factors are what is trained, and what is frozen beside it, in the order of their names.
	factors() []*parameter
	// distance is ‖f - Φ‖ over all entries. It and squares hold for the factors of the last gradient.
	distance(t *Truth) float64
	// squares is the sum of (f - values)² over entries.
	squares(e *Entries, values []float64) float64
}

// thin is f = left·C·rightᵀ with C = inner[n-1]···inner[0], all inner ones k × k. It is the compressed model, with n =
// depth and γ on left and right, and it is the narrow one, with W_L = left, W_1 = rightᵀ and n = depth - 2.
type thin struct {
	entries     *residual
	width       int
	left, right *parameter // [rows, k], [cols, k]
	inner       []*parameter

	u           []float64   // left·C [rows, stride], which is left itself without inner factors
	byRow       []float64   // E·right [rows, stride]
	chain       [][]float64 // chain[l] = inner[l-1]···inner[0], from l = 1 [k, stride]
	back        [][]float64 // of each block: leftᵀ·E·right over its rows [k, stride]
	core        []float64   // leftᵀ·E·right, the gradient of C
	turned, tmp []float64   // small scratch
}

// newThin makes the model of width columns for the problem's observed entries; factors are zero.
func newThin(e *Entries, width, inner int, outerRate float64, names []string) (*thin, error) {
	r, err := newResidual(e, width)
	if err != nil {
		return nil, err
	}
	t := &thin{entries: r, width: width}
	t.left = newParameter(names[1], e.Rows, width, r.stride, outerRate)
	t.right = newParameter(names[0], e.Cols, width, r.stride, outerRate)
	t.byRow = make([]float64, e.Rows*r.stride)
	t.u = t.left.value
	small := func() []float64 { return make([]float64, width*r.stride) }
	if inner > 0 {
		t.u = make([]float64, e.Rows*r.stride)
		t.back = make([][]float64, len(r.blocks))
		for b := range t.back {
			t.back[b] = small()
		}
		t.core, t.turned, t.tmp = small(), small(), small()
		t.chain = make([][]float64, inner+1)
	}
	for l := range inner {
		t.inner = append(t.inner, newParameter(names[2+l], width, width, r.stride, 1))
		if l > 0 {
			t.chain[l+1] = small()
		}
	}
	if inner > 0 {
		t.chain[1] = t.inner[0].value
	}
	return t, nil
}

// newCompressed makes f = left·W_L···W_1·rightᵀ with W_l = ε·I.
func newCompressed(e *Entries, left, right *mat.Dense, depth int, epsilon, gamma float64) (*thin, error) {
	_, width := left.Dims()
	names := []string{"right", "left"}
	for l := range depth {
		names = append(names, fmt.Sprintf("W%d", l+1))
	}
	t, err := newThin(e, width, depth, gamma, names)
	if err != nil {
		return nil, err
	}
	t.left.set(left)
	t.right.set(right)
	for _, w := range t.inner {
		for i := range width {
			w.value[i*w.stride+i] = epsilon
		}
	}
	return t, nil
}

// newNarrow makes f = W_L···W_1 of factors [W_1 [k, cols], [k, k] …, W_L [rows, k]], which are copied.
func newNarrow(e *Entries, factors []*mat.Dense) (*thin, error) {
	depth := len(factors)
	width, _ := factors[0].Dims()
	names := []string{"W1", fmt.Sprintf("W%d", depth)}
	for l := range depth - 2 {
		names = append(names, fmt.Sprintf("W%d", l+2))
	}
	t, err := newThin(e, width, depth-2, 1, names)
	if err != nil {
		return nil, err
	}
	t.right.turned = true
	t.right.set(factors[0].T())
	t.left.set(factors[depth-1])
	for l, w := range t.inner {
		w.set(factors[l+1])
	}
	return t, nil
}

// set copies a matrix into the padded rows.
func (p *parameter) set(a mat.Matrix) {
	for i := range p.rows {
		for j := range p.cols {
			p.value[i*p.stride+j] = a.At(i, j)
		}
	}
}

// dense is the value without padding, in the orientation of the rows.
func (p *parameter) dense() *mat.Dense { return unpad(p.value, p.rows, p.cols, p.stride) }

func unpad(a []float64, rows, cols, stride int) *mat.Dense {
	d := mat.NewDense(rows, cols, nil)
	for i := range rows {
		copy(d.RawRowView(i), a[i*stride:i*stride+cols])
	}
	return d
}

func (t *thin) factors() []*parameter {
	all := append([]*parameter{t.right}, t.inner...)
	return append(all, t.left)
}

// gradient needs one pass over the entries: with E = M∘(f - Y) and U = left·C it is
// ∂C = leftᵀ·(E·right), ∂left = (E·right)·Cᵀ, ∂right = Eᵀ·U (method.md 4).
func (t *thin) gradient() float64 {
	right := t.right.value
	if len(t.inner) == 0 {
		// W_2·W_1: no core, and E·right is the gradient of left as it stands.
		return t.entries.compute(t.u, right, t.u, t.left.gradient, t.right.gradient, nil, nil)
	}
	for l := 1; l < len(t.inner); l++ {
		t.small(t.chain[l+1], t.inner[l].value, t.chain[l])
	}
	stride, k := t.left.stride, t.width
	c := t.chain[len(t.inner)]
	square := t.entries.compute(t.u, right, t.u, t.byRow, t.right.gradient, func(_, from, to int) {
		for i := from; i < to; i++ {
			rowTimes(t.u[i*stride:][:stride], t.left.value[i*stride:][:k], c)
		}
	}, func(b, from, to int) {
		clear(t.back[b])
		for i := from; i < to; i++ {
			addOuter(t.back[b], t.left.value[i*stride:][:k], t.byRow[i*stride:][:stride])
		}
	})
	copy(t.core, t.back[0])
	for _, b := range t.back[1:] {
		addTo(t.core, b)
	}
	if t.left.rate != 0 {
		t.turn(c)
		parts(t.left.rows, func(from, to int) {
			for i := from; i < to; i++ {
				rowTimes(t.left.gradient[i*stride:][:stride], t.byRow[i*stride:][:k], t.turned)
			}
		})
	}
	t.innerGradients()
	return square
}

// innerGradients sets ∂W_l = (W_n···W_{l+1})ᵀ·∂C·(W_{l-1}···W_1)ᵀ, from the last factor to the first.
func (t *thin) innerGradients() {
	above := t.core // (W_n···W_{l+1})ᵀ·∂C
	for l := len(t.inner) - 1; l >= 0; l-- {
		w := t.inner[l]
		if l == 0 {
			copy(w.gradient, above)
			return
		}
		t.turn(t.chain[l])
		t.small(w.gradient, above, t.turned)
		t.turn(w.value)
		t.small(t.tmp, t.turned, above)
		copy(t.core, t.tmp)
	}
}

// small sets dst to a·b, all [k, stride].
func (t *thin) small(dst, a, b []float64) {
	stride := t.left.stride
	for i := range t.width {
		rowTimes(dst[i*stride:][:stride], a[i*stride:][:t.width], b)
	}
}

// turn sets t.turned to the transpose of a.
func (t *thin) turn(a []float64) {
	stride := t.left.stride
	for i := range t.width {
		for j := range t.width {
			t.turned[j*stride+i] = a[i*stride+j]
		}
	}
}
