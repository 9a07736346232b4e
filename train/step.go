package train

import (
	"fmt"
	"math"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/model"
)

// program is what is compiled: the objective for one set of shapes at a time, and the optimizer, whose graph is as large
// where kernels have several factors each, once for all of them.
//
// Everything a graph needs comes in as an argument and everything it changes goes out as a result, in one
// fixed order, so that the same program is compiled in every process and frozen weights are passed, never
// copied.
type program struct {
	backend   compute.Backend
	state     *state
	weights   namedTensors // frozen
	objective LossFunc
	inputs    int // arguments of a batch
	decay     float64
	clip      float64
	dtype     dtypes.DType

	forward, partial, apply *Exec // gradients of a batch; of one of several, added up; the update with them
}

// namedTensors are tensors in the order they are passed to a graph.
type namedTensors struct {
	names []string
	list  []*tensors.Tensor
}

func (n namedTensors) args() []any {
	args := make([]any, len(n.list))
	for i, t := range n.list {
		args[i] = t
	}
	return args
}

// lookup gives the graph's nodes by name; in are the nodes of args.
func (n namedTensors) lookup(in []*Node, more map[string]*Node) model.Weights {
	byName := make(map[string]*Node, len(n.names)+len(more))
	for i, name := range n.names {
		byName[name] = in[i]
	}
	for name, node := range more {
		byName[name] = node
	}
	return func(name string) *Node {
		node, ok := byName[name]
		if !ok {
			panic(fmt.Errorf("the encoder asks for tensor %q, which was not loaded", name))
		}
		return node
	}
}

// compiled graphs an Exec may hold: one a padded length.
const maxGraphs = 64

func (p *program) compile() error {
	for _, e := range []struct {
		exec **Exec
		name string
		fn   func(in []*Node) []*Node
	}{
		{&p.forward, "gradients", p.forwardGraph},
		{&p.partial, "accumulate", p.partialGraph},
		{&p.apply, "update", p.applyGraph},
	} {
		exec, err := NewExec(p.backend, e.fn)
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		*e.exec = exec.WithName(e.name).SetMaxCache(maxGraphs)
	}
	return nil
}

func (p *program) finalize() {
	for _, e := range []*Exec{p.forward, p.partial, p.apply} {
		if e != nil {
			e.Finalize()
		}
	}
}

// update is what a step needs beside its batches.
type update struct {
	number  int     // from 1, for the bias corrections
	lr      float64 // of this update
	total   float64 // real examples in all its batches
	dropout [][2]uint32
}

// run makes one optimizer step over batches and returns the loss before it, the mean over their real
// examples, and the gradient's norm before clipping. Where one of them is no finite number the state stays as it
// was, to the bit. After an error the state is lost: the caller ends the run, and its last checkpoint stands.
func (p *program) run(batches []Batch, u update) (loss, norm float64, err error) {
	err = graphx.Try(fmt.Sprintf("step %d", u.number), func() {
		var gradients []*tensors.Tensor
		if len(batches) == 1 {
			loss, gradients = p.gradientsOf(batches[0], u)
		} else {
			loss, gradients = p.accumulated(batches, u)
		}
		if !finite(loss) {
			for _, g := range gradients {
				g.MustFinalizeAll()
			}
			norm = math.NaN()
			return
		}
		args := append(must(p.state.args(p.backend)), donated(p.backend, gradients)...)
		out := must(p.apply.Call(append(args, p.rates(u)...)...))
		p.state.take(out[1:])
		norm = scalarOf(out[0])
	})
	return loss, norm, err
}

// values are the weights and parameters as arguments.
func (p *program) values() []any {
	args := p.weights.args()
	for _, q := range p.state.params {
		args = append(args, q.value)
	}
	return args
}

func (p *program) gradientsOf(b Batch, u update) (loss float64, gradients []*tensors.Tensor) {
	args := append(p.values(), donated(p.backend, b.Args)...)
	out := must(p.forward.Call(append(args, u.dropout[0][:], scalar(u.total, p.dtype))...))
	return scalarOf(out[0]), out[1:]
}

