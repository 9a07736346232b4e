package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/gofrs/flock"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/model"
)

// ErrInUse is wrapped by errors about an output directory that another run owns or has filled.
var ErrInUse = errors.New("output directory is in use")

// ErrNoRun is wrapped by errors about a directory that holds no run.
var ErrNoRun = errors.New("not a run directory")

// Files of a run directory.
const (
	configJSON   = "config.json"
	manifestJSON = "manifest.json"
	metricsJSONL = "metrics.jsonl"
	resultJSON   = "result.json"
	adapterDir   = "adapter"
	lockFile     = ".lock"
)

// RunConfig is a run's config.json: every setting resolved, and where the run came from.
type RunConfig struct {
	Config
	Provenance Provenance `json:"provenance"`
}

// Provenance is what else a run's bits depend on.
type Provenance struct {
	Version       string            `json:"version"`       // of this program
	Libraries     map[string]string `json:"libraries"`     // module: version
	Backend       string            `json:"backend"`       // xla:cpu, xla:cuda or go
	PluginSHA256  string            `json:"plugin_sha256"` // empty for go
	Threads       int               `json:"threads"`
	Model         []model.FileSum   `json:"model"`
	ModelRevision string            `json:"model_revision,omitempty"` // commit, for a model of the hub
	Data          []model.FileSum   `json:"data"`
}

// runDir is a run directory that this process has locked.
type runDir struct {
	path string
	lock *flock.Flock
}

// createRun makes and locks a new run directory. An existing one must be empty, or hold nothing but what a
// run that died before its first file left behind.
func createRun(path string) (*runDir, error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, fmt.Errorf("create run directory: %w", err)
	}
	r, err := lockRun(path)
	if err != nil {
		return nil, err
	}
	if err := checkVacant(path); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// checkVacant refuses a path that holds anything but a lock or a file that was never finished.
func checkVacant(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%s: %w: a file is in its place; choose another --out", path, ErrInUse)
	case err != nil:
		return fmt.Errorf("output directory: %w", err)
	}
	for _, e := range entries {
		if e.Name() == lockFile || strings.Contains(e.Name(), ".tmp") {
			continue
		}
		if isRun(path) {
			return fmt.Errorf("%s: %w by a run; --resume goes on with it, or choose another --out", path, ErrInUse)
		}
		return fmt.Errorf("%s: %w: it holds %s; choose another --out", path, ErrInUse, e.Name())
	}
	return nil
}

// isRun reports whether a directory holds a run that got as far as its config.
func isRun(path string) bool {
	_, err := os.Stat(filepath.Join(path, configJSON))
	return err == nil
}

// openRun locks an existing run directory and clears what an interrupted write left.
func openRun(path string) (*runDir, error) {
	if !isRun(path) {
		return nil, fmt.Errorf("%s: %w: it has no %s", path, ErrNoRun, configJSON)
	}
	r, err := lockRun(path)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{path, filepath.Join(path, checkpointsDir)} {
		if _, err := atomicfile.CleanLeftovers(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			r.close()
			return nil, fmt.Errorf("clean %s: %w", dir, err)
		}
	}
	return r, nil
}

// lockRun takes the directory's lock; the kernel frees it when the process ends, however it ends.
func lockRun(path string) (*runDir, error) {
	name := filepath.Join(path, lockFile)
	lock := flock.New(name)
	got, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !got {
		owner, _ := os.ReadFile(name)
		return nil, fmt.Errorf("%s: %w by another process (%s)", path, ErrInUse, strings.TrimSpace(string(owner)))
	}
	host, _ := os.Hostname()
	if err := os.WriteFile(name, fmt.Appendf(nil, "process %d on %s\n", os.Getpid(), host), 0o644); err != nil {
		lock.Unlock()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &runDir{path, lock}, nil
}

func (r *runDir) close() { r.lock.Unlock() }

func (r *runDir) file(name string) string { return filepath.Join(r.path, name) }

// ReadRunConfig reads a run directory's config.json. Unknown fields are errors.
func ReadRunConfig(run string) (RunConfig, error) {
	var c RunConfig
	path := filepath.Join(run, configJSON)
	err := readJSON(path, &c)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		err = fmt.Errorf("%s: %w: it has no %s", run, ErrNoRun, configJSON)
	}
	return c, err
}

// Resolved returns given with what stands for a choice replaced by what the run in this directory chose, so that
// the command line that began the run can be held against its settings.
func (c *RunConfig) Resolved(run string, given Config) (Config, error) {
	manifest, err := data.ReadManifest(filepath.Join(run, manifestJSON))
	if err != nil {
		return given, err
	}
	chosen(&given.LR, c.LR, 0)
	chosen(&given.Alpha, c.Alpha, 0)
	chosen(&given.Dropout, c.Dropout, CheckpointDropout)
	chosen(&given.HeadSeed, c.HeadSeed, SeedOfRun)
	chosen(&given.Select, c.Select, "")
	if given.Batch > manifest.N { // lowered to the examples there are
		given.Batch = c.Batch
	}
	return given, nil
}

// chosen replaces a setting that is unset.
func chosen[T comparable](setting *T, value, unset T) {
	if *setting == unset {
		*setting = value
	}
}

// Result is a run's result.json.
type Result struct {
	Task          string  `json:"task"`
	Split         string  `json:"split"`
	Metrics       Metrics `json:"metrics"`
	PrimaryMetric string  `json:"primary_metric"`
	Examples      int     `json:"examples"` // of the split, that were evaluated
	Dropped       int     `json:"dropped"`  // of it, as overlong

	Method     string `json:"method"`
	Rank       int    `json:"rank"`
	Depth      int    `json:"depth"`
	Scope      string `json:"scope"`
	Seed       uint64 `json:"seed"`
	Shots      int    `json:"shots"` // training examples
	Steps      int    `json:"steps"` // done
	Selected   int    `json:"selected_step"`
	Parameters int    `json:"trainable_parameters"`
	Kernels    int    `json:"adapted_kernels"`

	WallSeconds     float64 `json:"wall_seconds"`                // of this process
	TrainSeconds    float64 `json:"train_seconds"`               // in optimizer steps, of all processes
	StartSeconds    float64 `json:"start_to_first_step_seconds"` // of this process, until its first step was done
	InitSeconds     float64 `json:"initialise_seconds"`          // drawing the adapter; 0 in a process that resumed
	TokensPerSecond float64 `json:"tokens_per_second"`
	PeakRSS         int64   `json:"peak_rss_bytes"`
	Backend         string  `json:"backend"`
	Threads         int     `json:"threads"`
	FinalLoss       float64 `json:"final_loss"`
}

// ReadResult reads the result.json of a finished run.
func ReadResult(run string) (Result, error) {
	var r Result
	return r, readJSON(filepath.Join(run, resultJSON), &r)
}

// sameFiles holds what a run was made from against what lies there now.
func sameFiles(what string, then, now []model.FileSum) error {
	if slices.Equal(then, now) {
		return nil
	}
	for _, f := range now {
		i := slices.IndexFunc(then, func(t model.FileSum) bool { return t.File == f.File })
		if i < 0 || then[i].SHA256 != f.SHA256 {
			return fmt.Errorf("%s file %s has changed since the run began: sha256 %s", what, f.File, f.SHA256)
		}
	}
	return fmt.Errorf("%s files have changed since the run began: there were %d, there are %d", what, len(then), len(now))
}
