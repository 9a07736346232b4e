package train

import (
	"context"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// site is an adapted kernel and where its factors stand among the parameters.
type site struct {
	kernel  model.Kernel
	first   int // index of its first factor in state.params
	factors int
}

// param is one tensor that a method may train: an adapter's factor, or a tensor of the head.
type param struct {
	name    string // "<kernel>.<factor>", or the tensor's own name
	shape   []int
	rate    float64 // learning-rate multiple; 0: frozen bit for bit
	noDecay bool    // weight decay leaves it alone
	draw    func() (*tensors.Tensor, error)

	value *tensors.Tensor
	m, v  *tensors.Tensor // AdamW's moments, nil for a frozen one
}

// state is all that changes during training, in one fixed order: what a checkpoint holds, and what the
// compiled step takes and gives back.
type state struct {
	sites  []site
	params []param
}

// newState lists the parameters of an adapter on kernels, and of the head where it is trained. Nothing is
// drawn yet.
func newState(adapter lora.Adapter, sites []lora.Site, kernels []model.Kernel, head []param) (*state, error) {
	s := &state{}
	for i, at := range sites {
		factors, err := adapter.Init(at)
		if err != nil {
			return nil, fmt.Errorf("adapt %w", err) // it names the kernel
		}
		s.sites = append(s.sites, site{kernels[i], len(s.params), len(factors)})
		for _, f := range factors {
			s.params = append(s.params, param{name: at.Name + "." + f.Name, shape: f.Shape, rate: f.Rate, draw: f.Value})
		}
	}
	s.params = append(s.params, head...)
	return s, nil
}

// initialise draws every parameter and zeroes the moments. It stops between parameters when ctx is cancelled:
// drawing the compressed method's takes minutes on a large model.
func (s *state) initialise(ctx context.Context, dtype dtypes.DType, progress func(done, total int)) error {
	for i := range s.params {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := &s.params[i]
		value, err := p.draw()
		if err != nil {
			return fmt.Errorf("initialise %s: %w", p.name, err)
		}
		if p.value, err = ownDType(value, dtype); err != nil {
			return fmt.Errorf("initialise %s: %w", p.name, err)
		}
		p.draw = nil // and with it the gradient it may hold
		progress(i+1, len(s.params))
	}
	s.zeroMoments(dtype)
	return nil
}

func (s *state) zeroMoments(dtype dtypes.DType) {
	for i := range s.params {
		if p := &s.params[i]; p.rate != 0 {
			p.m = tensors.FromShape(shapes.Make(dtype, p.shape...))
			p.v = tensors.FromShape(shapes.Make(dtype, p.shape...))
		}
	}
}

// ownDType gives the tensor in the dtype of the model: factors are drawn in float32 or float64.
func ownDType(t *tensors.Tensor, dtype dtypes.DType) (*tensors.Tensor, error) {
	switch {
	case t.DType() == dtype:
		return t, nil
	case dtype == dtypes.Float64 && t.DType() == dtypes.Float32:
		return convert[float32, float64](t)
	case dtype == dtypes.Float32 && t.DType() == dtypes.Float64:
		return convert[float64, float32](t)
	default:
		return nil, fmt.Errorf("dtype %s where %s is trained", t.DType(), dtype)
	}
}

func convert[From, To float32 | float64](t *tensors.Tensor) (*tensors.Tensor, error) {
	from, err := tensors.CopyFlatData[From](t)
	if err != nil {
		return nil, err
	}
	to := make([]To, len(from))
	for i, v := range from {
		to[i] = To(v)
	}
	return tensors.FromFlatDataAndDimensions(to, t.Shape().Dimensions...), nil
}

// trained counts the parameters that can change.
func (s *state) trained() int {
	n := 0
	for _, p := range s.params {
		if p.rate != 0 {
			n += shapes.Make(dtypes.Float32, p.shape...).Size()
		}
	}
	return n
}

// args are the parameters and moments as a step's arguments. Buffers of what the step gives back changed are
// donated, so that training holds one copy of them.
func (s *state) args(backend compute.Backend) ([]any, error) {
	var args []any
	for _, p := range s.params {
		if p.rate == 0 {
			args = append(args, p.value)
			continue
		}
		for _, t := range []*tensors.Tensor{p.value, p.m, p.v} {
			donated, err := graph.DonateTensorBuffer(t, backend, 0)
			if err != nil {
				return nil, fmt.Errorf("pass %s to the step: %w", p.name, err)
			}
			args = append(args, donated)
		}
	}
	return args, nil
}

// take stores a step's outputs, in the order of args.
func (s *state) take(outputs []*tensors.Tensor) {
	i := 0
	for j := range s.params {
		if p := &s.params[j]; p.rate != 0 {
			p.value, p.m, p.v = outputs[i], outputs[i+1], outputs[i+2]
			i += 3
		}
	}
}

// nodes are a step's arguments as the graph sees them.
type nodes struct {
	values, m, v []*graph.Node // by param; m and v are nil for a frozen one
}

// nodes sorts the graph's inputs as args laid them out, and returns how many it took.
func (s *state) nodes(in []*graph.Node) (n nodes, taken int) {
	for _, p := range s.params {
		n.values = append(n.values, in[taken])
		taken++
		if p.rate == 0 {
			n.m, n.v = append(n.m, nil), append(n.v, nil)
			continue
		}
		n.m, n.v = append(n.m, in[taken]), append(n.v, in[taken+1])
		taken += 2
	}
	return n, taken
}
