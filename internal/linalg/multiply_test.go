package linalg

import (
	"fmt"
	"math"
	"runtime"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/rng"
)

func operand(s *rng.Stream, rows, cols int, transposed bool) Operand {
	if transposed {
		return Operand{Gaussian(s, cols, rows), true}
	}
	return Operand{Gaussian(s, rows, cols), false}
}

func TestMultiplyIsTheProductInEveryShape(t *testing.T) {
	s := rng.New(1, "multiply")
	for _, shape := range [][3]int{{1, 1, 1}, {3, 5, 2}, {8, 8, 16}, {9, 17, 33}, {64, 256, 64}, {65, 257, 31}, {130, 600, 71}} {
		m, k, n := shape[0], shape[1], shape[2]
		for flags := range 4 {
			a, b := operand(s, m, k, flags&1 != 0), operand(s, k, n, flags&2 != 0)
			got, want := mat.NewDense(m, n, nil), mat.NewDense(m, n, nil)
			got.Set(0, 0, math.NaN()) // overwritten, not added to
			Multiply(got, a, b)
			multiplyPlain(want, a, b)
			want.Sub(got, want)
			if d := largest(want); !(d < 1e-13*float64(k)) {
				t.Errorf("%v, transposed %02b: off by %g", shape, flags, d)
			}
		}
	}
}

func TestMultiplyGivesTheSameBitsOnAnyNumberOfCores(t *testing.T) {
	s := rng.New(2, "multiply")
	a, b := operand(s, 200, 300, false), operand(s, 300, 90, true)
	var first *mat.Dense
	for _, cores := range []int{1, 2, 7} {
		before := runtime.GOMAXPROCS(cores)
		got := mat.NewDense(200, 90, nil)
		Multiply(got, a, b)
		runtime.GOMAXPROCS(before)
		if first == nil {
			first = got
		} else if !mat.Equal(got, first) {
			t.Errorf("%d cores give other bits than one", cores)
		}
	}
}

func TestMultiplyRefusesShapes(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Multiply(mat.NewDense(2, 2, nil), Operand{mat.NewDense(2, 3, nil), false}, Operand{mat.NewDense(2, 3, nil), false})
}

func BenchmarkMultiply(b *testing.B) {
	for _, n := range []int{60, 300, 1000} {
		s := rng.New(1, "bench")
		x, y, z := Operand{Gaussian(s, n, n), true}, Operand{Gaussian(s, n, n), false}, mat.NewDense(n, n, nil)
		for name, f := range map[string]func(*mat.Dense, Operand, Operand){"ours": Multiply, "gonum": multiplyPlain} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					f(z, x, y)
				}
				b.ReportMetric(2*float64(n*n*n)*float64(b.N)/b.Elapsed().Seconds()/1e9, "Gflop/s")
			})
		}
	}
}
