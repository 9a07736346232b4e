package completion

import (
	"fmt"
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
)

func relative(a, b float64) float64 { return math.Abs(a-b) / max(math.Abs(b), 1e-12) }

// explicitBases are left and right of width 2h from Φ and the orthogonal factors Q_1 … Q_L (method.md 1.2).
func explicitBases(truth *Truth, q []*mat.Dense, h int) (left, right *mat.Dense) {
	o := mat.DenseCopyOf(q[0])
	for _, next := range q[1:] {
		var p mat.Dense
		p.Mul(next, o)
		o = &p
	}
	n, _ := truth.Right.Dims()
	widened := func(a *mat.Dense, name string) *mat.Dense { // beyond the rank: any orthonormal columns
		_, r := a.Dims()
		if h == r {
			return a
		}
		var all mat.Dense
		all.Augment(a, linalg.Extend(a, linalg.Gaussian(rng.New(9, name), n, h-r), rng.New(1)))
		return &all
	}
	u, v := widened(linalg.Orth(truth.Left), "u"), widened(truth.Right, "v")
	var back, l mat.Dense
	back.Mul(o.T(), u)
	right = new(mat.Dense)
	right.Augment(&back, linalg.Extend(&back, v, rng.New(2)))
	l.Mul(o, right)
	return &l, right
}

// recursion is ρ_l(t) of method.md 1.2, for η of the sum.
func recursion(depth, steps int, eta, lambda, epsilon float64) []float64 {
	rho := make([]float64, depth)
	for l := range rho {
		rho[l] = epsilon
	}
	for range steps {
		next := make([]float64, depth)
		for l := range rho {
			others := 1.0
			for k, x := range rho {
				if k != l {
					others *= x * x
				}
			}
			next[l] = rho[l] * (1 - eta*lambda - eta*others)
		}
		rho = next
	}
	return rho
}

// rhos are the mean scales by which the factors of m act on the complement of right, one after another.
func rhos(m *wide, right *mat.Dense) []float64 {
	n, k := right.Dims()
	v := linalg.Extend(right, linalg.Gaussian(rng.New(5), n, n-k), rng.New(6))
	var all []float64
	for _, w := range m.w {
		var next mat.Dense
		next.Mul(w, v)
		all = append(all, mat.Norm(&next, 2)/mat.Norm(v, 2))
		v = &next
	}
	return all
}

// bases are V_1 … V_{L+1}: complete orthogonal bases at the start, the learning directions first.
func bases(q []*mat.Dense, right *mat.Dense) []*mat.Dense {
	n, k := right.Dims()
	var v mat.Dense
	v.Augment(right, linalg.Extend(right, linalg.Gaussian(rng.New(5), n, n-k), rng.New(6)))
	all := []*mat.Dense{&v}
	for _, w := range q {
		var next mat.Dense
		next.Mul(w, all[len(all)-1])
		all = append(all, &next)
	}
	return all
}

// inBases is V_{l+1}ᵀ·W_l·V_l.
func inBases(w, out, in *mat.Dense) *mat.Dense {
	var half, all mat.Dense
	half.Mul(w, in)
	all.Mul(out.T(), &half)
	return &all
}

