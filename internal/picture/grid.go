package picture

import (
	"errors"
	"image/color"
	"io"
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Panel is one small plot: values over their positions 1, 2, … on a logarithmic axis. Values that are not
// above zero and finite, or less than 1e-12 of the largest in the grid, are left out.
type Panel struct {
	Title  string
	Note   string // a second line
	Values []float64
}

// Grid is small multiples: panels in rows, all with the same axes. A nil panel leaves its place empty.
type Grid struct {
	Title  string
	Axes   string // what the axes are: a line below the title
	Panels [][]*Panel
}

// Sizes, in points.
const (
	panelWidth  = 150
	panelHeight = 105
	heading     = 42
	margin      = 10
	titleSize   = 13
	textSize    = 8
)

const (
	widest    = 1e-12 // smallest value drawn, of the largest
	manyTicks = 5     // on an axis, at most about so many
)

// WriteSVG draws the grid. The bytes follow from the grid alone. It is an error if there is no panel, or if
// rows differ in length.
func (g Grid) WriteSVG(w io.Writer) error {
	l, err := g.layout()
	return writeFile(w, l, err)
}

// WriteInline is WriteSVG as an element of an HTML page, in the page's colours, without its title, which becomes
// the element's label, and what the axes are, which belongs into its caption.
func (g Grid) WriteInline(w io.Writer) error {
	l, err := g.layout()
	return writeInline(w, l, g.Title, err)
}

// gridLayout is a grid with each panel as a plot.
type gridLayout struct {
	Grid
	plots [][]*plot.Plot
}

func (g Grid) layout() (*gridLayout, error) {
	rows := len(g.Panels)
	if rows == 0 || len(g.Panels[0]) == 0 {
		return nil, errors.New("picture: no panels")
	}
	columns := len(g.Panels[0])
	axes := g.axes()
	plots := make([][]*plot.Plot, rows)
	for i, row := range g.Panels {
		if len(row) != columns {
			return nil, errors.New("picture: rows of panels differ in length")
		}
		plots[i] = make([]*plot.Plot, columns)
		labelled := false
		for j, panel := range row {
			if panel == nil {
				continue
			}
			p, err := panel.plot(axes, !labelled)
			if err != nil {
				return nil, err
			}
			plots[i][j], labelled = p, true
		}
	}
	return &gridLayout{g, plots}, nil
}

// draw puts the plots on a canvas: a white one with the heading for a file, and a clear one without for a page.
func (l *gridLayout) draw(file bool) *vgsvg.Canvas {
	rows, columns := len(l.plots), len(l.plots[0])
	width := vg.Length(columns*panelWidth + 2*margin)
	top := vg.Length(margin)
	if file {
		top = heading
	}
	height := vg.Length(rows*panelHeight+margin) + top
	svg := vgsvg.New(width, height)
	canvas := draw.New(svg)
	if file {
		canvas.SetColor(color.White)
		canvas.Fill(canvas.Rectangle.Path())
		canvas.FillText(style(titleSize), vg.Point{X: margin, Y: height - 20}, l.Title)
		canvas.FillText(style(textSize), vg.Point{X: margin, Y: height - 34}, l.Axes)
	}
	tiles := draw.Tiles{
		Rows: rows, Cols: columns, PadTop: top, PadLeft: margin, PadRight: margin, PadBottom: margin, PadX: margin, PadY: margin,
	}
	for i, row := range plot.Align(l.plots, tiles, canvas) {
		for j, at := range row {
			if l.plots[i][j] != nil {
				l.plots[i][j].Draw(at)
			}
		}
	}
	return svg
}

// axes are the ranges that all panels share.
type axes struct {
	count    int     // positions
	low      int     // decades
	high     int     // above low
	smallest float64 // drawn
}

func (g Grid) axes() axes {
	a := axes{count: 2}
	largest, smallest := 0.0, math.Inf(1)
	each := func(do func(v float64)) {
		for _, row := range g.Panels {
			for _, panel := range row {
				if panel == nil {
					continue
				}
				a.count = max(a.count, len(panel.Values))
				for _, v := range panel.Values {
					if v > 0 && v <= math.MaxFloat64 { // not NaN either
						do(v)
					}
				}
			}
		}
	}
	each(func(v float64) { largest = max(largest, v) })
	each(func(v float64) {
		if v >= widest*largest {
			smallest = min(smallest, v)
		}
	})
	if largest == 0 {
		return axes{count: a.count, low: 0, high: 1, smallest: 1}
	}
	a.low, a.high = int(math.Floor(math.Log10(smallest))), int(math.Ceil(math.Log10(largest)))
	a.high, a.smallest = max(a.high, a.low+1), smallest
	return a
}

// plot draws the panel; with labels, its values' axis says what the ticks are.
func (p *Panel) plot(a axes, labels bool) (*plot.Plot, error) {
	out := plot.New()
	out.BackgroundColor = nil
	out.Title.TextStyle.Font = style(textSize).Font
	out.Title.Text = p.Title
	if p.Note != "" {
		out.Title.Text += "\n" + p.Note
	}
	out.Title.Padding = 3
	for _, axis := range []*plot.Axis{&out.X, &out.Y} {
		axis.Tick.Label.Font = style(textSize - 1).Font
		axis.Padding, axis.Tick.Length = 2, 3
	}
	out.X.Min, out.X.Max = 0.5, float64(a.count)+0.5
	out.X.Tick.Marker = plot.ConstantTicks(positions(a.count))
	out.Y.Min, out.Y.Max = math.Pow10(a.low), math.Pow10(a.high)
	out.Y.Scale = plot.LogScale{}
	decades := a.decades(labels)
	out.Y.Tick.Marker = plot.ConstantTicks(decades)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = nil, faint
	out.Add(grid)
	var points plotter.XYs
	for i, v := range p.Values {
		if v >= a.smallest && v <= math.MaxFloat64 {
			points = append(points, plotter.XY{X: float64(i + 1), Y: v})
		}
	}
	if len(points) == 0 {
		return out, nil
	}
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return nil, err
	}
	line.Color, line.Width = curve, 1
	dots.Color, dots.Radius, dots.Shape = curve, 1.6, draw.CircleGlyph{}
	if out.Add(line); len(points) <= 64 { // beyond, dots would be all there is to see
		out.Add(dots)
	}
	return out, nil
}

// positions are ticks at the first position and at a few multiples of a round number.
func positions(count int) []plot.Tick {
	ticks := []plot.Tick{{Value: 1, Label: "1"}}
	step := 1
	for count/step > manyTicks {
		step *= 2
	}
	for n := step; n <= count; n += step {
		if n > 1 {
			ticks = append(ticks, plot.Tick{Value: float64(n), Label: strconv.Itoa(n)})
		}
	}
	return ticks
}

// decades are ticks at powers of ten.
func (a axes) decades(labels bool) []plot.Tick {
	step := (a.high - a.low + manyTicks - 1) / manyTicks
	var ticks []plot.Tick
	for n := a.high; n >= a.low; n -= step {
		tick := plot.Tick{Value: math.Pow10(n), Label: " "} // major ticks have labels
		if labels {
			tick.Label = "1e" + strconv.Itoa(n)
		}
		ticks = append(ticks, tick)
	}
	return ticks
}
