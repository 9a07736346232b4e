package picture

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"

	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Matrix is counts of pairs of names, such as a confusion matrix: a row a true name, a column a predicted one. A cell is
// darker the larger its share of its row, the diagonal in one colour and the rest in another. Up to 20 names the cells
// have their counts too.
type Matrix struct {
	Title                 string
	RowLabel, ColumnLabel string // what rows and columns are
	Names                 []string
	Counts                [][]int // a row a name, of as many columns
}

// Limits and sizes of a matrix, in points.
const (
	numberedNames = 20  // beyond that, cells have no numbers
	nameRunes     = 22  // of a name; the rest of a longer one is left out
	matrixSide    = 300 // of the cells together, where there are few
	smallestCell  = 9
	numberedCell  = 22
	largestCell   = 56
)

// WriteSVG draws the matrix as a file of its own, on white. The bytes follow from it alone. It is an error if there is no
// name, a list has not one count a name, or a count is negative.
func (m Matrix) WriteSVG(w io.Writer) error {
	l, err := m.layout()
	return writeFile(w, l, err)
}

// WriteInline is WriteSVG as an element of an HTML page, in the page's colours, without its title, which becomes
// the element's label.
func (m Matrix) WriteInline(w io.Writer) error {
	l, err := m.layout()
	return writeInline(w, l, m.Title, err)
}

// matrixLayout is where the parts of a matrix are.
type matrixLayout struct {
	Matrix
	names    []string // as they are drawn
	font     text.Style
	cell     vg.Length
	upright  bool      // names of columns stand on end
	longest  vg.Length // name
	numbered bool
}

func (m Matrix) layout() (*matrixLayout, error) {
	n := len(m.Names)
	if n == 0 || len(m.Counts) != n {
		return nil, fmt.Errorf("picture: a matrix of %d names and %d rows", n, len(m.Counts))
	}
	largest := 0
	for i, row := range m.Counts {
		if len(row) != n {
			return nil, fmt.Errorf("picture: row %d of a matrix of %d names has %d counts", i, n, len(row))
		}
		for _, c := range row {
			if c < 0 {
				return nil, fmt.Errorf("picture: row %d of a matrix has the count %d", i, c)
			}
			largest = max(largest, c)
		}
	}
	l := &matrixLayout{Matrix: m, font: style(chartText), numbered: n <= numberedNames}
	if !l.numbered {
		l.font = style(smallestCell - 2)
	}
	for _, name := range m.Names {
		if runes := []rune(name); len(runes) > nameRunes {
			name = string(runes[:nameRunes-1]) + "…"
		}
		l.names = append(l.names, name)
		l.longest = max(l.longest, 1.08*l.font.Width(name)) // viewers' fonts may be wider
	}
	l.cell = smallestCell
	if l.numbered {
		number := l.font.Width(strconv.Itoa(largest)) + 8
		l.cell = max(numberedCell, number, min(largestCell, vg.Length(matrixSide/n)))
	}
	l.upright = l.longest+4 > l.cell
	return l, nil
}

// corner is where the cells begin: the space of row names, and that of column names above.
func (l *matrixLayout) corner() (left, top vg.Length) {
	left, top = 2*margin+chartText+l.longest, margin+2*chartText+4
	if l.upright {
		top = margin + chartText + 6 + l.longest
	}
	return left, top
}

func (l *matrixLayout) draw(file bool) *vgsvg.Canvas {
	left, top := l.corner()
	side := l.cell * vg.Length(len(l.names))
	heading := vg.Length(0)
	if file && l.Title != "" {
		heading = titleSize + margin
	}
	width := max(left+side, left+style(chartText).Width(l.ColumnLabel)) + margin
	svg := vgsvg.New(width, heading+top+side+margin)
	canvas := draw.New(svg)
	if file {
		canvas.SetColor(color.White)
		canvas.Fill(canvas.Rectangle.Path())
		canvas.FillText(style(titleSize), vg.Point{X: margin, Y: canvas.Max.Y - margin/2 - titleSize}, l.Title)
	}
	corner := vg.Point{X: left, Y: canvas.Max.Y - heading - top}
	l.drawNames(canvas, corner)
	for i, row := range l.Counts {
		l.drawRow(canvas, vg.Point{X: corner.X, Y: corner.Y - vg.Length(i+1)*l.cell}, i, row)
	}
	frame := draw.LineStyle{Color: faint, Width: 0.8}
	canvas.StrokeLines(frame, []vg.Point{
		corner, {X: corner.X + side, Y: corner.Y}, {X: corner.X + side, Y: corner.Y - side}, {X: corner.X, Y: corner.Y - side}, corner,
	})
	return svg
}

// drawNames writes the names beside the rows and above the columns, and what they are.
func (l *matrixLayout) drawNames(canvas draw.Canvas, corner vg.Point) {
	label := style(chartText)
	label.XAlign, label.YAlign = text.XLeft, text.YTop
	canvas.FillText(label, vg.Point{X: corner.X, Y: corner.Y + l.above()}, l.ColumnLabel)
	label.Rotation, label.XAlign, label.YAlign = math.Pi/2, text.XRight, text.YTop
	canvas.FillText(label, vg.Point{X: margin / 2, Y: corner.Y}, l.RowLabel)
	for i, name := range l.names {
		row := l.font
		row.XAlign, row.YAlign = text.XRight, text.YCenter
		middle := (vg.Length(i) + 0.5) * l.cell
		canvas.FillText(row, vg.Point{X: corner.X - 4, Y: corner.Y - middle}, name)
		column := l.font
		column.XAlign, column.YAlign = text.XCenter, text.YBottom
		if l.upright {
			column.Rotation, column.XAlign, column.YAlign = math.Pi/2, text.XLeft, text.YCenter
		}
		canvas.FillText(column, vg.Point{X: corner.X + middle, Y: corner.Y + 4}, name)
	}
}

// above is the height of the top of what the columns are over the cells.
func (l *matrixLayout) above() vg.Length {
	_, top := l.corner()
	return top - margin/2
}

// drawRow draws the cells of a row, whose lower left corner is at.
func (l *matrixLayout) drawRow(canvas draw.Canvas, at vg.Point, row int, counts []int) {
	total := 0
	for _, c := range counts {
		total += c
	}
	for j, c := range counts {
		if c == 0 {
			continue
		}
		place := 1
		if row == j {
			place = 0
		}
		x := at.X + vg.Length(j)*l.cell
		fillRectangle(canvas, shade(place, float64(c)/float64(total)), x+0.25, at.Y+0.25, x+l.cell-0.25, at.Y+l.cell-0.25)
		if l.numbered {
			number := l.font
			number.XAlign, number.YAlign = text.XCenter, text.YCenter
			canvas.FillText(number, vg.Point{X: x + l.cell/2, Y: at.Y + l.cell/2}, strconv.Itoa(c))
		}
	}
}

// shade is a colour as strong as a share is large: the smallest can still be seen, and numbers read on the largest.
func shade(place int, share float64) faded {
	c := colorOf(place)
	c.A = uint8(math.Round(255 * (0.1 + 0.5*math.Sqrt(share))))
	return faded{c}
}
