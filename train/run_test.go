package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

func fileBytes(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sameAdapter(t *testing.T, a, b string) {
	t.Helper()
	for _, name := range []string{adapterJSON, adapterTensors} {
		if !bytes.Equal(fileBytes(t, filepath.Join(a, adapterDir, name)), fileBytes(t, filepath.Join(b, adapterDir, name))) {
			t.Errorf("%s differs between %s and %s", name, filepath.Base(a), filepath.Base(b))
		}
	}
}

// metricLines are the lines of metrics.jsonl without the clock.
func metricLines(t *testing.T, run string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(string(fileBytes(t, filepath.Join(run, loop.LogFile)))) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, "tokens_per_s")
		delete(fields, "step_seconds")
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(text))
	}
	return lines
}

func TestResumeGivesSameBits(t *testing.T) {
	variants := []struct {
		name  string
		stops []int
		set   func(*Config)
	}{
		{"evaluate and select", []int{1, 4, 5}, func(c *Config) { c.EvalEvery, c.SaveEvery, c.Select = 2, 3, selectBest }},
		{"buckets", []int{3}, func(c *Config) { c.Pad, c.Method = string(data.PadBucket), "vanilla" }},
		{"packed", []int{1, 3}, func(c *Config) { c.Pad, c.Method, c.MaxLength = string(data.PadPacked), "full", 48 }},
		{"accumulate and head", []int{2}, func(c *Config) {
			c.Accumulate, c.TrainHead, c.Clip, c.WeightDecay = 2, true, 0.5, 0.01
		}},
		{"all at once", []int{4}, func(c *Config) {
			c.Pad, c.MaxLength = string(data.PadPacked), 48
			c.Accumulate, c.TrainHead, c.EvalEvery, c.SaveEvery, c.Select = 2, true, 2, 3, selectBest
		}},
	}
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, v := range some(variants...) {
			t.Run(v.name, func(t *testing.T) {
				c := small()
				v.set(&c)
				whole := filepath.Join(t.TempDir(), "whole")
				trainSmall(t, b, c, whole)
				for _, stop := range v.stops {
					parts := filepath.Join(t.TempDir(), "parts")
					interruptAt(t, b, c, parts, stop)
					trainSmall(t, b, c, parts, func(o *Options) { o.Resume = true })
					sameAdapter(t, whole, parts)
					if a, b := strings.Join(metricLines(t, whole), "\n"), strings.Join(metricLines(t, parts), "\n"); a != b {
						t.Errorf("stopped at %d, metrics differ:\n%s\nwant\n%s", stop, b, a)
					}
				}
			})
		}
	})
}

// interruptAt trains until step stop is done and cancels.
func interruptAt(t *testing.T, b compute.Backend, c Config, out string, stop int, more ...func(*Options)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := Options{Backend: b, Out: out, OnEvent: func(e loop.Event) {
		if s, ok := e.(loop.Step); ok && s.Step == stop {
			cancel()
		}
	}}
	for _, f := range more {
		f(&o)
	}
	_, err := Train(ctx, c, o)
	if !errors.Is(err, loop.ErrInterrupted) || !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled at step %d: error %v", stop, err)
	}
	if _, err := os.Stat(filepath.Join(out, "checkpoints", fmt.Sprint("step-", stop))); err != nil {
		t.Fatalf("cancelled at step %d: %v", stop, err)
	}
	if _, err := ReadResult(out); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("an interrupted run has a result: %v", err)
	}
}

func TestSameSeedSameBits(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, method := range some(adapterNames()...) {
			c := small()
			c.Method, c.Steps = method, 3
			if full() {
				c.Scope = "all-dense"
			}
			dir := t.TempDir()
			trainSmall(t, b, c, filepath.Join(dir, "a"))
			trainSmall(t, b, c, filepath.Join(dir, "b"))
			sameAdapter(t, filepath.Join(dir, "a"), filepath.Join(dir, "b"))
			if !full() {
				continue
			}
			c.Seed = 1
			trainSmall(t, b, c, filepath.Join(dir, "c"))
			if bytes.Equal(fileBytes(t, filepath.Join(dir, "a", adapterDir, adapterTensors)), fileBytes(t, filepath.Join(dir, "c", adapterDir, adapterTensors))) {
				t.Errorf("%s: another seed gives the same adapter", method)
			}
		}
	})
}

// Two batches of four make the step that one of eight makes, also where the last is short.
func TestAccumulationIsOneLargerBatch(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		run := func(batch, accumulate int) (list []float64) {
			c := small()
			c.Method, c.Dropout, c.Shots, c.Warmup, c.LR = "vanilla", 0, 7, 0, 1e-2
			c.Batch, c.Accumulate, c.Steps, c.Clip = batch, accumulate, 3, 1
			trainSmall(t, b, c, filepath.Join(t.TempDir(), "run"), losses(&list))
			return list
		}
		one, two := run(7, 1), run(4, 2)
		for i := range one {
			agrees(t, "loss", i, two[i], one[i], 1e-4)
		}
		if one[2] >= one[0] {
			t.Errorf("the loss does not fall: %v", one)
		}
	})
}

func TestTrainingFitsAFewExamples(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, method := range some("vanilla", "deep-compressed") {
			c := small()
			c.Method, c.Shots, c.Batch, c.Steps, c.Warmup, c.TrainHead, c.Dropout, c.LR = method, 8, 8, 60, 0, true, 0, 1e-2
			var list []float64
			r := trainSmall(t, b, c, filepath.Join(t.TempDir(), "run"), losses(&list))
			if !(r.FinalLoss < list[0]/2) {
				t.Errorf("%s: loss %.3f after %d steps, %.3f at the first", method, r.FinalLoss, r.Steps, list[0])
			}
		}
	})
}

// A reopened run evaluates to the very metrics of its result.
func TestOpenedRunIsTheTrainedOne(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, method := range some(adapterNames()...) {
			c := small()
			c.Method, c.TrainHead, c.Steps = method, method == "vanilla", 3
			dir := filepath.Join(t.TempDir(), "run")
			r := trainSmall(t, b, c, dir)
			saved, err := Open(t.Context(), dir, b, OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			e := validated(t, saved)
			if e.Examples != r.Examples || e.Dropped != r.Dropped {
				t.Errorf("%s: %d examples and %d dropped, want %d and %d", method, e.Examples, e.Dropped, r.Examples, r.Dropped)
			}
			for name, want := range r.Metrics {
				if got := e.Metrics[name]; got != want {
					t.Errorf("%s: %s %v after reopening, %v at the end of the run", method, name, got, want)
				}
			}
		}
	})
}

// T28: the compression gradient sees no dropout, so its seed does not matter; the batch does.
func TestT28CompressionGradient(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		outer := func(set func(*Config)) []byte {
			c := small()
			set(&c)
			var values []loop.NamedTensor
			for _, p := range created(t, b, c).loop.Parameters() {
				if strings.HasSuffix(p.Name, ".left") || strings.HasSuffix(p.Name, ".right") {
					values = append(values, p)
				}
			}
			if len(values) != 12 {
				t.Fatalf("%d outer factors, want those of 6 kernels", len(values))
			}
			return bitsOf(t, values)
		}
		plain := outer(func(c *Config) { c.Dropout = 0 })
		if !bytes.Equal(plain, outer(func(c *Config) { c.Dropout = 0.5 })) {
			t.Error("dropout reaches the compression gradient")
		}
		if bytes.Equal(plain, outer(func(c *Config) { c.Dropout = 0; c.Batch = 6 })) {
			t.Error("another batch gives the same left and right")
		}
	})
}
