package picture

import (
	"image/color"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Sizes of a chart, in points: of one plot with a legend above it.
const (
	chartWidth  = 420
	chartHeight = 270
	chartText   = 10
	legendRow   = 14
	swatch      = 18 // length of a legend's line
)

// chart is one plot under its title and legend.
type chart struct {
	title         string
	names         []string // of series
	colors        []int    // of series, places in the palette
	width, height vg.Length
	plot          *plot.Plot

	// Names of the axes. The library's own place for them is found on a linear scale, whatever the scale is.
	xLabel, yLabel string
}

func newPlot() *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Tick.Label.Font = style(chartText).Font
		axis.Padding, axis.Tick.Length = 3, 3
	}
	return p
}

// draw puts title, legend and plot on a canvas: a white one with the title for a file, and a clear one without for
// a page, which has a caption.
func (c *chart) draw(file bool) *vgsvg.Canvas {
	svg := vgsvg.New(c.width, c.height)
	canvas := draw.New(svg)
	top := c.height - margin/2
	if file {
		canvas.SetColor(color.White)
		canvas.Fill(canvas.Rectangle.Path())
		if c.title != "" {
			canvas.FillText(style(titleSize), vg.Point{X: margin, Y: top - titleSize}, c.title)
			top -= titleSize + margin
		}
	}
	top = c.legend(canvas, top)
	area := draw.Crop(canvas, margin/2, -margin, margin/2, top-c.height)
	if c.xLabel != "" {
		area.Min.Y += chartText + 5
	}
	if c.yLabel != "" {
		area.Min.X += chartText + 7
	}
	c.plot.Draw(area)
	data, label := c.plot.DataCanvas(area), style(chartText)
	label.XAlign, label.YAlign = text.XCenter, text.YBottom
	if c.xLabel != "" {
		canvas.FillText(label, vg.Point{X: data.Center().X, Y: margin / 2}, c.xLabel)
	}
	if c.yLabel != "" {
		label.Rotation = math.Pi / 2
		canvas.FillText(label, vg.Point{X: margin/2 + chartText + 2, Y: data.Center().Y}, c.yLabel)
	}
	return svg
}

// legend draws a line and a name a series, as many in a row as there is room for, and returns where it ends.
func (c *chart) legend(canvas draw.Canvas, top vg.Length) vg.Length {
	places, height := c.legendPlaces()
	font := style(chartText)
	for i, at := range places {
		at.Y += top
		place := c.colors[i]
		line := draw.LineStyle{Color: colorOf(place), Width: 2, Dashes: dashesOf(place)}
		canvas.StrokeLine2(line, at.X, at.Y, at.X+swatch, at.Y)
		canvas.DrawGlyph(draw.GlyphStyle{Color: colorOf(place), Radius: 2.2, Shape: glyphOf(place)}, vg.Point{X: at.X + swatch/2, Y: at.Y})
		canvas.FillText(font, vg.Point{X: at.X + swatch + 4, Y: at.Y - chartText*0.35}, c.names[i])
	}
	return top - height
}

// legendPlaces are where the legend's lines begin, below its top, and how high it is: nothing for a single series
// without a name.
func (c *chart) legendPlaces() (places []vg.Point, height vg.Length) {
	if len(c.names) == 0 || len(c.names) == 1 && c.names[0] == "" {
		return nil, 0
	}
	font := style(chartText)
	at := vg.Point{X: margin, Y: -legendRow / 2}
	for _, name := range c.names {
		wide := swatch + 4 + 1.08*font.Width(name) // viewers' fonts may be wider
		if at.X > margin && at.X+wide > c.width-margin/2 {
			at = vg.Point{X: margin, Y: at.Y - legendRow}
		}
		places = append(places, at)
		at.X += wide + margin
	}
	return places, -at.Y + legendRow/2 + 4
}

// add puts a series into the legend and returns its place in the palette: color-1, or its own where that is 0.
func (c *chart) add(name string, color int) int {
	place := len(c.names)
	if color > 0 {
		place = color - 1
	}
	c.names, c.colors = append(c.names, name), append(c.colors, place)
	return place
}

// glyphs tell series apart without colour.
var glyphs = []draw.GlyphDrawer{draw.CircleGlyph{}, draw.BoxGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}}

func glyphOf(i int) draw.GlyphDrawer { return glyphs[i%len(glyphs)] }

