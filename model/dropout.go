package model

import (
	"hash/fnv"
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// Dropout draws masks by hashing a counter in the graph: element i of the mask called name at one step is
// kept where hash(i, key, name) >= p·2³². There is no state: the key of a step gives all its masks, so a
// resumed run draws what an uninterrupted one does, and XLA fuses the hash into its neighbours and computes
// it again in backward instead of storing masks.
type Dropout struct {
	Key *Node // uint32 [2], another at each step

	// Of a part of a batch: where in the whole batch its rows [rows] and its examples [examples] stand, int32. Its masks
	// are then those parts of the whole batch's, however many parts there are. nil: the batch is whole.
	Rows, Examples *Node
}

// leads says what a tensor's first axis counts, or begins to count.
type leads int

const (
	leadRows     leads = iota // rows of the batch, or tokens row by row
	leadExamples              // examples
	leadNone                  // nothing of the batch
)

// apply zeroes elements of x with probability p and scales the rest by 1/(1-p). A nil Dropout is off.
func (d *Dropout) apply(name string, p float64, x *Node, first leads) *Node {
	if d == nil || p == 0 {
		return x
	}
	threshold := Scalar(x.Graph(), dtypes.Uint32, uint32(min(math.Round(p*(1<<32)), math.MaxUint32)))
	keep := Reshape(GreaterOrEqual(d.hash(name, d.counter(first, x.Shape().Size())), threshold), x.Shape().Dimensions...)
	return Where(keep, MulScalar(x, 1/(1-p)), ZerosLike(x))
}

// counter numbers n elements as they stand in the whole batch: uint32 [n].
func (d *Dropout) counter(first leads, n int) *Node {
	var places *Node
	switch first {
	case leadRows:
		places = d.Rows
	case leadExamples:
		places = d.Examples
	case leadNone:
	}
	if places == nil {
		return Iota(d.Key.Graph(), shape(dtypes.Uint32, n), 0)
	}
	each := n / places.Shape().Size() // elements a row or example
	begin := MulScalar(ConvertDType(InsertAxes(places, -1), dtypes.Uint32), each)
	return Reshape(Add(begin, Iota(d.Key.Graph(), shape(dtypes.Uint32, 1, each), 1)), n)
}

// hash of a counter is uint32 [n]: a Weyl sequence started by the step's first key and the mask's name, finished as
// MurmurHash3 finishes (fmix32). All Weyl sequences of one stride are parts of one cycle: what keeps two
// masks, of one step or of two, from being shifts of one another is the word mixed in between, which
// differs by the second key and the name.
func (d *Dropout) hash(name string, counter *Node) *Node {
	g := d.Key.Graph()
	word := func(v uint32) *Node { return Scalar(g, dtypes.Uint32, v) }
	shift := func(x *Node, by uint32) *Node { return BitwiseXor(x, BitwiseShiftRightLogical(x, word(by))) }
	key := func(i int) *Node { return Reshape(Slice(d.Key, AxisElem(i))) }

	h := fnv.New64a()
	h.Write([]byte(name))
	id := h.Sum64()
	x := Mul(counter, word(0x9E3779B1))
	x = Add(x, fmix32(BitwiseXor(key(0), word(uint32(id))), word, shift))
	x = BitwiseXor(Mul(shift(x, 16), word(0x85EBCA6B)), BitwiseXor(key(1), word(uint32(id>>32))))
	return shift(Mul(shift(x, 13), word(0xC2B2AE35)), 16)
}

// fmix32 is MurmurHash3's finaliser.
func fmix32(x *Node, word func(uint32) *Node, shift func(*Node, uint32) *Node) *Node {
	x = Mul(shift(x, 16), word(0x85EBCA6B))
	return shift(Mul(shift(x, 13), word(0xC2B2AE35)), 16)
}

func shape(dtype dtypes.DType, dims ...int) shapes.Shape { return shapes.Make(dtype, dims...) }
