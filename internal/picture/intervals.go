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

// Intervals is estimates with their uncertainty in rows, as in a forest plot: a row has a mark and a bar for each
// series. Marks that are not finite are left out.
type Intervals struct {
	Title  string
	XLabel string
	Rows   []string // names, from top to bottom
	Series []IntervalSeries
	LogX   bool
	At     *float64 // where to draw a vertical line, such as no difference
	Width  float64  // points; 0: 420. The height follows from the rows
}

// IntervalSeries is one mark a row: an estimate and the interval it lies in. NaN leaves it out.
type IntervalSeries struct {
	Name           string
	Mid, Low, High []float64   // one a row
	Points         [][]float64 // of each row, what the estimate is made of; nil: not drawn
	Color          int         // of the palette, from 1, to have one in several pictures; 0: by its place among the series
}

// WriteSVG draws the intervals as a file of their own, on white. It is an error if a list has not one value a row.
func (v Intervals) WriteSVG(w io.Writer) error {
	c, err := v.chart()
	return writeFile(w, c, err)
}

// WriteInline is WriteSVG as an element of an HTML page, in the page's colours, without its title, which becomes
// the element's label.
func (v Intervals) WriteInline(w io.Writer) error {
	c, err := v.chart()
	return writeInline(w, c, v.Title, err)
}

// lane is the height of one series in a row.
const lane = 13

func (v Intervals) chart() (*chart, error) {
	p := newPlot()
	addGrid(p, true, false)
	c := &chart{title: v.Title, xLabel: v.XLabel, plot: p, width: size(v.Width, chartWidth)}
	x := emptySpan()
	if v.At != nil {
		x.include(*v.At)
		p.Add(upright{*v.At})
	}
	for i, s := range v.Series {
		n := len(v.Rows)
		if len(s.Mid) != n || len(s.Low) != n || len(s.High) != n || s.Points != nil && len(s.Points) != n {
			return nil, fmt.Errorf("picture: series %q has %d, %d, %d and %d values for %d rows", s.Name, len(s.Mid), len(s.Low), len(s.High), len(s.Points), n)
		}
		place := c.add(s.Name, s.Color)
		marks := v.marks(i)
		for _, m := range marks {
			x.include(m.low)
			x.include(m.high)
			for _, point := range m.points {
				x.include(point)
			}
		}
		p.Add(bars{marks: marks, color: colorOf(place), dashes: dashesOf(place), glyph: glyphOf(place)})
	}
	_, legend := c.legendPlaces()
	c.height = vg.Length(len(v.Rows)*(len(v.Series)*lane+8)) + legend + 46
	x.fit(&p.X, v.LogX, nil)
	p.Y.Min, p.Y.Max = 0.5, float64(len(v.Rows))+0.5
	p.Y.Tick.Length, p.Y.Padding, p.Y.LineStyle.Width = 0, 6, 0
	var names plot.ConstantTicks
	for i, name := range v.Rows {
		names = append(names, plot.Tick{Value: float64(len(v.Rows) - i), Label: name})
	}
	p.Y.Tick.Marker = names
	return c, nil
}

// mark is one series in one row, at a height.
type mark struct {
	y, mid, low, high float64
	points            []float64
}

// marks are the marks of a series that can be drawn: an interval with an end that cannot is the estimate alone.
func (v Intervals) marks(series int) []mark {
	s := v.Series[series]
	var marks []mark
	row := float64(len(v.Series)*lane + 8)
	for i := range v.Rows {
		if !drawable(s.Mid[i], v.LogX) {
			continue
		}
		m := mark{mid: s.Mid[i], low: s.Mid[i], high: s.Mid[i]}
		if drawable(s.Low[i], v.LogX) && drawable(s.High[i], v.LogX) {
			m.low, m.high = min(m.low, s.Low[i]), max(m.high, s.High[i])
		}
		m.y = float64(len(v.Rows)-i) - (float64(series)-float64(len(v.Series)-1)/2)*lane/row
		if s.Points != nil {
			for _, point := range s.Points[i] {
				if drawable(point, v.LogX) {
					m.points = append(m.points, point)
				}
			}
		}
		marks = append(marks, m)
	}
	return marks
}

// bars draws marks.
type bars struct {
	marks  []mark
	color  color.NRGBA
	dashes []vg.Length // of the bars, as the legend has them
	glyph  draw.GlyphDrawer
}

var _ plot.Plotter = bars{}

// Plot draws the bars, what they are made of, and the estimates on top.
func (b bars) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	ring := faded{b.color}
	ring.A = 0xb0
	for _, m := range b.marks {
		at := y(m.y)
		if m.high > m.low {
			line := draw.LineStyle{Color: b.color, Width: 1.5}
			dashed := line
			dashed.Dashes = b.dashes
			c.StrokeLine2(dashed, x(m.low), at, x(m.high), at)
			c.StrokeLine2(line, x(m.low), at-2, x(m.low), at+2)
			c.StrokeLine2(line, x(m.high), at-2, x(m.high), at+2)
		}
		for _, point := range m.points {
			c.DrawGlyph(draw.GlyphStyle{Color: ring, Radius: 1.6, Shape: draw.RingGlyph{}}, vg.Point{X: x(point), Y: at})
		}
		c.DrawGlyph(draw.GlyphStyle{Color: b.color, Radius: 3, Shape: b.glyph}, vg.Point{X: x(m.mid), Y: at})
	}
}

// upright is a vertical line over the whole plot.
type upright struct{ x float64 }

var _ plot.Plotter = upright{}

func (u upright) Plot(c draw.Canvas, p *plot.Plot) {
	x, _ := p.Transforms(&c)
	if at := x(u.x); !math.IsNaN(float64(at)) {
		c.StrokeLine2(draw.LineStyle{Color: color.Black, Width: 0.8, Dashes: []vg.Length{3, 2}}, at, c.Min.Y, at, c.Max.Y)
	}
}
