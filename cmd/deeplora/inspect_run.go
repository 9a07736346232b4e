package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/runreport"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/train"
)

// runInspection are the flags of inspect that go with --run.
type runInspection struct {
	run, svg   string
	tolerance  float64
	noGradient bool
}

func (r *runInspection) bind(f *pflag.FlagSet) {
	f.StringVar(&r.run, "run", "", "directory of a finished run, to show what its adapter has learned")
	f.StringVar(&r.svg, "svg", "", "file for a picture of the run's singular values, a panel a kernel")
	f.Float64Var(&r.tolerance, "tol", runreport.Tolerance, "of a run's numerical ranks: singular values above this times the largest")
	f.BoolVar(&r.noGradient, "no-gradient", false, "leave out the angles to the first gradient, which need the run's data")
}

// check refuses flags of a model beside those of a run, and the contrary.
func (r *runInspection) check(f *pflag.FlagSet) error {
	unwanted, want := []string{"svg", "tol", "no-gradient"}, "--run"
	if r.run != "" {
		unwanted, want = []string{"scope", "target", "min-dim", "method", "rank", "depth", "pooling"}, "a model; a run has its own"
	}
	for _, name := range unwanted {
		if f.Changed(name) {
			return usagef("--%s goes with %s", name, want)
		}
	}
	if !(r.tolerance >= 0 && r.tolerance < 1) {
		return usagef("--tol: %g is not between 0 and 1", r.tolerance)
	}
	return nil
}

// runReport is what inspect prints of a run.
type runReport struct {
	Run       string              `json:"run"`
	Task      string              `json:"task"`
	Method    string              `json:"method"`
	Rank      int                 `json:"rank"`
	Depth     int                 `json:"depth"`
	Tolerance float64             `json:"tolerance"` // of the numerical ranks
	Kernels   []train.KernelDelta `json:"kernels"`
}

func (s *shared) inspectRun(cmd *cobra.Command, of runInspection, base string, asJSON bool) error {
	stored, err := train.ReadFinished(cmd.Context(), of.run, train.OpenOptions{Sources: s.sources(), Model: base})
	if err != nil {
		return err
	}
	backend, _, err := s.open()
	if err != nil {
		return err
	}
	updates, err := stored.Deltas(cmd.Context(), train.DeltaOptions{
		Backend: backend, Sources: s.sources(), Tolerance: of.tolerance, Gradient: !of.noGradient, Progress: s.ui.phaseFunc("inspect"),
	})
	if errors.Is(err, train.ErrNoBeginning) {
		return fmt.Errorf("%w; --no-gradient does without", err)
	} else if err != nil {
		return err
	}
	info := &stored.Adapter
	r := runReport{of.run, info.Task, info.Method, info.Rank, info.Depth, of.tolerance, updates}
	if of.svg != "" {
		if err := atomicfile.Write(of.svg, func(w io.Writer) error {
			return runreport.Spectra(r.Kernels, fmt.Sprintf("%s, %s of rank %d", r.Task, r.Method, r.Rank)).WriteSVG(w)
		}); err != nil {
			return err
		}
	}
	if asJSON {
		return s.ui.json(r)
	}
	return s.ui.table(runreport.DeltaRows(r.Kernels, r.Tolerance))
}
