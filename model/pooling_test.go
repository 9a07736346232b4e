package model_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
)

var poolings = []model.Pooling{model.PoolHead, "cls", "mean", "max"}

// layout is a batch of the drawn segments, and where each of them lies in the flat hidden states.
type layout struct {
	name        string
	batch       []*tensors.Tensor
	from, count []int
	in          func(in []*Node) model.Inputs
}

// layouts are the segments packed into rows and in a row each.
func layouts() []layout {
	packed := layout{name: "packed", in: func(in []*Node) model.Inputs {
		return model.Packed{IDs: in[0], Types: in[1], Segments: in[2], Positions: in[3], First: in[4]}
	}}
	padded := layout{name: "padded", in: func(in []*Node) model.Inputs {
		return model.Padded{IDs: in[0], Types: in[1], Mask: in[2]}
	}}
	segments := drawnSegments()
	const longest = 8 // a token more than any has
	n := len(segments) * longest
	ids, types, mask := slices.Repeat([]int32{39}, n), make([]int32, n), make([]int32, n)
	var first []int32
	eachSegment(func(i, at, length int) {
		first = append(first, int32(at))
		packed.from, packed.count = append(packed.from, at), append(packed.count, length)
		padded.from, padded.count = append(padded.from, i*longest), append(padded.count, length)
		for j, id := range segments[i] {
			ids[i*longest+j], types[i*longest+j], mask[i*longest+j] = id, int32(j%2), 1
		}
	})
	packed.batch = append(packSegments(segments), tensors.FromFlatDataAndDimensions(first, len(first)))
	for _, v := range [][]int32{ids, types, mask} {
		padded.batch = append(padded.batch, tensors.FromFlatDataAndDimensions(v, len(segments), longest))
	}
	return []layout{packed, padded}
}

// pooledLogits is what logits should be: pooling and classifier in plain float64, of the hidden states.
func (l layout) pooledLogits(t *testing.T, c *model.Checkpoint, hidden []float64) (logits []float64) {
	h := c.Config.HiddenSize
	weight := func(name string) []float64 { return floats(t, c.Tensors[name]) }
	for e, from := range l.from {
		states := hidden[from*h:][:l.count[e]*h]
		x := slices.Clone(states[:h])
		for j := range x {
			for i := 1; i < l.count[e]; i++ {
				switch c.Config.Pooling {
				case "mean":
					x[j] += states[i*h+j]
				case "max":
					x[j] = max(x[j], states[i*h+j])
				}
			}
			if c.Config.Pooling == "mean" {
				x[j] /= float64(l.count[e])
			}
		}
		if c.Config.Pooling.HasPooler() {
			x = product(x, weight("bert.pooler.dense.weight"), weight("bert.pooler.dense.bias"))
			for j := range x {
				x[j] = math.Tanh(x[j])
			}
		}
		logits = append(logits, product(x, weight("classifier.weight"), weight("classifier.bias"))...)
	}
	return logits
}

// product is x·K + b.
func product(x, k, b []float64) []float64 {
	y := slices.Clone(b)
	for j := range y {
		for i := range x {
			y[j] += x[i] * k[i*len(y)+j]
		}
	}
	return y
}

// Logits are those of a pooling computed by hand, in packed rows as in a row a text; its derivative is that of a
// difference quotient, along a direction in which every tensor of the model moves.
func TestPooling(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, pooling := range poolings {
			for _, p := range precisions {
				if b.Name() == "xla" && (p.dtype != dtypes.Float32 || pooling.HasPooler() || pooling == "cls") && !testshared.Thorough() {
					continue // compiles for long; what reads first tokens is tested on every engine elsewhere
				}
				c := load(t, maskedFiles(t), model.LoadOptions{DrawHead: true, DType: p.dtype, Pooling: pooling})
				if _, ok := c.Tensors["bert.pooler.dense.weight"]; ok != pooling.HasPooler() {
					t.Errorf("%s: the model has a pooler: %v", pooling, ok)
				}
				var together [][]float64
				for _, l := range layouts() {
					what := fmt.Sprintf("%s, %s, %s", pooling, l.name, p.dtype)
					const step = 1e-5
					out := evaluate(t, b, c, l.batch, func(bert *model.Encoder, in []*Node) []*Node {
						all := append([]*Node{bert.Hidden(l.in(in))}, moved(bert, l.in(in), p.dtype, 0)...)
						if p.dtype != dtypes.Float64 {
							return all
						}
						return slices.Concat(all, moved(bert, l.in(in), p.dtype, step), moved(bert, l.in(in), p.dtype, -step))
					})
					logits, slope := out[1], out[2]
					near(t, what, logits, l.pooledLogits(t, c, out[0]), p.rel)
					if p.dtype == dtypes.Float64 {
						near(t, what+": derivative", slope, []float64{(sum(out[3]) - sum(out[5])) / (2 * step)}, 1e-6)
					}
					together = append(together, slices.Concat(logits, slope))
				}
				near(t, fmt.Sprintf("%s, packed and padded, %s", pooling, p.dtype), together[0], together[1], 1e-5)
			}
		}
	})
}

// moved are the logits of a model whose tensors have all moved by so much, and the derivative of their sum by it.
func moved(bert *model.Encoder, in model.Inputs, dtype dtypes.DType, by float64) []*Node {
	step := Scalar(bert.Weights("classifier.bias").Graph(), dtype, by)
	to := *bert
	to.Weights = func(name string) *Node {
		w := bert.Weights(name)
		return Add(w, Mul(step, Sin(AddScalar(IotaFull(w.Graph(), w.Shape()), float64(len(name))))))
	}
	logits := to.Logits(in)
	return append([]*Node{logits}, Gradient(ReduceAllSum(logits), step)...)
}

func sum(list []float64) (total float64) {
	for _, v := range list {
		total += v
	}
	return total
}
