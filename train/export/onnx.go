package export

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/onnx"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// ONNX writes a run's model, its adapter merged in, as an ONNX graph with the files that Transformers has beside it, in the
// layout of optimum. The graph is the encoder's own, traced: every family and pooling. Out is there complete or not at
// all; an error of verification leaves nothing.
type ONNX struct {
	Options
	Precision string // of the file's weights, one of ONNXPrecisions
	Version   string // of the program, for the file's metadata
}

// ONNXPrecisions are how the weights of an ONNX file may be stored: as float32 (f32, the default), the same rounded to float16
// and computed with in float32 (f16), or tables and kernels as 8-bit integers, a scale a row or column (int8).
func ONNXPrecisions() []string { return []string{"f32", "f16", "int8"} }

// onnxFile is what optimum calls a model.
const onnxFile = "model.onnx"

// The graph's inputs, as Transformers calls them.
const (
	inputIDs   = "input_ids"
	inputMask  = "attention_mask"
	inputTypes = "token_type_ids"
)

// Write writes the directory.
func (e ONNX) Write(ctx context.Context) (*Report, error) {
	if e.Precision == "" {
		e.Precision = "f32"
	}
	if !slices.Contains(ONNXPrecisions(), e.Precision) {
		return nil, fmt.Errorf("export: precision %q is unknown; want one of %s", e.Precision, strings.Join(ONNXPrecisions(), ", "))
	}
	return e.write(ctx, "onnx", e)
}

// refuse takes every run.
func (e ONNX) refuse(*train.Finished) error { return nil }

// fill writes every file.
func (e ONNX) fill(ctx context.Context, dir string, s *train.Finished, report *Report) error {
	m, err := s.Merge(e.Backend)
	if err != nil {
		return err
	}
	defer m.Close()
	specs := map[string]model.Spec{}
	for _, spec := range m.Specs() {
		specs[spec.Name] = spec
	}
	traced, err := onnx.Trace(source(m.Config, specs, e.Precision))
	if err != nil {
		return err
	}
	traced.Describe(e.Version, model.SequenceClassification.Class(m.Config)+", fine-tuned, its adapter merged in", e.properties(s, m.Config))
	read := canceled(ctx, m.Tensor)
	files, err := traced.Write(dir, onnxFile, onnx.InlineLimit, func(name string) ([]float32, error) {
		t, err := read(specs[name])
		if err != nil {
			return nil, err
		}
		return tensors.CopyFlatData[float32](t)
	})
	if err != nil {
		return err
	}
	if report.Bytes, err = sizes(dir, files); err != nil {
		return err
	}
	report.Files, report.Tensors = files, len(traced.Weights)
	config, err := m.Config.JSON(model.SequenceClassification)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteBytes(filepath.Join(dir, "config.json"), config); err != nil {
		return err
	}
	return e.accompany(dir, s, m.Config, onnxCard)
}

// source is the encoder's graph: the same that training builds.
func source(c *model.Config, specs map[string]model.Spec, precision string) onnx.Source {
	weights := map[string][]int{}
	for name, spec := range specs {
		weights[name] = spec.Shape
		if spec.Dense { // the graph has kernels as [in, out]
			weights[name] = []int{spec.Shape[1], spec.Shape[0]}
		}
	}
	kernels := map[string]bool{}
	for _, k := range c.Kernels() {
		kernels[k.Weight()] = true
	}
	return onnx.Source{
		Inputs: []string{inputIDs, inputMask, inputTypes}, Output: "logits", Axes: []any{"batch", c.NumLabels()}, Weights: weights,
		Store: func(name string) onnx.Storage {
			switch {
			case precision == "f16":
				return onnx.Float16
			case precision == "int8" && kernels[name]: // the head is small, and nearest to the logits
				return onnx.Int8
			default:
				return onnx.Float32
			}
		},
		Build: func(in []*graph.Node, weight func(name string) *graph.Node) *graph.Node {
			e := &model.Encoder{Config: c, Weights: weight, Hook: model.Frozen, Longest: c.Positions()}
			return e.Logits(model.Padded{IDs: in[0], Mask: in[1], Types: in[2]})
		},
	}
}

// properties are the file's metadata.
func (e ONNX) properties(s *train.Finished, c *model.Config) [][2]string {
	return [][2]string{
		{"base_model", s.Run.Model},
		{"model_type", c.ModelType},
		{"task", s.Adapter.Task},
		{"method", s.Adapter.Method},
		{"labels", strings.Join(c.Labels(), ", ")},
		{"problem_type", c.ProblemType},
		{"pooling", string(cmp.Or(c.Pooling, model.PoolHead))},
		{"precision", e.Precision},
	}
}
