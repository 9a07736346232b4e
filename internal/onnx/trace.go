package onnx

import (
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"google.golang.org/protobuf/proto"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/onnx/onnxpb"
)

// Versions of what is written. Operator set 17 is the first with LayerNormalization: onnxruntime reads it from 1.12 on.
const (
	OperatorSet = 17
	irVersion   = 8
)

// Source is a function with what there is to know of it.
type Source struct {
	Inputs  []string                  // their names; the graph has those that the function makes use of
	Output  string                    // its name
	Axes    []any                     // of the output: names of axes that depend on the inputs, numbers of others
	Weights map[string][]int          // the shapes of the weights
	Store   func(name string) Storage // how a weight is stored; nil: as Float32

	// Build is what is traced: it builds a graph from its inputs, whole numbers [rows, length], in the order of Inputs, and
	// from weights, which it asks for by name.
	Build func(inputs []*graph.Node, weight func(name string) *graph.Node) *graph.Node
}

// Trace makes a model of a function. What has no translation is an error that names the operation.
func Trace(s Source) (*Model, error) {
	var recorded traces[*recording]
	for i, sample := range samples {
		r := newRecorder()
		if err := graphx.Try("ONNX", func() { s.record(r, sample[0], sample[1]) }); err != nil {
			return nil, err
		}
		recorded[i] = r.main
	}
	output, err := merge(recorded)
	if err != nil {
		return nil, err
	}
	if s.Store == nil {
		s.Store = func(string) Storage { return Float32 }
	}
	e := &emitter{
		sized: s.Inputs[0], inputs: map[string]bool{}, store: s.Store, graph: &onnxpb.GraphProto{Name: proto.String("deeplora")},
		names: map[*node]string{}, known: map[string]string{}, counts: map[string]int{}, bytes: map[string][3]string{},
	}
	for _, name := range s.Inputs {
		e.inputs[name] = true
	}
	if err := graphx.Try("ONNX", func() { e.finish(output, s) }); err != nil {
		return nil, err
	}
	return &Model{
		Weights: e.weights,
		proto: &onnxpb.ModelProto{
			IrVersion: proto.Int64(irVersion), ProducerName: proto.String("deeplora"), Graph: e.graph,
			OpsetImport: []*onnxpb.OperatorSetIdProto{{Domain: proto.String(""), Version: proto.Int64(OperatorSet)}},
		},
	}, nil
}

// record has the function build its graph for inputs of a size.
func (s Source) record(r *recorder, rows, length int) {
	g := graph.NewGraph(r, "onnx")
	var inputs []*graph.Node
	for _, name := range s.Inputs {
		inputs = append(inputs, graph.Parameter(g, name, shapes.Make(dtypes.Int32, rows, length)))
	}
	weights := map[string]*graph.Node{}
	output := s.Build(inputs, func(name string) *graph.Node {
		if weights[name] == nil {
			dims, ok := s.Weights[name]
			if !ok {
				panic(fmt.Errorf("there is no weight %s", name))
			}
			weights[name] = graph.Parameter(g, name, shapes.Make(dtypes.Float32, dims...))
		}
		return weights[name]
	})
	if err := g.Compile(output); err != nil {
		panic(err)
	}
}

// finish makes the nodes of the output, and names it and the inputs.
func (e *emitter) finish(output *node, s Source) {
	last := e.value(output)
	e.graph.Node = append(e.graph.Node, &onnxpb.NodeProto{
		Name: proto.String(s.Output), OpType: proto.String("Identity"), Input: []string{last}, Output: []string{s.Output},
	})
	if made := e.graph.Node[len(e.graph.Node)-2]; made.Output[0] == last { // it can have the name itself
		made.Output, e.graph.Node = []string{s.Output}, e.graph.Node[:len(e.graph.Node)-1]
	}
	e.graph.Output = []*onnxpb.ValueInfoProto{valueInfo(s.Output, typeOf(output.dtype), s.Axes...)}
	slices.SortFunc(e.graph.Input, func(a, b *onnxpb.ValueInfoProto) int {
		return slices.Index(s.Inputs, a.GetName()) - slices.Index(s.Inputs, b.GetName())
	})
}
