package picture

import (
	"bytes"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
)

var (
	nan = math.NaN()
	inf = math.Inf(1)
)

// sample is lines with everything that a line can have.
func sample() Lines {
	return Lines{
		Title: "loss of <all> & more", XLabel: "rank", YLabel: "pearson", LogX: true,
		Series: []Series{
			{Name: "vanilla", X: []float64{8, 16, 32, 64}, Y: []float64{0.54, 0.52, 0.46, 0.17}, Low: []float64{0.5, 0.48, 0.4, 0.1}, High: []float64{0.6, 0.56, 0.5, 0.3}},
			{Name: `deep "narrow" 'r'`, X: []float64{8, 16, 32, 64}, Y: []float64{0.63, 0.65, 0.66, 0.67}},
		},
	}
}

func TestLinesShowEverySeries(t *testing.T) {
	svg, is := read(t, sample().WriteSVG)
	for _, text := range []string{"loss of <all> & more", "rank", "pearson", "vanilla", `deep "narrow" 'r'`, "8", "16", "32", "64"} {
		if !is.has(text) {
			t.Errorf("no text %q in %q", text, is.texts)
		}
	}
	if again, _ := read(t, sample().WriteSVG); !bytes.Equal(svg, again) {
		t.Error("two drawings differ")
	}
	if is.curves == 0 || !bytes.Contains(svg, []byte("fill-opacity")) {
		t.Error("no line or no band")
	}
}

// Readers' colours: nothing on a page is black or white for good.
func TestInlineFollowsThePage(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"lines":     sample().WriteInline,
		"intervals": someIntervals().WriteInline,
		"histogram": someValues().WriteInline,
		"matrix":    someCounts().WriteInline,
		"grid":      Grid{Title: sample().Title, Panels: [][]*Panel{{{Title: "p", Values: []float64{1, 0.5}}}}}.WriteInline,
	} {
		svg, is := read(t, write)
		for _, fixed := range []string{"#FFFFFF", "#000000", "<?xml", "http"} {
			if bytes.Contains(svg, []byte(fixed)) {
				t.Errorf("%s: %s in an element of a page", name, fixed)
			}
		}
		if name == "lines" && !bytes.Contains(svg, []byte("fill:var(--series-1,#1F5FA8);fill-opacity:0.18")) {
			t.Errorf("the band is in a colour of its own")
		}
		for _, follows := range []string{"currentColor", "Arial,Helvetica", "var(--series-1,#1F5FA8)", "var(--faint,"} {
			if !bytes.Contains(svg, []byte(follows)) {
				t.Errorf("%s: no %s", name, follows)
			}
		}
		if is.has("loss of <all> & more") || !strings.Contains(string(svg), "&lt;all&gt; &amp; more") {
			t.Errorf("%s: the title is drawn, or is no label", name)
		}
	}
}

// What a title or a name says is text, even where it looks like style.
func TestInlineLeavesTextAlone(t *testing.T) {
	l := sample()
	l.Series[0].Name = `</text><script>alert(1)</script> style="stroke:#000000"`
	l.Title = `"><script>`
	svg, is := read(t, l.WriteInline)
	if !is.has(l.Series[0].Name) || bytes.Contains(svg, []byte("<script")) {
		t.Errorf("texts %q", is.texts)
	}
}

func TestLinesLeaveOutWhatCannotBeDrawn(t *testing.T) {
	x, y := []float64{-1, 0, 1, 2, 3, 4, nan}, []float64{1, 1, 0, nan, inf, 5, 1}
	for name, l := range map[string]Lines{
		"log":     {LogX: true, LogY: true, Series: []Series{{Name: "a", X: x, Y: y, Low: y, High: y}}},
		"linear":  {Series: []Series{{Name: "a", X: x, Y: y, Low: y, High: y}}},
		"nothing": {LogY: true, Series: []Series{{Name: "a", X: []float64{1}, Y: []float64{nan}}}},
		"none":    {LogX: true},
		"equal":   {LogX: true, LogY: true, Series: []Series{{Name: "a", X: []float64{3, 3}, Y: []float64{2, 2}}}},
		"zero":    {Series: []Series{{X: []float64{0}, Y: []float64{0}}}},
	} {
		t.Run(name, func(t *testing.T) {
			read(t, l.WriteSVG) // which looks for NaN and Inf
			read(t, l.WriteInline)
		})
	}
}

