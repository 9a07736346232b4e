package picture

import (
	"cmp"
	"fmt"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Lines is series over a common axis, each a line in a colour of its own. Points that are not finite, or not above
// zero on a logarithmic axis, are left out.
type Lines struct {
	Title          string
	XLabel, YLabel string
	LogX, LogY     bool
	Series         []Series
	Width, Height  float64 // points; 0: 420 by 270
}

// Series is one line: y over x, and the band between Low and High around it, where these are not nil.
type Series struct {
	Name      string
	X, Y      []float64
	Low, High []float64
	Color     int // of the palette, from 1, to have one in several pictures; 0: by its place among the series
}

// markedPoints is how many points a line may have for each to get a mark.
const markedPoints = 24

// WriteSVG draws the lines as a file of their own, on white. The bytes follow from the lines alone. It is an error
// if a series has lists of different lengths.
func (l Lines) WriteSVG(w io.Writer) error {
	c, err := l.chart()
	return writeFile(w, c, err)
}

// WriteInline is WriteSVG as an element of an HTML page, in the page's colours, without its title, which becomes
// the element's label.
func (l Lines) WriteInline(w io.Writer) error {
	c, err := l.chart()
	return writeInline(w, c, l.Title, err)
}

func (l Lines) chart() (*chart, error) {
	p := newPlot()
	addGrid(p, false, true)
	c := &chart{
		title: l.Title, xLabel: l.XLabel, yLabel: l.YLabel, plot: p,
		width: size(l.Width, chartWidth), height: size(l.Height, chartHeight),
	}
	x, y := emptySpan(), emptySpan()
	var at []float64 // where points are
	for _, s := range l.Series {
		if len(s.X) != len(s.Y) || s.Low != nil && len(s.Low) != len(s.X) || len(s.Low) != len(s.High) {
			return nil, fmt.Errorf("picture: series %q has %d x, %d y, %d low and %d high", s.Name, len(s.X), len(s.Y), len(s.Low), len(s.High))
		}
		place := c.add(s.Name, s.Color)
		line, band := l.points(s)
		for _, point := range line {
			at = append(at, point.X)
		}
		for _, points := range []plotter.XYs{line, band} {
			for _, point := range points {
				x.include(point.X)
				y.include(point.Y)
			}
		}
		if err := addSeries(p, place, line, band); err != nil {
			return nil, err
		}
	}
	x.fit(&p.X, l.LogX, at)
	y.fit(&p.Y, l.LogY, nil)
	return c, nil
}

// size is a chart's, or the default.
func size(points float64, or vg.Length) vg.Length { return cmp.Or(vg.Length(points), or) }

// points are a series' points that can be drawn, and the outline of its band.
func (l Lines) points(s Series) (line, band plotter.XYs) {
	var back plotter.XYs
	for i, x := range s.X {
		if !drawable(x, l.LogX) {
			continue
		}
		if drawable(s.Y[i], l.LogY) {
			line = append(line, plotter.XY{X: x, Y: s.Y[i]})
		}
		if s.Low != nil && drawable(s.Low[i], l.LogY) && drawable(s.High[i], l.LogY) {
			band = append(band, plotter.XY{X: x, Y: s.Low[i]})
			back = append(back, plotter.XY{X: x, Y: s.High[i]})
		}
	}
	if len(band) < 2 {
		return line, nil
	}
	for i := range back {
		band = append(band, back[len(back)-1-i])
	}
	return line, band
}

func drawable(v float64, logarithmic bool) bool {
	return !math.IsNaN(v) && !math.IsInf(v, 0) && (!logarithmic || v > 0)
}

func addSeries(p *plot.Plot, place int, line, band plotter.XYs) error {
	if len(band) > 0 {
		area, err := plotter.NewPolygon(band)
		if err != nil {
			return err
		}
		area.Color, area.LineStyle.Width = thin(colorOf(place)), 0
		p.Add(area)
	}
	if len(line) == 0 {
		return nil
	}
	curve, marks, err := plotter.NewLinePoints(line)
	if err != nil {
		return err
	}
	curve.LineStyle = draw.LineStyle{Color: colorOf(place), Width: 1.5, Dashes: dashesOf(place)}
	marks.GlyphStyle = draw.GlyphStyle{Color: colorOf(place), Radius: 2.2, Shape: glyphOf(place)}
	if p.Add(curve); len(line) <= markedPoints {
		p.Add(marks)
	}
	return nil
}
