package pretrain

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

func eachXLA(t *testing.T, fn func(t *testing.T, b compute.Backend)) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() == "xla" {
			fn(t, b)
		}
	})
}

// lossIn is the loss of a batch with every objective, with its gradients by all parameters, in a precision, and the
// products that they are computed from.
func lossIn(t *testing.T, b compute.Backend, r *run, p string, names []string, args []any) (loss []float32, gradients []float32, products map[string]int) {
	t.Helper()
	o := *r.evaluator.objective
	o.Config = &Config{}
	*o.Config = r.config
	o.Precision = p
	batch := everything(t, r)
	exec, err := NewExec(b, func(in []*Node) []*Node {
		loss := o.loss(named(names, in), in[len(names):len(names)+batch.inputs()], in[len(in)-2], in[len(in)-1])
		out := append([]*Node{loss}, Gradient(loss, in[:len(names)]...)...)
		products = testbackend.Products(out...)
		return out
	})
	if err != nil {
		t.Fatal(err)
	}
	defer exec.Finalize()
	for _, x := range batch.Args(dtypes.Float32) {
		args = append(args, x)
	}
	for i, x := range exec.MustCall(append(args, []uint32{1, 2}, float32(1))...) {
		if i == 0 {
			loss = tensors.MustCopyFlatData[float32](x)
		} else {
			gradients = append(gradients, tensors.MustCopyFlatData[float32](x)...)
		}
	}
	return loss, gradients, products
}

// In bf16x3 pretraining computes what it does in float32, in bf16 nearly that; and of float32's products only those are
// left that the loss is made of.
func TestObjectiveInAPrecision(t *testing.T) {
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		c := taught()
		c.Dropout, c.RandomPairs, c.Batch = 0, 0.5, 4
		r := prepared(t, b, c)
		names, _, args := drawn(t, r)
		loss, gradients, _ := lossIn(t, b, r, "f32", names, args)
		for p, most := range map[string]float64{"bf16x3": 1e-4, "bf16": 0.05} {
			l, g, products := lossIn(t, b, r, p, names, args)
			for what, off := range map[string]float64{"loss": difference(l, loss), "gradient": difference(g, gradients)} {
				if !(off <= most) || off == 0 {
					t.Errorf("%s: the %s is off by %.2g, at most %g is allowed, and not 0", p, what, off, most)
				}
			}
			allowed := float32Products(r, p)
			for product, n := range products {
				if !strings.HasPrefix(product, "BFloat16·BFloat16 ") && !slices.Contains(allowed, product) {
					t.Errorf("%s: %d products %s", p, n, product)
				}
			}
		}
	})
}

// float32Products are those of the loss itself, means of a text's states and cosines between texts, and of
// attention in bf16x3 all, in bf16 the gradients by keys and by values.
func float32Products(r *run, p string) (list []string) {
	s, h, texts := r.filler.shape, r.model.HiddenSize, r.filler.rows*r.filler.perRow
	add := func(a, b []int) { list = append(list, fmt.Sprintf("Float32·Float32 %v·%v", a, b)) }
	add([]int{s.rows, s.perRow, s.length}, []int{s.rows, s.length, h})
	add([]int{s.rows, s.perRow, h}, []int{s.rows, s.perRow, s.length})
	add([]int{texts, texts}, []int{texts, h})
	for _, width := range []int{h, r.teacher.Width()} {
		add([]int{texts, width}, []int{texts, width})
	}
	heads := r.model.NumAttentionHeads
	q, transposed, weights := []int{s.rows, s.length, heads, h / heads}, []int{s.rows, heads, s.length, h / heads}, []int{s.rows, heads, s.length, s.length}
	add(weights, q)
	add(q, weights)
	if p == "bf16x3" {
		add(q, q)
		add(transposed, q)
		add(transposed, weights)
	}
	return list
}

func difference(a, b []float32) float64 {
	var off, norm float64
	for i := range b {
		off += float64(a[i]-b[i]) * float64(a[i]-b[i])
		norm += float64(b[i]) * float64(b[i])
	}
	return math.Sqrt(off / norm)
}

// A run in bf16 has the same bits again where it was interrupted, and goes on in bf16; it makes another model than one in
// float32, and measures nearly the same.
func TestPretrainInBF16(t *testing.T) {
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		c := small()
		whole, parts, wide := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "parts"), filepath.Join(t.TempDir(), "wide")
		plain := pretrain(t, b, c, wide)
		c.Precision = "bf16"
		r := pretrain(t, b, c, whole)
		interrupt(t, b, c, parts, atStep(3))
		pretrain(t, b, Config{}, parts, resumed)
		sameRun(t, "bf16", parts, whole)
		if then, err := ReadRunConfig(parts); err != nil || then.Precision != "bf16" {
			t.Errorf("pretrain.json says precision %q, %v", then.Precision, err)
		}
		if sum(t, filepath.Join(wide, "model.safetensors")) == sum(t, filepath.Join(whole, "model.safetensors")) {
			t.Error("bf16 made the model that float32 makes")
		}
		if off := r.FinalLoss/plain.FinalLoss - 1; !(math.Abs(off) < 0.01) {
			t.Errorf("the last loss is %g, in float32 %g", r.FinalLoss, plain.FinalLoss)
		}
	})
}

// Embeddings of kernels that are held are nearly those of the encoder's own, and as good to its cosines.
func TestEmbeddingsInAPrecision(t *testing.T) {
	texts := []string{"the cat", "a small dog watches a bird in the garden", "two boxes"}
	dir := filepath.Join(smallFiles(), "teacher")
	eachXLA(t, func(t *testing.T, b compute.Backend) {
		embed := func(p model.Precision) (flat []float32) {
			e, err := OpenEmbedder(t.Context(), b, dir, train.Sources{}, p)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			rows, err := e.Embed(t.Context(), texts, nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range rows {
				flat = append(flat, row...)
			}
			return flat
		}
		want := embed(model.F32)
		for p, most := range map[model.Precision]float64{"bf16x3": 1e-4, "bf16": 3e-2} {
			if off := difference(embed(p), want); !(off <= most) || off == 0 {
				t.Errorf("%s: embeddings are off by %.2g, at most %g is allowed, and not 0", p, off, most)
			}
		}
	})
}

// What the engine has no products for is refused, before anything is read or written.
func TestPrecisionsThatAreRefused(t *testing.T) {
	c := small()
	c.Precision = "bf15"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), `precision: "bf15" is unknown; nearest: bf16 (known: f32 bf16 bf16x3)`) {
		t.Errorf("%v", err)
	}
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() == "xla" {
			return
		}
		c.Precision = "bf16"
		const want = "precision bf16: this engine (Go Backend) computes in float32 only; take xla:cpu or xla:cuda, or precision f32"
		_, err := Pretrain(t.Context(), c, options(b, filepath.Join(t.TempDir(), "run")))
		if !errors.Is(err, train.ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if _, err = OpenEmbedder(t.Context(), b, "nowhere", train.Sources{}, "bf16"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	})
}
