package completion

import "unsafe"

// Kernels in plain Go. Those called plain… serve processors and builds without vectors, and tests compare the others
// with them.

// number is the n-th number behind base + offset bytes.
func number(base unsafe.Pointer, offset uint32, n int) *float64 {
	return (*float64)(unsafe.Add(base, uintptr(offset)+uintptr(n)*8))
}

// plainSubtract sets e[n] to u·v_n - value[n], v_n the row of V at at[n], and returns the sum of squares.
func plainSubtract(e, value []float64, at []uint32, u []float64, v unsafe.Pointer) (square float64) {
	for n, offset := range at {
		sum := 0.0
		for t, x := range u {
			sum += x * *number(v, offset, t)
		}
		e[n] = sum - value[n]
		square += e[n] * e[n]
	}
	return square
}

// plainSpread adds e[n]·v_n to sum and e[n]·x to the row of byCol at at[n].
func plainSpread(e []float64, at []uint32, x, sum []float64, v, byCol unsafe.Pointer) {
	for n, offset := range at {
		for t := range sum {
			sum[t] += e[n] * *number(v, offset, t)
			*number(byCol, offset, t) += e[n] * x[t]
		}
	}
}

// rowTimes sets dst [stride] to the row a [k] times b [k, stride].
func rowTimes(dst, a, b []float64) {
	clear(dst)
	for p, x := range a {
		for t, y := range b[p*len(dst):][:len(dst)] {
			dst[t] += x * y
		}
	}
}

// addOuter adds the column a [k] times the row b [stride] to dst [k, stride].
func addOuter(dst, a, b []float64) {
	for p, x := range a {
		for t, y := range b {
			dst[p*len(b)+t] += x * y
		}
	}
}

func dot(a, b []float64) float64 {
	sum := 0.0
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}

func addTo(dst, a []float64) {
	for i, x := range a {
		dst[i] += x
	}
}
