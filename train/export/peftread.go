package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// adapter is a PEFT LoRA adapter, read and held against a model: vanilla LoRA with a rank for each kernel.
type adapter struct {
	kernels []train.AdaptedKernel
	values  map[string]*tensors.Tensor // W1 and W2 of each kernel, and the head, as a run holds them
	pooling model.Pooling              // what the head reads
	rank    int                        // of the config: what most kernels have
	labels  int                        // outputs of its head; 0: it has none
	task    string                     // that our own export says it was trained on; else empty
	notices []string
	sums    peftSums
}

// peftSums are the sha256 of an adapter's files.
type peftSums struct {
	Config  string `json:"adapter_config_sha256"`
	Tensors string `json:"adapter_model_sha256"`
}

// readPEFT reads a PEFT adapter for a model. What PEFT would pass over in silence is an error: tensors that the
// config or the model has no place for, and modules without their tensors (formats.md 2.3).
func readPEFT(dir string, base *model.Config) (*adapter, error) {
	config, err := readPEFTConfig(filepath.Join(dir, peftConfigFile))
	if err != nil {
		return nil, err
	}
	kernels, err := config.kernels(base.Kernels(), base.HeadModules())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, peftConfigFile), err)
	}
	path := filepath.Join(dir, peftTensors)
	f, err := safetensors.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, pickled := os.Stat(filepath.Join(dir, peftPickle)); pickled == nil {
			return nil, fmt.Errorf("%s: has %s but no %s: pickles can run code and are not read; convert it with PEFT: model.save_pretrained(DIR, safe_serialization=True)", dir, peftPickle, peftTensors)
		}
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := &peftReader{File: f, config: config, names: map[string]string{}}
	a := &adapter{
		values: map[string]*tensors.Tensor{}, pooling: model.Pooling(f.Metadata()[poolingKey]), rank: config.rank,
		task: f.Metadata()["task"], notices: config.notices,
	}
	if err := r.read(a, kernels, base); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	a.notices = append(a.notices, r.notices...)
	if a.sums.Tensors, err = f.Sum(); err != nil {
		return nil, err
	}
	sum, err := model.SumFile(os.DirFS(dir), peftConfigFile)
	a.sums.Config = sum.SHA256
	return a, err
}

// peftReader is an adapter's open file.
type peftReader struct {
	*safetensors.File
	config  *peftConfig
	names   map[string]string // tensors not yet read: normalised name -> name in the file
	notices []string
}

func (r *peftReader) read(a *adapter, kernels []model.Kernel, base *model.Config) error {
	if err := r.index(); err != nil {
		return err
	}
	for _, k := range kernels {
		if err := r.pair(a, k); err != nil {
			return err
		}
	}
	if err := r.head(a, base); err != nil {
		return err
	}
	var left []string
	for _, name := range r.names {
		left = append(left, name)
	}
	if slices.Sort(left); len(left) > 0 {
		return fmt.Errorf("%d tensors have no place in the model or are not among its target_modules, the first %q", len(left), left[0])
	}
	return nil
}

// index lists the file's tensors without PEFT's prefix and what hand-made files put into names.
func (r *peftReader) index() error {
	changed := 0
	for _, name := range r.Names() {
		short, ok := strings.CutPrefix(name, "base_model.model.")
		if !ok {
			return fmt.Errorf("tensor %q is not named base_model.model.…", name)
		}
		plain := strings.ReplaceAll(short+".", ".modules_to_save.default.", ".")
		plain = strings.TrimSuffix(strings.ReplaceAll(plain, ".default.", "."), ".")
		if plain != short {
			changed++
		}
		if other, twice := r.names[plain]; twice {
			return fmt.Errorf("tensors %q and %q are one under two names", other, name)
		}
		r.names[plain] = name
	}
	if changed > 0 {
		r.notices = append(r.notices, fmt.Sprintf("%d tensors are named with the adapter's name, default; PEFT's own files leave it out", changed))
	}
	return nil
}

// take reads a tensor of a shape.
func (r *peftReader) take(plain string, shape ...int) ([]float32, error) {
	name, ok := r.names[plain]
	if !ok {
		return nil, fmt.Errorf("tensor %q is missing", "base_model.model."+plain)
	}
	delete(r.names, plain)
	info, _ := r.Info(name)
	if !slices.Equal(info.Shape, shape) {
		return nil, fmt.Errorf("tensor %q is %v, want %v", name, info.Shape, shape)
	}
	values, err := r.Float32(name)
	if err != nil {
		return nil, err
	}
	for i, v := range values {
		if v-v != 0 {
			return nil, fmt.Errorf("tensor %q holds %g at element %d", name, v, i)
		}
	}
	return values, nil
}

