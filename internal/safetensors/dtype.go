package safetensors

import "strings"

// DType is an element type as the header spells it.
type DType string

// The element types read and written. All others, 8-bit floats and packed types among them, are
// refused by name.
const (
	DTypeF64  DType = "F64"
	DTypeF32  DType = "F32"
	DTypeF16  DType = "F16"  // IEEE 754 binary16
	DTypeBF16 DType = "BF16" // the upper half of a float32
	DTypeI64  DType = "I64"
	DTypeI32  DType = "I32"
	DTypeI16  DType = "I16"
	DTypeI8   DType = "I8"
	DTypeU64  DType = "U64"
	DTypeU32  DType = "U32"
	DTypeU16  DType = "U16"
	DTypeU8   DType = "U8"
	DTypeBool DType = "BOOL" // one byte, 0 or 1
)

// dtypes lists every DType with the bytes of an element.
var dtypes = []struct {
	dtype DType
	size  int
}{
	{DTypeF64, 8},
	{DTypeF32, 4},
	{DTypeF16, 2},
	{DTypeBF16, 2},
	{DTypeI64, 8},
	{DTypeI32, 4},
	{DTypeI16, 2},
	{DTypeI8, 1},
	{DTypeU64, 8},
	{DTypeU32, 4},
	{DTypeU16, 2},
	{DTypeU8, 1},
	{DTypeBool, 1},
}

// Size is the bytes of one element, 0 for an unknown type.
func (d DType) Size() int {
	for _, row := range dtypes {
		if row.dtype == d {
			return row.size
		}
	}
	return 0
}

func knownDTypes() string {
	var names []string
	for _, row := range dtypes {
		names = append(names, string(row.dtype))
	}
	return strings.Join(names, " ")
}
