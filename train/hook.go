package train

import (
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// adapted is the joint of the house: the kernel's product, in a precision, plus the adapter's, for the kernels that have
// one.
func adapted(deltas map[string]lora.Delta, p model.Precision) model.WeightHook {
	return func(k model.Kernel, x, w *Node) *Node {
		y := p.Hook(k, x, w)
		delta, ok := deltas[k.Name]
		switch {
		case !ok:
			return y
		case k.Lookup:
			return Add(y, delta.Rows(x))
		default:
			return Add(y, delta.Apply(x))
		}
	}
}
