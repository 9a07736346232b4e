package train

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
)

// compiled is the graph of the gradients of a batch like this, alone or as one of several that are accumulated.
func (p *program) compiled(batch []*tensors.Tensor, accumulated bool) (*Graph, error) {
	args := append(shapesOf(p.weights.list), p.state.valueShapes(p.dtype)...)
	exec := p.forward
	if accumulated {
		args, exec = append(args, p.state.movingShapes(p.dtype)...), p.partial
	}
	args = append(args, shapesOf(batch)...)
	return exec.Compile(append(args, makeShape(dtypes.Uint32, 2), makeShape(p.dtype))...)
}

// compileUpdate compiles the update, whose shapes are the same for all batches.
func (p *program) compileUpdate() error {
	scalar := makeShape(p.dtype)
	args := append(p.state.shapes(p.dtype), p.state.movingShapes(p.dtype)...)
	_, err := p.apply.Compile(append(args, scalar, scalar, scalar)...)
	return err
}

func (s *state) valueShapes(dtype dtypes.DType) (list []shapes.Shape) {
	for i := range s.params {
		list = append(list, makeShape(dtype, s.params[i].shape...))
	}
	return list
}

// movingShapes are those of the gradients.
func (s *state) movingShapes(dtype dtypes.DType) (list []shapes.Shape) {
	for i := range s.params {
		if s.params[i].rate != 0 {
			list = append(list, makeShape(dtype, s.params[i].shape...))
		}
	}
	return list
}

// shapes are those of args.
func (s *state) shapes(dtype dtypes.DType) (list []shapes.Shape) {
	for _, p := range s.params {
		shape := makeShape(dtype, p.shape...)
		list = append(list, shape)
		if p.rate != 0 {
			list = append(list, shape, shape)
		}
	}
	return list
}

func (s *state) bytes(dtype dtypes.DType) (n int64) {
	for _, shape := range s.shapes(dtype) {
		n += int64(shape.Size() * dtype.Size())
	}
	return n
}

func shapesOf(list []*tensors.Tensor) []shapes.Shape {
	all := make([]shapes.Shape, len(list))
	for i, t := range list {
		all[i] = t.Shape()
	}
	return all
}

func bytesOf(list []*tensors.Tensor) (n int64) {
	for _, t := range list {
		n += int64(t.Shape().Size() * t.DType().Size())
	}
	return n
}
