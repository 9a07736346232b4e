package train

import (
	"context"
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
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
				block := graphx.Must(m.exec.Call(args...))[0]
				tensors.MustConstFlatData(block, func(sum []T) { copy(part, sum) })
				for _, t := range []*tensors.Tensor{block, args[0].(*tensors.Tensor), args[1].(*tensors.Tensor)} {
					t.MustFinalizeAll()
				}
			}
		})
	})
}

func (m *merger) finalize() { m.exec.Finalize() }

// evaluator measures an adapter as it stands in training. Its graphs are compiled once a run; the merged kernels are
// freed again.
type evaluator struct {
	checkpoint *model.Checkpoint
	adapted    *adaptation
	merger     *merger // nil: the adapter is beside the kernels, which are held with fewer bits than it has
	predictor  *Predictor
}

func newEvaluator(on *devices.Set, c *model.Checkpoint, a *adaptation, held bool) (*evaluator, error) {
	e := &evaluator{checkpoint: c, adapted: a}
	var err error
	if held {
		e.predictor, err = newPredictor(on, c, nil, a)
	} else {
		if e.merger, err = newMerger(on.Backend(), a.adapter); err != nil {
			return nil, err
		}
		e.predictor, err = newPredictor(on, c, weightsOf(c), nil)
	}
	if err != nil {
		if e.merger != nil {
			e.merger.finalize()
		}
		return nil, err
	}
	return e, nil
}

// logits are those of the model with these values of its parameters.
func (e *evaluator) logits(ctx context.Context, values []loop.NamedTensor, rows []data.Encoded, layout Layout, progress func(done, total int)) ([][]float32, error) {
	weights, merged, err := e.merged(values)
	defer func() {
		for _, w := range weights {
			if w.Value != e.checkpoint.Tensors[w.Name] { // of this evaluation alone
				e.predictor.devices.Forget(w.Value)
			}
		}
		for _, m := range merged {
			m.MustFinalizeAll()
		}
	}()
	if err != nil {
		return nil, err
	}
	e.predictor.weights = weights
	return e.predictor.Logits(ctx, rows, layout, progress)
}

// merged folds the adapter, and what else is trained, into the checkpoint's weights, or puts it beside them. made are the tensors that were made
// for it; the others are the checkpoint's and the values.
func (e *evaluator) merged(values []loop.NamedTensor) (weights []loop.NamedTensor, made []*tensors.Tensor, err error) {
	weights = weightsOf(e.checkpoint)
	trained := make(map[string]*tensors.Tensor, len(values))
	for _, v := range values {
		trained[v.Name] = v.Value
	}
	at := make(map[string]int, len(weights))
	for i, w := range weights {
		at[w.Name] = i
		if t, ok := trained[w.Name]; ok {
			weights[i].Value = t
		}
	}
	for _, s := range e.adapted.sites {
		factors, err := s.tensors(trained)
		if err != nil {
			return nil, made, err
		}
		if e.merger == nil {
			weights = append(weights, s.named(factors)...)
			continue
		}
		i := at[s.kernel.Weight()]
		kernel, err := e.merger.merge(weights[i].Value, factors)
		if err != nil {
			return nil, made, fmt.Errorf("%s: %w", s.kernel.Name, err)
		}
		weights[i].Value, made = kernel, append(made, kernel)
	}
	return weights, made, nil
}

func (e *evaluator) close() {
	e.predictor.Close()
	if e.merger != nil {
		e.merger.finalize()
	}
}
