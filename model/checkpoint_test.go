package model_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/model"
)

const (
	query  = "bert.encoder.layer.1.attention.self.query.weight"
	norm   = "bert.encoder.layer.0.output.LayerNorm"
	shard1 = "model-00001-of-00002.safetensors"
	shard2 = "model-00002-of-00002.safetensors"
)

// What a user sees of each way in which a checkpoint can be wrong.
func TestLoadErrors(t *testing.T) {
	head := model.LoadOptions{DrawHead: true}
	for _, tc := range []struct {
		name string
		bend func(f *files)
		o    model.LoadOptions
		want string
	}{
		{
			"missing tensor", func(f *files) { delete(f.tensors, query) }, head,
			`model.safetensors: 1 tensor is missing: "bert.encoder.layer.1.attention.self.query.weight"; config.json asks for 2 layers of 4`,
		},
		{
			"missing layer", func(f *files) { f.config["num_hidden_layers"] = 3 }, head,
			`model.safetensors: 16 tensors are missing: "bert.encoder.layer.2.attention.self.query.weight", "bert.encoder.layer.2.attention.self.query.bias", "bert.encoder.layer.2.attention.self.key.weight", "bert.encoder.layer.2.attention.self.key.bias", "bert.encoder.layer.2.attention.self.value.weight" and 11 more; config.json asks for 3 layers of 4`,
		},
		{
			"unexpected tensor", func(f *files) { f.put("bert.encoder.layer.0.crossattention.bias", draw("x", 4), 4) }, head,
			`model.safetensors: 1 tensor is unexpected: "bert.encoder.layer.0.crossattention.bias"; is config.json from another model?`,
		},
		{
			"layer too many", func(f *files) { f.config["num_hidden_layers"] = 1 }, head,
			`model.safetensors: 16 tensors are unexpected: "bert.encoder.layer.1.attention.output.LayerNorm.bias", "bert.encoder.layer.1.attention.output.LayerNorm.weight", "bert.encoder.layer.1.attention.output.dense.bias", "bert.encoder.layer.1.attention.output.dense.weight", "bert.encoder.layer.1.attention.self.key.bias" and 11 more; is config.json from another model?`,
		},
		{
			"missing and unexpected", func(f *files) { f.rename(query, "bert.encoder.layer.1.attention.self.Query.weight") }, head,
			`model.safetensors: 1 tensor is missing: "bert.encoder.layer.1.attention.self.query.weight"; config.json asks for 2 layers of 4` + "\n" +
				`model.safetensors: 1 tensor is unexpected: "bert.encoder.layer.1.attention.self.Query.weight"; is config.json from another model?`,
		},
		{
			"misshapen tensor", func(f *files) { f.put(query, draw(query, 4, 6), 4, 6) }, head,
			`model.safetensors: tensor "bert.encoder.layer.1.attention.self.query.weight" is [4 6], want [4 4]; is config.json from another model?`,
		},
		{
			"another rank", func(f *files) { f.put(query, draw(query, 16), 16) }, head,
			`model.safetensors: tensor "bert.encoder.layer.1.attention.self.query.weight" is [16], want [4 4]; is config.json from another model?`,
		},
		{
			"vocabulary of another model", func(f *files) { f.config["vocab_size"] = 8 }, head,
			`model.safetensors: tensor "bert.embeddings.word_embeddings.weight" is [7 4], want [8 4]; is config.json from another model?`,
		},
		{
			"integers for weights", func(f *files) { f.put(query, make([]int32, 16), 4, 4) }, head,
			`safetensors: model.safetensors: tensor "bert.encoder.layer.1.attention.self.query.weight": is I32[4 4], which does not read as float32`,
		},
		{
			"not a number", func(f *files) {
				f.put(norm+".bias", []float32{0, 1, float32(math.NaN()), 3}, 4)
			}, head,
			`model.safetensors: tensor "bert.encoder.layer.0.output.LayerNorm.bias" holds NaN at element 2; a checkpoint of a training that diverged?`,
		},
		{
			"infinite", func(f *files) {
				f.put(norm+".bias", []float32{float32(math.Inf(-1)), 1, 2, 3}, 4)
			}, head,
			`model.safetensors: tensor "bert.encoder.layer.0.output.LayerNorm.bias" holds -Inf at element 0; a checkpoint of a training that diverged?`,
		},
		{
			"beyond float32", func(f *files) { f.put(norm+".bias", []float64{0, 1e39, 0, 0}, 4) }, head,
			`safetensors: model.safetensors: tensor "bert.encoder.layer.0.output.LayerNorm.bias": in elements 0 to 3: 1e+39 is beyond float32`,
		},
		{
			"mixed prefixes", func(f *files) { f.rename(query, strings.TrimPrefix(query, "bert.")) }, head,
			`model.safetensors mixes names with and without the prefix "bert.": "bert.pooler.dense.weight" and "encoder.layer.1.attention.self.query.weight"`,
		},
		{
			"one tensor with and without prefix", func(f *files) { f.put("pooler.dense.bias", draw("x", 4), 4) }, head,
			`model.safetensors: tensors "bert.pooler.dense.bias" and "pooler.dense.bias" are one tensor under two spellings`,
		},
		{
			"gamma beside weight", func(f *files) { f.put(norm+".gamma", draw("x", 4), 4) }, head,
			`model.safetensors: tensors "bert.encoder.layer.0.output.LayerNorm.gamma" and "bert.encoder.layer.0.output.LayerNorm.weight" are one tensor under two spellings`,
		},
		{
			"beta beside bias", func(f *files) { f.put(norm+".beta", draw("x", 4), 4) }, head,
			`model.safetensors: tensors "bert.encoder.layer.0.output.LayerNorm.beta" and "bert.encoder.layer.0.output.LayerNorm.bias" are one tensor under two spellings`,
		},
		{ // only LayerNorm's: a blanket replacement would find a tensor here
			"gamma elsewhere", func(f *files) { f.rename("bert.pooler.dense.bias", "bert.pooler.dense.beta") }, head,
			`model.safetensors: 1 tensor is missing: "bert.pooler.dense.bias"; config.json asks for 2 layers of 4` + "\n" +
				`model.safetensors: 1 tensor is unexpected: "bert.pooler.dense.beta"; is config.json from another model?`,
		},
		{
			"positions out of order", func(f *files) {
				f.put("bert.embeddings.position_ids", []int64{0, 1, 3, 3, 4}, 1, 5)
			}, head,
			`model.safetensors: "bert.embeddings.position_ids" holds 3 at position 2; only 0, 1, 2, … is supported`,
		},
		{
			"too few positions", func(f *files) { f.put("bert.embeddings.position_ids", []int64{0, 1, 2, 3}, 1, 4) }, head,
			`model.safetensors: "bert.embeddings.position_ids" holds 4 positions; config.json says max_position_embeddings is 5`,
		},
		{
			"positions that are no integers", func(f *files) { f.put("bert.embeddings.position_ids", draw("x", 1, 5), 1, 5) }, head,
			`safetensors: model.safetensors: tensor "bert.embeddings.position_ids": is F32[1 5], which does not read as int64`,
		},
		{
			"no head, none wanted", func(f *files) { delete(f.tensors, "classifier.weight"); delete(f.tensors, "classifier.bias") },
			model.LoadOptions{},
			`model.safetensors: no classification head: "classifier.weight", "classifier.bias" are missing; deeplora train gives it one`,
		},
		{
			"half a head", func(f *files) { delete(f.tensors, "classifier.weight") }, head,
			`model.safetensors: 1 tensor is missing: "classifier.weight"; config.json asks for 2 layers of 4`,
		},
		{
			"half a pooler", func(f *files) { delete(f.tensors, "bert.pooler.dense.bias") }, head,
			`model.safetensors: 1 tensor is missing: "bert.pooler.dense.bias"; config.json asks for 2 layers of 4`,
		},
		{
			"head of another width", func(*files) {},
			model.LoadOptions{DrawHead: true, Labels: []string{"a", "b"}, ProblemType: model.SingleLabel},
			`model.safetensors: tensor "classifier.weight" is [3 4], want [2 4]; this head was made for another task: --fresh-head draws a new one`,
		},
		{
			"head of other classes", func(*files) {},
			model.LoadOptions{DrawHead: true, Labels: []string{"no", "yes", "often"}, ProblemType: model.SingleLabel},
			`the checkpoint's head tells "no", "maybe", "yes" apart, the task "no", "yes", "often"; --fresh-head draws a new one; if they mean the same, correct id2label in config.json`,
		},
		{
			"unknown dtype", func(*files) {},
			model.LoadOptions{DType: dtypes.Int8},
			`load model as Int8; want Float32 or Float64`,
		},
		{
			"pickle only", func(f *files) { f.tensors = nil; f.more["pytorch_model.bin"] = "\x80\x02" }, head,
			`model folder has pytorch_model.bin but no model.safetensors: pickles can run code and are not read; convert it with Transformers: model.save_pretrained(DIR, safe_serialization=True)`,
		},
		{
			"sharded pickle only", func(f *files) { f.tensors = nil; f.more["pytorch_model.bin.index.json"] = "{}" }, head,
			`model folder has pytorch_model.bin.index.json but no model.safetensors: pickles can run code and are not read; convert it with Transformers: model.save_pretrained(DIR, safe_serialization=True)`,
		},
		{
			"no weights", func(f *files) { f.tensors = nil }, head,
			`model folder has neither model.safetensors nor model.safetensors.index.json`,
		},
		{
			"truncated", func(f *files) { f.tensors = nil; f.more["model.safetensors"] = "\x10\x00\x00\x00\x00\x00\x00\x00{}" }, head,
			`safetensors: model.safetensors: file is 10 bytes, the header alone ends at 24; the download or copy was cut short: get it again`,
		},
		{
			"missing shard", func(f *files) {
				f.shard()
				f.shards[query] = "model-00003-of-00003.safetensors"
				delete(f.tensors, query)
			}, head,
			`model.safetensors.index.json: open model-00003-of-00003.safetensors: file does not exist`,
		},
		{
			"unmapped tensor", func(f *files) {
				f.shard()
				index := strings.Replace(string(f.fs(t)["model.safetensors.index.json"].Data), `"`+query+`"`, `"bert.extra"`, 1)
				f.index = index
			}, head,
			`model.safetensors.index.json: shard model-00001-of-00002.safetensors holds tensor "bert.encoder.layer.1.attention.self.query.weight", which the index does not map`,
		},
		{
			"mapped to the other shard", func(f *files) {
				f.shard()
				text := string(f.fs(t)["model.safetensors.index.json"].Data)
				f.index = strings.Replace(text, `"`+query+`":"`+shard1, `"`+query+`":"`+shard2, 1)
			}, head,
			`model.safetensors.index.json: shard model-00001-of-00002.safetensors holds tensor "bert.encoder.layer.1.attention.self.query.weight", which the index maps to model-00002-of-00002.safetensors`,
		},
		{
			"name that no shard holds", func(f *files) {
				f.shard()
				text := string(f.fs(t)["model.safetensors.index.json"].Data)
				f.index = strings.Replace(text, `"weight_map":{`, `"weight_map":{"bert.ghost":"`+shard2+`",`, 1)
			}, head,
			`model.safetensors.index.json: tensor "bert.ghost" is not in its shard model-00002-of-00002.safetensors`,
		},
		{
			"name in two shards", func(f *files) {
				f.shard()
				both := []safetensors.Entry{f.tensors[query]}
				for name, shard := range f.shards {
					if shard == shard2 {
						both = append(both, f.tensors[name])
					}
				}
				f.more[shard2] = string(safetensorsBytes(t, both))
			}, head,
			`model.safetensors.index.json: tensor "bert.encoder.layer.1.attention.self.query.weight" is in both model-00001-of-00002.safetensors and model-00002-of-00002.safetensors`,
		},
		{
			"path traversal", func(f *files) { f.shard(); f.index = `{"weight_map": {"a": "../../etc/passwd"}}` }, head,
			`model.safetensors.index.json: tensor "a" is mapped to "../../etc/passwd"; a shard is a plain file name beside the index`,
		},
		{
			"the folder above", func(f *files) { f.shard(); f.index = `{"weight_map": {"a": ".."}}` }, head,
			`model.safetensors.index.json: tensor "a" is mapped to ".."; a shard is a plain file name beside the index`,
		},
		{
			"the folder itself", func(f *files) { f.shard(); f.index = `{"weight_map": {"a": "."}}` }, head,
			`model.safetensors.index.json: tensor "a" is mapped to "."; a shard is a plain file name beside the index`,
		},
		{
			"another separator", func(f *files) { f.shard(); f.index = `{"weight_map": {"a": "..\\secret"}}` }, head,
			`model.safetensors.index.json: tensor "a" is mapped to "..\\secret"; a shard is a plain file name beside the index`,
		},
		{
			"empty map", func(f *files) { f.shard(); f.index = `{"weight_map": {}}` }, head,
			`model.safetensors.index.json: weight_map is absent or empty`,
		},
		{
			"map of another type", func(f *files) { f.shard(); f.index = `{"weight_map": [1]}` }, head,
			`model.safetensors.index.json: weight_map is of type array; want map[string]string`,
		},
		{
			"index that is no JSON", func(f *files) { f.shard(); f.index = `{"weight_map": {}} {` }, head,
			`model.safetensors.index.json: byte 20: invalid character '{' after top-level value`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := miniBERT()
			tc.bend(f)
			c, err := model.Load(f.fs(t), tc.o)
			if err == nil {
				t.Fatalf("loaded: %v, want %s", c.Files, tc.want)
			}
			if err.Error() != tc.want {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

// Every form in which the same weights may lie on a disk loads as the same tensors.
func TestLoadVariants(t *testing.T) {
	plain := load(t, miniBERT(), model.LoadOptions{})
	if n := len(plain.Tensors); n != 16*2+9 {
		t.Fatalf("%d tensors, want %d", n, 16*2+9)
	}
	if len(plain.Fresh) > 0 || len(plain.Ignored) > 0 {
		t.Errorf("drawn: %v, ignored: %v, want none", plain.Fresh, plain.Ignored)
	}
	pretraining := []string{
		"bert.embeddings.position_ids", "cls.predictions.bias", "cls.predictions.transform.LayerNorm.gamma",
		"cls.predictions.transform.dense.weight", "cls.seq_relationship.weight",
	}
	for _, tc := range []struct {
		name    string
		bend    func(f *files)
		ignored []string
	}{
		{"prefixless", (*files).bare, nil},
		{"legacy gamma and beta", func(f *files) {
			for name := range f.tensors {
				if stem, ok := strings.CutSuffix(name, "LayerNorm.weight"); ok {
					f.rename(name, stem+"LayerNorm.gamma")
				}
				if stem, ok := strings.CutSuffix(name, "LayerNorm.bias"); ok {
					f.rename(name, stem+"LayerNorm.beta")
				}
			}
		}, nil},
		{"heads of pretraining", func(f *files) {
			f.put("bert.embeddings.position_ids", []int64{0, 1, 2, 3, 4}, 1, 5)
			for _, name := range pretraining[1:] {
				f.put(name, draw(name, 3), 3)
			}
		}, pretraining},
		{"prefixless position_ids of another integer type", func(f *files) {
			f.bare()
			f.put("embeddings.position_ids", []int32{0, 1, 2, 3, 4}, 5)
		}, []string{"embeddings.position_ids"}},
		{"shards", (*files).shard, nil},
		{"float64", func(f *files) {
			for name, e := range f.tensors {
				var wide []float64
				for _, v := range e.Data.([]float32) {
					wide = append(wide, float64(v))
				}
				f.put(name, wide, e.Shape...)
			}
		}, nil},
		{"single file beside an index", func(f *files) { f.index = "not even JSON" }, nil},
		{"pickle beside safetensors", func(f *files) { f.more["pytorch_model.bin"] = "x" }, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := miniBERT()
			tc.bend(f)
			c := load(t, f, model.LoadOptions{})
			sameTensors(t, c, plain)
			if !slices.Equal(c.Ignored, tc.ignored) || len(c.Fresh) > 0 {
				t.Errorf("ignored: %v, want %v; drawn: %v, want none", c.Ignored, tc.ignored, c.Fresh)
			}
		})
	}
}

// Half-precision files hold rounded weights: they load as exactly those.
func TestLoadHalfPrecision(t *testing.T) {
	for _, tc := range []struct {
		name  string
		store func(values []float32) any
		keep  int // bits of float32's 23 that the type keeps
	}{
		{"F16", func(v []float32) any { return safetensors.F16(v) }, 10},
		{"BF16", func(v []float32) any { return safetensors.BF16(v) }, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			half, rounded := miniBERT(), miniBERT()
			for name, e := range half.tensors {
				values := e.Data.([]float32)
				for i, v := range values { // values that the type holds exactly, but for their last bit kept
					values[i] = math.Float32frombits(math.Float32bits(v) &^ (1<<(23-tc.keep) - 1))
				}
				half.put(name, tc.store(values), e.Shape...)
				rounded.put(name, values, e.Shape...)
			}
			sameTensors(t, load(t, half, model.LoadOptions{}), load(t, rounded, model.LoadOptions{}))
			wide := load(t, half, model.LoadOptions{DType: dtypes.Float64})
			if got := wide.Tensors[query].DType(); got != dtypes.Float64 {
				t.Errorf("loaded as %s, want Float64", got)
			}
		})
	}
}

// A square kernel read without turning it has the right shape and the wrong numbers. The golden forward
// pass (T21) would notice; so does this, without the goldens.
func TestDenseKernelsAreTurned(t *testing.T) {
	f := miniBERT()
	c := load(t, f, model.LoadOptions{})
	file := f.tensors[query].Data.([]float32)
	got := flat(t, c.Tensors[query])
	for out := range 4 {
		for in := range 4 {
			if got[in*4+out] != file[out*4+in] {
				t.Fatalf("K[%d, %d] is %g, the file's [out, in] has %g", in, out, got[in*4+out], file[out*4+in])
			}
		}
	}
	table := "bert.embeddings.word_embeddings.weight"
	if !slices.Equal(flat(t, c.Tensors[table]), f.tensors[table].Data.([]float32)) {
		t.Error("an embedding table was turned")
	}
}

func TestFreshHeadIsSeeded(t *testing.T) {
	headless := func(f *files) *files {
		delete(f.tensors, "classifier.weight")
		delete(f.tensors, "classifier.bias")
		f.config["hidden_size"], f.config["initializer_range"] = 4, 0.5
		return f
	}
	wide := model.LoadOptions{Labels: make([]string, 3000), ProblemType: model.SingleLabel}
	for i := range wide.Labels {
		wide.Labels[i] = fmt.Sprint(i)
	}
	with := func(seed uint64) *model.Checkpoint {
		o := wide
		o.DrawHead, o.HeadSeed = true, seed
		return load(t, headless(miniBERT()), o)
	}
	a, b, other := with(1), with(1), with(2)
	if want := []string{"classifier.weight", "classifier.bias"}; !slices.Equal(a.Fresh, want) {
		t.Errorf("drawn: %v, want %v", a.Fresh, want)
	}
	sameTensors(t, a, b)
	values := flat(t, a.Tensors["classifier.weight"])
	if slices.Equal(values, flat(t, other.Tensors["classifier.weight"])) {
		t.Error("another seed draws the same head")
	}
	var sum, squares float64
	for _, v := range values {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	n := float64(len(values)) // 12,000 draws of N(0, 0.5²)
	if mean, std := sum/n, math.Sqrt(squares/n); math.Abs(mean) > 5*0.5/math.Sqrt(n) || math.Abs(std-0.5) > 5*0.5/math.Sqrt(2*n) {
		t.Errorf("mean %g, standard deviation %g, want 0 and 0.5", mean, std)
	}
	for _, v := range flat(t, a.Tensors["classifier.bias"]) {
		if v != 0 {
			t.Fatalf("a new bias is %g, want 0", v)
		}
	}
	o := wide
	o.DrawHead, o.HeadSeed, o.DType = true, 1, dtypes.Float64
	double := load(t, headless(miniBERT()), o)
	for i, v := range floats(t, double.Tensors["classifier.weight"]) {
		if float32(v) != values[i] {
			t.Fatalf("element %d is %g in float64 and %g in float32", i, v, values[i])
		}
	}
}

// Masked-LM checkpoints have neither pooler nor classifier: both are drawn, and both are announced.
func TestMaskedLMWithoutPooler(t *testing.T) {
	f := miniBERT()
	for _, name := range []string{"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"} {
		delete(f.tensors, name)
	}
	f.put("cls.predictions.bias", draw("x", 7), 7)
	c := load(t, f, model.LoadOptions{DrawHead: true})
	if want := []string{"bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"}; !slices.Equal(c.Fresh, want) {
		t.Errorf("drawn: %v, want %v", c.Fresh, want)
	}
	if want := []string{"cls.predictions.bias"}; !slices.Equal(c.Ignored, want) {
		t.Errorf("ignored: %v, want %v", c.Ignored, want)
	}
	_, err := model.Load(f.fs(t), model.LoadOptions{})
	want := `model.safetensors: 4 tensors are missing: "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias"; config.json asks for 2 layers of 4`
	if err == nil || err.Error() != want {
		t.Errorf("without a stream for new modules: %v\nwant %s", err, want)
	}
}

func TestNewHeadReplacesTheFiles(t *testing.T) {
	labels := []string{"a", "b", "c", "d", "e"}
	c := load(t, miniBERT(), model.LoadOptions{DrawHead: true, NewHead: true, Labels: labels, ProblemType: model.SingleLabel})
	if want := []string{"classifier.weight", "classifier.bias"}; !slices.Equal(c.Fresh, want) {
		t.Errorf("drawn: %v, want %v", c.Fresh, want)
	}
	if got := c.Tensors["classifier.weight"].Shape().Dimensions; !slices.Equal(got, []int{4, 5}) {
		t.Errorf("the head is %v, want [4 5]", got)
	}
	if !slices.Equal(c.Config.Labels(), labels) || c.Config.ProblemType != model.SingleLabel {
		t.Errorf("labels %v of a %s", c.Config.Labels(), c.Config.ProblemType)
	}
}

// Models of one task differ in the order of their classes: rows follow names, whatever their case.
func TestHeadFollowsClassNames(t *testing.T) {
	f := miniBERT() // no, maybe, yes
	weight, bias := f.tensors["classifier.weight"].Data.([]float32), f.tensors["classifier.bias"].Data.([]float32)
	for _, tc := range []struct {
		name string
		task []string
		rows []int
	}{
		{"same order", []string{"no", "maybe", "yes"}, []int{0, 1, 2}},
		{"another order", []string{"Yes", "NO", "maybe"}, []int{2, 0, 1}},
		{"config.json's own", nil, []int{0, 1, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := load(t, f, model.LoadOptions{Labels: tc.task, ProblemType: model.SingleLabel})
			gotWeight, gotBias := flat(t, c.Tensors["classifier.weight"]), flat(t, c.Tensors["classifier.bias"])
			for k, row := range tc.rows {
				if gotBias[k] != bias[row] {
					t.Errorf("bias %d is %g, want that of row %d, %g", k, gotBias[k], row, bias[row])
				}
				for h := range 4 {
					if gotWeight[h*3+k] != weight[row*4+h] {
						t.Errorf("weight [%d, %d] is not that of row %d", h, k, row)
					}
				}
			}
		})
	}
	t.Run("names that differ in case alone, no task asked for", func(t *testing.T) {
		g := miniBERT()
		g.config["id2label"] = map[string]string{"0": "US", "1": "us", "2": "us"}
		c := load(t, g, model.LoadOptions{})
		if !slices.Equal(flat(t, c.Tensors["classifier.bias"]), bias) || !slices.Equal(c.Config.Labels(), []string{"US", "us", "us"}) {
			t.Error("the head's rows moved")
		}
	})
	t.Run("names that differ in case alone, matched exactly", func(t *testing.T) {
		g := miniBERT()
		g.config["id2label"] = map[string]string{"0": "US", "1": "us", "2": "other"}
		c := load(t, g, model.LoadOptions{Labels: []string{"us", "US", "Other"}, ProblemType: model.SingleLabel})
		if got, want := flat(t, c.Tensors["classifier.bias"]), []float32{bias[1], bias[0], bias[2]}; !slices.Equal(got, want) {
			t.Errorf("bias %v, want %v", got, want)
		}
	})
	t.Run("unnamed classes keep their order", func(t *testing.T) {
		g := miniBERT()
		g.config["id2label"] = map[string]string{"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}
		c := load(t, g, model.LoadOptions{Labels: []string{"x", "y", "z"}, ProblemType: model.SingleLabel})
		if !slices.Equal(flat(t, c.Tensors["classifier.bias"]), bias) {
			t.Error("the head's rows moved")
		}
	})
	t.Run("a regression has one output, whatever its name", func(t *testing.T) {
		g := miniBERT()
		g.config["id2label"] = map[string]string{"0": "similarity"}
		g.put("classifier.weight", draw("w", 1, 4), 1, 4)
		g.put("classifier.bias", draw("b", 1), 1)
		c := load(t, g, model.LoadOptions{Labels: []string{"LABEL_0"}, ProblemType: model.Regression})
		if len(c.Fresh) > 0 || c.Config.NumLabels() != 1 {
			t.Errorf("drawn: %v; %d labels", c.Fresh, c.Config.NumLabels())
		}
	})
}

// The sums name what was read, in one order.
func TestLoadNotesItsFiles(t *testing.T) {
	names := func(c *model.Checkpoint) (list []string) {
		for _, f := range c.Files {
			if len(f.SHA256) != 64 {
				t.Errorf("sha256 of %s is %q", f.File, f.SHA256)
			}
			list = append(list, f.File)
		}
		return list
	}
	f := miniBERT()
	if got, want := names(load(t, f, model.LoadOptions{})), []string{"config.json", "model.safetensors"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	f.shard()
	sharded := load(t, f, model.LoadOptions{})
	if got, want := names(sharded), []string{"config.json", shard1, shard2}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	f.tensors[query].Data.([]float32)[0]++
	if again := load(t, f, model.LoadOptions{}); slices.Equal(again.Files, sharded.Files) {
		t.Error("another weight, the same sums")
	}
}

// The heads of other models, under whatever name, are no reason to refuse their encoder: a new head is drawn.
func TestHeadsOfOtherModels(t *testing.T) {
	for _, tc := range []struct {
		name string
		bend func(f *files)
		want []string // what is ignored
	}{
		{"question answering", func(f *files) {
			f.put("qa_outputs.weight", draw("q", 2, 4), 2, 4)
			f.put("qa_outputs.bias", draw("p", 2), 2)
		}, []string{"qa_outputs.bias", "qa_outputs.weight"}},
		{"ColBERT", func(f *files) { f.put("linear.weight", draw("l", 3, 4), 3, 4) }, []string{"linear.weight"}},
		{"beside names without bert.", func(f *files) {
			f.bare()
			f.put("linear.weight", draw("l", 3, 4), 3, 4)
		}, []string{"linear.weight"}},
		{"of tokens", func(f *files) {
			f.config["architectures"] = []string{"BertForTokenClassification"}
			f.put("classifier.weight", draw("w", 3, 4), 3, 4)
			f.put("classifier.bias", draw("b", 3), 3)
		}, []string{"classifier.bias", "classifier.weight"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := miniBERT()
			delete(f.tensors, "classifier.weight")
			delete(f.tensors, "classifier.bias")
			tc.bend(f)
			c := load(t, f, model.LoadOptions{DrawHead: true, Labels: []string{"a", "b"}, ProblemType: model.SingleLabel})
			if !slices.Equal(c.Ignored, tc.want) || !slices.Equal(c.Fresh, []string{"classifier.weight", "classifier.bias"}) {
				t.Errorf("ignored %v, want %v; drawn %v", c.Ignored, tc.want, c.Fresh)
			}
		})
	}
}
