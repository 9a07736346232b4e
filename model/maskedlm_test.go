package model_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/model"
)

const maskedLMGolden = "testdata/maskedlm"

// maskedFiles are the golden masked-language model, to be bent: as BertForMaskedLM saves one, without a pooler.
func maskedFiles(t testing.TB) *files {
	t.Helper()
	f := &files{
		config: map[string]any{
			"model_type": "bert", "vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
			"intermediate_size": 24, "max_position_embeddings": 24, "type_vocab_size": 2,
		},
		tensors: map[string]safetensors.Entry{}, more: map[string]string{},
	}
	f.putAll(t, filepath.Join(maskedLMGolden, "model.safetensors"))
	return f
}

func openSafetensors(t testing.TB, path string) *safetensors.File {
	t.Helper()
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// goldenBatch is ids, types and mask of the golden batch, and its logits over all positions.
func goldenBatch(t testing.TB) (batch []*tensors.Tensor, logits []float64) {
	t.Helper()
	f := openSafetensors(t, filepath.Join(maskedLMGolden, "golden.safetensors"))
	for _, name := range []string{"input_ids", "token_type_ids", "attention_mask"} {
		info, _ := f.Info(name)
		batch = append(batch, tensors.FromFlatDataAndDimensions(int32s(t, f, name), info.Shape...))
	}
	logits, err := f.Float64("logits")
	if err != nil {
		t.Fatal(err)
	}
	return batch, logits
}

// evaluate evaluates fn over all tensors of a checkpoint and a batch. Tensors are cloned: they belong to one
// backend once used.
func evaluate(t *testing.T, b compute.Backend, c *model.Checkpoint, batch []*tensors.Tensor, fn func(bert *model.Encoder, in []*Node) []*Node) [][]float64 {
	t.Helper()
	var names []string
	var args []any
	add := func(x *tensors.Tensor) {
		clone, err := x.LocalClone()
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, clone)
	}
	for _, spec := range c.Specs() {
		names = append(names, spec.Name)
		add(c.Tensors[spec.Name])
	}
	for _, x := range batch {
		add(x)
	}
	exec, err := NewExec(b, func(in []*Node) []*Node {
		weights := func(name string) *Node { return in[slices.Index(names, name)] }
		return fn(&model.Encoder{Config: c.Config, Weights: weights, Hook: model.Frozen}, in[len(names):])
	})
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	out, err := exec.Call(args...)
	if err != nil {
		t.Fatal(err)
	}
	var values [][]float64
	for _, x := range out {
		values = append(values, floats(t, x))
	}
	return values
}

// tokenLogits are the logits of every position of ids, types and mask, [batch·seq, V], and the states before.
func tokenLogits(bert *model.Encoder, in []*Node) []*Node {
	hidden := bert.Hidden(model.Padded{IDs: in[0], Types: in[1], Mask: in[2]})
	return []*Node{bert.TokenLogits(hidden), hidden}
}

// agree fails where a differs from b anywhere by more than limit.
func agree(t *testing.T, what string, a, b []float64, limit float64) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%s: %d values, want %d", what, len(a), len(b))
	}
	for i := range a {
		if !(math.Abs(a[i]-b[i]) <= limit) {
			t.Fatalf("%s: value %d is %g, want %g", what, i, a[i], b[i])
		}
	}
}

// Logits of a BertForMaskedLM are Transformers', also of files with the decoder that is the word embeddings again,
// and of those with the names of old.
func TestTokenLogits(t *testing.T) {
	batch, want := goldenBatch(t)
	variants := []struct {
		name    string
		bend    func(f *files)
		ignored int
	}{
		{"as saved", func(*files) {}, 0},
		{"decoder in the file", func(f *files) {
			words, bias := f.tensors["bert.embeddings.word_embeddings.weight"], f.tensors["cls.predictions.bias"]
			f.put("cls.predictions.decoder.weight", words.Data, words.Shape...)
			f.put("cls.predictions.decoder.bias", bias.Data, bias.Shape...)
		}, 2},
		{"pretraining's other head, old names", func(f *files) {
			f.put("cls.seq_relationship.weight", draw("s", 2, 16), 2, 16)
			f.put("cls.seq_relationship.bias", draw("s", 2), 2)
			f.rename("cls.predictions.transform.LayerNorm.weight", "cls.predictions.transform.LayerNorm.gamma")
			f.rename("cls.predictions.transform.LayerNorm.bias", "cls.predictions.transform.LayerNorm.beta")
			f.bare()
		}, 2},
	}
	for _, v := range variants {
		c := load(t, maskedWith(t, v.bend), model.LoadOptions{Architecture: model.MaskedLM, DrawHead: true})
		if !slices.Equal(c.Fresh, []string{"bert.pooler.dense.weight", "bert.pooler.dense.bias"}) || len(c.Ignored) != v.ignored {
			t.Errorf("%s: drawn %v, ignored %v", v.name, c.Fresh, c.Ignored)
		}
		testbackend.Each(t, func(t *testing.T, b compute.Backend) {
			out := evaluate(t, b, c, batch, tokenLogits)
			mask := tensors.MustCopyFlatData[int32](batch[2])
			for i, real := range mask {
				if real == 1 {
					agree(t, v.name, out[0][i*40:(i+1)*40], want[i*40:(i+1)*40], 1e-5)
				}
			}
		})
	}
}

