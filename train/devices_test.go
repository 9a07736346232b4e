package train

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/train/loop"
)

// several runs fn on engines with several devices.
func several(t *testing.T, fn func(t *testing.T, b compute.Backend)) {
	t.Helper()
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		if b.NumDevices() < 4 {
			t.Skipf("the engine has %d devices", b.NumDevices())
		}
		fn(t, b)
	})
}

func onDevices(n int) func(*Options) { return func(o *Options) { o.Devices = n } }

// severally is a small run with dropout whose packed batches of 8 texts do not divide evenly.
func severally(method string) Config {
	c := small()
	c.Method, c.Dropout, c.Pad, c.MaxLength = method, 0.1, string(data.PadPacked), 48
	return c
}

// wideSteps are the losses and norms of a run in float64 on n devices. It begins with the parameters of start or, where
// there are none, fills start with its own.
func wideSteps(t *testing.T, b compute.Backend, c Config, n int, start map[string]*tensors.Tensor) []loggedStep {
	t.Helper()
	out := t.TempDir()
	r := newRun(c, Options{Backend: b, Sources: embedded(), Devices: n, Out: out})
	t.Cleanup(r.close)
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, x := range r.job.inputs.checkpoint.Tensors {
		r.job.inputs.checkpoint.Tensors[name] = inDType(float64s(t, x), dtypes.Float64, x.Shape().Dimensions...)
	}
	objective := r.job.objective()
	objective.DType = dtypes.Float64
	for i, p := range objective.Params {
		if x, ok := start[p.Name]; ok {
			objective.Params[i].Draw = x.LocalClone
		}
	}
	l, err := loop.New(r.config.Plan, objective, r.job, loop.Options{Backend: b, Devices: r.job.devices, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Begin(t.Context(), "initialise"); err != nil {
		t.Fatal(err)
	}
	for _, p := range l.Parameters() {
		if start[p.Name] != nil {
			continue
		}
		if start[p.Name], err = p.Value.LocalClone(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return loggedSteps(t, out)
}

// sameSteps holds the steps on 2 and 4 devices against those on one.
func sameSteps(t *testing.T, b compute.Backend, c Config) {
	t.Helper()
	start := map[string]*tensors.Tensor{}
	want := wideSteps(t, b, c, 1, start)
	if len(want) != c.Steps || want[0].Norm == 0 {
		t.Fatalf("steps %v", want)
	}
	for _, n := range some(4, 2) {
		far := 0.0
		for i, s := range wideSteps(t, b, c, n, start) {
			far = max(far, math.Abs(s.Loss/want[i].Loss-1), math.Abs(s.Norm/want[i].Norm-1))
		}
		t.Logf("%d devices: %.2g", n, far)
		if !(far <= 1e-12) {
			t.Errorf("losses and norms of %d steps on %d devices are up to %.2g off those on one", c.Steps, n, far)
		}
	}
}

// Devices that share each batch go through 20 steps as one does, with dropout, whose masks are the texts' own: in float64
// all losses and norms are the same to twelve digits, which no other mask, weight or example would leave so.
func TestDevicesTrainAsOne(t *testing.T) {
	several(t, func(t *testing.T, b compute.Backend) {
		for _, method := range some(append([]string{"full", "bitfit", "head-only"}, adapterNames()...)...) {
			t.Run(method, func(t *testing.T) {
				c := severally(method)
				c.Steps = 20
				sameSteps(t, b, c)
			})
		}
		for _, change := range some(
			func(c *Config) { c.Pad, c.Batch = string(data.PadBucket), 7 },
			func(c *Config) { c.Pooling, c.ClassWeights = "mean", "none" },
			func(c *Config) { c.Accumulate, c.Batch, c.GradientCheckpointing = 3, 5, true },
		) {
			c := severally("deep-compressed")
			change(&c)
			sameSteps(t, b, c)
		}
	})
}

// The gradients that a compressed start is made of are summed over the devices too.
func TestDevicesFirstGradients(t *testing.T) {
	several(t, func(t *testing.T, b compute.Backend) {
		of := func(n int) (all [][]float64) {
			r := newRun(severally("deep-compressed"), Options{Backend: b, Sources: embedded(), Devices: n, Out: t.TempDir()})
			t.Cleanup(r.close)
			if err := r.prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			first, err := r.job.batch(0)
			if err != nil {
				t.Fatal(err)
			}
			gradients := r.job.gradientsOn(first, r.job.adapted.kernels())
			for _, k := range r.job.adapted.kernels() {
				g, err := gradients.of(k.Name)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, float64s(t, g))
			}
			return all
		}
		want := of(1)
		for i, g := range of(4) {
			if d := gap(g, want[i]); !(d <= 1e-5) {
				t.Errorf("the first gradient of kernel %d on 4 devices is %.2g off", i, d)
			}
		}
	})
}

// So do other families: rotary and relative positions, local attention, masks of tables and of pooled states.
func TestDevicesTrainFamilies(t *testing.T) {
	several(t, func(t *testing.T, b compute.Backend) {
		for name, dir := range familyModels(t) {
			if !full() && name != "deberta-v3" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				c := severally("deep-compressed")
				c.Model, c.Steps, c.Batch, c.MaxLength = dir, 3, 6, 32
				sameSteps(t, b, c)
			})
		}
	})
}

// In the precisions of the command line the first loss is that of one device to rounding, as many devices again give the
// same bits, and a run that stopped on 4 devices goes on with 1 or 2, from numbers that do not say how many wrote them.
func TestDevicesSameBitsAndResume(t *testing.T) {
	several(t, func(t *testing.T, b compute.Backend) {
		for _, precision := range some("bf16", "f32") {
			c := severally("deep-compressed")
			c.Precision, c.EvalEvery, c.Select = precision, 2, selectBest
			dir := func(name string) string { return filepath.Join(t.TempDir(), name) }
			var one, two []float64
			trainSmall(t, b, c, dir("one"), losses(&one))
			a := dir("a")
			trainSmall(t, b, c, a, losses(&two), onDevices(2))
			if d := math.Abs(two[0]/one[0] - 1); !(d <= map[string]float64{"f32": 1e-6, "bf16": 1e-4}[precision]) {
				t.Errorf("%s: the first loss is %v on two devices, %v on one", precision, two[0], one[0])
			}
			again := dir("b")
			interruptAt(t, b, c, again, 3, onDevices(2))
			trainSmall(t, b, c, again, onDevices(2), func(o *Options) { o.Resume = true })
			sameAdapter(t, a, again)
			for _, n := range some(1, 2) {
				parts := dir(fmt.Sprint(n))
				var rest []float64
				interruptAt(t, b, c, parts, 3, onDevices(4))
				trainSmall(t, b, c, parts, losses(&rest), onDevices(n), func(o *Options) { o.Resume = true })
				if d := math.Abs(rest[0]/one[3] - 1); len(rest) != 3 || !(d <= 1e-2) {
					t.Errorf("%s: stopped on 4 devices, the run goes on with %d: losses %v, want %v", precision, n, rest, one[3:])
				}
			}
		}
	})
}

// Devices take the batches of an evaluation in turn: every logit is the same to the bit, in its place.
func TestDevicesPredict(t *testing.T) {
	several(t, func(t *testing.T, b compute.Backend) {
		c, out := small(), filepath.Join(t.TempDir(), "run")
		c.Steps, c.Warmup = 2, 0
		trainSmall(t, b, c, out)
		var want [][]float32
		for _, n := range []int{1, 2, 4} {
			p, err := Open(t.Context(), out, b, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.UseDevices(n); err != nil {
				t.Fatal(err)
			}
			var rows []data.Encoded
			for i := range 200 {
				rows = append(rows, data.Encoded{IDs: []int32{2, int32(100 + 7*i), int32(200 + i), 3}[:2+i%3]})
			}
			done := 0
			got, err := p.Logits(t.Context(), rows, Layout{Batch: 2, Padding: data.PadPacked, MaxLength: 16}, func(n, total int) { done = n })
			if err != nil || done != len(rows) {
				t.Fatalf("%d of %d: %v", done, len(rows), err)
			}
			if want == nil {
				want = got
			}
			for i := range got {
				if !slices.Equal(got[i], want[i]) {
					t.Fatalf("%d devices: logits of text %d are %v, want %v", n, i, got[i], want[i])
				}
			}
			p.Close()
		}
	})
}

// What devices there are is known before anything is written.
func TestTooManyDevices(t *testing.T) {
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		out := filepath.Join(t.TempDir(), "run")
		_, err := Train(t.Context(), small(), Options{Backend: b, Out: out, Sources: embedded(), Devices: b.NumDevices() + 1})
		if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("devices: %d are asked for, and the engine has %d", b.NumDevices()+1, b.NumDevices())) {
			t.Errorf("%v", err)
		}
	})
}

