package completion

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"unsafe"

	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
)

// gaussians are factors of order one: [W_1 [width, cols], …, W_L [rows, width]].
func gaussians(s *rng.Stream, rows, cols, width, depth int) (factors []*mat.Dense) {
	for l := range depth {
		out, in := width, width
		if l == 0 {
			in = cols
		}
		if l == depth-1 {
			out = rows
		}
		f := linalg.Gaussian(s, out, in)
		f.Scale(0.7, f)
		factors = append(factors, f)
	}
	return factors
}

// models are one of each kind for 7 × 5 entries and the like, at factors of order one.
func models(t *testing.T, p *Problem, s *rng.Stream, depth int) map[string]learner {
	t.Helper()
	rows, cols := p.Observed.Rows, p.Observed.Cols
	c := must(newCompressed(p.Observed, linalg.Gaussian(s, rows, 4), linalg.Gaussian(s, cols, 4), depth, 0.5, 0.01))(t)
	for _, w := range c.inner {
		w.set(linalg.Gaussian(s, 4, 4))
	}
	return map[string]learner{
		Wide: newWide(p.Observed, gaussians(s, rows, cols, 6, depth)), Compressed: c,
		Narrow: must(newNarrow(p.Observed, gaussians(s, rows, cols, 3, depth)))(t),
	}
}

// T2's check for the models of this package: every gradient against central differences.
func TestGradientsAgainstDifferences(t *testing.T) {
	for _, shape := range [][2]int{{7, 5}, {5, 7}, {6, 6}} {
		for depth := 2; depth <= 4; depth++ {
			s := rng.New(2, "gradients")
			p := masked(s, lowRank(s, shape[0], shape[1], 3, 2), 0.6)
			for name, m := range models(t, p, s, depth) {
				for _, f := range m.factors() {
					m.gradient()
					want := append([]float64(nil), f.gradient...)
					for i := range f.rows {
						for j := range f.cols {
							at := i*f.stride + j
							if d := difference(m, &f.value[at]); math.Abs(d-want[at]) > 1e-9*(1+math.Abs(d)) {
								t.Errorf("%s %v L=%d: ∂%s[%d %d] = %g, differences give %g", name, shape, depth, f.name, i, j, want[at], d)
							}
						}
					}
				}
			}
		}
	}
}

// difference is the derivative of ½‖M∘(f - Y)‖² by the value.
func difference(m learner, value *float64) float64 {
	const h = 1 // f is linear in each number, and the loss quadratic: no step is too long
	at := *value
	defer func() { *value = at }()
	loss := func(x float64) float64 {
		*value = x
		return m.gradient() / 2
	}
	return (loss(at+h) - loss(at-h)) / (2 * h)
}

// The thin models never form f; the same factors multiplied out give the same residual, distance and held-out sum.
func TestSparseIsDense(t *testing.T) {
	for _, shape := range [][2]int{{40, 40}, {23, 61}, {61, 23}} {
		for depth := 2; depth <= 4; depth++ {
			s := rng.New(4, "dense")
			p := masked(s, lowRank(s, shape[0], shape[1], 3, 2, 1), 0.3)
			for name, m := range models(t, p, s, depth) {
				square := m.gradient()
				f, phi := product(m), p.Truth.dense()
				var wantSquare, wantAll float64
				for i := range shape[0] {
					for j := range shape[1] {
						d := f.At(i, j) - phi.At(i, j)
						wantAll += d * d
					}
				}
				wantSquare = sumOver(p.Observed, func(i, j, _ int) float64 { return f.At(i, j) - phi.At(i, j) })
				e := newGauge(p).measure(m, square)
				for what, pair := range map[string][2]float64{
					"‖M∘(f - Y)‖²": {square, wantSquare}, "recovery error": {*e.Recovery, math.Sqrt(wantAll) / p.Truth.Norm},
					"held-out loss": {*e.HeldOut, (wantAll - wantSquare) / 2 / p.entries()},
					"training loss": {e.Train, wantSquare / 2 / p.entries()},
				} {
					if relative(pair[0], pair[1]) > 1e-11 {
						t.Errorf("%s %v L=%d: %s is %g, want %g", name, shape, depth, what, pair[0], pair[1])
					}
				}
			}
		}
	}
}

// Down to rounding: where Gram matrices would say 1e-8, the distance is still right.
func TestDistanceOfWhatIsNear(t *testing.T) {
	s := rng.New(5, "near")
	p := masked(s, lowRank(s, 50, 40, 9, 7, 4), 0.5)
	m := must(newNarrow(p.Observed, []*mat.Dense{mat.DenseCopyOf(p.Truth.Right.T()), p.Truth.Left}))(t)
	for _, by := range []float64{1e-6, 1e-10, 1e-13} {
		m.left.set(p.Truth.Left)
		m.left.value[0] += by
		m.gradient()
		// f moves by a column of right, which is of length one.
		if got := m.distance(p.Truth); math.Abs(got-by) > 1e-14*p.Truth.Norm {
			t.Errorf("moved by %g: distance %g", by, got)
		}
	}
}

