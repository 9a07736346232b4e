package linalg

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/mat"
	"pgregory.net/rapid"

	"github.com/deeplora/deeplora/internal/rng"
)

func TestT1HaarIsOrthogonalAndUniform(t *testing.T) {
	if d := offIdentity(Haar(rng.New(1, "haar"), 60, 60)); d > 1e-13 {
		t.Errorf("‖QᵀQ - I‖_max = %g", d)
	}
	const draws, n = 400, 6
	mean, trace := mat.NewDense(n, n, nil), 0.0
	for i := range uint64(draws) {
		q := Haar(rng.New(1, "haar moments").At(i), n, n)
		mean.Add(mean, q)
		trace += mat.Trace(q) / draws
	}
	mean.Scale(1./draws, mean)
	if worst, bound := largest(mean), 5/math.Sqrt(n)/math.Sqrt(draws); worst > bound {
		t.Errorf("mean entry %g, want at most %g", worst, bound)
	}
	// Householder's own signs give a trace of about -1.6 here.
	if math.Abs(trace) > 0.25 {
		t.Errorf("mean trace %g, want within 0.25 of 0: the signs of R are not absorbed", trace)
	}
}

func TestHaarIsSemiOrthogonalInEveryShape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, cols := rapid.IntRange(1, 40).Draw(t, "rows"), rapid.IntRange(1, 40).Draw(t, "cols")
		q := Haar(rng.New(rapid.Uint64().Draw(t, "seed")), rows, cols)
		if r, c := q.Dims(); r != rows || c != cols {
			t.Fatalf("%d × %d, want %d × %d", r, c, rows, cols)
		}
		short := q
		if rows < cols {
			short = mat.DenseCopyOf(q.T())
		}
		if d := offIdentity(short); d > 1e-13 {
			t.Fatalf("off orthonormal by %g", d)
		}
	})
}

// Any linear dependence, any scale: the basis is finite, orthonormal, and holds the span.
func TestOrthOfAnyRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "rows")
		k := rapid.IntRange(1, n).Draw(t, "columns")
		rank := rapid.IntRange(0, k).Draw(t, "rank")
		scale := math.Pow(10, float64(rapid.IntRange(-300, 300).Draw(t, "scale")))
		s := rng.New(rapid.Uint64().Draw(t, "seed"))
		a := mat.NewDense(n, k, nil)
		if rank > 0 {
			a.Mul(Gaussian(s, n, rank), Gaussian(s, rank, k))
		}
		var scaled mat.Dense
		scaled.Scale(scale, a)
		q := Orth(&scaled)
		if d := offIdentity(q); !(d < 1e-13) {
			t.Fatalf("off orthonormal by %g", d)
		}
		var inner, inside mat.Dense
		inner.Mul(q.T(), a)
		inside.Mul(q, &inner)
		inside.Sub(&inside, a)
		if d := largest(&inside); d > 1e-9*(1+largest(a)) {
			t.Fatalf("the span loses %g of its matrix", d)
		}
	})
}

func TestOrthKeepsTheOrderAndSignOfColumns(t *testing.T) {
	q := Orth(mat.NewDense(3, 2, []float64{
		-2, 1,
		0, -3,
		0, 0,
	}))
	want := mat.NewDense(3, 2, []float64{
		-1, 0,
		0, -1,
		0, 0,
	})
	if !mat.EqualApprox(q, want, 1e-15) {
		t.Errorf("got\n%v", mat.Formatted(q))
	}
}

func TestExtendCompletes(t *testing.T) {
	s := rng.New(3, "extend")
	basis := Haar(s, 20, 5)
	a := Gaussian(s, 20, 4)
	a.SetCol(1, mat.Col(nil, 2, basis))                                         // inside basis
	a.SetCol(3, []float64{math.NaN(), 19: 0})                                   // no direction at all
	a.SetCol(2, mat.Col(nil, 0, mat.NewDense(20, 1, slices.Repeat(unit(), 5)))) // an honest column
	got := Extend(basis, a, s.At(1))
	var all mat.Dense
	all.Augment(basis, got)
	if d := offIdentity(&all); !(d < 1e-13) {
		t.Errorf("off orthonormal by %g", d)
	}
	if !mat.Equal(got, Extend(basis, a, s.At(1))) {
		t.Error("the completion is not a function of its stream")
	}
	if other := Extend(basis, a, s.At(2)); mat.EqualApprox(got.ColView(1), other.ColView(1), 1e-3) {
		t.Error("the completion does not come from the stream")
	}
}

func unit() []float64 { return []float64{1, 0, 0, 1} }

