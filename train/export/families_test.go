package export

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// familyBases are small checkpoints of every family that is read, by their names.
func familyBases(t *testing.T) map[string]string {
	t.Helper()
	configs, err := filepath.Glob(filepath.Join(testshared.Path(t, "reference", "encoders"), "*", "config.json"))
	if err != nil || len(configs) == 0 {
		t.Fatalf("no families (%v)", err)
	}
	bases := map[string]string{}
	for _, c := range configs {
		dir := filepath.Dir(c)
		if _, err := model.ReadConfig(os.DirFS(dir), "config.json"); err != nil {
			t.Logf("%s: %v", filepath.Base(dir), err)
			continue
		}
		bases[filepath.Base(dir)] = dir
	}
	return bases
}

// What PEFT wrote for a family gives PEFT's logits, the head that travels with it included.
func TestFamiliesPEFTAdapters(t *testing.T) {
	for name, base := range familyBases(t) {
		t.Run(name, func(t *testing.T) {
			golden, err := safetensors.Open(base + ".safetensors")
			if err != nil {
				t.Fatal(err)
			}
			defer golden.Close()
			i := importing(t, base+"-lora", base)
			if _, err := i.Write(t.Context()); err != nil {
				t.Fatal(err)
			}
			run, err := train.Open(t.Context(), i.Out, testbackend.All(t)[0], train.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer run.Close()
			rows := goldenRows(t, golden)
			for _, padding := range []data.Padding{data.PadFixed, data.PadPacked} {
				got, err := run.Logits(t.Context(), rows, train.Layout{Batch: len(rows), Padding: padding, MaxLength: 14}, nil)
				if err != nil {
					t.Fatal(err)
				}
				off := furthest(got, goldenLogits(t, golden, "logits_adapter"))
				t.Logf("%s: logits differ from PEFT's by %.2g, by %.2g from those without an adapter", padding, off, furthest(got, goldenLogits(t, golden, "logits")))
				if !(off <= 1e-5) {
					t.Errorf("%s: logits differ by %.2g", padding, off)
				}
			}
		})
	}
}

// A run of any family goes to Transformers' files and to PEFT's, and comes back as it was.
func TestFamiliesRoundTrip(t *testing.T) {
	table := []string{fmt.Sprintf("%-16s %-16s %-16s %8s %8s %8s", "family", "method", "scope", "kernels", "merged", "PEFT")}
	for name, base := range familyBases(t) {
		for _, method := range []string{"vanilla", "deep-narrow", "deep-compressed"} {
			for _, scope := range lora.Scopes() {
				t.Run(name+"/"+method+"/"+scope, func(t *testing.T) {
					run := writeScaled(t, base, method, scope, model.PoolHead, 0.4) // their kernels are large already
					want := predicted(t, run)

					merged := Merged{Options: options(t, run)}
					report, err := merged.Write(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					c, err := model.Load(os.DirFS(merged.Out), model.LoadOptions{})
					if err != nil {
						t.Fatal(err)
					}
					p, err := train.NewPredictor(testbackend.All(t)[0], c)
					if err != nil {
						t.Fatal(err)
					}
					fromMerged := furthest(logitsOf(t, p), want)

					dir, _ := exported(t, run)
					if err := os.RemoveAll(filepath.Join(dir, sidecarDir)); err != nil {
						t.Fatal(err)
					}
					i := importing(t, dir, base)
					if _, err := i.Write(t.Context()); err != nil {
						t.Fatal(err)
					}
					fromPEFT := furthest(predicted(t, i.Out), want)
					if !(fromMerged <= 2e-5 && fromPEFT <= 2e-5) {
						t.Errorf("merged %.2g, PEFT %.2g apart", fromMerged, fromPEFT)
					}
					table = append(table, fmt.Sprintf("%-16s %-16s %-16s %8d %8.1e %8.1e", name, method, scope, report.Kernels, fromMerged, fromPEFT))
				})
			}
		}
	}
	t.Log("largest differences of logits:\n" + strings.Join(table, "\n"))
}
