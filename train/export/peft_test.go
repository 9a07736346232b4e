package export

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/train"
)

func importing(t *testing.T, in, base string) Import {
	t.Helper()
	return Import{
		In: in, Model: base, Out: filepath.Join(t.TempDir(), "imported"), Backend: testbackend.All(t)[0], Verify: true,
		Notice: func(format string, args ...any) { t.Logf("note: "+format, args...) },
	}
}

// exported writes a run's adapter.
func exported(t *testing.T, run string, change ...func(*PEFT)) (dir string, report *Report) {
	t.Helper()
	e := PEFT{Options: options(t, run)}
	for _, f := range change {
		f(&e)
	}
	report, err := e.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return e.Out, report
}

// A run that goes to PEFT's files and comes back gives its logits: through the two matrices alone, and with the
// factors beside them to the bit.
func TestRoundTripThroughPEFT(t *testing.T) {
	base := writeBase(t, 1, true)
	every(t, func(t *testing.T, method, scope string) {
		run := writeRun(t, base, method, scope)
		want := predicted(t, run)
		dir, report := exported(t, run)
		t.Logf("written logits differ by at most %.2g of %.2g; %v", report.Verified.MaxDifference, report.Verified.MaxLogit, report.Truncation)

		i := importing(t, dir, base)
		done, err := i.Write(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !done.Factors || done.Method != strings.Fields(method)[0] || done.Task != "mnli" {
			t.Errorf("%+v", done)
		}
		for _, name := range []string{"adapter.safetensors", "adapter.json"} {
			if name == "adapter.json" {
				continue // it names the base as the import does
			}
			sameBytes(t, filepath.Join(i.Out, "adapter", name), filepath.Join(run, "adapter", name))
		}
		if got := predicted(t, i.Out); !reflect.DeepEqual(got, want) {
			t.Errorf("with the factors: logits %v, want %v", got, want)
		}

		if err := os.RemoveAll(filepath.Join(dir, sidecarDir)); err != nil {
			t.Fatal(err)
		}
		i = importing(t, dir, base)
		if done, err = i.Write(t.Context()); err != nil {
			t.Fatal(err)
		}
		if done.Factors || done.Method != "vanilla" || done.Task != "mnli" { // its labels are those of config.json
			t.Errorf("%+v", done)
		}
		if off := furthest(predicted(t, i.Out), want); off > 1e-5 {
			t.Errorf("without them: logits are %.2g apart", off)
		}
	})
}

// What PEFT wrote gives PEFT's logits, and merged PEFT's weights.
func TestPEFTsOwnAdapters(t *testing.T) {
	base := testshared.Path(t, "reference", "tiny_bert")
	for _, name := range []string{"peft_lora", "peft_rslora"} {
		t.Run(name, func(t *testing.T) {
			golden, err := safetensors.Open(testshared.Path(t, "reference", name+"_logits.safetensors"))
			if err != nil {
				t.Fatal(err)
			}
			defer golden.Close()
			i := importing(t, testshared.Path(t, "reference", name), base)
			done, err := i.Write(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if done.Kernels != 10 || done.Task != "" || !slices.Equal(done.Labels, []string{"LABEL_0", "LABEL_1", "LABEL_2"}) {
				t.Errorf("%+v", done)
			}
			saved, err := train.Open(t.Context(), i.Out, testbackend.All(t)[0], train.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer saved.Close()
			got, err := saved.Logits(t.Context(), goldenRows(t, golden), train.Layout{Batch: 8, Padding: data.PadFixed, MaxLength: 16}, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := goldenLogits(t, golden, "logits_adapter")
			off := furthest(got, want)
			t.Logf("logits differ from PEFT's by %.2g, by %.2g from those without an adapter", off, furthest(got, goldenLogits(t, golden, "logits_base")))
			if off > 1e-5 {
				t.Errorf("logits %v, want %v", got, want)
			}
			if name == "peft_lora" {
				sameMerged(t, i.Out, testshared.Path(t, "reference", "peft_lora_merged"))
			}
		})
	}
}

func goldenRows(t *testing.T, f *safetensors.File) []data.Encoded {
	t.Helper()
	var columns [3][]int64
	for i, name := range []string{"input_ids", "token_type_ids", "attention_mask"} {
		var err error
		if columns[i], err = f.Int64(name); err != nil {
			t.Fatal(err)
		}
	}
	info, _ := f.Info("input_ids")
	length := info.Shape[1]
	encoded := make([]data.Encoded, info.Shape[0])
	for i := range columns[0] {
		if columns[2][i] == 0 {
			continue
		}
		e := &encoded[i/length]
		e.IDs, e.Types = append(e.IDs, int32(columns[0][i])), append(e.Types, int32(columns[1][i]))
	}
	return encoded
}

func goldenLogits(t *testing.T, f *safetensors.File, name string) [][]float32 {
	t.Helper()
	flat, err := f.Float32(name)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Collect(slices.Chunk(flat, 3))
}

// sameMerged exports a run merged and holds every weight against a checkpoint.
func sameMerged(t *testing.T, run, want string) {
	t.Helper()
	o := options(t, run)
	if _, err := (Merged{Options: o, DType: dtypes.Float32}).Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	ours, err := safetensors.Open(filepath.Join(o.Out, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := safetensors.Open(filepath.Join(want, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	if !slices.Equal(ours.Names(), theirs.Names()) {
		t.Fatalf("tensors %v, want %v", ours.Names(), theirs.Names())
	}
	most := 0.0
	for _, name := range ours.Names() {
		a, errA := ours.Float64(name)
		b, errB := theirs.Float64(name)
		if errA != nil || errB != nil || len(a) != len(b) {
			t.Fatalf("%s: %v %v, %d and %d values", name, errA, errB, len(a), len(b))
		}
		for i := range a {
			most = math.Max(most, math.Abs(a[i]-b[i]))
		}
	}
	t.Logf("weights differ from PEFT's merge_and_unload by at most %.2g", most)
	if most > 1e-6 {
		t.Errorf("weights are %.2g apart", most)
	}
}

// The files are as formats.md has them: names, shapes, alpha equal to the rank, full module paths.
func TestPEFTFiles(t *testing.T) {
	base := writeBase(t, 1, false) // and a pooler that is new, which travels whole
	dir, report := exported(t, writeRun(t, base, "deep-compressed", "all-dense"))
	if report.Truncation != nil {
		t.Errorf("cut: %v", report.Truncation)
	}
	var config map[string]any
	if err := json.Unmarshal(get(t, filepath.Join(dir, peftConfigFile)), &config); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 2.0, "lora_alpha": 2.0, "bias": "none", "inference_mode": true, "use_dora": false,
		"use_rslora": false, "fan_in_fan_out": false, "rank_pattern": map[string]any{}, "base_model_name_or_path": base,
		"modules_to_save": []any{"classifier", "pooler.dense"}, "revision": nil,
	} {
		if !reflect.DeepEqual(config[name], want) {
			t.Errorf("%s is %v, want %v", name, config[name], want)
		}
	}
	if targets := config["target_modules"].([]any); len(targets) != 8 || targets[0] != "bert.embeddings.position_embeddings" {
		t.Errorf("target_modules %v", targets)
	}
	f, err := safetensors.Open(filepath.Join(dir, peftTensors))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for name, shape := range map[string][]int{
		"bert.embeddings.word_embeddings.lora_embedding_A": {2, 24}, "bert.embeddings.word_embeddings.lora_embedding_B": {16, 2},
		"bert.encoder.layer.0.intermediate.dense.lora_A.weight": {2, 16}, "bert.encoder.layer.0.intermediate.dense.lora_B.weight": {24, 2},
		"classifier.weight": {3, 16}, "classifier.bias": {3}, "bert.pooler.dense.weight": {16, 16}, "bert.pooler.dense.bias": {16},
	} {
		if info, ok := f.Info("base_model.model." + name); !ok || !slices.Equal(info.Shape, shape) || info.DType != "F32" {
			t.Errorf("%s: %+v, want %v", name, info, shape)
		}
	}
	if n := len(f.Names()); n != 8*2+4 {
		t.Errorf("%d tensors: %v", n, f.Names())
	}
	if m := f.Metadata(); m["format"] != "pt" || m["method"] != "deep-compressed" || m["labels"] != "entailment,neutral,contradiction" {
		t.Errorf("metadata %v", m)
	}
	if card := string(get(t, filepath.Join(dir, "README.md"))); !strings.Contains(card, "library_name: peft") || !strings.Contains(card, "num_labels=3") {
		t.Errorf("card:\n%s", card)
	}
}

// --rank auto writes each kernel at its numerical rank, and the bound it reports is the error.
func TestAutoRank(t *testing.T) {
	base := writeBase(t, 1, true)
	run := writeRun(t, base, "deep-wide", "attention-mlp")
	full, _ := exported(t, run)
	const tolerance = 0.05
	cut, report := exported(t, run, func(e *PEFT) { e.AutoRank, e.Tolerance = true, tolerance })
	c := report.Truncation
	t.Logf("%v; logits differ by %.2g of %.2g", c, report.Verified.MaxDifference, report.Verified.MaxLogit)
	if c == nil || c.Kernels != 6 || c.LowestRank >= 16 || c.RelativeBound > tolerance || c.BytesSaved <= 0 {
		t.Fatalf("%+v", c)
	}
	worst := 0.0
	pairs, exact := pairsOf(t, cut), pairsOf(t, full)
	ranks := map[int]bool{}
	for name, p := range pairs {
		var off mat.Dense
		off.Sub(p.product(), exact[name].product())
		worst = math.Max(worst, linalg.SingularValues(&off)[0])
		ranks[p.a.RawMatrix().Rows] = true
	}
	if worst > c.ErrorBound*1.001+1e-6 || worst < c.ErrorBound*0.999-1e-6 {
		t.Errorf("ΔK is off by %.6g, the bound says %.6g", worst, c.ErrorBound)
	}
	var config struct {
		R     int            `json:"r"`
		Ranks map[string]int `json:"rank_pattern"`
		Alpha map[string]int `json:"alpha_pattern"`
	}
	if err := json.Unmarshal(get(t, filepath.Join(cut, peftConfigFile)), &config); err != nil {
		t.Fatal(err)
	}
	if len(ranks) > 1 && len(config.Ranks) == 0 || !reflect.DeepEqual(config.Ranks, config.Alpha) {
		t.Errorf("ranks %v in the file, patterns %v and %v", ranks, config.Ranks, config.Alpha)
	}
	for key, r := range config.Ranks {
		name := strings.ReplaceAll(key, `\.`, ".")
		if regexp.QuoteMeta(name) != key || pairs[name].a.RawMatrix().Rows != r {
			t.Errorf("rank_pattern %q: %d", key, r)
		}
	}
	// ΔK = 0 has rank 0; PEFT wants 1.
	zero := writeRun(t, base, "vanilla", "only-query-value")
	rewriteValues(t, zero)
	dir, report := exported(t, zero, func(e *PEFT) { e.AutoRank, e.Tolerance = true, tolerance })
	if report.Truncation.HighestRank != 1 {
		t.Errorf("%+v", report.Truncation)
	}
	if _, err := importing(t, dir, base).Write(t.Context()); err != nil {
		t.Error(err)
	}
}

// rewriteValues makes a run's factors 0.
func rewriteValues(t *testing.T, run string) {
	t.Helper()
	s, err := train.ReadFinished(t.Context(), run, train.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range s.Values {
		if strings.HasSuffix(name, ".W1") {
			s.Values[name] = draw(name, 0, v.Shape().Dimensions...)
		}
	}
	if err := os.RemoveAll(run); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(run); err != nil {
		t.Fatal(err)
	}
}

type peftPair struct{ a, b *mat.Dense }

func (p peftPair) product() *mat.Dense {
	var d mat.Dense
	d.Mul(p.b, p.a)
	return &d
}

func pairsOf(t *testing.T, dir string) map[string]peftPair {
	t.Helper()
	f, err := safetensors.Open(filepath.Join(dir, peftTensors))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	matrix := func(name string) *mat.Dense {
		values, err := f.Float64(name)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := f.Info(name)
		return mat.NewDense(info.Shape[0], info.Shape[1], values)
	}
	pairs := map[string]peftPair{}
	for _, name := range f.Names() {
		if module, ok := strings.CutSuffix(name, ".lora_A.weight"); ok {
			pairs[strings.TrimPrefix(module, "base_model.model.")] = peftPair{matrix(name), matrix(module + ".lora_B.weight")}
		}
	}
	return pairs
}

// Two exports of a run have the same bytes, however maps were ranged over.
func TestExportIsDeterministic(t *testing.T) {
	run := writeRun(t, writeBase(t, 1, true), "deep-narrow", "all-dense")
	a, _ := exported(t, run)
	b, _ := exported(t, run)
	for _, name := range []string{peftConfigFile, peftTensors, "README.md", filepath.Join(sidecarDir, sidecarJSON)} {
		sameBytes(t, filepath.Join(a, name), filepath.Join(b, name))
	}
}

// An adapter that has changed since it was exported does not come back with the factors of before.
func TestStaleFactorsAreLeftOut(t *testing.T) {
	base := writeBase(t, 1, true)
	dir, _ := exported(t, writeRun(t, base, "deep-narrow", "only-query-value"))
	rewriteTensors(t, dir, func(entries map[string]safetensors.Entry) {
		e := entries["base_model.model.classifier.bias"]
		e.Data.([]float32)[0]++
	})
	i := importing(t, dir, base)
	notices := ""
	i.Notice = func(format string, args ...any) { notices += fmt.Sprintf(format, args...) }
	done, err := i.Write(t.Context())
	if err != nil || done.Factors || done.Method != "vanilla" || !strings.Contains(notices, "has changed since it was exported") {
		t.Errorf("%+v, %v, %q", done, err, notices)
	}
}

// Our own adapter knows what it was trained on.
func TestImportOnAnotherBase(t *testing.T) {
	base := writeBase(t, 1, true)
	dir, _ := exported(t, writeRun(t, base, "deep-narrow", "only-query-value"))
	put(t, filepath.Join(base, "config.json"), string(get(t, filepath.Join(base, "config.json")))+"\n")
	i := importing(t, dir, base)
	_, err := i.Write(t.Context())
	wantError(t, err, "adapter belongs to another base model: model file config.json has changed")
	nothingAt(t, i.Out)
	i.AnyBase = true
	if _, err := i.Write(t.Context()); err != nil {
		t.Fatal(err)
	}
	predicted(t, i.Out) // which is now a run of that base
}

// Labels of another order are sorted by name, the head with them.
func TestImportMatchesLabelsByName(t *testing.T) {
	base := writeBase(t, 1, true)
	run := writeRun(t, base, "vanilla", "only-query-value")
	want := predicted(t, run)
	dir, _ := exported(t, run)
	if err := os.RemoveAll(filepath.Join(dir, sidecarDir)); err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer(`"1":"neutral"`, `"1":"CONTRADICTION"`, `"2":"contradiction"`, `"2":"Neutral"`).Replace(string(get(t, filepath.Join(base, "config.json"))))
	put(t, filepath.Join(base, "config.json"), config)
	i := importing(t, dir, base)
	i.Task = "mnli"
	i.Verify = false // the adapter's own order of logits is another
	done, err := i.Write(t.Context())
	if err != nil || !slices.Equal(done.Labels, testLabels) {
		t.Fatalf("%+v, %v", done, err)
	}
	for _, row := range want {
		row[1], row[2] = row[2], row[1]
	}
	if off := furthest(predicted(t, i.Out), want); off > 1e-5 {
		t.Errorf("logits are %.2g apart", off)
	}
	i = importing(t, dir, base)
	i.Task = "rte"
	_, err = i.Write(t.Context())
	wantError(t, err, "task rte takes 2 outputs; the adapter's head has 3")
}

// Without --task nothing is guessed, and with it the base's names are not overwritten by position.
func TestImportNamesNoTaskThatNobodySaid(t *testing.T) {
	base := writeBase(t, 1, true)
	dir, _ := exported(t, writeRun(t, base, "vanilla", "only-query-value"))
	if err := os.RemoveAll(filepath.Join(dir, sidecarDir)); err != nil {
		t.Fatal(err)
	}
	rewriteTensors(t, dir, func(map[string]safetensors.Entry) {}) // as PEFT saves it: nothing of the task
	own := string(get(t, filepath.Join(base, "config.json")))
	for _, tc := range []struct {
		name, task string
		ids        string // id2label of the base; empty: as it is
		labels     []string
		notice     string
		err        string
	}{
		{name: "classes like those of a task", labels: testLabels, notice: "nothing says what the adapter's task is: its outputs are called entailment, neutral, contradiction, by the base model's config.json; if it is "},
		{name: "classes in two cases", ids: `{"0":"US","1":"us","2":"other"}`, labels: []string{"US", "us", "other"}, notice: "--task names one of GLUE's"},
		{name: "unnamed, with a task", task: "mnli", ids: `{"0":"LABEL_0","1":"LABEL_1","2":"LABEL_2"}`, labels: testLabels, notice: "the base model's config.json does not name the outputs: they are taken for entailment, neutral, contradiction, in this order"},
		{name: "other classes than the task's", task: "mnli", ids: `{"0":"red","1":"green","2":"blue"}`, err: "task mnli has the classes entailment, neutral, contradiction, the base model's config.json names red, green, blue; leave out --task to keep these names"},
		{name: "two that could be one of the task's", task: "mnli", ids: `{"0":"Neutral","1":"NEUTRAL","2":"contradiction"}`, err: "task mnli has the classes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			text := own
			if tc.ids != "" {
				from := strings.Index(text, `"id2label":`)
				to := from + strings.Index(text[from:], "}") + 1
				text = text[:from] + `"id2label":` + tc.ids + text[to:]
			}
			put(t, filepath.Join(base, "config.json"), text)
			i := importing(t, dir, base)
			i.Task = tc.task
			var said strings.Builder
			i.Notice = func(format string, args ...any) { fmt.Fprintf(&said, format+"\n", args...) }
			done, err := i.Write(t.Context())
			if tc.err != "" {
				wantError(t, err, tc.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if done.Task != tc.task || !slices.Equal(done.Labels, tc.labels) || !strings.Contains(said.String(), tc.notice) {
				t.Errorf("%+v; said %s", done, said.String())
			}
		})
	}
}
