package train

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// merger computes K + ΔK in float64 and rounds once to K's dtype (method.md 4). It compiles a graph a
// kernel shape and is used for one kernel at a time.
type merger struct{ exec *Exec }

func newMerger(backend compute.Backend, adapter lora.Adapter) (*merger, error) {
	exec, err := NewExec(backend, func(in []*Node) []*Node {
		wide := make([]*Node, len(in))
		for i, n := range in {
			wide[i] = ConvertDType(n, dtypes.Float64)
		}
		return []*Node{ConvertDType(Add(wide[0], adapter.Delta(wide[1:]).Matrix()), in[0].DType())}
	})
	if err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	return &merger{exec.WithName("merge").SetMaxCache(maxGraphs)}, nil
}

// merge returns the merged kernel [In, Out].
func (m *merger) merge(kernel *tensors.Tensor, factors []*tensors.Tensor) (merged *tensors.Tensor, err error) {
	err = graphx.Try("merge", func() {
		args := []any{kernel}
		for _, f := range factors {
			args = append(args, f)
		}
		merged = must(m.exec.Call(args...))[0]
	})
	return merged, err
}

func (m *merger) finalize() { m.exec.Finalize() }

// state folds a state's adapters, and its trained head, into a checkpoint's weights. merged are the tensors
// that were made for it; the others are the checkpoint's and the state's own.
func (m *merger) state(c *model.Checkpoint, s *state) (weights namedTensors, merged []*tensors.Tensor, err error) {
	weights = weightsOf(c)
	at := make(map[string]int, len(weights.names))
	for i, name := range weights.names {
		at[name] = i
	}
	for _, site := range s.sites {
		var factors []*tensors.Tensor
		for _, p := range s.params[site.first : site.first+site.factors] {
			factors = append(factors, p.value)
		}
		i := at[site.kernel.Weight()]
		kernel, err := m.merge(weights.list[i], factors)
		if err != nil {
			return weights, merged, fmt.Errorf("%s: %w", site.kernel.Name, err)
		}
		weights.list[i], merged = kernel, append(merged, kernel)
	}
	for _, p := range s.params {
		if i, ok := at[p.name]; ok {
			weights.list[i] = p.value
		}
	}
	return weights, merged, nil
}
