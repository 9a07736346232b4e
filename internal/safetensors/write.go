package safetensors

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// Entry is a tensor to write.
type Entry struct {
	Name  string
	Shape []int
	// Data is []float32, []float64, []int32, []int64 or []uint8 (row-major, its length the product of
	// Shape), F16 or BF16 for half precision, Raw for bytes as they lie in a file, or Lazy.
	Data any
}

// F16 holds values to write as binary16, rounded to nearest, ties to even.
type F16 []float32

// BF16 holds values to write as bfloat16, rounded to nearest, ties to even.
type BF16 []float32

// Raw is a tensor's bytes, row-major and little-endian, as File.Bytes gives them.
type Raw struct {
	DType DType
	Bytes []byte
}

// Lazy is a tensor made when its turn comes and let go after it: a checkpoint is written with one
// tensor in memory. Make returns one of Entry's other forms, of type DType.
type Lazy struct {
	DType DType
	Make  func() (any, error)
}

// Write writes a file: tensors sorted by the width of their elements (widest first), then name, the
// header padded to 8 bytes, so the same tensors give the same bytes whatever their order in entries.
// metadata goes out sorted, with "format": "pt" added if it has no format: several versions of
// Transformers refuse files without one. NaN and infinities are written as they are.
//
// Faults in entries are reported, by tensor, before anything is written; only those of a Lazy come
// later. To have the file whole or not at all write through atomicfile.Write.
func Write(w io.Writer, entries []Entry, metadata map[string]string) error {
	if err := write(w, entries, metadata); err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	return nil
}

func write(w io.Writer, entries []Entry, metadata map[string]string) error {
	tensors, err := layOut(entries)
	if err != nil {
		return err
	}
	text, err := headerText(tensors, metadata)
	if err != nil {
		return err
	}
	if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(text)))); err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	for _, t := range tensors {
		if err := t.write(w); err != nil {
			return tensorFault(t.Name, err)
		}
	}
	return nil
}

// laidOut is an entry with its place in the file.
type laidOut struct {
	Info
	data any
}

// layOut checks the entries and gives them their order and offsets.
func layOut(entries []Entry) ([]laidOut, error) {
	tensors := make([]laidOut, len(entries))
	for i, e := range entries {
		info, err := describe(e)
		if err != nil {
			return nil, tensorFault(e.Name, err)
		}
		tensors[i] = laidOut{info, e.Data}
	}
	slices.SortFunc(tensors, func(a, b laidOut) int {
		return cmp.Or(cmp.Compare(b.DType.Size(), a.DType.Size()), cmp.Compare(a.Name, b.Name))
	})
	var total uint64
	seen := make(map[string]bool, len(tensors))
	for i := range tensors {
		t := &tensors[i]
		if seen[t.Name] {
			return nil, tensorFault(t.Name, errors.New("is there twice"))
		}
		seen[t.Name] = true
		t.begin = int64(total)
		if total += uint64(t.Bytes); total > math.MaxInt64 {
			return nil, tensorFault(t.Name, errors.New("the file would pass 2^63 bytes"))
		}
	}
	return tensors, nil
}

// describe checks one entry by itself.
func describe(e Entry) (Info, error) {
	info := Info{Name: e.Name, DType: dtypeOf(e.Data), Shape: e.Shape}
	if e.Name == metadataKey || !utf8.ValidString(e.Name) {
		return info, fmt.Errorf("not a name for a tensor; want valid UTF-8 other than %s", metadataKey)
	}
	if info.DType.Size() == 0 {
		return info, fmt.Errorf("data is %T of dtype %q; want one of %s", e.Data, info.DType, knownDTypes())
	}
	size := uint64(info.DType.Size())
	for _, n := range e.Shape {
		high, low := bits.Mul64(size, uint64(n))
		if n < 0 || high != 0 || low > math.MaxInt {
			return info, fmt.Errorf("shape %v is negative or too large", e.Shape)
		}
		size = low
	}
	info.Bytes = int64(size)
	if _, lazy := e.Data.(Lazy); lazy {
		return info, nil
	}
	return info, info.fits(e.Data)
}

// fits reports data that is not what info promises.
func (i Info) fits(data any) error {
	if got := dtypeOf(data); got != i.DType {
		return fmt.Errorf("data is %T of dtype %q, want %s", data, got, i.DType)
	}
	if got := byteLen(data); got != i.Bytes {
		return fmt.Errorf("data has %d bytes, but %s%v takes %d", got, i.DType, i.Shape, i.Bytes)
	}
	return nil
}

