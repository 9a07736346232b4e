package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/completion"
	"github.com/deeplora/deeplora/internal/memory"
	"github.com/deeplora/deeplora/internal/picture"
	"github.com/deeplora/deeplora/internal/plugin"
)

// completionFlags are the matrix-completion command's own.
type completionFlags struct {
	train    completion.Config
	truth    completion.Synthetic
	observed observed
	oneBased bool
	holdOut  float64
	out      string
	json     bool
}

func matrixCompletionCommand(s *shared) *cobra.Command {
	c := completionFlags{
		train: completion.Default(), truth: completion.Synthetic{Rank: 5}, observed: observed{fraction: 0.2},
	}
	cmd := &cobra.Command{
		Use:   "matrix-completion",
		Short: "Recover a low-rank matrix from some of its entries",
		Long: `Recover a low-rank matrix from some of its entries by training a product of factors: wide (the
paper's baseline), compressed (the same in a few directions found beforehand) or narrow. The
matrix is drawn with --dim, --rank and --observed F, and recovery is measured; or its entries
are read with --observed FILE: lines of row, column and value with tabs between, or a Matrix
Market file. Training stops when the recovery error ‖W−Φ‖/‖Φ‖ is at most --tol (with a file the
training error ‖M∘(W−Y)‖/‖M∘Y‖), or at --steps. --out becomes a directory of the factors, result.json,
curve.json and curve.svg; nothing is saved before the end.`,
		Example: "  deeplora matrix-completion --dim 1000 --rank 5 --observed 0.2 --out recovered\n" +
			"  deeplora matrix-completion --observed ratings.tsv --holdout 0.1 --rank 8 --out ratings",
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := s.complete(cmd, c)
			if err != nil {
				return err
			}
			if c.json {
				return s.ui.json(result)
			}
			return s.ui.table(completionRows(result))
		},
	}
	c.bind(cmd.Flags())
	return cmd
}

func (c *completionFlags) bind(f *pflag.FlagSet) {
	f.IntVar(&c.truth.Rows, "dim", c.truth.Rows, "rows of the matrix, and columns unless --cols says otherwise")
	f.IntVar(&c.truth.Cols, "cols", c.truth.Cols, "columns (default --dim)")
	f.IntVar(&c.truth.Rank, "rank", c.truth.Rank, "rank of the matrix that is drawn, or that is assumed of a file's")
	f.Var(&c.observed, "observed", "`F|FILE`: fraction of the entries that are observed, 1 for factorisation; or a file of them")
	f.Float64Var(&c.truth.Noise, "noise", c.truth.Noise, "standard deviation of the noise on observed entries")
	f.BoolVar(&c.oneBased, "one-based", c.oneBased, "rows and columns in the file count from 1; those of Matrix Market always do")
	f.Float64Var(&c.holdOut, "holdout", c.holdOut, "fraction of a file's entries kept from training and measured")

	f.StringVar(&c.train.Method, "method", c.train.Method, "wide, compressed or narrow")
	f.IntVar(&c.train.Depth, "depth", c.train.Depth, "factors; of compressed, inner factors")
	f.IntVar(&c.train.Width, "width", c.train.Width, "width of compressed and narrow factors; 0: twice the rank")
	f.Float64Var(&c.train.InitScale, "init-scale", c.train.InitScale, "initial scale ε of the factors")
	f.Float64Var(&c.train.Gamma, "gamma", c.train.Gamma, "learning-rate multiple γ of compressed's outer factors; 0: frozen")
	f.StringVar(&c.train.Start, "start", c.train.Start, "subspaces of compressed: shared, from wide's own start; implicit, drawn; auto, shared up to a side of 4096")
	f.StringVar(&c.train.Optimizer, "optimizer", c.train.Optimizer, "gd or adam, on the sum over observed entries")
	f.Float64Var(&c.train.LR, "lr", c.train.LR, "step for ½·mean over all entries (gd), or Adam's; 0: 3/4 of the largest stable one, Adam 0.01")
	f.Float64Var(&c.train.WeightDecay, "weight-decay", c.train.WeightDecay, "weight decay λ: factors shrink by lr·λ a step")
	f.IntVar(&c.train.Steps, "steps", c.train.Steps, "iterations at most")
	f.Float64Var(&c.train.Tolerance, "tol", c.train.Tolerance, "recovery error, with a file training error, to stop at")
	f.IntVar(&c.train.EvalEvery, "eval-every", c.train.EvalEvery, "iterations between measurements; 0: so that they cost little")
	f.Uint64Var(&c.train.Seed, "seed", c.train.Seed, "seed of every random stream")
	f.StringVarP(&c.out, "out", "o", "", "directory to make")
	f.BoolVar(&c.json, "json", false, "print result.json")
}

