package train

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

// notices collects the notices of a run.
func notices(list *[]string) func(*Options) {
	return func(o *Options) {
		o.OnEvent = func(e loop.Event) {
			if n, ok := e.(loop.Notice); ok {
				*list = append(*list, n.Text)
			}
		}
	}
}

// What does not fit between model, tokenizer and data is found before anything is trained.
func TestInputsThatDoNotFit(t *testing.T) {
	b := testbackend.All(t)[0]
	for _, tc := range []struct {
		name   string
		fields map[string]any
		set    func(c *Config)
		want   string
	}{
		{
			"one token type for pairs",
			map[string]any{"type_vocab_size": 1},
			func(*Config) {},
			"DATA/train.jsonl: data row N: token type 1 is outside the model's 1 types",
		},
		{
			"vocabulary of another tokenizer",
			map[string]any{"vocab_size": 1000},
			func(*Config) {},
			"model MODEL: its tokenizer gives ids up to 7999, the word embeddings have 1000 rows: they are not of one model",
		},
		{
			"longer than the positions", nil, func(c *Config) { c.MaxLength = 64 },
			"model MODEL: max-length is 64, the model has 48 positions; lower --max-length",
		},
		{
			"data that is not there", nil, func(c *Config) { c.Data = "nowhere" },
			"data: there is no directory nowhere; give --data one with the files of stsb, or hub",
		},
		{
			"builtin data of another task", nil, func(c *Config) { c.Task, c.Data = "rte", BuiltinData },
			"data builtin holds stsb only, not rte; give --data a directory, or hub",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := small()
			c.Model = filepath.Join(t.TempDir(), "model")
			if err := writeModel(c.Model, tc.fields); err != nil {
				t.Fatal(err)
			}
			tc.set(&c)
			out := filepath.Join(t.TempDir(), "run")
			_, err := Train(t.Context(), c, Options{Backend: b, Out: out})
			want := strings.NewReplacer("DATA/", "", "MODEL", c.Model).Replace(tc.want)
			if got := rowNumber.ReplaceAllString(errText(err), "row N"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if _, err := os.Stat(out); !os.IsNotExist(err) {
				t.Errorf("the run directory was made: %v", err)
			}
		})
	}
}

// What was drawn at random, left out or changed is announced.
func TestNotices(t *testing.T) {
	b := testbackend.All(t)[0]
	has := func(list []string, want string) {
		t.Helper()
		if !slices.Contains(list, want) {
			t.Errorf("no notice %q among %q", want, list)
		}
	}
	var list []string
	c := small()
	c.Steps, c.Shots, c.Batch, c.TrainHead, c.HeadSeed, c.Warmup = 1, 5, 16, true, 9, 0
	trainSmall(t, b, c, filepath.Join(t.TempDir(), "run"), notices(&list))
	has(list, "classifier.weight, classifier.bias not in the checkpoint: drawn from N(0, 0.02²) with seed 9, trained")
	has(list, "batch lowered from 16 to the 5 training examples")
	if !slices.ContainsFunc(list, func(n string) bool {
		return strings.HasPrefix(n, "validation: ") && strings.Contains(n, "examples truncated to 16 tokens: ")
	}) {
		t.Errorf("no notice of truncated examples among %q", list)
	}

	// A masked language model has no pooler either: drawn too, and trained with the head.
	masked := filepath.Join(t.TempDir(), "masked")
	if err := writeModel(masked, map[string]any{"initializer_range": 0.5}); err != nil {
		t.Fatal(err)
	}
	dropTensors(t, masked, "bert.pooler.dense.weight", "bert.pooler.dense.bias")
	c.Model, list = masked, nil
	out := filepath.Join(t.TempDir(), "masked-run")
	trainSmall(t, b, c, out, notices(&list))
	has(list, "bert.pooler.dense.weight, bert.pooler.dense.bias not in the checkpoint: drawn from N(0, 0.5²) with seed 9, trained")
	_, values, err := readAdapter(filepath.Join(out, adapterDir))
	if err != nil {
		t.Fatal(err)
	}
	if values["bert.pooler.dense.weight"] == nil || values["bert.pooler.dense.bias"] == nil {
		t.Error("the adapter lacks the pooler that was drawn for it")
	}

	c.TrainHead, c.FreshHead, list = false, true, nil
	trainSmall(t, b, c, filepath.Join(t.TempDir(), "fresh"), notices(&list))
	has(list, "classifier.weight, classifier.bias made new: drawn from N(0, 0.5²) with seed 9, frozen")
	has(list, "bert.pooler.dense.weight, bert.pooler.dense.bias not in the checkpoint: drawn from N(0, 0.5²) with seed 9, frozen")
}

