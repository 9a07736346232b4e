package main

import (
	"math"
	"testing"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/study"
)

func TestDifferenceText(t *testing.T) {
	for n, want := range map[study.Number]string{0.0123: "+0.012", -0.5: "-0.500", -4e-8: "0.000", 4e-4: "0.000", 6e-4: "+0.001"} {
		if got := differenceText(n); got != want {
			t.Errorf("%g: %q, want %q", float64(n), got, want)
		}
	}
	if got := differenceText(study.Number(math.NaN())); got != "-" {
		t.Errorf("no number: %q", got)
	}
	if got := intervalText(-4e-8, 0.0021); got != "0.000 to +0.002" {
		t.Errorf("interval: %q", got)
	}
}