func TestTopSVDAgreesWithLAPACK(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {7, 5}, {64, 200}, {65, 200}, {300, 90}, {80, 80}} {
		rows, cols := shape[0], shape[1]
		t.Run(fmt.Sprintf("%dx%d", rows, cols), func(t *testing.T) {
			s := rng.New(4, "svd", t.Name())
			a := decaying(s, rows, cols)
			k := min(4, rows, cols)
			got, err := TopSVD(a.RawMatrix().Data, rows, cols, k, s.At(1))
			if err != nil {
				t.Fatal(err)
			}
			want, err := ThinSVD(a)
			if err != nil {
				t.Fatal(err)
			}
			for j := range k {
				if math.Abs(got.S[j]-want.S[j]) > 1e-12 {
					t.Errorf("singular value %d: %v, want %v", j, got.S[j], want.S[j])
				}
				for side, pair := range map[string][2]*mat.Dense{"u": {got.U, want.U}, "v": {got.V, want.V}} {
					var gap mat.Dense
					gap.Sub(pair[0].Slice(0, rowsOf(pair[0]), j, j+1), pair[1].Slice(0, rowsOf(pair[1]), j, j+1))
					if d := largest(&gap); d > 1e-6 {
						t.Errorf("%s%d off by %g, sign included", side, j, d)
					}
				}
			}
			if offIdentity(got.U) > 1e-12 || offIdentity(got.V) > 1e-12 {
				t.Error("not orthonormal")
			}
		})
	}
}

