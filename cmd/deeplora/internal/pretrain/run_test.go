package pretrain

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// kinds are the runs that must go on to the same bits, by name; on engines that compile for long, the plainest.
func kinds(b compute.Backend) map[string]Config {
	alone := small()
	all := map[string]Config{"alone": alone}
	if !full(b) {
		alone.Validation = 0 // nothing to evaluate, one graph less
		all["alone"] = alone
	} else {
		all["taught"], all["gone on from a checkpoint"] = taught(), goneOn()
	}
	return all
}

// goneOn is pretraining of a checkpoint that is there.
func goneOn() Config {
	on := taught()
	on.Shape, on.TeacherInit, on.AttentionInit, on.Model = "", false, 0, filepath.Join(smallFiles(), "teacher")
	on.Steps = 4
	return on
}

// On other engines than Go's, that a resumed run has the bits of another says the same.
func TestSameSeedSameBits(t *testing.T) {
	b := testbackend.All(t)[0]
	for name, c := range kinds(b) {
		one, two, other := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two"), filepath.Join(t.TempDir(), "other")
		c.Steps, c.Warmup = 3, 1
		pretrain(t, b, c, one)
		pretrain(t, b, c, two)
		sameRun(t, name, two, one)
		c.Seed = 1
		pretrain(t, b, c, other)
		if sum(t, filepath.Join(other, "model.safetensors")) == sum(t, filepath.Join(one, "model.safetensors")) {
			t.Errorf("%s: another seed gives the same model", name)
		}
	}
}

// A run that is interrupted anywhere and resumed ends as one that was not: between steps, while it evaluates, and
// wherever it prepares.
func TestResumeGivesSameBits(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for name, c := range kinds(b) {
			whole := filepath.Join(t.TempDir(), "whole")
			pretrain(t, b, c, whole)
			stops := []func(loop.Event) bool{atStep(1), atStep(3), atStep(c.Steps - 1), atStep(c.Steps)}
			if !full(b) {
				stops = stops[1:2]
			}
			for _, stop := range stops {
				parts := filepath.Join(t.TempDir(), "parts")
				interrupt(t, b, c, parts, stop)
				pretrain(t, b, Config{}, parts, resumed)
				sameRun(t, name, parts, whole)
			}
		}
	})
}

// One run, interrupted in each of its parts in turn.
func TestInterruptedInEveryPart(t *testing.T) {
	b := testbackend.All(t)[0]
	c := taught()
	whole, parts := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "parts")
	pretrain(t, b, c, whole)
	for i, stop := range []struct {
		at   func(loop.Event) bool
		want string
	}{
		{atPhase("vocabulary"), "before the first step"},
		{atPhase("tokenize"), "before the first step"},
		{atPhase("teacher"), "before the first step"},
		{atPhase("teacher's words"), "before the first step"},
		{atPhase("neighbours"), "before the first step"},
		{atPhase("held neighbours"), "at step 0 of 6"},
		{atPhase("initialise"), "at step 0 of 6"},
		{atStep(2), "at step 2 of 6"},
		{atPhase("evaluate"), "at step 3 of 6"},
		{func(e loop.Event) bool { c, ok := e.(loop.Checkpointed); return ok && c.Step == 6 }, "at step 6 of 6"},
	} {
		more := []func(*Options){}
		if i > 0 {
			more = append(more, resumed)
		}
		if err := interrupt(t, b, c, parts, stop.at, more...); !strings.Contains(err.Error(), "interrupted, state saved "+stop.want+": ") {
			t.Errorf("interruption %d: %v, want %s", i, err, stop.want)
		}
	}
	pretrain(t, b, Config{}, parts, resumed)
	sameRun(t, "interrupted everywhere", parts, whole)
}

// A run that lost what it wrote after a checkpoint goes on from it as if it had not got further.
func TestStateLostAfterACheckpoint(t *testing.T) {
	b := testbackend.All(t)[0]
	c := taught()
	c.Keep = 10
	whole, cut := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "cut")
	pretrain(t, b, c, whole)
	if err := os.CopyFS(cut, os.DirFS(whole)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{resultJSON, "model.safetensors", "config.json", "checkpoints/step-6", "checkpoints/step-4"} {
		if err := os.RemoveAll(filepath.Join(cut, name)); err != nil {
			t.Fatal(err)
		}
	}
	var first int
	pretrain(t, b, Config{}, cut, resumed, func(o *Options) {
		o.OnEvent = func(e loop.Event) {
			if s, ok := e.(loop.Step); ok && first == 0 {
				first = s.Step
			}
		}
	})
	if first != 4 { // the best checkpoint, of step 3, is there as well
		t.Errorf("it went on with step %d, want 4", first)
	}
	sameRun(t, "cut", cut, whole)
}

// The teacher's embeddings are computed once for all runs that share a cache, and give the same bits.
func TestTeacherCacheIsShared(t *testing.T) {
	b := testbackend.All(t)[0]
	c := taught()
	c.Steps, c.Warmup = 2, 0
	one, two, cache := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two"), filepath.Join(t.TempDir(), "cache")
	pretrain(t, b, c, one)
	shared := func(o *Options) { o.TeacherCache = cache }
	pretrain(t, b, c, two, shared)
	sameRun(t, "with a cache elsewhere", two, one)
	if _, err := os.Stat(filepath.Join(two, cacheDir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a cache beside the shared one: %v", err)
	}
	shards, err := filepath.Glob(filepath.Join(cache, "*.safetensors"))
	if err != nil || len(shards) != 1 {
		t.Fatalf("shards %v, %v", shards, err)
	}
	before, err := os.Stat(shards[0])
	if err != nil {
		t.Fatal(err)
	}
	three := filepath.Join(t.TempDir(), "three")
	pretrain(t, b, c, three, shared)
	if after, err := os.Stat(shards[0]); err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the shard was written again: %v", err)
	}
	sameRun(t, "from the cache", three, one)
}

