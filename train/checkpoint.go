package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/deeplora/deeplora/internal/jsonfile"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/sums"
)

// Files of checkpoints/step-N beside the parameters' own: a checkpoint is what a job writes at its end, and can
// go on training.
const (
	checkpointsDir   = "checkpoints"
	stateJSON        = "state.json"
	optimizerTensors = "optimizer.safetensors"
	stateVersion     = 1
)

// progress is what a checkpoint remembers beside tensors. Randomness and the position in the data are not
// among it: both follow from the seed and the step.
type progress struct {
	Version   int    `json:"version"`
	Step      int    `json:"step"`      // optimizer steps done
	Evaluated int    `json:"evaluated"` // step of the last evaluation
	Optimizer string `json:"optimizer_sha256"`

	LastLoss  float64  `json:"last_loss"`
	BestStep  int      `json:"best_step"` // 0: none yet
	Best      *float64 `json:"best"`      // its primary metric
	SinceBest int      `json:"since_best"`

	Skipped      int `json:"skipped"`        // steps whose loss or gradient was no finite number
	SkippedInRow int `json:"skipped_in_row"` // the last of them

	MetricsBytes int64   `json:"metrics_bytes"`  // length of metrics.jsonl
	MetricsSum   string  `json:"metrics_sha256"` // of as much of it
	Tokens       int64   `json:"tokens"`         // real tokens trained on
	TrainSeconds float64 `json:"train_seconds"`
}

func checkpointPath(run string, step int) string {
	return filepath.Join(run, checkpointsDir, "step-"+strconv.Itoa(step))
}

// saveCheckpoint writes checkpoints/step-N: it is there complete or not at all.
func saveCheckpoint(run string, p progress, job Job, s *state) (string, error) {
	path := checkpointPath(run, p.Step)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("save checkpoint: %w", err)
	}
	if err := os.RemoveAll(path); err != nil { // of a run that went back to an older one
		return "", fmt.Errorf("save checkpoint: %w", err)
	}
	err := atomicfile.WriteDir(path, func(tmp string) error { return writeState(tmp, p, job, s) })
	if err != nil {
		return "", fmt.Errorf("save checkpoint: %w", err)
	}
	return path, nil
}

// writeState writes what training goes on from, with its sums: the parameters, the optimizer's moments, and the
// progress.
func writeState(dir string, p progress, job Job, s *state) (err error) {
	if err := job.Write(dir, s.values()); err != nil {
		return err
	}
	if p.Optimizer, err = WriteTensors(filepath.Join(dir, optimizerTensors), s.moments()); err != nil {
		return err
	}
	p.Version = stateVersion
	if err := jsonfile.Write(filepath.Join(dir, stateJSON), p); err != nil {
		return err
	}
	return sums.Write(dir)
}

// loadCheckpoint fills the state from checkpoints/step-N.
func loadCheckpoint(path string, job Job, s *state) (progress, error) {
	var p progress
	if err := sums.Verify(os.DirFS(path)); err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	if err := jsonfile.Read(filepath.Join(path, stateJSON), &p); err != nil {
		return p, err
	}
	if p.Version != stateVersion {
		return p, fmt.Errorf("%s: version %d; this program reads version %d", filepath.Join(path, stateJSON), p.Version, stateVersion)
	}
	values, err := job.Read(path)
	if err != nil {
		return p, err
	}
	moments, err := ReadTensors(filepath.Join(path, optimizerTensors), p.Optimizer)
	if err != nil {
		return p, err
	}
	if err := s.restore(values, moments); err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// values are the parameters by name.
func (s *state) values() []NamedTensor {
	var list []NamedTensor
	for _, p := range s.params {
		list = append(list, NamedTensor{p.name, p.value})
	}
	return list
}

func (s *state) moments() []NamedTensor {
	var list []NamedTensor
	for _, p := range s.params {
		if p.rate != 0 {
			list = append(list, NamedTensor{p.name + ".m", p.m}, NamedTensor{p.name + ".v", p.v})
		}
	}
	return list
}

// restore sets every parameter, and the moments unless they are nil, from tensors by name.
func (s *state) restore(values, moments map[string]*tensors.Tensor) error {
	set := func(to **tensors.Tensor, from map[string]*tensors.Tensor, name string, shape []int) error {
		t, ok := from[name]
		switch {
		case !ok:
			return fmt.Errorf("tensor %q is missing", name)
		case !slices.Equal(t.Shape().Dimensions, shape):
			return fmt.Errorf("tensor %q is %v, want %v", name, t.Shape().Dimensions, shape)
		}
		*to = t
		return nil
	}
	var faults []error
	for i := range s.params {
		p := &s.params[i]
		p.draw = nil
		faults = append(faults, set(&p.value, values, p.name, p.shape))
		if moments != nil && p.rate != 0 {
			faults = append(faults, set(&p.m, moments, p.name+".m", p.shape), set(&p.v, moments, p.name+".v", p.shape))
		}
	}
	return errors.Join(faults...)
}

// damagedSuffix is what the name of a checkpoint ends with that was found damaged and set aside: nobody reads it, and
// nobody removes it.
const damagedSuffix = ".damaged"

// damage is a checkpoint that could not be gone on from.
type damage struct {
	step  int
	fault error
}

// isDamage reports whether an error of reading a checkpoint says that its files are not as they were written: others,
// as of permissions, say nothing about them.
func isDamage(err error) bool {
	return errors.Is(err, ErrCorrupt) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EIO)
}

// setAside renames damaged checkpoints.
func setAside(run string, found []damage) error {
	for _, d := range found {
		path := checkpointPath(run, d.step)
		if err := os.RemoveAll(path + damagedSuffix); err != nil {
			return fmt.Errorf("set damaged checkpoint aside: %w", err)
		}
		if err := os.Rename(path, path+damagedSuffix); err != nil {
			return fmt.Errorf("set damaged checkpoint aside: %w", err)
		}
	}
	return nil
}

// checkpointSteps lists the complete checkpoints of a run, newest first.
func checkpointSteps(run string) ([]int, error) {
	entries, err := os.ReadDir(filepath.Join(run, checkpointsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list checkpoints: %w", err)
	}
	var steps []int
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), "step-")
		if n, err := strconv.Atoi(number); ok && err == nil && e.IsDir() {
			steps = append(steps, n)
		}
	}
	slices.Sort(steps)
	slices.Reverse(steps)
	return steps, nil
}

// pruneCheckpoints removes all but the newest keep checkpoints and the best one.
func pruneCheckpoints(run string, keep, best int) error {
	steps, err := checkpointSteps(run)
	if err != nil {
		return err
	}
	for i, step := range steps {
		if i < keep || step == best {
			continue
		}
		if err := os.RemoveAll(checkpointPath(run, step)); err != nil {
			return fmt.Errorf("remove old checkpoint: %w", err)
		}
	}
	return nil
}