// observed is a flag's value: a fraction, or a file.
type observed struct {
	fraction float64
	file     string
}

func (o *observed) String() string {
	if o.file != "" {
		return o.file
	}
	return strconv.FormatFloat(o.fraction, 'g', -1, 64)
}

func (o *observed) Set(text string) error {
	if f, err := strconv.ParseFloat(text, 64); err == nil {
		*o = observed{fraction: f}
		return nil
	}
	if text == "" {
		return errors.New("empty")
	}
	*o = observed{file: text}
	return nil
}

// Type is that of a number, which is what a JSON file may give.
func (o *observed) Type() string { return "float64" }

// complete makes the problem, trains on it and saves what came of it.
func (s *shared) complete(cmd *cobra.Command, c completionFlags) (*completion.Result, error) {
	began := time.Now()
	if err := c.settle(cmd.Flags()); err != nil {
		return nil, err
	}
	if err := vacant(c.out); err != nil {
		return nil, err
	}
	if err := plugin.SetThreads(s.threads); err != nil {
		return nil, usageError{err}
	}
	problem, err := c.problem()
	if err != nil {
		return nil, err
	}
	rows, cols := problem.Observed.Rows, problem.Observed.Cols
	if err := c.train.Validate(rows, cols); err != nil {
		return nil, usageError{err}
	}
	if need, have := completion.WideBytes(rows, cols, c.train.Depth), uint64(memory.Total()); c.train.Method == completion.Wide && have > 0 && need > have {
		return nil, usagef("--method wide: %d factors of %d × %d take %.0f GB, this machine has %.0f; --method compressed takes a few megabytes",
			c.train.Depth, max(rows, cols), max(rows, cols), float64(need)/1e9, float64(have)/1e9)
	}
	drawn := time.Since(began)

	defer s.ui.clear() // a bar, where there is an error
	stop := onCancel(cmd.Context(), func() {
		s.release()
		s.ui.line("interrupted: matrix completion saves nothing before its end")
	})
	defer stop()
	solution, err := completion.Solve(cmd.Context(), problem, c.train, s.showCompletion)
	if err != nil {
		return nil, err
	}
	result := solution.Result(problem)
	result.File, result.Noise = c.observed.file, c.truth.Noise
	result.ProblemSeconds, result.WallSeconds = drawn.Seconds(), time.Since(began).Seconds()
	if c.out == "" {
		return &result, nil
	}
	return &result, save(c.out, solution, result)
}

// settle refuses what does not go together, and fills in what follows from the rest.
func (c *completionFlags) settle(given *pflag.FlagSet) error {
	for _, only := range []struct {
		flag string
		file bool
	}{{"one-based", true}, {"holdout", true}, {"noise", false}} {
		if given.Changed(only.flag) && only.file != (c.observed.file != "") {
			if only.file {
				return usagef("--%s belongs to --observed FILE", only.flag)
			}
			return usagef("--%s belongs to --observed F: a file's entries are what they are", only.flag)
		}
	}
	if c.observed.file == "" && c.truth.Rows == 0 {
		return usagef("give --dim, the rows of a matrix to draw, or --observed FILE, entries of one")
	}
	if c.truth.Cols == 0 {
		c.truth.Cols = c.truth.Rows
	}
	if c.train.Width == 0 {
		c.train.Width = 2 * c.truth.Rank
	}
	c.truth.Observed, c.truth.Seed = c.observed.fraction, c.train.Seed
	return nil
}

// problem draws or reads the problem.
func (c *completionFlags) problem() (*completion.Problem, error) {
	if c.observed.file == "" {
		p, err := c.truth.Make()
		if err != nil {
			return nil, usageError{err}
		}
		return p, nil
	}
	entries, err := completion.ReadFile(c.observed.file, completion.ReadOptions{Rows: c.truth.Rows, Cols: c.truth.Cols, OneBased: c.oneBased})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("--observed: %q is neither a fraction nor a file: %w", c.observed.file, err)
	}
	if err != nil {
		return nil, err
	}
	p, err := completion.HoldOut(entries, c.holdOut, c.train.Seed)
	if err != nil {
		return nil, usagef("--holdout: %w", err)
	}
	return p, nil
}

