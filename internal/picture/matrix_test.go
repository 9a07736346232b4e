package picture

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

func someCounts() Matrix {
	return Matrix{
		Title: "loss of <all> & more", RowLabel: "true", ColumnLabel: "predicted",
		Names: []string{"bad", "so <so>", "a class with a very long name indeed"}, Counts: [][]int{{12345, 2, 0}, {0, 0, 0}, {1, 0, 7}},
	}
}

func TestMatrixShowsNamesAndCounts(t *testing.T) {
	svg, is := read(t, someCounts().WriteSVG)
	for _, text := range []string{"loss of <all> & more", "true", "predicted", "bad", "so <so>", "a class with a very l…", "12345", "2", "7"} {
		if !is.has(text) {
			t.Errorf("no text %q in %q", text, is.texts)
		}
	}
	if is.has("0") {
		t.Error("a cell of nothing has a number")
	}
	if again, _ := read(t, someCounts().WriteSVG); !bytes.Equal(svg, again) {
		t.Error("two drawings differ")
	}
	for _, want := range []string{"#1F5FA8", "#D55E00", "fill-opacity"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("no %s: the diagonal and the rest are not told apart", want)
		}
	}
}

// Many names: no numbers, and a picture that still fits a page.
func TestMatrixOfManyNames(t *testing.T) {
	var m Matrix
	const n = 60
	for i := range n {
		m.Names = append(m.Names, fmt.Sprint("class ", i))
		row := make([]int, n)
		row[i], row[(i+1)%n] = 77, 1
		m.Counts = append(m.Counts, row)
	}
	svg, is := read(t, m.WriteInline)
	if is.has("77") || !is.has("class 59") || len(svg) > 100e3 {
		t.Errorf("%d bytes, texts %q", len(svg), is.texts)
	}
	if !strings.Contains(string(svg), `--width:6`) {
		t.Errorf("%.200s", svg)
	}
}

func TestMatrixOfOneName(t *testing.T) {
	_, is := read(t, Matrix{Names: []string{"only"}, Counts: [][]int{{3}}}.WriteSVG)
	if !is.has("3") {
		t.Errorf("texts %q", is.texts)
	}
}

func TestMatrixRefuses(t *testing.T) {
	for name, m := range map[string]Matrix{
		"nothing":    {},
		"few rows":   {Names: []string{"a", "b"}, Counts: [][]int{{1, 2}}},
		"short row":  {Names: []string{"a", "b"}, Counts: [][]int{{1, 2}, {1}}},
		"below zero": {Names: []string{"a"}, Counts: [][]int{{-1}}},
	} {
		if err := m.WriteSVG(io.Discard); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
