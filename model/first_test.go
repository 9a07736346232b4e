package model_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
)

// The last layer, computed for the first tokens alone, is what the whole layer has there, and so are the gradients of
// all weights: of packed rows and of a row a text, some of the texts asked for twice or not at all.
func TestFirstIsHiddenAtTheFirstTokens(t *testing.T) {
	packed := append(packSegments(drawnSegments()), tensors.FromFlatDataAndDimensions([]int32{12, 5, 0, 12}, 4))
	padded := packSegments(drawnSegments())[:3] // which segment a token is of becomes a mask
	tensors.MustMutableFlatData(padded[2], func(mask []int32) {
		for i, segment := range mask {
			mask[i] = min(segment, 1)
		}
	})
	cases := []struct {
		name  string
		batch []*tensors.Tensor
		first []int
		in    func(in []*Node) model.Inputs
	}{
		{"packed", packed, []int{12, 5, 0, 12}, func(in []*Node) model.Inputs {
			return model.Packed{IDs: in[0], Types: in[1], Segments: in[2], Positions: in[3], First: in[4]}
		}},
		{"padded", padded, []int{0, packedRow}, func(in []*Node) model.Inputs {
			return model.Padded{IDs: in[0], Types: in[1], Mask: in[2]}
		}},
	}
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, p := range []struct {
			dtype dtypes.DType
			rel   float64
		}{{dtypes.Float32, 2e-5}, {dtypes.Float64, 1e-12}} {
			c := load(t, maskedFiles(t), model.LoadOptions{Architecture: model.MaskedLM, DrawHead: true, DType: p.dtype})
			var names []string
			for _, spec := range c.Specs() {
				// The pooler comes after. Adding one vector to all keys changes no weight of attention: its gradient is rounding.
				if encoder := strings.HasPrefix(spec.Name, "bert.e"); encoder && !strings.HasSuffix(spec.Name, "key.bias") {
					names = append(names, spec.Name)
				}
			}
			for _, tc := range cases {
				if b.Name() == "xla" && (tc.name != "packed" || p.dtype != dtypes.Float32) && !testshared.Thorough() {
					continue // compiles for long; the golden gradients are of this layer, padded, on every engine
				}
				out := evaluate(t, b, c, tc.batch, func(bert *model.Encoder, in []*Node) []*Node {
					var all []*Node
					hidden := bert.Hidden(tc.in(in))
					var rows []*Node
					for _, at := range tc.first {
						rows = append(rows, Slice(hidden, AxisRange(at, at+1), AxisRange()))
					}
					for _, first := range []*Node{bert.First(tc.in(in)), Concatenate(rows, 0)} {
						var kernels []*Node
						for _, name := range names {
							kernels = append(kernels, bert.Weights(name))
						}
						weight := AddScalar(Sin(IotaFull(first.Graph(), first.Shape())), 0.3) // no symmetry
						all = append(append(all, first), Gradient(ReduceAllSum(Mul(first, weight)), kernels...)...)
					}
					return all
				})
				n := len(out) / 2
				near(t, tc.name+": states", out[0], out[n], p.rel)
				for i, name := range names {
					if !slices.ContainsFunc(out[n+1+i], func(v float64) bool { return v != 0 }) {
						t.Errorf("%s: the gradient of %s is 0, which proves nothing", tc.name, name)
					}
					near(t, tc.name+": gradient of "+name, out[1+i], out[n+1+i], p.rel)
				}
			}
		}
	})
}
