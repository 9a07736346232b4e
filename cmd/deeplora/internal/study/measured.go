package study

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/deeplora/deeplora/train"
)

// Files of a run that a study reads.
const (
	resultFile  = "result.json"
	metricsFile = "metrics.jsonl"
)

// Measured is a finished run and what it measured.
type Measured struct {
	Run
	Result  train.Result
	Origin  train.Provenance    // where its bits come from
	Curve   []Point             // of training, a point a step
	Updates []train.KernelDelta // of its kernels, where they were taken apart; of the first seed of an arm and condition
}

// Point is one step of a training curve.
type Point struct {
	Step    int
	Loss    float64
	Seconds float64 // that the step took
}

// Score is the run's primary metric; NaN where it is undefined.
func (m *Measured) Score() float64 { return m.Result.Metrics[m.Result.PrimaryMetric] }

// readCurve reads the steps of a run's metrics.jsonl.
func readCurve(dir string) ([]Point, error) {
	path := filepath.Join(dir, metricsFile)
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var points []Point
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		var line struct {
			Step    int      `json:"step"`
			Loss    *float64 `json:"loss"`
			Seconds float64  `json:"step_seconds"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		if line.Loss != nil { // the line of a step, not of an evaluation
			points = append(points, Point{line.Step, *line.Loss, line.Seconds})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return points, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
