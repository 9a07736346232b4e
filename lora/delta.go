package lora

import (
	"fmt"
	"math"
	"slices"

	. "github.com/gomlx/gomlx/core/graph"

	"github.com/deeplora/deeplora/internal/graphx"
)

// Delta is ΔK [In, Out] = d[0]·d[1]·…·d[n-1], a chain of matrices that is never multiplied out unless
// asked. All nodes are of one dtype, float32 or float64, and so are the results.
//
// Every product below is taken in the order that costs least, found from the shapes: small factors are
// multiplied with each other first, and ΔK itself is formed only where that is cheaper still, which a
// low-rank chain never is. Where shapes do not fit it panics with an error, as GoMLX's own operations do.
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
	y := through(flat, d) // [rows, Out]
	if shape.Rank() != 2 {
		y = Reshape(y, append(slices.Clone(shape.Dimensions[:shape.Rank()-1]), out)...)
	}
	return y
}

// Rows returns rows of ΔK: ids [...] of an integer dtype -> [..., Out]. Only those rows of d[0] are
// read. Ids must lie in [0, In): a graph cannot check them, and clamps.
func (d Delta) Rows(ids *Node) *Node {
	_, out := d.dims()
	picked := Gather(d[0], Reshape(ids, -1, 1)) // [rows, r]
	y := picked
	if len(d) > 1 {
		y = through(picked, d[1:]) // [rows, Out]
	}
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

// through returns x·chain for activations x [rows, ·].
func through(x *Node, chain []*Node) *Node {
	u, b := halves(append([]*Node{x}, chain...)) // the last product, over the rank: u [rows, r], b [r, Out]
	plain := func() *Node { return Dot(u, b).Product() }
	if r := b.Shape().Dim(0); r > summedRank || !onXLA(x) {
		return plain()
	}
	// The gradients are the plain product's, and so is the result up to rounding.
	y, _ := InternalFusedOpCaller(func() *Node { return rankSum(u, b) }, plain, true)
	return y
}

// summedRank is the largest rank at which the last product is taken as a sum on XLA. As a product it is a
// pass of its own over a large array, which the addition to x·K then reads again; as a sum XLA fuses it
// into the loop that adds the bias. A feed-forward block of BERT-base on 2,048 tokens, forward and backward
// on two busy cores, alternated: about 4 % less CPU time at ranks 4 to 12, nothing or a loss at 16, 10 %
// more at 32. An engine that runs one operation at a time would pay for every term, hence XLA alone.
const summedRank = 12

// rankSum is u·b as a sum over the rank of columns times rows: Σₖ u[:,k]·b[k,:].
func rankSum(u, b *Node) *Node {
	rows, out := u.Shape().Dim(0), b.Shape().Dim(1)
	var sum *Node
	for k := range b.Shape().Dim(0) {
		column := BroadcastToDims(SliceAxis(u, 1, AxisElem(k)), rows, out)
		row := BroadcastToDims(SliceAxis(b, 0, AxisElem(k)), rows, out)
		if term := Mul(column, row); sum == nil {
			sum = term
		} else {
			sum = Add(sum, term)
		}
	}
	return sum
}

// product multiplies a chain of matrices in the cheapest order.
func product(chain []*Node) *Node {
	if len(chain) == 1 {
		return chain[0]
	}
	a, b := halves(chain)
	return dot(a, b)
}

// dot is a·b, a [m, n] and b [n, r]. For a tall b on XLA the gradient aᵀ·v [n, r] is taken as its transpose vᵀ·a: of
// 2,048 rows of 768 with r = 8 in 0.33 ms of CPU time instead of 2.4 (of 3,072: 1.7, 10), at r = 128 in three quarters.
// XLA would put the product and the transposition together again, were there no barrier between them.
func dot(a, b *Node) *Node {
	if b.Shape().Dim(0) <= b.Shape().Dim(1) || !onXLA(b) {
		return Dot(a, b).Product()
	}
	flat := IdentityWithCustomGradient(Transpose(b, 0, 1), func(_, v *Node) *Node { return graphx.Barrier(v) })
	return DotGeneral(a, []int{1}, nil, flat, []int{1}, nil)
}

func onXLA(x *Node) bool { return x.Graph().Backend().Name() == "xla" }

// halves returns the two matrices of the last of a chain's products.
func halves(chain []*Node) (a, b *Node) {
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
		return dot(multiply(i, k), multiply(k+1, j))
	}
	last := len(chain) - 1
	k := split[0][last]
	return multiply(0, k), multiply(k+1, last)
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
