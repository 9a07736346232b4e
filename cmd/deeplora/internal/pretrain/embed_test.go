package pretrain

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

func openEmbedder(t *testing.T, b compute.Backend, dir string) *Embedder {
	t.Helper()
	e, err := OpenEmbedder(t.Context(), b, dir, train.Sources{}, model.F32)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	return e
}

// statesOf are the encoder's last states of one text alone, [tokens, H].
func statesOf(t *testing.T, e *Embedder, text string) [][]float64 {
	t.Helper()
	row, _, err := data.EncodePair(e.tok, text, "", false, min(embedLength, e.model.Config.MaxPositionEmbeddings))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	n := len(row.IDs)
	args := []any{tensors.FromFlatDataAndDimensions(row.IDs, 1, n), tensors.FromFlatDataAndDimensions(row.Types, 1, n)}
	for _, spec := range e.model.Specs() {
		clone, err := e.model.Tensors[spec.Name].LocalClone()
		if err != nil {
			t.Fatal(err)
		}
		names, args = append(names, spec.Name), append(args, clone)
	}
	exec := MustNewExec(e.backend, func(in []*Node) *Node {
		weights := func(name string) *Node { return in[2+slices.Index(names, name)] }
		bert := &model.Encoder{Config: e.model.Config, Weights: weights, Hook: model.Frozen}
		return bert.Hidden(model.Padded{IDs: in[0], Types: in[1], Mask: OnesLike(in[0])})
	})
	defer exec.Finalize()
	flat := tensors.MustCopyFlatData[float32](exec.MustCall(args...)[0])
	states := make([][]float64, n)
	for i := range states {
		for _, v := range flat[i*e.Width() : (i+1)*e.Width()] {
			states[i] = append(states[i], float64(v))
		}
	}
	return states
}

// An embedding is the mean of a text's states, special tokens included, scaled to length 1; in the order of the
// texts, whatever they are computed with.
func TestEmbeddingsAreMeans(t *testing.T) {
	texts := []string{"the cat", "", "a small dog watches a bird in the garden", "the cat", strings.Repeat("an engineer repairs ", 20), "two boxes"}
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		e := openEmbedder(t, b, filepath.Join(smallFiles(), "teacher"))
		last := 0
		rows, err := e.Embed(t.Context(), texts, func(done, total int) { last = done })
		if err != nil {
			t.Fatal(err)
		}
		if len(rows) != len(texts) || last != len(texts) || e.Width() != 20 {
			t.Errorf("%d rows of %d, %d done", len(rows), e.Width(), last)
		}
		check := texts
		if !full(b) {
			check = texts[2:3]
		}
		for _, text := range check {
			mean := make([]float64, e.Width())
			for _, state := range statesOf(t, e, text) {
				for k, v := range state {
					mean[k] += v
				}
			}
			for k, want := range scaled(mean) {
				if got := float64(rows[slices.Index(texts, text)][k]); !(math.Abs(got-want) <= 1e-5) {
					t.Errorf("%q: value %d is %g, want %g", text, k, got, want)
				}
			}
		}
		if !slices.Equal(rows[0], rows[3]) || slices.Equal(rows[0], rows[5]) {
			t.Error("the same text has two embeddings, or two texts one")
		}
	})
}

// A folder that declares another pooling is embedded so, and one that declares more than that is refused.
func TestEmbeddingsFollowTheFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(smallFiles(), "teacher"))); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, sums.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	put := func(name, text string) {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	text := "a small dog watches a bird in the garden"
	backend := testbackend.All(t)[0]
	for pooling, of := range map[string]func(states [][]float64, k int) float64{
		"cls": func(states [][]float64, k int) float64 { return states[0][k] },
		"max": func(states [][]float64, k int) float64 {
			most := math.Inf(-1)
			for _, s := range states {
				most = max(most, s[k])
			}
			return most
		},
	} {
		put(modelfiles.PoolingConfig, `{"pooling_mode": "`+pooling+`"}`)
		e := openEmbedder(t, backend, dir)
		rows, err := e.Embed(t.Context(), []string{text, "a longer text " + text + " " + text}, nil) // beside which the first is padded
		if err != nil {
			t.Fatal(err)
		}
		want := make([]float64, e.Width())
		states := statesOf(t, e, text)
		for k := range want {
			want[k] = of(states, k)
		}
		for k, w := range scaled(want) {
			if got := float64(rows[0][k]); !(math.Abs(got-w) <= 1e-5) {
				t.Errorf("%s: value %d is %g, want %g", pooling, k, got, w)
			}
		}
		mean := &Embedder{How: modelfiles.Embedding{Pooling: modelfiles.Mean}, model: e.model}
		if shardName(e, []string{text}) == shardName(mean, []string{text}) {
			t.Errorf("%s: the cache takes it for the mean", pooling)
		}
	}
	put(modelfiles.SentenceConfig, `{"max_seq_length": 4}`)
	if e := openEmbedder(t, backend, dir); e.limit() != 4 {
		t.Errorf("reads %d tokens, want 4", e.limit())
	}
	put(modelfiles.Modules, `[{"type": "sentence_transformers.models.Transformer", "path": ""}, {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
		{"type": "sentence_transformers.models.Dense", "path": "2_Dense"}]`)
	if _, err := OpenEmbedder(t.Context(), backend, dir, train.Sources{}, model.F32); err == nil || !strings.Contains(err.Error(), "modules.json: module 2 is sentence_transformers.models.Dense (2_Dense); only") {
		t.Errorf("a dense layer: %v", err)
	}
}

