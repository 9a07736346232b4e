package testbackend

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

func TestEachComputes(t *testing.T) {
	n := 0
	Each(t, func(t *testing.T, b compute.Backend) {
		n++
		out, err := graph.MustNewExec(b, func(x *graph.Node) *graph.Node { return graph.ReduceAllSum(x) }).Call([]float32{1, 2, 3})
		if err != nil {
			t.Fatal(err)
		}
		if got := tensors.ToScalar[float32](out[0]); got != 6 {
			t.Errorf("1 + 2 + 3 = %v", got)
		}
	})
	if n == 0 || n != len(All(t)) {
		t.Errorf("%d subtests, %d engines", n, len(All(t)))
	}
}

// The environment decides: this program runs itself with each value.
func TestEnvironment(t *testing.T) {
	if os.Getenv("TESTBACKEND_CHILD") != "" {
		var names []string
		for _, e := range engines(t) {
			names = append(names, e.name)
		}
		t.Log("engines:", strings.Join(names, " "))
		return
	}
	none := []string{"HOME=" + t.TempDir(), "PJRT_PLUGIN_LIBRARY_PATH="}
	tests := []struct {
		name   string
		env    []string
		passes bool
		want   string
	}{
		{"one", []string{Env + "=go"}, true, "engines: go\n"},
		{"unknown", []string{Env + "=go,tpu"}, false, "testbackend: tpu: no such engine"},
		{"CUDA, absent", slices.Concat(none, []string{Env + "=go,xla:cuda"}), false, "testbackend: xla:cuda: no plugin is installed, and " + Env + " asks for one"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestEnvironment$", "-test.v")
			cmd.Env = append(append(os.Environ(), "TESTBACKEND_CHILD=1"), test.env...)
			out, err := cmd.CombinedOutput()
			if (err == nil) != test.passes || !strings.Contains(string(out), test.want) {
				t.Errorf("%v\n%s\nwant %q", err, out, test.want)
			}
		})
	}
}