func maskedWith(t testing.TB, bend func(f *files)) *files {
	f := maskedFiles(t)
	bend(f)
	return f
}

// A head that would be misread, or that is there in part, is refused.
func TestMaskedLMRefuses(t *testing.T) {
	for _, tc := range []struct {
		name string
		bend func(f *files)
		want string
	}{
		{
			"a decoder of its own", func(f *files) { f.config["tie_word_embeddings"] = false },
			`config.json: tie_word_embeddings is false; a BertForMaskedLM is read with its word embeddings for decoder`,
		},
		{
			"half a head", func(f *files) { delete(f.tensors, "cls.predictions.bias") },
			`model.safetensors: 1 tensor is missing: "cls.predictions.bias"; config.json asks for 2 layers of 16`,
		},
		{
			"a bias of another vocabulary", func(f *files) { f.put("cls.predictions.bias", draw("b", 39), 39) },
			`model.safetensors: tensor "cls.predictions.bias" is [39], want [40]; is config.json from another model?`,
		},
		{
			"a head that is not BERT's", func(f *files) { f.put("cls.predictions.extra.weight", draw("b", 4), 4) },
			`model.safetensors: 1 tensor is unexpected: "cls.predictions.extra.weight"`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := model.Load(maskedWith(t, tc.bend).fs(t), model.LoadOptions{Architecture: model.MaskedLM, DrawHead: true})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v\nwant  %s", err, tc.want)
			}
		})
	}
}