func TestKernelsArePlain(t *testing.T) {
	s := rng.New(6, "kernels")
	normals := func(n int) []float64 { return linalg.Gaussian(s, 1, n).RawMatrix().Data }
	for _, stride := range []int{4, 8, 12, 16, 20, 24, 28, 40} {
		for _, count := range []int{1, 3, 4, 5, 63, 64} {
			v, x, u, value := normals(100*stride), normals(stride), normals(stride), normals(count)
			at := make([]uint32, count)
			for n := range at {
				at[n] = uint32(s.IntN(100) * stride * 8)
			}
			e, want := make([]float64, count), make([]float64, count)
			got := subtract(e, value, at, u, unsafe.Pointer(&v[0]))
			square := plainSubtract(want, value, at, u, unsafe.Pointer(&v[0]))
			same := func(what string, a, b []float64) {
				for i := range a {
					if math.Abs(a[i]-b[i]) > 1e-12*(1+math.Abs(b[i])) {
						t.Fatalf("stride %d, %d entries: %s[%d] is %g, want %g", stride, count, what, i, a[i], b[i])
					}
				}
			}
			same("square", []float64{got}, []float64{square})
			same("residual", e, want)
			sum, byCol, sum2, byCol2 := normals(stride), normals(100*stride), make([]float64, stride), make([]float64, 100*stride)
			copy(sum2, sum)
			copy(byCol2, byCol)
			spread(e, at, x, sum, unsafe.Pointer(&v[0]), unsafe.Pointer(&byCol[0]))
			plainSpread(e, at, x, sum2, unsafe.Pointer(&v[0]), unsafe.Pointer(&byCol2[0]))
			same("sum", sum, sum2)
			same("byCol", byCol, byCol2)
		}
		for k := stride - 3; k <= stride; k++ {
			a, b, d, o := normals(k), normals(k*stride), make([]float64, stride), make([]float64, k*stride)
			rowTimes(d, a, b)
			addOuter(o, a, d)
			var row, outer mat.Dense
			row.Mul(mat.NewDense(1, k, a), mat.NewDense(k, stride, b))
			outer.Mul(mat.NewDense(k, 1, a), &row)
			for what, gap := range map[string][2]*mat.Dense{"rowTimes": {&row, mat.NewDense(1, stride, d)}, "addOuter": {&outer, mat.NewDense(k, stride, o)}} {
				if !mat.EqualApprox(gap[0], gap[1], 1e-11) {
					t.Fatalf("stride %d, k %d: %s", stride, k, what)
				}
			}
		}
	}
}

// Entries in several blocks and tiles give what they give in one.
func TestResidualInBlocksAndTiles(t *testing.T) {
	s := rng.New(7, "blocks")
	const rows, cols, k = 300, 9000, 20 // four tiles of 3,276 columns, at least five blocks
	p := masked(s, lowRank(s, rows, cols, 5, 3), 0.05)
	m := must(newNarrow(p.Observed, gaussians(s, rows, cols, k, 2)))(t)
	if len(m.entries.blocks) < 5 || len(m.entries.segments) < 2*rows {
		t.Fatalf("%d blocks of %d segments", len(m.entries.blocks), len(m.entries.segments))
	}
	square := m.gradient()
	left, right := m.left.dense(), m.right.dense()
	byRow, byCol := mat.NewDense(rows, k, nil), mat.NewDense(cols, k, nil)
	want := sumOver(p.Observed, func(i, j, n int) float64 {
		return mat.Dot(left.RowView(i), right.RowView(j)) - p.Observed.Value[n]
	})
	for i := range rows {
		for n := p.Observed.Start[i]; n < p.Observed.Start[i+1]; n++ {
			j := int(p.Observed.Col[n])
			d := mat.Dot(left.RowView(i), right.RowView(j)) - p.Observed.Value[n]
			for c := range k {
				byRow.Set(i, c, byRow.At(i, c)+d*right.At(j, c))
				byCol.Set(j, c, byCol.At(j, c)+d*left.At(i, c))
			}
		}
	}
	a, b := gap(byRow, unpad(m.left.gradient, rows, k, m.left.stride)), gap(byCol, unpad(m.right.gradient, cols, k, m.left.stride))
	if a > 1e-10 || b > 1e-10 || relative(square, want) > 1e-12 {
		t.Errorf("E·V off by %g, Eᵀ·U by %g, ‖E‖² %g, want %g", a, b, square, want)
	}
}

