package study

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"unicode"
)

//go:embed report.html.tmpl
var reportText string

// page is what the report shows.
type page struct {
	*Summary
	Conditions int
	Seeds      int
	Answer     []string
	Model      string // on published numbers; empty without any
	Software   []string

	ScoreTable, DetailTable, DifferenceTable, OverallTable, CostTable, RunTable table

	ScoreFigures, DifferenceFigures, SettingFigures, CurveFigures, SpectrumFigures, AngleFigures, CostFigures []figure
}

// openFigures are shown at once; what there is more of one kind is folded away.
const openFigures = 6

// WriteReport writes the summary as one HTML page that needs nothing else, with pictures of what the runs
// measured. Links to runs are relative to the study's directory. The bytes follow from the arguments alone.
func (s *Summary) WriteReport(w io.Writer, measured []Measured) error {
	p := &page{
		Summary: s, Conditions: len(s.conditions()), Seeds: s.seeds(), Answer: s.answer(), Software: s.software(),
		ScoreTable: s.scoreTable(), DetailTable: s.detailTable(), DifferenceTable: s.differenceTable(),
		OverallTable: s.overallTable(), CostTable: s.costTable(), RunTable: s.runTable(),
	}
	if s.Source != nil {
		p.Model = s.Source.modelText()
	}
	if err := p.draw(measured); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	t, err := template.New("report").Funcs(template.FuncMap{
		"condition": ConditionText,
		"first":     func(f []figure) []figure { return f[:min(len(f), openFigures)] },
		"rest":      func(f []figure) []figure { return f[min(len(f), openFigures):] },
		"count":     func(n int, noun string) string { return count(n, noun) },
	}).Parse(reportText)
	if err != nil {
		return err
	}
	var text bytes.Buffer
	if err := t.Execute(&text, p); err != nil {
		return err
	}
	_, err = w.Write(bytes.Map(shown, text.Bytes()))
	return err
}

// shown replaces what no reader sees and a terminal obeys, should the report be printed on one: titles and values are
// somebody else's.
func shown(r rune) rune {
	if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
		return unicode.ReplacementChar
	}
	return r
}

// draw makes the pictures.
func (p *page) draw(measured []Measured) error {
	runs := sortMeasured(measured)
	for _, part := range []struct {
		figures *[]figure
		draw    func() ([]figure, error)
	}{
		{&p.ScoreFigures, p.scoreFigure},
		{&p.DifferenceFigures, p.differenceFigure},
		{&p.SettingFigures, p.settingFigures},
		{&p.CurveFigures, func() ([]figure, error) { return p.conditionFigures(runs, p.curveChart) }},
		{&p.SpectrumFigures, func() ([]figure, error) { return p.conditionFigures(runs, p.spectrumChart) }},
		{&p.AngleFigures, func() ([]figure, error) { return p.angleFigures(measured) }},
		{&p.CostFigures, p.costFigures},
	} {
		figures, err := part.draw()
		if err != nil {
			return err
		}
		*part.figures = figures
	}
	return nil
}

// seeds is how many seeds there are.
func (s *Summary) seeds() int {
	seen := map[uint64]bool{}
	for _, r := range s.Rows {
		seen[r.Seed] = true
	}
	for _, r := range s.Missing {
		seen[r.Seed] = true
	}
	return len(seen)
}

// software says what computed the runs.
func (s *Summary) software() []string {
	var lines, engines []string
	for _, r := range s.Rows {
		if text := fmt.Sprintf("%s with %s", r.Backend, count(r.Threads, "thread")); !slices.Contains(engines, text) {
			engines = append(engines, text)
		}
	}
	if len(engines) > 0 {
		lines = append(lines, "Engine: "+strings.Join(engines, "; "))
	}
	if p := s.Provenance; p != nil {
		lines = append(lines, "deeplora "+p.Version)
		for _, name := range sortedKeys(p.Libraries) {
			lines = append(lines, name+" "+p.Libraries[name])
		}
	}
	return lines
}
