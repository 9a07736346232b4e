package train

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/builtin"
	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// scratch holds what tests share; TestMain removes it.
var scratch = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "deeplora-test-*")
	if err != nil {
		panic(err)
	}
	return dir
})

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(scratch())
	os.Exit(code)
}

// smallData is a folder with the first rows of the embedded data, so that evaluations are short.
var smallData = sync.OnceValue(func() string {
	dir := filepath.Join(scratch(), "data")
	task, _ := data.LookupTask("stsb")
	for split, rows := range map[string]int{data.Train: 60, data.Validation: 40} {
		s, err := data.LoadFS(builtin.Data(), task, split)
		if err != nil {
			panic(err)
		}
		var text strings.Builder
		for _, e := range s.Examples[:rows] {
			line, err := json.Marshal(map[string]any{"sentence1": e.Text, "sentence2": e.Pair, "label": e.Label})
			if err != nil {
				panic(err)
			}
			text.Write(append(line, '\n'))
		}
		if err := writeAll(dir, map[string][]byte{split + ".jsonl": []byte(text.String())}); err != nil {
			panic(err)
		}
	}
	return dir
})

// smallModel is a folder with an encoder of one layer, 32 wide, over the embedded vocabulary. Engines compile a
// graph for seconds, and for as long as it has layers.
var smallModel = sync.OnceValue(func() string {
	dir := filepath.Join(scratch(), "model")
	if err := writeModel(dir, nil); err != nil {
		panic(err)
	}
	return dir
})

// writeModel makes a checkpoint, without a classifier, whose config.json has these fields changed.
func writeModel(dir string, change map[string]any) error {
	fields := map[string]any{
		"model_type": "bert", "vocab_size": 8000, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
		"intermediate_size": 64, "max_position_embeddings": 48, "type_vocab_size": 2,
	}
	maps.Copy(fields, change)
	config, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	files := map[string][]byte{"config.json": config}
	for _, name := range []string{"vocab.txt", "tokenizer_config.json"} {
		if files[name], err = fs.ReadFile(builtin.Model(), name); err != nil {
			return err
		}
	}
	if err := writeAll(dir, files); err != nil {
		return err
	}
	c, err := model.ReadConfig(os.DirFS(dir), "config.json")
	if err != nil {
		return err
	}
	var entries []safetensors.Entry
	for _, spec := range c.Specs() {
		if strings.HasPrefix(spec.Name, "classifier.") {
			continue
		}
		entries = append(entries, safetensors.Entry{Name: spec.Name, Shape: spec.Shape, Data: drawTensor(spec)})
	}
	f, err := os.Create(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		return err
	}
	defer f.Close()
	return safetensors.Write(f, entries, map[string]string{"format": "pt"})
}

// drawTensor draws weights so large that sentences differ: norms of 1, biases of 0, the others N(0, 1/width).
func drawTensor(spec model.Spec) []float32 {
	n := 1
	for _, d := range spec.Shape {
		n *= d
	}
	values, s := make([]float32, n), rng.New(1, "test model", spec.Name)
	for i := range values {
		switch {
		case strings.HasSuffix(spec.Name, "LayerNorm.weight"):
			values[i] = 1
		case len(spec.Shape) == 2:
			values[i] = float32(s.Normal() / math.Sqrt(float64(spec.Shape[1])))
		}
	}
	return values
}

func writeAll(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("test file: %w", err)
		}
	}
	return nil
}

// small is a run of a second: one padded length, so one graph to train and one to evaluate.
func small() Config {
	c := Default()
	c.Model, c.Data = smallModel(), smallData()
	c.Rank, c.Shots, c.Batch, c.MaxLength, c.Steps, c.Warmup = 4, 20, 8, 16, 6, 2
	c.Pad = string(data.PadFixed)
	return c
}

