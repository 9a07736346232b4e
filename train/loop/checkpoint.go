package loop

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/sums"
)

// Files of checkpoints/step-N beside the parameters' own: a checkpoint is what a job writes at its end, and can
// go on training.
const (
	checkpointsDir   = rundir.Checkpoints
	stateJSON        = "state.json"
	optimizerTensors = "optimizer.safetensors"
	stateVersion     = 2 // 1 carried sha256 sums that SHA256SUMS has now
)

// progress is what a checkpoint remembers beside tensors. Randomness and the position in the data are not
// among it: both follow from the seed and the step.
type progress struct {
	Version   int `json:"version"`
	Step      int `json:"step"`      // optimizer steps done
	Evaluated int `json:"evaluated"` // step of the last evaluation

	LastLoss  float64  `json:"last_loss"`
	BestStep  int      `json:"best_step"` // 0: none yet
	Best      *float64 `json:"best"`      // its primary metric
	SinceBest int      `json:"since_best"`

	Skipped      int `json:"skipped"`        // steps whose loss or gradient was infinite or NaN
	SkippedInRow int `json:"skipped_in_row"` // the last of them

	MetricsBytes int64   `json:"metrics_bytes"`  // length of metrics.jsonl
	MetricsSum   string  `json:"metrics_sha256"` // of as much of it
	Tokens       int64   `json:"tokens"`         // real tokens trained on
	TrainSeconds float64 `json:"train_seconds"`
}

// judge notes an evaluation of the step at hand by its primary metric, and reports whether it is the best yet.
func (p *progress) judge(value float64) (best bool) {
	best = p.beats(value)
	p.Evaluated = p.Step
	p.SinceBest++
	if best {
		p.Best, p.BestStep, p.SinceBest = &value, p.Step, 0
	}
	return best
}

// beats reports whether a metric is better than every one before it; an undefined one beats none.
func (p *progress) beats(value float64) bool {
	return !math.IsNaN(value) && (p.Best == nil || value > *p.Best)
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
func writeState(dir string, p progress, job Job, s *state) error {
	if err := job.Write(dir, s.values()); err != nil {
		return err
	}
	if err := WriteTensors(filepath.Join(dir, optimizerTensors), s.moments()); err != nil {
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
	if err := sums.VerifyAll(os.DirFS(path)); err != nil {
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
	moments, err := ReadTensors(filepath.Join(path, optimizerTensors))
	if err != nil {
		return p, err
	}
	if err := s.restore(values, moments); err != nil {
		return p, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
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
