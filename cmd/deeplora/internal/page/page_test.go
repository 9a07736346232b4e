package page

import (
	"bytes"
	"html/template"
	"math"
	"strings"
	"testing"
)

func write(t *testing.T, body string, data any) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, body, data, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Texts are somebody else's: they are neither markup nor commands to a terminal, in titles, tables and captions.
func TestPageEscapes(t *testing.T) {
	const evil = "<script>alert(1)</script>\x1b[31m\u202e\"'\x00"
	text := write(t, `{{template "head" .Title}}{{template "table" .Table}}{{template "figures" .Figures}}{{template "foot"}}`, map[string]any{
		"Title":   evil,
		"Table":   Table{Label: evil, Columns: Words(evil), Rows: [][]Entry{{{Text: evil, Sort: evil, Class: evil, Link: "javascript:" + evil}}}},
		"Figures": []Figure{{Caption: evil}, {Caption: evil, Wide: true}},
	})
	for _, bad := range []string{"<script>alert", "\x1b", "\u202e", "\x00", `href="javascript`} {
		if strings.Contains(text, bad) {
			t.Errorf("%q is in the page", bad)
		}
	}
	if n := strings.Count(text, "&lt;script&gt;alert(1)&lt;/script&gt;\ufffd[31m\ufffd"); n < 4 {
		t.Errorf("the text stands in the page %d times", n)
	}
}

func TestFiguresBeyondTheFirstAreFoldedAway(t *testing.T) {
	text := write(t, `{{template "figures" .}}`, make([]Figure, openFigures+2))
	open, folded, _ := strings.Cut(text, "<details><summary>2 more</summary>")
	if strings.Count(open, "<figure>") != openFigures || strings.Count(folded, "<figure>") != 2 {
		t.Error(text)
	}
}

func TestBarsAndStyleAreAdded(t *testing.T) {
	text := write(t, `{{define "style"}}.more{}{{end}}{{template "head" "t"}}{{template "table" .}}`,
		Table{Columns: Numbers("n"), Rows: [][]Entry{{{Text: "5", Bar: 12.5}}, {Number(math.NaN(), "NaN")}, {Whole(3)}}})
	for _, want := range []string{".more{}</style>", `<span class="bar" style="width:12.5%"></span>5`, `data-sort="-Infinity">–<`, `data-sort="3">3<`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
}

func TestTemplatesThatAreWrongAreErrors(t *testing.T) {
	for _, body := range []string{"{{", "{{.Nothing}}", `{{template "nothing"}}`} {
		if err := Write(&bytes.Buffer{}, body, 1, template.FuncMap{}); err == nil {
			t.Errorf("%q: no error", body)
		}
	}
}

func TestCount(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Count(1, "run"), "1 run"},
		{Count(0, "run"), "0 runs"},
		{Count(2, "pair of runs", "pairs of runs"), "2 pairs of runs"},
		{Count(1234567, "run"), "1,234,567 runs"},
		{Grouped(-1234), "-1,234"},
		{Grouped(999), "999"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
