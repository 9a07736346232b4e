package safetensors

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// benchFile writes one tensor of about 90 MB, the word embeddings of BERT-base.
func benchFile(b *testing.B, data any, size int64) *File {
	b.Helper()
	var buf bytes.Buffer
	if err := Write(&buf, []Entry{{"w", []int{30522, 768}, data}}, nil); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "model.safetensors")
	if err := os.WriteFile(path, buf.Bytes(), 0o644); err != nil {
		b.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	b.SetBytes(size)
	b.ReportAllocs()
	return f
}

const benchLen = 30522 * 768

func BenchmarkFloat32(b *testing.B) {
	f := benchFile(b, make([]float32, benchLen), 4*benchLen)
	for b.Loop() {
		if _, err := f.Float32("w"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFloat32FromBF16(b *testing.B) {
	f := benchFile(b, make(BF16, benchLen), 2*benchLen)
	for b.Loop() {
		if _, err := f.Float32("w"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFloat32FromF16(b *testing.B) {
	f := benchFile(b, make(F16, benchLen), 2*benchLen)
	for b.Loop() {
		if _, err := f.Float32("w"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	f := benchFile(b, make([]float32, benchLen), 4*benchLen)
	for b.Loop() {
		if _, err := f.Sum(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	entries := []Entry{{"w", []int{benchLen}, make([]float32, benchLen)}}
	b.SetBytes(4 * benchLen)
	for b.Loop() {
		if err := Write(io.Discard, entries, nil); err != nil {
			b.Fatal(err)
		}
	}
}
