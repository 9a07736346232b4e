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
	"github.com/deeplora/deeplora/model"
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
	edit := func(fromTo ...string) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, peftConfigFile)
			text := string(get(t, path))
			for pair := range slices.Chunk(fromTo, 2) {
				if !strings.Contains(text, pair[0]) {
					t.Fatalf("no %s in %s", pair[0], text)
				}
				text = strings.Replace(text, pair[0], pair[1], 1)
			}
			put(t, path, text)
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
		{"all layers there are", edit(`"layers_to_transform": null`, `"layers_to_transform": 0`), ""},
		{"a layer that is not there", edit("\"layers_to_transform\": null,\n  \"lora_alpha\": 2,", `"layers_to_transform": [1], "lora_alpha": 2, "exclude_modules": ["query"],`), "2 tensors have no place in the model or are not among its target_modules, the first \"" + queryA},
		{"layers of text", edit(`"layers_to_transform": null`, `"layers_to_transform": "0"`), `layers_to_transform: "0" is not what it can be: want *[]int`},
		{"a layers' pattern alone", edit(`"layers_pattern": null`, `"layers_pattern": "layer"`), "layers_pattern: says where the numbers of layers_to_transform stand in names, which is absent"},
		{"excluded modules", edit(`"revision": null`, `"revision": null, "exclude_modules": ["query"]`), `2 tensors have no place in the model or are not among its target_modules, the first "` + queryA},
		{"excluded modules without tensors", edit(`"bert.encoder.layer.0.attention.self.query"`, `"query", "key"`, `"revision": null`, `"revision": null, "exclude_modules": ".*\\.key"`), ""},
		{"nothing left", edit(`"revision": null`, `"revision": null, "exclude_modules": ["query", "value"]`), "target_modules: no module of the model is left by layers_to_transform and exclude_modules"},
		{"LoRA on the head", edit(`"bert.encoder.layer.0.attention.self.query"`, `"bert.encoder.layer.0.attention.self.query", "classifier"`, "[\n    \"classifier\"\n  ]", "null"), "target_modules: LoRA on classifier is not supported: the head is read as a whole, by modules_to_save"},
		{"the head among the targets, saved as a whole", edit(`"bert.encoder.layer.0.attention.self.query"`, `"bert.encoder.layer.0.attention.self.query", "classifier"`), ""},
		{"an option of tomorrow", edit(`"revision": null`, `"revision": null, "use_tomorrow": {"a": 1}`), `use_tomorrow: {"a":1} is not supported: no field of PEFT 0.21; nearest: use_`},
		{"an option of tomorrow that is off", edit(`"revision": null`, `"revision": null, "use_tomorrow": false`), ""},
		{"two faults", edit(`"use_dora": false`, `"use_dora": true, "lora_bias": true`), "lora_bias: true is not supported"},
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
		{"a start by chance", edit(`"init_lora_weights": true`, `"init_lora_weights": "gaussian"`), ""},
		{"a start from the inputs", edit(`"init_lora_weights": true`, `"init_lora_weights": "eva", "eva_config": {"rho": 2.0}`), ""},
		{"a start out of the base", edit(`"init_lora_weights": true`, `"init_lora_weights": "pissa"`), `init_lora_weights: "pissa" is not supported: it changed the base model's weights before training`},
		{"a start of tomorrow", edit(`"init_lora_weights": true`, `"init_lora_weights": "pizza"`), `init_lora_weights: "pizza" is not supported: it may have changed the base model's weights; nearest: pissa`},
		{"another module saved", edit("\"classifier\"\n", "\"classifier\", \"LayerNorm\"\n"), `modules_to_save: "LayerNorm" is not supported; only classifier and pooler.dense are`},
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

// peft021 are the fields of LoraConfig in PEFT 0.21.2 with those it has of PeftConfig, in their order.
const peft021 = `task_type peft_type auto_mapping peft_version base_model_name_or_path revision inference_mode r target_modules
exclude_modules lora_alpha lora_dropout fan_in_fan_out bias use_rslora modules_to_save init_lora_weights layers_to_transform
layers_pattern rank_pattern alpha_pattern megatron_config megatron_core trainable_token_indices loftq_config eva_config
corda_config lora_ga_config use_dora velora_config alora_invocation_tokens use_qalora qalora_group_size monteclora_config
layer_replication runtime_config lora_bias target_parameters use_bdlora arrow_config kasa_config ensure_weight_tying`

