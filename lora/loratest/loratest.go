package loratest

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/lora"
)

// kernels are the shapes a method is tried on: wider, taller and square.
var kernels = []lora.Shape{
	{Name: "encoder.layer.0.attention.self.query", In: 9, Out: 6},
	{Name: "encoder.layer.1.intermediate.dense", In: 6, Out: 9},
	{Name: "pooler.dense", In: 8, Out: 8},
}

// settings a method is tried with. It may refuse all but the first.
func settings() []lora.Settings {
	plain := lora.Defaults()
	plain.Rank = 4
	deeper := lora.Settings{Rank: 2, Depth: 4, InitScale: 0.1}
	peft := lora.Settings{Rank: 3, Depth: 3, InitScale: 1e-3, Init: lora.InitPEFT, Alpha: 12}
	all := []lora.Settings{plain, deeper, peft}
	for _, start := range lora.Starts()[2:] {
		all = append(all, lora.Settings{Rank: 2, Depth: 3, InitScale: 1e-3, Init: start, Alpha: 6})
	}
	return all
}

// subject is a method under test with settings it accepts, on some of the kernels.
type subject struct {
	method   lora.Method
	settings lora.Settings
	adapter  lora.Adapter
	kernels  []lora.Shape
}

// Run holds the registered method of that name to the contract of lora.Adapter. The method has to accept rank 4 with
// the other settings as lora.Defaults has them; settings that it refuses beyond those are left out.
func Run(t *testing.T, name string) {
	method, err := lora.LookupMethod(name)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range settings() {
		adapter, err := lora.New(name, s)
		if err != nil {
			if i == 0 {
				t.Fatalf("refuses the default settings at rank %d: %v", s.Rank, err)
			}
			continue
		}
		at := subject{method, s, adapter, kernels}
		if i > 0 {
			at.kernels = kernels[(i-1)%3:][:1] // compiling graphs is what the suite spends its time on
		}
		t.Run(fmt.Sprintf("settings %d", i), func(t *testing.T) {
			t.Run("factors are listed without drawing", at.listsWithoutDrawing)
			t.Run("start", at.startsAsTheMethodSays)
			t.Run("order of kernels", at.doesNotDependOnOrder)
			t.Run("gradients of any kind", at.survivesGradients)
			t.Run("gradient faults", at.reportsGradientFaults)
			t.Run("rate 0", at.freezesAtRateZero)
			t.Run("save and load", at.survivesAFile)
			testbackend.Each(t, func(t *testing.T, b compute.Backend) {
				t.Run("gradients of factors", func(t *testing.T) { at.differentiates(t, b) })
				t.Run("one delta", func(t *testing.T) { at.hasOneDelta(t, b) })
			})
		})
	}
	t.Run("bad settings", func(t *testing.T) { refusesBadSettings(t, method) })
	t.Run("large ranks", func(t *testing.T) { refusesLargeRanks(t, method) })
}

// site is a kernel with a stream of its own and a gradient drawn for it.
func site(k lora.Shape) lora.Site {
	gradient := func() (*tensors.Tensor, error) {
		flat := make([]float32, k.In*k.Out)
		for i, s := 0, rng.New(1, "gradient", k.Name); i < len(flat); i++ {
			flat[i] = float32(s.Normal())
		}
		return tensors.FromFlatDataAndDimensions(flat, k.In, k.Out), nil
	}
	return lora.Site{
		Name: k.Name, In: k.In, Out: k.Out, Seed: 1, FirstRate: 1e-3,
		Gradient: gradient, Weight: gradient,
	}
}

func (s subject) init(t *testing.T, at lora.Site) []lora.Factor {
	t.Helper()
	factors, err := s.adapter.Init(at)
	if err != nil {
		t.Fatal(err)
	}
	return factors
}

// general returns random values of order 1 in the factors' shapes: the start is too special (zeros,
// multiples of the identity) to see faults at.
func general(factors []lora.Factor) []*mat.Dense {
	var values []*mat.Dense
	for i, f := range factors {
		values = append(values, linalg.Gaussian(rng.New(2, f.Name).At(uint64(i)), f.Shape[0], f.Shape[1]))
	}
	return values
}

