package train

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

// Gradient checkpointing computes the same: loss and gradients, with dropout, padded and packed, frozen kernels and
// adapters with and without the sum over the rank.
func TestGradientCheckpointing(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, tc := range some(struct {
			method string
			pad    data.Padding
		}{"full", data.PadFixed}, struct {
			method string
			pad    data.Padding
		}{"deep-compressed", data.PadPacked}) {
			gradients := func(checkpointing bool) (float64, [][]float64, loop.Objective) {
				c := long(tc.method)
				c.Pad, c.Dropout, c.GradientCheckpointing = string(tc.pad), 0.1, checkpointing
				tr := created(t, b, c)
				objective := tr.job.objective()
				values := tr.loop.Parameters()
				if tc.method != "full" {
					values = general(t, objective.Params, dtypes.Float32)
				}
				batch, err := tr.job.batch(0)
				if err != nil {
					t.Fatal(err)
				}
				loss, list := gradientsOf(t, b, objective, values, batch, 8)
				return loss, list, objective
			}
			loss, want, _ := gradients(false)
			again, got, p := gradients(true)
			agrees(t, tc.method+": loss", 0, again, loss, 1e-6)
			for i := range want {
				name := p.Params[i].Name
				if strings.HasSuffix(name, "key.bias") { // rounding: see package model
					continue
				}
				if d := gap(got[i], want[i]); !(d <= 1e-5) {
					t.Errorf("%s: gradient of %s differs by %.2g", tc.method, name, d)
				}
			}
		}
	})
}

// sized is memory whose graphs are of these sizes, one after the other, and then empty.
func sized(limit int64, sizes ...int64) loop.Memory {
	return loop.Memory{Given: limit, Device: true, Working: func(compute.Executable) (int64, bool) {
		if len(sizes) == 0 {
			return 0, true
		}
		size := sizes[0]
		sizes = sizes[1:]
		return size, true
	}}
}

// An estimate adds up what is held all the time and the most of what is held at one time or another.
func TestEstimate(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	o := Options{Backend: b, Out: filepath.Join(t.TempDir(), "run"), Memory: sized(100<<20, 30<<20, 90<<20, 10<<20)}
	e, err := EstimateMemory(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	tr := created(t, b, c)
	parameters, weights := loop.Trained(tr.loop.Params()), int64(0)
	for _, w := range weightsOf(tr.job.inputs.checkpoint) {
		weights += bytesOf(w.Value)
	}
	state := int64(12 * parameters)
	want := Estimate{
		Batch: 8, Accumulate: 1, Rows: 8, Length: 16, Parameters: parameters,
		Weights: weights, State: state, Step: 30 << 20, Initialise: 90 << 20, Evaluate: e.Evaluate, Peak: weights + state + 90<<20, Limit: 100 << 20,
	}
	if *e != want || e.Fits() != (e.Peak <= 100<<20) || e.Evaluate <= 10<<20 {
		t.Errorf("estimated %+v, want %+v", *e, want)
	}
	o.Memory = loop.Memory{}
	if _, err := EstimateMemory(t.Context(), c, o); !errors.Is(err, loop.ErrNoEstimate) {
		t.Errorf("without an engine that knows: %v", err)
	}
}

// A batch that does not fit is split: the run is the one that these parts give, resumed too, and says so.
func TestAutoBatch(t *testing.T) {
	b := testbackend.All(t)[0]
	run := func(c Config, m loop.Memory) (list []float64, notices []string, config RunConfig) {
		out := filepath.Join(t.TempDir(), "run")
		o := Options{Backend: b, Out: out, Memory: m, OnEvent: func(e loop.Event) {
			switch e := e.(type) {
			case loop.Step:
				list = append(list, e.Loss)
			case loop.Notice:
				notices = append(notices, e.Text)
			}
		}}
		if _, err := Train(t.Context(), c, o); err != nil {
			t.Fatal(err)
		}
		config, err := ReadRunConfig(out)
		if err != nil {
			t.Fatal(err)
		}
		return list, notices, config
	}
	c := small()
	c.Method, c.AutoBatch = "vanilla", true
	// Two graphs an estimate: a step's, and an evaluation's.
	got, notices, config := run(c, sized(1<<30, 2<<30, 0, 0, 2<<30))
	if config.Batch != 2 || config.Accumulate != 4 || !slices.Contains(notices, "a batch of 8 does not fit into memory: a step takes 4 of 2 instead") {
		t.Fatalf("batches of %d, %d a step, with %q", config.Batch, config.Accumulate, notices)
	}
	given := c
	if resolved, err := config.Resolved(t.TempDir(), given); err != nil || resolved.Batch != 2 || resolved.Accumulate != 4 {
		t.Errorf("the same line again asks for batches of %d: %v", resolved.Batch, err)
	}
	c.AutoBatch, c.Batch, c.Accumulate = false, 2, 4
	if want, _, _ := run(c, loop.Memory{}); !slices.Equal(got, want) {
		t.Errorf("losses %v, of the parts %v", got, want)
	}

	c = small()
	c.Method, c.AutoBatch = "vanilla", true
	for name, tc := range map[string]struct {
		memory loop.Memory
		want   string
	}{
		"too large":   {loop.Memory{Given: 1, Device: true, Working: sized(0).Working}, "a batch of one example takes"},
		"not known":   {loop.Memory{Device: true, Working: sized(0).Working}, "how much memory there is is not known; say so with --memory"},
		"no estimate": {loop.Memory{Given: 1}, loop.ErrNoEstimate.Error()},
	} {
		_, err := Train(t.Context(), c, Options{Backend: b, Out: filepath.Join(t.TempDir(), "run"), Memory: tc.memory})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// A step that does not fit is announced, once, and trained.
func TestWarningOfMemory(t *testing.T) {
	var notices []string
	c := small()
	c.Method = "vanilla"
	trainSmall(t, testbackend.All(t)[0], c, filepath.Join(t.TempDir(), "run"), func(o *Options) {
		o.Memory = sized(1<<30, 2<<30)
		o.OnEvent = func(e loop.Event) {
			if n, ok := e.(loop.Notice); ok && strings.Contains(n.Text, "a step takes") {
				notices = append(notices, n.Text)
			}
		}
	})
	if len(notices) != 1 || !strings.Contains(notices[0], "there are 1.07 GB; what helps: a smaller --batch with more --accumulate, --gradient-checkpointing") {
		t.Errorf("notices %q", notices)
	}
}

// Every shape that a run's batches have is compiled ahead, in the order in which they come.
func TestUpcomingShapes(t *testing.T) {
	c := small()
	c.Pad, c.MaxLength, c.Shots, c.Batch, c.Steps = string(data.PadBucket), 48, 60, 4, 40
	tr := created(t, testbackend.All(t)[0], c)
	var want [][]int
	for i := 3; i < c.Steps; i++ {
		b, err := tr.job.batch(i)
		if err != nil {
			t.Fatal(err)
		}
		if dims := []int{b.Rows, b.Len}; !slices.ContainsFunc(want, func(w []int) bool { return slices.Equal(w, dims) }) {
			want = append(want, dims)
		}
	}
	list, err := tr.job.Upcoming(3)
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != len(want) || len(want) < 2 {
		t.Fatalf("%d shapes, want %v, two or more", len(list), want)
	}
	for i, b := range list {
		if dims := b.Args(dtypes.Float32)[0].Shape().Dimensions; !slices.Equal(dims, want[i]) {
			t.Errorf("shape %d is %v, want %v", i, dims, want[i])
		}
	}
}
