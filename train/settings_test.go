package train

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/train/loop"

	"github.com/deeplora/deeplora/model"
)

// What a user sees of each setting that is wrong.
func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(c *Config)
		want string
	}{
		{"task", func(c *Config) { c.Task = "stbs" }, `unknown task "stbs"; nearest: stsb (known: cola sst2 mrpc stsb qqp mnli mnli-mm qnli rte wnli ax classification regression multilabel)`},
		{"method", func(c *Config) { c.Method = "lora2" }, `unknown method "lora2"; nearest: rslora (known: vanilla deep-wide deep-narrow deep-compressed rslora lora-plus lora-sb)`},
		{"odd rank", func(c *Config) { c.Rank = 7 }, `method deep-compressed: rank 7 is odd; want an even one: half of it follows the gradient's left singular vectors, half the right`},
		{"depth", func(c *Config) { c.Depth = 2 }, `method deep-compressed: depth 2; want 3 or more (with two factors it is vanilla)`},
		{"scope", func(c *Config) { c.Scope = "attention" }, `scope: "attention" is unknown; nearest: attention-mlp (known: only-query-value attention-mlp all-dense)`},
		{"target", func(c *Config) { c.Target = []string{"query", "("} }, "target: \"(\" is no regular expression: error parsing regexp: missing closing ): `(`"},
		{"sample", func(c *Config) { c.Sample = "with" }, `sample: "with" is unknown; nearest: without (known: without with-replacement)`},
		{"pad", func(c *Config) { c.Pad = "buckets" }, `pad: "buckets" is unknown; nearest: bucket (known: packed bucket fixed)`},
		{"overlong", func(c *Config) { c.Overlong = "cut" }, `overlong: "cut" is unknown; nearest: drop (known: drop truncate)`},
		{"select", func(c *Config) { c.Select = "worst" }, `select: "worst" is unknown; nearest: last (known: last best)`},
		{"two draws", func(c *Config) { c.Shots, c.ShotsPerClass = 16, 16 }, `shots and shots-per-class: give one of them`},
		{"a draw and a manifest", func(c *Config) { c.Shots, c.Manifest = 16, "m.json" }, `manifest: a replayed draw takes no shots or shots-per-class`},
		{"two lengths", func(c *Config) { c.Steps, c.Epochs = 10, 1 }, `steps and epochs: give one of them`},
		{"shots", func(c *Config) { c.Shots = -1 }, `shots: -1 is less than 0`},
		{"shots per class", func(c *Config) { c.ShotsPerClass = -1 }, `shots-per-class: -1 is less than 0`},
		{"min dim", func(c *Config) { c.MinDim = -1 }, `min-dim: -1 is less than 0`},
		{"max length", func(c *Config) { c.MaxLength = 2 }, `max-length: 2 is less than 3`},
		{"steps", func(c *Config) { c.Steps = -5 }, `steps: -5 is less than 0`},
		{"batch", func(c *Config) { c.Batch = 0 }, `batch: 0 is less than 1`},
		{"accumulate", func(c *Config) { c.Accumulate = 0 }, `accumulate: 0 is less than 1`},
		{"eval batch", func(c *Config) { c.EvalBatch = 0 }, `eval-batch: 0 is less than 1`},
		{"warmup", func(c *Config) { c.Warmup = -1 }, `warmup: -1 is less than 0`},
		{"eval every", func(c *Config) { c.EvalEvery = -1 }, `eval-every: -1 is less than 0`},
		{"save every", func(c *Config) { c.SaveEvery = -1 }, `save-every: -1 is less than 0`},
		{"keep", func(c *Config) { c.Keep = 0 }, `keep: 0 is less than 1`},
		{"early stop", func(c *Config) { c.EarlyStop = 2 }, `early-stop: needs eval-every`},
		{"epochs", func(c *Config) { c.Epochs = -1 }, `epochs: -1 is not between 0 and 1e+06`},
		{"lr", func(c *Config) { c.LR = -1e-3 }, `lr: -0.001 is not between 0 and 1000`},
		{"lr that is no number", func(c *Config) { c.LR = math.NaN() }, `lr: NaN is not between 0 and 1000`},
		{"decay ratio", func(c *Config) { c.DecayRatio = 1.5 }, `decay-ratio: 1.5 is not between 0 and 1`},
		{"weight decay", func(c *Config) { c.WeightDecay = 2 }, `weight-decay: 2 is not between 0 and 1`},
		{"clip", func(c *Config) { c.Clip = math.Inf(1) }, `clip: +Inf is not between 0 and 3.4028234663852886e+38`},
		{"dropout", func(c *Config) { c.Dropout = 1 }, `dropout: 1 is not between 0 and below 1`},
		{"negative dropout", func(c *Config) { c.Dropout = -0.1 }, `dropout: -0.1 is not between 0 and below 1`},
		{"head seed", func(c *Config) { c.HeadSeed = -2 }, `head-seed: -2 is less than -1`},
		{
			"every fault at once",
			func(c *Config) { c.Task, c.Rank, c.Batch, c.LR, c.EarlyStop = "sst", 0, 0, -1, -1 },
			"lr: -1 is not between 0 and 1000\nearly-stop: -1 is less than 0\nbatch: 0 is less than 1\n" +
				"unknown task \"sst\"; nearest: sst2 (known: cola sst2 mrpc stsb qqp mnli mnli-mm qnli rte wnli ax classification regression multilabel)\n" +
				"method deep-compressed: rank 0; want 1 or more\nearly-stop: needs eval-every",
		},
	} {
		c := Default()
		tc.set(&c)
		if err := c.Validate(); err == nil || err.Error() != tc.want {
			t.Errorf("%s:\ngot  %v\nwant %s", tc.name, err, tc.want)
		}
	}
	for name, c := range map[string]Config{"the defaults": Default(), "the reference's": Reference()} {
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What stands for a choice becomes the choice once the number of examples is known.
func TestResolve(t *testing.T) {
	few := func(c *Config) { c.Steps = 200 } // of 16 examples: 200 passes
	for _, tc := range []struct {
		name     string
		set      func(c *Config)
		examples int
		check    func(c Config) bool
	}{
		{"three epochs by default, last batches short", func(*Config) {}, 100, func(c Config) bool { return c.Steps == 21 && c.Epochs == 3 }},
		{"last batches left out", func(c *Config) { c.DropLast = true }, 100, func(c Config) bool { return c.Steps == 18 }},
		{"accumulated batches", func(c *Config) { c.Accumulate = 4 }, 100, func(c Config) bool { return c.Steps == 6 }},
		{"half an epoch", func(c *Config) { c.Epochs = 0.5 }, 100, func(c Config) bool { return c.Steps == 4 }},
		{"at least one step", func(c *Config) { c.Epochs = 1e-9 }, 100, func(c Config) bool { return c.Steps == 1 }},
		{"steps given", func(c *Config) { c.Steps, c.Accumulate = 50, 2 }, 100, func(c Config) bool { return c.Steps == 50 && c.Epochs == 16 }},
		{"batch larger than the set", func(*Config) {}, 10, func(c Config) bool { return c.Batch == 10 && c.Steps == 3 }},
		{"rate of compressed", few, 16, func(c Config) bool {
			return c.LR == 4e-3 && c.HeadLR == 1e-2 && sameNumber(c.InitScale, 0.05) && c.Gamma == 0.1
		}},
		{"gamma given", func(c *Config) { few(c); c.Gamma = 0 }, 16, func(c Config) bool { return c.LR == 4e-3 && c.Gamma == 0 }},
		{"rate of fewer passes", func(c *Config) { c.Steps = 200 }, 128, func(c Config) bool { return c.Epochs == 25 && sameNumber(c.LR, 8e-3) && c.HeadLR == 1e-2 }},
		{"rate at another rank", func(c *Config) { few(c); c.Rank = 64 }, 16, func(c Config) bool { return sameNumber(c.LR, 4e-3/math.Pow(8, 1.15)) && c.HeadLR == 1e-2 }},
		{"scale at another depth", func(c *Config) { few(c); c.Depth = 5 }, 16, func(c Config) bool { return c.LR == 4e-3 && sameNumber(5*math.Pow(c.InitScale, 4), 3*0.05*0.05) }},
		{"rate of many steps", func(c *Config) { c.Steps = 1600 }, 16, func(c Config) bool { return c.LR == 2e-3 && c.HeadLR == 5e-3 }},
		{"rate of many epochs", func(c *Config) {}, 16 * 1600 / 3, func(c Config) bool { return c.Steps == 1602 && sameNumber(c.LR, 3*4e-3*math.Sqrt(400./1602)) }},
		{"authors' rate", func(c *Config) { c.RateRule, c.Rank = ruleNone, 64 }, 1e5, func(c Config) bool { return c.LR == 1e-2 && c.HeadLR == 1e-2 && c.InitScale == 1e-3 && c.Gamma == 0.01 }},
		{"the reference's", func(c *Config) { *c = Reference() }, 1e5, func(c Config) bool { return c.LR == 1e-2 && c.HeadLR == 0 && c.InitScale == 1e-3 && c.Gamma == 0.01 }},
		{"scale given", func(c *Config) { c.InitScale = 0.5 }, 100, func(c Config) bool { return c.InitScale == 0.5 }},
		{"rate of narrow", func(c *Config) { few(c); c.Method = "deep-narrow" }, 16, func(c Config) bool { return c.LR == 1e-4 }},
		{"rate of vanilla", func(c *Config) { few(c); c.Method = "vanilla" }, 16, func(c Config) bool { return c.LR == 1e-4 }},
		{"rate of peft's start", func(c *Config) { few(c); c.Method, c.Init = "vanilla", "peft" }, 16, func(c Config) bool { return c.LR == 5e-4 }},
		{"rate given", func(c *Config) { c.LR = 0.5 }, 100, func(c Config) bool { return c.LR == 0.5 && c.HeadLR == 0.5 }},
		{"rate given for many steps", func(c *Config) { c.LR = 0.5 }, 1e5, func(c Config) bool { return c.LR == 0.5 && c.HeadLR == 0.5 }},
		{"rate of the head given", func(c *Config) { c.HeadLR = 0.25 }, 1e5, func(c Config) bool { return c.LR < 2e-3 && c.HeadLR == 0.25 }},
		{"rate of a head of two layers", func(c *Config) { few(c); c.TrainPooler = true }, 16, func(c Config) bool { return c.LR == 4e-3 && c.HeadLR == 7.5e-4 }},
		{"the same, many steps", func(c *Config) { c.Steps, c.TrainPooler = 1600, true }, 16, func(c Config) bool { return c.HeadLR == 3.75e-4 }},
		{"the same, given", func(c *Config) { few(c); c.TrainPooler, c.HeadLR = true, 0.25 }, 16, func(c Config) bool { return c.HeadLR == 0.25 }},
		{"no head", func(c *Config) { few(c); c.TrainHead = false }, 16, func(c Config) bool { return c.LR == 4e-3 && c.HeadLR == 0 }},
		{"the whole model", func(c *Config) { c.Method = "full" }, 1e5, func(c Config) bool { return c.LR == 3e-4 && c.HeadLR == 3e-4 }},
		{"alpha is the rank", func(c *Config) { c.Rank = 6 }, 100, func(c Config) bool { return c.Alpha == 6 }},
		{"alpha given", func(c *Config) { c.Method, c.Init, c.Alpha = "vanilla", "peft", 32 }, 100, func(c Config) bool { return c.Alpha == 32 }},
		{"head of the run's seed", func(c *Config) { c.Seed = 5 }, 100, func(c Config) bool { return c.HeadSeed == 5 && headSeed(&c) == 5 }},
		{"head of the largest seed", func(c *Config) { c.Seed = math.MaxUint64 }, 100, func(c Config) bool { return headSeed(&c) == math.MaxUint64 }},
		{"head seed given", func(c *Config) { c.Seed, c.HeadSeed = 5, 0 }, 100, func(c Config) bool { return c.HeadSeed == 0 && headSeed(&c) == 0 }},
		{"last adapter", func(*Config) {}, 100, func(c Config) bool { return c.Select == selectLast }},
		{"best adapter with early stopping", func(c *Config) { c.EarlyStop, c.EvalEvery = 3, 5 }, 100, func(c Config) bool { return c.Select == selectBest }},
		{"last adapter with early stopping", func(c *Config) { c.EarlyStop, c.Select = 3, selectLast }, 100, func(c Config) bool { return c.Select == selectLast }},
	} {
		c := Default()
		tc.set(&c)
		if err := c.resolve(tc.examples); err != nil || !tc.check(c) {
			t.Errorf("%s: %+v, error %v", tc.name, c, err)
		}
		again := c
		if err := again.resolve(tc.examples); err != nil || again.Steps != c.Steps || again.Batch != c.Batch || again.LR != c.LR || again.HeadLR != c.HeadLR || again.InitScale != c.InitScale || again.HeadSeed != c.HeadSeed {
			t.Errorf("%s: resolved twice: %+v, error %v", tc.name, again, err)
		}
	}
}

func sameNumber(x, want float64) bool { return math.Abs(x-want) < 1e-12 }

func TestResolveErrors(t *testing.T) {
	c := Reference()
	if err := c.resolve(10); errText(err) != "batch: 16 is more than the 10 training examples" {
		t.Errorf("the reference's batch: %v", err)
	}
	c = Default()
	c.Steps, c.Warmup = 10, 10
	if err := c.resolve(100); errText(err) != "warmup: 10 steps leave none of the 10 to train at full rate" {
		t.Errorf("warm-up to the end: %v", err)
	}
	c = Default()
	c.Method = "unheard-of"
	if err := c.resolve(100); err == nil {
		t.Error("resolved an unknown method")
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A run's config.json brings back every setting, and nothing passes that no setting is called.
func TestRunConfigRoundTrip(t *testing.T) {
	want := RunConfig{Config: Default(), Format: runFormat, Provenance: Provenance{
		Version: "v1", Libraries: map[string]string{"a": "v2"}, Backend: "xla:cpu", PluginSHA256: "00", Threads: 2,
		Model: []model.FileSum{{File: "config.json", SHA256: "11"}}, ModelRevision: "main", Data: []model.FileSum{{File: "train.tsv", SHA256: "22"}},
	}}
	fillFields(t, reflect.ValueOf(&want.Config).Elem())
	dir := t.TempDir()
	path := filepath.Join(dir, configJSON)
	if err := jsonfile.Write(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRunConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read   %+v\nwrote %+v", got, want)
	}
	text := string(fileBytes(t, path))
	for name, bad := range map[string]string{
		"an unknown setting":    strings.Replace(text, `"rank"`, `"rnak"`, 1),
		"an unknown provenance": strings.Replace(text, `"threads"`, `"thraeds"`, 1),
		"a brace too many":      text + "}",
		"a second value":        text + "{}",
		"half a file":           text[:len(text)/2],
		"nothing":               "",
		"another type":          strings.Replace(text, `"rank": `, `"rank": "8", "seed": `, 1),
	} {
		if err := os.WriteFile(path, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadRunConfig(dir); !errors.Is(err, loop.ErrCorrupt) || !strings.HasPrefix(err.Error(), path+": file is damaged: ") {
			t.Errorf("%s: error %v, want loop.ErrCorrupt that names the file", name, err)
		}
	}
}

// fillFields sets every field of a struct, and of structs in it, to a value of its own, so that one that is not written shows.
func fillFields(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(v.Type().Field(i).Name)
		case reflect.Int, reflect.Int64:
			f.SetInt(int64(100 + i))
		case reflect.Uint64:
			f.SetUint(math.MaxUint64)
		case reflect.Float64:
			f.SetFloat(float64(i) + 0.1)
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Slice:
			f.Set(reflect.ValueOf([]string{"a", "b"}))
		case reflect.Struct:
			fillFields(t, f)
		default:
			t.Fatalf("field %s is a %s", v.Type().Field(i).Name, f.Kind())
		}
	}
}

// Every field of Config has one row of the table, and every row a field and a name of its own, as flags have.
func TestEveryFieldHasARow(t *testing.T) {
	var c Config
	rows := map[uintptr]string{}
	for _, r := range Settings() {
		at := reflect.ValueOf(r.At(&c)).Pointer()
		if rows[at] != "" {
			t.Errorf("%s and %s are one field", r.Name, rows[at])
		}
		rows[at] = r.Name
		if strings.Trim(r.Name, "abcdefghijklmnopqrstuvwxyz-") != "" || r.Help == "" {
			t.Errorf("row %q, help %q", r.Name, r.Help)
		}
	}
	fields := 0
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if f.Anonymous {
			continue
		}
		fields++
		if at := reflect.ValueOf(&c).Elem().FieldByIndex(f.Index).Addr().Pointer(); rows[at] == "" {
			t.Errorf("field %s has no row in Settings", f.Name)
		}
	}
	if fields != len(rows) {
		t.Errorf("%d fields, %d rows", fields, len(rows))
	}
}

func TestConfigFromJSON(t *testing.T) {
	var c Config
	if err := json.Unmarshal([]byte(`{"rank": 3, "init-scale": 0.5}`), &c); err != nil || c.Rank != 3 || c.InitScale != 0.5 {
		t.Errorf("rank %d, init scale %g, error %v", c.Rank, c.InitScale, err)
	}
}
