package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
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

// The 201 names and shapes of an export of BERT-base, and 108,311,810 parameters: formats.md 1.3.
func TestTensorsOfBertBase(t *testing.T) {
	c, err := options{config: testshared.Path(t, "tokenizers", "bert-base-cased", "config.json")}.read()
	if err != nil {
		t.Fatal(err)
	}
	shapes, total := map[string]string{}, 0
	for _, s := range c.Specs() {
		shapes[s.Name] = fmt.Sprint(s.Shape)
		n := 1
		for _, d := range s.Shape {
			n *= d
		}
		total += n
	}
	if len(shapes) != 201 || total != 108_311_810 {
		t.Errorf("%d tensors of %d parameters, want 201 of 108311810", len(shapes), total)
	}
	for name, want := range map[string]string{
		"bert.embeddings.word_embeddings.weight":                 "[28996 768]",
		"bert.encoder.layer.11.intermediate.dense.weight":        "[3072 768]",
		"bert.encoder.layer.11.output.dense.weight":              "[768 3072]",
		"bert.encoder.layer.0.attention.self.query.bias":         "[768]",
		"bert.encoder.layer.0.attention.output.LayerNorm.weight": "[768]",
		"bert.pooler.dense.weight":                               "[768 768]",
		"classifier.weight":                                      "[2 768]",
	} {
		if shapes[name] != want {
			t.Errorf("%s is %q, want %s", name, shapes[name], want)
		}
	}
}

// The names and shapes are those of a checkpoint that Transformers wrote.
func TestTensorsAreThoseOfTransformers(t *testing.T) {
	dir := testshared.Path(t, "reference", "tiny_bert")
	words := source(t, tiny)
	if err := os.WriteFile(filepath.Join(words, "vocab.txt"), bytes.Repeat([]byte("word\n"), 64), 0o644); err != nil {
		t.Fatal(err)
	}
	out, _ := generate(t, "--tokenizer", words, "--config", filepath.Join(dir, "config.json"))
	got, want := openModel(t, out), openModel(t, dir)
	if len(got.Names()) != len(want.Names()) {
		t.Errorf("%d tensors, want %d", len(got.Names()), len(want.Names()))
	}
	for _, name := range want.Names() {
		a, _ := got.Info(name)
		b, _ := want.Info(name)
		if fmt.Sprint(a.Shape) != fmt.Sprint(b.Shape) {
			t.Errorf("%s is %v, want %v", name, a.Shape, b.Shape)
		}
	}
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
		{"not JSON", []string{"--tokenizer", source(t, "{")}, "config.json: byte 1: unexpected end"},
		{"not bert", []string{"--tokenizer", source(t, `{"model_type": "gpt2"}`)}, `model_type is "gpt2", which is not supported; want one of bert`},
		{"vocabulary", []string{"--tokenizer", source(t, `{"model_type": "bert"}`)}, "vocab.txt has 6 lines, but vocab_size is 30522"},
		{"heads", []string{"--tokenizer", source(t, strings.Replace(tiny, `heads": 2`, `heads": 3`, 1))}, "hidden_size 8 does not divide by num_attention_heads 3"},
		{"pad", []string{"--tokenizer", source(t, strings.Replace(tiny, `"pad_token_id": 1`, `"pad_token_id": 6`, 1))}, "pad_token_id 6 is outside the vocabulary of 6"},
		{"layers", []string{"--tokenizer", good, "--layers", "-1"}, "--layers -1 --labels 0: want 1 or more"},
		{"labels", []string{"--tokenizer", good, "--labels", "-2"}, "--layers 0 --labels -2: want 1 or more"},
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
