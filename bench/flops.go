package main

import (
	"fmt"
	"strings"

	"github.com/deeplora/deeplora/model"
)

// kernel is a row of deeplora inspect: a matrix [In, Out] and the parameters of its adapter, 0 where it has none.
type kernel struct {
	Name       string `json:"name"`
	In         int    `json:"in"`
	Out        int    `json:"out"`
	Parameters int    `json:"adapter_parameters"`
}

// work is the number of floating-point operations that a batch of sequences of these lengths needs; with training, of
// a step on it. Only products count, and only what the result depends on: no padding, and of the last layer what its
// first tokens need, an example each (keys and values are needed of all tokens). With n tokens in a sequence, H the
// hidden size, In and Out a kernel's:
//
//	kernel, forward        2·rows·In·Out, rows being tokens or, behind the last layer's keys and values, examples
//	kernel, ∂loss/∂input   the same again; not of layer 0's query, key and value unless an embedding is adapted,
//	                       for nothing below them is trained; ∂loss/∂K of a frozen kernel is never needed
//	attention, forward     4·n²·H a layer (scores, and weighted values), 4·n·H in the last
//	attention, backward    twice that; ∂loss/∂keys of layer 0 (2·n²·H) only if its keys or an embedding are adapted
//	adapter                2·rows·p forward, p its parameters, and twice that backward; without training it is merged.
//	                       An embedding's first factor is looked up: p without In·rank, and no input to differentiate
//
// Embeddings are looked up. Elementwise operations, softmax, normalisation, dropout, and the classifier's few columns
// are left out.
func work(c *model.Config, kernels []kernel, lengths []int, training bool) float64 {
	below, keys := false, false // something is trained below layer 0, or its keys are
	for _, k := range kernels {
		adapted := k.Parameters > 0
		below = below || (adapted && lookedUp(k))
		keys = keys || (adapted && strings.HasSuffix(k.Name, "layer.0.attention.self.key"))
	}
	total := 0.0
	for _, k := range kernels {
		total += kernelWork(c, k, lengths, training, below)
	}
	return total + attentionWork(c, lengths, training, below || keys)
}

func lookedUp(k kernel) bool { return strings.Contains(k.Name, "embeddings.") }

func kernelWork(c *model.Config, k kernel, lengths []int, training, below bool) float64 {
	rows := float64(rowsOf(c, k, lengths))
	product, adapter := 2*rows*float64(k.In)*float64(k.Out), 2*rows*float64(k.Parameters)
	if lookedUp(k) {
		product, adapter = 0, 2*rows*float64(max(0, k.Parameters-k.In*rank))
	}
	if !training {
		return product
	}
	if below || !lowest(k) {
		product *= 2
	}
	return product + 3*adapter
}

// lowest says whether only embeddings are below a kernel.
func lowest(k kernel) bool { return strings.Contains(k.Name, "layer.0.attention.self.") }

// rowsOf is how many rows a kernel multiplies.
func rowsOf(c *model.Config, k kernel, lengths []int) int {
	tokens, examples, longest := sum(lengths), len(lengths), 0
	for _, n := range lengths {
		longest = max(longest, n)
	}
	last := fmt.Sprintf("layer.%d.", c.NumHiddenLayers-1)
	ofAll := strings.HasSuffix(k.Name, "attention.self.key") || strings.HasSuffix(k.Name, "attention.self.value")
	switch {
	case strings.Contains(k.Name, "position_embeddings"): // the same for all
		return longest
	case strings.Contains(k.Name, "pooler."), strings.Contains(k.Name, last) && !ofAll:
		return examples
	default:
		return tokens
	}
}

// attentionWork is that of both products of all layers; deep says that the keys of layer 0 need a gradient.
func attentionWork(c *model.Config, lengths []int, training, deep bool) float64 {
	total := 0.0
	for _, length := range lengths {
		n, h := float64(length), float64(c.HiddenSize)
		layers := float64(c.NumHiddenLayers-1)*4*n*n*h + 4*n*h
		if training {
			layers *= 3
		}
		if training && !deep {
			layers -= 2 * n * n * h
		}
		total += layers
	}
	return total
}

func sum(values []int) (total int) {
	for _, v := range values {
		total += v
	}
	return total
}
