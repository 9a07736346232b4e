package onnx

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/deeplora/deeplora/internal/onnx/onnxpb"
)

// Small constants, shapes and sizes: each is made once and found again by what it is.

// once builds what key stands for, if it is not there.
func (e *emitter) once(key string, build func() string) string {
	name, ok := e.known[key]
	if !ok {
		name = build()
		e.known[key] = name
	}
	return name
}

// tensor is a small constant.
func (e *emitter) tensor(name string, dtype onnxpb.TensorProto_DataType, dims []int, values any) string {
	t := &onnxpb.TensorProto{Name: &name, DataType: proto.Int32(int32(dtype)), RawData: rawBytes(values)}
	for _, d := range dims {
		t.Dims = append(t.Dims, int64(d))
	}
	e.graph.Initializer = append(e.graph.Initializer, t)
	return name
}

// rawBytes are numbers as the file has them.
func rawBytes(values any) []byte {
	var raw bytes.Buffer
	if err := binary.Write(&raw, binary.LittleEndian, values); err != nil { // of numbers there is none
		panic(err)
	}
	return raw.Bytes()
}

// constant is a constant of the traced graph.
func (e *emitter) constant(n *node) string {
	dims := make([]int, len(n.dims))
	for i, d := range n.dims {
		dims[i] = d[0]
	}
	switch flat := n.flat.(type) {
	case nil:
		return e.wholes(n.sizes, dims)
	case []float32:
		if len(dims) == 0 {
			return e.scalar(float64(flat[0]))
		}
		return e.table(onnxpb.TensorProto_FLOAT, dims, flat)
	default:
		panic(fmt.Errorf("ONNX: there is no translation of a constant of %T", n.flat))
	}
}

// wholes is a constant of whole numbers: one that depends on the inputs is computed.
func (e *emitter) wholes(list []size, dims []int) string {
	if len(list) == 1 && len(dims) == 0 {
		return e.wholeScalar(list[0])
	}
	fixed := make([]int64, len(list))
	for i, s := range list {
		if !s.fixed() {
			return e.node("Reshape", "", nil, e.shape(list, false), e.vector(dims))
		}
		fixed[i] = int64(s[0])
	}
	return e.table(onnxpb.TensorProto_INT64, dims, fixed)
}

// table is a constant of many numbers.
func (e *emitter) table(dtype onnxpb.TensorProto_DataType, dims []int, values any) string {
	raw := rawBytes(values)
	return e.once(fmt.Sprint(dtype, dims, sha256.Sum256(raw)), func() string {
		return e.tensor(fmt.Sprintf("table.%d", len(e.graph.Initializer)), dtype, dims, values)
	})
}

// scalar is a number.
func (e *emitter) scalar(v float64) string {
	f := float32(v)
	return e.once(fmt.Sprint("number ", f), func() string {
		return e.tensor(fmt.Sprintf("number(%g)", f), onnxpb.TensorProto_FLOAT, nil, f)
	})
}

// vector are fixed whole numbers.
func (e *emitter) vector(v []int) string {
	list := make([]size, len(v))
	for i, x := range v {
		list[i] = size{x}
	}
	return e.shape(list, false)
}

// wholeScalar is a whole number without axes.
func (e *emitter) wholeScalar(s size) string {
	if s.fixed() {
		return e.once(fmt.Sprint("scalar ", s), func() string {
			return e.tensor(fmt.Sprintf("scalar(%d)", s[0]), onnxpb.TensorProto_INT64, nil, int64(s[0]))
		})
	}
	return e.once(fmt.Sprint("scalar ", s), func() string { return e.node("Squeeze", "", nil, e.size(s), e.vector([]int{0})) })
}

// shape is a vector of sizes. That of a reshape leaves one of several unknown ones to the operator.
func (e *emitter) shape(dims []size, infer bool) string {
	dims = slices.Clone(dims)
	if infer {
		if at := slices.IndexFunc(dims, func(s size) bool { return !s.fixed() }); at >= 0 {
			dims[at] = size{-1}
		}
	}
	return e.once(fmt.Sprint("shape ", dims), func() string {
		var parts []string
		for len(dims) > 0 {
			n := slices.IndexFunc(dims, func(s size) bool { return !s.fixed() })
			if n == 0 {
				parts, dims = append(parts, e.size(dims[0])), dims[1:]
				continue
			}
			if n < 0 {
				n = len(dims)
			}
			parts, dims = append(parts, e.fixed(dims[:n])), dims[n:]
		}
		if len(parts) == 1 {
			return parts[0]
		}
		return e.node("Concat", "", attributes(whole("axis", 0)), parts...)
	})
}

// fixed is a vector of numbers that depend on nothing.
func (e *emitter) fixed(dims []size) string {
	values, text := make([]int64, len(dims)), make([]string, len(dims))
	for i, d := range dims {
		values[i], text[i] = int64(d[0]), fmt.Sprint(d[0])
	}
	name := "shape(" + strings.Join(text, ",") + ")"
	return e.once(name, func() string { return e.tensor(name, onnxpb.TensorProto_INT64, []int{len(dims)}, values) })
}

// size is a vector of one size: the sum of its parts.
func (e *emitter) size(s size) string {
	return e.once(fmt.Sprint("size ", s), func() string {
		if s.fixed() {
			return e.fixed([]size{s})
		}
		sum := ""
		for i, factor := range s {
			if factor == 0 {
				continue
			}
			part := e.fixed([]size{{factor}})
			if i > 0 {
				if part = e.unit(i); factor != 1 {
					part = e.node("Mul", "", nil, part, e.fixed([]size{{factor}}))
				}
			}
			if sum != "" {
				part = e.node("Add", "", nil, sum, part)
			}
			sum = part
		}
		return sum
	})
}

// unit are the rows (1), the length (2), the product of both (3) or the length's square (4).
func (e *emitter) unit(i int) string {
	return e.once(fmt.Sprint("unit ", i), func() string {
		switch i {
		case 3:
			return e.node("Mul", "", nil, e.unit(1), e.unit(2))
		case 4:
			return e.node("Mul", "", nil, e.unit(2), e.unit(2))
		}
		e.node("Shape", "", attributes(whole("start", i-1), whole("end", i)), e.sized)
		name := []string{1: "batch", 2: "sequence"}[i]
		e.last().Name, e.last().Output = &name, []string{name}
		return name
	})
}
