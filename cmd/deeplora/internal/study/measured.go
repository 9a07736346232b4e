package study

import (
	"errors"
	"io/fs"
	"os"

	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// resultFile makes a run a finished one.
const resultFile = "result.json"

// Measured is a finished run and what it measured.
type Measured struct {
	Run
	Result  train.Result
	Origin  train.Provenance    // where its bits come from
	Curve   []loop.Step         // of training
	Updates []train.KernelDelta // of its kernels, where they were taken apart; of the first seed of an arm and condition
}

// Score is the run's primary metric; NaN where it is undefined.
func (m *Measured) Score() float64 { return m.Result.Metrics[m.Result.PrimaryMetric] }

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
