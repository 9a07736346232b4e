package train

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
)

// familyModels makes a small model of each family that shared/reference/encoders has a tokenizer of.
func familyModels(t *testing.T) map[string]string {
	t.Helper()
	encoders := testshared.Path(t, "reference", "encoders")
	folders, err := os.ReadDir(filepath.Join(encoders, "tokenizers"))
	if err != nil {
		t.Fatal(err)
	}
	models := map[string]string{}
	for _, f := range folders {
		if !f.IsDir() {
			continue
		}
		dir := filepath.Join(t.TempDir(), f.Name())
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(encoders, "tokenizers", f.Name()))); err != nil {
			t.Fatal(err)
		}
		tok, err := data.OpenTokenizer(os.DirFS(dir), dir)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(encoders, f.Name(), "config.json"))
		var fields map[string]any
		if err == nil {
			err = json.Unmarshal(text, &fields)
		}
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(fields, map[string]any{"vocab_size": tok.VocabSize(), "pad_token_id": tok.Special().PAD})
		if text, err = json.Marshal(fields); err == nil {
			err = writeAll(dir, map[string][]byte{"config.json": text})
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := model.ReadConfig(os.DirFS(dir), "config.json")
		if err != nil {
			t.Fatal(err)
		}
		if err := model.New(c, model.Base, 1).Save(dir, dtypes.Float32); err != nil {
			t.Fatal(err)
		}
		models[f.Name()] = dir
	}
	return models
}

// A run of any family begins at a checkpoint without a head, packs its texts, resumes to the same bits, and trains as
// padded rows do.
func TestFamiliesTrain(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() == "xla" && !testshared.Thorough() {
			t.Skip("compiles for long; the graphs are held against goldens in package model")
		}
		for name, dir := range familyModels(t) {
			t.Run(name, func(t *testing.T) {
				c := small()
				c.Model, c.MaxLength, c.Steps, c.Pad, c.LR = dir, 32, 4, string(data.PadPacked), 1e-2
				whole, parts := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "parts")
				trainSmall(t, b, c, whole)
				interruptAt(t, b, c, parts, 2)
				trainSmall(t, b, c, parts, func(o *Options) { o.Resume = true })
				sameAdapter(t, whole, parts)

				c.Dropout = 0
				var packed, padded []float64
				trainSmall(t, b, c, filepath.Join(t.TempDir(), "packed"), losses(&packed))
				c.Pad = string(data.PadBucket)
				trainSmall(t, b, c, filepath.Join(t.TempDir(), "padded"), losses(&padded))
				for i := range packed {
					if d := packed[i] - padded[i]; !(d < 1e-4*packed[0] && -d < 1e-4*packed[0]) {
						t.Errorf("losses %v packed, %v padded", packed, padded)
						break
					}
				}

				p, err := Open(t.Context(), whole, b, OpenOptions{})
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				if _, err := p.Predict(t.Context(), []data.Example{{Text: "A man plays a flute.", Pair: "Someone plays."}}); err != nil {
					t.Error(err)
				}
			})
		}
	})
}
