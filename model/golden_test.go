package model_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
)

// tiny is the golden encoder: its checkpoint in one dtype, the golden batch and the golden numbers.
type tiny struct {
	checkpoint               *model.Checkpoint
	ids, types, mask, labels *tensors.Tensor
	want                     struct {
		Logits     [][]float64            `json:"logits"`
		Norms      []float64              `json:"hidden_states_fro_unpadded"`
		LastHidden []float64              `json:"last_hidden_b1_s3"`
		Pooled     []float64              `json:"pooled_row0"`
		CE         struct{ Loss float64 } `json:"ce"`
		Kernels    []struct {
			Name    string
			In, Out int
		} `json:"kernels"`
	}
}

func loadTiny(t *testing.T, dtype dtypes.DType) *tiny {
	t.Helper()
	g := &tiny{}
	var err error
	if g.checkpoint, err = model.Load(os.DirFS(testshared.Path(t, "reference", "tiny_bert")), model.LoadOptions{DType: dtype}); err != nil {
		t.Fatal(err)
	}
	f, err := safetensors.Open(testshared.Path(t, "reference", "tiny_bert_inputs.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func(name string) *tensors.Tensor {
		values, err := f.Int64(name)
		if err != nil {
			t.Fatal(err)
		}
		narrow := make([]int32, len(values))
		for i, v := range values {
			narrow[i] = int32(v)
		}
		info, _ := f.Info(name)
		return tensors.FromFlatDataAndDimensions(narrow, info.Shape...)
	}
	g.ids, g.types, g.mask, g.labels = read("input_ids"), read("token_type_ids"), read("attention_mask"), read("labels")
	text, err := os.ReadFile(testshared.Path(t, "reference", "tiny_bert.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &g.want); err != nil {
		t.Fatal(err)
	}
	return g
}

// run evaluates fn over the encoder on the golden batch.
func (g *tiny) run(t *testing.T, b compute.Backend, fn func(bert *model.Encoder, in model.Padded) []*Node) []*tensors.Tensor {
	t.Helper()
	return run(t, b, g.checkpoint, []*tensors.Tensor{g.ids, g.types, g.mask}, fn)
}

// run evaluates fn over a checkpoint's encoder. Tensors are cloned: they belong to one backend once used.
func run(t *testing.T, b compute.Backend, c *model.Checkpoint, batch []*tensors.Tensor, fn func(bert *model.Encoder, in model.Padded) []*Node) []*tensors.Tensor {
	t.Helper()
	var names []string
	var args []any
	for _, spec := range c.Config.Specs() {
		clone, err := c.Tensors[spec.Name].LocalClone()
		if err != nil {
			t.Fatal(err)
		}
		names, args = append(names, spec.Name), append(args, clone)
	}
	for _, x := range batch {
		clone, err := x.LocalClone()
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, clone)
	}
	exec, err := NewExec(b, func(in []*Node) []*Node {
		weights := func(name string) *Node { return in[slices.Index(names, name)] }
		bert := &model.Encoder{Config: c.Config, Weights: weights, Hook: c.Precision.Hook, Precision: c.Precision}
		n := len(names)
		return fn(bert, model.Padded{IDs: in[n], Types: in[n+1], Mask: in[n+2]})
	})
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	out, err := exec.Call(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func floats(t *testing.T, x *tensors.Tensor) []float64 {
	t.Helper()
	if x.DType() == dtypes.Float64 {
		return tensors.MustCopyFlatData[float64](x)
	}
	var wide []float64
	for _, v := range tensors.MustCopyFlatData[float32](x) {
		wide = append(wide, float64(v))
	}
	return wide
}

// near fails where a differs from b by more than rel of b's norm.
func near(t *testing.T, what string, a, b []float64, rel float64) {
	t.Helper()
	if len(a) != len(b) {
		t.Fatalf("%s: %d values, want %d", what, len(a), len(b))
	}
	var diff, norm float64
	for i := range a {
		diff += (a[i] - b[i]) * (a[i] - b[i])
		norm += b[i] * b[i]
	}
	if got := math.Sqrt(diff / norm); !(got <= rel) {
		t.Errorf("%s: relative difference %.3g, want at most %.3g", what, got, rel)
	}
}

var precisions = []struct {
	dtype         dtypes.DType
	rel, gradient float64
}{{dtypes.Float32, 1e-5, 1e-4}, {dtypes.Float64, 1e-10, 1e-10}}

// eachPrecision runs a test on every engine, in float32 and float64.
func eachPrecision(t *testing.T, fn func(t *testing.T, b compute.Backend, g *tiny, rel, gradient float64)) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, p := range precisions {
			t.Run(p.dtype.String(), func(t *testing.T) { fn(t, b, loadTiny(t, p.dtype), p.rel, p.gradient) })
		}
	})
}

