package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes/float16"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"google.golang.org/protobuf/proto"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/onnx/onnxpb"
)

// Program is an ONNX file that can be computed with: it knows the operators that are written here, by ONNX's own
// definitions of them, and nothing of the graph that they were made of.
type Program struct {
	graph   *onnxpb.GraphProto
	numbers map[string]numbers         // constants of whole numbers
	weights map[string]*tensors.Tensor // all others
}

// numbers are whole numbers that are known as a graph is built: sizes, shapes, indices.
type numbers struct {
	flat []int
	dims []int
}

// Read reads a model and the weights beside it.
func Read(dir, name string) (*Program, error) {
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	m := &onnxpb.ModelProto{}
	if err := proto.Unmarshal(content, m); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(m.OpsetImport) != 1 || m.OpsetImport[0].GetVersion() != OperatorSet || m.OpsetImport[0].GetDomain() != "" {
		return nil, fmt.Errorf("%s: it needs the operators %v; only set %d is known", name, m.OpsetImport, OperatorSet)
	}
	p := &Program{graph: m.Graph, numbers: map[string]numbers{}, weights: map[string]*tensors.Tensor{}}
	for _, t := range m.Graph.Initializer {
		if err := p.take(dir, t); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", name, t.GetName(), err)
		}
		t.RawData = nil
	}
	return p, nil
}

// take keeps a tensor of the file.
func (p *Program) take(dir string, t *onnxpb.TensorProto) error {
	raw, err := bytesOf(dir, t)
	if err != nil {
		return err
	}
	dims, n := make([]int, len(t.Dims)), 1
	for i, d := range t.Dims {
		dims[i], n = int(d), n*int(d)
	}
	width := map[onnxpb.TensorProto_DataType]int{
		onnxpb.TensorProto_FLOAT: 4, onnxpb.TensorProto_FLOAT16: 2, onnxpb.TensorProto_INT8: 1, onnxpb.TensorProto_INT64: 8,
	}[onnxpb.TensorProto_DataType(t.GetDataType())]
	if width == 0 || len(raw) != width*n {
		return fmt.Errorf("%d bytes of %v for %v", len(raw), onnxpb.TensorProto_DataType(t.GetDataType()), dims)
	}
	if width == 8 {
		whole := numbers{dims: dims, flat: make([]int, n)}
		for i := range whole.flat {
			whole.flat[i] = int(int64(binary.LittleEndian.Uint64(raw[8*i:])))
		}
		p.numbers[t.GetName()] = whole
		return nil
	}
	values := make([]float32, n)
	for i := range values {
		switch width {
		case 4:
			values[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		case 2:
			values[i] = float16.FromBits(binary.LittleEndian.Uint16(raw[2*i:])).Float32()
		default:
			values[i] = float32(int8(raw[i]))
		}
	}
	p.weights[t.GetName()] = tensors.FromFlatDataAndDimensions(values, dims...)
	return nil
}

// bytesOf are a tensor's, of the model's file or of one beside it.
func bytesOf(dir string, t *onnxpb.TensorProto) ([]byte, error) {
	if t.GetDataLocation() != onnxpb.TensorProto_EXTERNAL {
		return t.RawData, nil
	}
	at := map[string]string{}
	for _, e := range t.ExternalData {
		at[e.GetKey()] = e.GetValue()
	}
	offset, errOffset := strconv.ParseInt(at["offset"], 10, 64)
	length, errLength := strconv.ParseInt(at["length"], 10, 64)
	if errOffset != nil || errLength != nil || length < 0 || !filepath.IsLocal(at["location"]) {
		return nil, fmt.Errorf("it lies at %v, which is no place in a file beside the model", at)
	}
	f, err := os.Open(filepath.Join(dir, at["location"]))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() < offset+length {
		return nil, fmt.Errorf("%s ends before byte %d (%v)", at["location"], offset+length, err)
	}
	raw := make([]byte, length)
	_, err = f.ReadAt(raw, offset)
	return raw, err
}

// Run computes the output for inputs of whole numbers [rows, length], by their names: [rows, outputs].
func (p *Program) Run(backend compute.Backend, rows, length int, inputs map[string][]int32) (out [][]float32, err error) {
	names, args := make([]string, 0, len(p.weights)), make([]any, 0, len(p.weights))
	for name, t := range p.weights {
		names, args = append(names, name), append(args, t)
	}
	for _, in := range p.graph.Input {
		values, ok := inputs[in.GetName()]
		if !ok || len(values) != rows*length {
			return nil, fmt.Errorf("ONNX: the graph has the input %s, for which there are %d numbers; want %d·%d", in.GetName(), len(values), rows, length)
		}
		names, args = append(names, in.GetName()), append(args, tensors.FromFlatDataAndDimensions(values, rows, length))
	}
	exec, err := graph.NewExec(backend, func(list []*graph.Node) *graph.Node {
		at := map[string]value{}
		for i, n := range list {
			at[names[i]] = value{node: n}
		}
		for name, n := range p.numbers {
			at[name] = value{numbers: n}
		}
		return p.build(list[0].Graph(), at)
	})
	if err != nil {
		return nil, fmt.Errorf("ONNX: %w", err)
	}
	defer exec.Finalize()
	err = graphx.Try("ONNX", func() {
		result := graphx.Must(exec.Call(args...))[0]
		flat := graphx.Must(tensors.CopyFlatData[float32](result))
		for i := range rows {
			n := len(flat) / rows
			out = append(out, flat[i*n:(i+1)*n])
		}
		result.MustFinalizeAll()
	})
	return out, err
}
