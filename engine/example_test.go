package engine_test

import (
	"fmt"
	"log"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/deeplora/deeplora/engine"
)

// Two small matrices, multiplied on the fastest engine of this machine.
func ExampleOpen() {
	backend, info, err := engine.Open(engine.Options{Name: engine.Auto})
	if err != nil {
		log.Fatal(err)
	}
	defer backend.Finalize()
	for _, notice := range info.Notices {
		log.Print(notice)
	}
	a, b := [][]float32{{1, 2}, {3, 4}}, [][]float32{{0, 1}, {1, 0}}
	product, err := graph.CallOnce(backend, func(a, b *graph.Node) *graph.Node { return graph.MatMul(a, b) }, a, b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(product.Value())
	// Output: [[2 1] [4 3]]
}
