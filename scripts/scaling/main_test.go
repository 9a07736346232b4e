package main

import (
	"bytes"
	"math"
	"os"
	"strings"
	"testing"
)

// docs/scaling.md has the tables that these formulas give.
func TestDocumentHasTheTables(t *testing.T) {
	text, err := os.ReadFile("../../docs/scaling.md")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	write(&out)
	for table := range strings.SplitSeq(out.String(), "\n\n") {
		if !bytes.Contains(text, []byte(strings.TrimSpace(table))) {
			t.Errorf("docs/scaling.md lacks this table: go run ./scripts/scaling prints it\n%s", table)
		}
	}
}

// The counts are those of `deeplora inspect` on an encoder of base size, whose pooler no scope here has.
func TestNumbers(t *testing.T) {
	for s, want := range map[int]int{0: 299520, 1: 1340928} {
		if got := encoders[0].numbers(scopes[s]); got != want {
			t.Errorf("%s: %d numbers, want %d", scopes[s].name, got, want)
		}
	}
	if got := encoders[0].kernels(); got != 12*7077888 {
		t.Errorf("%d weights of kernels", got)
	}
}

// A ring sends every number (n-1)/n times in each of two rounds.
func TestAllReduce(t *testing.T) {
	w := network{bytes: 4e9, latency: 1e-3}
	for n, want := range map[int]float64{1: 0, 2: 1 + 2e-3, 4: 1.5 + 6e-3} {
		if got := w.allReduce(1e9, n); math.Abs(got-want) > 1e-12 {
			t.Errorf("%d devices: %g s, want %g", n, got, want)
		}
	}
	if n := most(1, network{bytes: 1e12, latency: 0}, 1000); n != batch {
		t.Errorf("a free network is worth %d devices, want %d", n, batch)
	}
	if n := most(1e-6, network{bytes: 1e12, latency: 1}, 1000); n != 1 {
		t.Errorf("a slow network is worth %d devices, want 1", n)
	}
}
