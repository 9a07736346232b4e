package export

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// testLabels are the classes of the tests' runs: mnli's.
var testLabels = []string{"entailment", "neutral", "contradiction"}

// writeBase makes a model folder of these layers, 16 wide, with weights so large that inputs differ in logits.
// Without pooler it has no head either.
func writeBase(t *testing.T, layers int, pooler bool) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "base")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"model_type": "bert", "vocab_size": 24, "hidden_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2,
		"intermediate_size": 24, "max_position_embeddings": 32, "type_vocab_size": 2, "our_note": "kept",
		"id2label": map[string]string{"0": "entailment", "1": "neutral", "2": "contradiction"},
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "config.json"), string(config))
	put(t, filepath.Join(dir, "tokenizer_config.json"), `{"do_lower_case": true}`)
	put(t, filepath.Join(dir, "vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\np\nq\nr\ns\n")
	c, err := model.ReadConfig(os.DirFS(dir), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	checkpoint := model.New(c, model.SequenceClassification, 1)
	for _, spec := range checkpoint.Specs() {
		tensors.MustMutableFlatData(checkpoint.Tensors[spec.Name], func(flat []float32) {
			for i := range flat {
				if len(spec.Shape) == 2 {
					flat[i] *= 12 // N(0, 0.02²) becomes 0.24: about 1/√16
				}
			}
		})
	}
	if !pooler {
		checkpoint.Architecture = model.Base
	}
	if err := checkpoint.Save(dir, dtypes.Float32); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "config.json"), string(config)) // not that of what was saved
	return dir
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// writeRun makes a finished run of a method, which may name an init behind a blank, on the kernels of a scope, its factors drawn so that ΔK is of K's size:
// harder than a short training, which hardly moves them.
func writeRun(t *testing.T, base, method, scope string) string {
	t.Helper()
	return writeScaled(t, base, method, scope, model.PoolHead, 0.7)
}

// writePooled is writeRun with a head that reads something else.
func writePooled(t *testing.T, base, method, scope string, pooling model.Pooling) string {
	t.Helper()
	return writeScaled(t, base, method, scope, pooling, 0.7)
}

// writeScaled is writePooled with factors of another size.
func writeScaled(t *testing.T, base, method, scope string, pooling model.Pooling, scale float64) string {
	t.Helper()
	files := os.DirFS(base)
	c, err := model.ReadConfig(files, "config.json")
	if err != nil {
		t.Fatal(err)
	}
	c.Pooling = pooling
	settings := lora.Defaults()
	settings.Rank = 2
	method, init, _ := strings.Cut(method, " ")
	if method == "vanilla" && init != lora.InitReference {
		settings.Init, settings.Alpha = cmp.Or(init, lora.InitPEFT), 3
	}
	adapter, err := lora.New(method, settings)
	if err != nil {
		t.Fatal(err)
	}
	kernels, _, _, err := train.SelectKernels(c, lora.Scope{Name: scope})
	if err != nil {
		t.Fatal(err)
	}
	s := &train.Finished{Base: files, Values: map[string]*tensors.Tensor{}}
	s.Adapter = train.AdapterInfo{
		Method: method, Settings: settings, Task: "mnli", Labels: testLabels, ProblemType: model.SingleLabel, HeadTrained: true, Pooling: pooling, MaxLength: 32,
	}
	for _, k := range kernels {
		s.Adapter.Kernels = append(s.Adapter.Kernels, train.AdaptedKernel{Name: k.Name, In: k.In, Out: k.Out})
		factors, err := adapter.Init(lora.Site{Name: k.Name, In: k.In, Out: k.Out})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range factors {
			s.Values[k.Name+"."+f.Name] = draw(k.Name+"."+f.Name, scale/math.Sqrt(float64(min(f.Shape[0], f.Shape[1]))), f.Shape...)
		}
	}
	r, err := model.OpenReader(files, model.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c.SetLabels(testLabels, model.SingleLabel)
	for _, layer := range c.HeadModules() {
		for _, spec := range layer.Specs {
			if slices.Contains(c.PoolerNames(), spec.Name) && r.Has(spec.Name) {
				continue // it stays the base model's
			}
			shape := slices.Clone(spec.Shape)
			if spec.Dense {
				slices.Reverse(shape)
			}
			s.Values[spec.Name] = draw(spec.Name, 0.25, shape...)
		}
	}
	if s.Adapter.BaseFiles, err = r.Files(); err != nil {
		t.Fatal(err)
	}
	s.Run.Config = train.Default()
	s.Run.Model, s.Run.Task, s.Run.Method, s.Run.Scope, s.Run.FreshHead, s.Run.MaxLength = base, "mnli", method, scope, true, 32
	dir := filepath.Join(t.TempDir(), "run")
	if err := s.Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func draw(name string, scale float64, shape ...int) *tensors.Tensor {
	n := 1
	for _, d := range shape {
		n *= d
	}
	values, s := make([]float32, n), rng.New(2, "test run", name)
	for i := range values {
		values[i] = float32(scale * s.Normal())
	}
	return tensors.FromFlatDataAndDimensions(values, shape...)
}

func options(t *testing.T, run string) Options {
	t.Helper()
	return Options{
		Run: run, Out: filepath.Join(t.TempDir(), "out"), Backend: testbackend.All(t)[0], Verify: true,
		Notice: func(format string, args ...any) { t.Logf("note: "+format, args...) },
	}
}

// predicted are the logits of a run for the inputs that exports are verified with.
func predicted(t *testing.T, run string) [][]float32 {
	t.Helper()
	saved, err := train.Open(t.Context(), run, testbackend.All(t)[0], train.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return logitsOf(t, saved)
}

func logitsOf(t *testing.T, p *train.Predictor) [][]float32 {
	t.Helper()
	defer p.Close()
	rows := inputsFor(p.Config())
	logits, err := p.Logits(t.Context(), rows, train.Layout{Batch: len(rows), Padding: data.PadBucket, MaxLength: 32}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return logits
}

// furthest is the largest difference of logits, relative to the largest logit or 1.
func furthest(got, want [][]float32) float64 {
	most, size := 0.0, 1.0
	for i := range want {
		for j := range want[i] {
			most = math.Max(most, math.Abs(float64(got[i][j])-float64(want[i][j])))
			size = math.Max(size, math.Abs(float64(want[i][j])))
		}
	}
	return most / size
}

// nothingAt checks that an export left nothing.
func nothingAt(t *testing.T, out string) {
	t.Helper()
	for _, path := range []string{out, out + ".tmp"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", filepath.Base(path))
		}
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func sameBytes(t *testing.T, a, b string) {
	t.Helper()
	if !bytes.Equal(get(t, a), get(t, b)) {
		t.Errorf("%s and %s differ", a, b)
	}
}