func (s subject) listsWithoutDrawing(t *testing.T) {
	for _, k := range s.kernels {
		// Neither gradient nor weight: calling one is a nil dereference.
		factors := s.init(t, lora.Site{Name: k.Name, In: k.In, Out: k.Out})
		names := map[string]bool{}
		for _, f := range factors {
			if f.Name == "" || strings.ContainsAny(f.Name, "./ ") || names[f.Name] {
				t.Errorf("factor name %q is empty, repeated, or no part of a tensor's name", f.Name)
			}
			names[f.Name] = true
			if len(f.Shape) != 2 || f.Rate < 0 || math.IsInf(f.Rate, 0) || f.Rate != f.Rate {
				t.Errorf("factor %s: shape %v, rate %v", f.Name, f.Shape, f.Rate)
			}
		}
	}
	got, err := lora.Count(s.adapter, s.kernels)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, k := range s.kernels {
		want += s.method.Parameters(s.settings, k.In, k.Out)
	}
	if got != want {
		t.Errorf("%d parameters counted, the method's formula says %d", got, want)
	}
}

func (s subject) startsAsTheMethodSays(t *testing.T) {
	for _, k := range s.kernels {
		at := site(k)
		calls := 0
		draw := at.Gradient
		at.Gradient = func() (*tensors.Tensor, error) { calls++; return draw() }
		factors := s.init(t, at)
		var values []*tensors.Tensor
		for _, f := range factors {
			v, err := f.Value()
			if err != nil {
				t.Fatal(err)
			}
			if v.DType() != dtypes.Float32 || !slices.Equal(v.Shape().Dimensions, f.Shape) {
				t.Errorf("%s: the value is %s, the factor float32 %v", f.Name, v.Shape(), f.Shape)
			}
			values = append(values, v)
		}
		if calls > 1 {
			t.Errorf("the gradient was computed %d times", calls)
		}
		chain, err := lora.Chain(testbackend.All(t)[0], s.adapter, values)
		if err != nil {
			t.Fatal(err)
		}
		spectrum, err := lora.Decompose(chain)
		if err != nil {
			t.Fatal(err)
		}
		low, high := s.method.InitialNorm(s.settings, k.In, k.Out)
		if norm := spectrum.Values[0]; norm < low*(1-1e-5) || norm > high*(1+1e-5) {
			t.Errorf("%s: ‖ΔK‖₂ = %g at the start, want %g to %g", k.Name, norm, low, high)
		}
	}
}

func (s subject) doesNotDependOnOrder(t *testing.T) {
	first := map[string][]float32{}
	for round := range 3 {
		order := rng.New(3).At(uint64(round)).Perm(len(kernels))
		for _, i := range order {
			factors := s.init(t, site(kernels[i]))
			for _, j := range rng.New(4).At(uint64(round)).Perm(len(factors)) {
				v, err := factors[j].Value()
				if err != nil {
					t.Fatal(err)
				}
				key, flat := kernels[i].Name+"."+factors[j].Name, tensors.MustCopyFlatData[float32](v)
				if round == 0 {
					first[key] = flat
				} else if !sameBits(first[key], flat) {
					t.Errorf("%s depends on the order it was drawn in", key)
				}
			}
		}
	}
}

// survivesGradients: whatever the gradient, the start is finite.
func (s subject) survivesGradients(t *testing.T) {
	fill := map[string]func(i, j int) float64{
		"zero":     func(int, int) float64 { return 0 },
		"rank one": func(i, j int) float64 { return float64(1+i) * float64(2-j) },
		"tiny":     func(i, j int) float64 { return 1e-20 * math.Cos(float64(7*i*i+j)) },
		"huge":     func(i, j int) float64 { return 1e30 * math.Cos(float64(7*i*i+j)) },
		"one row":  func(i, j int) float64 { return float64((1+j)*max(0, 1-i)) * 0.1 },
	}
	for name, entry := range fill {
		for _, k := range s.kernels {
			at := site(k)
			at.Gradient = func() (*tensors.Tensor, error) {
				flat := make([]float64, k.In*k.Out)
				for i := range flat {
					flat[i] = entry(i/k.Out, i%k.Out)
				}
				return tensors.FromFlatDataAndDimensions(flat, k.In, k.Out), nil
			}
			values, _ := Matrices(t, s.init(t, at))
			for i, v := range values {
				if norm := mat.Norm(v, 2); norm != norm || math.IsInf(norm, 0) {
					t.Errorf("%s gradient, %s: factor %d is not finite", name, k.Name, i)
				}
			}
		}
	}
}

