package loop

import (
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// finite reports whether a number is neither infinite nor NaN.
func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// isFinite says of each element whether it is neither infinite nor NaN. GoMLX's IsFinite is not in its Go engine;
// nothing is as large as infinity, and NaN compares with nothing.
func isFinite(x *Node) *Node {
	largest := math.MaxFloat32
	if x.DType() == dtypes.Float64 {
		largest = math.MaxFloat64
	}
	return LessOrEqual(Abs(x), Scalar(x.Graph(), x.DType(), largest))
}

// trend watches the loss of a run for divergence that still is a number. It is of one process: a warning is for
// whoever looks on, and changes nothing.
type trend struct {
	window        []float64 // the last losses
	first, lowest float64   // medians of windows
	windows       int
	warned        bool
}

// Divergence: the median of as many losses is so many times the lowest one before, and above the first. Medians, and
// the first beside the lowest, since losses of a fitted training set are small and leap.
const (
	trendWindow = 25
	trendFactor = 10
)

// add notes a step's loss and returns a warning, once.
func (t *trend) add(loss float64) (warning string) {
	t.window = append(t.window, loss)
	if len(t.window) < trendWindow {
		return ""
	}
	slices.Sort(t.window)
	median := t.window[trendWindow/2]
	t.window = t.window[:0]
	if t.windows++; t.windows == 1 {
		t.first, t.lowest = median, median
	}
	if t.lowest = min(t.lowest, median); t.warned || median <= trendFactor*t.lowest || median <= t.first {
		return ""
	}
	t.warned = true
	return fmt.Sprintf("the loss diverges: the median of the last %d is %.4g, it was %.4g at best and %.4g at first; a lower --lr, or --clip, may help", trendWindow, median, t.lowest, t.first)
}
