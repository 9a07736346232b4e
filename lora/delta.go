package lora

import (
	"fmt"
	"math"
	"slices"

	. "github.com/gomlx/gomlx/core/graph"
)

// Delta is ΔK [In, Out] = d[0]·d[1]·…·d[n-1], a chain of matrices that is never multiplied out unless
// asked. All nodes are of one dtype, float32 or float64, and so are the results.
//
// Every product below is taken in the order that costs least, found from the shapes: small factors are
// multiplied with each other first, and ΔK itself is formed only where that is cheaper still, which a
// low-rank chain never is. Graph code: faults of shape panic with an error, as GoMLX's own do.
type Delta []*Node

// Apply returns x·ΔK: x [..., In] -> [..., Out]. For n rows and a chain left·C·rightᵀ of rank r that is
// 2·n·r·(In+Out) flops. The products are 2-D whatever x's rank: XLA takes a path of half the speed for
// the gradients of higher-rank ones.
func (d Delta) Apply(x *Node) *Node {
	in, out := d.dims()
	shape := x.Shape()
	if shape.Rank() < 1 || shape.Dim(-1) != in {
		panic(fmt.Errorf("lora: x is %s and ΔK [%d %d]; want [..., %d]", shape, in, out, in))
	}
	flat := x
	if shape.Rank() != 2 {
		flat = Reshape(x, -1, in)
	}
	y := product(append([]*Node{flat}, d...)) // [rows, Out]
	if shape.Rank() != 2 {
		y = Reshape(y, append(slices.Clone(shape.Dimensions[:shape.Rank()-1]), out)...)
	}
	return y
}

// Rows returns rows of ΔK: ids [...] of an integer dtype -> [..., Out]. Only those rows of d[0] are
// read. Ids must lie in [0, In): a graph cannot check them, and clamps.
func (d Delta) Rows(ids *Node) *Node {
	_, out := d.dims()
	picked := Gather(d[0], Reshape(ids, -1, 1))     // [rows, r]
	y := product(append([]*Node{picked}, d[1:]...)) // [rows, Out]
	return Reshape(y, append(slices.Clone(ids.Shape().Dimensions), out)...)
}

// Matrix returns ΔK [In, Out]: to merge (of nodes converted to float64), for spectra and tests.
func (d Delta) Matrix() *Node {
	d.dims()
	return product(d)
}

// Pair returns PEFT's two matrices at a scale of 1 (alpha = rank): lora_A [r, In] = d[0]ᵀ and lora_B
// [Out, r] = (d[1]·…·d[n-1])ᵀ, so that ΔK = (b·a)ᵀ. It panics if the chain has one factor.
func (d Delta) Pair() (a, b *Node) {
	d.dims()
	if len(d) < 2 {
		panic(fmt.Errorf("lora: a ΔK of one factor has no lora_A and lora_B"))
	}
	return Transpose(d[0], 0, 1), Transpose(product(d[1:]), 0, 1)
}

// dims checks that the factors form a chain and returns its ends.
func (d Delta) dims() (in, out int) {
	if len(d) == 0 {
		panic(fmt.Errorf("lora: a ΔK of no factors"))
	}
	for i, f := range d {
		if f.Rank() != 2 {
			panic(fmt.Errorf("lora: factor %d of ΔK is %s; want a matrix", i, f.Shape()))
		}
		if i > 0 && d[i-1].Shape().Dim(1) != f.Shape().Dim(0) {
			panic(fmt.Errorf("lora: factor %d of ΔK is %s and follows %s; want matching sides", i, f.Shape(), d[i-1].Shape()))
		}
	}
	return d[0].Shape().Dim(0), d[len(d)-1].Shape().Dim(1)
}

// product multiplies a chain of matrices in the cheapest order.
func product(chain []*Node) *Node {
	dims := []int{chain[0].Shape().Dim(0)}
	for _, f := range chain {
		dims = append(dims, f.Shape().Dim(1))
	}
	split := cheapest(dims)
	var multiply func(i, j int) *Node
	multiply = func(i, j int) *Node {
		if i == j {
			return chain[i]
		}
		k := split[i][j]
		return Dot(multiply(i, k), multiply(k+1, j)).Product()
	}
	return multiply(0, len(chain)-1)
}

// cheapest plans the product of matrices i of shape [dims[i], dims[i+1]] by dynamic programming over its
// parts: split[i][j] = k says that matrices i to j are best taken as (i … k)·(k+1 … j). Of equal costs
// it takes the first, so a plan is a function of the shapes.
func cheapest(dims []int) (split [][]int) {
	n := len(dims) - 1
	cost := make([][]int, n)
	split = make([][]int, n)
	for i := range n {
		cost[i], split[i] = make([]int, n), make([]int, n)
	}
	for length := 2; length <= n; length++ {
		for i := 0; i+length <= n; i++ {
			j := i + length - 1
			cost[i][j] = math.MaxInt
			for k := i; k < j; k++ {
				c := cost[i][k] + cost[k+1][j] + dims[i]*dims[k+1]*dims[j+1]
				if c < cost[i][j] {
					cost[i][j], split[i][j] = c, k
				}
			}
		}
	}
	return split
}
