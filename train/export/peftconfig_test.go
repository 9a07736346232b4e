package export

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/safetensors"
)

// rewriteTensors changes the tensors of an adapter.
func rewriteTensors(t *testing.T, dir string, change func(entries map[string]safetensors.Entry)) {
	t.Helper()
	path := filepath.Join(dir, peftTensors)
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]safetensors.Entry{}
	for _, name := range f.Names() {
		values, err := f.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := f.Info(name)
		entries[name] = safetensors.Entry{Name: name, Shape: info.Shape, Data: values}
	}
	f.Close()
	change(entries)
	var b bytes.Buffer
	if err := safetensors.Write(&b, slices.Collect(maps.Values(entries)), nil); err != nil {
		t.Fatal(err)
	}
	put(t, path, b.String())
}

// rename gives a tensor another name.
func rename(entries map[string]safetensors.Entry, from, to string) {
	e := entries[from]
	e.Name = to
	delete(entries, from)
	entries[to] = e
}

const (
	queryA = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_A.weight"
	queryB = "base_model.model.bert.encoder.layer.0.attention.self.query.lora_B.weight"
	bias   = "base_model.model.classifier.bias"
)

// What a user sees of each adapter that PEFT would take in silence, or that this program does not do.
func TestImportErrors(t *testing.T) {
	base := writeBase(t, 1, true)
	good, _ := exported(t, writeRun(t, base, "vanilla", "only-query-value"))
	edit := func(from, to string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, peftConfigFile)
			text := string(get(t, path))
			if !strings.Contains(text, from) {
				t.Fatalf("no %s in %s", from, text)
			}
			put(t, path, strings.Replace(text, from, to, 1))
		}
	}
	change := func(f func(entries map[string]safetensors.Entry)) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) { rewriteTensors(t, dir, f) }
	}
	for _, tc := range []struct {
		name string
		bend func(t *testing.T, dir string)
		want string // "": it is taken
	}{
		{"as it is", func(*testing.T, string) {}, ""},
		{"DoRA", edit(`"use_dora": false`, `"use_dora": true`), "adapter_config.json: use_dora: true is not supported"},
		{"biases", edit(`"bias": "none"`, `"bias": "lora_only"`), `adapter_config.json: bias: "lora_only" is not supported; only "none" is`},
		{"another method", edit(`"LORA"`, `"IA3"`), `peft_type: "IA3" is not supported; only "LORA" is`},
		{"another task type", edit(`"SEQ_CLS"`, `"TOKEN_CLS"`), `task_type: "TOKEN_CLS" is not supported; only "SEQ_CLS" is`},
		{"no task type", edit(`"SEQ_CLS"`, `null`), ""},
		{"some layers", edit(`"layers_to_transform": null`, `"layers_to_transform": [0]`), "layers_to_transform: [0] is not supported"},
		{"excluded modules", edit(`"revision": null`, `"revision": null, "exclude_modules": ["key"]`), `exclude_modules: ["key"] is not supported`},
		{"an option of tomorrow", edit(`"revision": null`, `"revision": null, "use_tomorrow": {"a": 1}`), `use_tomorrow: {"a":1} is not supported`},
		{"an option of tomorrow that is off", edit(`"revision": null`, `"revision": null, "use_tomorrow": false`), ""},
		{"two faults", edit(`"use_dora": false`, `"use_dora": true, "lora_bias": true`), "use_dora: true is not supported\nlora_bias: true is not supported"},
		{"no rank", edit(`"r": 2`, `"r": 0`), "r: 0 is no rank; want a whole number from 1"},
		{"half a rank", edit(`"r": 2`, `"r": 2.5`), "r: 2.5 is no rank"},
		{"another rank", edit(`"r": 2`, `"r": 3`), `lora_A.weight" is [2 16], want [3 16]`},
		{"alpha of text", edit(`"lora_alpha": 2`, `"lora_alpha": "2"`), `lora_alpha: "2" is not a number`},
		{"a fraction for alpha", edit(`"lora_alpha": 2`, `"lora_alpha": 2.5`), ""},
		{"a field twice", edit(`"r": 2`, `"r": 2, "r": 2`), "field \"r\" is given twice"},
		{"no JSON", edit(`"r": 2`, `"r" 2`), `adapter_config.json: field "r": line 16: expected colon after object key`},
		{"text behind", func(t *testing.T, dir string) {
			path := filepath.Join(dir, peftConfigFile)
			put(t, path, string(get(t, path))+"x")
		}, "text after the JSON object"},
		{"no target", edit(`"bert.encoder.layer.0.attention.self.query"`, `"q_proj"`), `target_modules: "q_proj" is no module of the model`},
		{"fewer targets", edit(`"bert.encoder.layer.0.attention.self.query",`, ``), "2 tensors have no place in the model or are not among its target_modules, the first \"" + queryA},
		{"more targets", edit(`"bert.encoder.layer.0.attention.self.query"`, `"query", "key"`), `tensor "base_model.model.bert.encoder.layer.0.attention.self.key.lora_A.weight" is missing`},
		{"short targets", edit(`"bert.encoder.layer.0.attention.self.query"`, `"query"`), ""},
		{"a pattern", edit("[\n    \"bert.encoder.layer.0.attention.self.query\",\n    \"bert.encoder.layer.0.attention.self.value\"\n  ]", `".*\\.(query|value)"`), ""},
		{"a pattern of Python alone", edit("[\n    \"bert.encoder.layer.0.attention.self.query\",\n    \"bert.encoder.layer.0.attention.self.value\"\n  ]", `"(?=query)"`), "target_modules: \"(?=query)\" is not a regular expression that this program reads"},
		{"every linear layer", edit("[\n    \"bert.encoder.layer.0.attention.self.query\",\n    \"bert.encoder.layer.0.attention.self.value\"\n  ]", `"all-linear"`), "self.key.lora_A.weight\" is missing"},
		{"a rank for no module", edit(`"rank_pattern": {}`, `"rank_pattern": {"query": 0}`), `rank_pattern: "query": 0 is not a number it can have`},
		{"fan in, fan out", edit(`"fan_in_fan_out": false`, `"fan_in_fan_out": true`), ""},
		{"a start of its own", edit(`"init_lora_weights": true`, `"init_lora_weights": "pissa"`), ""},
		{"another module saved", edit("\"classifier\"\n", "\"classifier\", \"LayerNorm\"\n"), `modules_to_save: "LayerNorm" is not supported; only classifier and the pooler are`},
		{"nothing saved", edit("[\n    \"classifier\"\n  ]", "null"), ""},
		{"PEFT's list", edit("[\n    \"classifier\"\n  ]", `["classifier","classifier","score"]`), ""},
		{"a matrix missing", change(func(e map[string]safetensors.Entry) { delete(e, queryB) }), `tensor "` + queryB + `" is missing`},
		{"a matrix turned", change(func(e map[string]safetensors.Entry) {
			x := e[queryA]
			x.Shape = []int{16, 2}
			e[queryA] = x
		}), `tensor "` + queryA + `" is [16 2], want [2 16]`},
		{"half a head", change(func(e map[string]safetensors.Entry) { delete(e, bias) }), `tensor "` + bias + `" is missing`},
		{"no head", change(func(e map[string]safetensors.Entry) {
			delete(e, bias)
			delete(e, "base_model.model.classifier.weight")
		}), `tensor "base_model.model.classifier.weight" is missing`},
		{"a magnitude", change(func(e map[string]safetensors.Entry) {
			rename(e, bias, "base_model.model.bert.encoder.layer.0.attention.self.query.lora_magnitude_vector")
		}), "is missing"},
		{"no prefix", change(func(e map[string]safetensors.Entry) { rename(e, bias, "classifier.bias") }), `tensor "classifier.bias" is not named base_model.model.`},
		{"names by hand", change(func(e map[string]safetensors.Entry) {
			rename(e, queryA, strings.Replace(queryA, ".weight", ".default.weight", 1))
			rename(e, bias, "base_model.model.classifier.modules_to_save.default.bias")
		}), ""},
		{"one under two names", change(func(e map[string]safetensors.Entry) {
			x := e[bias]
			x.Name = "base_model.model.classifier.modules_to_save.default.bias"
			e[x.Name] = x
		}), "are one under two names"},
		{"not a number", change(func(e map[string]safetensors.Entry) { e[queryA].Data.([]float32)[5] = nan() }), `tensor "` + queryA + `" holds NaN at element 5`},
		{"cut short", func(t *testing.T, dir string) {
			path := filepath.Join(dir, peftTensors)
			put(t, path, string(get(t, path)[:100]))
		}, "the download or copy was cut short"},
		{"a pickle", func(t *testing.T, dir string) {
			if err := os.Rename(filepath.Join(dir, peftTensors), filepath.Join(dir, peftPickle)); err != nil {
				t.Fatal(err)
			}
		}, "has adapter_model.bin but no adapter_model.safetensors: pickles can run code and are not read"},
		{"nothing there", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, peftConfigFile)); err != nil {
				t.Fatal(err)
			}
		}, "adapter_config.json: no such file or directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "adapter")
			if err := os.CopyFS(dir, os.DirFS(good)); err != nil {
				t.Fatal(err)
			}
			tc.bend(t, dir)
			i := importing(t, dir, base)
			_, err := i.Write(t.Context())
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, tc.want)
			nothingAt(t, i.Out)
		})
	}
}

