package study

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/page"
)

//go:embed report.html.tmpl
var reportText string

// contents are what the report shows.
type contents struct {
	*Summary
	Conditions int
	Seeds      int
	Answer     []string
	Model      string // on published numbers; empty without any
	Software   []string

	ScoreTable, DetailTable, DifferenceTable, OverallTable, CostTable, RunTable page.Table
	ChoiceTable, LossTable, LossOverallTable, TryTable                          page.Table

	LossFigures, TryFigures []page.Figure

	ScoreFigures, DifferenceFigures, SettingFigures, CurveFigures, SpectrumFigures, AngleFigures, CostFigures []page.Figure
}

// WriteReport writes the summary as one HTML page that needs nothing else, with pictures of what the runs
// measured. Links to runs are relative to the study's directory. The bytes follow from the arguments alone.
func (s *Summary) WriteReport(w io.Writer, measured []Measured) error {
	p := &contents{
		Summary: s, Conditions: len(s.conditions()), Seeds: s.seeds(), Answer: s.answer(), Software: s.software(),
		ScoreTable: s.scoreTable(), DetailTable: s.detailTable(), DifferenceTable: s.differenceTable(),
		OverallTable: s.overallTable(), CostTable: s.costTable(), RunTable: s.runTable(),
	}
	if s.Source != nil {
		p.Model = s.Source.modelText()
	}
	if s.Tuning != nil {
		p.ChoiceTable, p.LossTable, p.LossOverallTable, p.TryTable = s.choiceTable(), s.lossTable(), s.lossOverallTable(), s.tryTable()
	}
	if err := p.draw(measured); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return page.Write(w, reportText, p, template.FuncMap{"condition": ConditionText})
}

// draw makes the pictures.
func (p *contents) draw(measured []Measured) error {
	runs := sortMeasured(measured)
	for _, part := range []struct {
		figures *[]page.Figure
		draw    func() ([]page.Figure, error)
	}{
		{&p.ScoreFigures, p.scoreFigure},
		{&p.DifferenceFigures, p.differenceFigure},
		{&p.SettingFigures, p.settingFigures},
		{&p.CurveFigures, func() ([]page.Figure, error) { return p.conditionFigures(runs, p.curveChart) }},
		{&p.SpectrumFigures, func() ([]page.Figure, error) { return p.conditionFigures(runs, p.spectrumChart) }},
		{&p.AngleFigures, func() ([]page.Figure, error) { return p.angleFigures(measured) }},
		{&p.CostFigures, p.costFigures},
		{&p.LossFigures, p.lossFigure},
		{&p.TryFigures, p.tryFigures},
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
		if text := fmt.Sprintf("%s with %s", r.Backend, page.Count(r.Threads, "thread")); !slices.Contains(engines, text) {
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
