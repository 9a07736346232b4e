package lora_test

import (
	"fmt"
	"log"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/deeplora/deeplora/lora"
)

// A deep-narrow ΔK of rank 1 on a kernel [3, 2], applied to two rows and merged.
func ExampleDelta_Apply() {
	settings := lora.Defaults()
	settings.Rank = 1
	adapter, err := lora.New("deep-narrow", settings)
	if err != nil {
		log.Fatal(err)
	}
	backend, err := compute.NewWithConfig("go:ops_sequential")
	if err != nil {
		log.Fatal(err)
	}
	w1, w2, w3 := [][]float64{{1, -1}}, [][]float64{{10}}, [][]float64{{1}, {2}, {3}}
	x := [][]float64{{1, 0, 0}, {1, 1, 1}}
	out, err := graph.CallOnceN(backend, func(in []*graph.Node) []*graph.Node {
		delta := adapter.Delta(in[:3])
		return []*graph.Node{delta.Apply(in[3]), delta.Matrix()}
	}, w1, w2, w3, x)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("x·ΔK:", out[0].Value())
	fmt.Println("ΔK:  ", out[1].Value())
	// Output:
	// x·ΔK: [[10 -10] [60 -60]]
	// ΔK:   [[10 -10] [20 -20] [30 -30]]
}

// Which kernels of a model get an adapter, and how many parameters that makes.
func ExampleScope_Select() {
	kernels := []lora.Shape{
		{Name: "bert.encoder.layer.0.attention.self.query", In: 768, Out: 768},
		{Name: "bert.encoder.layer.0.attention.self.key", In: 768, Out: 768},
		{Name: "bert.encoder.layer.0.attention.self.value", In: 768, Out: 768},
	}
	selected, err := lora.Scope{Name: "only-query-value"}.Select(kernels, 768)
	if err != nil {
		log.Fatal(err)
	}
	adapter, err := lora.New("deep-compressed", lora.Defaults())
	if err != nil {
		log.Fatal(err)
	}
	parameters, err := lora.Count(adapter, selected.Kernels)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(selected.Kernels), "kernels,", parameters, "parameters")
	// Output: 2 kernels, 24960 parameters
}