// What one checkpoint is read as decides which tensors it has.
func TestArchitectures(t *testing.T) {
	f := maskedFiles(t)
	for _, tc := range []struct {
		a       model.Architecture
		tensors int
		fresh   []string
		ignored int
	}{
		{model.MaskedLM, 16*2 + 12, []string{"bert.pooler.dense.weight", "bert.pooler.dense.bias"}, 0},
		{model.Base, 16*2 + 5, nil, 5},
		{model.SequenceClassification, 16*2 + 9, []string{"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}, 5},
	} {
		c := load(t, f, model.LoadOptions{Architecture: tc.a, DrawHead: true})
		if len(c.Tensors) != tc.tensors || len(c.Specs()) != tc.tensors || !slices.Equal(c.Fresh, tc.fresh) || len(c.Ignored) != tc.ignored {
			t.Errorf("%d: %d tensors, drawn %v, ignored %v", tc.a, len(c.Tensors), c.Fresh, c.Ignored)
		}
	}
	if _, err := model.Load(f.fs(t), model.LoadOptions{Architecture: model.Base}); err != nil {
		t.Errorf("an encoder needs no head: %v", err)
	}
}

// New draws every tensor from a stream of its own, as Transformers initialises.
func TestNew(t *testing.T) {
	config, err := model.ReadConfig(os.DirFS(maskedLMGolden), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	config.PadTokenID = 3
	c, again, other := model.New(config, model.MaskedLM, 1), model.New(config, model.MaskedLM, 1), model.New(config, model.MaskedLM, 2)
	sameTensors(t, again, c)
	words := flat(t, c.Tensors["bert.embeddings.word_embeddings.weight"])
	if slices.Equal(words, flat(t, other.Tensors["bert.embeddings.word_embeddings.weight"])) {
		t.Error("another seed, the same words")
	}
	var sum float64
	for i, v := range words {
		if row := i / config.HiddenSize; row == 3 && v != 0 {
			t.Errorf("the padding token's row holds %g", v)
		}
		sum += float64(v) * float64(v)
	}
	if std := math.Sqrt(sum / float64(len(words)-config.HiddenSize)); math.Abs(std/config.InitializerRange-1) > 0.1 {
		t.Errorf("word embeddings have a standard deviation of %.3f, want %.3f", std, config.InitializerRange)
	}
	for _, spec := range c.Specs() {
		for _, v := range flat(t, c.Tensors[spec.Name]) {
			norm := strings.HasSuffix(spec.Name, "LayerNorm.weight")
			if len(spec.Shape) == 1 && (norm && v != 1 || !norm && v != 0) {
				t.Fatalf("%s begins at %g", spec.Name, v)
			}
		}
	}
}

// packed are rows of segments: their lengths by row, the ids and types flat by segment.
var packedLengths = [][]int{{5, 4}, {7, 2, 3}}

const packedRow = 12

// packSegments gives the packed batch: ids, types, segments, positions [2, 12].
func packSegments(segments [][]int32) []*tensors.Tensor {
	n := len(packedLengths) * packedRow
	ids, types, which, positions := make([]int32, n), make([]int32, n), make([]int32, n), make([]int32, n)
	next := 0
	for row, lengths := range packedLengths {
		at := row * packedRow
		for s, length := range lengths {
			for i := range length {
				ids[at+i], types[at+i], which[at+i], positions[at+i] = segments[next][i], int32(i%2), int32(s+1), int32(i)
			}
			at, next = at+length, next+1
		}
	}
	var batch []*tensors.Tensor
	for _, v := range [][]int32{ids, types, which, positions} {
		batch = append(batch, tensors.FromFlatDataAndDimensions(v, len(packedLengths), packedRow))
	}
	return batch
}

func packedStates(bert *model.Encoder, in []*Node) []*Node {
	return []*Node{bert.Hidden(model.Packed{IDs: in[0], Types: in[1], Segments: in[2], Positions: in[3]})}
}

// drawnSegments are ids for the segments of packedLengths.
func drawnSegments() (segments [][]int32) {
	s := rng.New(5, "segments")
	for _, lengths := range packedLengths {
		for _, length := range lengths {
			ids := make([]int32, length)
			for i := range ids {
				ids[i] = int32(s.IntN(40))
			}
			segments = append(segments, ids)
		}
	}
	return segments
}

// A segment of a packed row has the states it has alone.
func TestPackedRowsAreTextsAlone(t *testing.T) {
	c := load(t, maskedFiles(t), model.LoadOptions{Architecture: model.MaskedLM, DrawHead: true})
	segments := drawnSegments()
	const longest = 7
	n := len(segments) * longest
	ids, types, mask := make([]int32, n), make([]int32, n), make([]int32, n)
	for row, segment := range segments {
		for i, id := range segment {
			ids[row*longest+i], types[row*longest+i], mask[row*longest+i] = id, int32(i%2), 1
		}
	}
	var batch []*tensors.Tensor
	for _, v := range [][]int32{ids, types, mask} {
		batch = append(batch, tensors.FromFlatDataAndDimensions(v, len(segments), longest))
	}
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		alone := evaluate(t, b, c, batch, tokenLogits)[1]
		packed := evaluate(t, b, c, packSegments(segments), packedStates)[0]
		eachSegment(func(i, at, length int) {
			const h = 16
			agree(t, "segment", packed[at*h:(at+length)*h], alone[i*longest*h:(i*longest+length)*h], 1e-5)
		})
	})
}

// eachSegment visits the segments of packedLengths: number, first position in the flat rows, length.
func eachSegment(visit func(i, at, length int)) {
	i := 0
	for row, lengths := range packedLengths {
		at := row * packedRow
		for _, length := range lengths {
			visit(i, at, length)
			at, i = at+length, i+1
		}
	}
}

// What stands in a segment, or in the padding, does not reach the others.
func TestPackedRowsDoNotLeak(t *testing.T) {
	c := load(t, maskedFiles(t), model.LoadOptions{Architecture: model.MaskedLM, DrawHead: true})
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		before := evaluate(t, b, c, packSegments(drawnSegments()), packedStates)[0]
		segments := drawnSegments()
		const changed, h = 1, 16
		for i := range segments[changed] {
			segments[changed][i] = (segments[changed][i] + 1) % 40
		}
		batch := packSegments(segments)
		tensors.MustMutableFlatData(batch[0], func(ids []int32) { ids[packedRow-1] = 39 }) // padding
		after := evaluate(t, b, c, batch, packedStates)[0]
		eachSegment(func(i, at, length int) {
			was, is := before[at*h:(at+length)*h], after[at*h:(at+length)*h]
			if i == changed {
				if slices.Equal(was, is) {
					t.Error("the changed segment has the states it had")
				}
				return
			}
			agree(t, "another segment", is, was, 1e-6)
		})
	})
}
