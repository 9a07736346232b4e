package pretrain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/wordpiece"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// scratch holds what tests share; TestMain removes it.
var scratch = sync.OnceValue(func() string {
	dir, err := os.MkdirTemp("", "deeplora-test-*")
	if err != nil {
		panic(err)
	}
	return dir
})

func TestMain(m *testing.M) {
	code := m.Run()
	os.RemoveAll(scratch())
	os.Exit(code)
}

// corpusLines are 60 lines of small sentences, every sixth a pair.
func corpusLines() []string {
	who := []string{"the cat", "a small dog", "my neighbour", "the old sailor", "an engineer"}
	does := []string{"watches", "repairs", "carries", "remembers"}
	what := []string{"a bird in the garden", "the broken boat", "two boxes of apples"}
	var lines []string
	for i := range 60 {
		line := who[i%5] + " " + does[i%4] + " " + what[i%3]
		if i%6 == 5 {
			line += "\t" + who[(i+1)%5] + " " + does[(i+2)%4] + " quietly"
		}
		lines = append(lines, line)
	}
	return lines
}

// corpusTexts are the texts of those lines.
func corpusTexts() []string { return strings.Split(strings.Join(corpusLines(), "\t"), "\t") }

// smallFiles makes, once, a folder with corpus.txt, shape.json and the checkpoint teacher.
var smallFiles = sync.OnceValue(func() string {
	dir := scratch()
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "corpus.txt"), []byte(strings.Join(corpusLines(), "\n")+"\n"), 0o644),
		writeShape(filepath.Join(dir, "shape.json"), nil),
		writeTeacher(filepath.Join(dir, "teacher"), 7),
	)
	if err != nil {
		panic(err)
	}
	return dir
})

// writeShape makes a config.json of an encoder of one layer, 16 wide.
func writeShape(path string, change map[string]any) error {
	fields := map[string]any{
		"model_type": "bert", "vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
		"intermediate_size": 32, "max_position_embeddings": 24, "type_vocab_size": 2, "initializer_range": 0.1,
	}
	maps.Copy(fields, change)
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// writeTeacher makes an encoder of random weights, 20 wide, so large that texts differ.
func writeTeacher(dir string, seed uint64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	vocabulary, err := wordpiece.Train(slices.Values(corpusTexts()), wordpiece.Options{Size: 120, Lowercase: true})
	if err != nil {
		return err
	}
	if err := wordpiece.WriteFiles(dir, vocabulary, true, 32); err != nil {
		return err
	}
	shape := filepath.Join(dir, "config.json")
	if err := writeShape(shape, map[string]any{"vocab_size": len(vocabulary), "hidden_size": 20, "initializer_range": 0.5}); err != nil {
		return err
	}
	config, err := model.ReadConfig(os.DirFS(dir), "config.json")
	if err != nil {
		return err
	}
	c := model.New(config, model.MaskedLM, seed+100)
	return c.Save(dir, dtypes.Float32)
}

// small is a run of a second without a teacher, with everything on that such a run has.
func small() Config {
	c := Default()
	c.Corpus, c.Shape = []string{filepath.Join(smallFiles(), "corpus.txt")}, filepath.Join(smallFiles(), "shape.json")
	c.VocabSize, c.MaxLength, c.RowLength, c.Batch = 150, 20, 40, 2
	c.Steps, c.Warmup, c.SaveEvery, c.EvalEvery, c.Validation = 6, 2, 2, 3, 0.2
	c.WholeWord = true
	return c
}

// taught is small with a teacher and every objective.
func taught() Config {
	c := small()
	c.Teacher = filepath.Join(smallFiles(), "teacher")
	c.MaskShare, c.SamePairs, c.RandomPairs, c.TeacherInit, c.AttentionInit = 0.3, 0.1, 0.2, true, 0.1
	return c
}

// pretrain runs one, which must succeed.
func pretrain(t *testing.T, b compute.Backend, c Config, out string, more ...func(*Options)) *Result {
	t.Helper()
	r, err := Pretrain(t.Context(), c, options(b, out, more...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func options(b compute.Backend, out string, more ...func(*Options)) Options {
	o := Options{Backend: b, Out: out, Provenance: train.Provenance{Backend: b.Name(), Threads: 1}}
	for _, f := range more {
		f(&o)
	}
	return o
}

func resumed(o *Options) { o.Resume = true }

// on cancels a run at the first event that stop is true of.
func (c cancelled) on(stop func(loop.Event) bool) func(*Options) {
	return func(o *Options) {
		o.OnEvent = func(e loop.Event) {
			if stop(e) {
				c.cancel()
			}
		}
	}
}

type cancelled struct{ cancel context.CancelFunc }

// interrupt runs a pretraining and cancels it at the first event that stop is true of.
func interrupt(t *testing.T, b compute.Backend, c Config, out string, stop func(loop.Event) bool, more ...func(*Options)) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := Pretrain(ctx, c, options(b, out, append(more, cancelled{cancel}.on(stop))...))
	if !errors.Is(err, loop.ErrInterrupted) || !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: error %v", err)
	}
	if _, err := os.Stat(filepath.Join(out, resultJSON)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("an interrupted run has a result: %v", err)
	}
	return err
}

func atStep(n int) func(loop.Event) bool {
	return func(e loop.Event) bool { s, ok := e.(loop.Step); return ok && s.Step == n }
}

func atPhase(name string) func(loop.Event) bool {
	return func(e loop.Event) bool { p, ok := e.(loop.Phase); return ok && p.Name == name }
}

// prepared is a run of which everything is ready for the first step.
func prepared(t *testing.T, b compute.Backend, c Config) *run {
	t.Helper()
	r := &run{config: c, options: options(b, filepath.Join(t.TempDir(), "run"))}
	t.Cleanup(r.close)
	if err := r.create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func fileBytes(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func sum(t *testing.T, path string) string {
	t.Helper()
	s := sha256.Sum256(fileBytes(t, path))
	return hex.EncodeToString(s[:])
}

// madeFiles are the files of a model that a run makes.
var madeFiles = []string{"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt"}

// sameRun holds what a run made, and what it logged but for the clock, against another's.
func sameRun(t *testing.T, what, got, want string) {
	t.Helper()
	for _, name := range madeFiles {
		if sum(t, filepath.Join(got, name)) != sum(t, filepath.Join(want, name)) {
			t.Errorf("%s: %s differs", what, name)
		}
	}
	if a, b := logged(t, got), logged(t, want); a != b {
		t.Errorf("%s: the log is\n%s\nwant\n%s", what, a, b)
	}
}

// logged is metrics.jsonl without the clock.
func logged(t *testing.T, run string) string {
	t.Helper()
	var lines strings.Builder
	for line := range strings.Lines(string(fileBytes(t, filepath.Join(run, "metrics.jsonl")))) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, "tokens_per_s")
		delete(fields, "step_seconds")
		fmt.Fprintln(&lines, fields)
	}
	return lines.String()
}

// full reports whether every variant of a test is tried on this engine: XLA compiles for most of the time.
func full(b compute.Backend) bool { return b.String() == "go" || testshared.Thorough() }

// inputs is the number of args.
func (s shape) inputs() int {
	n := 4
	if s.masked > 0 {
		n += 3
	}
	if s.width > 0 {
		n += 5
	}
	return n
}
