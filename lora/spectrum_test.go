package lora_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/lora"
)

// The spectrum from the factors is that of ΔK multiplied out, in chains of every kind.
func TestDecomposeAgreesWithTheProduct(t *testing.T) {
	for _, dims := range [][]int{{30, 4, 20}, {20, 4, 4, 4, 4, 30}, {9, 12, 12, 6}, {6, 9, 9}, {7, 5}, {5, 7, 1, 8}, {12, 3, 8, 12}} {
		t.Run(fmt.Sprint(dims), func(t *testing.T) {
			s := rng.New(1, t.Name())
			var chain []*mat.Dense
			var factors []mat.Matrix
			narrowest := dims[0]
			for i := range len(dims) - 1 {
				f := linalg.Gaussian(s, dims[i], dims[i+1])
				chain, factors = append(chain, f), append(factors, f)
				narrowest = min(narrowest, dims[i+1])
			}
			got, err := lora.Decompose(chain)
			if err != nil {
				t.Fatal(err)
			}
			product := multiply(factors...)
			want := linalg.SingularValues(product)
			for i, v := range want {
				if i >= len(got.Values) {
					if v > 1e-10*want[0] {
						t.Errorf("value %d, %g, is missing", i, v)
					}
				} else if math.Abs(v-got.Values[i]) > 1e-11*want[0] {
					t.Errorf("value %d: %v, want %v", i, got.Values[i], v)
				}
			}
			if got.Rank(1e-9) != narrowest {
				t.Errorf("rank %d, want %d", got.Rank(1e-9), narrowest)
			}
			k := len(got.Values)
			rebuilt := multiply(got.U, mat.NewDiagDense(k, got.Values), got.V.T())
			if gap := relative(rebuilt, product); gap > 1e-12 {
				t.Errorf("U·S·Vᵀ: off by %g, relative", gap)
			}
			within(t, "gram of U", gram(got.U), identity(k), 1e-12)
			within(t, "gram of V", gram(got.V), identity(k), 1e-12)
		})
	}
}

// An embedding's ΔK would be 28,996 × 28,996 here; the factors are all there is.
func TestDecomposeFormsNoProduct(t *testing.T) {
	const n = 28996
	s := rng.New(2)
	q := linalg.Haar(s, n, 3)
	right := mat.DenseCopyOf(linalg.Haar(s, n, 3).T())
	got, err := lora.Decompose([]*mat.Dense{q, mat.DenseCopyOf(mat.NewDiagDense(3, []float64{5, 3, 1e-9})), right})
	if err != nil {
		t.Fatal(err)
	}
	withinSlice(t, "values", got.Values, []float64{5, 3, 1e-9}, 1e-13)
	if got.Rank(1e-6) != 2 || math.Abs(got.EffectiveRank()-math.Exp(-(5./8)*math.Log(5./8)-(3./8)*math.Log(3./8))) > 1e-6 {
		t.Errorf("rank %d, effective rank %v", got.Rank(1e-6), got.EffectiveRank())
	}
	input, output := got.Angles(lora.Spectrum{U: q, Values: got.Values, V: mat.DenseCopyOf(right.T())}, 2, 2)
	if len(input) != 2 || input[1] > 1e-7 || output[1] > 1e-7 {
		t.Errorf("angles to itself: %v, %v", input, output)
	}
}

func TestDecomposeOfNothing(t *testing.T) {
	zero, err := lora.Decompose([]*mat.Dense{mat.NewDense(9, 2, nil), mat.NewDense(2, 6, nil)})
	if err != nil || zero.EffectiveRank() != 0 || zero.Rank(1e-9) != 0 {
		t.Errorf("a ΔK of zero: %v, error %v", zero.Values, err)
	}
	if input, _ := zero.Angles(zero, 0, 1); input != nil {
		t.Errorf("no directions have the angles %v", input)
	}
	if _, err := lora.Decompose(nil); err == nil {
		t.Error("no factors: no error")
	}
	if _, err := lora.Decompose([]*mat.Dense{mat.NewDense(9, 2, nil), mat.NewDense(3, 6, nil)}); err == nil {
		t.Error("factors that do not chain: no error")
	}
	if _, err := lora.Decompose([]*mat.Dense{mat.NewDense(3, 3, []float64{0, 0, 0, 0, math.NaN(), 0, 0, 0, 0})}); err == nil {
		t.Error("NaN: no error")
	}
}

// The leading triples of a matrix are those that its full decomposition begins with, and a part of them lies
// within more of them.
func TestLeadingIsTheBeginningOfTheSpectrum(t *testing.T) {
	s := rng.New(3)
	a := multiply(linalg.Haar(s, 90, 6), mat.NewDiagDense(6, []float64{9, 5, 3, 1, 0.1, 0.01}), linalg.Haar(s, 80, 6).T())
	all, err := lora.Decompose([]*mat.Dense{a})
	if err != nil {
		t.Fatal(err)
	}
	top, err := lora.Leading(tensors.FromFlatDataAndDimensions(a.RawMatrix().Data, 90, 80), 4)
	if err != nil {
		t.Fatal(err)
	}
	withinSlice(t, "values", top.Values, all.Values[:4], 1e-9)
	if norm := all.Norm(); math.Abs(norm-math.Sqrt(81+25+9+1+0.0101)) > 1e-12 {
		t.Errorf("norm %v", norm)
	}
	input, output := all.Angles(top, 2, 4)
	if len(input) != 2 || len(output) != 2 || input[1] > 1e-7 || output[1] > 1e-7 {
		t.Errorf("two directions within four: angles %v, %v", input, output)
	}
	if _, err := lora.Leading(tensors.FromFlatDataAndDimensions([]float32{1, 2}, 2), 1); err == nil {
		t.Error("a vector: no error")
	}
	if _, err := lora.Leading(tensors.FromFlatDataAndDimensions([]int32{1, 2}, 1, 2), 1); err == nil {
		t.Error("integers: no error")
	}
}
