package runreport

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/internal/picture"
	"github.com/deeplora/deeplora/train"
)

// DeltaRows are what was added to each kernel as a table, the header first: of the angles the largest to each side, and a
// dash where there is no number.
func DeltaRows(deltas []train.KernelDelta, tolerance float64) [][]string {
	rows := [][]string{{"kernel", "in", "out", "σ1", "effective rank", fmt.Sprintf("rank at %g", tolerance), "‖ΔK‖/‖K‖", "input angle", "output angle"}}
	for _, u := range deltas {
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

// Spectra is the left panel of the paper's figure 1, a panel a kernel: layers below one another, kernels of one
// kind in a column, what belongs to no layer on top.
func Spectra(deltas []train.KernelDelta, title string) picture.Grid {
	g := picture.Grid{
		Title: "Singular values of ΔK: " + title,
		Axes:  "each panel: singular value, on a logarithmic scale, over its index; all panels have the same axes",
	}
	var kinds []string // of kernels in layers: the columns
	for _, u := range deltas {
		if _, kind, ok := inLayer(u.Kernel); ok && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	columns := max(1, len(kinds))
	if len(kinds) == 0 {
		columns = min(3, len(deltas))
	}
	var loose []*picture.Panel
	layers, rows := map[string][]*picture.Panel{}, [][]*picture.Panel{}
	for _, u := range deltas {
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
