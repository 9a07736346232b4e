//go:build amd64 && goexperiment.simd

package linalg

import (
	"simd/archsimd"
	"unsafe"
)

// vectorised is whether the processor has what the kernels below are made of; else they are the plain ones.
var vectorised = archsimd.X86.AVX2()

// at is the address of the four numbers from v[n] on, which are inside of what v points into.
func at(v unsafe.Pointer, n int) *[lanes]float64 { return (*[lanes]float64)(unsafe.Add(v, 8*n)) }

// widen is plainWiden.
func widen(to []float64, from []float32) {
	n, whole := 0, min(len(to), len(from))&^(lanes-1)
	if vectorised && whole > 0 {
		wide, narrow := unsafe.Pointer(&to[0]), unsafe.Pointer(&from[0])
		for ; n < whole; n += lanes {
			archsimd.LoadFloat32x4((*[lanes]float32)(unsafe.Add(narrow, 4*n))).ConvertToFloat64().Store(at(wide, n))
		}
	}
	plainWiden(to[n:], from[n:])
}

// addDots is plainAddDots to the bit: no product is fused with its sum.
func addDots(sums *[lanes][lanes]float64, b *block, x [][lanes]float64) {
	if !vectorised {
		plainAddDots(sums, b, x)
		return
	}
	x = x[:min(len(x), strip)]
	s0, s1 := archsimd.LoadFloat64x4(&sums[0]), archsimd.LoadFloat64x4(&sums[1])
	s2, s3 := archsimd.LoadFloat64x4(&sums[2]), archsimd.LoadFloat64x4(&sums[3])
	r0, r1, r2, r3 := b[0][:len(x)], b[1][:len(x)], b[2][:len(x)], b[3][:len(x)]
	for j := range x {
		v := archsimd.LoadFloat64x4(&x[j])
		s0 = s0.Add(archsimd.BroadcastFloat64x4(r0[j]).Mul(v))
		s1 = s1.Add(archsimd.BroadcastFloat64x4(r1[j]).Mul(v))
		s2 = s2.Add(archsimd.BroadcastFloat64x4(r2[j]).Mul(v))
		s3 = s3.Add(archsimd.BroadcastFloat64x4(r3[j]).Mul(v))
	}
	s0.Store(&sums[0])
	s1.Store(&sums[1])
	s2.Store(&sums[2])
	s3.Store(&sums[3])
}

// addRows is plainAddRows to the bit.
func addRows(z []float64, w *[lanes]float64, b *block) {
	n, whole := 0, min(len(z), strip)&^(lanes-1)
	if vectorised && whole > 0 {
		to, r0, r1, r2, r3 := unsafe.Pointer(&z[0]), unsafe.Pointer(&b[0]), unsafe.Pointer(&b[1]), unsafe.Pointer(&b[2]), unsafe.Pointer(&b[3])
		w0, w1 := archsimd.BroadcastFloat64x4(w[0]), archsimd.BroadcastFloat64x4(w[1])
		w2, w3 := archsimd.BroadcastFloat64x4(w[2]), archsimd.BroadcastFloat64x4(w[3])
		for ; n < whole; n += lanes {
			sum := w0.Mul(archsimd.LoadFloat64x4(at(r0, n))).Add(w1.Mul(archsimd.LoadFloat64x4(at(r1, n))))
			sum = sum.Add(w2.Mul(archsimd.LoadFloat64x4(at(r2, n)))).Add(w3.Mul(archsimd.LoadFloat64x4(at(r3, n))))
			archsimd.LoadFloat64x4(at(to, n)).Add(sum).Store(at(to, n))
		}
	}
	plainAddRows(z, w, b, n)
}
