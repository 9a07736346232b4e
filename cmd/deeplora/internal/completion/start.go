package completion

import (
	"fmt"

	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
)

const (
	// powerIterations of the range finder on M∘Y: its noise is a third of its signal in problems that can be solved
	// at all, so that vectors are right to about 1/3^13.
	powerIterations = 6

	// sharedUpTo is the longest side for which compressed takes O from wide's own factors: drawing their reflections
	// costs 2·L·d² normals, a second or so there.
	sharedUpTo = 4096
)

// begin makes the model at its start, and settles what the settings leave open: step, start, measurements.
func (c *Config) begin(p *Problem) (learner, error) {
	if c.Method != Compressed {
		c.Start = "" // of no meaning
	}
	c.EvalEvery = c.chosenEvery(p)
	rank := 1
	if c.Method == Compressed {
		rank = c.Width / 2
	}
	var top linalg.SVD
	if c.Method == Compressed || c.LR == 0 && c.Optimizer == GD {
		var err error
		if top, err = leading(p.Observed, rank, rng.New(c.Seed, "completion", "subspaces")); err != nil {
			return nil, err
		}
	}
	switch {
	case c.LR != 0:
	case c.Optimizer == Adam:
		c.LR = adamLR
	default:
		observed := float64(p.Observed.Len()) / p.entries()
		c.LR = chosenLR(p, c.Depth, top.S[0]/observed)
	}
	switch c.Method {
	case Compressed:
		left, right := c.subspaces(p.Observed, top)
		return newCompressed(p.Observed, left, right, c.Depth, c.InitScale, c.Gamma)
	case Narrow:
		return newNarrow(p.Observed, scaled(c.reflections(Narrow, p.Observed.Rows, p.Observed.Cols, c.Width), c.InitScale))
	default:
		c.Width = max(p.Observed.Rows, p.Observed.Cols)
		return newWide(p.Observed, scaled(c.reflections(Wide, p.Observed.Rows, p.Observed.Cols, c.Width), c.InitScale)), nil
	}
}

// reflections are Q_1 [width, cols], Q_2 … [width, width], Q_L [rows, width]: what the factors of wide and narrow are
// ε times of at the start.
func (c *Config) reflections(method string, rows, cols, width int) []linalg.Reflections {
	all := make([]linalg.Reflections, c.Depth)
	for l := range all {
		out, in := width, width
		if l == 0 {
			in = cols
		}
		if l == c.Depth-1 {
			out = rows
		}
		all[l] = linalg.NewReflections(rng.New(c.Seed, "completion", method, fmt.Sprintf("W%d", l+1)), out, in)
	}
	return all
}

func scaled(all []linalg.Reflections, epsilon float64) []*mat.Dense {
	factors := make([]*mat.Dense, len(all))
	for l, q := range all {
		factors[l] = q.Dense()
		factors[l].Scale(epsilon, factors[l])
	}
	return factors
}

// subspaces are left [rows, 2h] and right [cols, 2h] from the h leading singular vectors of M∘Y, which are those of
// the gradient at f = 0: orth[V, OᵀU] and O times it on the longer side (method.md 3.2), with the O of the wide
// model of the same seed, or one that is drawn implicitly (method.md 3.3).
func (c *Config) subspaces(e *Entries, top linalg.SVD) (left, right *mat.Dense) {
	if c.Start == StartAuto {
		c.Start = StartImplicit
		if max(e.Rows, e.Cols) <= sharedUpTo {
			c.Start = StartShared
		}
	}
	s := rng.New(c.Seed, "completion", "frames")
	if c.Start == StartImplicit {
		if e.Rows > e.Cols {
			right, left = linalg.CompressedFrames(top.V, top.U, s)
			return left, right
		}
		return linalg.CompressedFrames(top.U, top.V, s)
	}
	return c.explicit(c.reflections(Wide, e.Rows, e.Cols, max(e.Rows, e.Cols)), top, s)
}

func (c *Config) explicit(o []linalg.Reflections, top linalg.SVD, s *rng.Stream) (left, right *mat.Dense) {
	times := func(x *mat.Dense) *mat.Dense { // O·x, O = Q_L···Q_1
		for _, q := range o {
			x = q.Times(x)
		}
		return x
	}
	transposeTimes := func(x *mat.Dense) *mat.Dense {
		for l := len(o) - 1; l >= 0; l-- {
			x = o[l].TransposeTimes(x)
		}
		return x
	}
	extended := func(y, v *mat.Dense) *mat.Dense {
		var both mat.Dense
		both.Augment(y, linalg.Extend(y, v, s))
		return &both
	}
	rows, _ := top.U.Dims()
	cols, _ := top.V.Dims()
	if rows > cols {
		left = extended(times(top.V), top.U)
		return left, transposeTimes(left)
	}
	right = extended(transposeTimes(top.U), top.V)
	return times(right), right
}

// leading is the part of rank h of M∘Y with the largest singular values.
func leading(e *Entries, h int, s *rng.Stream) (linalg.SVD, error) {
	width := min(h+linalg.Oversampling, e.Rows, e.Cols)
	r, err := newResidual(e, width)
	if err != nil {
		return linalg.SVD{}, err
	}
	return linalg.TopSVDOf(sparse{r, width}, min(h, width), powerIterations, s)
}

// sparse is M∘Y as an operator on matrices of width columns, by the kernels of residual: at U = 0 the residual is -Y.
type sparse struct {
	*residual
	width int
}

func (o sparse) Dims() (rows, cols int) { return o.rows, o.cols }

func (o sparse) Times(x *mat.Dense) *mat.Dense { return o.products(x, false) }

func (o sparse) TransposeTimes(x *mat.Dense) *mat.Dense { return o.products(x, true) }

func (o sparse) products(x *mat.Dense, transposed bool) *mat.Dense {
	byRows := func() []float64 { return make([]float64, o.rows*o.stride) }
	byCols := func() []float64 { return make([]float64, o.cols*o.stride) }
	v, w, byRow, byCol := byCols(), byRows(), byRows(), byCols()
	if transposed {
		pad(w, x, -1, o.stride)
	} else {
		pad(v, x, -1, o.stride)
	}
	o.compute(byRows(), v, w, byRow, byCol, nil, nil)
	if transposed {
		return unpad(byCol, o.cols, o.width, o.stride)
	}
	return unpad(byRow, o.rows, o.width, o.stride)
}

// pad copies a scaled matrix into rows of stride.
func pad(dst []float64, a *mat.Dense, scale float64, stride int) {
	rows, cols := a.Dims()
	for i := range rows {
		for j := range cols {
			dst[i*stride+j] = scale * a.At(i, j)
		}
	}
}
