package pretrain

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// All that is wrong with settings is told at once.
func TestValidateListsEveryFault(t *testing.T) {
	c := Default()
	good := small()
	if err := good.Validate(); err != nil {
		t.Fatalf("sound settings: %v", err)
	}
	c.VocabSize, c.MaxLength, c.RowLength, c.Steps, c.Epochs, c.Warmup = 5, 4, 2, 10, 2, 10
	c.Dropout, c.DType, c.TeacherInit, c.MaskShare, c.MaskProbability = 1, "float8", true, 0, -0.1
	c.Batch, c.EvalEvery, c.SaveEvery, c.Keep = 0, -1, -2, 0
	c.MaskedLM, c.Sentence, c.Similarity, c.Pooler, c.Pair = 1e4, -1, -2, -4, -3
	c.Neighbours, c.RandomPairs, c.SamePairs, c.AttentionInit, c.LR, c.DecayRatio, c.WeightDecay, c.Clip, c.Validation = -1, 101, -1, 200, -1, 2, 3, -1, 0.6
	want := []string{
		"corpus: give at least one text file",
		"config: give the config.json of the encoder to make, or model, a checkpoint to go on from",
		"vocab-size: 5 is too small; the special tokens alone are 5",
		"row-length: 2 is less than max-length 4",
		"steps and epochs: give one of them",
		"warmup: 10 steps leave none of the 10 to train at full rate",
		"dropout: 1 is not between 0 and below 1",
		`dtype: "float8" is unknown; nearest: float32 (known: float32 float16)`,
		"teacher-init: needs a teacher",
		"mlm-weight: without a teacher it is the only objective; it, mask-share and mask-probability must be above 0",
		"max-length: 4 is less than 8", "batch: 0 is less than 1", "eval-every: -1 is less than 0", "save-every: -2 is less than 0",
		"keep: 0 is less than 1", "mlm-weight: 10000 is not between 0 and 1000", "sentence-weight: -1 is not between 0 and 1000",
		"similarity-weight: -2 is not between 0 and 1000", "pooler-weight: -4 is not between 0 and 1000", "pair-weight: -3 is not between 0 and 1000",
		"mask-probability: -0.1 is not between 0 and 1", "neighbours: -1 is not between 0 and 100",
		"random-pairs: 101 is not between 0 and 100", "same-pairs: -1 is not between 0 and 100",
		"attention-init: 200 is not between -100 and 100", "lr: -1 is not between 0 and 1000",
		"decay-ratio: 2 is not between 0 and 1", "weight-decay: 3 is not between 0 and 1", "clip: -1 is not between 0 and ",
		"validation: 0.6 is not between 0 and 0.5",
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, text := range want {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("no %q", text)
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d faults, want %d:\n%v", len(lines), len(want), err)
	}
}

// Settings that contradict one another.
func TestValidateCombinations(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(c *Config)
		want string
	}{
		{"a shape and a model", func(c *Config) { c.Model = "m" }, "config and model: a checkpoint to go on from has its own config.json"},
		{"a start for weights that are there", func(c *Config) { c.Shape, c.Model, c.AttentionInit = "", "m", 1 }, "teacher-init and attention-init: the weights of model are there already"},
		{"nothing masked, no teacher", func(c *Config) { c.MaskShare = 0 }, "mlm-weight: without a teacher it is the only objective"},
		{"no token masked, no teacher", func(c *Config) { c.MaskProbability = 0 }, "mlm-weight: without a teacher it is the only objective"},
		{"a teacher for nothing", func(c *Config) {
			c.Teacher, c.MaskedLM, c.Sentence, c.Similarity, c.Pooler, c.Pair = "t", 0, 0, 0, 0, 0
		}, "all are 0"},
	} {
		c := small()
		tc.set(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want %q", tc.name, err, tc.want)
		}
	}
}

