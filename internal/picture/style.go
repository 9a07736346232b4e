package picture

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image/color"
	"io"
	"regexp"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/vgsvg"
)

var (
	curve = color.NRGBA{R: 0x1f, G: 0x5f, B: 0xa8, A: 0xff}
	faint = color.NRGBA{R: 0xc8, G: 0xc8, B: 0xc8, A: 0xff}
)

// palette tells series apart for colour-blind readers too: Okabe and Ito's colours, blue a shade darker. Beyond
// them, dashes do.
var palette = []color.NRGBA{
	curve,
	{R: 0xd5, G: 0x5e, B: 0x00, A: 0xff}, // vermilion
	{R: 0x00, G: 0x9e, B: 0x73, A: 0xff}, // bluish green
	{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff}, // reddish purple
	{R: 0xe6, G: 0x9f, B: 0x00, A: 0xff}, // orange
	{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff}, // sky blue
}

// dashes of series, a row of the palette after the other.
var dashes = [][]vg.Length{nil, {5, 2}, {1.5, 1.5}}

// Dashed is the Color of a series beside that of another: the same, dashed.
func Dashed(color int) int { return color + len(palette) }

func colorOf(i int) color.NRGBA  { return palette[i%len(palette)] }
func dashesOf(i int) []vg.Length { return dashes[i/len(palette)%len(dashes)] }
func hex(c color.NRGBA) string   { return fmt.Sprintf("#%02X%02X%02X", c.R, c.G, c.B) }
func thin(c color.NRGBA) faded   { c.A = 0x2e; return faded{c} } // of a band behind a line

// faded is a colour that lets others through. The drawing library divides what RGBA gives by the alpha and cuts the rest
// off: of color.NRGBA it makes a neighbour, which is none of the palette and would not follow a page's colours.
type faded struct{ color.NRGBA }

// RGBA gives the least parts from which the library comes back to the colour.
func (c faded) RGBA() (r, g, b, a uint32) {
	a = uint32(c.A) * 0x101
	part := func(v uint8) uint32 { return uint32(v)*a/0xff + 1 }
	return part(c.R), part(c.G), part(c.B), a
}

// fontName is what the drawing library calls its font; viewers rarely have it, and pick one with serifs.
const (
	fontName     = "font-family:Liberation Sans"
	fontFallback = fontName + ",Arial,Helvetica,sans-serif"
)

func style(size vg.Length) text.Style {
	return text.Style{
		Color:   color.Black,
		Font:    font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size),
		Handler: plot.DefaultTextHandler,
		XAlign:  text.XLeft,
	}
}

// drawing is a picture that is laid out: it draws itself as a file, on white and with its title, or for a page.
type drawing interface{ draw(file bool) *vgsvg.Canvas }

// writeFile writes a drawing as an SVG file, unless it could not be laid out: err.
func writeFile(w io.Writer, d drawing, err error) error {
	if err != nil {
		return err
	}
	var svg bytes.Buffer
	if _, err := d.draw(true).WriteTo(&svg); err != nil {
		return err
	}
	_, err = w.Write(bytes.ReplaceAll(svg.Bytes(), []byte(fontName), []byte(fontFallback)))
	return err
}

// attributes match the drawing library's style attributes; text cannot, its quotes are escaped.
var attributes = regexp.MustCompile(`style="[^"]*"`)

// onPage gives drawn colours the page's: black is its text colour, the others are its variables where it has them.
var onPage = func() *strings.Replacer {
	pairs := []string{
		fontName, fontFallback, // not the page's: other fonts are wider than the places made for them
		"stroke:#000000", "stroke:currentColor",
		hex(faint), "var(--faint," + hex(faint) + ")",
	}
	for i, c := range palette {
		pairs = append(pairs, hex(c), fmt.Sprintf("var(--series-%d,%s)", i+1, hex(c)))
	}
	return strings.NewReplacer(pairs...)
}()

// writeInline writes a drawing as an element of an HTML page that follows the page's colours, unless it could not be laid
// out: err. label says to those who cannot see it what it shows.
func writeInline(w io.Writer, d drawing, label string, err error) error {
	if err != nil {
		return err
	}
	canvas := d.draw(false)
	var svg, escaped bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	if err := xml.EscapeText(&escaped, []byte(label)); err != nil {
		return err
	}
	_, body, found := bytes.Cut(svg.Bytes(), []byte(">\n<g")) // after the start of the svg element
	if !found {
		return fmt.Errorf("picture: the drawing library's SVG begins with %.200q", svg.Bytes())
	}
	body = attributes.ReplaceAllFunc(body, func(style []byte) []byte { return []byte(onPage.Replace(string(style))) })
	width, height := canvas.Size()
	_, err = fmt.Fprintf(w, `<svg viewBox="0 0 %.5g %.5g" style="--width:%.5g" fill="currentColor" role="img" aria-label="%s">`+"\n<g%s",
		width.Points(), height.Points(), width.Points(), escaped.Bytes(), body)
	return err
}