// PEFT would go on with a random head.
func TestImportWithoutAnyHead(t *testing.T) {
	base := writeBase(t, 1, false)
	dir, _ := exported(t, writeRun(t, base, "vanilla", "only-query-value"))
	rewriteTensors(t, dir, func(e map[string]safetensors.Entry) {
		delete(e, bias)
		delete(e, "base_model.model.classifier.weight")
	})
	path := filepath.Join(dir, peftConfigFile)
	put(t, path, strings.Replace(string(get(t, path)), `"classifier",`, "", 1))
	i := importing(t, dir, base)
	_, err := i.Write(t.Context())
	wantError(t, err, `tensor "classifier.weight" is neither in the adapter nor in the model `)
	nothingAt(t, i.Out)
}

func nan() float32 { zero := float32(0); return zero / zero }

// Patterns are PEFT's: the first in the file's order that matches the end of a module's name.
func TestRankAndAlphaPatterns(t *testing.T) {
	c, err := parsePEFTConfig([]byte(`{"peft_type": "LORA", "r": 4, "lora_alpha": 6, "target_modules": ["query", "dense"],
		"rank_pattern": {"layer.1.attention.self.query": 2, "query": 8, "layer\\.[0-9]+\\.output\\.dense": 16}, "alpha_pattern": {"query": 12}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		module string
		rank   int
		scale  float64
	}{
		{"bert.encoder.layer.1.attention.self.query", 2, 6},
		{"bert.encoder.layer.0.attention.self.query", 8, 1.5},
		{"bert.encoder.layer.0.output.dense", 16, 6.0 / 16},
		{"bert.encoder.layer.0.attention.output.dense", 4, 1.5},
		{"bert.encoder.layer.0.attention.self.subquery", 4, 1.5},
	} {
		if r, s := c.rankOf(tc.module), c.scaleOf(tc.module); r != tc.rank || s != tc.scale {
			t.Errorf("%s: rank %d, scale %g; want %d, %g", tc.module, r, s, tc.rank, tc.scale)
		}
	}
	c.rslora = true
	if s := c.scaleOf("bert.encoder.layer.0.output.dense"); s != 1.5 {
		t.Errorf("rslora: %g", s)
	}
}

// FuzzPEFTConfig: whatever the bytes, no panic; what is taken has ranks and scales that are numbers.
func FuzzPEFTConfig(f *testing.F) {
	f.Add([]byte(`{"peft_type": "LORA", "r": 4, "lora_alpha": 8.5, "target_modules": "all-linear", "rank_pattern": {"a.*b": 2}, "alpha_pattern": null}`))
	f.Add([]byte(`{"peft_type":"LORA","target_modules":["query"],"modules_to_save":["classifier","score"],"use_rslora":true,"init_lora_weights":"pissa"}`))
	f.Add([]byte(`{"peft_type":"LORA","target_modules":".*(query|value)","r":1e400,"bias":"all","use_dora":true}`))
	f.Add([]byte(`{"r":1,"r":2}`))
	f.Add([]byte("{\"rank_pattern\":{\"\\ud800\":1}} x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parsePEFTConfig(text)
		if err != nil {
			if len(err.Error()) > 4096+64*len(text) {
				t.Errorf("a message of %d bytes for %d", len(err.Error()), len(text))
			}
			return
		}
		for _, module := range []string{"bert.encoder.layer.0.attention.self.query", "bert.pooler.dense", ""} {
			if r, s := c.rankOf(module), c.scaleOf(module); r < 1 || r > maxPEFTRank || s-s != 0 {
				t.Errorf("rank %d, scale %g of %q", r, s, text)
			}
			c.isSaved(module)
		}
	})
}
