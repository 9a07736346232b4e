package model

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/safetensors"
)

// Save writes config.json and model.safetensors into a directory, as Transformers' save_pretrained does: kernels
// as [out, in], canonical names. Fields of the config that only Raw knows are written again.
func (c *Checkpoint) Save(dir string, dtype dtypes.DType) error {
	_, err := SaveStream(dir, c.Config, c.Architecture, SaveOptions{DType: dtype}, func(spec Spec) (*tensors.Tensor, error) {
		return c.Tensors[spec.Name], nil
	})
	return err
}

// SaveOptions say how a checkpoint is written.
type SaveOptions struct {
	DType      dtypes.DType // Float32, Float16 or BFloat16
	ShardBytes int64        // the most that the tensors of a file may have, unless it holds one alone; 0: all in one file
}

// SaveStream writes a checkpoint as Save does, but asks for the tensors one at a time and keeps none: float32, dense
// kernels as [in, out]. It returns the names of the weight files.
func SaveStream(dir string, config *Config, a Architecture, o SaveOptions, tensor func(spec Spec) (*tensors.Tensor, error)) (files []string, err error) {
	written, ok := saved[o.DType]
	if !ok {
		return nil, fmt.Errorf("save model as %s; want Float16 or Float32, or BFloat16", o.DType)
	}
	text, err := configJSON(config, a, written.name)
	if err != nil {
		return nil, err
	}
	shards := shardsOf(a.specs(config), int64(written.dtype.Size()), o.ShardBytes)
	index := shardIndex{WeightMap: map[string]string{}}
	for i, specs := range shards {
		name := singleFile
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		var entries []safetensors.Entry
		for _, spec := range specs {
			index.WeightMap[spec.Name] = name
			index.Metadata.TotalSize += int64(product(spec.Shape) * written.dtype.Size())
			entries = append(entries, safetensors.Entry{Name: spec.Name, Shape: spec.Shape, Data: safetensors.Lazy{
				DType: written.dtype, Make: func() (any, error) { return fileData(spec, written.dtype, tensor) },
			}})
		}
		err := atomicfile.Write(filepath.Join(dir, name), func(w io.Writer) error {
			return safetensors.Write(w, entries, map[string]string{"format": "pt"})
		})
		if err != nil {
			return nil, fmt.Errorf("save model: %w", err)
		}
		files = append(files, name)
	}
	if len(shards) > 1 {
		if err := jsonfile.Write(filepath.Join(dir, indexFile), index); err != nil {
			return nil, fmt.Errorf("save model: %w", err)
		}
	}
	err = atomicfile.WriteBytes(filepath.Join(dir, "config.json"), text)
	if err != nil {
		return nil, fmt.Errorf("save model: %w", err)
	}
	return files, nil
}

// saved are the types that checkpoints are written in, with their names in config.json.
var saved = map[dtypes.DType]struct {
	dtype safetensors.DType
	name  string
}{
	dtypes.Float32:  {safetensors.DTypeF32, "float32"},
	dtypes.Float16:  {safetensors.DTypeF16, "float16"},
	dtypes.BFloat16: {safetensors.DTypeBF16, "bfloat16"},
}

// shardIndex is model.safetensors.index.json.
type shardIndex struct {
	Metadata struct {
		TotalSize int64 `json:"total_size"`
	} `json:"metadata"`
	WeightMap map[string]string `json:"weight_map"`
}

// shardsOf deals tensors out to files of at most so many bytes, in the order of their names.
func shardsOf(specs []Spec, size, most int64) [][]Spec {
	if most == 0 {
		return [][]Spec{specs}
	}
	specs = slices.SortedFunc(slices.Values(specs), func(a, b Spec) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	var shards [][]Spec
	room := int64(0)
	for _, spec := range specs {
		bytes := size * int64(product(spec.Shape))
		if len(shards) == 0 || bytes > room {
			shards, room = append(shards, nil), most
		}
		last := len(shards) - 1
		shards[last], room = append(shards[last], spec), room-bytes
	}
	return shards
}

// fileData makes one tensor as a file holds it.
func fileData(spec Spec, dtype safetensors.DType, tensor func(spec Spec) (*tensors.Tensor, error)) (any, error) {
	t, err := tensor(spec)
	if err != nil {
		return nil, err
	}
	values, err := tensors.CopyFlatData[float32](t)
	if err != nil {
		return nil, fmt.Errorf("save %s: %w", spec.Name, err)
	}
	if spec.Dense {
		values = Transposed(values, spec.Shape[1], spec.Shape[0])
	}
	if err := fits(values, dtype); err != nil {
		return nil, fmt.Errorf("save %s: %w", spec.Name, err)
	}
	switch dtype {
	case safetensors.DTypeF16:
		return safetensors.F16(values), nil
	case safetensors.DTypeBF16:
		return safetensors.BF16(values), nil
	default:
		return values, nil
	}
}

// tooLarge is the least number that rounds to infinity in a type.
var tooLarge = map[safetensors.DType]float32{
	safetensors.DTypeF16: 65520, safetensors.DTypeBF16: 0x1.ffp127, safetensors.DTypeF32: float32(math.Inf(1)),
}

// fits is the error for a value that a type has no finite number for.
func fits(values []float32, dtype safetensors.DType) error {
	limit := tooLarge[dtype]
	for _, v := range values {
		switch {
		case v > -limit && v < limit:
		case v-v != 0:
			return fmt.Errorf("%g is no finite number; has the training diverged?", v)
		default:
			name := map[safetensors.DType]string{safetensors.DTypeF16: "float16", safetensors.DTypeBF16: "bfloat16"}[dtype]
			return fmt.Errorf("%g is beyond %s; save as float32", v, name)
		}
	}
	return nil
}

// JSON is config.json as Save writes it for float32 weights, for those who write the weights themselves.
func (c *Config) JSON(a Architecture) ([]byte, error) {
	return configJSON(c, a, saved[dtypes.Float32].name)
}

// configJSON is the config with what the checkpoint is: the fields of Raw, those the encoder knows over them.
func configJSON(c *Config, a Architecture, dtype string) ([]byte, error) {
	fields := map[string]any{}
	for _, part := range []any{c, c.family()} {
		known, err := json.Marshal(part)
		if err == nil {
			err = json.Unmarshal(known, &fields)
		}
		if err != nil {
			return nil, fmt.Errorf("save config.json: %w", err)
		}
	}
	for name, own := range c.kind().names {
		if own != "" {
			fields[own] = fields[name]
		}
		delete(fields, name)
	}
	all := map[string]any{}
	for name, v := range c.Raw {
		all[name] = v
	}
	delete(all, "torch_dtype") // the older name of dtype
	delete(all, "label2id")    // of the head that the files had
	if a == SequenceClassification {
		ids := map[string]int{}
		for id, label := range c.Labels() {
			ids[label] = id
		}
		fields["label2id"], fields["num_labels"] = ids, c.NumLabels()
	} else {
		delete(fields, "id2label")
		delete(fields, "problem_type")
	}
	maps.DeleteFunc(fields, func(_ string, v any) bool { return v == nil || v == "" || v == false })
	maps.Copy(all, fields)
	all["architectures"], all["dtype"] = []string{a.Class(c)}, dtype
	text, err := json.MarshalIndent(all, "", "  ")
	return append(text, '\n'), err
}