// accumulated sums the gradients of the batches: the same as one batch of them all, but for the order of additions.
func (p *program) accumulated(batches []Batch, u update) (loss float64, sums []*tensors.Tensor) {
	for _, shape := range p.state.movingShapes(p.dtype) {
		sums = append(sums, tensors.FromShape(shape))
	}
	for i, b := range batches {
		args := append(p.values(), donated(p.backend, sums)...)
		args = append(args, donated(p.backend, b.Args)...)
		out := must(p.partial.Call(append(args, u.dropout[i][:], scalar(u.total, p.dtype))...))
		loss += scalarOf(out[0])
		sums = out[1:]
	}
	return loss, sums
}

// forwardGraph: weights, values, batch, key, total -> loss, gradients.
func (p *program) forwardGraph(in []*Node) []*Node {
	weights, in := split(in, len(p.weights.list))
	values, in := split(in, len(p.state.params))
	loss, gradients := p.gradients(weights, values, in)
	return append([]*Node{loss}, gradients...)
}

// partialGraph: weights, values, sums, batch, key, total -> loss, sums.
func (p *program) partialGraph(in []*Node) []*Node {
	weights, in := split(in, len(p.weights.list))
	values, in := split(in, len(p.state.params))
	sums, in := split(in, p.state.moving())
	loss, gradients := p.gradients(weights, values, in)
	for i := range gradients {
		gradients[i] = Add(sums[i], gradients[i])
	}
	return append([]*Node{loss}, gradients...)
}

// applyGraph: state, gradients, rates -> norm, state.
func (p *program) applyGraph(in []*Node) []*Node {
	n, taken := p.state.nodes(in)
	gradients, in := split(in[taken:], p.state.moving())
	norm, updated := p.update(n, gradients, in)
	return append([]*Node{norm}, updated...)
}

// gradients is forward and backward: the loss and its gradients by every moving parameter, in their order.
func (p *program) gradients(weights, values, in []*Node) (loss *Node, gradients []*Node) {
	batch, in := split(in, p.inputs)
	trained := make(map[string]*Node, len(values))
	var moving []*Node
	for i := range p.state.params { // not copied: its tensors change while graphs are built beside the training
		q := &p.state.params[i]
		trained[q.name] = values[i]
		if q.rate != 0 {
			moving = append(moving, values[i])
		}
	}
	loss = p.objective(p.weights.lookup(weights, trained), batch, in[0], in[1])
	return loss, Gradient(loss, moving...)
}

// update is clipping and AdamW: the gradient's norm, and the new state in the order of state.args, which is the old
// one where the norm is not finite.
func (p *program) update(n nodes, gradients, rates []*Node) (norm *Node, updated []*Node) {
	lr, c1, c2 := rates[0], rates[1], rates[2]
	norm = globalNorm(gradients)
	sound := isFinite(norm)
	if p.clip > 0 {
		gradients = clipped(gradients, norm, p.clip)
	}
	for i, q := range p.state.params {
		if q.rate == 0 {
			continue
		}
		decay := p.decay
		if q.noDecay {
			decay = 0
		}
		value, m, v := adamW(n.values[i], gradients[0], n.m[i], n.v[i], MulScalar(lr, q.rate), c1, c2, decay)
		updated = append(updated, Where(sound, value, n.values[i]), Where(sound, m, n.m[i]), Where(sound, v, n.v[i]))
		gradients = gradients[1:]
	}
	return norm, updated
}

// moving counts the parameters that are trained.
func (s *state) moving() int {
	n := 0
	for i := range s.params {
		if s.params[i].rate != 0 {
			n++
		}
	}
	return n
}

func (p *program) rates(u update) []any {
	c1, c2 := biasCorrections(u.number)
	return []any{scalar(u.lr, p.dtype), scalar(c1, p.dtype), scalar(c2, p.dtype)}
}

// scalar is a number as a graph's argument.
func scalar(v float64, dtype dtypes.DType) any {
	if dtype == dtypes.Float64 {
		return v
	}
	return float32(v)
}

func scalarOf(t *tensors.Tensor) float64 {
	defer t.MustFinalizeAll()
	if t.DType() == dtypes.Float64 {
		return tensors.ToScalar[float64](t)
	}
	return float64(tensors.ToScalar[float32](t))
}

func split(in []*Node, n int) (first, rest []*Node) { return in[:n], in[n:] }

// must turns an error into the panic that graphx.Try turns back: inside one Try, GoMLX does both.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
