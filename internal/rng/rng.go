package rng

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
)

// version is part of every key: a change of any algorithm in this package changes it, and with it
// every number drawn, instead of silently changing some of them.
const version = "deeplora-rng-1"

// Stream is one stream of random numbers. It is not safe for concurrent use, except At, which reads
// only the stream's key; give every goroutine its own substream.
type Stream struct {
	key    [sha256.Size]byte
	source *rand.ChaCha8
	spare  float64 // the second normal of the last pair, valid if paired
	paired bool
}

// New returns the stream of a seed and a path of names. The same arguments give the same numbers;
// ("ab", "c") and ("a", "bc") are different streams.
func New(seed uint64, names ...string) *Stream {
	text := binary.LittleEndian.AppendUint64([]byte(version), seed)
	for _, name := range names {
		text = binary.LittleEndian.AppendUint64(text, uint64(len(name)))
		text = append(text, name...)
	}
	return keyed(sha256.Sum256(text))
}

// At returns the index-th substream. It depends on s's key and the index alone, not on how much was
// drawn from s: rng.New(seed, "order").At(epoch) is epoch's stream whoever asks and when.
func (s *Stream) At(index uint64) *Stream {
	// The marker keeps substreams apart from any path of names: no path of New hashes a text that
	// begins so.
	text := append([]byte("at:"+version+":"), s.key[:]...)
	return keyed(sha256.Sum256(binary.LittleEndian.AppendUint64(text, index)))
}

func keyed(key [sha256.Size]byte) *Stream {
	return &Stream{key: key, source: rand.NewChaCha8(key)}
}

// Uint64 returns 64 uniform bits.
func (s *Stream) Uint64() uint64 { return s.source.Uint64() }

// Uint32 returns 32 uniform bits. It takes a whole word of the stream.
func (s *Stream) Uint32() uint32 { return uint32(s.source.Uint64() >> 32) }

// IntN returns a uniform integer in [0, n). It panics if n is not positive, as math/rand's does.
func (s *Stream) IntN(n int) int {
	if n <= 0 {
		panic("rng: IntN wants a positive bound")
	}
	// Lemire's multiplication: the high word is uniform once the low words that would favour some
	// values (fewer than 2^64 mod n of them) are thrown away.
	bound := uint64(n)
	high, low := bits.Mul64(s.Uint64(), bound)
	if low < bound {
		for excess := -bound % bound; low < excess; {
			high, low = bits.Mul64(s.Uint64(), bound)
		}
	}
	return int(high)
}

// Float64 returns a uniform multiple of 2^-53 in [0, 1).
func (s *Stream) Float64() float64 { return float64(s.Uint64()>>11) * 0x1p-53 }

// Normal returns a draw from N(0, 1), by Marsaglia's polar method.
func (s *Stream) Normal() float64 {
	if s.paired {
		s.paired = false
		return s.spare
	}
	for {
		u, v := 2*s.Float64()-1, 2*s.Float64()-1
		// The conversions forbid a fused multiply-add, which would change the last bit, and now and
		// then the rejection below, on machines that have one.
		q := float64(u*u) + float64(v*v)
		if q >= 1 || q == 0 {
			continue
		}
		scale := math.Sqrt(-2 * ln(q) / q)
		s.spare, s.paired = v*scale, true
		return u * scale
	}
}

// ln is the natural logarithm of a positive normal number, to about one unit in the last place.
// math.Log is free to differ between platforms and Go versions; this is not.
func ln(x float64) float64 {
	mantissa, exponent := math.Frexp(x) // x = mantissa·2^exponent, mantissa in [1/2, 1)
	if mantissa < math.Sqrt2/2 {
		mantissa, exponent = 2*mantissa, exponent-1
	}
	// ln m = 2·atanh(t) with t = (m-1)/(m+1): |t| ≤ 0.172, so that eleven terms reach 2^-55.
	t := (mantissa - 1) / (mantissa + 1)
	t2 := float64(t * t)
	tail := 0.0
	for k := 21; k >= 3; k -= 2 {
		tail = float64(tail*t2) + 1/float64(k)
	}
	return float64(float64(exponent)*math.Ln2) + float64(2*t) + float64(float64(2*t)*float64(t2*tail))
}

// Perm returns a uniform permutation of 0 … n-1 (Fisher-Yates from the end). It panics if n < 0.
func (s *Stream) Perm(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := s.IntN(i + 1)
		order[i], order[j] = order[j], order[i]
	}
	return order
}