// What a run makes is a model that opens, of the shape that was asked for and without what only pretraining needs.
func TestPretrainMakesAModel(t *testing.T) {
	b := testbackend.All(t)[0]
	c := taught()
	c.DType, c.Dropout = "float16", 0
	out := filepath.Join(t.TempDir(), "out")
	r := pretrain(t, b, c, out)
	files := os.DirFS(out)
	tok, err := data.OpenTokenizer(files, "")
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Load(files, model.LoadOptions{Architecture: model.MaskedLM})
	if err != nil {
		t.Fatal(err)
	}
	if v := tok.VocabSize(); v != m.Config.VocabSize || v != r.Vocabulary || v > c.VocabSize {
		t.Errorf("%d tokens, vocab_size %d, %d in the result; asked for %d", v, m.Config.VocabSize, r.Vocabulary, c.VocabSize)
	}
	if m.Config.HiddenSize != 16 || len(m.Fresh) > 0 || len(m.Ignored) > 0 {
		t.Errorf("hidden size %d; drawn %v, ignored %v", m.Config.HiddenSize, m.Fresh, m.Ignored)
	}
	if m.Config.HiddenDropout != 0.1 { // of fine-tuning, whatever the pretraining had
		t.Errorf("config.json has dropout %g", m.Config.HiddenDropout)
	}
	if !reflect.DeepEqual(m.Files, []model.FileSum{r.Files[0], r.Files[1]}) {
		t.Errorf("files %v, noted as %v", m.Files, r.Files)
	}
	texts := slices.Compact(slices.Sorted(slices.Values(corpusTexts())))
	if r.Texts+r.Held != len(texts) || r.Held == 0 || r.Steps != c.Steps || r.Tokens <= 0 {
		t.Errorf("result %+v of %d texts", r, len(texts))
	}
	var saved Result
	if err := json.Unmarshal(fileBytes(t, filepath.Join(out, resultJSON)), &saved); err != nil || !reflect.DeepEqual(&saved, r) {
		t.Errorf("result.json is %+v, want %+v (%v)", saved, r, err)
	}
	run, err := ReadRunConfig(out)
	if err != nil || run.Seed != c.Seed || len(run.Provenance.Data) != 1 || len(run.Provenance.Model) != 3 {
		t.Errorf("pretrain.json %+v, %v", run, err)
	}
	e, err := OpenEmbedder(t.Context(), b, out, train.Sources{}, model.F32)
	if err != nil {
		t.Fatal(err)
	}
	e.Close()
}

// A checkpoint that is gone on from keeps its vocabulary and its shape, and moves.
func TestPretrainGoesOnFromAModel(t *testing.T) {
	b := testbackend.All(t)[0]
	c := goneOn()
	c.Warmup = 0
	out := filepath.Join(t.TempDir(), "out")
	pretrain(t, b, c, out)
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json", "vocab.txt"} {
		if sum(t, filepath.Join(out, name)) != sum(t, filepath.Join(c.Model, name)) {
			t.Errorf("%s is another", name)
		}
	}
	before, err := model.Load(os.DirFS(c.Model), model.LoadOptions{Architecture: model.MaskedLM})
	if err != nil {
		t.Fatal(err)
	}
	after, err := model.Load(os.DirFS(out), model.LoadOptions{Architecture: model.MaskedLM})
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range before.Specs() {
		if after.Tensors[spec.Name].Equal(before.Tensors[spec.Name]) {
			t.Errorf("%s has not moved", spec.Name)
		}
		if !after.Tensors[spec.Name].InDelta(before.Tensors[spec.Name], 0.1) {
			t.Errorf("%s did not begin where the checkpoint is", spec.Name)
		}
	}
}

// Loss falls, on texts that were not trained on too.
func TestPretrainingLearns(t *testing.T) {
	b := testbackend.All(t)[0]
	for name, c := range map[string]Config{"alone": small(), "taught": taught()} {
		c.Steps, c.LR, c.EvalEvery, c.SaveEvery, c.Batch, c.Dropout = 150, 5e-3, 10, 0, 4, 0
		var scores []float64
		pretrain(t, b, c, filepath.Join(t.TempDir(), "run"), func(o *Options) {
			o.OnEvent = func(e loop.Event) {
				if m, ok := e.(loop.Evaluated); ok {
					scores = append(scores, c.score(m.Metrics))
				}
			}
		})
		if first, last := scores[0], scores[len(scores)-1]; !(last > 0.7*first) {
			t.Errorf("%s: loss on held texts %.3f at first, %.3f at last", name, -first, -last)
		}
	}
}

// Steps follow from epochs, once.
func TestEpochs(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Steps, c.Warmup = 0, 0
	one := prepared(t, b, c)
	if n := len(one.plan.pack(0)); one.config.Steps != n || one.config.Epochs != 1 {
		t.Errorf("%d steps of %g epochs, want %d of 1", one.config.Steps, one.config.Epochs, n)
	}
	c.Epochs = 2.5
	two := prepared(t, b, c)
	if want := (5*one.config.Steps + 1) / 2; two.config.Steps != want {
		t.Errorf("%d steps of 2.5 epochs, want %d", two.config.Steps, want)
	}
	saved, err := ReadRunConfig(two.options.Out)
	if err != nil || saved.Steps != two.config.Steps {
		t.Errorf("pretrain.json says %d steps, want %d (%v)", saved.Steps, two.config.Steps, err)
	}
}
