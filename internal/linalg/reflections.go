package linalg

import (
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/lapack/lapack64"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/rng"
)

// Reflections is a Haar semi-orthogonal matrix as a product of random Householder reflections (Stewart 1980). It
// holds a stream and a shape: a matrix of any size can be applied to a few vectors at rows·cols flops a vector and no
// memory beyond them, and Dense is that same matrix to rounding.
//
// The QR factorisation of a Gaussian matrix reflects, column by column, what is left of the column onto one axis, and
// what is left is Gaussian whatever came before. So the reflections can be drawn without the matrix.
type Reflections struct {
	rows, cols int
	stream     *rng.Stream
}

// NewReflections returns the rows × cols matrix that s determines. s is not touched: reflection i comes from s.At(i).
func NewReflections(s *rng.Stream, rows, cols int) Reflections { return Reflections{rows, cols, s} }

// Dims returns the shape.
func (q Reflections) Dims() (rows, cols int) { return q.rows, q.cols }

// Times returns Q·x for each of the columns of x [cols, n].
func (q Reflections) Times(x *mat.Dense) *mat.Dense {
	if q.rows < q.cols {
		return q.shrink(x, q.cols, q.rows)
	}
	return q.grow(x, q.rows, q.cols)
}

// TransposeTimes returns Qᵀ·x for each of the columns of x [rows, n].
func (q Reflections) TransposeTimes(x *mat.Dense) *mat.Dense {
	if q.rows < q.cols {
		return q.grow(x, q.cols, q.rows)
	}
	return q.shrink(x, q.rows, q.cols)
}

// grow returns H_0···H_{short-1}·[D·x; 0], D the signs.
func (q Reflections) grow(x *mat.Dense, long, short int) *mat.Dense {
	_, n := x.Dims()
	y := vectors(n, long)
	for c := range y {
		mat.Col(y[c][:short], c, x)
	}
	v := make([]float64, long)
	for i := short - 1; i >= 0; i-- {
		sign := q.reflector(i, v[i:])
		for c := range y {
			y[c][i] *= sign
			reflect(y[c][i:], v[i:])
		}
	}
	return fromColumns(y)
}

// shrink returns D·(the first rows of H_{short-1}···H_0·x).
func (q Reflections) shrink(x *mat.Dense, long, short int) *mat.Dense {
	y := columns(x)
	v := make([]float64, long)
	for i := range short {
		sign := q.reflector(i, v[i:])
		for c := range y {
			reflect(y[c][i:], v[i:])
			y[c][i] *= sign
		}
	}
	for c := range y {
		y[c] = y[c][:short]
	}
	return fromColumns(y)
}

// reflector draws reflection i, I - 2·v·vᵀ, as the unit vector v. It returns the sign that the diagonal of R would
// have: Q is unique, hence uniform, only once they are absorbed (as in Haar).
func (q Reflections) reflector(i int, v []float64) (sign float64) {
	s := q.stream.At(uint64(i))
	for j := range v {
		v[j] = s.Normal()
	}
	length := floats.Norm(v, 2)
	sign = -math.Copysign(1, v[0])
	v[0] -= sign * length
	floats.Scale(1/floats.Norm(v, 2), v)
	return sign
}

func reflect(x, v []float64) { floats.AddScaled(x, -2*floats.Dot(v, x), v) }

// Dense returns the matrix itself, at 4·long·short² flops.
func (q Reflections) Dense() *mat.Dense {
	long, short := max(q.rows, q.cols), min(q.rows, q.cols)
	a := mat.NewDense(long, short, nil)
	raw := a.RawMatrix()
	tau, signs := make([]float64, short), make([]float64, short)
	v := make([]float64, long)
	for i := range short {
		signs[i] = q.reflector(i, v[i:])
		// LAPACK's reflections are I - τ·w·wᵀ with w = v/v[0], whose leading one it does not store.
		tau[i] = 2 * v[i] * v[i]
		for r := i + 1; r < long; r++ {
			raw.Data[r*raw.Stride+i] = v[r] / v[i]
		}
	}
	run(func(work []float64, size int) { lapack64.Orgqr(raw, tau, work, size) })
	for r := range long {
		floats.Mul(raw.Data[r*raw.Stride:][:short], signs)
	}
	if q.rows < q.cols {
		return mat.DenseCopyOf(a.T())
	}
	return a
}