// A predictor that was asked for more devices than there are goes on with those that it has.
func TestPredictorRefusesDevices(t *testing.T) {
	several(t, func(t *testing.T, b compute.Backend) {
		c, out := small(), filepath.Join(t.TempDir(), "run")
		c.Steps, c.Warmup = 1, 0
		trainSmall(t, b, c, out)
		p, err := Open(t.Context(), out, b, OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.UseDevices(b.NumDevices() + 1); err == nil || p.Devices() != 1 {
			t.Errorf("%v; it has %d devices", err, p.Devices())
		}
		if _, err := p.Predict(t.Context(), []data.Example{{Text: "a", Pair: "b"}}); err != nil {
			t.Error(err)
		}
	})
}

// A loss that is not finite is found on several devices too, before anything is summed, and leaves what can be replayed.
func TestDevicesDiverge(t *testing.T) {
	several(t, func(t *testing.T, b compute.Backend) {
		c, out := severally("vanilla"), filepath.Join(t.TempDir(), "run")
		c.Model = overflowing(t)
		_, err := Train(t.Context(), c, Options{Backend: b, Out: out, Sources: embedded(), Devices: 2})
		if !errors.Is(err, loop.ErrNonfinite) {
			t.Fatalf("%v", err)
		}
		r, err := Replay(t.Context(), Options{Backend: b, Out: out, Sources: embedded(), Devices: 2})
		if err != nil || !r.Same {
			t.Errorf("replayed: %+v, %v", r, err)
		}
	})
}

// What is held on each device is counted once where memory is a device's own, and for all where it is the machine's.
func TestDevicesEstimate(t *testing.T) {
	several(t, func(t *testing.T, b compute.Backend) {
		of := func(n int, device bool) *Estimate {
			e, err := EstimateMemory(t.Context(), severally("vanilla"), Options{
				Backend: b, Sources: embedded(), Devices: n, Memory: loop.Memory{Working: plugin.WorkingMemory, Given: 1 << 40, Device: device},
			})
			if err != nil {
				t.Fatal(err)
			}
			return e
		}
		one, two, each := of(1, false), of(2, false), of(2, true)
		if two.Weights != 2*one.Weights || two.State != 2*one.State || each.Weights != one.Weights || each.State != one.State {
			t.Errorf("one device %+v, two %+v, each of them %+v", one, two, each)
		}
		if two.Step != 2*each.Step || each.Step >= one.Step {
			t.Errorf("a step takes %d on one device, %d on two, %d on each of them", one.Step, two.Step, each.Step)
		}
	})
}
