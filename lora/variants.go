package lora

import "math"

// Variants of LoRA to compare with. Each is vanilla with PEFT's start (W2 uniform, W1 = 0) and one number changed.

// loraPlusRatio is LoRA+'s λ: how much faster the factor that starts at zero learns than the other (Hayou et al.
// 2024, section 5, where 16 served every task).
const loraPlusRatio = 16

// newRSLoRA is rank-stabilised LoRA: ΔK scaled by α/√r instead of α/r, so that the size of an update does not
// fall as the rank grows (Kalajdzievski 2023).
func newRSLoRA(s Settings) (Adapter, error) {
	v, err := newVariant(s)
	v.scale *= math.Sqrt(float64(s.Rank))
	return v, err
}

// newLoRAPlus is LoRA+: W1, which starts at zero, learns loraPlusRatio times as fast as W2.
func newLoRAPlus(s Settings) (Adapter, error) {
	v, err := newVariant(s)
	v.ratio = loraPlusRatio
	return v, err
}

// newVariant is vanilla with PEFT's start, which the settings need not ask for.
func newVariant(s Settings) (*vanilla, error) {
	if s.Init == "" || s.Init == InitReference { // the default; another name stays, and is refused
		s.Init = InitPEFT
	}
	adapter, err := newVanilla(s)
	return adapter.(*vanilla), err
}
