// Command scaling prints what docs/scaling.md says of several nodes: what a step of data-parallel training sends, what
// that takes, and from where it takes more than it saves. It computes nothing but these formulas.
//
//	go run ./scripts/scaling
package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// encoder is a BERT with adapters of rank 8.
type encoder struct {
	name                 string
	layers, hidden, wide int
}

var encoders = []encoder{{"BERT-base", 12, 768, 3072}, {"BERT-large", 24, 1024, 4096}}

const (
	rank   = 8
	batch  = 16
	length = 128
)

// kernels are the weights of the layers' matrices.
func (e encoder) kernels() int {
	return e.layers * (4*e.hidden*e.hidden + 2*e.hidden*e.wide)
}

// scope is a set of adapted kernels.
type scope struct {
	name       string
	square     int // kernels of a layer that are hidden by hidden
	rectangles int // that are hidden by wide
}

var scopes = []scope{{"query and value", 2, 0}, {"attention and feed-forward", 4, 2}}

// numbers are the trained numbers of deep-compressed: of each kernel the two outer factors and three of rank by rank. Heads
// are left out.
func (e encoder) numbers(s scope) int {
	factors := func(in, out int) int { return rank*(in+out) + 3*rank*rank }
	return e.layers * (s.square*factors(e.hidden, e.hidden) + s.rectangles*factors(e.hidden, e.wide))
}

// operations of a step on so many tokens: each kernel's product and the gradient by its input, of frozen kernels no
// gradient of their own, and attention's two products with both gradients of each.
func (e encoder) operations(tokens int) float64 {
	products := 2 * 2 * float64(e.kernels()) * float64(tokens)
	attention := 3 * 2 * 2 * float64(e.layers) * float64(tokens) * length * float64(e.hidden)
	return products + attention
}

// speed is what a GPU computes, in operations a second.
type speed struct {
	name string
	peak float64
	used float64 // share of the peak that such small products come to
}

// An NVIDIA H100 SXM without sparsity, by its data sheet; the shares are assumed.
var speeds = []speed{{"float32", 67e12, 0.6}, {"bf16", 989e12, 0.4}}

func (s speed) seconds(operations float64) float64 { return operations / (s.peak * s.used) }

// network is what joins devices.
type network struct {
	name    string
	bytes   float64 // a second, one way
	latency float64 // of one message, in seconds
}

var networks = []network{
	{"10 Gbit/s", 10e9 / 8, 30e-6}, {"100 Gbit/s", 100e9 / 8, 10e-6}, {"400 Gbit/s", 400e9 / 8, 5e-6}, {"NVLink, 450 GB/s", 450e9, 2e-6},
}

// allReduce is a ring's time for a sum of float32 numbers over n devices: every number goes round twice, in n parts.
func (w network) allReduce(numbers, n int) float64 {
	steps := 2 * float64(n-1)
	return steps*float64(4*numbers)/float64(n)/w.bytes + steps*w.latency
}

// most is how many devices share a step's batch with gain: the largest power of two that is faster by a fifth at least
// than half as many, up to a text each.
func most(compute float64, w network, numbers int) int {
	time := func(n int) float64 {
		if n == 1 {
			return compute
		}
		return compute/float64(n) + w.allReduce(numbers, n)
	}
	n := 1
	for 2*n <= batch && time(2*n) < 0.8*time(n) {
		n *= 2
	}
	return n
}

func write(out io.Writer) {
	line := func(cells ...string) { fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | ")) }
	head := func(cells ...string) {
		line(cells...)
		fmt.Fprintf(out, "|%s\n", strings.Repeat(" --- |", len(cells)))
	}
	cells := []string{"encoder, kernels", "numbers", "MB"}
	for _, w := range networks {
		cells = append(cells, w.name)
	}
	head(cells...)
	for _, e := range encoders {
		for _, s := range scopes {
			numbers := e.numbers(s)
			row := []string{e.name + ", " + s.name, fmt.Sprintf("%.2f million", float64(numbers)/1e6), fmt.Sprintf("%.1f", 4*float64(numbers)/1e6)}
			for _, w := range networks {
				row = append(row, fmt.Sprintf("%.2f / %.2f", 1e3*w.allReduce(numbers, 2), 1e3*w.allReduce(numbers, 8)))
			}
			line(row...)
		}
	}
	fmt.Fprintln(out)
	cells = []string{"encoder, precision", "step, ms"}
	for _, w := range networks {
		cells = append(cells, w.name)
	}
	head(cells...)
	for _, e := range encoders {
		for _, v := range speeds {
			compute := v.seconds(e.operations(batch * length))
			row := []string{e.name + ", " + v.name, fmt.Sprintf("%.1f", 1e3*compute)}
			for _, w := range networks {
				numbers := e.numbers(scopes[1])
				one := w.allReduce(numbers, 8)
				row = append(row, fmt.Sprintf("%d; %.0f %%", most(compute, w, numbers), 100*compute/(compute+one)))
			}
			line(row...)
		}
	}
}

func main() { write(os.Stdout) }
