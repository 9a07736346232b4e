package train

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
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

// measure reports what n runs of fn took, and what a batch is.
func (s *shapeCount) measure(b *testing.B, fn func() error) {
	var wall []time.Duration
	before := cpuTime()
	for b.Loop() {
		began := time.Now()
		if err := fn(); err != nil {
			b.Fatal(err)
		}
		wall = append(wall, time.Since(began))
	}
	slices.Sort(wall)
	milliseconds := func(d time.Duration) float64 { return d.Seconds() * 1e3 }
	b.ReportMetric(milliseconds(cpuTime()-before)/float64(len(wall)), "cpu-ms/op")
	b.ReportMetric(milliseconds(wall[0]), "least-ms/op")
	b.ReportMetric(milliseconds(wall[len(wall)/2]), "median-ms/op")
	b.ReportMetric(float64(len(s.shapes)), "graphs")
	b.ReportMetric(float64(s.real)/float64(s.batches), "real/batch")
	b.ReportMetric(float64(s.total)/float64(s.batches), "computed/batch")
}

func benchmarked(b *testing.B, pad data.Padding) *trainer {
	b.Helper()
	backends, c := testbackend.All(b), benchmarkConfig()
	c.Pad = string(pad)
	tr := newTrainer(c, Options{Backend: backends[len(backends)-1], Out: filepath.Join(b.TempDir(), "run")})
	b.Cleanup(tr.close)
	if err := tr.create(b.Context()); err != nil {
		b.Fatal(err)
	}
	return tr
}

// BenchmarkStep is one step of training for each padding, its graphs compiled before.
func BenchmarkStep(b *testing.B) {
	for _, pad := range []data.Padding{data.PadFixed, data.PadBucket, data.PadPacked} {
		b.Run(string(pad), func(b *testing.B) {
			tr := benchmarked(b, pad)
			var s shapeCount
			for i := range tr.config.Steps {
				batch, err := tr.batch(i)
				if err != nil {
					b.Fatal(err)
				}
				if !s.add(batch) {
					continue
				}
				tr.progress.Step = i
				if err := tr.step(); err != nil {
					b.Fatal(err)
				}
			}
			tr.progress.Step = 0
			s.measure(b, tr.step)
		})
	}
}

// BenchmarkEvaluate is the logits of the validation split for each padding.
func BenchmarkEvaluate(b *testing.B) {
	tr := benchmarked(b, data.PadPacked)
	p, err := NewPredictor(tr.options.Backend, tr.in.checkpoint)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	rows := tr.in.validation.rows
	for _, pad := range []data.Padding{data.PadBucket, data.PadPacked} {
		b.Run(string(pad), func(b *testing.B) {
			layout := evaluationLayout(&tr.config)
			layout.Padding = pad
			var s shapeCount
			for batch, err := range layout.batches(rows, 0) {
				if err != nil {
					b.Fatal(err)
				}
				s.add(batch)
			}
			logits := func() error {
				_, err := p.Logits(b.Context(), rows, layout, nil)
				return err
			}
			if err := logits(); err != nil { // compiles
				b.Fatal(err)
			}
			s.measure(b, logits)
		})
	}
}
