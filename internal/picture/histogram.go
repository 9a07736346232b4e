package picture

import (
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Histogram is how many values lie in each of some twenty bins of equal width, whose edges are round numbers. Values that
// are not finite are left out.
type Histogram struct {
	Title          string
	XLabel, YLabel string
	Values         []float64
	Whole          bool     // values are whole numbers: no bin is narrower than 1
	Zero           bool     // the axis begins at 0
	Most           *float64 // larger values count in the last bin, so that a few of them do not set the axis
	At             *float64 // where to draw a vertical line, such as a limit
	Color          int      // of the palette, from 1; 0: the first
	Width, Height  float64  // points; 0: 420 by 270
}

// aboutBins is how many bins a histogram has, at least: at most 2.5 times as many.
const aboutBins = 12

// WriteSVG draws the histogram as a file of its own, on white. The bytes follow from it alone. A line that is not at a
// finite place is an error.
func (h Histogram) WriteSVG(w io.Writer) error {
	c, err := h.chart()
	return writeFile(w, c, err)
}

// WriteInline is WriteSVG as an element of an HTML page, in the page's colours, without its title, which becomes
// the element's label.
func (h Histogram) WriteInline(w io.Writer) error {
	c, err := h.chart()
	return writeInline(w, c, h.Title, err)
}

func (h Histogram) chart() (*chart, error) {
	for _, v := range []*float64{h.Most, h.At} {
		if v != nil && !drawable(*v, false) {
			return nil, fmt.Errorf("picture: a histogram with a line or an end at %g", *v)
		}
	}
	p := newPlot()
	addGrid(p, false, true)
	c := &chart{
		title: h.Title, xLabel: h.XLabel, yLabel: h.YLabel, plot: p,
		width: size(h.Width, chartWidth), height: size(h.Height, chartHeight),
	}
	b := h.bins()
	x := span{b.from, b.from + float64(len(b.counts))*b.width}
	if h.Zero {
		x.include(0)
	}
	if h.At != nil {
		x.include(*h.At)
		p.Add(upright{*h.At})
	}
	most := 0
	for _, n := range b.counts {
		most = max(most, n)
	}
	p.Add(columns{b, colorOf(max(0, h.Color-1))})
	x.fit(&p.X, false, nil)
	span{0, float64(max(most, 1))}.fit(&p.Y, false, nil)
	p.Y.Min = 0
	if most < 5 { // ticks between whole numbers would be of nothing
		p.Y.Tick.Marker = plot.ConstantTicks(wholeTicks(most))
	}
	return c, nil
}

func wholeTicks(most int) (ticks []plot.Tick) {
	for n := range max(most, 1) + 1 {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: fmt.Sprint(n)})
	}
	return ticks
}

// bins are counts in bins of a width: the first begins at from, and a value at an edge belongs to the bin above it.
type bins struct {
	from, width float64
	counts      []int
}

func (h Histogram) bins() bins {
	values, s := make([]float64, 0, len(h.Values)), emptySpan()
	for _, v := range h.Values {
		if !drawable(v, false) {
			continue
		}
		if h.Most != nil {
			v = min(v, *h.Most)
		}
		values = append(values, v)
		s.include(v)
	}
	if len(values) == 0 {
		return bins{0, 1, make([]int, 1)}
	}
	b := bins{width: h.binWidth(s)}
	b.from = b.width * math.Floor(s.low/b.width)
	b.counts = make([]int, 1+max(0, int(math.Floor((s.high-b.from)/b.width))))
	for _, v := range values {
		at := int((v - b.from) / b.width)
		b.counts[min(max(at, 0), len(b.counts)-1)]++
	}
	return b
}

// binWidth is 1, 2 or 5 times a power of ten.
func (h Histogram) binWidth(s span) float64 {
	width := 1.0
	if s.high > s.low {
		power := math.Pow(10, math.Floor(math.Log10((s.high-s.low)/aboutBins)))
		for _, factor := range []float64{1, 2, 5} {
			if (s.high-s.low)/(factor*power) >= aboutBins {
				width = factor * power
			}
		}
	}
	if h.Whole {
		width = max(width, 1)
	}
	return width
}

// columns draws bins.
type columns struct {
	bins
	color color.NRGBA
}

var _ plot.Plotter = columns{}

// Plot draws a bar a bin that is not empty.
func (b columns) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for i, n := range b.counts {
		if n == 0 {
			continue
		}
		left, right := x(b.from+float64(i)*b.width), x(b.from+float64(i+1)*b.width)
		gap := min(1, (right-left)/5)
		fillRectangle(c, b.color, left+gap/2, y(0), right-gap/2, y(float64(n)))
	}
}

func fillRectangle(c draw.Canvas, color color.Color, left, bottom, right, top vg.Length) {
	c.SetColor(color)
	c.Fill(vg.Rectangle{Min: vg.Point{X: left, Y: bottom}, Max: vg.Point{X: right, Y: top}}.Path())
}