// What a user sees of each way in which a run cannot begin. No folder is made.
func TestPretrainErrors(t *testing.T) {
	b := testbackend.All(t)[0]
	for _, tc := range []struct {
		name string
		set  func(t *testing.T, c *Config)
		is   error
		want string
	}{
		{"settings", func(_ *testing.T, c *Config) { c.Batch = 0 }, train.ErrConfig, "batch: 0 is less than 1"},
		{"no corpus", func(_ *testing.T, c *Config) { c.Corpus = []string{"absent.txt"} }, os.ErrNotExist, "corpus: open absent.txt: no such file"},
		{"a corpus that is not text", func(t *testing.T, c *Config) {
			c.Corpus = append(c.Corpus, write(t, "latin.txt", "fine\nfine too\nM\xfcnchen\n"))
		}, nil, "latin.txt:3: not valid UTF-8"},
		{"an empty corpus", func(t *testing.T, c *Config) { c.Corpus = []string{write(t, "empty.txt", "\n")} }, nil, "empty.txt: no text"},
		{"no shape", func(_ *testing.T, c *Config) { c.Shape = "absent.json" }, os.ErrNotExist, "read model config: stat absent.json: no such file"},
		{"a shape that is none", func(t *testing.T, c *Config) { c.Shape = write(t, "shape.json", `{"model_type": "gpt2"}`) }, nil, `shape.json: model_type is "gpt2", which is not supported; want one of bert`},
		{"positions too few", func(_ *testing.T, c *Config) { c.MaxLength, c.RowLength = 30, 30 }, train.ErrConfig, "max-length is 30, SHAPE has max_position_embeddings 24"},
		{"a vocabulary too small", func(_ *testing.T, c *Config) { c.VocabSize = 20 }, nil, "vocabulary: size is 20, but special tokens and single characters of this text are "},
		{"no teacher", func(_ *testing.T, c *Config) { c.Teacher, c.MaskShare = "./absent", 0.2 }, nil, "teacher: "},
		{"no model", func(_ *testing.T, c *Config) { c.Shape, c.Model = "", "./absent" }, nil, "model: ./absent: no such directory"},
		{"one type of token", func(t *testing.T, c *Config) {
			*c = taught()
			c.Shape = filepath.Join(t.TempDir(), "one.json")
			if err := writeShape(c.Shape, map[string]any{"type_vocab_size": 1}); err != nil {
				t.Fatal(err)
			}
		}, train.ErrConfig, "type_vocab_size 1; pairs need 2"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, out := small(), filepath.Join(t.TempDir(), "out")
			tc.set(t, &c)
			_, err := Pretrain(t.Context(), c, options(b, out))
			if err == nil || !strings.Contains(strings.ReplaceAll(err.Error(), c.Shape, "SHAPE"), strings.ReplaceAll(tc.want, c.Shape, "SHAPE")) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
			if strings.Contains(err.Error(), "vocabulary: vocabulary") {
				t.Errorf("error %v says it twice", err)
			}
			if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a folder was made: %v", err)
			}
		})
	}
}

// A run does not go where something is; all texts cannot be held.
func TestPretrainRefusesAFolder(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	out := filepath.Join(t.TempDir(), "out")
	interrupt(t, b, c, out, atPhase("tokenize"))
	for _, tc := range []struct{ out, want string }{
		{out, "output directory is in use by a run; --resume goes on with it, or choose another --out"},
		{smallFiles(), "output directory is in use: it holds corpus.txt; choose another --out"},
	} {
		if _, err := Pretrain(t.Context(), c, options(b, tc.out)); !errors.Is(err, rundir.ErrInUse) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("error %v, want %q", err, tc.want)
		}
	}
	c.Corpus = []string{write(t, "one.txt", "held, I fear\n")}
	c.VocabSize, c.Validation = 60, 0.5
	for c.Seed = range 20 { // with one of two seeds
		_, err := Pretrain(cancelledContext(t), c, options(b, filepath.Join(t.TempDir(), "out")))
		if errors.Is(err, train.ErrConfig) {
			if want := "validation: all 1 texts of the corpus are held for measuring; lower it"; err.Error() != want {
				t.Errorf("error %v, want %q", err, want)
			}
			return
		}
	}
	t.Error("the text was never held")
}