// headerText is the padded JSON of the header.
func headerText(tensors []laidOut, metadata map[string]string) ([]byte, error) {
	metadata = maps.Clone(metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	if _, ok := metadata["format"]; !ok {
		metadata["format"] = "pt"
	}
	for key, value := range metadata {
		if !utf8.ValidString(key) || !utf8.ValidString(value) {
			return nil, fmt.Errorf("metadata %q: %q is not valid UTF-8", key, value)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"%s":%s`, metadataKey, quoteJSON(metadata)) // a map's keys come out sorted
	for _, t := range tensors {
		fmt.Fprintf(&b, `,%s:{"dtype":"%s","shape":%s,"data_offsets":[%d,%d]}`,
			quoteJSON(t.Name), t.DType, quoteJSON(append([]int{}, t.Shape...)), t.begin, t.begin+t.Bytes)
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	if b.Len() > maxHeaderBytes {
		return nil, fmt.Errorf("the header takes %d bytes, readers accept %d; write fewer tensors or less metadata", b.Len(), maxHeaderBytes)
	}
	return b.Bytes(), nil
}

// quoteJSON encodes a string, a map of strings or a list of integers, leaving <, > and & alone as
// other writers do.
func quoteJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // none of these three can fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func (t laidOut) write(w io.Writer) error {
	data := t.data
	if lazy, ok := data.(Lazy); ok {
		made, err := lazy.Make()
		if err != nil {
			return err
		}
		if err := t.fits(made); err != nil {
			return err
		}
		data = made
	}
	le := binary.LittleEndian
	switch d := data.(type) {
	case []float32:
		return encode(w, d, 4, func(p []byte, v float32) { le.PutUint32(p, math.Float32bits(v)) })
	case []float64:
		return encode(w, d, 8, func(p []byte, v float64) { le.PutUint64(p, math.Float64bits(v)) })
	case F16:
		return encode(w, d, 2, func(p []byte, v float32) { le.PutUint16(p, toF16(v)) })
	case BF16:
		return encode(w, d, 2, func(p []byte, v float32) { le.PutUint16(p, toBF16(v)) })
	case []int32:
		return encode(w, d, 4, func(p []byte, v int32) { le.PutUint32(p, uint32(v)) })
	case []int64:
		return encode(w, d, 8, func(p []byte, v int64) { le.PutUint64(p, uint64(v)) })
	case []uint8:
		_, err := w.Write(d)
		return err
	case Raw:
		_, err := w.Write(d.Bytes)
		return err
	}
	return fmt.Errorf("data is %T", data) // a Lazy that makes a Lazy; fits lets nothing else pass
}

// encode writes values chunk by chunk.
func encode[T any](w io.Writer, values []T, size int, put func([]byte, T)) error {
	chunk := chunks.Get().(*[chunkBytes]byte)
	defer chunks.Put(chunk)
	for part := range slices.Chunk(values, chunkBytes/size) {
		for i, v := range part {
			put(chunk[i*size:], v)
		}
		if _, err := w.Write(chunk[:len(part)*size]); err != nil {
			return err
		}
	}
	return nil
}

// dtypeOf is the type data is written as, "" for what cannot be written.
func dtypeOf(data any) DType {
	switch d := data.(type) {
	case []float32:
		return DTypeF32
	case []float64:
		return DTypeF64
	case F16:
		return DTypeF16
	case BF16:
		return DTypeBF16
	case []int32:
		return DTypeI32
	case []int64:
		return DTypeI64
	case []uint8:
		return DTypeU8
	case Raw:
		return d.DType
	case Lazy:
		return d.DType
	}
	return ""
}

func byteLen(data any) int64 {
	switch d := data.(type) {
	case []float32:
		return 4 * int64(len(d))
	case []float64:
		return 8 * int64(len(d))
	case F16:
		return 2 * int64(len(d))
	case BF16:
		return 2 * int64(len(d))
	case []int32:
		return 4 * int64(len(d))
	case []int64:
		return 8 * int64(len(d))
	case []uint8:
		return int64(len(d))
	case Raw:
		return int64(len(d.Bytes))
	}
	return -1
}