// Float32 data are widened, not rounded: the result is that of the same numbers in float64.
func TestTopSVDReadsFloat32(t *testing.T) {
	s := rng.New(4, "float32")
	narrow := make([]float32, 100*90)
	wide := make([]float64, len(narrow))
	for i := range narrow {
		narrow[i] = float32(s.Normal())
		wide[i] = float64(narrow[i])
	}
	a, err := TopSVD(narrow, 100, 90, 3, s.At(1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := TopSVD(wide, 100, 90, 3, s.At(1))
	if err != nil {
		t.Fatal(err)
	}
	if !mat.Equal(a.U, b.U) || !mat.Equal(a.V, b.V) || !slices.Equal(a.S, b.S) {
		t.Error("float32 and float64 differ")
	}
}

func TestTopSVDGivesTheSameBitsOnAnyNumberOfCores(t *testing.T) {
	s := rng.New(5, "cores")
	a := Gaussian(s, 301, 127).RawMatrix().Data
	var first SVD
	for _, cores := range []int{1, 2, 7} {
		before := runtime.GOMAXPROCS(cores)
		got, err := TopSVD(a, 301, 127, 5, s.At(1))
		runtime.GOMAXPROCS(before)
		if err != nil {
			t.Fatal(err)
		}
		if cores == 1 {
			first = got
		} else if !mat.Equal(got.U, first.U) || !mat.Equal(got.V, first.V) || !slices.Equal(got.S, first.S) {
			t.Errorf("%d cores give other bits than one", cores)
		}
	}
}

// Kernels of vector instructions give the bits of plain ones, whatever the number of entries.
func TestKernelsAreThePlainOnes(t *testing.T) {
	s := rng.New(3, "kernels")
	for n := range strip + 1 {
		narrow, wide, plain := make([]float32, n), make([]float64, n), make([]float64, n)
		for i := range narrow {
			narrow[i] = float32(s.Normal())
		}
		widen(wide, narrow)
		plainWiden(plain, narrow)
		if !slices.Equal(wide, plain) {
			t.Fatalf("%d entries are widened to %v, want %v", n, wide, plain)
		}
		var b block
		for r := range b {
			for i := range b[r][:n] {
				b[r][i] = s.Normal()
			}
		}
		var w [lanes]float64
		var dots, plainDots [lanes][lanes]float64
		x := make([][lanes]float64, n)
		for r := range lanes {
			w[r], dots[r][r], plainDots[r][r] = s.Normal(), 1, 1
			for i := range x {
				x[i][r] = s.Normal()
			}
		}
		addDots(&dots, &b, x)
		plainAddDots(&plainDots, &b, x)
		if dots != plainDots {
			t.Fatalf("products of %d entries are %v, want %v", n, dots, plainDots)
		}
		addRows(wide, &w, &b)
		plainAddRows(plain, &w, &b, 0)
		if !slices.Equal(wide, plain) {
			t.Fatalf("sums of rows of %d entries are %v, want %v", n, wide, plain)
		}
	}
}

func TestTopSVDOfDegenerateMatrices(t *testing.T) {
	for _, shape := range [][2]int{{20, 12}, {90, 130}} { // the exact path and the other
		rows, cols := shape[0], shape[1]
		outer := func(scale float64) []float64 {
			a := make([]float64, rows*cols)
			for i := range a {
				a[i] = scale * float64(1+i/cols) * float64(1+i%cols)
			}
			return a
		}
		for name, c := range map[string]struct {
			data []float64
			rank int
		}{
			"zero":         {make([]float64, rows*cols), 0},
			"rank one":     {outer(1), 1},
			"tiny":         {outer(1e-200), 1},
			"large":        {outer(1e200), 1},
			"all the same": {slices.Repeat([]float64{1e-30}, rows*cols), 1},
		} {
			d, err := TopSVD(c.data, rows, cols, 3, rng.New(6))
			if err != nil {
				t.Fatal(err)
			}
			if u, v := offIdentity(d.U), offIdentity(d.V); !(u < 1e-12 && v < 1e-12) {
				t.Errorf("%dx%d %s: off orthonormal by %g, %g", rows, cols, name, u, v)
			}
			if got := NumericalRank(d.S, 1e-12); got != c.rank {
				t.Errorf("%dx%d %s: rank %d, want %d", rows, cols, name, got, c.rank)
			}
		}
	}
}

func TestTopSVDRefuses(t *testing.T) {
	nan := make([]float32, 12)
	nan[7] = float32(math.NaN())
	infinite := make([]float32, 12)
	infinite[11] = float32(math.Inf(-1))
	for name, c := range map[string]struct {
		data []float32
		k    int
		want string
	}{
		"NaN":              {nan, 1, "entry [1 3] is NaN"},
		"infinity":         {infinite, 1, "entry [2 3] is -Inf"},
		"too many vectors": {make([]float32, 12), 4, "4 singular vectors of a 3 × 4 matrix; want 1 to 3"},
		"no vectors":       {make([]float32, 12), 0, "want 1 to 3"},
		"other shape":      {make([]float32, 11), 1, "11 entries for a 3 × 4 matrix; want 12"},
	} {
		if _, err := TopSVD(c.data, 3, 4, c.k, rng.New(1)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func TestThinSVDRefusesWhatIsNotFinite(t *testing.T) {
	for _, x := range []float64{math.NaN(), math.Inf(1)} {
		for i := range 6 {
			a := mat.NewDense(2, 3, []float64{1, 2, 3, 4, 5, 6})
			a.Set(i/3, i%3, x)
			if _, err := ThinSVD(a); err == nil {
				t.Errorf("%v at entry %d: no error", x, i)
			}
		}
	}
}

func TestEffectiveAndNumericalRank(t *testing.T) {
	for name, c := range map[string]struct {
		values    []float64
		effective float64
		numerical int
	}{
		"equal":    {[]float64{2, 2, 2, 2}, 4, 4},
		"one":      {[]float64{5, 0, 0}, 1, 1},
		"zero":     {[]float64{0, 0}, 0, 0},
		"two to 1": {[]float64{2, 1}, 3 / math.Pow(2, 2./3), 2},
		"tail":     {[]float64{1, 1e-9}, 1, 1},
	} {
		if got := EffectiveRank(c.values); math.Abs(got-c.effective) > 1e-7 {
			t.Errorf("%s: effective rank %v, want %v", name, got, c.effective)
		}
		if got := NumericalRank(c.values, 1e-6); got != c.numerical {
			t.Errorf("%s: numerical rank %d, want %d", name, got, c.numerical)
		}
	}
}

// Two planes turned against each other by known angles, down to those that acos alone cannot see.
func TestAngles(t *testing.T) {
	s := rng.New(8, "angles")
	want := []float64{1e-12, 1e-5, 0.5, 1.2, math.Pi / 2}
	q := Haar(s, 30, 10)
	a, b := mat.NewDense(30, 5, nil), mat.NewDense(30, 5, nil)
	for j, angle := range want {
		for i := range 30 {
			a.Set(i, j, q.At(i, j))
			b.Set(i, j, math.Cos(angle)*q.At(i, j)+math.Sin(angle)*q.At(i, j+5))
		}
	}
	var mixed mat.Dense
	mixed.Mul(a, Gaussian(s, 5, 5)) // the span counts, not the basis
	for i, got := range Angles(&mixed, b) {
		if math.Abs(got-want[i]) > 1e-11 {
			t.Errorf("angle %d: %v, want %v", i, got, want[i])
		}
	}
	if got := Angles(b.Slice(0, 30, 0, 2), a); len(got) != 2 || got[1] > 1.1e-5 {
		t.Errorf("two columns against five: %v", got)
	}
}

// decaying returns U·diag(0.5^i)·Vᵀ: well separated singular values.
func decaying(s *rng.Stream, rows, cols int) *mat.Dense {
	k := min(rows, cols)
	u, v := Haar(s, rows, k), Haar(s, cols, k)
	for j := range k {
		for i := range rows {
			u.Set(i, j, u.At(i, j)*math.Pow(0.5, float64(j)))
		}
	}
	var a mat.Dense
	a.Mul(u, v.T())
	return &a
}

func rowsOf(a mat.Matrix) int { rows, _ := a.Dims(); return rows }

// offIdentity returns the largest entry of |qᵀq - I|, NaN if q holds one.
func offIdentity(q mat.Matrix) float64 {
	var gram mat.Dense
	gram.Mul(q.T(), q)
	for i := range rowsOf(&gram) {
		gram.Set(i, i, gram.At(i, i)-1)
	}
	return largest(&gram)
}

func largest(a *mat.Dense) float64 {
	worst := 0.0
	for _, x := range a.RawMatrix().Data {
		if x != x {
			return math.NaN()
		}
		worst = max(worst, math.Abs(x))
	}
	return worst
}

func BenchmarkTopSVDOfWordEmbeddings(b *testing.B) {
	const rows, cols = 28996, 768
	s := rng.New(1, "bench")
	a := make([]float32, rows*cols)
	for i := range a {
		a[i] = float32(s.Float64() - 0.5)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := TopSVD(a, rows, cols, 4, s.At(1)); err != nil {
			b.Fatal(err)
		}
	}
}
