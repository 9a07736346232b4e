package loop

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/graphx"
)

// program is the three graphs of a step: the gradients of a batch, the same added to those of the batches before it, and
// the optimizer. The optimizer's graph is large where kernels have several factors each, and is compiled once; the
// others are compiled for each shape of batch.
//
// Everything a graph needs comes in as an argument and everything it changes goes out as a result, in one fixed order:
// the same program is compiled in every process, and frozen weights are passed, never copied. A program has no state, so
// that graphs can be compiled beside the training.
//
// On several devices each computes the gradients of its part of a batch, with everything else there once more. They are
// summed in the optimizer's graph, the only one in which devices wait for each other, and every device then makes the
// same update of what is its own.
type program struct {
	Objective
	devices *devices.Set
	decay   float64
	clip    float64

	forward, partial, apply *Exec
}

// maxGraphs is how many compiled graphs an Exec may hold: one a shape of batch.
const maxGraphs = 64

func newProgram(on *devices.Set, o Objective, decay, clip float64) (*program, error) {
	if o.DType == dtypes.InvalidDType {
		o.DType = dtypes.Float32
	}
	p := &program{Objective: o, devices: on, decay: decay, clip: clip}
	for _, e := range []struct {
		exec **Exec
		name string
		fn   func(in []*Node) []*Node
	}{
		{&p.forward, "gradients", p.forwardGraph},
		{&p.partial, "accumulate", p.partialGraph},
		{&p.apply, "update", p.applyGraph},
	} {
		exec, err := on.Exec(e.name, e.fn)
		if err != nil {
			return nil, err
		}
		*e.exec = exec.SetMaxCache(maxGraphs)
	}
	return p, nil
}

func (p *program) finalize() {
	for _, e := range []*Exec{p.forward, p.partial, p.apply} {
		e.Finalize()
	}
}

// stepInputs is what a step needs beside its batches.
type stepInputs struct {
	number  int     // of the update, from 1, for the bias corrections
	lr      float64 // of this update
	total   float64 // weight of all its batches
	dropout [][2]uint32
}

// run makes one optimizer step over batches. It returns the loss before it, which is the mean over their real examples,
// and the gradient's norm before clipping. Where one of them is infinite or NaN the state stays as it was, to the bit.
// After an error the state is lost: the caller ends the run, and its last checkpoint stands.
func (p *program) run(s *state, batches []Batch, in stepInputs) (loss, norm float64, err error) {
	err = graphx.Try(fmt.Sprintf("step %d", in.number), func() {
		graphx.Must(0, s.spread(p.devices))
		var gradients [][]*tensors.Tensor
		if len(batches) == 1 {
			loss, gradients = p.gradientsOf(s, batches[0], in)
		} else {
			loss, gradients = p.accumulated(s, batches, in)
		}
		if !finite(loss) {
			for _, g := range slices.Concat(gradients...) {
				g.MustFinalizeAll()
			}
			norm = math.NaN()
			return
		}
		args := graphx.Must(s.args(p.devices))
		for d := range args {
			args[d] = slices.Concat(args[d], p.devices.Donated(d, gradients[d]), p.rates(in))
		}
		out := graphx.Must(p.devices.Call(p.apply, args))
		for d := range out {
			norm = scalarOf(out[d][0]) // the same on all of them
			out[d] = out[d][1:]
		}
		s.take(out)
	})
	return loss, norm, err
}

// values are the frozen tensors and the parameters of a device as arguments.
func (p *program) values(s *state, device int) (args []any) {
	for _, t := range p.Frozen {
		args = append(args, graphx.Must(p.devices.On(device, t.Value)))
	}
	for _, c := range s.on(device) {
		args = append(args, c.value)
	}
	return args
}

// parts are each device's arguments of a batch.
func (p *program) parts(b Batch) ([][]*tensors.Tensor, error) {
	parts, err := Parts(b, p.devices.Len())
	args := make([][]*tensors.Tensor, len(parts))
	for d, part := range parts {
		args[d] = part.Args(p.DType)
	}
	return args, err
}

func (p *program) gradientsOf(s *state, b Batch, in stepInputs) (loss float64, gradients [][]*tensors.Tensor) {
	return p.differentiated(p.forward, s, b, nil, in.dropout[0], in.total)
}

// accumulated sums the gradients of the batches: the same as one batch of them all, but for the order of additions.
func (p *program) accumulated(s *state, batches []Batch, in stepInputs) (loss float64, sums [][]*tensors.Tensor) {
	sums = make([][]*tensors.Tensor, p.devices.Len())
	for _, shape := range p.gradientShapes() {
		for d := range sums {
			sums[d] = append(sums[d], tensors.FromShape(shape))
		}
	}
	for i, b := range batches {
		var part float64
		part, sums = p.differentiated(p.partial, s, b, sums, in.dropout[i], in.total)
		loss += part
	}
	return loss, sums
}

