package lora_test

import (
	"fmt"
	"log"
	"math"

	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/lora"
)

// Any GoMLX graph can have adapters. Here it is a network of two layers, y = tanh(x·K)·v: its kernel K stays as it is
// and gets a ΔK, which fifty steps of gradient descent fit to sixteen examples.
func Example() {
	backend, _, err := engine.Open(engine.Options{})
	check(err)
	x, k, v, y := waves(16, 6, 1), waves(6, 8, 2), waves(8, 1, 3), waves(16, 1, 4)
	output := func(hidden *Node) *Node { return Dot(Tanh(hidden), Const(hidden.Graph(), v)).Product() }
	loss := func(hidden *Node) *Node { return ReduceAllMean(Square(Sub(output(hidden), Const(hidden.Graph(), y)))) }
	site := lora.Site{Name: "hidden", In: 6, Out: 8, Seed: 1, Gradient: func() (*tensors.Tensor, error) {
		return CallOnce(backend, func(x, k *Node) *Node { return Gradient(loss(Dot(x, k).Product()), k)[0] }, x, k)
	}}
	adapter, err := lora.New("deep-compressed", lora.Settings{Rank: 4, Depth: 3, InitScale: 0.3, Gamma: 1})
	check(err)
	factors, err := adapter.Init(site)
	check(err)
	args := []any{x, k}
	for _, f := range factors {
		start, err := f.Value()
		check(err)
		args = append(args, start)
	}
	step := MustNewExec(backend, func(in []*Node) []*Node {
		x, k, f := in[0], in[1], in[2:]
		delta := adapter.Delta(f)
		adapted := Add(Dot(x, k).Product(), delta.Apply(x)) // ΔK is never formed
		merged := Dot(x, Add(k, delta.Matrix())).Product()  // one kernel, K + ΔK
		out := []*Node{loss(adapted), ReduceAllMax(Abs(Sub(output(adapted), output(merged))))}
		for i, g := range Gradient(out[0], f...) {
			out = append(out, Sub(f[i], MulScalar(g, 0.2*factors[i].Rate)))
		}
		return out
	})
	var losses, apart [50]float32
	for i := range losses {
		out := step.MustCall(args...)
		losses[i], apart[i] = tensors.ToScalar[float32](out[0]), tensors.ToScalar[float32](out[1])
		for j, f := range out[2:] {
			args[2+j] = f
		}
	}
	fmt.Println("the loss fell to a quarter:", losses[49] < losses[0]/4)
	fmt.Println("merged equals adapted:", apart[49] < 1e-5)
	// Output:
	// the loss fell to a quarter: true
	// merged equals adapted: true
}

// waves is a matrix of some numbers between -1 and 1.
func waves(rows, cols int, frequency float64) *tensors.Tensor {
	flat := make([]float32, rows*cols)
	for i := range flat {
		flat[i] = float32(math.Sin(frequency * float64(1+i*i)))
	}
	return tensors.FromFlatDataAndDimensions(flat, rows, cols)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
