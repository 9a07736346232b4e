package model

import (
	"hash/fnv"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// counter is where the mask called name starts on the cycle of counters, and the word mixed in later.
func counter(key [2]uint32, name string) (start, word uint32) {
	h := fnv.New64a()
	h.Write([]byte(name))
	id := h.Sum64()
	start = key[0] ^ uint32(id)
	start = (start ^ start>>16) * 0x85EBCA6B
	start = (start ^ start>>13) * 0xC2B2AE35
	return start ^ start>>16, key[1] ^ uint32(id>>32)
}

const stride = 0x9E3779B1

// hashAt is element i of Dropout.hash, in plain Go.
func hashAt(key [2]uint32, name string, i uint32) uint32 {
	start, word := counter(key, name)
	x := i*stride + start
	x = (x^x>>16)*0x85EBCA6B ^ word
	x = (x ^ x>>13) * 0xC2B2AE35
	return x ^ x>>16
}

func plainHash(key [2]uint32, name string, n int) []uint32 {
	hashes := make([]uint32, n)
	for i := range hashes {
		hashes[i] = hashAt(key, name, uint32(i))
	}
	return hashes
}

const layer0 = "bert.encoder.layer.0.output"

// Both engines draw the very bits that plain Go does: a run does not depend on where it is computed, and a
// change of the hash, which would change every training, cannot happen unseen.
func TestDropoutBits(t *testing.T) {
	if got, want := plainHash([2]uint32{1, 2}, layer0, 3), []uint32{0xd82bd61c, 0xaf31e137, 0x1e7fb5d3}; !slices.Equal(got, want) {
		t.Errorf("hashes %#x, want %#x: the algorithm has changed", got, want)
	}
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		exec := MustNewExec(b, func(in []*Node) []*Node {
			d := &Dropout{Key: in[0]}
			return []*Node{d.hash(layer0, d.counter(leadRows, 5000)), d.hash("embeddings", d.counter(leadNone, 7))}
		})
		defer exec.Finalize()
		for _, key := range [][2]uint32{{0, 0}, {1, 2}, {math.MaxUint32, 0x80000000}} {
			out := exec.MustCall(key[:])
			if got := out[0].Value().([]uint32); !slices.Equal(got, plainHash(key, layer0, 5000)) {
				t.Errorf("key %v: hashes differ from plain Go's", key)
			}
			if got := out[1].Value().([]uint32); !slices.Equal(got, plainHash(key, "embeddings", 7)) {
				t.Errorf("key %v: hashes of another mask differ from plain Go's", key)
			}
		}
	})
}

// apply keeps with probability 1-p and scales by 1/(1-p), in forward and backward alike; without a key, or at
// p = 0, it is the identity.
func TestDropoutApply(t *testing.T) {
	const rows, cols = 100, 200
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, p := range []float64{0.1, 0.5, 0.9} {
			exec := MustNewExec(b, func(in []*Node) []*Node {
				x := Iota(in[0].Graph(), shape(dtypes.Float32, rows, cols), 1)
				x = AddScalar(x, 1) // nothing is 0 by itself
				y := (&Dropout{Key: in[0]}).apply(layer0, p, x, leadRows)
				return []*Node{y, Gradient(ReduceAllSum(y), x)[0]}
			})
			out := exec.MustCall([]uint32{3, 4})
			y, dy := wide(out[0]), wide(out[1])
			threshold, kept := uint32(math.Round(p*(1<<32))), 0
			for i, h := range plainHash([2]uint32{3, 4}, layer0, rows*cols) {
				scale := 0.0
				if h >= threshold {
					scale = 1 / (1 - p)
					kept++
				}
				if want := scale * float64(i%cols+1); math.Abs(y[i]-want) > 1e-6*want || math.Abs(dy[i]-scale) > 1e-6*scale {
					t.Fatalf("p %g, element %d: %g with derivative %g, want %g and %g", p, i, y[i], dy[i], want, scale)
				}
			}
			within(t, "share kept", float64(kept)/(rows*cols), 1-p, math.Sqrt(p*(1-p)/(rows*cols)))
			exec.Finalize()
		}
		off := MustNewExec(b, func(in []*Node) []*Node {
			x := ConvertDType(in[0], dtypes.Float32)
			var none *Dropout
			return []*Node{x, none.apply("a", 0.5, x, leadRows), (&Dropout{Key: in[0]}).apply("a", 0, x, leadRows)}
		})
		defer off.Finalize()
		out := off.MustCall([]uint32{3, 4})
		for i, y := range out[1:] {
			if !slices.Equal(wide(y), wide(out[0])) {
				t.Errorf("case %d: dropout that is off changes %v to %v", i, wide(out[0]), wide(y))
			}
		}
	})
}

