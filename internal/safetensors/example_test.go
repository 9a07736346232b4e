package safetensors_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/safetensors"
)

func ExampleWrite() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "adapter.safetensors")
	tensors := []safetensors.Entry{
		{Name: "left", Shape: []int{2, 2}, Data: []float32{1, 2, 3, 4}},
		{Name: "rank", Shape: nil, Data: []int64{2}},
	}
	err = atomicfile.Write(path, func(w io.Writer) error { return safetensors.Write(w, tensors, nil) })
	if err != nil {
		fmt.Println(err)
		return
	}

	f, err := safetensors.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		fmt.Println(name, info.DType, info.Shape)
	}
	left, err := f.Float32("left")
	fmt.Println(left, err)
	_, err = f.Float32("right")
	fmt.Println(err != nil)
	// Output:
	// left F32 [2 2]
	// rank I64 []
	// [1 2 3 4] <nil>
	// true
}
