package onnx

import (
	"fmt"
	"reflect"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
)

// size is a number of a graph that may depend on its inputs [rows, length]: size[0] + size[1]·rows + size[2]·length +
// size[3]·rows·length + size[4]·length².
type size [5]int

var one = size{1}

func (s size) fixed() bool { return s == size{s[0]} }

// at is the number for inputs of a size.
func (s size) at(rows, length int) int {
	return s[0] + s[1]*rows + s[2]*length + s[3]*rows*length + s[4]*length*length
}

// samples are the inputs [rows, length] that a function is traced for. The first five say what each number depends on, and
// the last must agree: a number that depends on them in another way is an error, not a guess.
var samples = [6][2]int{{2, 5}, {2, 6}, {2, 7}, {3, 5}, {3, 6}, {4, 9}}

// traces are one thing as it is for each of the samples.
type traces[T any] [len(samples)]T

// solve finds a number from its values for the samples, by their differences.
func solve(v traces[int]) (size, error) {
	rows, length := samples[0][0], samples[0][1]
	s := size{
		3: (v[4] - v[3]) - (v[1] - v[0]),
		4: (v[2] - 2*v[1] + v[0]) / 2,
	}
	s[2] = v[1] - v[0] - s[3]*rows - s[4]*(2*length+1)
	s[1] = v[3] - v[0] - s[3]*length
	s[0] = v[0] - s.at(rows, length)
	for i, sample := range samples {
		if s.at(sample[0], sample[1]) != v[i] {
			return s, fmt.Errorf("a number is %v for inputs of %v: no sum of rows, length, their product and the length's square", v, samples)
		}
	}
	return s, nil
}

// node is an operation for inputs of any size.
type node struct {
	op    compute.OpType
	in    []*node
	dtype dtypes.DType
	dims  []size
	name  string   // of a parameter
	flat  any      // of a constant that is not made of sizes
	sizes []size   // of a constant of whole numbers
	ints  [][]size // starts and limits of a slice
	axes  [][]int
	uses  int // how many operations take it
}

// merge makes one graph of what was recorded for the samples, and returns its output.
func merge(recorded traces[*recording]) (*node, error) {
	first := recorded[0]
	for _, t := range recorded[1:] {
		if len(t.ops) != len(first.ops) {
			return nil, fmt.Errorf("ONNX: the graph has %d operations for one batch and %d for another; want as many for all", len(first.ops), len(t.ops))
		}
	}
	merged := map[*recordedOp]*node{}
	for i, o := range first.ops {
		var same traces[*recordedOp]
		for j, t := range recorded {
			same[j] = t.ops[i]
		}
		n, err := mergeOne(same)
		if err != nil {
			return nil, fmt.Errorf("ONNX: operation %d, %s: %w", i, o.op, err)
		}
		for _, in := range o.in {
			n.in = append(n.in, merged[in])
		}
		merged[o] = n
	}
	output := merged[first.output]
	output.count(map[*node]bool{})
	return output, nil
}

// count counts the uses of all that an output is made of.
func (n *node) count(seen map[*node]bool) {
	n.uses++
	if seen[n] {
		return
	}
	seen[n] = true
	for _, in := range n.in {
		in.count(seen)
	}
}

func mergeOne(same traces[*recordedOp]) (n *node, err error) {
	o := same[0]
	n = &node{op: o.op, dtype: o.shape.DType, name: o.name, axes: o.axes}
	for _, other := range same[1:] {
		if other.op != o.op || other.shape.Rank() != o.shape.Rank() || other.name != o.name || !reflect.DeepEqual(other.axes, o.axes) || len(other.in) != len(o.in) {
			return nil, fmt.Errorf("it is %s %s for another batch", other.op, other.shape)
		}
	}
	if n.dims, err = solveAll(same, func(o *recordedOp) []int { return o.shape.Dimensions }); err != nil {
		return nil, err
	}
	for i := range o.ints {
		list, err := solveAll(same, func(o *recordedOp) []int { return o.ints[i] })
		if err != nil {
			return nil, err
		}
		n.ints = append(n.ints, list)
	}
	if o.op == compute.OpTypeConstant {
		return n, n.constant(same)
	}
	return n, nil
}

func solveAll(same traces[*recordedOp], of func(*recordedOp) []int) (list []size, err error) {
	for i := range of(same[0]) {
		var v traces[int]
		for j, o := range same {
			v[j] = of(o)[i]
		}
		s, err := solve(v)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// constant takes over a constant: whole numbers may be sizes, all else is the same for every batch.
func (n *node) constant(same traces[*recordedOp]) (err error) {
	if whole, ok := same[0].flat.([]int32); ok {
		for _, o := range same {
			if len(o.flat.([]int32)) != len(whole) {
				return fmt.Errorf("a table of %d entries has %d for another batch: it must be made for the longest text", len(whole), len(o.flat.([]int32)))
			}
		}
		n.sizes, err = solveAll(same, func(o *recordedOp) []int {
			list := make([]int, len(whole))
			for i, v := range o.flat.([]int32) {
				list[i] = int(v)
			}
			return list
		})
		return err
	}
	for _, o := range same[1:] {
		if !reflect.DeepEqual(o.flat, same[0].flat) {
			return fmt.Errorf("a table [%d] is another one for another batch: it must be made for the longest text", reflect.ValueOf(same[0].flat).Len())
		}
	}
	n.flat = same[0].flat
	return nil
}

// number is the value of a constant of one number, whatever its shape.
func (n *node) number() (float64, bool) {
	switch v := n.flat.(type) {
	case []float32:
		if len(v) == 1 {
			return float64(v[0]), true
		}
	case []float64:
		if len(v) == 1 {
			return v[0], true
		}
	}
	return 0, false
}
