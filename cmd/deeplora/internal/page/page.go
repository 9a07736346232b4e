// Package page writes reports as single HTML pages that load nothing: the skeleton with its style for light and dark, for
// screens and paper, tables that can be sorted, and figures. It knows nothing of what is reported.
package page

import (
	"bytes"
	_ "embed"
	"html/template"
	"io"
	"strconv"
	"unicode"
)

//go:embed page.html.tmpl
var skeleton string

// openFigures are shown at once; what there is more of one kind is folded away.
const openFigures = 6

// Figure is a picture and what it shows.
type Figure struct {
	Caption string
	SVG     template.HTML // drawn by internal/picture, which escapes names
	Wide    bool          // keeps its size and is scrolled where there is less room, since its text would be too small
}

// Draw is a chart of internal/picture as a figure.
func Draw(c interface{ WriteInline(w io.Writer) error }, caption string) (Figure, error) {
	var svg bytes.Buffer
	err := c.WriteInline(&svg)
	return Figure{Caption: caption, SVG: template.HTML(svg.String())}, err
}

// Write writes a page: body is a template of html/template that calls "head" with the page's title, "table" with a Table,
// "figure" and "figures" with Figures, and "foot"; where it defines "style", that is added to the page's own. The bytes
// follow from the arguments alone.
//
// What no reader sees and a terminal obeys, should the page be printed on one, is replaced: texts are somebody else's.
func Write(w io.Writer, body string, data any, funcs template.FuncMap) error {
	t := template.New("page").Funcs(template.FuncMap{
		"first": func(f []Figure) []Figure { return f[:min(len(f), openFigures)] },
		"rest":  func(f []Figure) []Figure { return f[min(len(f), openFigures):] },
		"count": func(n int, noun string) string { return Count(n, noun) },
	}).Funcs(funcs)
	for _, text := range []string{skeleton, body} {
		if _, err := t.Parse(text); err != nil {
			return err
		}
	}
	var text bytes.Buffer
	if err := t.Execute(&text, data); err != nil {
		return err
	}
	_, err := w.Write(append(bytes.TrimSpace(bytes.Map(shown, text.Bytes())), '\n')) // definitions leave lines behind
	return err
}

// shown replaces characters that are not shown.
func shown(r rune) rune {
	if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
		return unicode.ReplacementChar
	}
	return r
}

// Count is a number and its noun, in the plural where it is not one: the noun with an s, or the second one.
func Count(n int, noun ...string) string {
	if n == 1 {
		return "1 " + noun[0]
	}
	if len(noun) > 1 {
		return Grouped(n) + " " + noun[1]
	}
	return Grouped(n) + " " + noun[0] + "s"
}

// Grouped is a whole number with commas between thousands.
func Grouped(n int) string {
	text, sign := strconv.Itoa(n), ""
	if n < 0 {
		text, sign = text[1:], "-"
	}
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return sign + text
}