// T3, T4, T5 and T7: with all entries observed, in bases known at the start, each factor of the wide model stays
// [W̃ 0; 0 ρ·I], W̃ is the compressed model's, and what keeps the wide model from Φ is ∏ρ.
func TestT3T4T5T7InvariantSubspaces(t *testing.T) {
	const d, r, eta = 60, 3, 1e-2
	for _, c := range []struct {
		depth, steps    int
		epsilon, lambda float64
	}{
		{3, 6000, 1e-2, 0}, {3, 6000, 1e-2, 1e-3}, {2, 3000, 1e-2, 0}, {2, 3000, 1e-2, 1e-3}, {4, 3000, 0.1, 0}, {4, 3000, 0.1, 1e-3},
	} {
		t.Run(fmt.Sprintf("L=%d lambda=%g", c.depth, c.lambda), func(t *testing.T) {
			t.Parallel()
			s := rng.New(3, "theorem")
			p := masked(nil, lowRank(s, d, d, 10, 6, 3), 1)
			var q, factors []*mat.Dense
			for range c.depth {
				q = append(q, linalg.Haar(s, d, d))
				f := mat.DenseCopyOf(q[len(q)-1])
				f.Scale(c.epsilon, f)
				factors = append(factors, f)
			}
			left, right := explicitBases(p.Truth, q, r)
			v := bases(q, right)
			big := newWide(p.Observed, factors)
			small := must(newCompressed(p.Observed, left, right, c.depth, c.epsilon, 0))(t)
			entries := p.entries()
			settings := Config{LR: eta * entries, WeightDecay: c.lambda / entries}
			o, os := settings.optimizer(p), settings.optimizer(p)
			var off, rho, upper, spectral float64
			train(big, o, c.steps, func(step int, _ float64) bool {
				small.gradient()
				if step%50 == 0 {
					want := recursion(c.depth, step, eta, c.lambda, c.epsilon)
					for l, w := range big.w {
						b := inBases(w, v[l+1], v[l])
						off = max(off, largest(view(b, 0, 2*r, 2*r, d)), largest(view(b, 2*r, d, 0, 2*r)))
						lower := view(b, 2*r, d, 2*r, d)
						for i := range d - 2*r {
							lower.Set(i, i, lower.At(i, i)-want[l])
						}
						rho = max(rho, largest(lower))
						upper = max(upper, gap(view(b, 0, 2*r, 0, 2*r), small.inner[l].dense()))
					}
				}
				if step%1000 == 0 {
					var difference mat.Dense
					difference.Sub(product(big), product(small))
					spectral = max(spectral, linalg.SingularValues(&difference)[0])
				}
				os.apply(small.factors())
				return false
			})
			floor := math.Pow(c.epsilon, float64(c.depth))
			for what, pair := range map[string][2]float64{
				"T3: off-diagonal blocks": {off, 1e-9}, "T4: lower blocks off ρ·I": {rho, 1e-9},
				"T5: upper blocks off W̃": {upper, 1e-9}, "T5: ‖f_wide - f_C‖₂": {spectral, 1.0001 * floor},
			} {
				if !(pair[0] <= pair[1]) {
					t.Errorf("%s: %g, want at most %g", what, pair[0], pair[1])
				}
			}
			checkFloor(t, p, big, small, recursion(c.depth, c.steps, eta, c.lambda, c.epsilon), 2*r)
		})
	}
}

func view(a *mat.Dense, i, k, j, l int) *mat.Dense { return mat.DenseCopyOf(a.Slice(i, k, j, l)) }

// checkFloor is T7: at the end the wide model is ∏ρ·√(d-2r) from what the compressed one is at, which is nearer.
// With weight decay neither reaches Φ, and the two differ by as much.
func checkFloor(t *testing.T, p *Problem, big *wide, small *thin, rho []float64, k int) {
	t.Helper()
	remainder := 1.0
	for _, x := range rho {
		remainder *= x
	}
	big.gradient()
	small.gradient()
	wide, compressed := big.distance(p.Truth), small.distance(p.Truth)
	floor := remainder * math.Sqrt(float64(p.Observed.Rows-k))
	if gap := math.Abs(math.Sqrt(wide*wide-compressed*compressed)-floor) / p.Truth.Norm; !(gap <= 1e-6) {
		t.Errorf("T7: the wide model ends %g from Φ, the compressed one %g: apart by another amount than %g", wide, compressed, floor)
	}
}

// T6: more directions than Φ's rank needs change nothing.
func TestT6OverestimatedRank(t *testing.T) {
	const d, r, depth, eta, epsilon = 60, 3, 3, 1e-2, 1e-2
	s := rng.New(6, "theorem")
	p := masked(nil, lowRank(s, d, d, 10, 6, 3), 1)
	var q, factors []*mat.Dense
	for range depth {
		q = append(q, linalg.Haar(s, d, d))
		f := mat.DenseCopyOf(q[len(q)-1])
		f.Scale(epsilon, f)
		factors = append(factors, f)
	}
	left, right := explicitBases(p.Truth, q, r+2)
	big := newWide(p.Observed, factors)
	small := must(newCompressed(p.Observed, left, right, depth, epsilon, 0))(t)
	settings := Config{LR: eta * p.entries()}
	o, os := settings.optimizer(p), settings.optimizer(p)
	worst := 0.0
	train(big, o, 3000, func(step int, _ float64) bool {
		small.gradient()
		if step%50 == 0 {
			worst = max(worst, gap(product(big), product(small)))
		}
		os.apply(small.factors())
		return false
	})
	if floor := math.Pow(epsilon, depth); !(worst <= 2*floor+1e-9) {
		t.Errorf("|f_wide - f_C| reaches %g, want at most 2·%g", worst, floor)
	}
}
