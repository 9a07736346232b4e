package loop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/devices"
)

// Param says what one trained tensor is. Nothing of it changes: graphs are built from it beside the training.
type Param struct {
	Name    string // "<kernel>.<factor>", or the name of a tensor of the model
	Module  string // kernel or other part of the model that it belongs to; empty: Name without .weight or .bias
	Shape   []int
	Rate    float64 // learning-rate multiple; 0: frozen bit for bit
	NoDecay bool    // weight decay leaves it alone
	Draw    func() (*tensors.Tensor, error)
}

func (p *Param) moves() bool { return p.Rate != 0 }

func (p *Param) module() string {
	if p.Module != "" {
		return p.Module
	}
	return moduleOf(p.Name)
}

// moduleOf is the part of the model that a tensor of it belongs to.
func moduleOf(tensor string) string {
	return strings.TrimSuffix(strings.TrimSuffix(tensor, ".weight"), ".bias")
}

// state is all that changes during training, in the order of the parameters: what a checkpoint holds, and what a step
// takes and gives back.
type state struct {
	params []Param
	cells  []cell
	copies [][]cell // the same on the devices after the first, once a step is made on them
}

// cell is the moving part of a parameter.
type cell struct {
	value *tensors.Tensor
	m, v  *tensors.Tensor // AdamW's moments, nil for a frozen one
}

func newState(params []Param) *state { return &state{params: params, cells: make([]cell, len(params))} }

// on is the state as a device has it.
func (s *state) on(device int) []cell {
	if device == 0 {
		return s.cells
	}
	return s.copies[device-1]
}

// spread copies the state to the devices after the first, unless they have it.
func (s *state) spread(to *devices.Set) (err error) {
	for d := len(s.copies) + 1; d < to.Len(); d++ {
		copied := make([]cell, len(s.cells))
		for i, c := range s.cells {
			for _, t := range []struct{ to, from **tensors.Tensor }{{&copied[i].value, &c.value}, {&copied[i].m, &c.m}, {&copied[i].v, &c.v}} {
				if *t.from == nil {
					continue
				}
				if *t.to, err = to.Copy(d, *t.from); err != nil {
					return err
				}
			}
		}
		s.copies = append(s.copies, copied)
	}
	return nil
}

// gather forgets the copies: the state is to be another.
func (s *state) gather() {
	for _, c := range slices.Concat(s.copies...) {
		for _, t := range []*tensors.Tensor{c.value, c.m, c.v} {
			if t != nil {
				t.MustFinalizeAll()
			}
		}
	}
	s.copies = nil
}

// initialise draws every parameter and zeroes the moments. It stops between parameters when ctx is cancelled: drawing
// the compressed method's takes minutes on a large model.
func (s *state) initialise(ctx context.Context, dtype dtypes.DType, progress func(done, total int)) error {
	s.gather()
	for i := range s.params {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := &s.params[i]
		value, err := p.Draw()
		if err == nil {
			value, err = inDType(value, dtype)
		}
		if err != nil {
			return fmt.Errorf("initialise %s: %w", p.Name, err)
		}
		s.cells[i].value = value
		progress(i+1, len(s.params))
	}
	s.zeroMoments(dtype)
	return nil
}

func (s *state) zeroMoments(dtype dtypes.DType) {
	for i := range s.params {
		if p := &s.params[i]; p.moves() {
			s.cells[i].m = tensors.FromShape(shapes.Make(dtype, p.Shape...))
			s.cells[i].v = tensors.FromShape(shapes.Make(dtype, p.Shape...))
		}
	}
}

// inDType gives a tensor in the dtype that is trained in: parameters are drawn in float32 or float64.
func inDType(t *tensors.Tensor, dtype dtypes.DType) (*tensors.Tensor, error) {
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

// args are the parameters and moments as a step's arguments, of each device. Buffers of what the step gives back changed
// are donated, so that training holds one copy of them on each.
func (s *state) args(on *devices.Set) ([][]any, error) {
	args := make([][]any, on.Len())
	for d := range args {
		for i, c := range s.on(d) {
			if !s.params[i].moves() {
				args[d] = append(args[d], c.value)
				continue
			}
			for _, t := range []*tensors.Tensor{c.value, c.m, c.v} {
				donated, err := graph.DonateTensorBuffer(t, on.Backend(), compute.DeviceNum(d))
				if err != nil {
					return nil, fmt.Errorf("pass %s to the step: %w", s.params[i].Name, err)
				}
				args[d] = append(args[d], donated)
			}
		}
	}
	return args, nil
}

// take stores a step's outputs, those of each device: value, m and v of each parameter that moves.
func (s *state) take(outputs [][]*tensors.Tensor) {
	for d, out := range outputs {
		cells := s.on(d)
		for i := range cells {
			if s.params[i].moves() {
				cells[i], out = cell{out[0], out[1], out[2]}, out[3:]
			}
		}
	}
}

// values are the parameters by name.
func (s *state) values() []NamedTensor {
	list := make([]NamedTensor, len(s.cells))
	for i, c := range s.cells {
		list[i] = NamedTensor{s.params[i].Name, c.value}
	}
	return list
}

func (s *state) moments() (list []NamedTensor) {
	for i, c := range s.cells {
		if name := s.params[i].Name; s.params[i].moves() {
			list = append(list, NamedTensor{name + ".m", c.m}, NamedTensor{name + ".v", c.v})
		}
	}
	return list
}

// restore sets every parameter and its moments from tensors by name.
func (s *state) restore(values, moments map[string]*tensors.Tensor) error {
	s.gather()
	var faults []error
	named := func(from map[string]*tensors.Tensor, name string, shape []int) *tensors.Tensor {
		t, ok := from[name]
		switch {
		case !ok:
			faults = append(faults, fmt.Errorf("tensor %q is missing", name))
		case !slices.Equal(t.Shape().Dimensions, shape):
			faults = append(faults, fmt.Errorf("tensor %q is %v, want %v", name, t.Shape().Dimensions, shape))
		}
		return t
	}
	for i := range s.params {
		p := &s.params[i]
		s.cells[i].value = named(values, p.Name, p.Shape)
		if p.moves() {
			s.cells[i].m, s.cells[i].v = named(moments, p.Name+".m", p.Shape), named(moments, p.Name+".v", p.Shape)
		}
	}
	return errors.Join(faults...)
}

// Trained counts the numbers that can change among parameters.
func Trained(params []Param) (n int) {
	for i := range params {
		if params[i].moves() {
			n += shapes.Make(dtypes.Float32, params[i].Shape...).Size()
		}
	}
	return n
}
