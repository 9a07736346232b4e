package train

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/lora"
)

// full, bitfit and head-only change the tensors they name and no other, and a finished run opens with them.
func TestWholeMethodsTrainWhatTheyName(t *testing.T) {
	b := testbackend.All(t)[0]
	for _, tc := range []struct {
		method string
		moves  func(name string) bool
	}{
		{"full", func(string) bool { return true }},
		{"bitfit", func(name string) bool { return strings.HasSuffix(name, ".bias") || name == "classifier.weight" }},
		{"head-only", func(name string) bool { return strings.HasPrefix(name, "classifier.") }},
	} {
		c := small()
		c.Method, c.Warmup, c.Steps = tc.method, 0, 2
		dir := filepath.Join(t.TempDir(), "run")
		r := trainSmall(t, b, c, dir)
		base := created(t, b, c).job.inputs.checkpoint
		saved, err := Open(t.Context(), dir, b, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		trained := 0
		for _, w := range saved.weights {
			name, was, is := w.Name, base.Tensors[w.Name], w.Value
			if moved := !is.Equal(was); moved && !tc.moves(name) {
				t.Errorf("%s moves %s", tc.method, name)
			} else if !moved && tc.moves(name) && !strings.HasSuffix(name, "key.bias") { // which softmax cannot see
				t.Errorf("%s leaves %s alone", tc.method, name)
			}
			if tc.moves(name) {
				trained += is.Shape().Size()
			}
		}
		if r.Parameters != trained || r.Kernels != 0 || r.Rank != 0 {
			t.Errorf("%s: %d parameters, %d kernels, rank %d; want %d, 0, 0", tc.method, r.Parameters, r.Kernels, r.Rank, trained)
		}
		task := saved.Task
		split, err := embedded().Split(t.Context(), c.Data, task, data.Validation)
		if err != nil {
			t.Fatal(err)
		}
		e, err := saved.Evaluate(t.Context(), split, nil)
		if err != nil || e.Metrics[task.Primary] != r.Metrics[task.Primary] {
			t.Errorf("%s: opened again it has %v, want %v (%v)", tc.method, e, r.Metrics, err)
		}
		saved.Close()
	}
}

func TestWholeMethodsRefuseAdapters(t *testing.T) {
	c := small()
	c.Method, c.Target = "full", []string{"query$"}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "target: method full has no kernels to choose") {
		t.Errorf("error %v", err)
	}
	for _, m := range wholeMethods {
		if _, err := lora.LookupMethod(m.Name); err == nil || m.rate <= 0 {
			t.Errorf("row %+v", m)
		}
	}
}