// vacant refuses a directory that holds something, before anything is computed for it.
func vacant(dir string) error {
	if dir == "" {
		return nil
	}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("--out: %w", err)
	case len(entries) > 0:
		return fmt.Errorf("%s: output directory is in use: it holds %s; choose another --out", dir, entries[0].Name())
	}
	return nil
}

func save(dir string, s *completion.Solution, r completion.Result) error {
	// An empty directory makes room for the one that appears whole; if it is not empty any more, Save says so.
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.Save(dir, r, func(w io.Writer) error { return completionPicture(s.Curve, r).WriteSVG(w) })
}

func (s *shared) showCompletion(p completion.Progress) {
	detail := fmt.Sprintf("%d/%d, training error %.2e", p.Iteration, p.Steps, p.Relative)
	if p.Recovery != nil {
		detail = fmt.Sprintf("%d/%d, recovery error %.2e", p.Iteration, p.Steps, *p.Recovery)
	}
	s.ui.progress("complete", p.Iteration, p.Steps, detail)
}

// completionPicture is the errors over the iterations, those that were measured.
func completionPicture(points []completion.Point, r completion.Result) picture.Lines {
	recovery, training := picture.Series{Name: "recovery error"}, picture.Series{Name: "training error"}
	for _, p := range points {
		x := float64(p.Iteration)
		training.X, training.Y = append(training.X, x), append(training.Y, p.Relative)
		if p.Recovery != nil {
			recovery.X, recovery.Y = append(recovery.X, x), append(recovery.Y, *p.Recovery)
		}
	}
	l := picture.Lines{
		Title:  fmt.Sprintf("%s, depth %d: %d × %d from %.3g %% of its entries", r.Method, r.Depth, r.Rows, r.Cols, 100*r.Fraction),
		XLabel: "iterations", YLabel: "relative error", LogY: true,
	}
	if len(recovery.X) > 0 {
		l.Series = append(l.Series, recovery)
	}
	l.Series = append(l.Series, training)
	return l
}

// completionRows is a result as a table of two columns.
func completionRows(r *completion.Result) [][]string {
	problem := fmt.Sprintf("%d × %d, rank %d", r.Rows, r.Cols, r.Rank)
	if r.File != "" {
		problem = fmt.Sprintf("%d × %d from %s", r.Rows, r.Cols, r.File)
	}
	method := fmt.Sprintf("%s, depth %d, %d parameters", r.Method, r.Depth, r.Parameters)
	if r.Method != completion.Wide {
		method = fmt.Sprintf("%s, depth %d, width %d, %d parameters", r.Method, r.Depth, r.Width, r.Parameters)
	}
	end := "stopped at --steps"
	if r.Converged {
		end = fmt.Sprintf("reached %g", r.Tolerance)
	}
	rows := [][]string{
		{"matrix", problem},
		{"observed", fmt.Sprintf("%d entries, %.3g %%", r.Observed, 100*r.Fraction)},
		{"method", method},
		{"iterations", fmt.Sprintf("%d in %.1f s, %.3g ms each; %s", r.Iterations, r.IterateSeconds, 1e3*r.PerIteration, end)},
		{"learning rate", fmt.Sprintf("%.4g (%s)", r.LR, r.Optimizer)},
	}
	if r.Recovery != nil {
		rows = append(rows, []string{"recovery error", fmt.Sprintf("%.3e  ‖W−Φ‖/‖Φ‖", *r.Recovery)})
	}
	rows = append(rows, []string{"training error", fmt.Sprintf("%.3e  ‖M∘(W−Y)‖/‖M∘Y‖", r.Relative)},
		[]string{"training loss", fmt.Sprintf("%.3e  ½·mean over all entries of (M∘(W−Y))²", r.Train)})
	if held := r.HeldOutErr; held != nil && r.File == "" {
		rows = append(rows, []string{"held-out loss", fmt.Sprintf("%.3e  ½·mean over all entries of ((1−M)∘(W−Φ))²", *held)})
	} else if held != nil {
		rows = append(rows, []string{"held-out loss", fmt.Sprintf("%.3e  ½·mean of (W−Y)² over %d held-out entries", *held, r.HeldOut)})
	}
	return rows
}
