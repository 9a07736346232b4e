package train

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/model"
)

// finishedFiles are what a finished run is known by. Its log and its checkpoints are of the training alone.
var finishedFiles = []string{configJSON, manifestJSON, resultJSON, adapterDir + "/" + adapterJSON, adapterDir + "/" + adapterTensors, adapterDir + "/" + sums.File}

// CopyFinished copies what makes a finished run into a new directory, byte for byte.
func CopyFinished(run, to string) error {
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

// Rebase makes a finished run one of the model at ref; the files at base are what its adapter then belongs to.
func Rebase(run, ref string, s *Stored) error {
	c, info := s.Run, s.Adapter
	c.Model, info.Base = ref, ref
	r, err := s.Reader()
	if err != nil {
		return err
	}
	defer r.Close()
	if info.BaseFiles, err = r.Files(); err != nil {
		return err
	}
	if err := jsonfile.Write(filepath.Join(run, configJSON), c); err != nil {
		return err
	}
	dir := filepath.Join(run, adapterDir)
	if err := jsonfile.Write(filepath.Join(dir, adapterJSON), info); err != nil {
		return err
	}
	return sums.Write(dir, adapterJSON, adapterTensors)
}

// WriteImported writes a finished run of an adapter that another program trained: its settings, its tensors, and a
// result without metrics.
func WriteImported(dir string, s *Stored) error {
	if err := os.MkdirAll(filepath.Join(dir, adapterDir), 0o755); err != nil {
		return fmt.Errorf("write run: %w", err)
	}
	var values []NamedTensor
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		values = append(values, NamedTensor{name, s.Values[name]})
	}
	if err := jsonfile.Write(filepath.Join(dir, configJSON), s.Run); err != nil {
		return err
	}
	if err := writeAdapter(filepath.Join(dir, adapterDir), s.Adapter, values); err != nil {
		return err
	}
	r := Result{
		Task: s.Adapter.Task, Metrics: Metrics{}, PrimaryMetric: s.Task.Primary, Method: s.Adapter.Method, Rank: s.Adapter.Rank,
		Depth: s.Adapter.Depth, Scope: s.Run.Scope, Kernels: len(s.Adapter.Kernels), Backend: s.Run.Provenance.Backend, Threads: s.Run.Provenance.Threads,
	}
	for name, t := range s.Values {
		if !slices.Contains(headNames, name) && name != model.PoolerWeight && name != model.PoolerBias {
			r.Parameters += t.Shape().Size()
		}
	}
	return jsonfile.Write(filepath.Join(dir, resultJSON), r)
}