// reportsGradientFaults: a method that asks for the gradient and gets a bad one says so, and of which kernel.
func (s subject) reportsGradientFaults(t *testing.T) {
	broken := errors.New("out of memory on purpose")
	nan := slices.Repeat([]float32{float32(math.NaN())}, 54)
	for name, gradient := range map[string]func() (*tensors.Tensor, error){
		"error":     func() (*tensors.Tensor, error) { return nil, broken },
		"NaN":       func() (*tensors.Tensor, error) { return tensors.FromFlatDataAndDimensions(nan, 9, 6), nil },
		"transpose": func() (*tensors.Tensor, error) { return tensors.FromFlatDataAndDimensions(nan, 6, 9), nil },
		"dtype": func() (*tensors.Tensor, error) {
			return tensors.FromFlatDataAndDimensions(make([]int32, 54), 9, 6), nil
		},
	} {
		asked := false
		at := site(kernels[0])
		at.Gradient = func() (*tensors.Tensor, error) { asked = true; return gradient() }
		var first error
		for _, f := range s.init(t, at) {
			if _, err := f.Value(); err != nil && first == nil {
				first = err
			}
		}
		switch {
		case asked && first == nil:
			t.Errorf("%s: no error", name)
		case asked && !strings.Contains(first.Error(), at.Name):
			t.Errorf("%s: %q does not name the kernel", name, first)
		case asked && name == "error" && !errors.Is(first, broken):
			t.Errorf("%s: %q does not wrap its cause", name, first)
		}
	}
}

// freezesAtRateZero: a step of AdamW with weight decay leaves factors of rate 0 alone to the bit, and moves
// the others.
func (s subject) freezesAtRateZero(t *testing.T) {
	k := s.kernels[0]
	factors := s.init(t, site(k))
	values := general(factors)
	var before []*mat.Dense
	var rates []float64
	for i, f := range factors {
		before, rates = append(before, mat.DenseCopyOf(values[i])), append(rates, f.Rate)
	}
	objective := NewObjective(testbackend.All(t)[0], s.adapter, linalg.Gaussian(rng.New(5), k.In, k.Out), nil)
	adam := AdamW{WeightDecay: 0.1}
	for range 3 {
		_, _, gradients := objective.At(values)
		adam.Step(values, gradients, 1e-2, rates)
	}
	for i, f := range factors {
		if same := mat.Equal(before[i], values[i]); same != (f.Rate == 0) {
			t.Errorf("%s at rate %g: unchanged is %v", f.Name, f.Rate, same)
		}
	}
}

// survivesAFile: factors written by name and read by name stand for the same ΔK, to the bit.
func (s subject) survivesAFile(t *testing.T) {
	backend, at := testbackend.All(t)[0], site(s.kernels[0])
	factors := s.init(t, at)
	var entries []safetensors.Entry
	var values []*tensors.Tensor
	for i, m := range general(factors) {
		flat := make([]float32, 0, factors[i].Shape[0]*factors[i].Shape[1])
		for _, x := range m.RawMatrix().Data {
			flat = append(flat, float32(x))
		}
		entries = append(entries, safetensors.Entry{Name: at.Name + "." + factors[i].Name, Shape: factors[i].Shape, Data: flat})
		values = append(values, tensors.FromFlatDataAndDimensions(flat, factors[i].Shape...))
	}
	path := filepath.Join(t.TempDir(), "adapter.safetensors")
	if err := writeFile(path, entries); err != nil {
		t.Fatal(err)
	}
	file, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	var loaded []*tensors.Tensor
	for _, f := range factors {
		flat, err := file.Float32(at.Name + "." + f.Name)
		if err != nil {
			t.Fatal(err)
		}
		loaded = append(loaded, tensors.FromFlatDataAndDimensions(flat, f.Shape...))
	}
	delta := func(f []*tensors.Tensor) []float32 {
		return tensors.MustCopyFlatData[float32](MustExecOnce(backend, func(f []*Node) *Node { return s.adapter.Delta(f).Matrix() }, anys(f)...))
	}
	if !sameBits(delta(values), delta(loaded)) {
		t.Error("ΔK changed on its way through a file")
	}
}

