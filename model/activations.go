package model

import (
	"maps"
	"slices"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/ml/layers/activation"
)

// activations by their names in config.json. The erf and the tanh form of GELU differ by up to 5e-4, so
// none stands in for another.
var activations = map[string]func(x *Node) *Node{
	"gelu":              activation.Gelu,
	"gelu_python":       activation.Gelu,
	"gelu_new":          activation.GeluApproximate,
	"gelu_pytorch_tanh": activation.GeluApproximate,
	"gelu_fast":         activation.GeluApproximate,
	"quick_gelu":        func(x *Node) *Node { return Mul(x, Sigmoid(MulScalar(x, 1.702))) },
	"relu":              activation.Relu,
	"silu":              activation.Swish,
	"swish":             activation.Swish,
	"tanh":              Tanh,
}

func activationNames() []string { return slices.Sorted(maps.Keys(activations)) }
