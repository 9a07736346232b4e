package picture

import (
	"bytes"
	"io"
	"slices"
	"testing"
)

func someValues() Histogram {
	at, most := 12.0, 40.0
	return Histogram{
		Title: "loss of <all> & more", XLabel: "tokens", YLabel: "examples", Whole: true, At: &at, Most: &most,
		Values: []float64{3, 3, 3, 4, 7, 12, 13, 20, 30, 1000, nan, inf},
	}
}

func TestHistogramCountsEveryValue(t *testing.T) {
	for _, c := range []struct {
		name        string
		h           Histogram
		from, width float64
		counts      []int
	}{
		{"beyond the end", someValues(), 2, 2, []int{3, 1, 1, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1}},
		{"whole numbers are not divided", Histogram{Values: []float64{1, 2, 2}, Whole: true}, 1, 1, []int{1, 2}},
		{"shares", Histogram{Values: []float64{0, 0.05, 0.4, 1.0}}, 0, 0.05, []int{1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
		{"below zero", Histogram{Values: []float64{-1.5, 1.5}, Whole: true}, -2, 1, []int{1, 0, 0, 1}},
		{"all equal", Histogram{Values: []float64{7, 7, 7}}, 7, 1, []int{3}},
		{"none", Histogram{Values: []float64{nan}}, 0, 1, []int{0}},
	} {
		if b := c.h.bins(); b.from != c.from || b.width != c.width || !slices.Equal(b.counts, c.counts) {
			t.Errorf("%s: %+v, want from %v of width %v: %v", c.name, b, c.from, c.width, c.counts)
		}
		read(t, c.h.WriteSVG) // which looks for NaN and Inf
		read(t, c.h.WriteInline)
	}
}

func TestHistogramShowsItsAxes(t *testing.T) {
	svg, is := read(t, someValues().WriteSVG)
	for _, text := range []string{"loss of <all> & more", "tokens", "examples", "10", "40", "3"} {
		if !is.has(text) {
			t.Errorf("no text %q in %q", text, is.texts)
		}
	}
	if again, _ := read(t, someValues().WriteSVG); !bytes.Equal(svg, again) {
		t.Error("two drawings differ")
	}
	if !bytes.Contains(svg, []byte("stroke-dasharray")) {
		t.Error("no line at the limit")
	}
	if err := (Histogram{At: &nan}).WriteSVG(io.Discard); err == nil {
		t.Error("a line at NaN is drawn")
	}
}