// differentiates (T19): the gradient of every factor against central differences. The loss is quadratic
// in each single entry, so the differences are exact up to rounding for a step of any size.
func (s subject) differentiates(t *testing.T, b compute.Backend) {
	for _, k := range s.kernels {
		values := general(s.init(t, site(k)))
		objective := NewObjective(b, s.adapter, linalg.Gaussian(rng.New(6), k.In, k.Out), nil)
		if gap := GradientGap(objective, values); gap > 1e-7 {
			t.Errorf("%s: gradients differ from central differences by %g, relative", k.Name, gap)
		}
	}
}

// GradientGap returns the largest ‖gradient − central difference‖/‖central difference‖ over the factors.
func GradientGap(o *Objective, factors []*mat.Dense) float64 {
	const step = 1e-2
	_, _, gradients := o.At(factors)
	worst := 0.0
	for i, f := range factors {
		numeric, data := mat.NewDense(f.RawMatrix().Rows, f.RawMatrix().Cols, nil), f.RawMatrix().Data
		for j, x := range data {
			data[j] = x + step
			up, _, _ := o.At(factors)
			data[j] = x - step
			down, _, _ := o.At(factors)
			data[j] = x
			numeric.RawMatrix().Data[j] = (up - down) / (2 * step)
		}
		worst = max(worst, gap(gradients[i], numeric))
	}
	return worst
}

// hasOneDelta: Apply, Rows and Pair are those of Matrix, in both precisions.
func (s subject) hasOneDelta(t *testing.T, b compute.Backend) {
	precisions := []dtypes.DType{dtypes.Float64, dtypes.Float32}
	for _, k := range s.kernels {
		var args []any
		for _, v := range general(s.init(t, site(k))) {
			args = append(args, tensorOf(v))
		}
		x, ids := linalg.Gaussian(rng.New(7), 12, k.In), []int32{0, int32(k.In) - 1, 2, 2}
		args = append(args, tensorOf(x), ids)
		// One graph for both, to compile once.
		out := MustExecOnceN(b, func(in []*Node) (out []*Node) {
			for _, dtype := range precisions {
				out = append(out, s.views(in, dtype, k.Out)...)
			}
			return out
		}, args...)
		for i, dtype := range precisions {
			views := out[i*len(out)/2 : (i+1)*len(out)/2]
			for _, v := range views {
				if v.DType() != dtype {
					t.Fatalf("factors of %s give %s", dtype, v.Shape())
				}
			}
			for what, off := range viewGaps(views, x, ids) {
				if tolerance := []float64{1e-12, 1e-5}[i]; !(off <= tolerance) {
					t.Errorf("%s %s: %s is not ΔK's: off by %g, relative", k.Name, dtype, what, off)
				}
			}
			gradients := views[7:]
			for j := range len(gradients) / 2 {
				want := matrixOf(gradients[len(gradients)/2+j])
				if off, tolerance := gap(matrixOf(gradients[j]), want), []float64{1e-12, 1e-5}[i]; !(off <= tolerance) {
					t.Errorf("%s %s: gradient %d is not that through ΔK: off by %g, relative", k.Name, dtype, j, off)
				}
			}
		}
	}
}

// views returns Matrix, Apply of x as it is and in 4-D, Rows of ids as they are and in 2-D, and Pair; then
// gradients of a loss of Apply and of Rows, and the same ones through the multiplied-out ΔK. The last two
// of in are x and ids.
func (s subject) views(in []*Node, dtype dtypes.DType, out int) []*Node {
	last := len(in) - 1
	var f []*Node
	for _, n := range in[:last] {
		f = append(f, ConvertDType(n, dtype))
	}
	delta, x, ids := s.adapter.Delta(f[:last-1]), f[last-1], in[last]
	loraA, loraB := delta.Pair()
	var gradients []*Node
	for _, y := range []*Node{delta.Apply(x), delta.Rows(ids), Dot(x, delta.Matrix()).Product(), Gather(delta.Matrix(), Reshape(ids, -1, 1))} {
		loss := ReduceAllSum(Square(y))
		gradients = append(gradients, Gradient(loss, f[:last-1]...)...)
	}
	return append([]*Node{
		delta.Matrix(),
		delta.Apply(x), Reshape(delta.Apply(Reshape(x, 2, 3, 2, -1)), -1, out),
		delta.Rows(ids), Reshape(delta.Rows(Reshape(ids, 2, 2)), -1, out),
		loraA, loraB,
	}, gradients...)
}

