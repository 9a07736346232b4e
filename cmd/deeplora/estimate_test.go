package main

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train"
)

// estimateOf is what train --estimate says of a small run.
func estimateOf(t *testing.T, settings ...string) (e train.Estimate) {
	t.Helper()
	args := append([]string{"train", "--estimate", "--json", "--quiet", "--backend", backendCPU, "--data", filepath.Join("testdata", "data"), "--pad", "fixed"}, settings...)
	if err := json.Unmarshal([]byte(mustRun(t, args...)), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

// On XLA the compiler says what graphs take: more for more rows, less with gradient checkpointing.
func TestEstimateOnXLA(t *testing.T) {
	testbackend.All(t)
	if !slices.Contains(engines(), backendCPU) {
		t.Skip("no XLA plugin is installed")
	}
	small, large := estimateOf(t, "--batch", "4"), estimateOf(t, "--batch", "8")
	if small.Rows != 4 || large.Rows != 8 || !(large.Step > small.Step*3/2) || small.Step < 1<<20 {
		t.Errorf("a step of %d rows takes %d, of %d %d", small.Rows, small.Step, large.Rows, large.Step)
	}
	if again := estimateOf(t, "--batch", "8", "--gradient-checkpointing"); !(again.Step < large.Step*3/4) {
		t.Errorf("a step takes %d with gradient checkpointing, %d without", again.Step, large.Step)
	}
	if e := large; e.Peak != e.Base+e.Weights+e.State+max(e.Initialise, e.Step, e.Evaluate) || e.Base < 1<<20 || e.Initialise == 0 || e.Limit < e.Peak {
		t.Errorf("%+v does not add up", e)
	}
	if e := estimateOf(t, "--batch", "8", "--memory", "0.01"); e.Limit != 10_000_000 || e.Fits() {
		t.Errorf("a limit of 0.01 GB is %d", e.Limit)
	}
}

func TestEstimateFaults(t *testing.T) {
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--backend", "go"}, exitFailed, "the engine does not say what memory a graph takes: --backend xla:cpu is an engine that does"},
		{[]string{"--memory", "-1"}, exitUsage, "--memory: -1 GB; want more than 0, or 0 for what is free"},
		{[]string{"--batch", "0"}, exitUsage, "batch: 0 is less than 1"},
	} {
		var out, errOut bytes.Buffer
		args := append([]string{"train", "--estimate", "--data", filepath.Join("testdata", "data")}, tc.args...)
		if code := run(args, strings.NewReader(""), &out, &errOut); code != tc.code || !strings.Contains(errOut.String(), tc.want) {
			t.Errorf("%v: exit code %d, want %d\n%s", tc.args, code, tc.code, errOut.String())
		}
	}
}
