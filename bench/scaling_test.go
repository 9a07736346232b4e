package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The prediction is the work at the first point's share of the peak, and lines go by their axis, whatever the order.
func TestScaling(t *testing.T) {
	s := scaling{Peak: 100, Points: []scaled{
		{Sweep: "tokens", Series: "rows", At: 16, FLOPs: 400, Seconds: 8, PeakRSS: 2e9}, // half of the peak
		{Sweep: "tokens", Series: "rows", At: 2, FLOPs: 50, Seconds: 2, PeakRSS: 1e9},
		{Sweep: "tokens", Series: "again", At: 4, FLOPs: 100, Seconds: 3, PeakRSS: 1e9},
		{Sweep: "rank", Series: "vanilla", At: 8, FLOPs: 100, Seconds: 3, PeakRSS: 1e9},
	}}
	if got := s.predicted(s.Points[1]); got != 1 {
		t.Errorf("predicted %v, want 1", got)
	}
	lines := s.series("tokens", "", func(p scaled) float64 { return p.Seconds })
	if len(lines) != 2 || !slices.Equal(lines[0].X, []float64{2, 16}) || !slices.Equal(lines[0].Y, []float64{2, 8}) || lines[1].Name != "again" {
		t.Errorf("%+v", lines)
	}
	name := filepath.Join(t.TempDir(), "s")
	if err := s.draw(name); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"tokens", "rank", "memory"} {
		if text, err := os.ReadFile(name + "-" + suffix + ".svg"); err != nil || len(text) < 1000 {
			t.Errorf("%s: %v, %d bytes", suffix, err, len(text))
		}
	}
	if _, err := os.Stat(name + "-length.svg"); err == nil {
		t.Error("a picture of a sweep that was not measured")
	}
}
