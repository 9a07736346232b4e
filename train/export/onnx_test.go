package export

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/onnx"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
)

// A run of every family and pooling goes to ONNX: what is read again gives its logits, also for lengths and batches that
// the graph was not traced for.
func TestFamiliesONNX(t *testing.T) {
	table := []string{fmt.Sprintf("%-16s %-6s %-5s %10s %10s", "family", "pools", "", "difference", "of")}
	for name, base := range familyBases(t) {
		for _, pooling := range []model.Pooling{model.PoolHead, "cls", "mean", "max"} {
			for _, precision := range ONNXPrecisions() {
				plain, own := pooling == model.PoolHead && precision == "f32", strings.HasPrefix(name, "deberta-v3") || name == "modernbert"
				if pooling != model.PoolHead && precision != "f32" || !plain && !own && !testshared.Thorough() {
					continue // of the others all that has graphs of its own is tried; all of them where there is time
				}
				t.Run(name+"/"+string(pooling)+"/"+precision, func(t *testing.T) {
					run := writeScaled(t, base, "deep-compressed", "all-dense", pooling, 0.4)
					e := ONNX{Options: options(t, run), Precision: precision}
					report, err := e.Write(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					table = append(table, fmt.Sprintf("%-16s %-6s %-5s %10.2g %10.2g", name, pooling, precision, report.Verified.MaxDifference, report.Verified.MaxLogit))
				})
			}
		}
	}
	t.Log("largest differences of logits:\n" + strings.Join(table, "\n"))
}

// The directory has optimum's layout; the graph has the inputs that the encoder looks at.
func TestONNXLayout(t *testing.T) {
	base := writeBase(t, 1, true)
	e := ONNX{Options: options(t, writeRun(t, base, "deep-narrow", "attention-mlp"))}
	report, err := e.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v := report.Verified; v == nil || v.Examples != 8 || v.MaxLogit == 0 || !slices.Equal(report.Files, []string{"model.onnx"}) {
		t.Errorf("%+v", report)
	}
	want := []string{"README.md", "SHA256SUMS", "config.json", "model.onnx", "tokenizer_config.json", "vocab.txt"}
	if got := files(t, e.Out); !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	sameBytes(t, filepath.Join(e.Out, "vocab.txt"), filepath.Join(base, "vocab.txt"))
	if config := string(get(t, filepath.Join(e.Out, "config.json"))); !strings.Contains(config, `"BertForSequenceClassification"`) || !strings.Contains(config, `"entailment": 0`) {
		t.Errorf("config.json: %s", config)
	}
	if card := string(get(t, filepath.Join(e.Out, "README.md"))); !strings.Contains(card, `InferenceSession("PATH/model.onnx")`) {
		t.Errorf("card: %s", card)
	}
}

// A file of which a weight has changed, or that is cut short, is not the model: nothing is kept.
func TestONNXVerificationFailureLeavesNothing(t *testing.T) {
	run := writeRun(t, writeBase(t, 1, true), "vanilla", "attention-mlp")
	e := ONNX{Options: options(t, run), Precision: "f16"}
	defer func(was precision) { onnxTolerances["f16"] = was }(onnxTolerances["f16"])
	onnxTolerances["f16"] = 1e-7
	_, err := e.Write(t.Context())
	wantError(t, err, "what was written differs from the trained model: logits are up to")
	nothingAt(t, e.Out)

	onnxTolerances["f16"] = 2e-2
	if _, err := e.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	content := get(t, filepath.Join(e.Out, onnxFile))
	if err := os.WriteFile(filepath.Join(e.Out, onnxFile), content[:len(content)-10], 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := onnx.Read(e.Out, onnxFile); err == nil {
		t.Error("a file that was cut short is read")
	}
}

func TestONNXRefusesOtherPrecisions(t *testing.T) {
	_, err := ONNX{Options: Options{Out: filepath.Join(t.TempDir(), "out"), Backend: testbackend.All(t)[0]}, Precision: "q4"}.Write(t.Context())
	wantError(t, err, `export: precision "q4" is unknown; want one of f32, f16, int8`)
}
