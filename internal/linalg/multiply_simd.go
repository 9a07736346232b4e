//go:build amd64 && goexperiment.simd

package linalg

import "simd/archsimd"

func registerTile() tile {
	switch {
	case archsimd.X86.AVX512():
		return tile{8, 16, add8x16}
	case archsimd.X86.AVX2() && archsimd.X86.FMA():
		return tile{4, 8, add4x8}
	default:
		return tile{}
	}
}

// add4x8 keeps 4 × 8 sums in eight registers of four numbers.
func add4x8(depth int, a, b, dst []float64, stride int) {
	var s00, s01, s10, s11, s20, s21, s30, s31 archsimd.Float64x4
	for range depth {
		x, y := (*[4]float64)(a), (*[8]float64)(b)
		b0, b1 := archsimd.LoadFloat64x4((*[4]float64)(y[:4])), archsimd.LoadFloat64x4((*[4]float64)(y[4:]))
		v := archsimd.BroadcastFloat64x4(x[0])
		s00, s01 = v.MulAdd(b0, s00), v.MulAdd(b1, s01)
		v = archsimd.BroadcastFloat64x4(x[1])
		s10, s11 = v.MulAdd(b0, s10), v.MulAdd(b1, s11)
		v = archsimd.BroadcastFloat64x4(x[2])
		s20, s21 = v.MulAdd(b0, s20), v.MulAdd(b1, s21)
		v = archsimd.BroadcastFloat64x4(x[3])
		s30, s31 = v.MulAdd(b0, s30), v.MulAdd(b1, s31)
		a, b = a[4:], b[8:]
	}
	addTo4(dst, s00, s01)
	addTo4(dst[stride:], s10, s11)
	addTo4(dst[2*stride:], s20, s21)
	addTo4(dst[3*stride:], s30, s31)
}

func addTo4(dst []float64, x, y archsimd.Float64x4) {
	low, high := (*[4]float64)(dst), (*[4]float64)(dst[4:])
	archsimd.LoadFloat64x4(low).Add(x).Store(low)
	archsimd.LoadFloat64x4(high).Add(y).Store(high)
}

// add8x16 keeps 8 × 16 sums in sixteen registers of eight numbers.
func add8x16(depth int, a, b, dst []float64, stride int) {
	var s00, s01, s10, s11, s20, s21, s30, s31, s40, s41, s50, s51, s60, s61, s70, s71 archsimd.Float64x8
	for range depth {
		x, y := (*[8]float64)(a), (*[16]float64)(b)
		b0, b1 := archsimd.LoadFloat64x8((*[8]float64)(y[:8])), archsimd.LoadFloat64x8((*[8]float64)(y[8:]))
		v := archsimd.BroadcastFloat64x8(x[0])
		s00, s01 = v.MulAdd(b0, s00), v.MulAdd(b1, s01)
		v = archsimd.BroadcastFloat64x8(x[1])
		s10, s11 = v.MulAdd(b0, s10), v.MulAdd(b1, s11)
		v = archsimd.BroadcastFloat64x8(x[2])
		s20, s21 = v.MulAdd(b0, s20), v.MulAdd(b1, s21)
		v = archsimd.BroadcastFloat64x8(x[3])
		s30, s31 = v.MulAdd(b0, s30), v.MulAdd(b1, s31)
		v = archsimd.BroadcastFloat64x8(x[4])
		s40, s41 = v.MulAdd(b0, s40), v.MulAdd(b1, s41)
		v = archsimd.BroadcastFloat64x8(x[5])
		s50, s51 = v.MulAdd(b0, s50), v.MulAdd(b1, s51)
		v = archsimd.BroadcastFloat64x8(x[6])
		s60, s61 = v.MulAdd(b0, s60), v.MulAdd(b1, s61)
		v = archsimd.BroadcastFloat64x8(x[7])
		s70, s71 = v.MulAdd(b0, s70), v.MulAdd(b1, s71)
		a, b = a[8:], b[16:]
	}
	addTo8(dst, s00, s01)
	addTo8(dst[stride:], s10, s11)
	addTo8(dst[2*stride:], s20, s21)
	addTo8(dst[3*stride:], s30, s31)
	addTo8(dst[4*stride:], s40, s41)
	addTo8(dst[5*stride:], s50, s51)
	addTo8(dst[6*stride:], s60, s61)
	addTo8(dst[7*stride:], s70, s71)
}

func addTo8(dst []float64, x, y archsimd.Float64x8) {
	low, high := (*[8]float64)(dst), (*[8]float64)(dst[8:])
	archsimd.LoadFloat64x8(low).Add(x).Store(low)
	archsimd.LoadFloat64x8(high).Add(y).Store(high)
}
