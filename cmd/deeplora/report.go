package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/runreport"
	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/train"
)

// reportFile is the page of a run, in its directory.
const reportFile = "report.html"

// reportErrors is how many examples with a high loss a page shows by default.
const reportErrors = 20

// reportFlags are the report command's own.
type reportFlags struct {
	run, out, data, split, model string
	precision                    string
	errors                       int
	noGradient                   bool
}

func reportCommand(s *shared) *cobra.Command {
	var r reportFlags
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Show a finished run as one HTML page",
		Long: `Show a finished run as one HTML page that loads nothing: what it is, metrics with intervals,
confusions, the examples with the highest loss, how it learned, its data, what its adapter added
to the model, settings and cost. The run is measured anew: --data and --split say on what. The
page has the texts of examples in it. train --report writes it at the end of training.`,
		Example: "  deeplora report --run run\n  deeplora report --run run --split test --errors 50 --out test.html",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.check(); err != nil {
				return err
			}
			if err := s.report(cmd.Context(), r, nil); err != nil {
				return err
			}
			s.ui.clear()
			_, err := fmt.Fprintln(cmd.OutOrStdout(), plain(r.path()))
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&r.run, "run", "", "directory of a finished run")
	f.StringVarP(&r.out, "out", "o", "", "file to write (default report.html in the run's directory)")
	f.StringVar(&r.data, "data", "", "file or directory with the examples to measure it on, a data set of the hub org/name, hub (GLUE), or builtin (default the run's)")
	f.StringVar(&r.split, "split", data.Validation, "split: train, validation or test")
	f.StringVar(&r.model, "model", "", baseNow)
	f.IntVar(&r.errors, "errors", reportErrors, "show so many examples, those with the highest loss; 0: none, and no texts")
	bindPrecision(f, &r.precision)
	f.BoolVar(&r.noGradient, "no-gradient", false, "leave out the angles to the first gradient, which need the run's data")
	return cmd
}

func (r *reportFlags) path() string {
	if r.out == "" {
		return filepath.Join(r.run, reportFile)
	}
	return r.out
}

// check refuses what cannot be meant, and a file that cannot be written, before anything is computed.
func (r *reportFlags) check() error {
	switch {
	case r.run == "":
		return usagef("give --run, the directory of a finished run")
	case r.errors < 0:
		return usagef("--errors: %d is less than 0", r.errors)
	}
	if err := errors.Join(checkSplit(r.split), checkPrecision(r.precision)); err != nil {
		return err
	}
	if info, err := os.Stat(r.path()); err == nil && info.IsDir() {
		return usagef("--out: %s is a directory; name a file in it", r.path())
	}
	if dir := filepath.Dir(r.path()); r.out != "" {
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return usagef("--out: there is no directory %s; create it first", dir)
		}
	}
	return nil
}

// report measures a finished run and writes its page. backend is open already; nil: the flags' is opened.
func (s *shared) report(ctx context.Context, r reportFlags, backend compute.Backend) error {
	if _, err := train.ReadRunConfig(r.run); err != nil {
		return err
	}
	finished, err := train.ReadFinished(ctx, r.run, train.OpenOptions{Sources: s.sources(), Model: r.model, Precision: r.precision})
	if err != nil {
		return err
	}
	if backend == nil {
		if backend, _, err = s.open(); err != nil {
			return err
		}
	}
	facts, err := runreport.Collect(ctx, finished, runreport.Options{
		Backend: backend, Sources: s.sources(), Data: r.data, Split: r.split, Errors: r.errors, Gradient: !r.noGradient, Progress: s.ui.phaseFunc,
	})
	if r.data == "" && errors.Is(err, runreport.ErrNoExamples) && !strings.Contains(err.Error(), "--data") {
		err = fmt.Errorf("%w; if the data of %s lie elsewhere now, say where with --data", err, r.run)
	}
	if err != nil {
		return err
	}
	return atomicfile.Write(r.path(), func(w io.Writer) error { return facts.Write(w) })
}

// errNoReport is wrapped by errors about the page of a run that is finished all the same.
var errNoReport = errors.New("no report")

// reportTrained writes the page of the run that has just been trained.
func (s *shared) reportTrained(ctx context.Context, out string, backend compute.Backend) error {
	r := reportFlags{run: out, split: data.Validation, errors: reportErrors}
	if err := s.report(ctx, r, backend); err != nil {
		s.ui.clear()
		return fmt.Errorf("%w: %w; the run itself is finished and whole: deeplora report --run %s writes its page", errNoReport, err, shellQuote(out))
	}
	s.ui.line("report: %s", r.path())
	return nil
}
