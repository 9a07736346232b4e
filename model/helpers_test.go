package model_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/model"
)

// files are a checkpoint that a test bends before it is written: two layers of BERT, four wide.
type files struct {
	config  map[string]any
	tensors map[string]safetensors.Entry
	index   string            // text of the index, instead of the one that fits shards
	shards  map[string]string // tensor: shard; nil: all in model.safetensors
	more    map[string]string
}

// miniBERT is a whole and sound checkpoint of a classifier of three classes.
func miniBERT() *files {
	return mini(map[string]any{
		"model_type": "bert", "vocab_size": 7, "hidden_size": 4, "num_hidden_layers": 2, "num_attention_heads": 2,
		"intermediate_size": 6, "max_position_embeddings": 5, "type_vocab_size": 2,
		"id2label": map[string]string{"0": "no", "1": "maybe", "2": "yes"},
	})
}

// mini is a whole checkpoint of a config's classifier.
func mini(config map[string]any) *files {
	text, err := json.Marshal(config)
	if err != nil {
		panic(err)
	}
	c, err := readConfig(string(text))
	if err != nil {
		panic(err)
	}
	f := &files{config: config, tensors: map[string]safetensors.Entry{}, more: map[string]string{}}
	f.fill(c.Specs())
	return f
}

// fill draws tensors.
func (f *files) fill(specs []model.Spec) {
	for _, spec := range specs {
		f.put(spec.Name, draw(spec.Name, spec.Shape...), spec.Shape...)
	}
}

func (f *files) put(name string, data any, shape ...int) {
	f.tensors[name] = safetensors.Entry{Name: name, Shape: shape, Data: data}
}

// putAll takes the tensors of a file.
func (f *files) putAll(t testing.TB, path string) {
	t.Helper()
	in := openSafetensors(t, path)
	for _, name := range in.Names() {
		values, err := in.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := in.Info(name)
		f.put(name, values, info.Shape...)
	}
}

// int32s are the whole numbers of a tensor.
func int32s(t testing.TB, f *safetensors.File, name string) []int32 {
	t.Helper()
	wide, err := f.Int64(name)
	if err != nil {
		t.Fatal(err)
	}
	narrow := make([]int32, len(wide))
	for i, v := range wide {
		narrow[i] = int32(v)
	}
	return narrow
}

func (f *files) rename(from, to string) {
	e := f.tensors[from]
	delete(f.tensors, from)
	e.Name = to
	f.tensors[to] = e
}

// bare drops the prefix "bert.", or that of the family, of every name.
func (f *files) bare() {
	for _, name := range slices.Sorted(maps.Keys(f.tensors)) {
		if short, ok := strings.CutPrefix(name, f.config["model_type"].(string)+"."); ok {
			f.rename(name, short)
		}
	}
}

// shard spreads the tensors over two files, every other one in the second.
func (f *files) shard() {
	f.shards = map[string]string{}
	for i, name := range slices.Sorted(maps.Keys(f.tensors)) {
		f.shards[name] = []string{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}[i%2]
	}
}

func draw(name string, shape ...int) []float32 {
	n := 1
	for _, d := range shape {
		n *= d
	}
	s, values := rng.New(3, name), make([]float32, n)
	for i := range values {
		values[i] = float32(s.Normal())
	}
	return values
}

func (f *files) fs(t testing.TB) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	add := func(name string, data []byte) { out[name] = &fstest.MapFile{Data: data} }
	config, err := json.Marshal(f.config)
	if err != nil {
		t.Fatal(err)
	}
	add("config.json", config)
	byFile := map[string][]safetensors.Entry{}
	for _, name := range slices.Sorted(maps.Keys(f.tensors)) {
		file := "model.safetensors"
		if f.shards != nil {
			file = f.shards[name]
		}
		byFile[file] = append(byFile[file], f.tensors[name])
	}
	for file, entries := range byFile {
		add(file, safetensorsBytes(t, entries))
	}
	if f.shards != nil {
		text, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": f.shards})
		if err != nil {
			t.Fatal(err)
		}
		add("model.safetensors.index.json", text)
	}
	if f.index != "" {
		add("model.safetensors.index.json", []byte(f.index))
	}
	for name, text := range f.more {
		add(name, []byte(text))
	}
	return out
}

func safetensorsBytes(t testing.TB, entries []safetensors.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := safetensors.Write(&b, entries, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func load(t testing.TB, f *files, o model.LoadOptions) *model.Checkpoint {
	t.Helper()
	c, err := model.Load(f.fs(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sameTensors compares all tensors of two checkpoints bit for bit.
func sameTensors(t *testing.T, got, want *model.Checkpoint) {
	t.Helper()
	if len(got.Tensors) != len(want.Tensors) {
		t.Errorf("%d tensors, want %d", len(got.Tensors), len(want.Tensors))
	}
	for name, x := range want.Tensors {
		if y, ok := got.Tensors[name]; !ok || !y.Equal(x) {
			t.Errorf("tensor %s differs", name)
		}
	}
}

func flat(t *testing.T, x *tensors.Tensor) []float32 {
	t.Helper()
	values, err := tensors.CopyFlatData[float32](x)
	if err != nil {
		t.Fatal(err)
	}
	return values
}
