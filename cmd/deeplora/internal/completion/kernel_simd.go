//go:build amd64 && goexperiment.simd

package completion

import (
	"simd/archsimd"
	"unsafe"
)

// vectors is whether the processor has what the kernels below are made of; else they are those of kernel_plain.go.
var vectors = archsimd.X86.AVX2() && archsimd.X86.FMA()

type vector = archsimd.Float64x4

// load reads four numbers that lie offset bytes behind base: residual.check has seen that they are inside.
func load(base unsafe.Pointer, offset uintptr) vector {
	return archsimd.LoadFloat64x4((*[lanes]float64)(unsafe.Add(base, offset)))
}

func store(base unsafe.Pointer, offset uintptr, v vector) {
	v.Store((*[lanes]float64)(unsafe.Add(base, offset)))
}

// subtract is plainSubtract, four entries at once.
func subtract(e, value []float64, at []uint32, u []float64, v unsafe.Pointer) (square float64) {
	if !vectors {
		return plainSubtract(e, value, at, u, v)
	}
	bytes := uintptr(len(u)) * 8
	up := unsafe.Pointer(&u[0])
	var squares vector
	n := 0
	for ; n+lanes <= len(at); n += lanes {
		a := (*[lanes]uint32)(at[n:])
		p0, p1 := unsafe.Add(v, uintptr(a[0])), unsafe.Add(v, uintptr(a[1]))
		p2, p3 := unsafe.Add(v, uintptr(a[2])), unsafe.Add(v, uintptr(a[3]))
		x := load(up, 0)
		s0, s1, s2, s3 := x.Mul(load(p0, 0)), x.Mul(load(p1, 0)), x.Mul(load(p2, 0)), x.Mul(load(p3, 0))
		for t := uintptr(8 * lanes); t < bytes; t += 8 * lanes {
			x = load(up, t)
			s0, s1 = x.MulAdd(load(p0, t), s0), x.MulAdd(load(p1, t), s1)
			s2, s3 = x.MulAdd(load(p2, t), s2), x.MulAdd(load(p3, t), s3)
		}
		// The four sums of four: pairs within the halves, then the halves.
		s01, s23 := s0.AddPairsGrouped(s1), s2.AddPairsGrouped(s3)
		sums := s01.Select128FromPair(0, 2, s23).Add(s01.Select128FromPair(1, 3, s23))
		d := sums.Sub(archsimd.LoadFloat64x4((*[lanes]float64)(value[n:])))
		d.Store((*[lanes]float64)(e[n:]))
		squares = d.MulAdd(d, squares)
	}
	var four [lanes]float64
	squares.Store(&four)
	square = (four[0] + four[1]) + (four[2] + four[3])
	return square + plainSubtract(e[n:], value[n:], at[n:], u, v)
}

// spread is plainSpread by columns, two vectors of them at once, whose sums stay in registers.
func spread(e []float64, at []uint32, x, sum []float64, v, byCol unsafe.Pointer) {
	if !vectors {
		plainSpread(e, at, x, sum, v, byCol)
		return
	}
	for t := 0; t < len(x); {
		offset := uintptr(t) * 8
		xt, st := unsafe.Pointer(&x[t]), unsafe.Pointer(&sum[t])
		vt, ct := unsafe.Add(v, offset), unsafe.Add(byCol, offset)
		if len(x)-t == lanes {
			spread1(e, at, xt, st, vt, ct)
		} else {
			spread2(e, at, xt, st, vt, ct)
		}
		t += 2 * lanes
	}
}

func spread1(e []float64, at []uint32, x, sum, v, byCol unsafe.Pointer) {
	x0, s0 := load(x, 0), load(sum, 0)
	e = e[:len(at)]
	for n, offset := range at {
		r := archsimd.BroadcastFloat64x4(e[n])
		p, q := unsafe.Add(v, uintptr(offset)), unsafe.Add(byCol, uintptr(offset))
		s0 = r.MulAdd(load(p, 0), s0)
		store(q, 0, r.MulAdd(x0, load(q, 0)))
	}
	store(sum, 0, s0)
}

func spread2(e []float64, at []uint32, x, sum, v, byCol unsafe.Pointer) {
	const w = 8 * lanes
	x0, x1, s0, s1 := load(x, 0), load(x, w), load(sum, 0), load(sum, w)
	e = e[:len(at)]
	for n, offset := range at {
		r := archsimd.BroadcastFloat64x4(e[n])
		p, q := unsafe.Add(v, uintptr(offset)), unsafe.Add(byCol, uintptr(offset))
		s0, s1 = r.MulAdd(load(p, 0), s0), r.MulAdd(load(p, w), s1)
		store(q, 0, r.MulAdd(x0, load(q, 0)))
		store(q, w, r.MulAdd(x1, load(q, w)))
	}
	store(sum, 0, s0)
	store(sum, w, s1)
}
