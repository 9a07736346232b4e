package train

import (
	"fmt"
	"slices"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// adaptation is an adapter on kernels of a model: which factors each kernel has.
type adaptation struct {
	adapter lora.Adapter
	sites   []site
}

// site is an adapted kernel and its factors, in the order of the adapter's Init.
type site struct {
	kernel  model.Kernel
	factors []lora.Factor
}

// name is a factor's name in files.
func (s site) name(factor int) string { return s.kernel.Name + "." + s.factors[factor].Name }

// named are a kernel's factors by their names in files.
func (s site) named(factors []*tensors.Tensor) (list []loop.NamedTensor) {
	for i, t := range factors {
		list = append(list, loop.NamedTensor{Name: s.name(i), Value: t})
	}
	return list
}

// adapt asks an adapter for the factors of each kernel. Nothing is drawn.
func adapt(adapter lora.Adapter, kernels []model.Kernel, at []lora.Site) (*adaptation, error) {
	a := &adaptation{adapter: adapter}
	for i, kernel := range kernels {
		factors, err := adapter.Init(at[i])
		if err != nil {
			return nil, fmt.Errorf("adapt %w", err) // it names the kernel
		}
		a.sites = append(a.sites, site{kernel, factors})
	}
	return a, nil
}

// params are the factors as the loop trains them.
func (a *adaptation) params() (params []loop.Param) {
	for _, s := range a.sites {
		for i, f := range s.factors {
			params = append(params, loop.Param{Name: s.name(i), Module: s.kernel.Name, Shape: f.Shape, Rate: f.Rate, Draw: f.Value})
		}
	}
	return params
}

func (a *adaptation) kernels() []model.Kernel {
	kernels := make([]model.Kernel, len(a.sites))
	for i, s := range a.sites {
		kernels[i] = s.kernel
	}
	return kernels
}

// deltas are the updates ΔK by kernel name, of factors by their names.
func (a *adaptation) deltas(weights model.Weights) map[string]lora.Delta {
	deltas := make(map[string]lora.Delta, len(a.sites))
	for _, s := range a.sites {
		factors := make([]*Node, len(s.factors))
		for i := range factors {
			factors[i] = weights(s.name(i))
		}
		deltas[s.kernel.Name] = a.adapter.Delta(factors)
	}
	return deltas
}

// factors are a site's tensors among values, which must be there and have their shapes.
func (s site) tensors(values map[string]*tensors.Tensor) ([]*tensors.Tensor, error) {
	list := make([]*tensors.Tensor, len(s.factors))
	for i, f := range s.factors {
		t, ok := values[s.name(i)]
		switch {
		case !ok:
			return nil, fmt.Errorf("tensor %q is missing", s.name(i))
		case !slices.Equal(t.Shape().Dimensions, f.Shape):
			return nil, fmt.Errorf("tensor %q is %v, want %v", s.name(i), t.Shape().Dimensions, f.Shape)
		}
		list[i] = t
	}
	return list, nil
}