func TestEmbedStopsAndRefuses(t *testing.T) {
	e := openEmbedder(t, testbackend.All(t)[0], filepath.Join(smallFiles(), "teacher"))
	if rows, err := e.Embed(t.Context(), nil, nil); err != nil || len(rows) > 0 {
		t.Errorf("no texts: %v, %v", rows, err)
	}
	if _, err := e.Embed(cancelledContext(t), []string{"a"}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := e.Embed(t.Context(), []string{"fine", "b\xe4d"}, nil); err == nil || !strings.Contains(err.Error(), `text "b\xe4d": byte 0xe4 at offset 1 is not valid UTF-8`) {
		t.Errorf("not text: %v", err)
	}
}

// Cosines of MiniLM's embeddings are Transformers'. DEEPLORA_MINILM names its folder.
func TestEmbeddingsOfMiniLM(t *testing.T) {
	dir := os.Getenv("DEEPLORA_MINILM")
	if dir == "" {
		t.Skip("DEEPLORA_MINILM is not set: name the folder of all-MiniLM-L6-v2 to test on it")
	}
	var golden struct{ Sentence1, Sentence2, Cosine []string }
	if err := json.Unmarshal(fileBytes(t, testshared.Path(t, "reference", "minilm.json")), &golden); err != nil {
		t.Fatal(err)
	}
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		e := openEmbedder(t, b, dir)
		rows, err := e.Embed(t.Context(), slices.Concat(golden.Sentence1, golden.Sentence2), nil)
		if err != nil {
			t.Fatal(err)
		}
		n := len(golden.Sentence1)
		for i, text := range golden.Cosine {
			want, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			if got := float64(cosine(rows[i], rows[n+i])); !(math.Abs(got-want) <= 2e-6) {
				t.Errorf("pair %d: cosine %.8f, want %.8f", i, got, want)
			}
		}
	})
}

// The cache gives what was computed, in half precision, and finds a shard by its texts and its teacher.
func TestTeacherTexts(t *testing.T) {
	b := testbackend.All(t)[0]
	e, dir := openEmbedder(t, b, filepath.Join(smallFiles(), "teacher")), filepath.Join(t.TempDir(), "cache")
	texts := corpusTexts()
	embed := func(e *Embedder, texts []string) [][]float32 {
		t.Helper()
		rows, err := teacherTexts(t.Context(), e, dir, texts, func(int, int) {})
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	rows := embed(e, texts)
	exact, err := e.Embed(t.Context(), texts, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range rows {
		for k := range rows[i] {
			if math.Abs(float64(rows[i][k]-exact[i][k])) > 1.0/2048 {
				t.Fatalf("text %d: %g in the cache, %g computed", i, rows[i][k], exact[i][k])
			}
		}
		if c := cosine(rows[i], rows[i]); math.Abs(float64(c)-1) > 1e-3 {
			t.Errorf("text %d has length² %g", i, c)
		}
	}
	files := func() int {
		found, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	for i, again := range embed(e, texts) {
		if !slices.Equal(again, rows[i]) {
			t.Errorf("text %d differs the second time", i)
		}
	}
	if n := files(); n != 1 {
		t.Errorf("%d shards of the same texts", n)
	}
	embed(e, texts[1:])
	other := filepath.Join(t.TempDir(), "other")
	if err := writeTeacher(other, 8); err != nil {
		t.Fatal(err)
	}
	embed(openEmbedder(t, b, other), texts)
	if n := files(); n != 3 {
		t.Errorf("%d shards after other texts and another teacher, want 3", n)
	}
}