// Every field that PEFT writes is honoured, harmless for a reason, or refused.
func TestEveryFieldOfPEFTHasAFate(t *testing.T) {
	if want := strings.Fields(peft021); !slices.Equal(peftFieldNames(), want) {
		t.Errorf("fields %v, want %v", peftFieldNames(), want)
	}
	for _, f := range peftFields {
		fates := 0
		for _, there := range []bool{f.take != nil, f.harmless != "", f.refused != ""} {
			if there {
				fates++
			}
		}
		if fates != 1 {
			t.Errorf("%s has %d fates", f.name, fates)
		}
		if f.refused != "" {
			_, err := parsePEFTConfig([]byte(`{"peft_type": "LORA", "target_modules": ["query"], "` + f.name + `": {"a": 1}}`))
			wantError(t, err, f.name+`: {"a":1} is not supported: it asks for `+f.refused)
		}
	}
}

// An adapter that started out of the base model's weights is right beside what was left of them alone.
func TestStartsThatChangeTheBaseAreRefused(t *testing.T) {
	for name, want := range map[string]string{
		"gaussian": "", "Gaussian": "", "eva": "", "orthogonal": "", "mica": "", "": "",
		"pissa": "changed the base", "pissa_niter_16": "changed the base", "PISSA": "changed the base", "olora": "changed the base", "OLoRA": "changed the base",
		"corda": "changed the base", "loftq": "changed the base", "lora_ga": "changed the base", "kasa": "may have changed the base",
	} {
		_, err := parsePEFTConfig([]byte(`{"peft_type": "LORA", "target_modules": ["query"], "init_lora_weights": "` + name + `"}`))
		if want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if want != "" {
			wantError(t, err, want)
		}
	}
}

// The fields that choose modules choose what PEFT 0.21's check_target_module_exists does.
func TestModulesAreChosenAsByPEFT(t *testing.T) {
	var all []model.Kernel
	for _, layer := range []string{"0", "1", "11"} {
		for _, module := range []string{"attention.self.query", "attention.self.key", "output.dense"} {
			all = append(all, model.Kernel{Name: "bert.encoder.layer." + layer + "." + module})
		}
	}
	all = append(all, model.Kernel{Name: "bert.pooler.dense"})
	for _, tc := range []struct {
		fields string
		want   string // without bert. and encoder.layer.
	}{
		{`"target_modules": ["query"]`, "0.attention.self.query 1.attention.self.query 11.attention.self.query"},
		{`"target_modules": ["query"], "layers_to_transform": 1`, "1.attention.self.query"},
		{`"target_modules": ["query", "key"], "layers_to_transform": [0, 11]`, "0.attention.self.query 0.attention.self.key 11.attention.self.query 11.attention.self.key"},
		{`"target_modules": ["dense"], "layers_to_transform": [1]`, "1.output.dense"}, // the pooler has no number
		{`"target_modules": ["query", "bert.pooler.dense"], "layers_to_transform": [1]`, "1.attention.self.query pooler.dense"},
		{`"target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": "layer"`, "1.attention.self.query"},
		{`"target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": ["h", "encoder.layer"]`, "1.attention.self.query"},
		{`"target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": ["h"]`, ""},
		{`"target_modules": ["query", "dense"], "exclude_modules": ["pooler.dense", "1.output.dense"]`, "0.attention.self.query 0.output.dense 1.attention.self.query 11.attention.self.query 11.output.dense"},
		{`"target_modules": "all-linear", "exclude_modules": ".*\\.(query|key)"`, "0.output.dense 1.output.dense 11.output.dense pooler.dense"},
		{`"target_modules": ["query"], "exclude_modules": "query"`, "0.attention.self.query 1.attention.self.query 11.attention.self.query"}, // of whole names
	} {
		c, err := parsePEFTConfig([]byte(`{"peft_type": "LORA", ` + tc.fields + `}`))
		if err != nil {
			t.Errorf("%s: %v", tc.fields, err)
			continue
		}
		chosen, _ := c.kernels(all, nil)
		var names []string
		for _, k := range chosen {
			names = append(names, strings.TrimPrefix(strings.TrimPrefix(k.Name, "bert."), "encoder.layer."))
		}
		if got := strings.Join(names, " "); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.fields, got, tc.want)
		}
	}
	_, err := parsePEFTConfig([]byte(`{"peft_type": "LORA", "target_modules": ".*query", "layers_to_transform": [1]}`))
	wantError(t, err, "layers_to_transform: cannot stand beside a target_modules that is a regular expression")
}
