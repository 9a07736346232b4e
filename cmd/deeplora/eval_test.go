package main

import (
	"bytes"
	"encoding/json"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/train/loop"
)

// A run and the checkpoint that it is merged into measure the same, whatever is adapted and how. Each method on one
// scope; on every scope, and on every engine, where thorough tests are asked for.
func TestMergedCheckpointMeasuresAsItsRun(t *testing.T) {
	furthest, scopes := 0.0, lora.Scopes()
	for _, backend := range engines() {
		for i, method := range lora.Methods() {
			for j, scope := range scopes {
				if !testshared.Thorough() && (j != (i+2)%len(scopes) || backend != backendGo) {
					continue
				}
				if method.Name == "deep-wide" && scope == "all-dense" {
					continue // 8,000 wide: half a gigabyte of one kernel's factors, and minutes to draw them
				}
				t.Run(backend+"/"+method.Name+"/"+scope, func(t *testing.T) {
					furthest = max(furthest, mergedApart(t, backend, "--method", method.Name, "--scope", scope))
				})
			}
		}
	}
	t.Logf("metrics of runs and of merged checkpoints differ by at most %.2g", furthest)
}

// mergedApart trains and merges a run, and returns the largest difference of its metrics, run and merged.
func mergedApart(t *testing.T, backend string, settings ...string) (furthest float64) {
	t.Helper()
	run, merged := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "merged")
	settings = append(settings, "--quiet", "--steps", "2", "--lr", "1e-3", "--init-scale", "0.3", "--train-head")
	mustRun(t, smallRun(t, backend, run, settings...)...)
	mustRun(t, "export", "--quiet", "--backend", backend, "--run", run, "--format", "merged", "--out", merged)
	// A checkpoint does not know at what length it was trained.
	a, b := metricsOf(t, backend, "--run", run), metricsOf(t, backend, "--model", merged, "--max-length", "16")
	if x, y := metricText(a), metricText(b); x != y || len(a) != 2 {
		t.Errorf("%s, and merged %s", x, y)
	}
	for name := range a {
		d := math.Abs(a[name] - b[name])
		if furthest = max(furthest, d); !(d <= 1e-6) {
			t.Errorf("%s is %v, and merged %v", name, a[name], b[name])
		}
	}
	return furthest
}

// mustRun is a command in this process, which must succeed, and its standard output.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := run(args, strings.NewReader(""), &out, &errOut); code != exitDone {
		t.Fatalf("deeplora %s: exit code %d\n%s", strings.Join(args, " "), code, errOut.String())
	}
	return out.String()
}

// metricsOf evaluates on the tests' small data.
func metricsOf(t *testing.T, backend string, args ...string) loop.Metrics {
	t.Helper()
	var e struct{ Metrics loop.Metrics }
	text := mustRun(t, append([]string{"eval", "--quiet", "--json", "--backend", backend, "--data", filepath.Join("testdata", "data")}, args...)...)
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	return e.Metrics
}
