package train

import (
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

// long is small's run over examples of all lengths, without dropout, so large steps that differences would show.
func long(method string) Config {
	c := small()
	c.Method, c.Dropout, c.LR, c.Warmup, c.MaxLength, c.TrainHead, c.Steps = method, 0, 1e-2, 0, 48, true, 20
	if method == "full" {
		c.LR = 1e-3
	}
	return c
}

// Fixed lengths, buckets and packed rows are the same model: logits, in the order of the examples.
func TestPaddingIsTheSameModel(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		tr := created(t, b, long("vanilla"))
		p, err := NewPredictor(b, tr.job.inputs.checkpoint)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		logits := func(rows []data.Encoded, padding data.Padding, batch int) (flat []float64) {
			out, err := p.Logits(t.Context(), rows, Layout{Batch: batch, Padding: padding, MaxLength: 48}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range out {
				flat = append(flat, float64(row[0]))
			}
			return flat
		}
		rows := tr.job.inputs.validation.rows
		fixed := logits(rows, data.PadFixed, 8)
		for _, tc := range some(struct {
			padding data.Padding
			batch   int
		}{data.PadBucket, 8}, struct {
			padding data.Padding
			batch   int
		}{data.PadPacked, 3}) {
			if d := gap(logits(rows, tc.padding, tc.batch), fixed); !(d <= 1e-5) {
				t.Errorf("%s: logits differ by %.2g", tc.padding, d)
			}
		}
		if !full() {
			return
		}
		// A stream is predicted in chunks, as they come.
		chunks := slices.Concat(logits(rows[:13], data.PadPacked, 3), logits(rows[13:14], data.PadPacked, 3), logits(rows[14:], data.PadPacked, 3))
		if d := gap(chunks, fixed); !(d <= 1e-5) {
			t.Errorf("in chunks: logits differ by %.2g", d)
		}
		// One at a time, a row's bits depend on nothing else.
		alone := logits(rows, data.PadPacked, 1)
		slices.Reverse(rows)
		reversed := logits(rows, data.PadPacked, 1)
		slices.Reverse(reversed)
		if !slices.Equal(alone, reversed) {
			t.Error("a row alone has other bits in another order")
		}
	})
}

// Training is the same whatever the padding: every loss of 20 steps, with accumulation and short last batches too.
func TestPaddingIsTheSameTraining(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if !full() {
			return // TestT23GoldenTraining trains packed on every engine
		}
		for _, method := range []string{"vanilla", "deep-compressed", "full"} {
			run := func(padding data.Padding) (list []float64) {
				c := long(method)
				c.Pad, c.Accumulate, c.Clip = string(padding), 2, 1
				trainSmall(t, b, c, filepath.Join(t.TempDir(), "run"), losses(&list))
				return list
			}
			fixed := run(data.PadFixed)
			for _, padding := range []data.Padding{data.PadBucket, data.PadPacked} {
				for i, loss := range run(padding) {
					agrees(t, method+", "+string(padding)+": loss", i, loss, fixed[i], 1e-4)
				}
			}
			if fixed[19] > 0.9*fixed[0] {
				t.Errorf("%s: the loss does not fall, which proves nothing: %v", method, fixed)
			}
		}
	})
}

// The gradients of packed batches are those of padded ones: of the factors, of all weights where they are trained.
func TestPackedGradients(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, method := range some("deep-wide", "deep-compressed", "full") {
			c := long(method)
			if method == "deep-wide" {
				c.Scope, c.MinDim = "all-dense", 8
			}
			gradients := func(padding data.Padding) (float64, [][]float64, loop.Objective) {
				c.Pad = string(padding)
				tr := created(t, b, c)
				objective := tr.job.objective()
				values := tr.loop.Parameters()
				if method != "full" {
					values = general(t, objective.Params, dtypes.Float32)
				}
				batch, err := tr.job.batch(2) // the last of an epoch, and short
				if err != nil {
					t.Fatal(err)
				}
				if n := slices.Index(batch.Weights, 0); n != 4 {
					t.Fatalf("%d real examples, want a short batch of 4", n)
				}
				loss, list := gradientsOf(t, b, objective, values, batch, 4)
				return loss, list, objective
			}
			loss, want, _ := gradients(data.PadFixed)
			packedLoss, got, p := gradients(data.PadPacked)
			agrees(t, method+": loss", 0, packedLoss, loss, 1e-5)
			for i := range want {
				name := p.Params[i].Name
				if strings.HasSuffix(name, "key.bias") { // rounding: see package model
					continue
				}
				if d := gap(got[i], want[i]); !(d <= 1e-4) {
					t.Errorf("%s: gradient of %s differs by %.2g", method, name, d)
				}
			}
		}
	})
}

// The shapes of a run follow from its settings: a resumed run has them again.
func TestPlannedShapes(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Pad, c.MaxLength, c.Shots, c.Steps = string(data.PadPacked), 48, 60, 30
	one, two := created(t, b, c).job, created(t, b, c).job
	if one.packing.Length != two.packing.Length || !slices.Equal(one.packing.Rows, two.packing.Rows) {
		t.Errorf("planned %+v and %+v", one.packing, two.packing)
	}
	for i := range c.Steps {
		batch, err := one.batch(i)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(one.packing.Rows, batch.Rows) || batch.Rows >= 8 || len(batch.Labels) != 8 {
			t.Errorf("batch %d: %d rows for %d examples, planned %+v", i, batch.Rows, len(batch.Labels), one.packing)
		}
	}
}