// differentiated runs one of the graphs that give a loss and gradients, after sums: each device's own of the latter.
func (p *program) differentiated(exec *Exec, s *state, b Batch, sums [][]*tensors.Tensor, key [2]uint32, total float64) (loss float64, gradients [][]*tensors.Tensor) {
	args := make([][]any, p.devices.Len())
	for d, batch := range graphx.Must(p.parts(b)) {
		args[d] = p.values(s, d)
		if sums != nil {
			args[d] = append(args[d], p.devices.Donated(d, sums[d])...)
		}
		args[d] = append(append(args[d], p.devices.Donated(d, batch)...), key[:], graphx.Scalar(total, p.DType))
	}
	gradients = graphx.Must(p.devices.Call(exec, args))
	for d, out := range gradients {
		loss += scalarOf(out[0])
		gradients[d] = out[1:]
	}
	return loss, gradients
}

// forwardGraph: frozen, values, batch, key, total -> loss, gradients.
func (p *program) forwardGraph(in []*Node) []*Node {
	loss, gradients := p.differentiate(in)
	return append([]*Node{loss}, gradients...)
}

// partialGraph: frozen, values, sums, batch, key, total -> loss, sums.
func (p *program) partialGraph(in []*Node) []*Node {
	tensors, in := graphx.Split(in, len(p.Frozen)+len(p.Params))
	sums, rest := graphx.Split(in, p.moving())
	loss, gradients := p.differentiate(slices.Concat(tensors, rest))
	for i := range gradients {
		gradients[i] = Add(sums[i], gradients[i])
	}
	return append([]*Node{loss}, gradients...)
}

// applyGraph: state, gradients, rates -> norm, state.
func (p *program) applyGraph(in []*Node) []*Node {
	cells, in := p.cellNodes(in)
	gradients, rates := graphx.Split(in, p.moving())
	norm, updated := p.optimize(cells, p.devices.Sum(gradients), rates)
	return append([]*Node{norm}, updated...)
}

// differentiate is forward and backward: the loss and its gradients by every moving parameter, in their order. in is
// frozen, values, batch, key and total.
func (p *program) differentiate(in []*Node) (loss *Node, gradients []*Node) {
	weights, moving, rest := p.named(in)
	batch, rest := graphx.Split(rest, len(rest)-2)
	loss = p.Loss(graphx.Lookup(weights), batch, rest[0], rest[1])
	return loss, Gradient(loss, moving...)
}

// named sorts the first of a graph's inputs: every tensor by its name, and the parameters that move.
func (p *program) named(in []*Node) (byName map[string]*Node, moving, rest []*Node) {
	byName = make(map[string]*Node, len(p.Frozen)+len(p.Params))
	for i, t := range p.Frozen {
		byName[t.Name] = in[i]
	}
	values, rest := graphx.Split(in[len(p.Frozen):], len(p.Params))
	for i := range p.Params {
		byName[p.Params[i].Name] = values[i]
		if p.Params[i].moves() {
			moving = append(moving, values[i])
		}
	}
	return byName, moving, rest
}

// cellNodes are a parameter and its moments in a graph; m and v are nil for a frozen one.
type cellNodes struct{ value, m, v *Node }

// cellNodes sorts a graph's inputs as state.args laid them out.
func (p *program) cellNodes(in []*Node) (cells []cellNodes, rest []*Node) {
	for i := range p.Params {
		if !p.Params[i].moves() {
			cells, in = append(cells, cellNodes{value: in[0]}), in[1:]
			continue
		}
		cells, in = append(cells, cellNodes{in[0], in[1], in[2]}), in[3:]
	}
	return cells, in
}

// optimize is clipping and AdamW: the gradient's norm, and value, m and v of each parameter that moves, which are the old
// ones where the norm is not finite.
func (p *program) optimize(cells []cellNodes, gradients, rates []*Node) (norm *Node, updated []*Node) {
	lr, c1, c2 := rates[0], rates[1], rates[2]
	norm = globalNorm(gradients)
	sound := isFinite(norm)
	if p.clip > 0 {
		gradients = clipped(gradients, norm, p.clip)
	}
	for i, c := range cells {
		param := &p.Params[i]
		if !param.moves() {
			continue
		}
		decay := p.decay
		if param.NoDecay {
			decay = 0
		}
		value, m, v := adamW(c.value, gradients[0], c.m, c.v, MulScalar(lr, param.Rate), c1, c2, decay)
		updated = append(updated, Where(sound, value, c.value), Where(sound, m, c.m), Where(sound, v, c.v))
		gradients = gradients[1:]
	}
	return norm, updated
}

// moving counts the parameters that are trained.
func (p *program) moving() (n int) {
	for i := range p.Params {
		if p.Params[i].moves() {
			n++
		}
	}
	return n
}

func (p *program) rates(in stepInputs) []any {
	c1, c2 := biasCorrections(in.number)
	return []any{graphx.Scalar(in.lr, p.DType), graphx.Scalar(c1, p.DType), graphx.Scalar(c2, p.DType)}
}

func scalarOf(t *tensors.Tensor) float64 {
	defer t.MustFinalizeAll()
	if t.DType() == dtypes.Float64 {
		return tensors.ToScalar[float64](t)
	}
	return float64(tensors.ToScalar[float32](t))
}