// span is the range of an axis.
type span struct{ low, high float64 }

// include widens the range.
func (s *span) include(v float64) { s.low, s.high = min(s.low, v), max(s.high, v) }

func emptySpan() span { return span{math.Inf(1), math.Inf(-1)} }

// fit gives an axis its range, with room at both ends, and its ticks. at, if there are few, are values to have a
// tick each on a logarithmic axis.
func (s span) fit(axis *plot.Axis, logarithmic bool, at []float64) {
	if s.low > s.high {
		s = span{1, 10}
		if !logarithmic {
			s = span{0, 1}
		}
	}
	if logarithmic {
		room := math.Pow(s.high/s.low, 0.03)
		if s.low == s.high {
			room = 2
		}
		axis.Scale = plot.LogScale{}
		axis.Min, axis.Max = s.low/room, s.high*room
		axis.Tick.Marker = plot.ConstantTicks(logTicks(axis.Min, axis.Max, at))
		return
	}
	room := 0.03 * (s.high - s.low)
	if room == 0 {
		room = max(math.Abs(s.low)*0.1, 1e-6)
	}
	axis.Min, axis.Max = s.low-room, s.high+room
	axis.Tick.Marker = plot.ConstantTicks(linearTicks(axis.Min, axis.Max))
}

// linearTicks are ticks at multiples of 1, 2 or 5 times a power of ten, four to eight of them.
func linearTicks(low, high float64) []plot.Tick {
	const about = 5
	power := math.Pow(10, math.Floor(math.Log10((high-low)/about)))
	step := 10 * power
	for _, factor := range []float64{5, 2, 1} {
		if (high-low)/(factor*power) <= about*1.5 {
			step = factor * power
		}
	}
	decimals := max(0, int(math.Ceil(-math.Log10(step)-1e-9)))
	var ticks []plot.Tick
	for n := math.Ceil(low / step); n*step <= high && len(ticks) < 4*about; n++ {
		ticks = append(ticks, plot.Tick{Value: n * step, Label: tickText(n*step, decimals)})
	}
	return ticks
}

// tickText is a tick's value: with so many decimals, or with an exponent where that is shorter.
func tickText(v float64, decimals int) string {
	fixed, short := strconv.FormatFloat(v, 'f', decimals, 64), strconv.FormatFloat(v, 'g', 4, 64)
	if len(fixed) > 7 && len(short) < len(fixed) {
		return short
	}
	if v == 0 { // nor -0
		return "0"
	}
	return fixed
}

// logTicks are ticks at the given values where these are few and apart, at powers of ten where there are several,
// and at 1, 2 and 5 times them otherwise.
func logTicks(low, high float64, at []float64) []plot.Tick {
	tick := func(v float64) plot.Tick {
		text := strconv.FormatFloat(v, 'g', 3, 64)
		text = strings.NewReplacer("e-0", "e-", "e+0", "e", "e+", "e").Replace(text)
		return plot.Tick{Value: v, Label: text}
	}
	var ticks []plot.Tick
	const few = 8
	if at = slices.Compact(slices.Sorted(slices.Values(at))); len(at) > 0 && len(at) <= few {
		for _, v := range at {
			if n := len(ticks); n == 0 || math.Log(v/ticks[n-1].Value) > math.Log(high/low)/few/1.5 {
				ticks = append(ticks, tick(v))
			}
		}
		return ticks
	}
	first, last := int(math.Floor(math.Log10(low))), int(math.Ceil(math.Log10(high)))
	step := (last-first-1)/manyTicks + 1
	factors := []float64{1}
	if math.Log10(high/low) < 2 {
		factors = []float64{1, 2, 5}
	}
	for n := first; n <= last; n++ {
		for _, factor := range factors {
			if v := factor * math.Pow10(n); v >= low && v <= high && n%step == 0 {
				ticks = append(ticks, tick(v))
			}
		}
	}
	if len(ticks) < 2 {
		return []plot.Tick{tick(low), tick(high)}
	}
	return ticks
}

// addGrid adds faint lines at the ticks.
func addGrid(p *plot.Plot, vertical, horizontal bool) {
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = nil, nil
	if vertical {
		grid.Vertical.Color = faint
	}
	if horizontal {
		grid.Horizontal.Color = faint
	}
	p.Add(grid)
}
