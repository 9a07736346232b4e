package onnx

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"github.com/gomlx/compute/dtypes/float16"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/onnx/onnxpb"
)

// Model is an ONNX graph whose weights are not in memory: they are asked for as the file is written.
type Model struct {
	Weights []Weight
	proto   *onnxpb.ModelProto
}

// Weight is a tensor of the file that a tensor of the traced function becomes.
type Weight struct {
	Name    string // in the traced function
	Dims    []int
	Storage Storage
	Scales  Scales // of Int8
}

// Storage is how the numbers of a weight lie in the file. The graph computes in float32 with all but Int8.
type Storage int

const (
	Float32 Storage = iota
	Float16         // half as many bytes, each number rounded to 11 bits
	Int8            // a quarter: whole numbers to ±127 with scales
)

// Scales says what of a weight in 8 bits has a scale of its own.
type Scales int

const (
	Columns Scales = iota // of a kernel [in, out]: each output
	Rows                  // of a table [rows, width]: each row
)

// A weight in 8 bits becomes two tensors, named after it.
const (
	bitsSuffix  = ".int8"
	scaleSuffix = ".scale"
)

// InlineLimit is how many bytes of weights go into the file itself. Protobuf's limit is 2 GiB; larger ones lie beside it.
const InlineLimit = 2_000_000_000

// DataSuffix is what the file of weights beside a model is called after the model's own name.
const DataSuffix = "_data"

// Inputs are the names of the graph's inputs.
func (m *Model) Inputs() (names []string) {
	for _, in := range m.proto.Graph.Input {
		names = append(names, in.GetName())
	}
	return names
}

// Describe says by which version of the program the model was made, and what it is: texts by their names.
func (m *Model) Describe(version string, doc string, properties [][2]string) {
	m.proto.ProducerVersion, m.proto.DocString = &version, &doc
	for _, p := range properties {
		m.proto.MetadataProps = append(m.proto.MetadataProps, &onnxpb.StringStringEntryProto{Key: &p[0], Value: &p[1]})
	}
}

// Write writes the model into a directory under a name, with its weights where they are at most inline bytes, else with
// those beside it. tensor gives a weight's numbers, which are not kept. It returns the names of the files.
func (m *Model) Write(dir, name string, inline int64, tensor func(name string) ([]float32, error)) (files []string, err error) {
	var parts []part
	total := int64(0)
	for _, w := range m.Weights {
		for _, p := range w.parts() {
			parts, total = append(parts, p), total+p.size
		}
	}
	load := remember(tensor)
	if total > inline {
		data := name + DataSuffix
		err := atomicfile.Write(filepath.Join(dir, data), func(w io.Writer) error { return writeData(w, parts, load) })
		if err != nil {
			return nil, fmt.Errorf("ONNX: %w", err)
		}
		files = append(files, data)
		point(parts, data)
	}
	err = atomicfile.Write(filepath.Join(dir, name), func(w io.Writer) error { return m.write(w, parts, load, total > inline) })
	if err != nil {
		return nil, fmt.Errorf("ONNX: %w", err)
	}
	return append([]string{name}, files...), nil
}

// part is a tensor of the file.
type part struct {
	weight Weight
	proto  *onnxpb.TensorProto // without its bytes
	size   int64               // of its bytes
	fill   func(values []float32, w Weight) ([]byte, error)
}

func (w Weight) parts() []part {
	tensor := func(name string, dtype onnxpb.TensorProto_DataType, width int64, dims []int, fill func([]float32, Weight) ([]byte, error)) part {
		t, n := &onnxpb.TensorProto{Name: &name, DataType: proto.Int32(int32(dtype))}, width
		for _, d := range dims {
			t.Dims, n = append(t.Dims, int64(d)), n*int64(d)
		}
		return part{weight: w, proto: t, size: n, fill: fill}
	}
	switch w.Storage {
	case Float16:
		return []part{tensor(w.Name, onnxpb.TensorProto_FLOAT16, 2, w.Dims, halves)}
	case Int8:
		scales := []int{w.Dims[1]}
		if w.Scales == Rows {
			scales = []int{w.Dims[0], 1}
		}
		return []part{
			tensor(w.Name+bitsSuffix, onnxpb.TensorProto_INT8, 1, w.Dims, func(v []float32, w Weight) ([]byte, error) { q, _, err := quantize(v, w); return q, err }),
			tensor(w.Name+scaleSuffix, onnxpb.TensorProto_FLOAT, 4, scales, func(v []float32, w Weight) ([]byte, error) {
				_, scales, err := quantize(v, w)
				return singles(scales), err
			}),
		}
	default:
		return []part{tensor(w.Name, onnxpb.TensorProto_FLOAT, 4, w.Dims, func(v []float32, w Weight) ([]byte, error) { return singles(v), finite(v, w) })}
	}
}

