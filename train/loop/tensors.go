package loop

import (
	"fmt"
	"io"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/safetensors"
)

// NamedTensor is a tensor with the name it has in files.
type NamedTensor struct {
	Name  string
	Value *tensors.Tensor
}

// WriteTensors writes float tensors to a safetensors file.
func WriteTensors(path string, values []NamedTensor) (err error) {
	entries := make([]safetensors.Entry, len(values))
	for i, v := range values {
		e := safetensors.Entry{Name: v.Name, Shape: v.Value.Shape().Dimensions}
		if v.Value.DType() == dtypes.Float64 {
			e.Data, err = tensors.CopyFlatData[float64](v.Value)
		} else {
			e.Data, err = tensors.CopyFlatData[float32](v.Value)
		}
		if err != nil {
			return fmt.Errorf("write %s: tensor %s: %w", path, v.Name, err)
		}
		entries[i] = e
	}
	return atomicfile.Write(path, func(w io.Writer) error {
		return safetensors.Write(w, entries, map[string]string{"format": "pt"})
	})
}

// ReadTensors reads every tensor of a file that WriteTensors wrote, by name. What is no such file is ErrCorrupt.
func ReadTensors(path string) (map[string]*tensors.Tensor, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	defer f.Close()
	values := map[string]*tensors.Tensor{}
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		if info.DType == "F64" {
			values[name], err = tensorOf(f.Float64, name, info.Shape)
		} else {
			values[name], err = tensorOf(f.Float32, name, info.Shape)
		}
		if err != nil {
			return nil, err
		}
	}
	return values, nil
}

func tensorOf[T float32 | float64](read func(name string) ([]T, error), name string, shape []int) (*tensors.Tensor, error) {
	values, err := read(name)
	if err != nil {
		return nil, err
	}
	return tensors.FromFlatDataAndDimensions(values, shape...), nil
}
