package export

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// A PEFT export carries what the head reads, beside our own files and without them, of a model that has no pooler; its
// card says how to compute that in PyTorch.
func TestPEFTCarriesThePooling(t *testing.T) {
	base := writeBase(t, 1, false)
	for pooling, says := range map[model.Pooling]string{
		"cls": "states[:, 0]", "mean": "(states * mask).sum(1) / mask.sum(1)", "max": "states.masked_fill(",
	} {
		run := writePooled(t, base, "deep-narrow", "attention-mlp", pooling)
		e := PEFT{Options: options(t, run)}
		if _, err := e.Write(t.Context()); err != nil {
			t.Fatal(err)
		}
		if card := string(get(t, filepath.Join(e.Out, "README.md"))); !strings.Contains(card, "return base.classifier("+says) || !strings.Contains(card, "| Pooling | "+string(pooling)+" |") {
			t.Errorf("%s: card:\n%s", pooling, card)
		}
		want := predicted(t, run)
		for _, factors := range []bool{true, false} {
			if !factors {
				if err := os.RemoveAll(filepath.Join(e.Out, sidecarDir)); err != nil {
					t.Fatal(err)
				}
			}
			again := filepath.Join(t.TempDir(), "again")
			done, err := Import{In: e.Out, Model: base, Out: again, Task: "mnli", Backend: testbackend.All(t)[0], Verify: true, Notice: e.Notice}.Write(t.Context())
			if err != nil || done.Factors != factors {
				t.Fatalf("%s: factors %v, error %v", pooling, factors, err)
			}
			if d := furthest(predicted(t, again), want); !(d <= 1e-5) {
				t.Errorf("%s, factors %v: logits are %.2g apart", pooling, factors, d)
			}
			c, err := train.ReadRunConfig(again)
			if err != nil || !factors && c.Pooling != string(pooling) {
				t.Errorf("%s: the imported run's pooling is %q (%v)", pooling, c.Pooling, err)
			}
		}
	}
}

// Transformers' class has its own pooling: a checkpoint for it would be another model.
func TestMergedRefusesOtherPoolings(t *testing.T) {
	run := writePooled(t, writeBase(t, 1, true), "vanilla", "only-query-value", "mean")
	e := Merged{Options: options(t, run)}
	_, err := e.Write(t.Context())
	wantError(t, err, "export: the run's head reads the mean of the last states (--pooling mean), and Transformers' BertForSequenceClassification has no such pooling: it would compute something else; --format peft and --format onnx carry it")
	nothingAt(t, e.Out)
}

// A pooler that was trained, though the checkpoint has one, is saved whole and read back.
func TestPEFTCarriesATrainedPooler(t *testing.T) {
	run := writeRun(t, writeBase(t, 1, false), "vanilla", "all-dense")
	whole := writeBase(t, 1, true)
	f, err := train.ReadFinished(t.Context(), run, train.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.Base = os.DirFS(whole)
	if err := f.Rebase(whole); err != nil {
		t.Fatal(err)
	}
	e := PEFT{Options: options(t, run)}
	if _, err := e.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	if config := string(get(t, filepath.Join(e.Out, peftConfigFile))); !strings.Contains(config, `"pooler.dense"`) {
		t.Errorf("adapter_config.json: %s", config)
	}
	if err := os.RemoveAll(filepath.Join(e.Out, sidecarDir)); err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again")
	if _, err := (Import{In: e.Out, Model: whole, Out: again, Task: "mnli", Backend: testbackend.All(t)[0], Verify: true, Notice: e.Notice}).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := furthest(predicted(t, again), predicted(t, run)); !(d <= 1e-5) {
		t.Errorf("logits are %.2g apart", d)
	}
}
