package lora_test

import (
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/lora"
)

// The variants are vanilla with PEFT's start and one number changed: rsLoRA's scale is √r times as large, and in
// LoRA+ W1 learns 16 times as fast.
func TestVariantsDifferFromVanillaByOneNumber(t *testing.T) {
	settings := lora.Settings{Rank: 4, Init: lora.InitPEFT, Alpha: 6}
	const in, out = 7, 5
	plainRates, plainW2, plain := oneKernel(t, "vanilla", settings, in, out)
	for name, want := range map[string]struct{ scale, ratio float64 }{"rslora": {2, 1}, "lora-plus": {1, 16}} {
		t.Run(name, func(t *testing.T) {
			rates, w2, delta := oneKernel(t, name, settings, in, out)
			if rates[0] != want.ratio*plainRates[0] || rates[1] != plainRates[1] {
				t.Errorf("learning-rate multiples of W1 and W2 are %v, vanilla's %v; want W1's %g times that", rates, plainRates, want.ratio)
			}
			for i := range w2 {
				if w2[i] != plainW2[i] {
					t.Fatalf("W2[%d] starts at %g, vanilla's at %g", i, w2[i], plainW2[i])
				}
			}
			for i := range delta {
				if got := delta[i] / plain[i]; math.Abs(got-want.scale) > 1e-5 {
					t.Fatalf("ΔK[%d] is %g times vanilla's, want %g", i, got, want.scale)
				}
			}
		})
	}
}

// oneKernel returns what a method's factors start with, and its ΔK once W1 is all ones.
func oneKernel(t *testing.T, method string, s lora.Settings, in, out int) (rates []float64, w2 []float32, delta []float64) {
	t.Helper()
	adapter, err := lora.New(method, s)
	if err != nil {
		t.Fatal(err)
	}
	factors, err := adapter.Init(lora.Site{Name: "k", In: in, Out: out, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	values := make([]*tensors.Tensor, len(factors))
	for i, f := range factors {
		rates = append(rates, f.Rate)
		if values[i], err = f.Value(); err != nil {
			t.Fatal(err)
		}
	}
	w2 = tensors.MustCopyFlatData[float32](values[1])
	ones := make([]float32, s.Rank*out)
	for i := range ones {
		ones[i] = 1
	}
	values[0] = tensors.FromFlatDataAndDimensions(ones, s.Rank, out)
	chain, err := lora.Chain(testbackend.All(t)[0], adapter, values)
	if err != nil {
		t.Fatal(err)
	}
	return rates, w2, multiply(chain[0], chain[1]).RawMatrix().Data
}
