package train

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// Files of a run directory. It is begun once config.json is there, and finished once result.json is.
const (
	configJSON   = "config.json"
	manifestJSON = "manifest.json"
	resultJSON   = "result.json"
	adapterDir   = "adapter"
	fromDir      = "from" // what the run goes on from, so that it can be resumed whatever has become of that
)

// runFormat is the format of run directories: 1, of files without the number, kept the sums of tensors in JSON.
const runFormat = 2

// RunConfig is a run's config.json: every setting resolved, and where the run came from.
type RunConfig struct {
	Config
	Format     int
	Provenance Provenance
}

// Provenance is what else a run's bits depend on.
type Provenance struct {
	Version       string            `json:"version"`       // of this program
	Libraries     map[string]string `json:"libraries"`     // module: version
	Backend       string            `json:"backend"`       // xla:cpu, xla:cuda or go
	PluginSHA256  string            `json:"plugin_sha256"` // empty for go
	Threads       int               `json:"threads"`
	Devices       int               `json:"devices"` // of the backend, that shared each batch; 0, of older runs: one
	Model         []model.FileSum   `json:"model"`
	ModelRevision string            `json:"model_revision,omitempty"` // commit, for a model of the hub
	Data          []model.FileSum   `json:"data"`
}

// MarshalJSON writes the settings and, after them, the rest.
func (c RunConfig) MarshalJSON() ([]byte, error) {
	return Settings().Marshal(&c.Config, settings.Extra{Name: "format", Value: runFormat}, settings.Extra{Name: "provenance", Value: c.Provenance})
}

// UnmarshalJSON reads what MarshalJSON wrote, or a version before it: settings that came later have their defaults.
func (c *RunConfig) UnmarshalJSON(text []byte) error {
	*c = RunConfig{Config: Default(), Format: 1}
	c.Pooling = string(model.PoolHead) // of runs before there was a choice
	return Settings().Unmarshal(text, &c.Config, settings.Extra{Name: "format", Value: &c.Format}, settings.Extra{Name: "provenance", Value: &c.Provenance})
}

// ReadRunConfig reads a run directory's config.json. Unknown fields are errors.
func ReadRunConfig(run string) (RunConfig, error) {
	var c RunConfig
	path := filepath.Join(run, configJSON)
	err := jsonfile.Read(path, &c)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		err = fmt.Errorf("%s: %w: it has no %s", run, rundir.ErrNoRun, configJSON)
	case err == nil && c.Format > runFormat:
		err = c.resumable(run)
	}
	return c, err
}

// resumable refuses a run that another version began and did not finish.
func (c *RunConfig) resumable(dir string) error { return rundir.CheckFormat(dir, c.Format, runFormat) }

// Resolved returns given with what stands for a choice replaced by what the run in this directory chose, so that the
// command line that began the run can be held against its settings.
func (c *RunConfig) Resolved(run string, given Config) (Config, error) {
	manifest, err := data.ReadManifest(filepath.Join(run, manifestJSON))
	if errors.Is(err, fs.ErrNotExist) { // of an imported adapter: what it was trained on is not known
		manifest, err = &data.Manifest{N: given.Batch}, nil
	}
	if err != nil {
		return given, err
	}
	Settings().Choose(&given, &c.Config)
	if !(data.HubOptions{}).IsCommit(given.DataRevision) { // a branch was a commit when the run began, and is that for it
		given.DataRevision = c.DataRevision
	}
	if given.AutoBatch && c.AutoBatch {
		given.Batch, given.Accumulate = c.Batch, c.Accumulate
	}
	given.chooseClassWeights(c.ClassWeights)
	if given.Batch > manifest.N { // lowered to the examples there are
		given.Batch = c.Batch
	}
	return given, nil
}

// Result is a run's result.json.
type Result struct {
	Task          string       `json:"task"`
	Split         string       `json:"split"`
	Metrics       loop.Metrics `json:"metrics"`
	PrimaryMetric string       `json:"primary_metric"`
	Examples      int          `json:"examples"` // of the split, that were evaluated
	Dropped       int          `json:"dropped"`  // of it, as overlong
	byLabel                    // of classes

	Method     string `json:"method"`
	Rank       int    `json:"rank"`
	Depth      int    `json:"depth"`
	Scope      string `json:"scope"`
	Seed       uint64 `json:"seed"`
	Shots      int    `json:"shots"`         // training examples
	Steps      int    `json:"steps"`         // done
	Skipped    int    `json:"skipped_steps"` // of them without an update: loss or gradient was infinite or NaN
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
	Devices         int     `json:"devices"`
	FinalLoss       float64 `json:"final_loss"`
}

// ReadResult reads the result.json of a finished run.
func ReadResult(run string) (Result, error) {
	var r Result
	return r, jsonfile.Read(filepath.Join(run, resultJSON), &r)
}

// Continues holds what a run is resumed with against what it began with. Other model or data files are an error;
// another engine or number of threads is a line for the user, or "" where they are the same.
func (p Provenance) Continues(then Provenance) (notice string, err error) {
	if err := sameFiles("model", then.Model, p.Model); err != nil {
		return "", err
	}
	if err := sameFiles("data", then.Data, p.Data); err != nil {
		return "", err
	}
	if then.Backend == p.Backend && then.PluginSHA256 == p.PluginSHA256 && then.Threads == p.Threads && max(1, then.Devices) == max(1, p.Devices) {
		return "", nil
	}
	return fmt.Sprintf("the run began on %s; it goes on with %s: the last bits may differ", then.engine(), p.engine()), nil
}

// engine is what computes, in words.
func (p Provenance) engine() string {
	text := fmt.Sprintf("%s with %d threads, ", p.Backend, p.Threads)
	if p.Devices > 1 {
		text += fmt.Sprintf("%d devices, ", p.Devices)
	}
	return text + fmt.Sprintf("plugin %.12s", p.PluginSHA256)
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
