package lora

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/nearest"
)

// pair is W1 [r, out] and W2 [in, r] of vanilla.
type pair struct{ w1, w2 mat.Matrix }

// start is a way for vanilla's factors to begin. Formulas and sources: method.md 2.6.
type start struct {
	name string
	// draw gives the factors of one kernel, for ΔK = scale·W2·W1.
	draw func(s Site, rank int, scale float64) (pair, error)
	// directions is how many leading singular directions it takes, in ranks: a kernel has no more than its smaller side.
	directions int
	gradient   bool // it calls Site.Gradient
	// residual: the authors take scale·W2·W1 out of the frozen kernel, so that the model begins as it was. Here the kernel
	// is never changed: what is taken out is kept beside the factors, frozen, and subtracted in Delta.
	residual bool
	unscaled bool // there is no α
	rooted   bool // ΔK is scaled by α/√r, as its authors do, instead of α/r
}

var starts = []start{
	{name: InitReference, draw: referenceStart, directions: 1, unscaled: true},
	{name: InitPEFT, draw: peftStart, directions: 1},
	{name: InitLoRAGA, draw: gradientStart, directions: 2, gradient: true, residual: true},
	{name: InitLoRAOne, draw: stepStart, directions: 1, gradient: true, rooted: true},
	{name: InitPiSSA, draw: principalStart, directions: 1, residual: true},
}

// lookupStart finds a start by its name; an empty one is the reference's.
func lookupStart(name string) (start, error) {
	if name == "" {
		name = InitReference
	}
	var names []string
	for _, s := range starts {
		if s.name == name {
			return s, nil
		}
		names = append(names, s.name)
	}
	return start{}, fmt.Errorf("unknown init %q; nearest: %s (known: %s)", name, nearest.Of(name, names), strings.Join(names, " "))
}

// Starts are the names that Settings.Init may have: InitReference and InitPEFT, then those from a gradient or a kernel.
func Starts() (names []string) {
	for _, s := range starts {
		names = append(names, s.name)
	}
	return names
}

// TakesGradient reports whether factors of these settings call Site.Gradient: a trainer plans the memory for it.
func (m Method) TakesGradient(s Settings) bool {
	return m.FirstGradient || m.starts && slices.ContainsFunc(starts, func(start start) bool { return start.name == s.Init && start.gradient })
}

// referenceStart: W1 ~ N(0, 1), W2 = 0.
func referenceStart(s Site, rank int, _ float64) (pair, error) {
	return pair{linalg.Gaussian(s.stream().At(1), rank, s.Out), mat.NewDense(s.In, rank, nil)}, nil
}

// peftStart: W1 = 0, W2 Kaiming-uniform.
func peftStart(s Site, rank int, _ float64) (pair, error) {
	return pair{mat.NewDense(rank, s.Out, nil), kaiming(s, rank)}, nil
}

// gammaGA is LoRA-GA's γ for its stable scale.
const gammaGA = 16

// gradientStart is LoRA-GA's: of the gradient's singular directions W2 has the first r of the input side, W1 the next r
// of the output side, both of norm out^¼/√γ.
func gradientStart(s Site, rank int, _ float64) (pair, error) {
	top, err := leadingGradient(s, 2*rank, nil)
	if err != nil {
		return pair{}, err
	}
	size := math.Sqrt(math.Sqrt(float64(s.Out)) / gammaGA)
	var w1, w2 mat.Dense
	w1.Scale(size, top.V.Slice(0, s.Out, rank, 2*rank).T())
	w2.Scale(size, top.U.Slice(0, s.In, 0, rank))
	return pair{&w1, &w2}, nil
}

// gammaOne is LoRA-One's γ.
const gammaOne = 128

// stepStart is LoRA-One's: W2·W1 is the best approximation of rank r of −G/(γ·σ₁), a step down the gradient G, of which
// each factor has the square root. Where G is zero so are they: it names no direction.
func stepStart(s Site, rank int, _ float64) (pair, error) {
	top, err := leadingGradient(s, rank, nil)
	if err != nil {
		return pair{}, err
	}
	roots := make([]float64, rank)
	for i := range roots {
		if largest := top.Values[0]; largest > 0 {
			roots[i] = math.Sqrt(top.Values[i] / largest / gammaOne)
		}
	}
	down, up := columnsTimes(top.U, roots), columnsTimes(top.V, roots)
	down.Scale(-1, down)
	return pair{up.T(), down}, nil
}

// principalStart is PiSSA's: scale·W2·W1 is the best approximation of rank r of the kernel itself.
func principalStart(s Site, rank int, scale float64) (pair, error) {
	kernel, err := s.Weight()
	if err != nil {
		return pair{}, s.fault("weight: %w", err)
	}
	if shape := kernel.Shape(); !slices.Equal(shape.Dimensions, []int{s.In, s.Out}) {
		return pair{}, s.fault("its weight is %s", shape)
	}
	top, err := Leading(kernel, rank)
	if err != nil {
		return pair{}, s.fault("weight: %w", err)
	}
	roots := make([]float64, rank)
	for i := range roots {
		roots[i] = math.Sqrt(top.Values[i] / scale)
	}
	return pair{columnsTimes(top.V, roots).T(), columnsTimes(top.U, roots)}, nil
}

// columnsTimes is m·diag(by).
func columnsTimes(m *mat.Dense, by []float64) *mat.Dense {
	var product mat.Dense
	product.Mul(m, mat.NewDiagDense(len(by), by))
	return &product
}

// leadingGradient returns the k leading singular triples of the kernel's gradient, or of what change makes of each of
// its entries.
func leadingGradient(s Site, k int, change func(float64) float64) (top Spectrum, err error) {
	err = s.useGradient("decompose", func(gradient *tensors.Tensor) error {
		if change != nil {
			if gradient, err = changed(gradient, change); err != nil {
				return err
			}
		}
		top, err = Leading(gradient, k)
		return err
	})
	return top, err
}

// changed is a float32 tensor of what change makes of each entry.
func changed(t *tensors.Tensor, change func(float64) float64) (*tensors.Tensor, error) {
	flat := make([]float32, t.Shape().Size())
	var err error
	switch t.DType() {
	case dtypes.Float32:
		err = tensors.ConstFlatData(t, func(g []float32) { changeEach(flat, g, change) })
	case dtypes.Float64:
		err = tensors.ConstFlatData(t, func(g []float64) { changeEach(flat, g, change) })
	default:
		err = fmt.Errorf("it is of dtype %s, want float32 or float64", t.DType())
	}
	return tensors.FromFlatDataAndDimensions(flat, t.Shape().Dimensions...), err
}

func changeEach[T float32 | float64](to []float32, from []T, change func(float64) float64) {
	for i, x := range from {
		to[i] = float32(change(float64(x)))
	}
}
