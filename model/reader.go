package model

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"
)

// Reader is a checkpoint on disk whose tensors are read one at a time, so that a model can be copied or changed without
// holding all of it in memory.
type Reader struct {
	Config       *Config
	Architecture Architecture
	Ignored      []string // tensors of the files that Architecture has no use for

	fsys  fs.FS
	w     *weights
	found map[string]string // canonical name -> name in the files
	dtype dtypes.DType
	half  map[string]bool // tensors that stay in the 16 bits that the files may have them in
}

// OpenReader opens the files of a checkpoint and verifies their headers against its config. The options are Load's, but
// nothing is drawn: a head or a pooler may be missing (see Has), and the caller supplies it. Close the Reader after use.
func OpenReader(fsys fs.FS, o LoadOptions) (*Reader, error) {
	r, err := openReader(fsys, o)
	if err != nil {
		return nil, err
	}
	if err := r.holds(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// openReader opens the files and finds each tensor's name in them.
func openReader(fsys fs.FS, o LoadOptions) (_ *Reader, err error) {
	config, err := ReadConfig(fsys, "config.json")
	if err != nil {
		return nil, err
	}
	if err := o.Architecture.check(config); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if config.Pooling = o.Pooling; !slices.Contains([]Pooling{"", PoolHead, poolCLS, poolMean, poolMax}, o.Pooling) {
		return nil, fmt.Errorf("pooling %q is unknown; want head, cls, mean or max", o.Pooling)
	}
	own := config.Labels()
	if len(o.Labels) > 0 {
		config.SetLabels(o.Labels, o.ProblemType)
	}
	r := &Reader{Config: config, Architecture: o.Architecture, fsys: fsys, dtype: o.DType}
	switch o.DType {
	case dtypes.InvalidDType:
		r.dtype = dtypes.Float32
	case dtypes.Float32, dtypes.Float64:
	default:
		return nil, fmt.Errorf("load model as %s; want Float32 or Float64", o.DType)
	}
	if o.Precision.narrow() && r.dtype == dtypes.Float32 {
		r.half = map[string]bool{}
		for _, k := range config.Kernels() {
			r.half[k.Weight()] = true
		}
	}
	if r.w, err = openWeights(fsys); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.found, r.Ignored, err = r.w.canonical(o.Architecture, config); err != nil {
		return nil, err
	}
	r.w.head = config.HeadNames()
	if o.NewHead {
		for _, name := range r.w.head {
			delete(r.found, name)
		}
	}
	if r.Has(r.w.head[0]) && len(o.Labels) > 0 { // else nobody asks for another order
		if r.w.headRows, err = matchLabels(own, config.Labels()); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// holds is the error for tensors that are missing or unexpected. Whole heads and poolers may be missing.
func (r *Reader) holds() error {
	var missing []string
	absent := absentModules(r.Config, r.found)
	left := maps.Clone(r.found)
	for _, spec := range r.Specs() {
		delete(left, spec.Name)
		if !r.Has(spec.Name) && !slices.Contains(absent, spec.Name) {
			missing = append(missing, spec.Name)
		}
	}
	return errors.Join(r.w.errMissing(missing, r.Config), r.w.errUnexpected(left))
}

// Close closes the files.
func (r *Reader) Close() { r.w.close() }

// Specs lists the tensors of the checkpoint's architecture.
func (r *Reader) Specs() []Spec { return r.Architecture.specs(r.Config) }

// Has reports whether the files hold a tensor, by its canonical name. What they lack is a whole head or pooler.
func (r *Reader) Has(name string) bool { _, ok := r.found[name]; return ok }

// HasHead reports whether the files hold a layer of outputs.
func (r *Reader) HasHead() bool { return r.Has(r.w.head[0]) }

// Tensor reads one tensor, dense kernels as [in, out]. Its shape and values are verified as by Load.
func (r *Reader) Tensor(spec Spec) (*tensors.Tensor, error) {
	name, ok := r.found[spec.Name]
	if !ok {
		return nil, fmt.Errorf("%s: tensor %q is missing", r.w.source, spec.Name)
	}
	return r.w.tensor(name, spec, r.dtype, r.half[spec.Name])
}

// Files hashes what the checkpoint is read from: config.json, then the weight files in name order.
func (r *Reader) Files() ([]FileSum, error) {
	config, err := SumFile(r.fsys, "config.json")
	if err != nil {
		return nil, err
	}
	files := []FileSum{config}
	for _, f := range r.w.files {
		s, err := f.Sum()
		if err != nil {
			return nil, err
		}
		files = append(files, FileSum{f.name, s})
	}
	return files, nil
}
