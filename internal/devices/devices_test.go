package devices

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/testbackend"
)

// several are sets of 1, 2 and 4 devices, of engines that have them.
func several(t *testing.T, fn func(t *testing.T, s *Set)) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, n := range []int{1, 2, 4} {
			if n > b.NumDevices() {
				continue
			}
			for form, open := range map[string]func(compute.Backend, int) (*Set, error){"": New, " SPMD": NewSPMD} {
				if b.Name() != "xla" && form != "" { // the Go engine has no such form
					continue
				}
				t.Run(fmt.Sprint(n, form), func(t *testing.T) {
					s, err := open(b, n)
					if err != nil {
						t.Fatal(err)
					}
					defer s.Close()
					fn(t, s)
				})
			}
		}
	})
}

// Gradient descent on Σᵢ (w·xᵢ - yᵢ)²: with the rows dealt out and the gradients summed it goes where one device goes, and
// every device has the same w to the bit, after hundreds of steps that hand their state on.
func TestSummedGradientsDescendAsOne(t *testing.T) {
	const rows, width, steps = 8, 3, 300
	x, y := make([]float64, rows*width), make([]float64, rows)
	for i := range x {
		x[i] = math.Sin(float64(i))
	}
	for i := range y {
		y[i] = math.Cos(float64(3 * i))
	}
	want := descend(x, y, width, steps)
	several(t, func(t *testing.T, s *Set) {
		n, part := s.Len(), rows/s.Len()
		exec, err := s.Exec("descend", func(in []*Node) []*Node {
			w, x, y := in[0], in[1], in[2]
			residual := Sub(ReduceSum(Mul(x, InsertAxes(w, 0)), 1), y)
			sum := s.Sum(Gradient(ReduceAllSum(Square(residual)), w))
			return []*Node{Sub(w, MulScalar(sum[0], 0.01))}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer exec.Finalize()
		if _, err := s.Compile(exec, []shapes.Shape{shapes.Make(dtypes.Float64, width), shapes.Make(dtypes.Float64, part, width), shapes.Make(dtypes.Float64, part)}); err != nil {
			t.Fatal(err)
		}
		var xs, ys []*tensors.Tensor
		w := make([]*tensors.Tensor, n)
		for d := range n {
			xs = append(xs, tensors.FromFlatDataAndDimensions(x[d*part*width:(d+1)*part*width], part, width))
			ys = append(ys, tensors.FromFlatDataAndDimensions(y[d*part:(d+1)*part], part))
			w[d] = tensors.FromFlatDataAndDimensions(make([]float64, width), width)
		}
		for range steps {
			var args [][]any
			for d := range n {
				donated, err := DonateTensorBuffer(w[d], s.Backend(), compute.DeviceNum(d))
				if err != nil {
					t.Fatal(err)
				}
				args = append(args, []any{donated, xs[d], ys[d]})
			}
			out, err := s.Call(exec, args)
			if err != nil {
				t.Fatal(err)
			}
			for d := range n {
				w[d] = out[d][0]
			}
		}
		first := tensors.MustCopyFlatData[float64](w[0])
		for d := range w {
			if other := tensors.MustCopyFlatData[float64](w[d]); !slices.Equal(first, other) {
				t.Errorf("device %d has %v, the first %v", d, other, first)
			}
		}
		for i, v := range first {
			if math.Abs(v-want[i]) > 1e-12 {
				t.Errorf("w[%d] is %v, want %v", i, v, want[i])
			}
		}
	})
}

func descend(x, y []float64, width, steps int) []float64 {
	w := make([]float64, width)
	for range steps {
		gradient := make([]float64, width)
		for r, target := range y {
			residual := -target
			for i, v := range x[r*width : (r+1)*width] {
				residual += w[i] * v
			}
			for i, v := range x[r*width : (r+1)*width] {
				gradient[i] += 2 * residual * v
			}
		}
		for i := range w {
			w[i] -= 0.01 * gradient[i]
		}
	}
	return w
}

// A tensor that does not change is copied to a device once.
func TestOnCopiesOnce(t *testing.T) {
	several(t, func(t *testing.T, s *Set) {
		x := tensors.FromFlatDataAndDimensions([]float32{1, 2, 3}, 3)
		for d := range s.Len() {
			a, err := s.On(d, x)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := s.On(d, x); err != nil || a != b || (a == x) != (d == 0) {
				t.Errorf("device %d: %p, then %p (%v), of %p", d, a, b, err, x)
			}
			if got := tensors.MustCopyFlatData[float32](a); !slices.Equal(got, []float32{1, 2, 3}) {
				t.Errorf("device %d: %v", d, got)
			}
		}
	})
}

func TestMoreDevicesThanThereAre(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		n := b.NumDevices() + 1
		want := fmt.Sprintf("devices: %d are asked for, and the engine has %d", n, n-1)
		if _, err := New(b, n); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}
