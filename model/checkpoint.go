package model

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
	"golang.org/x/sync/errgroup"

	"github.com/deeplora/deeplora/internal/labels"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/sums"
)

// Checkpoint is a checkpoint in memory: every tensor of Config.Specs by its canonical name, which is that in the file of
// a classifier (with the "bert." prefix, or that of its family), dense kernels as [in, out].
type Checkpoint struct {
	Config  *Config
	Tensors map[string]*tensors.Tensor
	Files   []FileSum // what it was read from: config.json, then the weight files in name order
	Fresh   []string  // modules the files lack and that were drawn at random
	Ignored []string  // tensors of the files that Architecture has no use for

	Architecture Architecture
	Precision    Precision // that Hold made the kernels for, and that the graph is to compute in
}

// FileSum is a file with the sha256 of its bytes.
type FileSum struct {
	File   string `json:"file"`
	SHA256 string `json:"sha256"`
}

// LoadOptions say what the caller wants of a checkpoint.
type LoadOptions struct {
	// Architecture is what the files are read as, whatever model they were saved from.
	Architecture Architecture
	// Labels, unless empty, are the class names of the task; the head must have one output each. A head in
	// the files is matched with them by name, since models of one task differ in the order of their classes.
	Labels      []string
	ProblemType string // with Labels
	// Pooling is what the classifier reads. Where that is without the pooler, the files may lack it, and theirs is ignored.
	Pooling Pooling
	// DrawHead draws heads, and the pooler of a masked-LM checkpoint, that the files lack; else they are an error.
	DrawHead bool
	HeadSeed uint64 // what they are drawn from, together with HeadName
	HeadName string // names the numbers drawn; "head" unless set
	// NewHead leaves out the head that the files hold, as if they lacked it.
	NewHead bool
	DType   dtypes.DType // Float32 unless set
	// Precision is what Hold is called with next. Unless it is F32, kernels and tables of embeddings stay in the 16 bits
	// that the files may have them in, so that there is never a copy of them in float32.
	Precision Precision
	// Backend, unless nil, is handed each tensor as soon as it is read, so that there is never a second copy of
	// them all. Tensors can then be used on no other backend.
	Backend compute.Backend
	// Have, unless nil, says of tensors of the files that the caller has them already: they are not read.
	Have func(name string) bool
}

// Load reads a Hugging Face checkpoint: config.json with model.safetensors, or an index and its
// shards. Names without the family's prefix ("bert.") and LayerNorm's legacy gamma and beta are understood; F16 and
// BF16 are widened. Any tensor that is missing, unexpected, of another shape or not finite is an error naming
// it. With o.DrawHead the heads, and the pooler of masked-LM checkpoints, may be absent, each as a whole.
func Load(fsys fs.FS, o LoadOptions) (*Checkpoint, error) {
	r, err := openReader(fsys, o)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c := &Checkpoint{Config: r.Config, Tensors: map[string]*tensors.Tensor{}, Ignored: r.Ignored, Architecture: o.Architecture}
	var sums errgroup.Group // of the files, meanwhile
	sums.Go(func() (err error) {
		c.Files, err = r.Files()
		return err
	})
	err = c.read(r, o)
	if err = cmp.Or(err, sums.Wait()); err != nil {
		return nil, err
	}
	return c, nil
}

// Specs lists the tensors of the checkpoint's architecture.
func (c *Checkpoint) Specs() []Spec { return c.Architecture.specs(c.Config) }

// Kernel returns the tensor of a kernel, [in, out].
func (c *Checkpoint) Kernel(name string) *tensors.Tensor { return c.Tensors[name+".weight"] }

