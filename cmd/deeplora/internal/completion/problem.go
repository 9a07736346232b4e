package completion

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
)

// Problem is the input of Solve: the observed entries Y of a matrix, and what the error of a solution is measured with.
type Problem struct {
	Observed *Entries
	Truth    *Truth    // Φ; nil if unknown
	Clean    []float64 // Φ at the observed places; nil if there is no noise: then it is Observed.Value
	HeldOut  *Entries  // entries of a file that are not trained on; or nil
}

// Truth is Φ = Left·Rightᵀ.
type Truth struct {
	Left  *mat.Dense // [rows, rank]
	Right *mat.Dense // [cols, rank], orthonormal columns
	Norm  float64    // ‖Φ‖
}

// Synthetic describes a problem with a known truth.
type Synthetic struct {
	Rows, Cols int
	Rank       int
	Observed   float64 // fraction of all entries; 1: factorisation
	Noise      float64 // standard deviation of what is added to observed entries
	Seed       uint64
}

// maxSide is the longest side of a matrix: places are 32-bit numbers, and a product of two must not overflow.
const maxSide = math.MaxInt32

// Make draws the problem. Φ is distributed as the best approximation of its rank to a Gaussian matrix: Haar singular
// vectors and, by their own law, the largest singular values of such a matrix, so that no rows × cols array is ever
// needed. Truth, places and noise come from streams of their own.
func (c Synthetic) Make() (*Problem, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	values, err := linalg.GaussianSingularValues(rng.New(c.Seed, "completion", "spectrum"), c.Rows, c.Cols, c.Rank)
	if err != nil {
		return nil, err
	}
	left := linalg.Haar(rng.New(c.Seed, "completion", "left"), c.Rows, c.Rank)
	right := linalg.Haar(rng.New(c.Seed, "completion", "right"), c.Cols, c.Rank)
	truth := NewTruth(left, values, right)
	count := int(c.Observed * float64(c.Rows) * float64(c.Cols))
	p := &Problem{Truth: truth, Observed: sample(rng.New(c.Seed, "completion", "observed"), c.Rows, c.Cols, count)}
	truth.fill(p.Observed)
	if c.Noise > 0 {
		p.Clean = append([]float64(nil), p.Observed.Value...)
		s := rng.New(c.Seed, "completion", "noise")
		for n := range p.Observed.Value {
			p.Observed.Value[n] += c.Noise * s.Normal()
		}
	}
	return p, nil
}

func (c Synthetic) validate() error {
	var faults []error
	for _, side := range []struct {
		name  string
		value int
	}{{"rows", c.Rows}, {"columns", c.Cols}} {
		if side.value < 2 || side.value > maxSide {
			faults = append(faults, fmt.Errorf("%d %s: want 2 to %d", side.value, side.name, maxSide))
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	if short := min(c.Rows, c.Cols); c.Rank < 1 || c.Rank > short {
		faults = append(faults, fmt.Errorf("rank %d of a %d × %d matrix: want 1 to %d", c.Rank, c.Rows, c.Cols, short))
	}
	switch count := c.Observed * float64(c.Rows) * float64(c.Cols); {
	case !(c.Observed > 0 && c.Observed <= 1):
		faults = append(faults, fmt.Errorf("observed fraction %g: want above 0 and at most 1", c.Observed))
	case count < 1:
		faults = append(faults, fmt.Errorf("observed fraction %g of %d × %d entries is none of them", c.Observed, c.Rows, c.Cols))
	case count > math.MaxInt32:
		faults = append(faults, fmt.Errorf("observed fraction %g of %d × %d: %.0f entries; at most %d fit", c.Observed, c.Rows, c.Cols, count, math.MaxInt32))
	}
	if !(c.Noise >= 0 && c.Noise <= math.MaxFloat64) {
		faults = append(faults, fmt.Errorf("noise %g: want a standard deviation from 0 up", c.Noise))
	}
	return errors.Join(faults...)
}

// NewTruth is left·diag(values)·rightᵀ for orthonormal left and right.
func NewTruth(left *mat.Dense, values []float64, right *mat.Dense) *Truth {
	var scaled mat.Dense
	scaled.Apply(func(_, j int, v float64) float64 { return v * values[j] }, left)
	sum := 0.0
	for _, v := range values {
		sum += v * v
	}
	return &Truth{Left: &scaled, Right: right, Norm: math.Sqrt(sum)}
}

// fill sets the values of entries to Φ's.
func (t *Truth) fill(e *Entries) {
	parts(e.Rows, func(from, to int) {
		for i := from; i < to; i++ {
			for n := e.Start[i]; n < e.Start[i+1]; n++ {
				e.Value[n] = dot(t.Left.RawRowView(i), t.Right.RawRowView(int(e.Col[n])))
			}
		}
	})
}

// HoldOut is the problem of a user's entries: a fraction of them, drawn by seed, is kept from training.
func HoldOut(e *Entries, fraction float64, seed uint64) (*Problem, error) {
	if !(fraction >= 0 && fraction < 1) {
		return nil, fmt.Errorf("hold-out fraction %g: want from 0 up and below 1", fraction)
	}
	count := int(fraction * float64(e.Len()))
	if e.Len()-count < 1 {
		return nil, errors.New("no entry is left to train on")
	}
	if count == 0 {
		return &Problem{Observed: e}, nil
	}
	held := make([]bool, e.Len())
	for _, n := range rng.New(seed, "completion", "hold-out").Perm(e.Len())[:count] {
		held[n] = true
	}
	return &Problem{Observed: e.only(held, false), HeldOut: e.only(held, true)}, nil
}

// only keeps the entries whose mark is want.
func (e *Entries) only(marks []bool, want bool) *Entries {
	kept := &Entries{Rows: e.Rows, Cols: e.Cols, Start: make([]int, e.Rows+1)}
	for i := range e.Rows {
		for n := e.Start[i]; n < e.Start[i+1]; n++ {
			if marks[n] == want {
				kept.Col, kept.Value = append(kept.Col, e.Col[n]), append(kept.Value, e.Value[n])
			}
		}
		kept.Start[i+1] = len(kept.Col)
	}
	return kept
}
