package safetensors

import (
	"bytes"
	"maps"
	"os"
	"runtime"
	"slices"
	"testing"
)

// allocatedBy is the memory fn took in all, also what was freed on the way: an upper bound of what it
// ever held.
func allocatedBy(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzOpen: whatever the bytes, no panic and memory in proportion to them; what opens can be read
// whole, and written again it holds the same and has its canonical form.
func FuzzOpen(f *testing.F) {
	entries := []Entry{
		{"a", []int{2, 2}, []float32{1, 2, 3, 4}},
		{"b", []int{0, 7}, []float64{}},
		{"h", nil, F16{1}},
		{"t", []int{3}, BF16{1, 2, 3}},
		{"i", []int{1}, []int64{-1}},
		{"flags", []int{2}, Raw{DTypeBool, []byte{0, 1}}},
	}
	whole := mustWrite(f, entries, map[string]string{"maker": "é"})
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(append(slices.Clone(whole), 0))
	f.Add(container(`{}`))
	f.Add(container(`{"w":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`))
	f.Add(container(`{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`))
	f.Add([]byte("\xff\xe0\xf5\x05\x00\x00\x00\x00{"))
	f.Fuzz(func(t *testing.T, file []byte) {
		var opened *File
		took := allocatedBy(func() {
			if f, err := open(file); err == nil {
				readAll(t, f)
				opened = f
			}
		})
		if limit := 1<<20 + 256*uint64(len(file)); took > limit {
			t.Errorf("%d bytes took %d bytes of memory", len(file), took)
		}
		if opened != nil {
			checkCanonical(t, opened)
		}
	})
}

func readAll(t *testing.T, f *File) {
	for _, name := range f.Names() {
		if _, err := f.Bytes(name); err != nil {
			t.Error(err)
		}
		// These may refuse the type, never crash.
		_, _ = f.Float32(name)
		_, _ = f.Float64(name)
		_, _ = f.Int64(name)
	}
	if _, err := f.Sum(); err != nil {
		t.Error(err)
	}
}

func checkCanonical(t *testing.T, f *File) {
	canonical := rewrite(t, f)
	again := mustOpen(t, canonical)
	if !slices.Equal(again.Names(), f.Names()) {
		t.Fatalf("names %q became %q", f.Names(), again.Names())
	}
	for _, name := range f.Names() {
		a, _ := f.Info(name)
		b, _ := again.Info(name)
		same := a.DType == b.DType && slices.Equal(a.Shape, b.Shape)
		if !same || !bytes.Equal(must[[]byte](t)(f.Bytes(name)), must[[]byte](t)(again.Bytes(name))) {
			t.Fatalf("tensor %q: %+v became %+v", name, a, b)
		}
	}
	metadata := f.Metadata()
	if _, ok := metadata["format"]; !ok {
		metadata["format"] = "pt"
	}
	if !maps.Equal(metadata, again.Metadata()) {
		t.Fatalf("metadata %q became %q", metadata, again.Metadata())
	}
	if !bytes.Equal(rewrite(t, again), canonical) {
		t.Fatal("written a second time the bytes differ")
	}
}

// Opening a large file and reading a small tensor of it costs the header and the tensor.
func TestMemoryIsBoundedByTheTensor(t *testing.T) {
	path := t.TempDir() + "/m.safetensors"
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	err = Write(out, []Entry{{"large", []int{4 << 20}, make([]float32, 4<<20)}, {"small", []int{1 << 16}, make([]float32, 1<<16)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	took := allocatedBy(func() {
		f := must[*File](t)(Open(path))
		defer f.Close()
		must[[]float32](t)(f.Float32("small"))
		must[string](t)(f.Sum())
	})
	if limit := uint64(4<<16 + chunkBytes + 1<<16); took > limit { // tensor, chunk, header and odds
		t.Errorf("reading 256 KiB of a 17 MiB file took %d bytes of memory, want at most %d", took, limit)
	}
}

// A long list in a header must cost in proportion, and make a message a person can read.
func TestHostileHeadersStayCheap(t *testing.T) {
	zeros := bytes.Repeat([]byte("1,"), 1<<20)
	file := container(`{"w":{"dtype":"U8","shape":[` + string(zeros) + `1],"data_offsets":[0,2]}}`)
	var err error
	took := allocatedBy(func() { _, err = open(file) })
	if limit := 256 * uint64(len(file)); took > limit {
		t.Errorf("a header of %d bytes took %d bytes of memory", len(file), took)
	}
	if err == nil || len(err.Error()) > 500 {
		t.Errorf("the message is %d bytes long: %.200v", len(err.Error()), err)
	}
}
