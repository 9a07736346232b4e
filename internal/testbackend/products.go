package testbackend

import (
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/graph"
)

// Products counts the matrix products that nodes are computed from, by the types and shapes of what is multiplied, as
// "Float32·Float32 [8 16]·[16 4]". What a graph holds and nothing asks for is not among them.
func Products(nodes ...*graph.Node) map[string]int {
	nodes = slices.Clone(nodes) // the caller's list stays as it is
	found, seen := map[string]int{}, map[*graph.Node]bool{}
	for len(nodes) > 0 {
		n := nodes[len(nodes)-1]
		nodes = nodes[:len(nodes)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		if n.Type() == graph.NodeTypeDotGeneral {
			a, b := n.Inputs()[0], n.Inputs()[1]
			found[fmt.Sprintf("%s·%s %v·%v", a.DType(), b.DType(), a.Shape().Dimensions, b.Shape().Dimensions)]++
		}
		nodes = append(nodes, n.Inputs()...)
	}
	return found
}