// remember keeps the last weight: one in 8 bits is asked for twice.
func remember(tensor func(name string) ([]float32, error)) func(p part) ([]byte, error) {
	var name string
	var values []float32
	return func(p part) ([]byte, error) {
		if name != p.weight.Name {
			v, err := tensor(p.weight.Name)
			if err != nil {
				return nil, err
			}
			name, values = p.weight.Name, v
		}
		raw, err := p.fill(values, p.weight)
		if err != nil {
			return nil, err
		}
		if int64(len(raw)) != p.size {
			return nil, fmt.Errorf("%s has %d bytes; want %d, of %v", p.proto.GetName(), len(raw), p.size, p.proto.Dims)
		}
		return raw, nil
	}
}

// write writes the model as protobuf: what is small at once, the weights one after another.
func (m *Model) write(out io.Writer, parts []part, load func(part) ([]byte, error), outside bool) error {
	const graphField, initializerField, rawField = 7, 5, 9
	head := proto.CloneOf(m.proto)
	head.Graph = nil
	begin, err := proto.MarshalOptions{Deterministic: true}.Marshal(head)
	if err != nil {
		return err
	}
	graph, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.proto.Graph)
	if err != nil {
		return err
	}
	size, heads := len(graph), make([][]byte, len(parts))
	for i, p := range parts {
		text, err := proto.Marshal(p.proto)
		if err != nil {
			return err
		}
		tensor := len(text)
		if !outside {
			text = protowire.AppendTag(text, rawField, protowire.BytesType)
			text = protowire.AppendVarint(text, uint64(p.size))
			tensor = len(text) + int(p.size)
		}
		heads[i] = append(protowire.AppendVarint(protowire.AppendTag(nil, initializerField, protowire.BytesType), uint64(tensor)), text...)
		size += len(heads[i]) - len(text) + tensor
	}
	w := bufio.NewWriterSize(out, 1<<20)
	begin = protowire.AppendVarint(protowire.AppendTag(begin, graphField, protowire.BytesType), uint64(size))
	_, _ = w.Write(begin) // Flush gives the error of any
	_, _ = w.Write(graph)
	for i, p := range parts {
		_, _ = w.Write(heads[i])
		if outside {
			continue
		}
		raw, err := load(p)
		if err != nil {
			return err
		}
		_, _ = w.Write(raw)
	}
	return w.Flush()
}

// aligned is where a tensor begins in a file of weights: at a page, so that it can be mapped.
func aligned(at int64) int64 { const page = 4096; return (at + page - 1) / page * page }

// point has the tensors refer to a file beside the model.
func point(parts []part, file string) {
	at := int64(0)
	for _, p := range parts {
		at = aligned(at)
		p.proto.DataLocation = onnxpb.TensorProto_EXTERNAL.Enum()
		for _, e := range [][2]string{{"location", file}, {"offset", fmt.Sprint(at)}, {"length", fmt.Sprint(p.size)}} {
			p.proto.ExternalData = append(p.proto.ExternalData, &onnxpb.StringStringEntryProto{Key: &e[0], Value: &e[1]})
		}
		at += p.size
	}
}

func writeData(out io.Writer, parts []part, load func(part) ([]byte, error)) error {
	w, at := bufio.NewWriterSize(out, 1<<20), int64(0)
	for _, p := range parts {
		raw, err := load(p)
		if err != nil {
			return err
		}
		_, _ = w.Write(make([]byte, aligned(at)-at)) // Flush gives the error of any
		_, _ = w.Write(raw)
		at = aligned(at) + p.size
	}
	return w.Flush()
}

func singles(values []float32) []byte {
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return raw
}

func halves(values []float32, w Weight) ([]byte, error) {
	raw := make([]byte, 0, 2*len(values))
	for _, v := range values {
		h := float16.FromFloat32(v)
		if f := h.Float32(); f-f != 0 {
			return nil, fmt.Errorf("%s: %g has no number in float16; export it as f32", w.Name, v)
		}
		raw = binary.LittleEndian.AppendUint16(raw, h.Bits())
	}
	return raw, nil
}

func finite(values []float32, w Weight) error {
	for _, v := range values {
		if v-v != 0 {
			return fmt.Errorf("%s: %g is no finite number; has the training diverged?", w.Name, v)
		}
	}
	return nil
}

// quantize rounds a matrix to whole numbers of ±127 scales: the largest of a column, or row, is 127.
func quantize(values []float32, w Weight) (q []byte, scales []float32, err error) {
	if err := finite(values, w); err != nil {
		return nil, nil, err
	}
	columns, n := w.Dims[1], w.Dims[1]
	of := func(i int) int { return i % columns }
	if w.Scales == Rows {
		n, of = w.Dims[0], func(i int) int { return i / columns }
	}
	scales = make([]float32, n)
	for i, v := range values {
		scales[of(i)] = max(scales[of(i)], float32(math.Abs(float64(v)))/127)
	}
	q = make([]byte, len(values))
	for i, v := range values {
		if s := scales[of(i)]; s > 0 {
			q[i] = byte(int8(min(max(math.RoundToEven(float64(v/s)), -127), 127)))
		}
	}
	return q, scales, nil
}
