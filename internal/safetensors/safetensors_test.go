package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/deeplora/deeplora/internal/testshared"
)

// container puts a header and data together without a check.
func container(header string, data ...byte) []byte {
	file := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(file, header...), data...)
}

func open(file []byte) (*File, error) {
	return New(bytes.NewReader(file), int64(len(file)), "m.safetensors")
}

func mustOpen(t testing.TB, file []byte) *File {
	t.Helper()
	f, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func mustWrite(t testing.TB, entries []Entry, metadata map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, entries, metadata); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// must fails the test on an error.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestOpenRefuses(t *testing.T) {
	const f32 = `"dtype":"F32"`
	huge := strings.Repeat("9", 300)
	for _, tc := range []struct {
		name string
		file []byte
		want string // after "safetensors: m.safetensors: "
	}{
		{"empty", nil, "the file is empty; the download or copy was cut short: get it again"},
		{"seven bytes", make([]byte, 7), "file is 7 bytes, too short for any safetensors file; the download"},
		{"no header", make([]byte, 8), "the header does not begin with '{'"},
		{"above the limit", binary.LittleEndian.AppendUint64(nil, 100_000_001), "header length 100000001 is above the limit of 100000000: this is not a safetensors file"},
		{"header cut", container(`{"w":`)[:10], "file is 10 bytes, the header alone ends at 13; the download or copy was cut short: get it again"},
		{"not an object", container(`[1]`), "the header does not begin with '{'"},
		{"space first", container(` {}`), "the header does not begin with '{'"},
		{"not UTF-8", container("{\"\xff\":1}"), "the header is not valid UTF-8"},
		{"unfinished", container(`{"w":{`), `tensor "w": its entry: the JSON ends too early`},
		{"no colon", container(`{"w" 1}`), `tensor "w": its entry: the JSON is broken: invalid character '1' after object key`},
		{"trailing comma", container(`{"w":{"dtype":"U8","shape":[],"data_offsets":[0,1]},}`, 1), `the header: the JSON is broken: invalid character '}'`},
		{"wrong bracket", container(`{]`), "the header: the JSON is broken"},
		{"text after the header", container(`{}x`), "the header goes on after its closing '}'"},
		{"second object", container(`{}{}`), "the header goes on after its closing '}'"},
		{"NUL padding", container("{}\x00"), "the header goes on after its closing '}'"},
		{"tensor twice", container(`{"w":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1), `the header has "w" twice`},
		{"same name, other spelling", container(`{"w":{"dtype":"U8","shape":[],"data_offsets":[0,1]},"\u0077":{"dtype":"U8","shape":[],"data_offsets":[1,2]}}`, 1, 2), `the header has "w" twice`},
		{"field twice", container(`{"w":{"dtype":"U8","dtype":"U8","shape":[],"data_offsets":[0,1]}}`, 1), `tensor "w": its entry has "dtype" twice`},
		{"metadata twice", container(`{"__metadata__":{},"__metadata__":{}}`), `the header has "__metadata__" twice`},
		{"metadata key twice", container(`{"__metadata__":{"a":"1","a":"2"}}`), `__metadata__ has "a" twice`},
		{"metadata number", container(`{"__metadata__":{"a":1}}`), `__metadata__: "a": 1 is not a string`},
		{"metadata nested", container(`{"__metadata__":{"a":{"b":"c"}}}`), `__metadata__: "a": { is not a string`},
		{"metadata of text", container(`{"__metadata__":"x"}`), `__metadata__: got x, want "{"`},
		{"entry is a string", container(`{"w":"F32"}`), `tensor "w": its entry: got F32, want "{"`},
		{"unknown field", container(`{"w":{` + f32 + `,"strides":[1]}}`), `tensor "w": unknown field "strides"; want dtype, shape and data_offsets`},
		{"no offsets", container(`{"w":{` + f32 + `,"shape":[]}}`), `tensor "w": a field is missing; want dtype, shape and data_offsets`},
		{"one offset", container(`{"w":{` + f32 + `,"shape":[],"data_offsets":[0]}}`), `tensor "w": data_offsets holds 1 numbers, want begin and end`},
		{"end before begin", container(`{"w":{` + f32 + `,"shape":[],"data_offsets":[4,0]}}`), `tensor "w": data_offsets [4 0]: want begin <= end`},
		{"offsets beyond int64", container(`{"w":{` + f32 + `,"shape":[],"data_offsets":[18446744073709551611,18446744073709551615]}}`), `tensor "w": data_offsets [18446744073709551611 18446744073709551615]: want`},
		{"negative offset", container(`{"w":{` + f32 + `,"shape":[],"data_offsets":[-4,0]}}`), `tensor "w": data_offsets: "-4" is not an integer of 0 or more`},
		{"float dimension", container(`{"w":{` + f32 + `,"shape":[1.0],"data_offsets":[0,4]}}`), `tensor "w": shape: "1.0" is not an integer of 0 or more`},
		{"exponent", container(`{"w":{` + f32 + `,"shape":[1e0],"data_offsets":[0,4]}}`), `tensor "w": shape: "1e0" is not an integer of 0 or more`},
		{"dimension beyond uint64", container(`{"w":{` + f32 + `,"shape":[` + huge + `],"data_offsets":[0,4]}}`), `tensor "w": shape: "99999`},
		{"string dimension", container(`{"w":{` + f32 + `,"shape":["1"],"data_offsets":[0,4]}}`), `tensor "w": shape: 1 is not a number`},
		{"shape is a number", container(`{"w":{` + f32 + `,"shape":1,"data_offsets":[0,4]}}`), `tensor "w": shape: got 1, want "["`},
		{"product overflows", container(`{"w":{` + f32 + `,"shape":[4294967296,4294967296],"data_offsets":[0,0]}}`), `tensor "w": shape [4294967296 4294967296] is too large: its bytes do not fit in an integer`},
		{"product wraps to 0", container(`{"w":{` + f32 + `,"shape":[9223372036854775808,2],"data_offsets":[0,0]}}`), `tensor "w": shape [9223372036854775808 2] is too large`},
		{"dimension beyond int beside 0", container(`{"w":{` + f32 + `,"shape":[0,18446744073709551615],"data_offsets":[0,0]}}`), `tensor "w": shape [0 18446744073709551615] is too large`},
		{"size differs", container(`{"w":{`+f32+`,"shape":[2,3],"data_offsets":[0,20]}}`, make([]byte, 20)...), `tensor "w": F32[2 3] takes 24 bytes, but data_offsets [0 20] hold 20`},
		{"8-bit float", container(`{"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}`, 0), `tensor "w": dtype "F8_E4M3" is not supported; convert it to one of F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL`},
		{"4-bit float", container(`{"w":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}`, 0), `tensor "w": dtype "F4" is not supported`},
		{"lower case", container(`{"w":{"dtype":"f32","shape":[],"data_offsets":[0,4]}}`, 0, 0, 0, 0), `tensor "w": dtype "f32" is not supported`},
		{"dtype a number", container(`{"w":{"dtype":32}}`), `tensor "w": dtype: 32 is not a string`},
		{"gap at the start", container(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 0, 0), `tensor "w": begins at 1, want 0: a gap after the start of the data`},
		{"gap", container(`{"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}}`, 0, 0, 0), `tensor "w": begins at 2, want 1: a gap after tensor "v"`},
		{"overlap", container(`{"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"v":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 0, 0), `tensor "w": begins at 1, want 2: it overlaps tensor "v"`},
		{"same place", container(`{"v":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0), `tensor "w": begins at 0, want 1: it overlaps tensor "v"`},
		{"data cut", container(`{"w":{`+f32+`,"shape":[2],"data_offsets":[0,8]}}`, 1, 2, 3), "file is 65 bytes, header says 70; the download or copy was cut short: get it again"},
		{"data far beyond the file", container(`{"w":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`), "header says 9223372036854775"},
		{"trailing bytes", container(`{}`, 1, 2), "file is 12 bytes, header says 10: something was appended to it or it was overwritten in part; get it again"},
		{"long name", container(`{"` + strings.Repeat("n", 1000) + `":1}`), `tensor "` + strings.Repeat("n", 200) + `"…: its entry: got 1`},
		{"zip", []byte("PK\x03\x04\x14\x00\x00\x00\x08\x00archive/data.pkl"), "this is a zip archive, most likely a PyTorch checkpoint (.bin, .pt); convert it to safetensors, pickles are not read"},
		{"pickle", []byte("\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."), "this is a Python pickle, most likely an old PyTorch checkpoint"},
		{"HTML", []byte("\r\n<!DOCTYPE html><html><head><title>Sign in"), "this is a web page (HTML or XML), not the file itself; the download got an error or login page"},
		{"LFS pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 440449768\n"), "this is a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"},
		{"index", []byte("{\n  \"metadata\": {\n    \"total_size\": 1}}"), "this is JSON text; if it is an index of shards or a config, name the .safetensors file or its directory"},
		{"gzip", []byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"), "this is a gzip archive; unpack it first"},
		{"HDF5", []byte("\x89HDF\r\n\x1a\n\x00\x00\x00"), "this is an HDF5 file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := open(tc.file)
			if err == nil {
				t.Fatal("opened without an error")
			}
			if !strings.HasPrefix(err.Error(), "safetensors: m.safetensors: ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v is not ErrCorrupt", err)
			}
		})
	}
}

// Everything the format allows and a hasty reader refuses.
func TestOpenAccepts(t *testing.T) {
	for _, tc := range []struct {
		name, header string
		data         []byte
		want         []Info
	}{
		{"no tensors", `{}`, nil, nil},
		{"padding", "{}   \n\t ", nil, nil},
		{"empty metadata", `{"__metadata__":{}}`, nil, nil},
		{"metadata null", `{"__metadata__":null}`, nil, nil},
		{"scalar", `{"w":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, []byte{7}, []Info{{Name: "w", DType: DTypeU8, Shape: []int{}, Bytes: 1}}},
		{"empty name", `{"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, []byte{7}, []Info{{Name: "", DType: DTypeU8, Shape: []int{1}, Bytes: 1}}},
		{
			"empty tensors between full ones, in any order", `{"z":{"dtype":"F64","shape":[3,0],"data_offsets":[1,1]},"b":{"data_offsets":[1,2],"shape":[1],"dtype":"I8"},"e":{"dtype":"F32","shape":[0],"data_offsets":[2,2]},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}`,
			[]byte{1, 2},
			[]Info{
				{Name: "a", DType: DTypeI8, Shape: []int{1}, Bytes: 1},
				{Name: "b", DType: DTypeI8, Shape: []int{1}, Bytes: 1, begin: 1},
				{Name: "e", DType: DTypeF32, Shape: []int{0}, begin: 2},
				{Name: "z", DType: DTypeF64, Shape: []int{3, 0}, begin: 1},
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := mustOpen(t, container(tc.header, tc.data...))
			var got []Info
			for _, name := range f.Names() {
				info, ok := f.Info(name)
				if !ok {
					t.Fatalf("no info for %q", name)
				}
				got = append(got, info)
				if _, err := f.Bytes(name); err != nil {
					t.Error(err)
				}
			}
			if !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
			if f.Metadata() == nil {
				t.Error("Metadata is nil")
			}
		})
	}
}

// The header of a valid file may be as long as the bytes that begin a web page.
func TestLengthIsNotMistakenForText(t *testing.T) {
	for _, start := range []string{"<!", "PK", "\x80\x02", "{{", "\x1f\x8b"} {
		length := int(binary.LittleEndian.Uint16([]byte(start)))
		mustOpen(t, container("{}"+strings.Repeat(" ", length-2)))
	}
}

func TestOpenErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(filepath.Join(dir, "absent.safetensors"))
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "absent.safetensors") {
		t.Errorf("missing file: %v", err)
	}
	_, err = Open(dir)
	if err == nil || !strings.Contains(err.Error(), dir+" is a directory; name the .safetensors file in it") {
		t.Errorf("directory: %v", err)
	}
}

// Values of every type, read in every way that is allowed, and refused in every other.
func TestReadsEachType(t *testing.T) {
	le := binary.LittleEndian
	bytesOf := func(v any) []byte {
		b, err := binary.Append(nil, le, v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tc := range []struct {
		dtype  DType
		raw    []byte
		floats []float64 // nil: not a floating-point type
		ints   []int64
	}{
		{DTypeF64, bytesOf([]float64{1.5, -2}), []float64{1.5, -2}, nil},
		{DTypeF32, bytesOf([]float32{1.5, -2}), []float64{1.5, -2}, nil},
		{DTypeF16, bytesOf([]uint16{0x3e00, 0xc000}), []float64{1.5, -2}, nil},
		{DTypeBF16, bytesOf([]uint16{0x3fc0, 0xc000}), []float64{1.5, -2}, nil},
		{DTypeI64, bytesOf([]int64{math.MinInt64, math.MaxInt64}), nil, []int64{math.MinInt64, math.MaxInt64}},
		{DTypeI32, bytesOf([]int32{math.MinInt32, 5}), nil, []int64{math.MinInt32, 5}},
		{DTypeI16, bytesOf([]int16{math.MinInt16, 5}), nil, []int64{math.MinInt16, 5}},
		{DTypeI8, bytesOf([]int8{-128, 127}), nil, []int64{-128, 127}},
		{DTypeU64, bytesOf([]uint64{0, math.MaxInt64}), nil, []int64{0, math.MaxInt64}},
		{DTypeU32, bytesOf([]uint32{0, math.MaxUint32}), nil, []int64{0, math.MaxUint32}},
		{DTypeU16, bytesOf([]uint16{0, math.MaxUint16}), nil, []int64{0, math.MaxUint16}},
		{DTypeU8, []byte{0, 255}, nil, []int64{0, 255}},
		{DTypeBool, []byte{0, 1}, nil, []int64{0, 1}},
	} {
		t.Run(string(tc.dtype), func(t *testing.T) {
			f := mustOpen(t, mustWrite(t, []Entry{{"w", []int{2, 1}, Raw{tc.dtype, tc.raw}}}, nil))
			if got := must[[]byte](t)(f.Bytes("w")); !bytes.Equal(got, tc.raw) {
				t.Errorf("Bytes = %v, want %v", got, tc.raw)
			}
			half, errHalf := Half[uint16](f, "w")
			if is := tc.dtype == DTypeF16 || tc.dtype == DTypeBF16; (errHalf == nil) != is || is && !bytes.Equal(bytesOf(half), tc.raw) {
				t.Errorf("Half = %v, %v", half, errHalf)
			}
			f64, err64 := f.Float64("w")
			f32, err32 := f.Float32("w")
			ints, errInts := f.Int64("w")
			if !slices.Equal(f64, tc.floats) || !slices.Equal(ints, tc.ints) {
				t.Errorf("Float64 = %v, Int64 = %v, want %v, %v", f64, ints, tc.floats, tc.ints)
			}
			for i, v := range f32 {
				if float64(v) != tc.floats[i] {
					t.Errorf("Float32 = %v, want %v", f32, tc.floats)
				}
			}
			refused := []error{err32, err64}
			read := []error{errInts}
			as := []string{"float32", "float64"}
			if tc.ints == nil {
				refused, read, as = read, refused, []string{"int64"}
			}
			if err := errors.Join(read...); err != nil {
				t.Error(err)
			}
			for i, err := range refused {
				want := fmt.Sprintf(`safetensors: m.safetensors: tensor "w": is %s[2 1], which does not read as %s`, tc.dtype, as[i])
				if err == nil || err.Error() != want {
					t.Errorf("got  %v\nwant %s", err, want)
				}
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	f := mustOpen(t, mustWrite(t, []Entry{
		{"wide", []int{2}, []float64{1, 1e39}},
		{"unsigned", []int{1}, Raw{DTypeU64, bytes.Repeat([]byte{255}, 8)}},
		{"flags", []int{2}, Raw{DTypeBool, []byte{1, 2}}},
		{"special", []int{3}, []float64{math.Inf(1), math.NaN(), -math.MaxFloat32}},
	}, nil))
	for _, tc := range []struct {
		name string
		read func() error
		want string
	}{
		{"narrowing", func() error { _, err := f.Float32("wide"); return err }, `tensor "wide": in elements 0 to 1: 1e+39 is beyond float32`},
		{"unsigned", func() error { _, err := f.Int64("unsigned"); return err }, `tensor "unsigned": in elements 0 to 0: 18446744073709551615 is beyond int64`},
		{"bool", func() error { _, err := f.Int64("flags"); return err }, `tensor "flags": in elements 0 to 1: 2 is not a BOOL; want 0 or 1`},
		{"absent", func() error { _, err := f.Float32("no"); return err }, `tensor "no": is not among the 4 tensors of this file`},
		{"absent bytes", func() error { _, err := f.Bytes("no"); return err }, `tensor "no": is not among the 4 tensors of this file`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := "safetensors: m.safetensors: " + tc.want
			if err := tc.read(); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	special := must[[]float32](t)(f.Float32("special"))
	if !math.IsInf(float64(special[0]), 1) || special[1] == special[1] || special[2] != -math.MaxFloat32 {
		t.Errorf("special values read as %v", special)
	}
}

// A file that shrinks after Open, and a disk that fails, must be told apart.
func TestReadErrors(t *testing.T) {
	file := mustWrite(t, []Entry{{"w", []int{64}, make([]float32, 64)}}, nil)
	path := filepath.Join(t.TempDir(), "m.safetensors")
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	f := must[*File](t)(Open(path))
	if err := os.Truncate(path, int64(len(file)-1)); err != nil {
		t.Fatal(err)
	}
	_, err := f.Float32("w")
	_, errSum := f.Sum()
	for _, err := range []error{err, errSum} {
		if !errors.Is(err, ErrCorrupt) || !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), path+": ") {
			t.Errorf("after truncation: %v", err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Bytes("w"); !errors.Is(err, os.ErrClosed) || errors.Is(err, ErrCorrupt) {
		t.Errorf("after Close: %v", err)
	}
	disk := errors.New("input/output error")
	_, err = New(readerAt{iotest.ErrReader(disk)}, 100, "m")
	if !errors.Is(err, disk) || errors.Is(err, ErrCorrupt) {
		t.Errorf("broken disk: %v", err)
	}
}

type readerAt struct{ io.Reader }

func (r readerAt) ReadAt(p []byte, _ int64) (int, error) { return r.Read(p) }

// Tensors larger than a chunk, not a multiple of it, from several goroutines.
func TestConcurrentReadsOfManyChunks(t *testing.T) {
	const n = 3*chunkBytes/4 + 5
	values := make([]float32, n)
	halves := make(BF16, n)
	for i := range values {
		values[i] = float32(i) - 1000
		halves[i] = float32(i % 256)
	}
	f := mustOpen(t, mustWrite(t, []Entry{{"f", []int{n}, values}, {"h", []int{n}, halves}}, nil))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := f.Float32("f")
			if err != nil || !slices.Equal(got, values) {
				t.Errorf("F32 differs: %v", err)
			}
			got, err = f.Float32("h")
			if err != nil || !slices.Equal(got, halves) {
				t.Errorf("BF16 differs: %v", err)
			}
		})
	}
	wg.Wait()
}

// Info and Metadata are copies: nobody can change a file through them.
func TestAnswersAreCopies(t *testing.T) {
	f := mustOpen(t, mustWrite(t, []Entry{{"w", []int{2}, []uint8{1, 2}}}, nil))
	info, _ := f.Info("w")
	info.Shape[0] = 9
	f.Metadata()["format"] = "tf"
	if again, _ := f.Info("w"); again.Shape[0] != 2 || f.Metadata()["format"] != "pt" {
		t.Error("the file changed through what it returned")
	}
	if _, ok := f.Info("no"); ok {
		t.Error("Info of a missing tensor is ok")
	}
}

func TestSum(t *testing.T) {
	f := mustOpen(t, container(`{}`))
	// printf '\2\0\0\0\0\0\0\0{}' | sha256sum
	const want = "411a485216e432ece6b9af94fa32154cf79a2a56d4f81266baa50063f45092bd"
	if got := must[string](t)(f.Sum()); got != want {
		t.Errorf("Sum = %s, want %s", got, want)
	}
}

// reference/tiny_bert/model.safetensors was written by the Python library.
func TestReadsWhatPythonWrote(t *testing.T) {
	path := testshared.Path(t, "reference", "tiny_bert", "model.safetensors")
	f := must[*File](t)(Open(path))
	defer f.Close()
	for _, name := range f.Names() {
		values := must[[]float32](t)(f.Float32(name))
		info, _ := f.Info(name)
		if len(values) != info.Len() || info.DType != DTypeF32 {
			t.Errorf("%s: %d values of %+v", name, len(values), info)
		}
	}
	// All tensors have one type, so our order is Python's and the bytes must be the same.
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := rewrite(t, f); !bytes.Equal(got, want) {
		t.Error("written again the file differs from Python's")
	}
}

// rewrite reads everything from f and writes it.
func rewrite(t testing.TB, f *File) []byte {
	t.Helper()
	var entries []Entry
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		entries = append(entries, Entry{name, info.Shape, Raw{info.DType, must[[]byte](t)(f.Bytes(name))}})
	}
	return mustWrite(t, entries, f.Metadata())
}

func TestWriteIsDeterministic(t *testing.T) {
	entries := []Entry{
		{"b", []int{1, 2}, []float32{1, 2}},
		{"a", []int{3}, []uint8{1, 2, 3}},
		{"c", nil, []int64{-1}},
		{"d", []int{1}, F16{0.5}},
		{"A", []int{1}, []int32{7}},
		{"e", []int{0, 5}, []float64{}},
		{"f", []int{1}, BF16{1}},
	}
	const header = `{"__metadata__":{"format":"pt","k<&>":"é\"\\"},` +
		`"c":{"dtype":"I64","shape":[],"data_offsets":[0,8]},` +
		`"e":{"dtype":"F64","shape":[0,5],"data_offsets":[8,8]},` +
		`"A":{"dtype":"I32","shape":[1],"data_offsets":[8,12]},` +
		`"b":{"dtype":"F32","shape":[1,2],"data_offsets":[12,20]},` +
		`"d":{"dtype":"F16","shape":[1],"data_offsets":[20,22]},` +
		`"f":{"dtype":"BF16","shape":[1],"data_offsets":[22,24]},` +
		`"a":{"dtype":"U8","shape":[3],"data_offsets":[24,27]}}`
	padded := header + strings.Repeat(" ", (8-len(header)%8)%8)
	want := container(padded, 255, 255, 255, 255, 255, 255, 255, 255, 7, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0x38, 0x80, 0x3f, 1, 2, 3)
	metadata := map[string]string{"k<&>": `é"\`}
	for range 3 {
		if got := mustWrite(t, entries, metadata); !bytes.Equal(got, want) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
		slices.Reverse(entries)
	}
	if len(metadata) != 1 {
		t.Error("the caller's metadata changed")
	}
	if got := mustOpen(t, mustWrite(t, nil, map[string]string{"format": "flax"})).Metadata()["format"]; got != "flax" {
		t.Errorf("format %q was put in place of flax", got)
	}
}

func TestWriteRefuses(t *testing.T) {
	one := []float32{1}
	for _, tc := range []struct {
		name    string
		entries []Entry
		want    string
	}{
		{"twice", []Entry{{"w", []int{1}, one}, {"w", []int{1}, []uint8{1}}}, `tensor "w": is there twice`},
		{"wrong length", []Entry{{"w", []int{2}, one}}, `tensor "w": data has 4 bytes, but F32[2] takes 8`},
		{"negative", []Entry{{"w", []int{-1, -1}, one}}, `tensor "w": shape [-1 -1] is negative or too large`},
		{"overflow", []Entry{{"w", []int{1 << 32, 1 << 32}, one}}, `tensor "w": shape [4294967296 4294967296] is negative or too large`},
		{"type", []Entry{{"w", []int{1}, []string{"x"}}}, `tensor "w": data is []string of dtype ""; want one of F64 F32`},
		{"nil", []Entry{{"w", []int{1}, nil}}, `tensor "w": data is <nil> of dtype ""`},
		{"raw type", []Entry{{"w", []int{1}, Raw{"F4", []byte{1}}}}, `tensor "w": data is safetensors.Raw of dtype "F4"; want one of`},
		{"metadata name", []Entry{{"__metadata__", []int{1}, one}}, `tensor "__metadata__": not a name for a tensor`},
		{"name not UTF-8", []Entry{{"\xff", []int{1}, one}}, `tensor "\xff": not a name for a tensor; want valid UTF-8`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bytes.Buffer
			err := Write(&b, tc.entries, nil)
			if err == nil || !strings.HasPrefix(err.Error(), "safetensors: "+tc.want) {
				t.Errorf("got  %v\nwant safetensors: %s", err, tc.want)
			}
			if b.Len() > 0 {
				t.Errorf("%d bytes were written before the fault was found", b.Len())
			}
		})
	}
	if err := Write(io.Discard, nil, map[string]string{"k": "\xff"}); err == nil || !strings.Contains(err.Error(), `metadata "k"`) {
		t.Errorf("metadata that is not UTF-8: %v", err)
	}
	if err := Write(io.Discard, nil, map[string]string{"k": strings.Repeat("x", maxHeaderBytes)}); err == nil || !strings.Contains(err.Error(), "readers accept 100000000") {
		t.Errorf("header too long: %v", err)
	}
}

func TestLazy(t *testing.T) {
	lazy := func(data any, err error) []Entry {
		return []Entry{{"w", []int{1}, Lazy{DTypeF32, func() (any, error) { return data, err }}}}
	}
	want := mustWrite(t, []Entry{{"w", []int{1}, []float32{5}}}, nil)
	if got := mustWrite(t, lazy([]float32{5}, nil), nil); !bytes.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	mine := errors.New("out of luck")
	for _, tc := range []struct {
		name    string
		entries []Entry
		want    string
	}{
		{"fails", lazy(nil, mine), `tensor "w": out of luck`},
		{"other length", lazy([]float32{1, 2}, nil), `tensor "w": data has 8 bytes, but F32[1] takes 4`},
		{"other type", lazy([]float64{1}, nil), `tensor "w": data is []float64 of dtype "F64", want F32`},
		{"lazy again", lazy(lazy(nil, nil)[0].Data, nil), `tensor "w": data`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := Write(io.Discard, tc.entries, nil); err == nil || !strings.HasPrefix(err.Error(), "safetensors: "+tc.want) {
				t.Errorf("got  %v\nwant safetensors: %s", err, tc.want)
			}
		})
	}
	if err := Write(io.Discard, lazy(nil, mine), nil); !errors.Is(err, mine) {
		t.Errorf("%v hides its cause", err)
	}
}

// shortWriter takes n bytes, as a full disk does.
type shortWriter struct{ n int }

func (w *shortWriter) Write(p []byte) (int, error) {
	if w.n -= len(p); w.n < 0 {
		return 0, errors.New("no space")
	}
	return len(p), nil
}

func TestWriteReportsEachWriteError(t *testing.T) {
	entries := []Entry{{"a", []int{2}, []float32{1, 2}}, {"b", []int{1}, []uint8{1}}, {"c", []int{1}, Raw{DTypeI8, []byte{1}}}}
	total := len(mustWrite(t, entries, nil))
	for n := range total {
		if err := Write(&shortWriter{n}, entries, nil); err == nil {
			t.Errorf("no error with room for %d of %d bytes", n, total)
		}
	}
}

// Every binary16 widens to its value and comes back.
func TestF16IsExact(t *testing.T) {
	for h := range 1 << 16 {
		f := fromF16(uint16(h))
		exponent, fraction := h>>10&0x1f, h&0x3ff
		want := math.Ldexp(float64(fraction), -24)
		if exponent > 0 {
			want = math.Ldexp(float64(fraction|0x400), exponent-25)
		}
		if exponent == 31 && fraction == 0 {
			want = math.Inf(1)
		}
		back := toF16(f)
		if exponent == 31 && fraction != 0 {
			if f == f || math.Float32bits(f)>>13&0x3ff != uint32(fraction) || back != uint16(h)|0x200 {
				t.Fatalf("NaN %04x reads as %08x and comes back as %04x", h, math.Float32bits(f), back)
			}
			continue
		}
		if math.Abs(float64(f)) != want || math.Signbit(float64(f)) != (h >= 0x8000) {
			t.Fatalf("%04x reads as %v, want %v", h, f, want)
		}
		if back != uint16(h) {
			t.Fatalf("%04x comes back as %04x", h, back)
		}
	}
}

// Between any two neighbours the middle goes to the even one, and the float32 beside it to the nearer.
// Beyond the largest, infinity takes the place the next number would have had.
func TestHalfPrecisionRoundsToNearest(t *testing.T) {
	for _, kind := range []struct {
		name     string
		narrow   func(float32) uint16
		widen    func(uint16) float32
		infinity uint16
		next     float64 // what would follow the largest finite value
	}{
		{"F16", toF16, fromF16, 0x7c00, 65536},
		{"BF16", toBF16, func(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }, 0x7f80, 0x1p128},
	} {
		t.Run(kind.name, func(t *testing.T) {
			for low := range kind.infinity {
				high := float64(kind.widen(low + 1))
				if low+1 == kind.infinity {
					high = kind.next
				}
				middle := float32((float64(kind.widen(low)) + high) / 2)
				for _, tc := range []struct {
					f    float32
					want uint16
				}{
					{middle, low + low&1},
					{math.Nextafter32(middle, 0), low},
					{math.Nextafter32(middle, float32(math.Inf(1))), low + 1},
				} {
					if got, minus := kind.narrow(tc.f), kind.narrow(-tc.f); got != tc.want || minus != tc.want|0x8000 {
						t.Fatalf("±%x becomes %04x and %04x, want %04x", tc.f, got, minus, tc.want)
					}
				}
			}
			if nan := kind.narrow(math.Float32frombits(0x7f800001)); kind.widen(nan) == kind.widen(nan) {
				t.Errorf("NaN with a low payload becomes %04x", nan)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-c."<\\é]{0,6}`), 0, 6, rapid.ID).Draw(rt, "names")
		var entries []Entry
		for _, name := range names {
			shape := rapid.SliceOfN(rapid.IntRange(0, 4), 0, 3).Draw(rt, "shape")
			dtype := dtypes[rapid.IntRange(0, len(dtypes)-1).Draw(rt, "dtype")]
			n := dtype.size
			for _, d := range shape {
				n *= d
			}
			data := rapid.SliceOfN(rapid.Byte(), n, n).Draw(rt, "data")
			entries = append(entries, Entry{name, shape, Raw{dtype.dtype, data}})
		}
		metadata := rapid.MapOf(rapid.StringMatching(`[a-z"]{1,8}`), rapid.String()).Draw(rt, "metadata")
		for key, value := range metadata {
			metadata[key] = strings.ToValidUTF8(value, "?")
		}
		file := mustWrite(t, entries, metadata)
		f := mustOpen(t, file)
		if len(f.Names()) != len(entries) {
			rt.Fatalf("%d tensors of %d came back", len(f.Names()), len(entries))
		}
		for _, e := range entries {
			info, _ := f.Info(e.Name)
			if raw := e.Data.(Raw); info.DType != raw.DType || !slices.Equal(info.Shape, e.Shape) || !bytes.Equal(must[[]byte](t)(f.Bytes(e.Name)), raw.Bytes) {
				rt.Fatalf("tensor %q came back as %+v", e.Name, info)
			}
		}
		for key, value := range metadata {
			if f.Metadata()[key] != value {
				rt.Fatalf("metadata %q came back as %q", key, f.Metadata()[key])
			}
		}
		if !bytes.Equal(rewrite(t, f), file) {
			rt.Fatal("written again the bytes differ")
		}
	})
}