// read fills Tensors from the files, several at a time; fresh modules are drawn in the order of Specs, alike each time.
func (c *Checkpoint) read(r *Reader, o LoadOptions) error {
	drawn, left := absentModules(r.Config, r.found), maps.Clone(r.found)
	stream := rng.New(o.HeadSeed, cmp.Or(o.HeadName, "head"))
	specs := c.Specs()
	list, faults := make([]*tensors.Tensor, len(specs)), make([]error, len(specs))
	var missing []string
	var readers errgroup.Group
	readers.SetLimit(min(readersAtOnce, runtime.GOMAXPROCS(0)))
	for i, spec := range specs {
		delete(left, spec.Name)
		switch {
		case r.Has(spec.Name) && o.Have != nil && o.Have(spec.Name):
		case r.Has(spec.Name):
			readers.Go(func() error {
				list[i], faults[i] = r.Tensor(spec)
				if faults[i] == nil && o.Backend != nil {
					faults[i] = list[i].ToDevice(o.Backend, 0)
				}
				return nil
			})
		case slices.Contains(drawn, spec.Name) && o.DrawHead:
			list[i] = fresh(spec, stream, c.Config.InitializerRange, r.dtype)
			c.Fresh = append(c.Fresh, spec.Name)
		default:
			missing = append(missing, spec.Name)
		}
	}
	_ = readers.Wait()
	for i, spec := range specs {
		if faults[i] != nil { // the first, in the order of Specs
			return faults[i]
		}
		if list[i] != nil {
			c.Tensors[spec.Name] = list[i]
		}
	}
	return errors.Join(r.w.errMissing(missing, c.Config), r.w.errUnexpected(left))
}

// readersAtOnce bounds the tensors that are held twice while they are read.
const readersAtOnce = 4

// absentModules lists the tensors of heads and pooler where the files lack the whole module. A weight
// without its bias is no module that was never trained, but a file that lost a tensor.
func absentModules(c *Config, found map[string]string) []string {
	var absent []string
	for _, module := range [][]string{c.PoolerNames(), c.HeadNames(), predictionNames} {
		if !slices.ContainsFunc(module, func(name string) bool { _, ok := found[name]; return ok }) {
			absent = append(absent, module...)
		}
	}
	return absent
}

// matchLabels says which row of a head with the classes have gives each of the classes want, or nil for the
// rows as they stand. Unnamed classes are taken in their order; so is a single output, whatever its name.
func matchLabels(have, want []string) ([]int, error) {
	if len(have) != len(want) || len(want) == 1 || labels.Unnamed(have) {
		return nil, nil // another width is an error of shape
	}
	rows, err := labels.Match(have, want)
	switch {
	case errors.Is(err, labels.ErrOther):
		return nil, fmt.Errorf("the checkpoint's head tells %s apart, the task %s; --fresh-head draws a new one; if they mean the same, correct id2label in config.json", list(have), list(want))
	case err != nil:
		return nil, fmt.Errorf("the checkpoint's head tells %s apart, the task %s: %w; correct id2label in config.json, or draw a new head with --fresh-head", list(have), list(want), err)
	case slices.IsSorted(rows):
		return nil, nil
	default:
		return rows, nil
	}
}

// New draws a model as Transformers initialises one: kernels and embeddings N(0, initializer_range²), the
// padding token's row and biases 0, norms 1. What a tensor is drawn as depends on the seed and its own name alone.
func New(config *Config, a Architecture, seed uint64) *Checkpoint {
	c := &Checkpoint{Config: config, Tensors: map[string]*tensors.Tensor{}, Architecture: a}
	for _, spec := range c.Specs() {
		c.Tensors[spec.Name] = fresh(spec, rng.New(seed, "init", spec.Name), config.InitializerRange, dtypes.Float32)
		c.Fresh = append(c.Fresh, spec.Name)
	}
	words := c.Tensors[config.WordTable()]
	width := words.Shape().Dim(1)
	tensors.MustMutableFlatData(words, func(flat []float32) {
		clear(flat[int(config.PadTokenID)*width:][:width])
	})
	return c
}

// fresh draws a tensor: weights N(0, std²), norms 1, biases 0. The draw is made in float64 in the file's
// [out, in] order whatever the dtype.
func fresh(spec Spec, s *rng.Stream, std float64, dtype dtypes.DType) *tensors.Tensor {
	values := make([]float64, product(spec.Shape))
	for i := range values {
		switch {
		case len(spec.Shape) == 2:
			values[i] = std * s.Normal()
		case spec.Norm:
			values[i] = 1
		}
	}
	if dtype == dtypes.Float64 {
		return toTensor(values, spec)
	}
	narrow := make([]float32, len(values))
	for i, v := range values {
		narrow[i] = float32(v)
	}
	return toTensor(narrow, spec)
}

// SumFile hashes one file.
func SumFile(fsys fs.FS, name string) (FileSum, error) {
	sum, err := sums.Of(fsys, name)
	if err != nil {
		return FileSum{}, err
	}
	return FileSum{name, sum}, nil
}