// The masks of parts of a batch are the parts of its masks, by rows and by examples.
func TestDropoutOfParts(t *testing.T) {
	const p = 0.3
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		exec := MustNewExec(b, func(in []*Node) []*Node {
			d := &Dropout{Key: in[0], Rows: in[1], Examples: in[2]}
			one := func(dims ...int) *Node { return Ones(in[0].Graph(), shape(dtypes.Float32, dims...)) }
			return []*Node{
				d.apply("tokens", p, one(2*5, 7), leadRows), // of 2 rows of 5 tokens
				d.apply("scores", p, one(2, 3, 5, 5), leadRows),
				d.apply("pooled", p, one(3, 7), leadExamples),
				d.apply("table", p, one(4, 7), leadNone),
			}
		})
		defer exec.Finalize()
		key, rows, examples := [2]uint32{5, 6}, []int32{3, 1}, []int32{4, 0, 2}
		out := exec.MustCall(key[:], rows, examples)
		for i, of := range []struct {
			name   string
			each   int
			places []int32
		}{{"tokens", 5 * 7, rows}, {"scores", 3 * 5 * 5, rows}, {"pooled", 7, examples}, {"table", 4 * 7, []int32{0}}} {
			whole, got := mask(key, of.name, 5*of.each, p), wide(out[i])
			for part, place := range of.places {
				for j := range of.each {
					kept, want := got[part*of.each+j] != 0, whole[int(place)*of.each+j] != 0
					if kept != want {
						t.Fatalf("%s: element %d of part %d is kept: %v, in the whole batch, at %d: %v", of.name, j, part, kept, place, want)
					}
				}
			}
		}
	})
}

// within fails beyond five standard errors: one chance in two million, and the draws are fixed.
func within(t *testing.T, what string, got, want, standardError float64) {
	t.Helper()
	if !(math.Abs(got-want) <= 5*standardError) {
		t.Errorf("%s is %.5f, want %.5f ± %.5f", what, got, want, 5*standardError)
	}
}

// stepKey is the key of a step as training draws it.
func stepKey(seed, step uint64) [2]uint32 {
	s := rng.New(seed, "dropout").At(step)
	return [2]uint32{s.Uint32(), s.Uint32()}
}

func mask(key [2]uint32, name string, n int, p float64) []float64 {
	threshold, kept := uint32(math.Round(p*(1<<32))), make([]float64, n)
	for i, h := range plainHash(key, name, n) {
		if h >= threshold {
			kept[i] = 1
		}
	}
	return kept
}

// correlation of two masks of rate p, of which b is read from lag on.
func correlation(a, b []float64, lag int, p float64) float64 {
	sum := 0.0
	for i := range len(a) - lag {
		sum += (a[i] - (1 - p)) * (b[i+lag] - (1 - p))
	}
	return sum / (p * (1 - p) * float64(len(a)-lag))
}

// Masks of other places, steps and seeds are independent, and so are the elements of one: correlations at many
// lags, rows and columns among them, are what chance makes of them.
func TestDropoutIndependence(t *testing.T) {
	const n, p = 1 << 18, 0.1
	a := mask(stepKey(0, 7), layer0, n, p)
	share := 0.0
	for _, kept := range a {
		share += kept / n
	}
	within(t, "share kept", share, 1-p, math.Sqrt(p*(1-p)/n))
	others := []struct {
		name string
		mask []float64
	}{
		{"itself", a},
		{"the next layer's", mask(stepKey(0, 7), "bert.encoder.layer.1.output", n, p)},
		{"attention's", mask(stepKey(0, 7), "bert.encoder.layer.0.attention.self", n, p)},
		{"the next step's", mask(stepKey(0, 8), layer0, n, p)},
		{"another seed's", mask(stepKey(1, 7), layer0, n, p)},
	}
	for _, other := range others {
		for _, lag := range []int{0, 1, 2, 3, 4, 7, 16, 31, 64, 127, 128, 255, 256, 384, 512, 768, 1024, 3072, 4096, 16384, 65536} {
			if other.name == "itself" && lag == 0 {
				continue
			}
			within(t, "correlation with "+other.name+" mask", correlation(a, other.mask, lag, p), 0, 1/math.Sqrt(float64(n-lag)))
		}
	}
	sums := make([]float64, 1024) // of blocks of 256: too even would be as wrong as too uneven
	for i, kept := range a {
		sums[i/256] += kept
	}
	chi := 0.0
	for _, s := range sums {
		chi += (s - 256*(1-p)) * (s - 256*(1-p)) / (256 * p * (1 - p))
	}
	within(t, "spread over blocks", chi/1024, 1, math.Sqrt(2.0/1024))
}

// All masks walk one cycle of 2³² counters, so for any two there is a lag at which their counters meet. From
// there on they must not be the same mask.
func TestDropoutMasksAreNotShifts(t *testing.T) {
	key := stepKey(0, 0)
	inverse := uint32(1) // of the stride, by Newton's iteration
	for range 5 {
		inverse *= 2 - stride*inverse
	}
	a, b := layer0, "bert.encoder.layer.1.output"
	startA, _ := counter(key, a)
	startB, _ := counter(key, b)
	lag := (startB - startA) * inverse
	if lag*stride+startA != startB {
		t.Fatalf("counters do not meet at lag %d", lag)
	}
	agree, n := 0, uint32(4096)
	for i := range n {
		if (hashAt(key, a, lag+i) >= 1<<31) == (hashAt(key, b, i) >= 1<<31) {
			agree++
		}
	}
	within(t, "agreement where the counters meet", float64(agree)/float64(n), 0.5, 0.5/math.Sqrt(float64(n)))
}
