package export

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// every is each method on each scope, and each other start of vanilla, as in "vanilla pissa", on one.
func every(t *testing.T, check func(t *testing.T, method, scope string)) {
	scopes := lora.Scopes()
	for _, m := range lora.Methods() {
		for _, scope := range scopes {
			t.Run(m.Name+"/"+scope, func(t *testing.T) { check(t, m.Name, scope) })
		}
	}
	for _, init := range lora.Starts() {
		method := "vanilla " + init
		t.Run(method, func(t *testing.T) { check(t, method, scopes[len(scopes)-1]) })
	}
}

// A merged checkpoint, read as any other, gives the bits of the run's own predictions.
func TestMergedGivesTheRunsLogits(t *testing.T) {
	base := writeBase(t, 1, true)
	every(t, func(t *testing.T, method, scope string) {
		run := writeRun(t, base, method, scope)
		o := options(t, run)
		report, err := Merged{Options: o, DType: dtypes.Float32}.Write(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("merged and unmerged logits differ by at most %.2g of %.2g", report.Verified.MaxDifference, report.Verified.MaxLogit)
		c, err := model.Load(os.DirFS(o.Out), model.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := train.NewPredictor(testbackend.All(t)[0], c)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := logitsOf(t, p), predicted(t, run); !reflect.DeepEqual(got, want) {
			t.Errorf("logits %v, want %v", got, want)
		}
	})
}

func TestMergedCheckpointIsComplete(t *testing.T) {
	base := writeBase(t, 1, false) // as a masked-LM checkpoint: the pooler is new and travels with the adapter
	run := writeRun(t, base, "deep-compressed", "all-dense")
	o := options(t, run)
	report, err := Merged{Options: o, DType: dtypes.Float32}.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if report.Tensors != 16+9 || !slices.Equal(report.Files, []string{"model.safetensors"}) || report.Bytes == 0 {
		t.Errorf("%+v", report)
	}
	var config map[string]any
	if err := json.Unmarshal(get(t, filepath.Join(o.Out, "config.json")), &config); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"architectures": []any{"BertForSequenceClassification"}, "problem_type": "single_label_classification", "num_labels": 3.0,
		"id2label": map[string]any{"0": "entailment", "1": "neutral", "2": "contradiction"},
		"label2id": map[string]any{"entailment": 0.0, "neutral": 1.0, "contradiction": 2.0}, "our_note": "kept", "dtype": "float32",
	} {
		if !reflect.DeepEqual(config[name], want) {
			t.Errorf("config.json: %s is %v, want %v", name, config[name], want)
		}
	}
	for _, name := range []string{"vocab.txt", "tokenizer_config.json"} {
		sameBytes(t, filepath.Join(o.Out, name), filepath.Join(base, name))
	}
	card := string(get(t, filepath.Join(o.Out, "README.md")))
	for _, want := range []string{"library_name: transformers", "| Method | deep-compressed, depth 3 |", "| Rank | 2 |", "| Adapted kernels | 9 |", "classes entailment, neutral, contradiction"} {
		if !strings.Contains(card, want) {
			t.Errorf("no %q in the card:\n%s", want, card)
		}
	}
}

// The names and shapes of BERT-base, written down from formats.md 1.3, of an export with its 12 layers.
func TestNamesOfBERTBase(t *testing.T) {
	const v, h, i, p, types, k = 24, 16, 24, 32, 2, 3
	want := map[string][]int{
		"bert.embeddings.word_embeddings.weight": {v, h}, "bert.embeddings.position_embeddings.weight": {p, h},
		"bert.embeddings.token_type_embeddings.weight": {types, h},
		"bert.embeddings.LayerNorm.weight":             {h}, "bert.embeddings.LayerNorm.bias": {h},
		"bert.pooler.dense.weight": {h, h}, "bert.pooler.dense.bias": {h}, "classifier.weight": {k, h}, "classifier.bias": {k},
	}
	for layer := range 12 {
		for module, shape := range map[string][]int{
			"attention.self.query": {h, h}, "attention.self.key": {h, h}, "attention.self.value": {h, h}, "attention.output.dense": {h, h},
			"intermediate.dense": {i, h}, "output.dense": {h, i}, "attention.output.LayerNorm": {h}, "output.LayerNorm": {h},
		} {
			name := fmt.Sprintf("bert.encoder.layer.%d.%s", layer, module)
			want[name+".weight"], want[name+".bias"] = shape, shape[:1]
		}
	}
	if len(want) != 201 {
		t.Fatalf("%d names", len(want))
	}
	o := options(t, writeRun(t, writeBase(t, 12, true), "vanilla", "only-query-value"))
	o.Verify = false
	if _, err := (Merged{Options: o, DType: dtypes.BFloat16}).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(filepath.Join(o.Out, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string][]int{}
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		if got[name] = info.Shape; info.DType != "BF16" {
			t.Errorf("%s is %s", name, info.DType)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("names and shapes %v\nwant %v", got, want)
	}
	if f.Metadata()["format"] != "pt" {
		t.Errorf("metadata %v", f.Metadata())
	}
}

func TestShardsAndTypes(t *testing.T) {
	run := writeRun(t, writeBase(t, 1, true), "vanilla", "attention-mlp")
	for dtype, name := range map[dtypes.DType]string{dtypes.Float32: "float32", dtypes.Float16: "float16", dtypes.BFloat16: "bfloat16"} {
		t.Run(name, func(t *testing.T) {
			o := options(t, run)
			report, err := Merged{Options: o, DType: dtype, ShardBytes: 4000}.Write(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d shards, logits differ by %.2g of %.2g", len(report.Files), report.Verified.MaxDifference, report.Verified.MaxLogit)
			var index struct {
				Metadata struct {
					TotalSize int `json:"total_size"`
				}
				WeightMap map[string]string `json:"weight_map"`
			}
			if err := json.Unmarshal(get(t, filepath.Join(o.Out, "model.safetensors.index.json")), &index); err != nil {
				t.Fatal(err)
			}
			files := slices.Sorted(maps.Values(index.WeightMap))
			if files = slices.Compact(files); len(files) < 2 || !slices.Equal(files, report.Files) || index.Metadata.TotalSize == 0 {
				t.Errorf("shards %v, of them mapped %v, %d bytes", report.Files, files, index.Metadata.TotalSize)
			}
			var config map[string]any
			if err := json.Unmarshal(get(t, filepath.Join(o.Out, "config.json")), &config); err != nil || config["dtype"] != name {
				t.Errorf("dtype %v, %v", config["dtype"], err)
			}
		})
	}
}

// Nothing is written in the place of something else, nor on a base model that is not the adapter's.
func TestExportRefuses(t *testing.T) {
	base := writeBase(t, 1, true)
	run := writeRun(t, base, "vanilla", "only-query-value")
	write := func(o Options) error {
		_, merged := Merged{Options: o, DType: dtypes.Float32}.Write(t.Context())
		_, peft := PEFT{Options: o}.Write(t.Context())
		if fmt.Sprint(merged) != fmt.Sprint(peft) {
			t.Errorf("merged: %v\npeft: %v", merged, peft)
		}
		return merged
	}
	o := options(t, run)
	if err := os.Mkdir(o.Out, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(o.Out, "mine"), "kept")
	err := write(o)
	wantError(t, err, "output directory is in use: it holds mine; choose another --out")
	if !errors.Is(err, rundir.ErrInUse) || string(get(t, filepath.Join(o.Out, "mine"))) != "kept" {
		t.Error("not kept")
	}
	o.Out = filepath.Join(o.Out, "mine")
	wantError(t, write(o), "a file is in its place")

	put(t, filepath.Join(base, "config.json"), string(get(t, filepath.Join(base, "config.json")))+"\n")
	o = options(t, run)
	err = write(o)
	wantError(t, err, "adapter belongs to another base model: model file config.json has changed")
	if !errors.Is(err, train.ErrOtherBase) {
		t.Error("not ErrOtherBase")
	}
	nothingAt(t, o.Out)
	o.AnyBase = true
	if _, err := (Merged{Options: o, DType: dtypes.Float32}).Write(t.Context()); err != nil {
		t.Error(err)
	}
}

// What is not the model that was trained is not kept.
func TestVerificationFailureLeavesNothing(t *testing.T) {
	run := writeRun(t, writeBase(t, 1, true), "vanilla", "attention-mlp")
	s, err := train.ReadFinished(t.Context(), run, train.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := newReference(t.Context(), s, testbackend.All(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	saved, err := s.Open(testbackend.All(t)[0])
	if err != nil {
		t.Fatal(err)
	}
	r.logits[2][1] += 1e-3
	v, err := r.compare(t.Context(), saved, precisionOf(dtypes.Float32))
	wantError(t, err, "what was written differs from the trained model: logits are up to 0.001 apart")
	if !errors.Is(err, ErrDiffers) || v.MaxDifference < 9e-4 {
		t.Errorf("%+v", v)
	}
	// A tolerance below the rounding of bfloat16 refuses it, as it would any other mistake.
	o := options(t, run)
	e := Merged{Options: o, DType: dtypes.BFloat16}
	defer func(was precision) { tolerances[dtypes.BFloat16] = was }(tolerances[dtypes.BFloat16])
	tolerances[dtypes.BFloat16] = 1e-6
	_, err = e.Write(t.Context())
	wantError(t, err, "differs from the trained model")
	nothingAt(t, o.Out)
}

// Transformers takes case from tokenizer_config.json alone: a cased model that has none gets one.
func TestMergedTokenizerIsReadAlike(t *testing.T) {
	base := writeBase(t, 1, true)
	for _, name := range []string{"vocab.txt", "tokenizer_config.json"} {
		if err := os.Remove(filepath.Join(base, name)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(base, "tokenizer.json"), `{"added_tokens": [], "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": false},
		"pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": {"type": "BertProcessing", "cls": ["[CLS]", 2], "sep": ["[SEP]", 3]},
		"model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
			"vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "a": 5, "A": 6}}}`)
	run := writeRun(t, base, "vanilla", "only-query-value")
	o := options(t, run)
	var said strings.Builder
	o.Notice = func(format string, args ...any) { fmt.Fprintf(&said, format, args...) }
	if _, err := (Merged{Options: o, DType: dtypes.Float32}).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, filepath.Join(o.Out, "tokenizer.json"), filepath.Join(base, "tokenizer.json"))
	config := string(get(t, filepath.Join(o.Out, "tokenizer_config.json")))
	for _, want := range []string{`"do_lower_case": false`, `"strip_accents": null`, `"tokenize_chinese_chars": true`, `"tokenizer_class": "BertTokenizer"`, `"model_max_length": 32`} {
		if !strings.Contains(config, want) {
			t.Errorf("no %s in %s", want, config)
		}
	}
	if !strings.Contains(said.String(), "tokenizer_config.json is written with what Transformers does not take from tokenizer.json") {
		t.Errorf("said %q", said.String())
	}
	if err := sameTokens(os.DirFS(base), fstest.MapFS{"vocab.txt": {Data: get(t, filepath.Join(writeBase(t, 1, true), "vocab.txt"))}, "tokenizer_config.json": {Data: []byte(`{"do_lower_case": true}`)}}); !errors.Is(err, ErrDiffers) {
		t.Errorf("another tokenizer: %v", err)
	}
}

// What sentence-transformers reads of the base lies beside the merged encoder too; what asks for more than one pooling is
// named and left out, since a part of it would make other embeddings.
func TestMergedCarriesTheEmbedding(t *testing.T) {
	base := writeBase(t, 1, true)
	if err := os.MkdirAll(filepath.Join(base, "1_Pooling"), 0o755); err != nil {
		t.Fatal(err)
	}
	const modules = `[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
		{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]`
	put(t, filepath.Join(base, "modules.json"), modules)
	put(t, filepath.Join(base, "1_Pooling/config.json"), `{"word_embedding_dimension": 16, "pooling_mode_mean_tokens": true}`)
	put(t, filepath.Join(base, "sentence_bert_config.json"), `{"max_seq_length": 20}`)
	o := options(t, writeRun(t, base, "vanilla", "attention-mlp"))
	if _, err := (Merged{Options: o}).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"modules.json", "1_Pooling/config.json", "sentence_bert_config.json"} {
		sameBytes(t, filepath.Join(o.Out, name), filepath.Join(base, name))
		if sums := string(get(t, filepath.Join(o.Out, "SHA256SUMS"))); !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("%s has no sum", name)
		}
	}

	put(t, filepath.Join(base, "modules.json"), strings.Replace(modules, "]", `, {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}]`, 1))
	o = options(t, writeRun(t, base, "vanilla", "attention-mlp"))
	var said strings.Builder
	o.Notice = func(format string, args ...any) { fmt.Fprintf(&said, format, args...) }
	if _, err := (Merged{Options: o}).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "Dense") || !strings.Contains(said.String(), "the files of sentence-transformers are not carried along") {
		t.Errorf("said %q", said.String())
	}
	nothingAt(t, filepath.Join(o.Out, "modules.json"))
}
