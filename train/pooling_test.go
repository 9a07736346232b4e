package train

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// What a folder declares becomes the pooling; what it declares and we do not have is an error.
func TestPoolingIsWhatTheModelDeclares(t *testing.T) {
	const more = "; --pooling head|cls|mean|max says what to take instead"
	for _, tc := range []struct{ text, want, err string }{
		{`{"word_embedding_dimension": 384, "pooling_mode_cls_token": false, "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false, "pooling_mode_mean_sqrt_len_tokens": false, "include_prompt": true}`, "mean", ""},
		{`{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}`, "cls", ""},
		{`{"pooling_mode_max_tokens": true, "pooling_mode_mean_tokens": false}`, "max", ""},
		{`{"word_embedding_dimension": 384}`, "mean", ""},
		{`{"embedding_dimension": 384, "pooling_mode": "mean"}`, "mean", ""},
		{`{"pooling_mode": ["cls"]}`, "cls", ""},
		{`{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true}`, "", "it asks for 2 poolings side by side (cls_token, mean_tokens); one of cls, mean and max is computed"},
		{`{"pooling_mode_mean_tokens": false}`, "", "it asks for 0 poolings side by side (); one of cls, mean and max is computed"},
		{`{"pooling_mode": "lasttoken"}`, "", `pooling "lasttoken" is not supported; cls, mean and max are`},
		{`{"pooling_mode_mean_tokens": 1}`, "", "pooling_mode_mean_tokens is 1; want true or false"},
		{`{"pooling_mode": 3}`, "", "pooling_mode is 3; want a name, as mean"},
		{`[]`, "", "json: cannot unmarshal array into Go value of type map[string]json.RawMessage"},
	} {
		c := Default()
		notice, err := c.ResolvePooling(fstest.MapFS{modelfiles.PoolingConfig: &fstest.MapFile{Data: []byte(tc.text)}})
		if tc.err != "" {
			if want := modelfiles.PoolingConfig + ": " + tc.err + more; errText(err) != want || c.Pooling != poolingAuto {
				t.Errorf("%s:\ngot  %v\nwant %s", tc.text, err, want)
			}
			continue
		}
		if want := "pooling " + tc.want + ", as the model's 1_Pooling/config.json declares"; err != nil || c.Pooling != tc.want || notice != want {
			t.Errorf("%s: pooling %q, notice %q, error %v", tc.text, c.Pooling, notice, err)
		}
	}
	c := Default()
	notice, err := c.ResolvePooling(fstest.MapFS{})
	if want := "pooling head, the first token through the pooler: the model has no 1_Pooling/config.json that says otherwise"; err != nil || c.Pooling != "head" || notice != want {
		t.Errorf("nothing declared: pooling %q, notice %q, error %v", c.Pooling, notice, err)
	}
	c.Pooling, c.TrainPooler = "mean", true
	if err := c.Validate(); errText(err) != "train-pooler: pooling mean has no pooler; leave it out, or take pooling head" {
		t.Errorf("train-pooler without a pooler: %v", err)
	}
	c.Pooling = poolingAuto
	if _, err := c.ResolvePooling(fstest.MapFS{modelfiles.PoolingConfig: &fstest.MapFile{Data: []byte(`{"pooling_mode": "cls"}`)}}); errText(err) != "train-pooler: 1_Pooling/config.json declares pooling cls, which has no pooler; --pooling head takes it" {
		t.Errorf("train-pooler of a model without one: %v", err)
	}
}

