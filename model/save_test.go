package model_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/model"
)

// saved writes a checkpoint into a new folder.
func saved(t *testing.T, c *model.Checkpoint, dtype dtypes.DType) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := c.Save(dir, dtype); err != nil {
		t.Fatal(err)
	}
	return dir
}

func loadDir(t *testing.T, dir string, o model.LoadOptions) *model.Checkpoint {
	t.Helper()
	c, err := model.Load(os.DirFS(dir), o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func bytesOf(t *testing.T, dir, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// maskedLM is the golden masked-language model, with a pooler drawn.
func maskedLM(t *testing.T) *model.Checkpoint {
	return load(t, maskedFiles(t), model.LoadOptions{Architecture: model.MaskedLM, DrawHead: true})
}

// A saved model holds the tensors of its architecture under Transformers' names, as [out, in], and comes back whole.
func TestSaveAndLoad(t *testing.T) {
	for _, tc := range []struct {
		name string
		c    *model.Checkpoint
		as   model.Architecture
	}{
		{"masked LM", maskedLM(t), model.MaskedLM},
		{"encoder", load(t, maskedFiles(t), model.LoadOptions{Architecture: model.Base}), model.Base},
		{"classifier", load(t, miniBERT(), model.LoadOptions{}), model.SequenceClassification},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := saved(t, tc.c, dtypes.Float32)
			f := openSafetensors(t, filepath.Join(dir, "model.safetensors"))
			if len(f.Names()) != len(tc.c.Specs()) || f.Metadata()["format"] != "pt" {
				t.Errorf("%d tensors, metadata %v", len(f.Names()), f.Metadata())
			}
			for _, spec := range tc.c.Specs() {
				if info, ok := f.Info(spec.Name); !ok || info.DType != safetensors.DTypeF32 || !slices.Equal(info.Shape, spec.Shape) {
					t.Errorf("%s is %v %v, want F32 %v", spec.Name, info.DType, info.Shape, spec.Shape)
				}
			}
			again := loadDir(t, dir, model.LoadOptions{Architecture: tc.as})
			sameTensors(t, again, tc.c)
			if len(again.Ignored) > 0 {
				t.Errorf("ignored: %v", again.Ignored)
			}
			if !slices.Equal(again.Config.Labels(), tc.c.Config.Labels()) {
				t.Errorf("labels %v, want %v", again.Config.Labels(), tc.c.Config.Labels())
			}
			twice := saved(t, again, dtypes.Float32)
			for _, name := range []string{"config.json", "model.safetensors"} {
				if !bytes.Equal(bytesOf(t, dir, name), bytesOf(t, twice, name)) {
					t.Errorf("%s differs when saved again", name)
				}
			}
		})
	}
}

// Tensors of the file are those that Transformers wrote, value for value: kernels lie there as they came.
func TestSaveKeepsTransformersLayout(t *testing.T) {
	golden := openSafetensors(t, filepath.Join(maskedLMGolden, "model.safetensors"))
	ours := openSafetensors(t, filepath.Join(saved(t, maskedLM(t), dtypes.Float32), "model.safetensors"))
	for _, name := range golden.Names() {
		want, err := golden.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ours.Float32(name)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is not as Transformers saved it (%v)", name, err)
		}
	}
	if n := len(ours.Names()); n != len(golden.Names())+2 {
		t.Errorf("%d tensors, want those %d and the pooler's", n, len(golden.Names()))
	}
}

func TestSaveInHalfPrecision(t *testing.T) {
	c := maskedLM(t)
	dir := saved(t, c, dtypes.Float16)
	f := openSafetensors(t, filepath.Join(dir, "model.safetensors"))
	for _, spec := range c.Specs() {
		if info, _ := f.Info(spec.Name); info.DType != safetensors.DTypeF16 {
			t.Errorf("%s is %s", spec.Name, info.DType)
		}
	}
	half := loadDir(t, dir, model.LoadOptions{Architecture: model.MaskedLM})
	for _, spec := range c.Specs() {
		got, want := flat(t, half.Tensors[spec.Name]), flat(t, c.Tensors[spec.Name])
		for i := range want {
			if off := math.Abs(float64(got[i] - want[i])); off > math.Abs(float64(want[i]))/2048+1e-7 {
				t.Fatalf("%s: %g became %g", spec.Name, want[i], got[i])
			}
		}
	}
	if twice := saved(t, half, dtypes.Float16); !bytes.Equal(bytesOf(t, twice, "model.safetensors"), bytesOf(t, dir, "model.safetensors")) {
		t.Error("half precision saved again has other bytes")
	}
}

