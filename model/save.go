package model

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"path/filepath"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/safetensors"
)

// Save writes config.json and model.safetensors into a directory, as Transformers' save_pretrained does: kernels
// as [out, in], canonical names, float16 or float32. Fields of the config that only Raw knows are written again.
func (c *Checkpoint) Save(dir string, dtype dtypes.DType) error {
	entries, err := c.entries(dtype)
	if err != nil {
		return err
	}
	config, err := c.configJSON(dtype)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name  string
		write func(w io.Writer) error
	}{
		{singleFile, func(w io.Writer) error { return safetensors.Write(w, entries, map[string]string{"format": "pt"}) }},
		{"config.json", func(w io.Writer) error { _, err := w.Write(config); return err }},
	} {
		if err := atomicfile.Write(filepath.Join(dir, file.name), file.write); err != nil {
			return fmt.Errorf("save model: %w", err)
		}
	}
	return nil
}

// entries are the tensors as a file holds them, in the order of Specs.
func (c *Checkpoint) entries(dtype dtypes.DType) ([]safetensors.Entry, error) {
	var entries []safetensors.Entry
	for _, spec := range c.Specs() {
		values, err := tensors.CopyFlatData[float32](c.Tensors[spec.Name])
		if err != nil {
			return nil, fmt.Errorf("save %s: %w", spec.Name, err)
		}
		if spec.Dense {
			values = Transposed(values, spec.Shape[1], spec.Shape[0])
		}
		e := safetensors.Entry{Name: spec.Name, Shape: spec.Shape, Data: values}
		switch dtype {
		case dtypes.Float32:
		case dtypes.Float16:
			e.Data = safetensors.F16(values)
		default:
			return nil, fmt.Errorf("save model as %s; want Float16 or Float32", dtype)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// configJSON is the config with what the checkpoint is: the fields of Raw, those the encoder knows over them.
func (c *Checkpoint) configJSON(dtype dtypes.DType) ([]byte, error) {
	known, err := json.Marshal(c.Config)
	if err != nil {
		return nil, fmt.Errorf("save config.json: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(known, &fields); err != nil {
		return nil, fmt.Errorf("save config.json: %w", err)
	}
	if c.Architecture != SequenceClassification {
		delete(fields, "id2label")
		delete(fields, "problem_type")
	}
	maps.DeleteFunc(fields, func(_ string, v any) bool { return v == nil || v == "" || v == false })
	all := map[string]any{}
	for name, v := range c.Config.Raw {
		all[name] = v
	}
	maps.Copy(all, fields)
	all["architectures"] = []string{c.Architecture.String()}
	all["dtype"] = map[dtypes.DType]string{dtypes.Float16: "float16", dtypes.Float32: "float32"}[dtype]
	text, err := json.MarshalIndent(all, "", "  ")
	return append(text, '\n'), err
}