func TestTrainingGivesTheSameBitsOnAnyNumberOfCores(t *testing.T) {
	p := must(Synthetic{Rows: 400, Cols: 300, Rank: 3, Observed: 0.6, Seed: 1}.Make())(t)
	for _, method := range []string{Compressed, Narrow, Wide} {
		for _, optimizer := range []string{GD, Adam} {
			t.Run(method+" "+optimizer, func(t *testing.T) {
				c := Default()
				c.Method, c.Optimizer, c.Width, c.InitScale, c.Steps = method, optimizer, 6, 0.05, 30
				if method == Wide {
					c.Steps = 3
				}
				var first *Solution
				for _, cores := range []int{1, 2, 5} {
					before := runtime.GOMAXPROCS(cores)
					s, err := Solve(t.Context(), p, c, nil)
					runtime.GOMAXPROCS(before)
					if err != nil {
						t.Fatal(err)
					}
					if first == nil {
						first = s
						continue
					}
					for i, f := range s.Factors {
						if !mat.Equal(f.Value, first.Factors[i].Value) {
							t.Errorf("%d cores give another %s than one", cores, f.Name)
						}
					}
					if fmt.Sprint(*s.Errors.Recovery, s.Errors.Train) != fmt.Sprint(*first.Errors.Recovery, first.Errors.Train) {
						t.Errorf("%d cores measure other errors than one", cores)
					}
				}
			})
		}
	}
}

// turnedBy rotates both outer factors by r.
func (t *thin) turnedBy(r *mat.Dense) {
	for _, p := range []*parameter{t.left, t.right} {
		var q mat.Dense
		q.Mul(p.dense(), r)
		p.set(&q)
	}
}

// T26 on this package's compressed model: a common rotation of left and right is nothing to GD, something to Adam.
func TestT26RotationOfTheCompressedModel(t *testing.T) {
	const d, r, epsilon = 30, 3, 1e-2
	s := rng.New(26, "completion")
	p := masked(s, lowRank(s, d, d, 10, 6, 3), 0.5)
	c := Default()
	c.Width = 2 * r
	left, right := c.subspaces(p.Observed, must(leading(p.Observed, r, s.At(1)))(t))
	turn := linalg.Haar(s, 2*r, 2*r)
	for _, run := range []struct {
		optimizer string
		lr        float64
		steps     int
	}{{GD, 1e-2 * d * d, 6000}, {Adam, 1e-2, 50}} {
		plain := must(newCompressed(p.Observed, left, right, 3, epsilon, 0.01))(t)
		other := must(newCompressed(p.Observed, left, right, 3, epsilon, 0.01))(t)
		other.turnedBy(turn)
		settings := Config{Optimizer: run.optimizer, LR: run.lr}
		o, o2 := settings.optimizer(p), settings.optimizer(p)
		worst, first, last := 0.0, 0.0, 0.0
		train(plain, o, run.steps, func(step int, square float64) bool {
			other.gradient()
			worst = max(worst, gap(product(plain), product(other)))
			o2.apply(other.factors())
			if step == 0 {
				first = square
			}
			last = square
			return false
		})
		switch {
		case run.optimizer == Adam && worst < 1e-6:
			t.Errorf("Adam: f differs by %g only; it is not rotation invariant", worst)
		case run.optimizer == GD && worst > 1e-9:
			t.Errorf("GD: f differs by %g", worst)
		case run.optimizer == GD && last > 0.5*first:
			t.Errorf("GD: ‖E‖² %g of %g at the end: still on the plateau, which proves nothing", last, first)
		}
	}
}

// T27 on this package's models: in the aligned basis, where wide factors are ε·I, Adam on wide and on the small problem
// are the same numbers, and nothing leaks into the rest.
func TestT27AdamOfWideInTheAlignedBasis(t *testing.T) {
	const d, k, epsilon = 40, 6, 1e-2
	s := rng.New(27, "completion")
	core := lowRank(s, k, k, 10, 6, 3)
	small := masked(nil, core, 1)
	left, right := mat.NewDense(d, 3, nil), mat.NewDense(d, 3, nil)
	left.Slice(0, k, 0, 3).(*mat.Dense).Copy(core.Left)
	right.Slice(0, k, 0, 3).(*mat.Dense).Copy(core.Right)
	large := masked(nil, &Truth{Left: left, Right: right, Norm: core.Norm}, 1)
	identities := func(n int) (all []*mat.Dense) {
		for range 3 {
			w := mat.NewDense(n, n, nil)
			for i := range n {
				w.Set(i, i, epsilon)
			}
			all = append(all, w)
		}
		return all
	}
	big, little := newWide(large.Observed, identities(d)), newWide(small.Observed, identities(k))
	settings := Config{Optimizer: Adam, LR: 1e-2}
	o, o2 := settings.optimizer(large), settings.optimizer(small)
	train(big, o, 200, func(step int, _ float64) bool {
		little.gradient()
		f := product(big)
		if worst := gap(view(f, 0, k, 0, k), product(little)); worst > 1e-9 {
			t.Fatalf("step %d: upper blocks differ by %g", step, worst)
		}
		if largest(view(f, 0, k, k, d)) != 0 || largest(view(f, k, d, 0, k)) != 0 {
			t.Fatalf("step %d: something beside the diagonal blocks", step)
		}
		o2.apply(little.factors())
		return false
	})
}
