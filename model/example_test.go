package model_test

import (
	"fmt"
	"log"
	"os"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/deeplora/deeplora/model"
)

// The kernels of a checkpoint are what adapters are put on. It was saved without a classifier, so that one is drawn.
func ExampleLoad() {
	checkpoint, err := model.Load(os.DirFS("testdata/maskedlm"), model.LoadOptions{DrawHead: true, HeadSeed: 1})
	if err != nil {
		log.Fatal(err)
	}
	for _, k := range checkpoint.Config.Kernels()[3:9] { // after the embeddings, the first layer
		fmt.Println(k.Name, checkpoint.Kernel(k.Name).Shape().Dimensions)
	}
	fmt.Println("drawn:", checkpoint.Fresh)
	// Output:
	// bert.encoder.layer.0.attention.self.query [16 16]
	// bert.encoder.layer.0.attention.self.key [16 16]
	// bert.encoder.layer.0.attention.self.value [16 16]
	// bert.encoder.layer.0.attention.output.dense [16 16]
	// bert.encoder.layer.0.intermediate.dense [16 24]
	// bert.encoder.layer.0.output.dense [24 16]
	// drawn: [bert.pooler.dense.weight bert.pooler.dense.bias classifier.weight classifier.bias]
}

// A hook sees every product with a kernel, and may return another: here the frozen product, counted.
func ExampleEncoder_Logits() {
	backend, err := compute.NewWithConfig("go:ops_sequential")
	if err != nil {
		log.Fatal(err)
	}
	checkpoint, err := model.Load(os.DirFS("testdata/maskedlm"), model.LoadOptions{DrawHead: true})
	if err != nil {
		log.Fatal(err)
	}
	products := 0
	logits, err := graph.CallOnce(backend, func(ids, types, mask *graph.Node) *graph.Node {
		bert := &model.Encoder{
			Config:  checkpoint.Config,
			Weights: func(name string) *graph.Node { return graph.Const(ids.Graph(), checkpoint.Tensors[name]) },
			Hook: func(k model.Kernel, x, w *graph.Node) *graph.Node {
				products++
				return model.Frozen(k, x, w)
			},
		}
		return bert.Logits(model.Padded{IDs: ids, Types: types, Mask: mask})
	}, [][]int32{{2, 5, 3, 0}, {2, 7, 8, 3}}, [][]int32{{0, 0, 0, 0}, {0, 0, 0, 0}}, [][]int32{{1, 1, 1, 0}, {1, 1, 1, 1}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("examples and labels:", logits.Shape().Dimensions)
	fmt.Println("products:", products, "with", len(checkpoint.Config.Kernels()), "kernels")
	// Output:
	// examples and labels: [2 2]
	// products: 16 with 16 kernels
}