// sentenceEncoder is a checkpoint as sentence-transformers writes one that pools so, without a pooler.
func sentenceEncoder(t *testing.T, pooling string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "encoder")
	if err := writeModel(dir, nil); err != nil {
		t.Fatal(err)
	}
	dropTensors(t, dir, "bert.pooler.dense.weight", "bert.pooler.dense.bias")
	if err := writeAll(filepath.Join(dir, "1_Pooling"), map[string][]byte{"config.json": []byte(`{"pooling_mode": "` + pooling + `"}`)}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A run on a sentence encoder pools as that does: it needs no pooler and adapts none, says so, opens again with the
// metrics it ended with, goes on to the same bits, and hands its pooling on to a run that goes on from it.
func TestRunsPoolAsTheModelDeclares(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Model, c.Scope, c.Pad, c.LR = sentenceEncoder(t, "mean"), "all-dense", string(data.PadPacked), 1e-2
	var list []string
	whole, parts := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "parts")
	result := trainSmall(t, b, c, whole, notices(&list))
	if !slices.Contains(list, "pooling mean, as the model's 1_Pooling/config.json declares") || slices.ContainsFunc(list, func(n string) bool { return strings.Contains(n, "pooler") }) {
		t.Errorf("notices %q", list)
	}
	saved, err := ReadRunConfig(whole)
	if err != nil || saved.Pooling != "mean" || saved.TrainPooler {
		t.Errorf("saved pooling %q, train-pooler %v, error %v", saved.Pooling, saved.TrainPooler, err)
	}
	f, err := ReadFinished(t.Context(), whole, OpenOptions{Sources: embedded()})
	if err != nil {
		t.Fatal(err)
	}
	if f.Adapter.Pooling != "mean" || f.Values["bert.pooler.dense.weight"] != nil {
		t.Errorf("the adapter's pooling is %q, and it has a pooler: %v", f.Adapter.Pooling, f.Values["bert.pooler.dense.weight"] != nil)
	}
	for _, open := range []func(compute.Backend) (*Predictor, error){f.Open, f.Unmerged} {
		p, err := open(b)
		if err != nil {
			t.Fatal(err)
		}
		if e := validated(t, p); !near(e.Metrics["pearson"], result.Metrics["pearson"]) {
			t.Errorf("opened again it has %v, want %v", e, result.Metrics)
		}
	}
	interruptAt(t, b, c, parts, 3)
	trainSmall(t, b, c, parts, func(o *Options) { o.Resume = true })
	sameAdapter(t, whole, parts)

	on := small()
	on.Model, on.From, on.Steps, on.Warmup, on.Pooling = c.Model, whole, 1, 0, "head"
	trainSmall(t, b, on, parts+"-on")
	if info, err := ReadAdapterInfo(parts + "-on"); err != nil || info.Pooling != "mean" {
		t.Errorf("the run that goes on pools by %q (%v)", info.Pooling, err)
	}
}

func near(a, b float64) bool { return a-b < 1e-5 && b-a < 1e-5 }

// Of a batch, loss and gradients are the same packed and padded, for every pooling; the first gradients too.
func TestPoolingIsTheSamePackedAndPadded(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, pooling := range some("head", "cls", "max", "mean") {
			var losses []float64
			var gradients, first [][]float64
			for _, padding := range []data.Padding{data.PadFixed, data.PadPacked} {
				c := long("vanilla")
				c.Pooling, c.Pad = pooling, string(padding)
				r := created(t, b, c)
				batch, err := r.job.batch(0)
				if err != nil {
					t.Fatal(err)
				}
				o := r.job.objective()
				loss, by := gradientsOf(t, b, o, general(t, o.Params, dtypes.Float32), batch, batch.Weight())
				losses, gradients = append(losses, loss), append(gradients, slices.Concat(by...))
				kernels := r.job.adapted.kernels()
				g, err := r.job.gradientsOn(batch, kernels).of(kernels[0].Name)
				if err != nil {
					t.Fatal(err)
				}
				first = append(first, float64s(t, g))
			}
			if d := max(gap(losses[:1], losses[1:]), gap(gradients[0], gradients[1]), gap(first[0], first[1])); !(d <= 1e-5) {
				t.Errorf("%s: packed and padded are %.2g apart", pooling, d)
			}
		}
	})
}

// The pooler of a checkpoint is frozen unless --train-pooler; what moves travels with the adapter, also of a run that
// goes on.
func TestTrainPooler(t *testing.T) {
	b := testbackend.All(t)[0]
	base := created(t, b, small()).job.inputs.checkpoint
	for _, train := range []bool{false, true} {
		c := small()
		c.TrainPooler, c.Warmup = train, 0
		dir := filepath.Join(t.TempDir(), "run")
		trainSmall(t, b, c, dir)
		f, err := ReadFinished(t.Context(), dir, OpenOptions{Sources: embedded()})
		if err != nil {
			t.Fatal(err)
		}
		pooler, head := f.Values["bert.pooler.dense.weight"], f.Values["classifier.weight"]
		if head.Equal(base.Tensors["classifier.weight"]) || (pooler != nil) != train || train && pooler.Equal(base.Tensors["bert.pooler.dense.weight"]) {
			t.Errorf("train-pooler %v: the adapter has a pooler: %v", train, pooler != nil)
		}
		if !train {
			continue
		}
		c.From, c.TrainPooler, c.Steps = dir, false, 1
		trainSmall(t, b, c, dir+"-on")
		on, err := ReadFinished(t.Context(), dir+"-on", OpenOptions{Sources: embedded()})
		if err != nil || on.Values["bert.pooler.dense.weight"] == nil || !on.Values["bert.pooler.dense.weight"].Equal(pooler) {
			t.Errorf("the run that goes on has lost the pooler, or moved it (%v)", err)
		}
	}
}