func viewGaps(views []*tensors.Tensor, x *mat.Dense, ids []int32) map[string]float64 {
	delta := matrixOf(views[0])
	var applied, paired mat.Dense
	applied.Mul(x, delta)
	paired.Mul(matrixOf(views[6]), matrixOf(views[5]))
	rows := mat.NewDense(len(ids), delta.RawMatrix().Cols, nil)
	for i, id := range ids {
		rows.SetRow(i, delta.RawRowView(int(id)))
	}
	return map[string]float64{
		"Apply of 2-D":           gap(matrixOf(views[1]), &applied),
		"Apply of 4-D":           gap(matrixOf(views[2]), &applied),
		"Rows":                   gap(matrixOf(views[3]), rows),
		"Rows of 2-D ids":        gap(matrixOf(views[4]), rows),
		"Pair, (lora_B·lora_A)ᵀ": gap(paired.T(), delta),
	}
}

// refusesBadSettings: a bad number is an error that shows it, or the method ignores it and starts finite.
func refusesBadSettings(t *testing.T, m lora.Method) {
	bad := map[string]func(s *lora.Settings){
		"rank 0":           func(s *lora.Settings) { s.Rank = 0 },
		"rank -3":          func(s *lora.Settings) { s.Rank = -3 },
		"rank 3":           func(s *lora.Settings) { s.Rank = 3 },
		"depth 2":          func(s *lora.Settings) { s.Depth = 2 },
		"init scale 0":     func(s *lora.Settings) { s.InitScale = 0 },
		"init scale NaN":   func(s *lora.Settings) { s.InitScale = math.NaN() },
		"gamma -0.5":       func(s *lora.Settings) { s.Gamma = -0.5 },
		"gamma +Inf":       func(s *lora.Settings) { s.Gamma = math.Inf(1) },
		`init "kaming"`:    func(s *lora.Settings) { s.Init = "kaming" },
		"alpha -2":         func(s *lora.Settings) { s.Alpha, s.Init = -2, lora.InitPEFT },
		"alpha 16":         func(s *lora.Settings) { s.Alpha = 16 },
		"alpha 16, others": func(s *lora.Settings) { s.Alpha, s.Init = 16, "" },
	}
	for name, change := range bad {
		s := settings()[0]
		change(&s)
		adapter, err := lora.New(m.Name, s)
		if err != nil {
			value := strings.Trim(strings.TrimSuffix(name[strings.LastIndex(name, " ")+1:], ","), `"`)
			if !strings.Contains(err.Error(), m.Name) || !strings.Contains(err.Error(), value) && !strings.Contains(name, ",") {
				t.Errorf("%s: %q names neither method nor value", name, err)
			}
			continue
		}
		values, rates := Matrices(t, subject{adapter: adapter}.init(t, site(kernels[0])))
		for i, v := range values {
			if norm := mat.Norm(v, 2); norm != norm || math.IsInf(norm, 0) || rates[i] < 0 || math.IsInf(rates[i], 0) {
				t.Errorf("%s: accepted, and factor %d has norm %g, rate %g", name, i, norm, rates[i])
			}
		}
	}
}

// refusesLargeRanks: a rank that a kernel cannot hold is an error that names both, unless the method has none.
func refusesLargeRanks(t *testing.T, m lora.Method) {
	small, large := settings()[0], settings()[0]
	large.Rank = 10
	adapter, err := lora.New(m.Name, large)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kernels {
		if m.Parameters(small, k.In, k.Out) == m.Parameters(large, k.In, k.Out) {
			continue
		}
		_, err := adapter.Init(lora.Site{Name: k.Name, In: k.In, Out: k.Out})
		if err == nil || !strings.Contains(err.Error(), k.Name) || !strings.Contains(err.Error(), "rank 10") {
			t.Errorf("rank 10 on %s [%d %d]: error %v", k.Name, k.In, k.Out, err)
		}
	}
}

func writeFile(path string, entries []safetensors.Entry) error {
	return atomicfile.Write(path, func(w io.Writer) error { return safetensors.Write(w, entries, nil) })
}

// gap is ‖a − b‖/‖b‖, or ‖a‖ where b is zero.
func gap(a, b mat.Matrix) float64 {
	var difference mat.Dense
	difference.Sub(a, b)
	if norm := mat.Norm(b, 2); norm > 0 {
		return mat.Norm(&difference, 2) / norm
	}
	return mat.Norm(a, 2)
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}

func anys[T any](values []T) []any {
	var out []any
	for _, v := range values {
		out = append(out, v)
	}
	return out
}
