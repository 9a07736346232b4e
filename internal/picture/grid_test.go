package picture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
)

// drawn is the text of an SVG and how many circles and lines it has.
type drawn struct {
	texts  []string
	curves int
}

func render(t *testing.T, g Grid) ([]byte, drawn) {
	t.Helper()
	return read(t, g.WriteSVG)
}

// read draws with write and reads what was drawn.
func read(t *testing.T, write func(io.Writer) error) ([]byte, drawn) {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	var out drawn
	d := xml.NewDecoder(bytes.NewReader(b.Bytes()))
	inText := false
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.Bytes(), out
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			inText = token.Name.Local == "text"
			for _, a := range token.Attr {
				if a.Name.Local == "style" && strings.Contains(a.Value, "stroke:#1F5FA8") {
					out.curves++
				}
				if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") {
					t.Errorf("%s %q is no number", a.Name.Local, a.Value)
				}
			}
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				out.texts = append(out.texts, string(token))
			}
		}
	}
}

func (d drawn) has(text string) bool {
	for _, s := range d.texts {
		if s == text {
			return true
		}
	}
	return false
}

func TestGridShowsEveryPanel(t *testing.T) {
	g := Grid{Title: "all of <it> & more", Axes: "value over index", Panels: [][]*Panel{
		{{Title: "one", Note: "first", Values: []float64{10, 1e-3, 1e-9}}, nil},
		{{Title: "two", Values: []float64{5}}, {Title: "three", Note: "nothing", Values: []float64{0, 0}}},
	}}
	svg, is := render(t, g)
	for _, text := range []string{"all of <it> & more", "value over index", "one", "first", "two", "three", "nothing", "1", "2", "3", "1e1", "1e-9"} {
		if !is.has(text) {
			t.Errorf("no text %q in %q", text, is.texts)
		}
	}
	if again, _ := render(t, g); !bytes.Equal(svg, again) {
		t.Error("two drawings differ")
	}
	if !bytes.Contains(svg, []byte(fontFallback)) || bytes.Contains(bytes.ReplaceAll(svg, []byte(fontFallback), nil), []byte("font-family")) {
		t.Error("text in a font that viewers lack, without another to fall back on")
	}
	_, without := render(t, Grid{Panels: [][]*Panel{{{Title: "nothing", Values: []float64{0, -1, math.NaN(), math.Inf(1)}}}}})
	if is.curves == 0 || without.curves != 0 {
		t.Errorf("%d curves of values, %d of none", is.curves, without.curves)
	}
}

// What lies far below the rest, as rounding does, must not set the axis.
func TestGridLeavesOutWhatIsNegligible(t *testing.T) {
	_, is := render(t, Grid{Panels: [][]*Panel{{{Title: "p", Values: []float64{1, 0.1, 1e-40, 0}}}}})
	if !is.has("1e-1") || !is.has("1e0") {
		t.Errorf("ticks %q", is.texts)
	}
	_, flat := render(t, Grid{Panels: [][]*Panel{{{Title: "p", Values: []float64{1, 1}}}}})
	if !flat.has("1e0") || !flat.has("1e1") {
		t.Errorf("ticks of equal values %q", flat.texts)
	}
}

func TestGridOfManyValues(t *testing.T) {
	values := make([]float64, 3072)
	for i := range values {
		values[i] = math.Pow(0.99, float64(i))
	}
	svg, is := render(t, Grid{Panels: [][]*Panel{{{Title: "p", Values: values}}}})
	if !is.has("2048") || len(svg) > 200e3 {
		t.Errorf("%d bytes, text %q", len(svg), is.texts)
	}
}

func TestGridRefuses(t *testing.T) {
	p := &Panel{Title: "p"}
	for i, g := range []Grid{{}, {Panels: [][]*Panel{{}}}, {Panels: [][]*Panel{{p, p}, {p}}}} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			if err := g.WriteSVG(io.Discard); err == nil {
				t.Error("no error")
			}
		})
	}
}
