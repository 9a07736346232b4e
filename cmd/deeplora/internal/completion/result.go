package completion

import (
	"fmt"
	"io"
	"path/filepath"
	"runtime"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/memory"
	"github.com/deeplora/deeplora/internal/safetensors"
)

// Result is result.json. What is not known is null: without a truth the recovery error, without entries outside the
// training the held-out loss.
type Result struct {
	File     string  `json:"file"` // of observed entries; "" where they were drawn
	Rows     int     `json:"rows"`
	Cols     int     `json:"cols"`
	Rank     int     `json:"rank"`              // of Φ; 0 without a truth
	Observed int     `json:"observed"`          // entries trained on
	Fraction float64 `json:"observed_fraction"` // of all entries
	HeldOut  int     `json:"held_out"`          // entries of the file kept from training
	Noise    float64 `json:"noise"`
	Config

	Recovery   *float64 `json:"recovery_error"` // ‖f - Φ‖ / ‖Φ‖
	Train      float64  `json:"train_loss"`     // ½·mean over all entries of (M∘(f - Y))²
	Relative   float64  `json:"train_error"`    // ‖M∘(f - Y)‖ / ‖M∘Y‖
	HeldOutErr *float64 `json:"held_out_loss"`  // ½·mean over all entries of ((1-M)∘(f - Φ))²; of a file's held-out entries, over those
	Iterations int      `json:"iterations"`
	Converged  bool     `json:"converged"` // the tolerance was reached
	Parameters int      `json:"trainable_parameters"`

	WallSeconds    float64 `json:"wall_seconds"`    // problem, start and iterations
	ProblemSeconds float64 `json:"problem_seconds"` // drawing or reading it
	StartSeconds   float64 `json:"start_seconds"`   // finding subspaces, drawing factors
	IterateSeconds float64 `json:"iterate_seconds"` // iterations and measurements
	PerIteration   float64 `json:"seconds_per_iteration"`
	PeakRSS        int64   `json:"peak_rss_bytes"`
	Threads        int     `json:"threads"`
}

// Result is what the solution of a problem says of itself; the caller knows where the problem came from.
func (s *Solution) Result(p *Problem) Result {
	r := Result{
		Rows: p.Observed.Rows, Cols: p.Observed.Cols, Observed: p.Observed.Len(), Fraction: float64(p.Observed.Len()) / p.entries(),
		Config: s.Config, Recovery: s.Errors.Recovery, Train: s.Errors.Train, Relative: s.Errors.Relative, HeldOutErr: s.Errors.HeldOut,
		Iterations: s.Iterations, Converged: s.Converged, Parameters: s.Parameters,
		StartSeconds: s.StartSeconds, IterateSeconds: s.IterateSeconds, PeakRSS: memory.Peak(), Threads: runtime.GOMAXPROCS(0),
	}
	if p.Truth != nil {
		_, r.Rank = p.Truth.Left.Dims()
	}
	if p.HeldOut != nil {
		r.HeldOut = p.HeldOut.Len()
	}
	if s.Iterations > 0 {
		r.PerIteration = s.IterateSeconds / float64(s.Iterations)
	}
	return r
}

// Save makes the directory dir, which must not exist, with result.json, curve.json, factors.safetensors and curve.svg,
// which picture draws; whole or not at all.
func (s *Solution) Save(dir string, r Result, picture func(io.Writer) error) error {
	return atomicfile.WriteDir(dir, func(tmp string) error {
		if err := jsonfile.Write(filepath.Join(tmp, "curve.json"), s.Curve); err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(tmp, "curve.svg"), picture); err != nil {
			return err
		}
		if err := atomicfile.Write(filepath.Join(tmp, "factors.safetensors"), s.writeFactors); err != nil {
			return err
		}
		return jsonfile.Write(filepath.Join(tmp, "result.json"), r)
	})
}

func (s *Solution) writeFactors(w io.Writer) error {
	entries := make([]safetensors.Entry, len(s.Factors))
	for i, f := range s.Factors {
		rows, cols := f.Value.Dims()
		entries[i] = safetensors.Entry{Name: f.Name, Shape: []int{rows, cols}, Data: f.Value.RawMatrix().Data}
	}
	product := "W%d···W1"
	if s.Config.Method == Compressed {
		product = "left·W%d···W1·rightᵀ"
	}
	return safetensors.Write(w, entries, map[string]string{"method": s.Config.Method, "product": fmt.Sprintf(product, s.Config.Depth)})
}
