package main

import (
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/parts"
	"github.com/deeplora/deeplora/model"
)

// kernel is a row of deeplora inspect: a matrix [In, Out] and the parameters of its adapter, 0 where it has none.
type kernel struct {
	Name       string `json:"name"`
	In         int    `json:"in"`
	Out        int    `json:"out"`
	Parameters int    `json:"adapter_parameters"`
	Part       string `json:"part"`
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
// What DeBERTa's scores by distance take beyond that is not counted. Embeddings are looked up. Elementwise operations, softmax, normalisation, dropout, and the classifier's few columns
// are left out.
func work(c *model.Config, kernels []kernel, lengths []int, training bool) float64 {
	p := placesOf(kernels)
	below, keys := false, false // something is trained below layer 0, or its keys are
	for i, k := range kernels {
		adapted := k.Parameters > 0
		below = below || (adapted && lookedUp(k))
		keys = keys || (adapted && i == p.keys)
	}
	total := 0.0
	for i, k := range kernels {
		total += p.work(c, i, k, lengths, training, below)
	}
	return total + attentionWork(c, lengths, training, below || keys)
}

func lookedUp(k kernel) bool { return k.Part == parts.Table }

// places say where in the list of kernels the layers are.
type places struct {
	first, keys, last, end int  // layer 0, the kernel of its keys, the last layer, what is behind it
	shared                 bool // all layers have the same kernels
	lowest                 []int
}

// placesOf finds the layers by what their kernels do, since each family has other names.
func placesOf(kernels []kernel) places {
	p := places{first: -1, end: len(kernels)}
	seen := map[string]bool{}
	layers := 0
	for i, k := range kernels {
		switch k.Part {
		case parts.Query, parts.Fused:
			if p.first < 0 {
				p.first = i
			}
			p.last = i
			layers++
		case parts.Other:
			if p.first >= 0 {
				p.end = min(p.end, i)
			}
		}
		if attends(k) && !seen[k.Part] {
			seen[k.Part] = true
			p.lowest = append(p.lowest, i)
			if k.Part != parts.Query && k.Part != parts.Value {
				p.keys = i
			}
		}
	}
	p.shared = layers == 1
	return p
}

// attends says whether a kernel makes queries, keys or values.
func attends(k kernel) bool {
	return slices.Contains([]string{parts.Query, parts.Key, parts.Value, parts.Fused}, k.Part)
}

func (p places) work(c *model.Config, i int, k kernel, lengths []int, training, below bool) float64 {
	rows := float64(p.rows(c, i, k, lengths))
	product, adapter := 2*rows*float64(k.In)*float64(k.Out), 2*rows*float64(k.Parameters)
	if lookedUp(k) {
		product, adapter = 0, 2*rows*float64(max(0, k.Parameters-k.In*rank))
	}
	if !training {
		return product
	}
	if below || p.shared || !slices.Contains(p.lowest, i) {
		product *= 2
	}
	return product + 3*adapter
}

// rows is how many rows a kernel multiplies; of one that all layers share, in all of them.
func (p places) rows(c *model.Config, i int, k kernel, lengths []int) int {
	tokens, examples, longest := sum(lengths), len(lengths), 0
	for _, n := range lengths {
		longest = max(longest, n)
	}
	ofAll := k.Part == parts.Key || k.Part == parts.Value || k.Part == parts.Fused
	layers := c.NumHiddenLayers - 1
	switch {
	case strings.Contains(k.Name, "position_embeddings"): // the same for all
		return longest
	case i >= p.end:
		return examples
	case p.shared && i >= p.first && ofAll:
		return (layers + 1) * tokens
	case p.shared && i >= p.first:
		return layers*tokens + examples
	case i >= p.last && !ofAll:
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