func cancelledContext(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// edit rewrites a file.
func edit(t *testing.T, path string, change func(text string) string) {
	t.Helper()
	text := string(fileBytes(t, path))
	if err := os.WriteFile(path, []byte(change(text)), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What a user sees of each way in which a run cannot go on.
func TestResumeErrors(t *testing.T) {
	b := testbackend.All(t)[0]
	base := t.TempDir()
	if err := os.CopyFS(base, os.DirFS(smallFiles())); err != nil {
		t.Fatal(err)
	}
	c := taught()
	c.Corpus, c.Shape, c.Teacher = []string{filepath.Join(base, "corpus.txt")}, filepath.Join(base, "shape.json"), filepath.Join(base, "teacher")
	run := filepath.Join(t.TempDir(), "run")
	interrupt(t, b, c, run, atStep(2))
	shards, err := filepath.Glob(filepath.Join(run, cacheDir, "*.safetensors"))
	if err != nil || len(shards) != 1 {
		t.Fatalf("shards %v, %v", shards, err)
	}
	shard := filepath.Join(cacheDir, filepath.Base(shards[0]))
	more := func(text string) string { return text + "\n" }
	flip := func(text string) string { return text[:len(text)-1] + string([]byte{text[len(text)-1] ^ 1}) }
	half := func(text string) string { return text[:len(text)/2] }
	for _, tc := range []struct {
		name string
		file string // of the run, or with base/ of what it was made from
		bend func(string) string
		is   error
		want string
	}{
		{"corpus changed", "base/corpus.txt", more, nil, "data file corpus.txt has changed since the run began: sha256 "},
		{"shape changed", "base/shape.json", more, nil, "model file shape.json has changed since the run began: sha256 "},
		{"teacher changed", "base/teacher/model.safetensors", flip, nil, "model file teacher/model.safetensors has changed since the run began: sha256 "},
		{"teacher's config changed", "base/teacher/config.json", more, nil, "model file teacher/config.json has changed since the run began: sha256 "},
		{"cache cut short", shard, half, nil, "remove the file to compute it again"},
		{"checkpoint damaged", "checkpoints/step-2/parameters.safetensors", flip, loop.ErrCorrupt, "no checkpoint is left that is as it was written: "},
		{"moments damaged", "checkpoints/step-2/optimizer.safetensors", flip, loop.ErrCorrupt, "optimizer.safetensors: file is damaged: its sha256 is "},
		{"state damaged", "checkpoints/step-2/state.json", half, jsonfile.ErrCorrupt, "--resume begins at the first step"},
		{"settings damaged", RunJSON, half, jsonfile.ErrCorrupt, "pretrain.json: file is damaged: "},
		{"an unknown setting", RunJSON, func(s string) string { return strings.Replace(s, `"lr"`, `"rl"`, 1) }, jsonfile.ErrCorrupt, `unknown setting "rl"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file, ours := strings.CutPrefix(tc.file, "base/")
			copied := filepath.Join(t.TempDir(), "run")
			if err := os.CopyFS(copied, os.DirFS(run)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(copied, file)
			if ours {
				path = filepath.Join(base, file)
			}
			was := string(fileBytes(t, path))
			edit(t, path, tc.bend)
			defer edit(t, path, func(string) string { return was })
			_, err := Pretrain(t.Context(), Config{}, options(b, copied, resumed))
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

// A finished run that is resumed says what it said, and computes nothing.
func TestFinishedRunIsResumed(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Steps, c.Warmup = 1, 0
	out := filepath.Join(t.TempDir(), "out")
	want := pretrain(t, b, c, out)
	before := sum(t, filepath.Join(out, "model.safetensors"))
	var notices []string
	got := pretrain(t, b, Config{}, out, resumed, func(o *Options) {
		o.OnEvent = func(e loop.Event) { notices = append(notices, e.(loop.Notice).Text) }
	})
	if got.FinalLoss != want.FinalLoss || got.Files[1] != want.Files[1] || sum(t, filepath.Join(out, "model.safetensors")) != before {
		t.Errorf("result %+v, want %+v", got, want)
	}
	if len(notices) != 1 || !strings.HasSuffix(notices[0], "has finished already") {
		t.Errorf("notices %q", notices)
	}
	edit(t, filepath.Join(out, resultJSON), func(s string) string { return s[1:] })
	if _, err := Pretrain(t.Context(), Config{}, options(b, out, resumed)); !errors.Is(err, jsonfile.ErrCorrupt) {
		t.Errorf("a damaged result: %v", err)
	}
}

// Where there is no run yet, resuming begins one.
func TestResumeOfNothing(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.Steps, c.Warmup = 1, 0
	pretrain(t, b, c, filepath.Join(t.TempDir(), "out"), resumed)
	if _, err := Pretrain(t.Context(), Config{}, options(b, filepath.Join(t.TempDir(), "out"), resumed)); !errors.Is(err, train.ErrConfig) {
		t.Errorf("without a run or settings: %v", err)
	}
	if _, err := ReadRunConfig(t.TempDir()); !errors.Is(err, rundir.ErrNoRun) || !strings.HasSuffix(err.Error(), "not a run directory: it has no pretrain.json") {
		t.Errorf("a folder without a run: %v", err)
	}
}

// A process that dies before its first step, between any two files, leaves a folder in which the run goes on.
func TestDeathBeforeTheFirstStep(t *testing.T) {
	b := testbackend.All(t)[0]
	for name, c := range kinds(b) {
		c.Steps, c.Warmup = 1, 0
		whole := filepath.Join(t.TempDir(), "whole")
		pretrain(t, b, c, whole)
		files := []string{".lock", RunJSON, "tokenizer.json", "tokenizer_config.json", "vocab.txt"}
		for n := range files {
			out := t.TempDir()
			for _, file := range files[:n+1] {
				if err := os.WriteFile(filepath.Join(out, file), fileBytes(t, filepath.Join(whole, file)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			pretrain(t, b, c, out, resumed)
			sameRun(t, name+": died after "+files[n], out, whole)
		}
	}
}
