package train

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// Files of the native adapter format.
const (
	adapterJSON    = "adapter.json"
	adapterTensors = "adapter.safetensors"
	adapterVersion = 2 // 1 had the sha256 of the tensors, which SHA256SUMS has now
)

// ErrOtherBase is wrapped by errors about an adapter that was trained on another checkpoint.
var ErrOtherBase = errors.New("adapter belongs to another base model")

// AdapterInfo is adapter.json: what the tensors beside it are and what they were trained on.
type AdapterInfo struct {
	Version int    `json:"version"`
	Method  string `json:"method"`
	lora.Settings
	Kernels []AdaptedKernel `json:"kernels"`

	Task        string   `json:"task"`
	Labels      []string `json:"labels"` // class names in id order; one for a regression
	ProblemType string   `json:"problem_type"`
	HeadTrained bool     `json:"head_trained"`
	// Pooling is what the head reads; "", of a version before there was a choice: model.PoolHead.
	Pooling    model.Pooling `json:"pooling,omitempty"`
	MaxLength  int           `json:"max_length"` // tokens, of the examples it was trained on
	labelScale               // the head as trained gives scores in it

	Base      string          `json:"base"` // as the run named it
	BaseFiles []model.FileSum `json:"base_files"`

	Imported bool `json:"imported,omitempty"` // from another program's adapter; Task may be empty
}

// AdaptedKernel is a kernel that has factors: ΔK is [In, Out].
type AdaptedKernel struct {
	Name string `json:"name"`
	In   int    `json:"in"`
	Out  int    `json:"out"`
	Rank int    `json:"rank,omitempty"` // where it is not the adapter's: an imported one may have many
}

// New is the adapter of the method that the description names.
func (a *AdapterInfo) New() (lora.Adapter, error) {
	if _, whole := lookupWhole(a.Method); whole && len(a.Kernels) == 0 {
		return nil, nil // nothing asks it for a kernel
	}
	common, err := lora.New(a.Method, a.Settings)
	if err != nil {
		return nil, err
	}
	r := ranked{common, map[string]lora.Adapter{}}
	for _, k := range a.Kernels {
		if k.Rank == 0 {
			continue
		}
		if a.Method != "vanilla" || a.Init != "" && a.Init != lora.InitReference {
			return nil, fmt.Errorf("kernel %s has a rank of its own; only vanilla's without a scale may", k.Name)
		}
		s := a.Settings
		s.Rank, s.Alpha = k.Rank, 0
		if r.own[k.Name], err = lora.New(a.Method, s); err != nil {
			return nil, fmt.Errorf("kernel %s: %w", k.Name, err)
		}
	}
	if len(r.own) == 0 {
		return common, nil
	}
	return r, nil
}

// ranked is vanilla with another rank for some kernels. ΔK is W2·W1 whatever the rank.
type ranked struct {
	lora.Adapter
	own map[string]lora.Adapter
}

func (r ranked) Init(s lora.Site) ([]lora.Factor, error) {
	if own, ok := r.own[s.Name]; ok {
		return own.Init(s)
	}
	return r.Adapter.Init(s)
}

// writeAdapter writes adapter.safetensors, adapter.json and their sums into dir. values are factors as trained, and
// tensors of the model (the head) in the graph's orientation.
func writeAdapter(dir string, info AdapterInfo, values []loop.NamedTensor) error {
	turned := slices.Clone(values)
	for i, v := range turned {
		if err := turn(&turned[i].Value, v.Name); err != nil {
			return fmt.Errorf("tensor %s: %w", v.Name, err)
		}
	}
	if err := loop.WriteTensors(filepath.Join(dir, adapterTensors), turned); err != nil {
		return err
	}
	info.Version = adapterVersion
	if err := jsonfile.Write(filepath.Join(dir, adapterJSON), info); err != nil {
		return err
	}
	return sums.Write(dir, adapterJSON, adapterTensors)
}

// readAdapter reads what writeAdapter wrote and verifies it.
func readAdapter(dir string) (AdapterInfo, map[string]*tensors.Tensor, error) {
	if err := sums.Verify(os.DirFS(dir)); err != nil {
		return AdapterInfo{}, nil, fmt.Errorf("%s: %w", dir, err)
	}
	file, err := readDescription(dir)
	if err == nil {
		err = file.verify(dir)
	}
	if err != nil {
		return file.AdapterInfo, nil, err
	}
	values, err := loop.ReadTensors(filepath.Join(dir, adapterTensors))
	for name, v := range values {
		if err := turn(&v, name); err != nil {
			return file.AdapterInfo, nil, fmt.Errorf("tensor %s: %w", name, err)
		}
		values[name] = v
	}
	return file.AdapterInfo, values, err
}

// description is adapter.json as this version and the one before it write it.
type description struct {
	AdapterInfo
	Tensors string `json:"tensors_sha256"` // of version 1
}

func readDescription(dir string) (d description, err error) {
	path := filepath.Join(dir, adapterJSON)
	if err = jsonfile.Read(path, &d); err == nil && d.Version > adapterVersion {
		err = fmt.Errorf("%s: version %d; this program reads up to version %d", path, d.Version, adapterVersion)
	}
	return d, err
}

// verify holds the tensors against their sum. The version before this one noted it in adapter.json, and the oldest runs
// have no SHA256SUMS.
func (d *description) verify(dir string) error {
	if d.Version == adapterVersion {
		if err := sums.VerifyAll(os.DirFS(dir)); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		return nil
	}
	sum, err := model.SumFile(os.DirFS(dir), adapterTensors)
	if err == nil && sum.SHA256 != d.Tensors {
		err = fmt.Errorf("%s: %w: its sha256 is %s, the one noted when it was written is %s", filepath.Join(dir, adapterTensors), loop.ErrCorrupt, sum.SHA256, d.Tensors)
	}
	return err
}

// turn transposes a tensor that files hold the other way round than the graph: of the model's, those of the head may
// travel with an adapter, which Hugging Face's files hold as [out, in], and ours do too.
func turn(t **tensors.Tensor, name string) error {
	if !model.DenseHead(name) || (*t).Rank() != 2 {
		return nil
	}
	if (*t).DType() == dtypes.Float64 {
		return transpose[float64](t)
	}
	return transpose[float32](t)
}

func transpose[T float32 | float64](t **tensors.Tensor) error {
	rows, cols := (*t).Shape().Dim(0), (*t).Shape().Dim(1)
	values, err := tensors.CopyFlatData[T](*t)
	if err == nil {
		*t = tensors.FromFlatDataAndDimensions(model.Transposed(values, rows, cols), cols, rows)
	}
	return err
}
