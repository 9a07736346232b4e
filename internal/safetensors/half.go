package safetensors

import (
	"math"
	"math/bits"
)

// fromF16 widens an IEEE binary16 (1 sign, 5 exponent, 10 fraction bits), exactly.
func fromF16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, fraction := uint32(h>>10)&0x1f, uint32(h)&0x3ff
	switch exponent {
	case 0x1f: // infinity, NaN (payload kept)
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	case 0:
		if fraction == 0 {
			return math.Float32frombits(sign)
		}
		// Subnormal: fraction·2^-24. Move its leading one to bit 10, where it becomes implicit.
		shift := uint32(bits.LeadingZeros32(fraction)) - 21
		exponent = 1 - shift
		fraction = fraction << shift & 0x3ff
	}
	return math.Float32frombits(sign | (exponent+112)<<23 | fraction<<13) // 112 = 127 - 15
}

// toF16 rounds to the nearest binary16, ties to even; 65520 and more become infinite. NaN stays NaN.
func toF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b >> 16 & 0x8000)
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000: // quiet bit set, or a payload in the low bits alone would become infinity
		return sign | 0x7e00 | uint16(b>>13&0x3ff)
	case b >= 0x47800000: // 65536
		return sign | 0x7c00
	case b < 0x33000000: // below 2^-25, half the smallest subnormal
		return sign
	case b < 0x38800000: // below 2^-14: subnormal, in units of 2^-24
		fraction := b&0x7fffff | 0x800000
		return sign | uint16(roundShift(fraction, 126-b>>23))
	}
	// Rounding may carry into the exponent, up to infinity: both are the right answer.
	return sign | uint16(roundShift(b-112<<23, 13))
}

// toBF16 rounds to the nearest bfloat16, ties to even. NaN stays NaN.
func toBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if f != f {
		return uint16(b>>16) | 0x40
	}
	return uint16(roundShift(b, 16))
}

// roundShift is b / 2^n, rounded to nearest, ties to even.
func roundShift(b, n uint32) uint32 {
	half := uint32(1)<<(n-1) - 1
	return (b + half + b>>n&1) >> n
}
