package train

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

// cpuTime is what all threads of the process have computed: of a machine that others use too, the better clock.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchmarkConfig is STS-B, 256 shots, on the embedded files, or on the model and data that two variables name.
func benchmarkConfig() Config {
	c := Default()
	c.Shots, c.Steps = 256, 48
	if model, from := os.Getenv("DEEPLORA_MINILM"), os.Getenv("DEEPLORA_STSB"); model != "" && from != "" {
		c.Model, c.Data = model, from
	}
	return c
}

// shapeCount counts what batches compute: their shapes, a graph each, real tokens and all.
type shapeCount struct {
	shapes               [][3]int
	batches, real, total int
}

// add counts a batch and reports whether its shape is new.
func (s *shapeCount) add(b data.Batch) (compiles bool) {
	shape := [3]int{b.Rows, b.Len, len(b.Index)}
	if compiles = !slices.Contains(s.shapes, shape); compiles {
		s.shapes = append(s.shapes, shape)
	}
	s.batches++
	s.real += b.Tokens
	s.total += b.Rows * b.Len
	return compiles
}

// report reports what each of these durations took, of so much processor time in all, and what a batch is.
func (s *shapeCount) report(b *testing.B, wall []time.Duration, cpu time.Duration) {
	slices.Sort(wall)
	milliseconds := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	b.ReportMetric(milliseconds(cpu)/float64(len(wall)), "cpu-ms/op")
	b.ReportMetric(milliseconds(wall[0]), "least-ms/op")
	b.ReportMetric(milliseconds(wall[len(wall)/2]), "median-ms/op")
	b.ReportMetric(float64(len(s.shapes)), "graphs")
	b.ReportMetric(float64(s.real)/float64(s.batches), "real/batch")
	b.ReportMetric(float64(s.total)/float64(s.batches), "computed/batch")
}

func benchmarked(b *testing.B, pad data.Padding) *run {
	b.Helper()
	backends, c := testbackend.All(b), benchmarkConfig()
	c.Pad = string(pad)
	r := newRun(c, Options{Backend: backends[len(backends)-1], Sources: embedded(), Out: filepath.Join(b.TempDir(), "run")})
	b.Cleanup(r.close)
	if err := r.create(b.Context()); err != nil {
		b.Fatal(err)
	}
	return r
}

// BenchmarkStep is the steps of a run for each padding, but the first epoch's, in which graphs are compiled.
func BenchmarkStep(b *testing.B) {
	for _, pad := range []data.Padding{data.PadFixed, data.PadBucket, data.PadPacked} {
		b.Run(string(pad), func(b *testing.B) {
			for b.Loop() {
				timeSteps(b, benchmarked(b, pad))
			}
		})
	}
}

// timeSteps makes the steps of a run and reports those after its first epoch.
func timeSteps(b *testing.B, r *run) {
	b.Helper()
	var s shapeCount
	var wall []time.Duration
	var last time.Time
	var before time.Duration
	r.loop.On = func(e loop.Event) {
		step, ok := e.(loop.Step)
		if !ok {
			return
		}
		if batch, err := r.job.batch(step.Step - 1); err != nil {
			b.Error(err)
		} else {
			s.add(batch)
		}
		switch now := time.Now(); {
		case step.Step == r.job.order.StepsPerEpoch():
			before = cpuTime()
		case step.Step > r.job.order.StepsPerEpoch():
			wall = append(wall, now.Sub(last))
		}
		last = time.Now()
	}
	if err := r.loop.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	s.report(b, wall, cpuTime()-before)
}

// BenchmarkDevices is the steps of a run on one device, on one with graphs in the form for several, and on 2 and 4, which
// share the same cores. What two batches a step take more than one says what the update is of a step.
func BenchmarkDevices(b *testing.B) {
	for _, kind := range []struct {
		name       string
		n          int
		accumulate int
	}{{"plain", 0, 1}, {"plain-two-batches", 0, 2}, {"1", 1, 1}, {"2", 2, 1}, {"4", 4, 1}} {
		b.Run(kind.name, func(b *testing.B) {
			for b.Loop() {
				backends, c := testbackend.All(b), benchmarkConfig()
				c.Accumulate = kind.accumulate
				r := newRun(c, Options{Backend: backends[len(backends)-1], Sources: embedded(), Out: filepath.Join(b.TempDir(), "run")})
				b.Cleanup(r.close)
				err := r.prepare(b.Context())
				if err == nil && kind.n > 0 {
					r.job.devices, err = devices.NewSPMD(r.options.Backend, kind.n)
				}
				if err == nil {
					err = r.build()
				}
				if err == nil {
					err = os.MkdirAll(r.options.Out, 0o755)
				}
				if err == nil {
					err = r.loop.Begin(b.Context(), "initialise")
				}
				if err != nil {
					b.Fatal(err)
				}
				timeSteps(b, r)
			}
		})
	}
}

// BenchmarkEvaluate is the logits of the validation split for each padding.
func BenchmarkEvaluate(b *testing.B) {
	r := benchmarked(b, data.PadPacked)
	p, err := NewPredictor(r.options.Backend, r.job.inputs.checkpoint)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	rows := r.job.inputs.validation.rows
	for _, pad := range []data.Padding{data.PadBucket, data.PadPacked} {
		b.Run(string(pad), func(b *testing.B) {
			layout := r.config.evaluationLayout()
			layout.Padding = pad
			var s shapeCount
			for batch, err := range layout.batches(rows, 0) {
				if err != nil {
					b.Fatal(err)
				}
				s.add(batch)
			}
			logits := func() {
				if _, err := p.Logits(b.Context(), rows, layout, nil); err != nil {
					b.Fatal(err)
				}
			}
			logits() // compiles
			var wall []time.Duration
			before := cpuTime()
			for b.Loop() {
				began := time.Now()
				logits()
				wall = append(wall, time.Since(began))
			}
			s.report(b, wall, cpuTime()-before)
		})
	}
}