func crossEntropy(logits, labels *Node) *Node {
	chosen := OneHot(labels, logits.Shape().Dim(-1), logits.DType())
	return Neg(ReduceAllMean(ReduceSum(Mul(chosen, LogSoftmax(logits, -1)), -1)))
}

func TestT21Forward(t *testing.T) {
	eachPrecision(t, func(t *testing.T, b compute.Backend, g *tiny, rel, _ float64) {
		out := g.run(t, b, func(bert *model.Encoder, in model.Padded) []*Node {
			hidden := bert.Hidden(in)
			logits := bert.Logits(in)
			return []*Node{logits, hidden, bert.Pooled(bert.First(in)), crossEntropy(logits, Const(hidden.Graph(), g.labels.Value()))}
		})
		near(t, "logits", floats(t, out[0]), slices.Concat(g.want.Logits...), rel)
		hidden := floats(t, out[1])
		near(t, "last hidden state [1, 3]", hidden[(16+3)*32:(16+4)*32], g.want.LastHidden, rel)
		near(t, "pooled [0]", floats(t, out[2])[:32], g.want.Pooled, rel)
		near(t, "loss", floats(t, out[3]), []float64{g.want.CE.Loss}, rel)
		mask := tensors.MustCopyFlatData[int32](g.mask)
		sum := 0.0
		for i, v := range hidden {
			sum += v * v * float64(mask[i/32])
		}
		near(t, "norm over real tokens", []float64{math.Sqrt(sum)}, g.want.Norms[len(g.want.Norms)-1:], rel)
	})
}

// bf16x3 computes the golden logits almost as float32 does, and bf16 to its eight bits. bf16x3 is off by 1e-5, of which
// float32's own rounding decides the last digit: 1.05e-5 with AVX512_BF16, below 1e-5 on a processor without.
func TestT21ForwardHeld(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() != "xla" {
			err := loadTiny(t, dtypes.Float32).checkpoint.Hold("bf16", b, func(string) bool { return false })
			if want := "precision bf16: this engine (Go Backend) computes in float32 only; take xla:cpu or xla:cuda, or precision f32"; err == nil || err.Error() != want {
				t.Errorf("%v, want %s", err, want)
			}
			return
		}
		for p, most := range map[model.Precision]float64{"bf16x3": 1.1e-5, "bf16": 3e-2} {
			g := loadTiny(t, dtypes.Float32)
			if err := g.checkpoint.Hold(p, b, func(weight string) bool { return weight == "bert.pooler.dense.weight" }); err != nil {
				t.Fatal(err)
			}
			if held, kept := g.checkpoint.Kernel("bert.encoder.layer.0.output.dense").DType(), g.checkpoint.Tensors["bert.pooler.dense.weight"].DType(); held != dtypes.BFloat16 || kept != dtypes.Float32 {
				t.Errorf("%s: kernels are %s, what is trained %s", p, held, kept)
			}
			out := g.run(t, b, func(bert *model.Encoder, in model.Padded) []*Node { return []*Node{bert.Logits(in)} })
			near(t, string(p)+": logits", floats(t, out[0]), slices.Concat(g.want.Logits...), most)
		}
		err := loadTiny(t, dtypes.Float64).checkpoint.Hold("bf16", b, func(string) bool { return false })
		if err == nil || !strings.Contains(err.Error(), "is Float64; want Float32") {
			t.Errorf("%v", err)
		}
	})
}