// pair reads a kernel's two matrices: ΔK = s·(B·A)ᵀ = W2·W1 with W2 = Aᵀ [In, r] and W1 = s·Bᵀ [r, Out], for
// embeddings too (formats.md 2.2).
func (r *peftReader) pair(a *adapter, k model.Kernel) error {
	rank, scale := r.config.rankOf(k.Name), r.config.scaleOf(k.Name)
	nameA, nameB := k.Name+".lora_A.weight", k.Name+".lora_B.weight"
	if k.Lookup {
		nameA, nameB = k.Name+".lora_embedding_A", k.Name+".lora_embedding_B"
	}
	loraA, err := r.take(nameA, rank, k.In)
	if err != nil {
		return err
	}
	loraB, err := r.take(nameB, k.Out, rank)
	if err != nil {
		return err
	}
	for i, v := range loraB {
		loraB[i] = float32(scale * float64(v))
	}
	w2, w1 := model.Transposed(loraA, rank, k.In), model.Transposed(loraB, k.Out, rank)
	if short := min(k.In, k.Out); rank > short {
		if w2, w1, err = narrowed(w2, w1, k, rank); err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
		r.notices = append(r.notices, fmt.Sprintf("%s: rank %d is more than its smaller side; written with rank %d, which holds the same update", k.Name, rank, short))
		rank = short
	}
	at := train.AdaptedKernel{Name: k.Name, In: k.In, Out: k.Out}
	if rank != a.rank {
		at.Rank = rank
	}
	a.kernels = append(a.kernels, at)
	a.values[k.Name+".W1"] = tensors.FromFlatDataAndDimensions(w1, rank, k.Out)
	a.values[k.Name+".W2"] = tensors.FromFlatDataAndDimensions(w2, k.In, rank)
	return nil
}

// narrowed gives the same product a rank of the kernel's smaller side.
func narrowed(w2, w1 []float32, k model.Kernel, rank int) (a, b []float32, err error) {
	s, err := lora.Decompose([]*mat.Dense{widened(w2, k.In, rank), widened(w1, rank, k.Out)})
	if err != nil {
		return nil, nil, err
	}
	u, v := halves(s, len(s.Values))
	return narrow(u, false), narrow(v, true), nil
}

func widened(values []float32, rows, cols int) *mat.Dense {
	wide := make([]float64, len(values))
	for i, v := range values {
		wide[i] = float64(v)
	}
	return mat.NewDense(rows, cols, wide)
}

// narrow rounds a matrix, or its transpose, to float32.
func narrow(m mat.Matrix, transpose bool) []float32 {
	if transpose {
		m = m.T()
	}
	rows, cols := m.Dims()
	values := make([]float32, 0, rows*cols)
	for i := range rows {
		for j := range cols {
			values = append(values, float32(m.At(i, j)))
		}
	}
	return values
}

// head reads the layers that are saved as a whole: that of outputs, and the pooler where it was new too.
func (r *peftReader) head(a *adapter, base *model.Config) error {
	layers := base.HeadModules()
	for _, entry := range r.config.saved {
		known := entry == "score" // PEFT adds it for other architectures
		for _, layer := range layers {
			known = known || savedBy(layer.Name, entry) || savedBy(parent(layer.Name, base.EncoderName()), entry)
		}
		if !known {
			return fmt.Errorf("%s: modules_to_save: %q is not supported; only %s are", peftConfigFile, entry, strings.Join(savedNames(layers), " and "))
		}
	}
	for i, layer := range layers {
		weight := layer.Specs[0]
		_, there := r.names[weight.Name]
		if outputs := i == len(layers)-1; outputs && there {
			info, _ := r.Info(r.names[weight.Name])
			if len(info.Shape) != 2 || info.Shape[0] < 1 {
				return fmt.Errorf("tensor %q is %v, want [labels %d]", r.names[weight.Name], info.Shape, base.HiddenSize)
			}
			a.labels = info.Shape[0]
		}
		if !there && !r.config.isSaved(layer.Name) {
			continue
		}
		for _, spec := range layer.Specs {
			if i == len(layers)-1 {
				spec.Shape = append([]int{a.labels}, spec.Shape[1:]...)
			}
			values, err := r.take(spec.Name, spec.Shape...)
			if err != nil {
				return err
			}
			if shape := spec.Shape; spec.Dense {
				a.values[spec.Name] = tensors.FromFlatDataAndDimensions(model.Transposed(values, shape[0], shape[1]), shape[1], shape[0])
			} else {
				a.values[spec.Name] = tensors.FromFlatDataAndDimensions(values, shape...)
			}
		}
	}
	return nil
}

// parent is the module that a layer of the head is part of, unless that is the whole encoder.
func parent(layer, encoder string) string {
	if i := strings.LastIndexByte(layer, '.'); i >= 0 && layer[:i] != encoder {
		return layer[:i]
	}
	return layer
}

func savedNames(layers []model.HeadModule) (names []string) {
	for _, l := range slices.Backward(layers) {
		if !slices.Contains(names, l.Saved) {
			names = append(names, l.Saved)
		}
	}
	return names
}