// config.json says what the weights are, and keeps what it is not ours to know.
func TestSaveConfig(t *testing.T) {
	f := maskedFiles(t)
	f.config["use_cache"], f.config["our_note"], f.config["architectures"] = true, map[string]any{"made": "by hand"}, []string{"BertModel"}
	f.config["torch_dtype"], f.config["hidden_dropout_prob"] = "float32", 0
	c := load(t, f, model.LoadOptions{Architecture: model.MaskedLM, DrawHead: true})
	c.Config.SetDropout(0.25)
	dir := saved(t, c, dtypes.Float16)
	var fields map[string]any
	if err := json.Unmarshal(bytesOf(t, dir, "config.json"), &fields); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"architectures": []any{"BertForMaskedLM"}, "dtype": "float16", "model_type": "bert", "use_cache": true,
		"our_note": map[string]any{"made": "by hand"}, "hidden_dropout_prob": 0.25, "vocab_size": 40.0, "hidden_act": "gelu",
		"pad_token_id": 0.0, "layer_norm_eps": 1e-12,
	} {
		if !reflect.DeepEqual(fields[name], want) {
			t.Errorf("%s is %v, want %v", name, fields[name], want)
		}
	}
	for _, name := range []string{"id2label", "problem_type", "num_labels", "torch_dtype"} {
		if v, ok := fields[name]; ok {
			t.Errorf("%s is %v, want nothing", name, v)
		}
	}
	known := loadDir(t, dir, model.LoadOptions{Architecture: model.MaskedLM}).Config
	known.Raw, c.Config.Raw = nil, nil
	if !reflect.DeepEqual(known, c.Config) {
		t.Errorf("read again it is %+v, want %+v", known, c.Config)
	}
}

func TestSaveRefuses(t *testing.T) {
	c := maskedLM(t)
	const bias = "cls.predictions.bias"
	with := func(v float32) *model.Checkpoint {
		c := maskedLM(t)
		tensors.MustMutableFlatData(c.Tensors[bias], func(flat []float32) { flat[3] = v })
		return c
	}
	whole := t.TempDir()
	for _, tc := range []struct {
		name  string
		c     *model.Checkpoint
		dir   string
		dtype dtypes.DType
		want  string
	}{
		{"another dtype", c, whole, dtypes.Float64, "save model as Float64; want Float16 or Float32"},
		{"no folder", c, filepath.Join(whole, "absent"), dtypes.Float32, "save model: "},
		{"beyond half precision", with(-65520), whole, dtypes.Float16, "save cls.predictions.bias: -65520 is beyond float16; save as float32"},
		{"beyond bfloat16", with(-0x1.ffp127), whole, dtypes.BFloat16, "save cls.predictions.bias: -3.3961775e+38 is beyond bfloat16; save as float32"},
		{"infinite", with(float32(math.Inf(1))), whole, dtypes.Float32, "save cls.predictions.bias: +Inf is no finite number; has the training diverged?"},
		{"NaN", with(float32(math.NaN())), whole, dtypes.Float16, "save cls.predictions.bias: NaN is no finite number; has the training diverged?"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := tc.c.Save(tc.dir, tc.dtype); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	if entries, err := os.ReadDir(whole); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

// Transformers opens what Save wrote, and computes what we do. DEEPLORA_PEER_PYTHON names a Python that has it.
func TestSavedModelOpensInTransformers(t *testing.T) {
	python := os.Getenv("DEEPLORA_PEER_PYTHON")
	if python == "" {
		t.Skip("DEEPLORA_PEER_PYTHON is not set: name a Python with torch and transformers")
	}
	batch, _ := goldenBatch(t)
	f := maskedFiles(t)
	f.config["torch_dtype"] = "float32" // as older files say it: not to win over dtype
	for _, dtype := range []dtypes.DType{dtypes.Float32, dtypes.Float16} {
		dir := saved(t, load(t, f, model.LoadOptions{Architecture: model.MaskedLM, DrawHead: true}), dtype)
		c := loadDir(t, dir, model.LoadOptions{Architecture: model.MaskedLM})
		out := evaluate(t, testbackend.All(t)[0], c, batch, tokenLogits)
		entries := []safetensors.Entry{{Name: "logits", Shape: []int{3, 12, 40}, Data: narrow(out[0])}, {Name: "hidden", Shape: []int{3, 12, 16}, Data: narrow(out[1])}}
		for i, name := range []string{"input_ids", "token_type_ids", "attention_mask"} {
			entries = append(entries, safetensors.Entry{Name: name, Shape: []int{3, 12}, Data: tensors.MustCopyFlatData[int32](batch[i])})
		}
		if err := os.WriteFile(filepath.Join(dir, "batch.safetensors"), safetensorsBytes(t, entries), 0o644); err != nil {
			t.Fatal(err)
		}
		text, err := exec.CommandContext(t.Context(), python, "../scripts/goldens/maskedlm.py", "check", dir).CombinedOutput()
		t.Logf("%s:\n%s", dtype, text)
		if err != nil {
			t.Errorf("%s: %v", dtype, err)
		}
	}
}

func narrow(wide []float64) []float32 {
	values := make([]float32, len(wide))
	for i, v := range wide {
		values[i] = float32(v)
	}
	return values
}