func TestChartsRefuseListsOfDifferentLengths(t *testing.T) {
	for name, write := range map[string]func(io.Writer) error{
		"x and y":   Lines{Series: []Series{{X: []float64{1}}}}.WriteSVG,
		"half band": Lines{Series: []Series{{X: []float64{1}, Y: []float64{1}, Low: []float64{1}}}}.WriteSVG,
		"band":      Lines{Series: []Series{{X: []float64{1}, Y: []float64{1}, Low: []float64{}, High: []float64{}}}}.WriteInline,
		"rows":      Intervals{Rows: []string{"a"}, Series: []IntervalSeries{{}}}.WriteSVG,
	} {
		if write(io.Discard) == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func someIntervals() Intervals {
	zero := 0.0
	return Intervals{
		Title: "loss of <all> & more", XLabel: "difference", At: &zero, Rows: []string{"shots 16", "shots 64", "shots 256"},
		Series: []IntervalSeries{
			{Name: "wide", Mid: []float64{0.1, 0.02, nan}, Low: []float64{0.05, nan, 0}, High: []float64{0.16, 0.03, 1}, Points: [][]float64{{0.07, 0.12, nan}, nil, nil}},
			{Name: "narrow", Mid: []float64{0.08, 0.01, -0.01}, Low: []float64{0.05, 0, -0.02}, High: []float64{0.1, 0.02, 0.01}},
		},
	}
}

func TestIntervalsShowEveryRow(t *testing.T) {
	svg, is := read(t, someIntervals().WriteSVG)
	for _, text := range []string{"difference", "shots 16", "shots 64", "shots 256", "wide", "narrow"} {
		if !is.has(text) {
			t.Errorf("no text %q in %q", text, is.texts)
		}
	}
	if again, _ := read(t, someIntervals().WriteSVG); !bytes.Equal(svg, again) {
		t.Error("two drawings differ")
	}
	read(t, Intervals{LogX: true, Rows: []string{"a"}, Series: []IntervalSeries{{Mid: []float64{-1}, Low: []float64{1}, High: []float64{2}}}}.WriteSVG)
}

func TestTicksOfLogarithmicAxes(t *testing.T) {
	for _, c := range []struct {
		name      string
		low, high float64
		at        []float64
		want      []string
	}{
		{"at the values", 7, 70, []float64{64, 8, 8, 16, 32}, []string{"8", "16", "32", "64"}},
		{"values close together", 9, 110, []float64{10, 10.1, 100}, []string{"10", "100"}},
		{"less than two decades", 0.4, 6, nil, []string{"0.5", "1", "2", "5"}},
		{"many decades", 1e-12, 1, nil, []string{"1e-12", "1e-9", "1e-6", "0.001", "1"}},
		{"within a factor of two", 2.2, 4.1, nil, []string{"2.2", "4.1"}},
	} {
		var got []string
		for _, tick := range logTicks(c.low, c.high, c.at) {
			got = append(got, tick.Label)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTicksOfLinearAxes(t *testing.T) {
	for _, c := range []struct {
		low, high float64
		want      []string
	}{
		{0.38, 2.45, []string{"0.5", "1.0", "1.5", "2.0"}},
		{-0.03, 0.26, []string{"0", "0.05", "0.10", "0.15", "0.20", "0.25"}},
		{0, 200, []string{"0", "50", "100", "150", "200"}},
		{-3, 1, []string{"-3", "-2", "-1", "0", "1"}},
		{1.2e9, 2.1e9, []string{"1.2e+09", "1.4e+09", "1.6e+09", "1.8e+09", "2e+09"}},
	} {
		var got []string
		for _, tick := range linearTicks(c.low, c.high) {
			got = append(got, tick.Label)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v to %v: %q, want %q", c.low, c.high, got, c.want)
		}
	}
}

// A series keeps its colour in pictures that lack others.
func TestColorsAreGiven(t *testing.T) {
	l := Lines{Series: []Series{{Name: "second", X: []float64{1, 2}, Y: []float64{1, 2}, Color: 2}}}
	v := Intervals{Rows: []string{"r"}, Series: []IntervalSeries{{Name: "second", Mid: []float64{1}, Low: []float64{0}, High: []float64{2}, Color: 2}}}
	for name, write := range map[string]func(io.Writer) error{"lines": l.WriteSVG, "intervals": v.WriteSVG} {
		svg, _ := read(t, write)
		if !bytes.Contains(svg, []byte("#D55E00")) || bytes.Contains(svg, []byte("#1F5FA8")) {
			t.Errorf("%s: not in the second colour", name)
		}
	}
}

// Many series: a legend of several rows, dashes beyond the palette, and room for all.
func TestManySeries(t *testing.T) {
	var l Lines
	var v Intervals
	v.Rows = []string{"r"}
	for i := range 14 {
		name := "a method with a long name " + string(rune('a'+i))
		l.Series = append(l.Series, Series{Name: name, X: []float64{1, 2}, Y: []float64{1, float64(i)}})
		v.Series = append(v.Series, IntervalSeries{Name: name, Mid: []float64{1}, Low: []float64{0}, High: []float64{2}})
	}
	svg, is := read(t, l.WriteSVG)
	if !is.has("a method with a long name n") || !bytes.Contains(svg, []byte("stroke-dasharray")) {
		t.Error("a name is missing, or no line is dashed")
	}
	if svg, is := read(t, v.WriteSVG); !is.has("a method with a long name n") || !bytes.Contains(svg, []byte(`viewBox="0 0 420 3`)) {
		t.Errorf("the picture does not grow with its legend: %.300s", svg)
	}
}

// A series that is told from another by its dashes has them in its bars too, not in the legend alone.
func TestBarsOfADashedSeriesAreDashed(t *testing.T) {
	draw := func(color int) string {
		var b bytes.Buffer
		row := []float64{2}
		if err := (Intervals{Rows: []string{"a"}, Series: []IntervalSeries{{Name: "s", Color: color, Mid: row, Low: []float64{1}, High: []float64{3}}}}).WriteSVG(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	if plain, dashed := strings.Count(draw(1), "stroke-dasharray"), strings.Count(draw(Dashed(1)), "stroke-dasharray"); dashed != plain+2 {
		t.Errorf("%d dashed lines, want the %d of a series without dashes and two more: the legend's and the bar's", dashed, plain)
	}
}
