package train

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// finishedFiles are what a finished run is known by. Its log and its checkpoints are of the training alone.
var finishedFiles = []string{configJSON, manifestJSON, resultJSON, adapterDir + "/" + adapterJSON, adapterDir + "/" + adapterTensors, adapterDir + "/" + sums.File}

// CopyTo copies what makes the run a finished one into a new directory, byte for byte.
func (f *Finished) CopyTo(to string) error { return copyFinished(f.Dir, to) }

func copyFinished(run, to string) error {
	if err := os.MkdirAll(filepath.Join(to, adapterDir), 0o755); err != nil {
		return fmt.Errorf("copy run: %w", err)
	}
	for _, name := range finishedFiles {
		content, err := os.ReadFile(filepath.Join(run, filepath.FromSlash(name)))
		// An imported adapter's training data are not known, and older adapters have no sums.
		if optional := name == manifestJSON || filepath.Base(name) == sums.File; optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("copy run: %w", err)
		}
		if err := os.WriteFile(filepath.Join(to, filepath.FromSlash(name)), content, 0o644); err != nil {
			return fmt.Errorf("copy run: %w", err)
		}
	}
	return nil
}

// Rebase makes the run, which f was read from, one of the model at ref: the files at f.Base are what its adapter then
// belongs to.
func (f *Finished) Rebase(ref string) error {
	c, info := f.Run, f.Adapter
	c.Model, info.Base = ref, ref
	r, err := f.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	if info.BaseFiles, err = r.Files(); err != nil {
		return err
	}
	if err := jsonfile.Write(filepath.Join(f.Dir, configJSON), c); err != nil {
		return err
	}
	return writeAdapter(filepath.Join(f.Dir, adapterDir), info, sorted(f.Values))
}

func sorted(values map[string]*tensors.Tensor) (list []loop.NamedTensor) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, loop.NamedTensor{Name: name, Value: values[name]})
	}
	return list
}

// Write writes the run of an adapter that another program trained into a directory: its settings, its tensors, and a
// result without metrics.
func (f *Finished) Write(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, adapterDir), 0o755); err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	if err := jsonfile.Write(filepath.Join(dir, configJSON), f.Run); err != nil {
		return err
	}
	if err := writeAdapter(filepath.Join(dir, adapterDir), f.Adapter, sorted(f.Values)); err != nil {
		return err
	}
	r := Result{
		Task: f.Adapter.Task, Metrics: loop.Metrics{}, PrimaryMetric: f.Task.Primary, Method: f.Adapter.Method, Rank: f.Adapter.Rank,
		Depth: f.Adapter.Depth, Scope: f.Run.Scope, Kernels: len(f.Adapter.Kernels), Backend: f.Run.Provenance.Backend, Threads: f.Run.Provenance.Threads,
	}
	for name, t := range f.Values {
		if slices.ContainsFunc(f.Adapter.Kernels, func(k AdaptedKernel) bool { return strings.HasPrefix(name, k.Name+".") && !model.DenseHead(name) }) {
			r.Parameters += t.Shape().Size()
		}
	}
	return jsonfile.Write(filepath.Join(dir, resultJSON), r)
}
