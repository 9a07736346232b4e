package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testshared"
)

const tiny = `{"model_type": "bert", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
 "intermediate_size": 16, "max_position_embeddings": 12, "vocab_size": 6, "pad_token_id": 1, "layer_norm_eps": 1e-12,
 "problem_type": "single_label_classification", "_name_or_path": "bert-base-cased", "unknown": {"kept": [1.50]}}`

// source makes a tokenizer's directory with a config.
func source(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{"config.json": config, "vocab.txt": "a\nb\nc\nd\ne\nf\n", "tokenizer_config.json": "{}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// generate runs the command and returns where it wrote and what it said.
func generate(t *testing.T, args ...string) (out, said string) {
	t.Helper()
	out = filepath.Join(t.TempDir(), "model")
	var stdout bytes.Buffer
	if err := run(append(args, "--out", out), &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	return out, stdout.String()
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestSameArgumentsSameBytes(t *testing.T) {
	dir := source(t, tiny)
	a, _ := generate(t, "--tokenizer", dir, "--seed", "7", "--labels", "3")
	b, _ := generate(t, "--tokenizer", dir, "--seed", "7", "--labels", "3")
	other, _ := generate(t, "--tokenizer", dir, "--seed", "8", "--labels", "3")
	for _, name := range []string{"config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"} {
		if !bytes.Equal(read(t, a, name), read(t, b, name)) {
			t.Errorf("%s differs between two runs", name)
		}
	}
	if bytes.Equal(read(t, a, "model.safetensors"), read(t, other, "model.safetensors")) {
		t.Error("another seed gives the same weights")
	}
	if !bytes.Equal(read(t, a, "vocab.txt"), read(t, dir, "vocab.txt")) {
		t.Error("vocab.txt was not copied as it is")
	}
}

// A smaller model is the beginning of a larger one: streams are named after tensors.
func TestLayersDoNotShiftWeights(t *testing.T) {
	dir := source(t, tiny)
	one, _ := generate(t, "--tokenizer", dir, "--layers", "1")
	two, _ := generate(t, "--tokenizer", dir)
	small, large := openModel(t, one), openModel(t, two)
	if got, want := len(large.Names())-len(small.Names()), 16; got != want {
		t.Errorf("a layer has %d tensors, want %d", got, want)
	}
	for _, name := range small.Names() {
		a, errA := small.Bytes(name)
		b, errB := large.Bytes(name)
		if errA != nil || errB != nil || !bytes.Equal(a, b) {
			t.Errorf("%s differs: %v, %v", name, errA, errB)
		}
	}
}

func openModel(t *testing.T, dir string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// The names and shapes are those of a checkpoint that Transformers wrote.
func TestTensorsAreThoseOfTransformers(t *testing.T) {
	dir := testshared.Path(t, "reference", "tiny_bert")
	c, err := readConfig(filepath.Join(dir, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.override(0, 0); err != nil {
		t.Fatal(err)
	}
	want := openModel(t, dir)
	shapes := map[string]string{}
	for _, e := range c.tensors(0) {
		shapes[e.Name] = fmt.Sprint(e.Shape)
	}
	for _, name := range want.Names() {
		info, _ := want.Info(name)
		if shapes[name] != fmt.Sprint(info.Shape) {
			t.Errorf("%s is %s, want %v", name, shapes[name], info.Shape)
		}
		delete(shapes, name)
	}
	if len(shapes) > 0 {
		t.Errorf("tensors too many: %v", shapes)
	}
}

// 108,311,810 parameters: formats.md 1.3.
func TestParametersOfBertBase(t *testing.T) {
	c, err := readConfig(testshared.Path(t, "tokenizers", "bert-base-cased", "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, e := range c.tensors(0) {
		n := 1
		for _, d := range e.Shape {
			n *= d
		}
		total += n
	}
	if total != 108_311_810 {
		t.Errorf("%d parameters, want 108311810", total)
	}
}

func TestValuesAsTransformersInitialises(t *testing.T) {
	config := strings.Replace(tiny, `"hidden_size": 8`, `"hidden_size": 64, "initializer_range": 0.05`, 1)
	dir, _ := generate(t, "--tokenizer", source(t, config))
	f := openModel(t, dir)
	for _, name := range f.Names() {
		values, err := f.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(name, "word_embeddings") {
			for _, v := range values[64:128] {
				if v != 0 {
					t.Fatal("the padding token's row is not zero")
				}
			}
			values = append(values[:64:64], values[128:]...)
		}
		mean, deviation := moments(values)
		wantMean, wantDeviation := 0.0, 0.0
		info, _ := f.Info(name)
		switch {
		case len(info.Shape) == 2:
			wantDeviation = 0.05
		case strings.HasSuffix(name, "LayerNorm.weight"):
			wantMean = 1
		}
		// Five standard errors of each.
		n := math.Sqrt(float64(len(values)))
		if math.Abs(mean-wantMean) > 5*wantDeviation/n || math.Abs(deviation-wantDeviation) > 5*wantDeviation/n {
			t.Errorf("%s: mean %g, deviation %g, want %g and %g", name, mean, deviation, wantMean, wantDeviation)
		}
	}
}

func moments(values []float32) (mean, deviation float64) {
	var sum, squares float64
	for _, v := range values {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	n := float64(len(values))
	mean = sum / n
	return mean, math.Sqrt(squares/n - mean*mean)
}

func TestConfigWritten(t *testing.T) {
	out, said := generate(t, "--tokenizer", source(t, tiny), "--layers", "1", "--labels", "1")
	var got map[string]any
	text := read(t, out, "config.json")
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got["num_hidden_layers"] != 1.0 || fmt.Sprint(got["id2label"]) != "map[0:LABEL_0]" || fmt.Sprint(got["label2id"]) != "map[LABEL_0:0]" {
		t.Errorf("layers and labels were not written: %s", text)
	}
	if !bytes.Contains(text, []byte("1e-12")) || !bytes.Contains(text, []byte("1.50")) {
		t.Errorf("a field was not kept as it is: %s", text)
	}
	for _, gone := range []string{"problem_type", "_name_or_path"} {
		if _, ok := got[gone]; ok {
			t.Errorf("%s is still there", gone)
		}
	}
	if info, _ := openModel(t, out).Info("classifier.weight"); fmt.Sprint(info.Shape) != "[1 8]" {
		t.Errorf("classifier is %v", info.Shape)
	}
	if !strings.Contains(said, "25 tensors, ") {
		t.Errorf("said %q", said)
	}
}

func TestRefuses(t *testing.T) {
	good := source(t, tiny)
	bare := t.TempDir()
	if err := os.WriteFile(filepath.Join(bare, "config.json"), []byte(tiny), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no tokenizer", nil, "want --tokenizer DIR and --out DIR"},
		{"argument", []string{"--tokenizer", good, "x"}, "nothing beside flags"},
		{"unknown flag", []string{"--hidden", "3"}, "flag provided but not defined: -hidden"},
		{"no files", []string{"--tokenizer", bare}, "has neither tokenizer.json nor vocab.txt"},
		{"no config", []string{"--tokenizer", t.TempDir()}, "config.json: no such file"},
		{"not JSON", []string{"--tokenizer", source(t, "{")}, "config.json: unexpected end"},
		{"not bert", []string{"--tokenizer", source(t, `{"model_type": "gpt2"}`)}, `model_type is "gpt2", want "bert"`},
		{"vocabulary", []string{"--tokenizer", source(t, `{"model_type": "bert"}`)}, "vocab.txt has 6 lines, but vocab_size is 30522"},
		{"heads", []string{"--tokenizer", source(t, strings.Replace(tiny, `heads": 2`, `heads": 3`, 1))}, "hidden_size 8 does not divide by num_attention_heads 3"},
		{"pad", []string{"--tokenizer", source(t, strings.Replace(tiny, `"pad_token_id": 1`, `"pad_token_id": 6`, 1))}, "pad_token_id 6 is not below vocab_size 6"},
		{"layers", []string{"--tokenizer", good, "--layers", "-1"}, "num_hidden_layers is -1, want 1 or more"},
		{"labels", []string{"--tokenizer", good, "--labels", "-2"}, "the number of labels is -2, want 1 or more"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			err := run(append([]string{"--out", out}, tc.args...), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("something was written")
			}
		})
	}
	out, _ := generate(t, "--tokenizer", good)
	if err := run([]string{"--tokenizer", good, "--out", out}, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), out+": it exists and is not replaced") {
		t.Errorf("existing directory: %v", err)
	}
}