func trainSmall(t *testing.T, b compute.Backend, c Config, out string, more ...func(*Options)) *Result {
	t.Helper()
	o := Options{Backend: b, Out: out, Sources: embedded(), Provenance: Provenance{Backend: b.Name(), Threads: 1}}
	for _, f := range more {
		f(&o)
	}
	r, err := Train(t.Context(), c, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// losses collects the loss of every step.
func losses(list *[]float64) func(*Options) {
	return func(o *Options) {
		o.OnEvent = func(e loop.Event) {
			if s, ok := e.(loop.Step); ok {
				*list = append(*list, s.Loss)
			}
		}
	}
}

// created is a run of which everything is ready for the first step.
func created(t *testing.T, b compute.Backend, c Config) *run {
	t.Helper()
	r := newRun(c, Options{Backend: b, Sources: embedded(), Out: filepath.Join(t.TempDir(), "run")})
	t.Cleanup(r.close)
	if err := r.create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

// embedded are the sources of the command line.
func embedded() Sources {
	return Sources{Models: map[string]fs.FS{BuiltinModel: builtin.Model()}, Data: builtin.Data()}
}

// general gives every parameter random values of order 1, scaled so that a product of factors stays so: starts are too
// special (zeros, multiples of the identity) to see faults at.
func general(t *testing.T, params []loop.Param, dtype dtypes.DType) (values []loop.NamedTensor) {
	t.Helper()
	for _, p := range params {
		flat := make([]float64, shapes.Make(dtype, p.Shape...).Size())
		for i, r := 0, rng.New(7, p.Name); i < len(flat); i++ {
			flat[i] = r.Normal() / math.Sqrt(float64(slices.Min(p.Shape)))
		}
		values = append(values, loop.NamedTensor{Name: p.Name, Value: inDType(flat, dtype, p.Shape...)})
	}
	return values
}

func inDType(flat []float64, dtype dtypes.DType, dims ...int) *tensors.Tensor {
	if dtype == dtypes.Float64 {
		return tensors.FromFlatDataAndDimensions(flat, dims...)
	}
	narrow := make([]float32, len(flat))
	for i, v := range flat {
		narrow[i] = float32(v)
	}
	return tensors.FromFlatDataAndDimensions(narrow, dims...)
}

// one is the first device of an engine.
func one(t *testing.T, b compute.Backend) *devices.Set {
	t.Helper()
	s, err := devices.New(b, 1)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// gradientsOf are the loss of one batch and its gradients by every parameter, of the objective's graph.
func gradientsOf(t *testing.T, b compute.Backend, o loop.Objective, values []loop.NamedTensor, batch data.Batch, total float64) (loss float64, gradients [][]float64) {
	t.Helper()
	dtype := values[0].Value.DType()
	all := append(slices.Clone(o.Frozen), values...)
	exec := MustNewExec(b, func(in []*Node) []*Node {
		weights, in := byName(all, in)
		args, in := graphx.Split(in, len(in)-2)
		loss := o.Loss(weights, args, in[0], in[1])
		var moving []*Node
		for _, p := range o.Params {
			moving = append(moving, weights(p.Name))
		}
		return append([]*Node{loss}, Gradient(loss, moving...)...)
	})
	defer exec.Finalize()
	args := append(graphx.Must(argsOn(one(t, b), 0, all)), graphx.Donated(b, 0, batch.Args(dtype))...)
	out, err := exec.Call(append(args, []uint32{1, 2}, graphx.Scalar(total, dtype))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range out[1:] {
		gradients = append(gradients, float64s(t, g))
	}
	return float64s(t, out[0])[0], gradients
}

// float64s copies a tensor of either precision.
func float64s(t *testing.T, x *tensors.Tensor) []float64 {
	t.Helper()
	if x.DType() == dtypes.Float64 {
		return tensors.MustCopyFlatData[float64](x)
	}
	var wide []float64
	for _, v := range tensors.MustCopyFlatData[float32](x) {
		wide = append(wide, float64(v))
	}
	return wide
}

// adapterNames are the registered methods; deep-compressed, which does most, is the last.
func adapterNames() (names []string) {
	for _, m := range lora.Methods() {
		if m.Name != "deep-compressed" {
			names = append(names, m.Name)
		}
	}
	return append(names, "deep-compressed")
}

// full reports whether every variant of a test is tried: engines compile for most of the time that the tests of this
// package take, and get one of each kind unless thorough tests are asked for.
func full() bool { return testshared.Thorough() }

// some are the variants that are tried: all, or the last.
func some[T any](variants ...T) []T {
	if full() {
		return variants
	}
	return variants[len(variants)-1:]
}

// validated evaluates an opened run on the validation examples of its data, and closes it.
func validated(t *testing.T, p *Predictor) *Evaluation {
	t.Helper()
	defer p.Close()
	split, err := embedded().Split(t.Context(), p.Run.Data, p.Task, data.Validation)
	if err != nil {
		t.Fatal(err)
	}
	e, err := p.Evaluate(t.Context(), split, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// poison makes a parameter NaN.
func poison(p loop.NamedTensor) {
	tensors.MustMutableFlatData(p.Value, func(flat []float32) {
		for i := range flat {
			flat[i] = float32(math.NaN())
		}
	})
}

// What differs between runs in messages: sums and sizes.
var (
	digests = regexp.MustCompile(`\b[0-9a-f]{64,65}\b`)
	counts  = regexp.MustCompile(`\b(file is|header says|saved at) \d+`)
)

var rowNumber = regexp.MustCompile(`\brow \d+`)

// rewriteModel changes the tensors of a checkpoint.
func rewriteModel(t *testing.T, dir string, change func(entries map[string]safetensors.Entry)) {
	t.Helper()
	path := filepath.Join(dir, "model.safetensors")
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]safetensors.Entry{}
	for _, name := range f.Names() {
		values, err := f.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := f.Info(name)
		byName[name] = safetensors.Entry{Name: name, Shape: info.Shape, Data: values}
	}
	f.Close()
	change(byName)
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := safetensors.Write(out, slices.Collect(maps.Values(byName)), map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
}

func dropTensors(t *testing.T, dir string, names ...string) {
	t.Helper()
	rewriteModel(t, dir, func(entries map[string]safetensors.Entry) {
		for _, name := range names {
			delete(entries, name)
		}
	})
}

// addHead gives the small model a head of that many outputs.
func addHead(t *testing.T, dir string, outputs int) {
	t.Helper()
	rewriteModel(t, dir, func(entries map[string]safetensors.Entry) {
		weight := model.Spec{Name: "classifier.weight", Shape: []int{outputs, 32}}
		entries[weight.Name] = safetensors.Entry{Name: weight.Name, Shape: weight.Shape, Data: drawTensor(weight)}
		entries["classifier.bias"] = safetensors.Entry{Name: "classifier.bias", Shape: []int{outputs}, Data: make([]float32, outputs)}
	})
}
