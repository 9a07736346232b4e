// Package devices runs one graph on several devices of an engine at once: the same program on each of them, with its own
// part of a batch, and sums over all of them by the engine's own collective (SPMD). On one device the graph is the plain
// one.
package devices

import (
	"fmt"
	"slices"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/distributed"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/compute/support/xslices"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/graphx"
)

// Set are the first devices of an engine. It is safe for concurrent use.
type Set struct {
	backend compute.Backend
	n       int
	mesh    *distributed.DeviceMesh // nil: graphs are for one device

	mu     sync.Mutex
	copies map[*tensors.Tensor][]*tensors.Tensor // of tensors that do not change, on the devices after the first
}

// New are the first n devices of an engine, at least one. Close it where there are several.
func New(backend compute.Backend, n int) (*Set, error) {
	if n <= 1 {
		return &Set{backend: backend, n: 1}, nil
	}
	return NewSPMD(backend, n)
}

// NewSPMD is New with graphs in the form for several devices, also for one.
func NewSPMD(backend compute.Backend, n int) (*Set, error) {
	if there := backend.NumDevices(); n > there {
		return nil, fmt.Errorf("devices: %d are asked for, and the engine has %d", n, there)
	}
	mesh, err := distributed.NewDeviceMesh([]int{n}, []string{axis})
	if err != nil {
		return nil, fmt.Errorf("devices: %w", err)
	}
	return &Set{backend: backend, n: n, mesh: mesh, copies: map[*tensors.Tensor][]*tensors.Tensor{}}, nil
}

// axis is the only one of the mesh: batches are split along it.
const axis = "data"

// Len is how many devices there are.
func (s *Set) Len() int { return s.n }

// Backend is the engine that they belong to.
func (s *Set) Backend() compute.Backend { return s.backend }

// Exec makes graphs by fn that run on all devices. One of them sums over the devices by Sum.
func (s *Set) Exec(name string, fn func(in []*Node) []*Node) (*Exec, error) {
	exec, err := NewExec(s.backend, fn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if s.mesh != nil {
		exec = exec.SPMD(s.mesh).WithDeviceAssignment(xslices.Iota(compute.DeviceNum(0), s.n)) // which go-xla wants for one, too
	}
	return exec.WithName(name), nil
}

// Sum adds up what each device has, in a graph of Exec: every device gets the sums.
func (s *Set) Sum(nodes []*Node) []*Node {
	if s.mesh == nil || len(nodes) == 0 {
		return nodes
	}
	return nodes[0].Graph().Distributed().Along(axis).AllReduce(nodes, compute.ReduceOpSum)
}

// Compile compiles the graph of arguments of these shapes, which are those of each device.
func (s *Set) Compile(exec *Exec, of []shapes.Shape) (*Graph, error) {
	return exec.Compile(slices.Repeat(of, s.n)...)
}

// Call runs a graph of Exec: args are each device's, and so is what it gives.
func (s *Set) Call(exec *Exec, args [][]any) ([][]*tensors.Tensor, error) {
	out, err := exec.Call(slices.Concat(args...)...)
	if err != nil {
		return nil, err
	}
	return slices.Collect(slices.Chunk(out, len(out)/s.n)), nil
}

// CallOn runs a graph for one device, which Exec did not make, on one of the set.
func (s *Set) CallOn(device int, exec *Exec, args []any) ([]*tensors.Tensor, error) {
	// Of GoMLX 0.28's two functions for this, Exec.CallOnDevice takes the first device whatever it is told.
	out, _, err := exec.CallWithGraphOnDevice(compute.DeviceNum(device), args...)
	return out, err
}

// Donated are tensors as a device's arguments of a graph, which frees them after the call. They must not be used again. It
// panics where the engine cannot take them.
func (s *Set) Donated(device int, list []*tensors.Tensor) []any {
	return graphx.Donated(s.backend, compute.DeviceNum(device), list)
}

// On is a tensor as it lies on a device: on the first it is t itself, on the others a copy, made when first asked for.
// t must not change afterwards. The copies are the set's, until Close.
func (s *Set) On(device int, t *tensors.Tensor) (*tensors.Tensor, error) {
	if device == 0 {
		return t, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.copies[t] == nil {
		s.copies[t] = make([]*tensors.Tensor, s.n)
	}
	if s.copies[t][device] == nil {
		c, err := s.Copy(device, t)
		if err != nil {
			return nil, err
		}
		s.copies[t][device] = c
	}
	return s.copies[t][device], nil
}

// Copy is a new tensor of t's values on a device.
func (s *Set) Copy(device int, t *tensors.Tensor) (*tensors.Tensor, error) {
	c, err := t.OnDeviceClone(s.backend, compute.DeviceNum(device))
	if err != nil {
		return nil, fmt.Errorf("copy a tensor of %v to device %d: %w", t.Shape(), device, err)
	}
	return c, nil
}

// Forget frees the copies of a tensor that is to change or to go.
func (s *Set) Forget(t *tensors.Tensor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(t)
}

func (s *Set) forget(t *tensors.Tensor) {
	for _, c := range s.copies[t] {
		if c != nil {
			c.MustFinalizeAll()
		}
	}
	delete(s.copies, t)
}

// Close frees the copies.
func (s *Set) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range s.copies {
		s.forget(t)
	}
}