// Probabilities that differ within a checkpoint are no single --dropout: the resumed run has them all the same.
func TestResumeWithSeveralDropouts(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Method = "vanilla"
	c.Model = filepath.Join(t.TempDir(), "model")
	fields := map[string]any{"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.4, "classifier_dropout": 0.0}
	if err := writeModel(c.Model, fields); err != nil {
		t.Fatal(err)
	}
	whole, parts := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "parts")
	trainSmall(t, b, c, whole)
	interruptAt(t, b, c, parts, 3)
	trainSmall(t, b, c, parts, func(o *Options) { o.Resume = true })
	sameAdapter(t, whole, parts)
	if saved, err := ReadRunConfig(whole); err != nil || saved.Dropout != checkpointDropout {
		t.Errorf("dropout noted as %g, want %g; error %v", saved.Dropout, checkpointDropout, err)
	}
	c.Model = smallModel()
	one := created(t, b, c)
	if one.config.Dropout != 0.1 {
		t.Errorf("dropout of a checkpoint that has one is noted as %g, want 0.1", one.config.Dropout)
	}
}

// Models that predict something else than classes or one score are refused.
func TestOpenCheckpoint(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fields map[string]any
		want   string
	}{
		{"several scores", map[string]any{"problem_type": "regression", "num_labels": 2}, "model MODEL: config.json: a regression of 2 outputs; only one is predicted"},
		{"no head", nil, `model MODEL: model.safetensors: no classification head: "classifier.weight", "classifier.bias" are missing; deeplora train gives it one`},
	} {
		dir := filepath.Join(t.TempDir(), "model")
		if err := writeModel(dir, tc.fields); err != nil {
			t.Fatal(err)
		}
		if tc.fields != nil {
			addHead(t, dir, 2)
		}
		_, err := OpenCheckpoint(t.Context(), dir, testbackend.All(t)[0], OpenOptions{Sources: embedded()})
		if want := strings.ReplaceAll(tc.want, "MODEL", dir); errText(err) != want {
			t.Errorf("%s:\ngot  %v\nwant %s", tc.name, err, want)
		}
	}
	several := filepath.Join(t.TempDir(), "several")
	if err := writeModel(several, map[string]any{"problem_type": "multi_label_classification"}); err != nil {
		t.Fatal(err)
	}
	addHead(t, several, 2)
	if p, err := OpenCheckpoint(t.Context(), several, testbackend.All(t)[0], OpenOptions{Sources: embedded()}); err != nil {
		t.Error(err)
	} else {
		defer p.Close()
		if got := p.Interpret([]float32{-0.1, 0}); !slices.Equal(got.Labels, []string{"LABEL_1"}) || got.Label != "" || got.Probabilities[1] != 0.5 {
			t.Errorf("several labels: %+v", got)
		}
	}
	dir := filepath.Join(t.TempDir(), "model")
	if err := writeModel(dir, map[string]any{"id2label": map[string]string{"0": "no", "1": "yes"}}); err != nil {
		t.Fatal(err)
	}
	addHead(t, dir, 2)
	p, err := OpenCheckpoint(t.Context(), dir, testbackend.All(t)[0], OpenOptions{Sources: embedded()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.Tokenizer.VocabSize() != p.Config().VocabSize || !slices.Equal(p.Labels(), []string{"no", "yes"}) {
		t.Errorf("vocabulary of %d and %d, labels %v", p.Tokenizer.VocabSize(), p.Config().VocabSize, p.Labels())
	}
	for _, name := range []string{"vocab.txt", "tokenizer_config.json"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	ready, err := OpenCheckpoint(t.Context(), dir, testbackend.All(t)[0], OpenOptions{Sources: embedded()})
	if err != nil {
		t.Fatal(err)
	}
	defer ready.Close()
	if logits, err := ready.Logits(t.Context(), []data.Encoded{{IDs: []int32{2, 5, 3}, Types: make([]int32, 3)}}, ready.Run.evaluationLayout(), nil); err != nil || len(logits) != 1 {
		t.Errorf("ready ids need no tokenizer: %v, %v", logits, err)
	}
	if _, err := ready.Predict(t.Context(), []data.Example{{Text: "a"}}); err == nil || !strings.Contains(err.Error(), "has no tokenizer: looked for tokenizer.json") {
		t.Errorf("text needs one: %v", err)
	}
}
