package loop

import (
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// compiled is the graph of the gradients of a batch, alone or as one of several that are accumulated.
func (p *program) compiled(b Batch, accumulated bool) (*Graph, error) {
	parts, err := p.parts(b)
	if err != nil {
		return nil, err
	}
	var args []shapes.Shape
	for _, t := range p.Frozen {
		args = append(args, t.Value.Shape())
	}
	for i := range p.Params {
		args = append(args, p.shape(i))
	}
	exec := p.forward
	if accumulated {
		args, exec = append(args, p.gradientShapes()...), p.partial
	}
	for _, t := range parts[0] {
		args = append(args, t.Shape())
	}
	return p.devices.Compile(exec, append(args, shapes.Make(dtypes.Uint32, 2), shapes.Make(p.DType)))
}

// compileUpdate compiles the update, whose shapes are the same for all batches.
func (p *program) compileUpdate() error {
	scalar := shapes.Make(p.DType)
	args := append(p.stateShapes(), p.gradientShapes()...)
	_, err := p.devices.Compile(p.apply, append(args, scalar, scalar, scalar))
	return err
}

func (p *program) shape(i int) shapes.Shape { return shapes.Make(p.DType, p.Params[i].Shape...) }

func (p *program) gradientShapes() (list []shapes.Shape) {
	for i := range p.Params {
		if p.Params[i].moves() {
			list = append(list, p.shape(i))
		}
	}
	return list
}

// stateShapes are those of state.args.
func (p *program) stateShapes() (list []shapes.Shape) {
	for i := range p.Params {
		list = append(list, p.shape(i))
		if p.Params[i].moves() {
			list = append(list, p.shape(i), p.shape(i))
		}
	}
	return list
}

// stateBytes is what parameters and moments take.
func (p *program) stateBytes() (n int64) {
	for _, s := range p.stateShapes() {
		n += int64(s.Size() * s.DType.Size())
	}
	return n
}

func (p *program) frozenBytes() (n int64) {
	for _, t := range p.Frozen {
		n += int64(t.Value.Shape().Size() * t.Value.DType().Size())
	}
	return n
}
