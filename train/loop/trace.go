package loop

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/graphx"
)

// Parts of a step, in the order in which Origin looks for what is not finite.
const (
	originParameters = "parameters" // what the step began with
	originForward    = "forward"    // from the batch to the loss
	originBackward   = "backward"   // from the loss to the gradients
	originNorm       = "norm"       // the gradients' squares, or their sums over batches: each number is finite
)

// Origin is where in a step the first number appeared that is not finite.
type Origin struct {
	Part      string `json:"part"`      // parameters, forward, backward or norm
	Kernel    string `json:"kernel"`    // kernel, or other tensor of the model, that was computed with
	Operation string `json:"operation"` // of the graph, in the forward pass; else empty
	Batch     int    `json:"batch"`     // of the step's batches, from 0
}

func (o Origin) String() string {
	switch o.Part {
	case originParameters:
		return fmt.Sprintf("the parameter %s is not finite before the step", o.Kernel)
	case originForward:
		return fmt.Sprintf("first in the forward pass, at %s (%s)", o.Kernel, o.Operation)
	case originBackward:
		return fmt.Sprintf("first in the backward pass, in the gradient of %s", o.Kernel)
	default:
		return fmt.Sprintf("only the gradient's norm is too large, most of all that of %s", o.Kernel)
	}
}

// trace computes a step's loss and gradients once more, a batch at a time, and finds what in them is not finite first.
// The state is not changed.
func (p *program) trace(s *state, batches []Batch, in stepInputs) (first Origin, err error) {
	for i, c := range s.cells {
		for _, t := range []*tensors.Tensor{c.value, c.m, c.v} {
			if t == nil {
				continue
			}
			values, err := numbers(t)
			if err != nil {
				return first, err
			}
			if first.Part == "" && slices.ContainsFunc(values, func(v float64) bool { return !finite(v) }) {
				first = Origin{Part: originParameters, Kernel: p.Params[i].Name}
			}
		}
	}
	err = graphx.Try("trace", func() {
		var t tracer
		exec := graphx.Must(NewExec(p.devices.Backend(), func(in []*Node) []*Node { return t.graph(p, in) }))
		defer exec.Finalize()
		for i, b := range batches {
			args := append(p.values(s, 0), p.devices.Donated(0, b.Args(p.DType))...)
			out := graphx.Must(exec.Call(append(args, in.dropout[i][:], graphx.Scalar(in.total, p.DType))...))
			if at := t.origin(p, out[0], out[1]); first.Part == "" || first.Part == originNorm && at.Part != originNorm {
				first, first.Batch = at, i
			}
		}
	})
	return first, err
}

// tracer remembers which numbers of a graph its counts are of.
type tracer struct {
	nodes   []string // operation of each counted node, in the order of computation
	kernels []string // what each was computed with
}

// graph: frozen, values, batch, key, total -> how many elements of each node of the forward pass are not finite [nodes],
// and those of each gradient, with its largest [2·moving].
func (t *tracer) graph(p *program, in []*Node) []*Node {
	*t = tracer{} // graphs are built once for each shape
	weights, moving, in := p.named(in)
	batch, in := graphx.Split(in, len(in)-2)
	g := in[0].Graph()
	known := graphx.Lookup(weights)
	start, of := len(g.Nodes()), map[*Node]string{}
	asked := func(name string) *Node {
		node := known(name)
		of[node] = p.moduleOf(name)
		return node
	}
	loss := p.Loss(asked, batch, in[0], in[1])
	var counts []*Node
	for _, n := range slices.Clone(g.Nodes())[start:] {
		if len(n.Inputs()) == 0 {
			continue
		}
		of[n] = computedWith(n, of)
		if n.NumOutputs() == 1 && n.Function() == loss.Function() && n.DType().IsFloat() {
			counts = append(counts, unsound(n))
			t.nodes, t.kernels = append(t.nodes, n.Type().String()), append(t.kernels, cmp.Or(of[n], "the batch"))
		}
	}
	var gradients []*Node
	for _, d := range Gradient(loss, moving...) {
		gradients = append(gradients, unsound(d), ReduceAllMax(Abs(d)))
	}
	return []*Node{Stack(counts, 0), Stack(gradients, 0)}
}

// unsound counts the elements that are not finite: any shape -> a scalar.
func unsound(x *Node) *Node {
	return ReduceAllSum(OneMinus(ConvertDType(isFinite(x), x.DType())))
}

// origin reads a graph's counts.
func (t *tracer) origin(p *program, nodes, gradients *tensors.Tensor) Origin {
	for i, n := range graphx.Must(numbers(nodes)) {
		if n != 0 {
			return Origin{Part: originForward, Kernel: t.kernels[i], Operation: t.nodes[i]}
		}
	}
	var names []string
	for i := range p.Params {
		if p.Params[i].moves() {
			names = append(names, p.Params[i].Name)
		}
	}
	of := graphx.Must(numbers(gradients))
	largest := 0
	for i := len(names) - 1; i >= 0; i-- { // the way the gradient goes: from the last layer to the first
		if of[2*i] != 0 {
			return Origin{Part: originBackward, Kernel: names[i]}
		}
		if of[2*i+1] > of[2*largest+1] {
			largest = i
		}
	}
	return Origin{Part: originNorm, Kernel: names[largest]}
}

// computedWith is the part of the model that a node is computed with: its own weight's or, without one, that of the
// input that was computed last.
func computedWith(n *Node, of map[*Node]string) string {
	// A weight comes before what was computed, whatever was asked for first; batches and constants last.
	rank := func(x *Node) int {
		switch {
		case of[x] == "":
			return 0
		case len(x.Inputs()) > 0:
			return 1
		default:
			return 2
		}
	}
	last := slices.MaxFunc(n.Inputs(), func(a, b *Node) int { return cmp.Or(rank(a)-rank(b), int(a.Id())-int(b.Id())) })
	return of[last]
}

// moduleOf is the kernel, or other part of the model, that a tensor belongs to.
func (p *program) moduleOf(name string) string {
	for i := range p.Params {
		if p.Params[i].Name == name {
			return p.Params[i].module()
		}
	}
	return moduleOf(name)
}

// numbers are a tensor's, as float64.
func numbers(t *tensors.Tensor) ([]float64, error) {
	if t.DType() == dtypes.Float64 {
		return tensors.CopyFlatData[float64](t)
	}
	values, err := tensors.CopyFlatData[float32](t)
	wide := make([]float64, len(values))
	for i, v := range values {
		wide[i] = float64(v)
	}
	return wide, err
}
