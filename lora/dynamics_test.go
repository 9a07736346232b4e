package lora_test

import (
	"math"
	"testing"

	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/lora/loratest"
)

// T26: a common rotation of left and right changes nothing under gradient descent, and something under Adam.
func TestT26Rotation(t *testing.T) {
	if testing.Short() {
		t.Skip("12,000 steps")
	}
	const d, r, steps, epsilon, gamma = 30, 3, 6000, 1e-2, 0.01
	s := rng.New(26)
	target := lowRank(s, d, []float64{10, 6, 3})
	mask := mat.NewDense(d, d, nil)
	mask.Apply(func(int, int, float64) float64 { return float64(s.IntN(2)) }, mask)
	var first mat.Dense // the gradient at ΔK = 0
	first.MulElem(mask, target)
	first.Scale(-1, &first)
	left, right, err := lora.Compress(first.RawMatrix().Data, d, d, 2*r, s.At(1))
	if err != nil {
		t.Fatal(err)
	}
	turn := linalg.Haar(s, 2*r, 2*r)
	start := func(rotate bool) []*mat.Dense {
		f := []*mat.Dense{scaled(epsilon, 2*r), scaled(epsilon, 2*r), scaled(epsilon, 2*r), mat.DenseCopyOf(left), mat.DenseCopyOf(right)}
		if rotate {
			f[3], f[4] = multiply(left, turn), multiply(right, turn)
		}
		return f
	}
	a := newAdapter(t, "deep-compressed", func(s *lora.Settings) { s.Rank = 2 * r })
	o := loratest.NewObjective(testbackend.All(t)[0], a, target, mask)
	rates := []float64{1, 1, 1, gamma, gamma}

	plain, turned := start(false), start(true)
	firstLoss, lastLoss, worst := 0.0, 0.0, 0.0
	for step := range steps {
		loss, delta, gradients := o.At(plain)
		_, rotated, rotatedGradients := o.At(turned)
		if step == 0 {
			firstLoss = loss
		}
		lastLoss = loss
		worst = max(worst, maxGap(delta, rotated))
		descend(plain, gradients, 1e-2, rates)
		descend(turned, rotatedGradients, 1e-2, rates)
	}
	if lastLoss > 0.5*firstLoss {
		t.Errorf("loss %g of %g at the end: still on the plateau, which proves nothing", lastLoss, firstLoss)
	}
	if worst > 1e-9 {
		t.Errorf("gradient descent: ΔK differs by %g", worst)
	}

	plain, turned, worst = start(false), start(true), 0.0
	var adam, adamTurned loratest.AdamW
	for range 50 {
		_, delta, gradients := o.At(plain)
		_, rotated, rotatedGradients := o.At(turned)
		worst = max(worst, maxGap(delta, rotated))
		adam.Step(plain, gradients, 1e-2, rates)
		adamTurned.Step(turned, rotatedGradients, 1e-2, rates)
	}
	if worst < 1e-6 {
		t.Errorf("Adam: ΔK differs by %g only; it is not rotation invariant", worst)
	}
}

// T27: in the aligned basis, where wide factors are ε·I, Adam on deep-wide and on the small problem are the
// same numbers, and nothing leaks into the rest.
func TestT27AdamInTheAlignedBasis(t *testing.T) {
	const d, r, epsilon = 40, 3, 1e-2
	s := rng.New(27)
	target := lowRank(s, d, []float64{10, 6, 3})
	var first mat.Dense
	first.Scale(-1, target)
	left, right, err := lora.Compress(first.RawMatrix().Data, d, d, 2*r, s.At(1))
	if err != nil {
		t.Fatal(err)
	}
	small := multiply(left.T(), target, right)
	aligned := mat.NewDense(d, d, nil)
	aligned.Slice(0, 2*r, 0, 2*r).(*mat.Dense).Copy(small)

	backend := testbackend.All(t)[0]
	wide := loratest.NewObjective(backend, newAdapter(t, "deep-wide", func(*lora.Settings) {}), aligned, nil)
	narrow := loratest.NewObjective(backend, newAdapter(t, "deep-narrow", func(s *lora.Settings) { s.Rank = 2 * r }), small, nil)
	large := []*mat.Dense{scaled(epsilon, d), scaled(epsilon, d), scaled(epsilon, d)}
	little := []*mat.Dense{scaled(epsilon, 2*r), scaled(epsilon, 2*r), scaled(epsilon, 2*r)}
	var adamLarge, adamLittle loratest.AdamW
	rates := []float64{1, 1, 1}
	for step := range 201 {
		_, delta, gradients := wide.At(large)
		_, littleDelta, littleGradients := narrow.At(little)
		if gap := maxGap(delta.Slice(0, 2*r, 0, 2*r), littleDelta); gap > 1e-9 {
			t.Fatalf("step %d: the upper blocks differ by %g", step, gap)
		}
		adamLarge.Step(large, gradients, 1e-2, rates)
		adamLittle.Step(little, littleGradients, 1e-2, rates)
	}
	for l, w := range large {
		for _, block := range []mat.Matrix{w.Slice(0, 2*r, 2*r, d), w.Slice(2*r, d, 0, 2*r)} {
			if mat.Norm(block, 2) != 0 {
				t.Errorf("W%d: the off-diagonal block is not zero", l+1)
			}
		}
	}
	if _, delta, _ := narrow.At(little); relative(delta, small) > 0.5 {
		t.Errorf("after 200 steps ΔK is %g from its target: it learnt nothing, which proves nothing", relative(delta, small))
	}
}

// lowRank returns a d × d matrix with these singular values.
func lowRank(s *rng.Stream, d int, values []float64) *mat.Dense {
	return multiply(linalg.Haar(s, d, len(values)), mat.NewDiagDense(len(values), values), linalg.Haar(s, d, len(values)).T())
}

func maxGap(a, b mat.Matrix) float64 {
	var gap mat.Dense
	gap.Sub(a, b)
	worst := 0.0
	for _, x := range gap.RawMatrix().Data {
		worst = max(worst, math.Abs(x))
	}
	return worst
}
