package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// peakCommand is the hidden first argument of the process that measures the peak.
const peakCommand = "peak"

// The products of the peak: BERT-base's largest, of a batch of 16 x 128 tokens, up and down in a chain.
const (
	peakRows, peakWide, peakNarrow = 2048, 3072, 768
	peakLinks                      = 4 // pairs of products
	peakTimes                      = 10
	peakEnough                     = 20 * time.Second // on a slow engine it is fewer
)

// measurePeak finds the most floating-point operations a second that the engine reaches in matrix products, on the
// threads that deeplora gets. It is asked before and after each workload, and the best counts: while other processes
// compute, a peak is none. It runs in a process of its own: threads are confined for good, and the memory of an
// engine in this one would be counted as that of every process it starts.
func (b *bench) measurePeak(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	e, err := execute(ctx, []string{testbackend.Env + "=" + b.backend}, self, peakCommand, strconv.Itoa(b.Threads))
	if err != nil {
		return err
	}
	var peak float64
	if err := json.Unmarshal(e.out, &peak); err != nil {
		return err
	}
	b.note("peak of matrix products on %s: %.1f GFLOP/s", b.backend, peak/1e9)
	b.results.Peak = max(b.results.Peak, peak)
	return nil
}

// peakProcess is the main function of that process: its argument is the number of threads, its result is written to w.
func peakProcess(args []string, w io.Writer) error {
	threads, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := plugin.SetThreads(threads); err != nil {
		return err
	}
	// The engines of tests are for those who hold a testing.TB: outside of go test a benchmark has one.
	testing.Init()
	if err := flag.CommandLine.Parse([]string{"-test.benchtime=1x"}); err != nil {
		return err
	}
	peak, fault := 0.0, errors.New("the engine does not open; run: deeplora doctor")
	testing.Benchmark(func(b *testing.B) {
		if peak == 0 {
			peak, fault = peakOf(testbackend.All(b)[0])
		}
	})
	if fault != nil {
		return fault
	}
	return json.NewEncoder(w).Encode(peak)
}

// peakOf times x·W1·W2·W1·W2 …, x [2048, 3072], W1 [3072, 768], W2 [768, 3072], and returns the best speed.
func peakOf(backend compute.Backend) (speed float64, err error) {
	const flops = peakLinks * 2 * 2 * peakRows * peakWide * peakNarrow
	err = graphx.Try("peak", func() {
		exec := MustNewExec(backend, func(x, down, up *Node) *Node {
			for range peakLinks {
				x = Dot(Dot(x, down).Product(), up).Product()
			}
			return ReduceAllSum(x)
		})
		defer exec.Finalize()
		x, down, up := filled(peakRows, peakWide), filled(peakWide, peakNarrow), filled(peakNarrow, peakWide)
		began := time.Now()
		for n := range peakTimes + 1 {
			start := time.Now()
			result := exec.MustCall1(x, down, up).Value().(float32) // waits for the result
			if took := time.Since(start).Seconds(); n > 0 {         // the first compiles
				speed = max(speed, flops/took)
			}
			if math.IsNaN(float64(result)) {
				panic(fmt.Errorf("the chain of products is %v", result))
			}
			if time.Since(began) > peakEnough && n > 0 {
				return
			}
		}
	})
	return speed, err
}

// filled is a matrix whose products with itself keep their size.
func filled(rows, cols int) *tensors.Tensor {
	values := make([]float32, rows*cols)
	for i := range values {
		values[i] = float32(i%7-3) / (2 * float32(math.Sqrt(float64(rows))))
	}
	return tensors.FromFlatDataAndDimensions(values, rows, cols)
}