func TestT22KernelGradients(t *testing.T) {
	golden, err := safetensors.Open(testshared.Path(t, "reference", "tiny_bert_kernel_grads.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close()
	eachPrecision(t, func(t *testing.T, b compute.Backend, g *tiny, _, rel float64) {
		names := golden.Names()
		if len(names) != 15 {
			t.Fatalf("%d golden gradients, want 15", len(names))
		}
		out := g.run(t, b, func(bert *model.Encoder, in model.Padded) []*Node {
			loss := crossEntropy(bert.Logits(in), Const(in.IDs.Graph(), g.labels.Value()))
			var kernels []*Node
			for _, name := range names {
				kernels = append(kernels, bert.Weights(name+".weight"))
			}
			return Gradient(loss, kernels...)
		})
		for i, name := range names {
			want, err := golden.Float64(name)
			if err != nil {
				t.Fatal(err)
			}
			near(t, name, floats(t, out[i]), want, rel)
		}
	})
}

// Ids under mask 0 must not reach the logits.
func TestT22PaddingDoesNotLeak(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		g := loadTiny(t, dtypes.Float32)
		logits := func(bert *model.Encoder, in model.Padded) []*Node { return []*Node{bert.Logits(in)} }
		before := floats(t, g.run(t, b, logits)[0])
		mask := tensors.MustCopyFlatData[int32](g.mask)
		padded := 0
		tensors.MustMutableFlatData(g.ids, func(ids []int32) {
			for i := range ids {
				if mask[i] == 0 {
					ids[i] = int32(7 + i%50)
					padded++
				}
			}
		})
		if padded == 0 {
			t.Fatal("the golden batch has no padding")
		}
		near(t, "logits", floats(t, g.run(t, b, logits)[0]), before, 1e-6)
	})
}

// MiniLM is a real pretrained encoder: DEEPLORA_MINILM names its folder.
func TestMiniLM(t *testing.T) {
	dir := os.Getenv("DEEPLORA_MINILM")
	if dir == "" {
		t.Skip("DEEPLORA_MINILM is not set: name the folder of all-MiniLM-L6-v2 to test on it")
	}
	type summary struct {
		First   []string
		Sum, L2 string
	}
	var want struct {
		IDs    [][]int32 `json:"input_ids"`
		Types  [][]int32 `json:"token_type_ids"`
		Mask   [][]int32 `json:"attention_mask"`
		Pooler []summary `json:"pooler_output"`
		CLS    []summary `json:"cls_last_hidden"`
	}
	text, err := os.ReadFile(testshared.Path(t, "reference", "minilm.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if _, err := model.Load(os.DirFS(dir), model.LoadOptions{}); err == nil {
		t.Error("loaded without a classifier")
	}
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		c, err := model.Load(os.DirFS(dir), model.LoadOptions{DrawHead: true})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(c.Fresh, []string{"classifier.weight", "classifier.bias"}) {
			t.Errorf("drawn: %v, want the classifier alone", c.Fresh)
		}
		batch := []*tensors.Tensor{tensors.FromValue(want.IDs), tensors.FromValue(want.Types), tensors.FromValue(want.Mask)}
		out := run(t, b, c, batch, func(bert *model.Encoder, in model.Padded) []*Node {
			first := bert.First(in)
			return []*Node{bert.Pooled(first), first}
		})
		for i, golden := range [][]summary{want.Pooler, want.CLS} {
			values := floats(t, out[i])
			for row, g := range golden {
				compareSummary(t, values[row*384:(row+1)*384], g.First, g.Sum, g.L2)
			}
		}
	})
}

func compareSummary(t *testing.T, row []float64, first []string, sum, l2 string) {
	t.Helper()
	number := func(text string) float64 {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	var want []float64
	for _, v := range first {
		want = append(want, number(v))
	}
	near(t, "first values", row[:len(want)], want, 1e-4)
	var total, squares float64
	for _, v := range row {
		total += v
		squares += v * v
	}
	if math.Abs(total-number(sum)) > 1e-4*math.Sqrt(squares*float64(len(row))) {
		t.Errorf("sum %g, want %s", total, sum)
	}
	near(t, "norm", []float64{math.Sqrt(squares)}, []float64{number(l2)}, 1e-4)
}

func TestSpecsCountsOfBERTBase(t *testing.T) {
	for folder, want := range map[string]int{"bert-base-cased": 108311810, "bert-base-uncased": 109483778} {
		c, err := model.ReadConfig(os.DirFS(testshared.Path(t, "tokenizers", folder)), "config.json")
		if err != nil {
			t.Fatal(err)
		}
		parameters := 0
		for _, s := range c.Specs() {
			n := 1
			for _, d := range s.Shape {
				n *= d
			}
			parameters += n
		}
		if n := len(c.Specs()); n != 201 || parameters != want {
			t.Errorf("%s: %d tensors of %d parameters, want 201 of %d", folder, n, parameters, want)
		}
	}
}
