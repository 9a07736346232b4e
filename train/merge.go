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
type merger struct {
	backend compute.Backend
	exec    *Exec
}

// blockElements bounds the part of a kernel that is merged at a time: what is held beside a kernel is a few
// float64 arrays of this size, not of the word embeddings'.
const blockElements = 1 << 20

func newMerger(backend compute.Backend, adapter lora.Adapter) (*merger, error) {
	exec, err := NewExec(backend, func(in []*Node) []*Node {
		block, ids := in[0], in[1] // rows of K [n, Out], and which they are
		var factors []*Node
		for _, f := range in[2:] {
			factors = append(factors, ConvertDType(f, dtypes.Float64))
		}
		sum := Add(ConvertDType(block, dtypes.Float64), adapter.Delta(factors).Rows(ids))
		return []*Node{ConvertDType(sum, block.DType())}
	})
	if err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	return &merger{backend, exec.WithName("merge").SetMaxCache(maxGraphs)}, nil
}

// merge returns the merged kernel [In, Out].
func (m *merger) merge(kernel *tensors.Tensor, factors []*tensors.Tensor) (*tensors.Tensor, error) {
	merged, err := kernel.LocalClone()
	if err != nil {
		return nil, fmt.Errorf("merge: %w", err)
	}
	if err := m.into(merged, factors); err != nil {
		return nil, err
	}
	return merged, merged.ToDevice(m.backend, 0) // where it is used, and nowhere else
}

// into adds ΔK to a kernel where it lies.
func (m *merger) into(kernel *tensors.Tensor, factors []*tensors.Tensor) error {
	if kernel.DType() == dtypes.Float64 {
		return mergeBlocks[float64](m, kernel, factors)
	}
	return mergeBlocks[float32](m, kernel, factors)
}

func mergeBlocks[T float32 | float64](m *merger, kernel *tensors.Tensor, factors []*tensors.Tensor) error {
	return graphx.Try("merge", func() {
		in, out := kernel.Shape().Dim(0), kernel.Shape().Dim(1)
		rows := max(1, blockElements/out)
		tensors.MustMutableFlatData(kernel, func(flat []T) {
			for from := 0; from < in; from += rows {
				to := min(from+rows, in)
				ids := make([]int32, to-from)
				for i := range ids {
					ids[i] = int32(from + i)
				}
				part := flat[from*out : to*out]
				args := []any{tensors.FromFlatDataAndDimensions(part, to-from, out), tensors.FromFlatDataAndDimensions(ids, to-from)}
				for _, f := range factors {
					args = append(args, f)
				}
				block := must(m.exec.Call(args...))[0]
				tensors.MustConstFlatData(block, func(sum []T) { copy(part, sum) })
				for _, t := range []*tensors.Tensor{block, args[0].(*tensors.Tensor), args[1].(*tensors.Tensor)} {
					t.MustFinalizeAll()
				}
			}
		})
	})
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
		i := at[site.kernel.Weight()]
		kernel, err := m.merge(weights.list[i], s.factorsOf(site))
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
