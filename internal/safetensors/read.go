package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"
)

// chunkBytes is what is read and converted at a time: large enough that the system call costs
// nothing, small enough to stay in the second-level cache between reading and converting.
const chunkBytes = 128 << 10

// chunks are reused: a fresh one for each tensor would cost more than reading a bias.
var chunks = sync.Pool{New: func() any { return new([chunkBytes]byte) }}

// Float32 reads a tensor of F32, F16 or BF16 (both widen exactly) or F64 (rounded to nearest), row
// by row. NaN and infinities pass. Integer types are an error, and so is a finite F64 beyond float32.
func (f *File) Float32(name string) ([]float32, error) {
	return read(f, name, "float32", map[DType]decoder[float32]{
		DTypeF32:  {4, decodeF32},
		DTypeF16:  {2, decodeF16[float32]},
		DTypeBF16: {2, decodeBF16[float32]},
		DTypeF64:  {8, narrowF64},
	})
}

// Float64 reads a tensor of F64, F32, F16 or BF16, all exactly. Integer types are an error.
func (f *File) Float64(name string) ([]float64, error) {
	return read(f, name, "float64", map[DType]decoder[float64]{
		DTypeF64:  {8, decodeF64},
		DTypeF32:  {4, widenF32},
		DTypeF16:  {2, decodeF16[float64]},
		DTypeBF16: {2, decodeBF16[float64]},
	})
}

// Half reads a tensor of F16 or BF16 as it lies in the file: the bits of its elements. Other types are an error.
func Half[T ~uint16](f *File, name string) ([]T, error) {
	le := binary.LittleEndian
	bits := decoder[T]{2, func(dst []T, src []byte) error {
		for i := range dst {
			dst[i] = T(le.Uint16(src[2*i:]))
		}
		return nil
	}}
	return read(f, name, "half precision", map[DType]decoder[T]{DTypeF16: bits, DTypeBF16: bits})
}

// Int64 reads a tensor of any integer type or BOOL (0 and 1). Floating-point types are an error, and
// so is a U64 beyond int64.
func (f *File) Int64(name string) ([]int64, error) {
	le := binary.LittleEndian
	return read(f, name, "int64", map[DType]decoder[int64]{
		DTypeI64:  {8, decodeInts(8, func(b []byte) int64 { return int64(le.Uint64(b)) })},
		DTypeI32:  {4, decodeInts(4, func(b []byte) int64 { return int64(int32(le.Uint32(b))) })},
		DTypeI16:  {2, decodeInts(2, func(b []byte) int64 { return int64(int16(le.Uint16(b))) })},
		DTypeI8:   {1, decodeInts(1, func(b []byte) int64 { return int64(int8(b[0])) })},
		DTypeU64:  {8, decodeU64},
		DTypeU32:  {4, decodeInts(4, func(b []byte) int64 { return int64(le.Uint32(b)) })},
		DTypeU16:  {2, decodeInts(2, func(b []byte) int64 { return int64(le.Uint16(b)) })},
		DTypeU8:   {1, decodeInts(1, func(b []byte) int64 { return int64(b[0]) })},
		DTypeBool: {1, decodeBool},
	})
}

// Bytes reads a tensor of any type as it lies in the file: row-major, little-endian.
func (f *File) Bytes(name string) ([]byte, error) {
	info, ok := f.tensors[name]
	if !ok {
		return nil, f.fault(name, errAbsent(len(f.tensors)))
	}
	data := make([]byte, info.Bytes)
	if err := readAt(f.data, data, f.offset+info.begin); err != nil {
		return nil, f.fault(name, err)
	}
	return data, nil
}

// decoder turns bytes into elements: len(src) is size times len(dst).
type decoder[T any] struct {
	size   int
	decode func(dst []T, src []byte) error
}

// read is the loop of all readers: chunk by chunk, so memory is the result and one chunk.
func read[T any](f *File, name, as string, decoders map[DType]decoder[T]) ([]T, error) {
	info, ok := f.tensors[name]
	if !ok {
		return nil, f.fault(name, errAbsent(len(f.tensors)))
	}
	d, ok := decoders[info.DType]
	if !ok {
		return nil, f.fault(name, fmt.Errorf("is %s%v, which does not read as %s", info.DType, info.Shape, as))
	}
	chunk := chunks.Get().(*[chunkBytes]byte)
	defer chunks.Put(chunk)
	out := make([]T, info.Len())
	perChunk := chunkBytes / d.size
	for done := 0; done < len(out); {
		dst := out[done:min(done+perChunk, len(out))]
		src := chunk[:len(dst)*d.size]
		if err := readAt(f.data, src, f.offset+info.begin+int64(done)*int64(d.size)); err != nil {
			return nil, f.fault(name, err)
		}
		if err := d.decode(dst, src); err != nil {
			return nil, f.fault(name, fmt.Errorf("in elements %d to %d: %w", done, done+len(dst)-1, err))
		}
		done += len(dst)
	}
	return out, nil
}

func (f *File) fault(tensor string, err error) error {
	return fmt.Errorf("safetensors: %s: %w", f.name, tensorFault(tensor, err))
}

func errAbsent(n int) error { return fmt.Errorf("is not among the %d tensors of this file", n) }

// The loops below index fixed windows so that the compiler drops the bounds checks: 90 MB convert in
// less time than they are read.

func decodeF32(dst []float32, src []byte) error {
	for len(dst) >= 4 && len(src) >= 16 {
		d, s := dst[:4], src[:16]
		d[0] = math.Float32frombits(binary.LittleEndian.Uint32(s[0:]))
		d[1] = math.Float32frombits(binary.LittleEndian.Uint32(s[4:]))
		d[2] = math.Float32frombits(binary.LittleEndian.Uint32(s[8:]))
		d[3] = math.Float32frombits(binary.LittleEndian.Uint32(s[12:]))
		dst, src = dst[4:], src[16:]
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
	}
	return nil
}

func decodeF64(dst []float64, src []byte) error {
	for i := range dst {
		dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
	}
	return nil
}

func widenF32(dst []float64, src []byte) error {
	for i := range dst {
		dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
	}
	return nil
}

func narrowF64(dst []float32, src []byte) error {
	for i := range dst {
		wide := math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
		dst[i] = float32(wide)
		if math.IsInf(float64(dst[i]), 0) && !math.IsInf(wide, 0) {
			return fmt.Errorf("%g is beyond float32", wide)
		}
	}
	return nil
}

func decodeF16[T float32 | float64](dst []T, src []byte) error {
	for i := range dst {
		dst[i] = T(fromF16(binary.LittleEndian.Uint16(src[2*i:])))
	}
	return nil
}

func decodeBF16[T float32 | float64](dst []T, src []byte) error {
	for i := range dst {
		dst[i] = T(math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[2*i:])) << 16))
	}
	return nil
}

func decodeInts(size int, one func([]byte) int64) func([]int64, []byte) error {
	return func(dst []int64, src []byte) error {
		for i := range dst {
			dst[i] = one(src[i*size:])
		}
		return nil
	}
}

func decodeU64(dst []int64, src []byte) error {
	for i := range dst {
		n := binary.LittleEndian.Uint64(src[8*i:])
		if n > math.MaxInt64 {
			return fmt.Errorf("%d is beyond int64", n)
		}
		dst[i] = int64(n)
	}
	return nil
}

func decodeBool(dst []int64, src []byte) error {
	for i, b := range src {
		if b > 1 {
			return fmt.Errorf("%d is not a BOOL; want 0 or 1", b)
		}
		dst[i] = int64(b)
	}
	return nil
}
