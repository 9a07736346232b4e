package linalg

import (
	"math"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/rng"
)

func TestReflectionsAreOneSemiOrthogonalMatrix(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {20, 20}, {31, 12}, {12, 31}, {5, 1}, {1, 5}} {
		rows, cols := shape[0], shape[1]
		q := NewReflections(rng.New(1, "reflections"), rows, cols)
		dense := q.Dense()
		short := dense
		if rows < cols {
			short = mat.DenseCopyOf(dense.T())
		}
		if d := offIdentity(short); d > 1e-13 {
			t.Errorf("%v: off orthonormal by %g", shape, d)
		}
		x, y := Gaussian(rng.New(2), cols, 3), Gaussian(rng.New(3), rows, 3)
		var want, wantT mat.Dense
		want.Mul(dense, x)
		wantT.Mul(dense.T(), y)
		want.Sub(&want, q.Times(x))
		wantT.Sub(&wantT, q.TransposeTimes(y))
		if a, b := largest(&want), largest(&wantT); !(a < 1e-12 && b < 1e-12) {
			t.Errorf("%v: products differ from those of Dense by %g and %g", shape, a, b)
		}
	}
}

// The moments of TestT1HaarIsOrthogonalAndUniform.
func TestReflectionsAreUniform(t *testing.T) {
	const draws, n = 400, 6
	mean, trace := mat.NewDense(n, n, nil), 0.0
	for i := range uint64(draws) {
		q := NewReflections(rng.New(1, "reflections").At(i), n, n).Dense()
		mean.Add(mean, q)
		trace += mat.Trace(q) / draws
	}
	mean.Scale(1./draws, mean)
	if worst, bound := largest(mean), 5/math.Sqrt(n)/math.Sqrt(draws); worst > bound {
		t.Errorf("mean entry %g, want at most %g", worst, bound)
	}
	if math.Abs(trace) > 0.25 {
		t.Errorf("mean trace %g, want within 0.25 of 0", trace)
	}
}

type denseOperator struct{ *mat.Dense }

func (d denseOperator) Times(x *mat.Dense) *mat.Dense {
	var y mat.Dense
	y.Mul(d, x)
	return &y
}

func (d denseOperator) TransposeTimes(x *mat.Dense) *mat.Dense {
	var y mat.Dense
	y.Mul(d.T(), x)
	return &y
}

func TestTopSVDOfAgreesWithLAPACK(t *testing.T) {
	s := rng.New(4, "operator")
	a := decaying(s, 90, 130)
	got, err := TopSVDOf(denseOperator{a}, 4, 4, s.At(1))
	if err != nil {
		t.Fatal(err)
	}
	want, err := ThinSVD(a)
	if err != nil {
		t.Fatal(err)
	}
	for j := range 4 {
		if math.Abs(got.S[j]-want.S[j]) > 1e-12 {
			t.Errorf("singular value %d: %v, want %v", j, got.S[j], want.S[j])
		}
		for i := range 90 {
			if math.Abs(got.U.At(i, j)-want.U.At(i, j)) > 1e-6 {
				t.Fatalf("u%d differs", j)
			}
		}
	}
	if _, err := TopSVDOf(denseOperator{a}, 91, 4, s); err == nil {
		t.Error("no error for too many vectors")
	}
}

// The law of the largest singular values, against those of Gaussian matrices: mean and spread of 400 draws each.
func TestGaussianSingularValuesHaveTheLawOfGaussians(t *testing.T) {
	const draws, k = 400, 3
	for _, shape := range [][2]int{{12, 12}, {9, 20}, {20, 9}} {
		rows, cols := shape[0], shape[1]
		var sum, squares [2][k]float64
		for i := range uint64(draws) {
			s := rng.New(5, "law").At(i)
			drawn, err := GaussianSingularValues(s.At(0), rows, cols, k)
			if err != nil {
				t.Fatal(err)
			}
			for which, values := range [][]float64{drawn, SingularValues(Gaussian(s.At(1), rows, cols))} {
				for j := range k {
					sum[which][j] += values[j]
					squares[which][j] += values[j] * values[j]
				}
			}
		}
		for j := range k {
			a, b := sum[0][j]/draws, sum[1][j]/draws
			va, vb := squares[0][j]/draws-a*a, squares[1][j]/draws-b*b
			if z := (a - b) / math.Sqrt((va+vb)/draws); math.Abs(z) > 4 {
				t.Errorf("%v: singular value %d has mean %g, want %g (%.1f standard errors)", shape, j, a, b, z)
			}
			if ratio := va / vb; ratio < 0.65 || ratio > 1.5 {
				t.Errorf("%v: singular value %d has variance %g, want %g", shape, j, va, vb)
			}
		}
	}
	large, err := GaussianSingularValues(rng.New(6), 20000, 20000, 2)
	if err != nil {
		t.Fatal(err)
	}
	if edge := 2 * math.Sqrt(20000); math.Abs(large[0]-edge) > 1 || large[1] > large[0] {
		t.Errorf("largest of 20,000 × 20,000: %v, want about %g", large, edge)
	}
	for _, k := range []int{0, 10} {
		if _, err := GaussianSingularValues(rng.New(7), 9, 20, k); err == nil || !strings.Contains(err.Error(), "want 1 to 9") {
			t.Errorf("%d singular values of a 9 × 20 matrix: error %v", k, err)
		}
	}
}
