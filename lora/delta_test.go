package lora_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"pgregory.net/rapid"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/lora"
)

// The plan is the cheapest of all parenthesisations: checked against trying them all.
func TestProductsAreTakenInTheCheapestOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dims := rapid.SliceOfN(rapid.IntRange(1, 40), 2, 7).Draw(t, "dims")
		split := lora.Cheapest(dims)
		var planned func(i, j int) int
		planned = func(i, j int) int {
			if i == j {
				return 0
			}
			k := split[i][j]
			return planned(i, k) + planned(k+1, j) + dims[i]*dims[k+1]*dims[j+1]
		}
		var best func(i, j int) int
		best = func(i, j int) int {
			least := 0
			for k := i; k < j; k++ {
				if c := best(i, k) + best(k+1, j) + dims[i]*dims[k+1]*dims[j+1]; k == i || c < least {
					least = c
				}
			}
			return least
		}
		n := len(dims) - 2
		if got, want := planned(0, n), best(0, n); got != want {
			t.Fatalf("%v: %d multiplications planned, %d possible", dims, got, want)
		}
	})
}

// A chain of rank r costs 2·n·r·(In+Out) flops and little more: ΔK is not formed on the way.
func TestApplyOfALowRankChainIsCheap(t *testing.T) {
	const n, r = 2048, 8
	for _, c := range []struct{ in, out int }{{768, 768}, {768, 3072}, {3072, 768}} {
		dims := []int{n, c.in, r, r, r, r, c.out}
		split := lora.Cheapest(dims)
		var flops func(i, j int) int
		flops = func(i, j int) int {
			if i == j {
				return 0
			}
			k := split[i][j]
			return flops(i, k) + flops(k+1, j) + 2*dims[i]*dims[k+1]*dims[j+1]
		}
		if got, bound := flops(0, 5), 2*n*r*(c.in+c.out)*102/100; got > bound {
			t.Errorf("%v: %d flops, want at most %d", c, got, bound)
		}
	}
}

func TestDeltaRefusesShapesThatDoNotChain(t *testing.T) {
	node := func(g *Graph, dims ...int) *Node {
		size := 1
		for _, d := range dims {
			size *= d
		}
		return Const(g, tensors.FromFlatDataAndDimensions(make([]float32, size), dims...))
	}
	for name, c := range map[string]struct {
		build func(g *Graph)
		want  string
	}{
		"x too narrow": {
			func(g *Graph) { lora.Delta{node(g, 7, 2), node(g, 2, 3)}.Apply(node(g, 5, 6)) },
			"ΔK [7 3]; want [..., 7]",
		},
		"sides differ": {
			func(g *Graph) { lora.Delta{node(g, 7, 2), node(g, 3, 3)}.Matrix() },
			"factor 1 of ΔK is (Float32)[3, 3] and follows (Float32)[7, 2]",
		},
		"no matrix": {
			func(g *Graph) { lora.Delta{node(g, 7, 2, 1)}.Matrix() },
			"factor 0 of ΔK is (Float32)[7, 2, 1]; want a matrix",
		},
		"nothing":            {func(*Graph) { lora.Delta{}.Rows(nil) }, "no factors"},
		"a pair of a single": {func(g *Graph) { lora.Delta{node(g, 7, 7)}.Pair() }, "one factor has no lora_A"},
	} {
		t.Run(name, func(t *testing.T) {
			err := graphx.Try("build", func() { c.build(NewGraph(testbackend.All(t)[0], "test")) })
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// A ΔK of one factor is that factor: full-rank updates use the same type.
func TestDeltaOfOneFactor(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		got := MustExecOnce(b, func(k, x *Node) *Node { return lora.Delta{k}.Apply(x) }, [][]float64{{1, 2}, {3, 4}}, [][]float64{{1, 0}, {0, 1}, {1, 1}})
		if fmt.Sprint(got.Value()) != "[[1 2] [3 4] [4 6]]" {
			t.Errorf("got %v", got.Value())
		}
	})
}
