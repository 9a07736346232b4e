package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/picture"
	"github.com/deeplora/deeplora/train"
)

// defaultTolerance is that of numerical ranks: singular values above it times the largest count.
const defaultTolerance = 1e-3

// runInspection are the flags of inspect that go with --run.
type runInspection struct {
	run, svg   string
	tolerance  float64
	noGradient bool
}

func (r *runInspection) bind(f *pflag.FlagSet) {
	f.StringVar(&r.run, "run", "", "directory of a finished run, to show what its adapter has learned")
	f.StringVar(&r.svg, "svg", "", "file for a picture of the run's singular values, a panel a kernel")
	f.Float64Var(&r.tolerance, "tol", defaultTolerance, "of a run's numerical ranks: singular values above this times the largest")
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
		if err := atomicfile.Write(of.svg, func(w io.Writer) error { return r.picture().WriteSVG(w) }); err != nil {
			return err
		}
	}
	if asJSON {
		return s.ui.json(r)
	}
	return s.ui.table(r.rows())
}

// rows are the table: of the angles, the largest to each side.
func (r *runReport) rows() [][]string {
	rows := [][]string{{"kernel", "in", "out", "σ1", "effective rank", fmt.Sprintf("rank at %g", r.Tolerance), "‖ΔK‖/‖K‖", "input angle", "output angle"}}
	for _, u := range r.Kernels {
		largest, relative, input, output := 0.0, "-", "-", "-"
		if len(u.Values) > 0 {
			largest = u.Values[0]
		}
		if u.RelativeNorm != nil {
			relative = short3(*u.RelativeNorm)
		}
		if u.Gradient != nil {
			input, output = angle(u.Gradient.Input), angle(u.Gradient.Output)
		}
		rows = append(rows, []string{
			u.Kernel, strconv.Itoa(u.In), strconv.Itoa(u.Out), short3(largest), fmt.Sprintf("%.2f", u.EffectiveRank), strconv.Itoa(u.Rank), relative, input, output,
		})
	}
	return rows
}

func short3(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }

// angle is the largest of angles in ascending order.
func angle(degrees []float64) string {
	if len(degrees) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f°", degrees[len(degrees)-1])
}

// picture is the left panel of the paper's figure 1, a panel a kernel: layers below one another, kernels of one
// kind in a column, what belongs to no layer on top.
func (r *runReport) picture() picture.Grid {
	g := picture.Grid{
		Title: fmt.Sprintf("Singular values of ΔK: %s, %s of rank %d", r.Task, r.Method, r.Rank),
		Axes:  "each panel: singular value, on a logarithmic scale, over its index; all panels have the same axes",
	}
	var kinds []string // of kernels in layers: the columns
	for _, u := range r.Kernels {
		if _, kind, ok := inLayer(u.Kernel); ok && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	columns := max(1, len(kinds))
	if len(kinds) == 0 {
		columns = min(3, len(r.Kernels))
	}
	var loose []*picture.Panel
	layers, rows := map[string][]*picture.Panel{}, [][]*picture.Panel{}
	for _, u := range r.Kernels {
		layer, kind, ok := inLayer(u.Kernel)
		switch {
		case !ok:
			loose = append(loose, panelOf(u, strings.TrimPrefix(u.Kernel, "bert.")))
			continue
		case layers[layer] == nil:
			layers[layer] = make([]*picture.Panel, columns)
			rows = append(rows, layers[layer])
		}
		layers[layer][slices.Index(kinds, kind)] = panelOf(u, layer+" "+kind)
	}
	for from := 0; from < len(loose); from += columns {
		row := make([]*picture.Panel, columns)
		copy(row, loose[from:])
		g.Panels = append(g.Panels, row)
	}
	g.Panels = append(g.Panels, rows...)
	return g
}

// inLayer splits the name of a layer's kernel: bert.encoder.layer.3.attention.self.query is "layer 3" and
// "attention.self.query".
func inLayer(kernel string) (layer, kind string, ok bool) {
	_, rest, ok := strings.Cut(kernel, ".layer.")
	if !ok {
		return "", "", false
	}
	number, kind, ok := strings.Cut(rest, ".")
	return "layer " + number, kind, ok
}

func panelOf(u train.KernelDelta, title string) *picture.Panel {
	note := "ΔK = 0"
	if u.Norm > 0 {
		note = fmt.Sprintf("effective rank %.2f", u.EffectiveRank)
		if relative := cmp.Or(u.RelativeNorm, new(float64)); *relative > 0 {
			note += fmt.Sprintf(", %s of ‖K‖", short3(*relative))
		}
	}
	return &picture.Panel{Title: title, Note: note, Values: u.Values}
}
