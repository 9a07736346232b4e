package train

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// Files of the native adapter format.
const (
	adapterJSON    = "adapter.json"
	adapterTensors = "adapter.safetensors"
	adapterVersion = 1
)

// ErrCorrupt is wrapped by errors about files of ours that are not as they were written.
var ErrCorrupt = jsonfile.ErrCorrupt

// ErrOtherBase is wrapped by errors about an adapter that was trained on another checkpoint.
var ErrOtherBase = errors.New("adapter belongs to another base model")

// AdapterInfo is adapter.json: what the tensors beside it are and what they were trained on.
type AdapterInfo struct {
	Version   int             `json:"version"`
	Method    string          `json:"method"`
	Rank      int             `json:"rank"`
	Depth     int             `json:"depth"`
	InitScale float64         `json:"init_scale"`
	Gamma     float64         `json:"gamma"`
	Init      string          `json:"init"`
	Alpha     float64         `json:"alpha"`
	Kernels   []AdaptedKernel `json:"kernels"`

	Task        string   `json:"task"`
	Labels      []string `json:"labels"` // class names in id order; one for a regression
	ProblemType string   `json:"problem_type"`
	HeadTrained bool     `json:"head_trained"`
	MaxLength   int      `json:"max_length"` // tokens, of the examples it was trained on

	Base      string          `json:"base"` // as the run named it
	BaseFiles []model.FileSum `json:"base_files"`
	Tensors   string          `json:"tensors_sha256"` // of adapter.safetensors

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
	common, err := lora.New(a.Method, a.settings())
	if err != nil {
		return nil, err
	}
	r := ranked{common, map[string]lora.Adapter{}}
	for _, k := range a.Kernels {
		if k.Rank == 0 {
			continue
		}
		if a.Method != "vanilla" || a.Init == lora.InitPEFT {
			return nil, fmt.Errorf("kernel %s has a rank of its own; only vanilla's without a scale may", k.Name)
		}
		s := a.settings()
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

func (a *AdapterInfo) settings() lora.Settings {
	return lora.Settings{Rank: a.Rank, Depth: a.Depth, InitScale: a.InitScale, Gamma: a.Gamma, Init: a.Init, Alpha: a.Alpha}
}

// NamedTensor is a tensor with the name it has in files.
type NamedTensor struct {
	Name  string
	Value *tensors.Tensor
}

// writeAdapter writes adapter.safetensors and adapter.json into dir. values are factors as trained, and
// tensors of the model (the head) in the graph's orientation.
func writeAdapter(dir string, info AdapterInfo, values []NamedTensor) error {
	sum, err := WriteTensors(filepath.Join(dir, adapterTensors), values)
	if err != nil {
		return err
	}
	info.Version, info.Tensors = adapterVersion, sum
	if err := jsonfile.Write(filepath.Join(dir, adapterJSON), info); err != nil {
		return err
	}
	return sums.Write(dir, adapterJSON, adapterTensors)
}

// readAdapter reads what writeAdapter wrote and verifies it.
func readAdapter(dir string) (AdapterInfo, map[string]*tensors.Tensor, error) {
	var info AdapterInfo
	if err := sums.Verify(os.DirFS(dir), adapterJSON); err != nil { // which has the sum of the tensors
		return info, nil, fmt.Errorf("%s: %w", dir, err)
	}
	if err := jsonfile.Read(filepath.Join(dir, adapterJSON), &info); err != nil {
		return info, nil, err
	}
	if info.Version != adapterVersion {
		return info, nil, fmt.Errorf("%s: version %d; this program reads version %d", filepath.Join(dir, adapterJSON), info.Version, adapterVersion)
	}
	values, err := ReadTensors(filepath.Join(dir, adapterTensors), info.Tensors)
	return info, values, err
}

// denseHead are the tensors of the model that may travel with an adapter and that Hugging Face's files hold
// as [out, in]: ours do too.
var denseHead = []string{model.HeadWeight, model.PoolerWeight}

// WriteTensors writes float tensors to a safetensors file and returns its sha256.
func WriteTensors(path string, values []NamedTensor) (sum string, err error) {
	entries := make([]safetensors.Entry, len(values))
	for i, v := range values {
		if entries[i], err = entryOf(v); err != nil {
			return "", fmt.Errorf("write %s: %w", path, err)
		}
	}
	h := sha256.New()
	err = atomicfile.Write(path, func(w io.Writer) error {
		return safetensors.Write(io.MultiWriter(w, h), entries, map[string]string{"format": "pt"})
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

func entryOf(v NamedTensor) (safetensors.Entry, error) {
	if v.Value.DType() == dtypes.Float64 {
		return flatEntry[float64](v)
	}
	return flatEntry[float32](v)
}

func flatEntry[T float32 | float64](v NamedTensor) (safetensors.Entry, error) {
	e := safetensors.Entry{Name: v.Name, Shape: slices.Clone(v.Value.Shape().Dimensions)}
	values, err := tensors.CopyFlatData[T](v.Value)
	if err != nil {
		return e, fmt.Errorf("tensor %s: %w", v.Name, err)
	}
	if slices.Contains(denseHead, v.Name) {
		values = model.Transposed(values, e.Shape[0], e.Shape[1])
		slices.Reverse(e.Shape)
	}
	e.Data = values
	return e, nil
}

// ReadTensors reads every tensor of a file that WriteTensors wrote, once its sha256 is verified.
func ReadTensors(path, sum string) (map[string]*tensors.Tensor, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	defer f.Close()
	is, err := f.Sum()
	if err != nil {
		return nil, err
	}
	if is != sum {
		return nil, fmt.Errorf("%s: %w: its sha256 is %s, the one noted when it was written is %s", path, ErrCorrupt, is, sum)
	}
	values := map[string]*tensors.Tensor{}
	for _, name := range f.Names() {
		if values[name], err = tensorOf(f, name); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func tensorOf(f *safetensors.File, name string) (*tensors.Tensor, error) {
	info, _ := f.Info(name)
	turn := slices.Contains(denseHead, name) && len(info.Shape) == 2
	if info.DType == "F64" {
		values, err := f.Float64(name)
		return shaped(values, info.Shape, turn), err
	}
	values, err := f.Float32(name)
	return shaped(values, info.Shape, turn), err
}

// shaped makes a tensor of what a file holds, from [out, in] to [in, out] where turn is set.
func shaped[T float32 | float64](values []T, shape []int, turn bool) *tensors.Tensor {
	switch {
	case values == nil:
		return nil
	case turn:
		return tensors.FromFlatDataAndDimensions(model.Transposed(values, shape[0], shape[1]), shape[1], shape[0])
	default:
		return tensors.FromFlatDataAndDimensions(values, shape...)
	}
}
