package lora

import (
	"errors"
	"fmt"
)

// Variants of LoRA to compare with. Each is vanilla with PEFT's start (W2 uniform, W1 = 0; rslora may have another) and one
// number changed.

// loraPlusRatio is LoRA+'s λ: how much faster the factor that starts at zero learns than the other (Hayou et al.
// 2024, section 5, where 16 served every task).
const loraPlusRatio = 16

// newRSLoRA is rank-stabilised LoRA: ΔK scaled by α/√r instead of α/r, so that the size of an update does not
// fall as the rank grows (Kalajdzievski 2023).
func newRSLoRA(s Settings) (Adapter, error) {
	v, err := newVariant(s)
	if v.start.rooted {
		return v, errors.Join(err, fmt.Errorf("init %s; that is scaled by α/√r already: take method vanilla", s.Init))
	}
	v.root()
	return v, err
}

// newLoRAPlus is LoRA+: W1, which starts at zero, learns loraPlusRatio times as fast as W2.
func newLoRAPlus(s Settings) (Adapter, error) {
	v, err := newVariant(s)
	if err == nil && v.start.name != InitPEFT {
		err = fmt.Errorf("init %s; it starts as %s does, where W1, which learns faster, is zero", s.Init, InitPEFT)
	}
	v.ratio = loraPlusRatio
	return v, err
}

// newVariant is vanilla with PEFT's start, unless the settings ask for another.
func newVariant(s Settings) (*vanilla, error) {
	if s.Init == "" || s.Init == InitReference { // the default; another name stays, and may be refused
		s.Init = InitPEFT
	}
	adapter, err := newVanilla(s)
	return adapter.(*vanilla), err
}
