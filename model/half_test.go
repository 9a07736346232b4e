package model_test

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/model"
)

// A checkpoint that has 16 bits on disk is held without ever being float32: kernels are those of the detour, to
// the bit, and so the logits are the same. Tables stay as they are in the files.
func TestHalvesAreHeldAsTheyAre(t *testing.T) {
	const pooler, query = "bert.pooler.dense.weight", "bert.encoder.layer.0.attention.self.query.weight"
	word := func(c *model.Checkpoint) *tensors.Tensor { return c.Tensors["bert.embeddings.word_embeddings.weight"] }
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() != "xla" {
			return
		}
		for on, precisions := range map[dtypes.DType][]model.Precision{dtypes.BFloat16: {"bf16", "bf16x3"}, dtypes.Float16: {"bf16x3"}} {
			g := loadTiny(t, dtypes.Float32)
			dir := t.TempDir()
			if err := g.checkpoint.Save(dir, on); err != nil {
				t.Fatal(err)
			}
			hold := func(p, detour model.Precision) *model.Checkpoint {
				c, err := model.Load(os.DirFS(dir), model.LoadOptions{Precision: p, Backend: b})
				if err != nil {
					t.Fatal(err)
				}
				if read := c.Tensors[query].DType(); (read == on) != (p != model.F32) || c.Tensors["bert.pooler.dense.bias"].DType() != dtypes.Float32 {
					t.Errorf("%s read for %q: a kernel is %s, a bias %s", on, p, read, c.Tensors["bert.pooler.dense.bias"].DType())
				}
				if err := c.Hold(detour, b, func(weight string) bool { return weight == pooler }); err != nil {
					t.Fatal(err)
				}
				return c
			}
			for _, p := range precisions {
				straight, detour := hold(p, p), hold(model.F32, p)
				if word(straight).DType() != on || word(detour).DType() != dtypes.Float32 || straight.Tensors[pooler].DType() != dtypes.Float32 {
					t.Errorf("%s in %s: the table is %s, what is trained %s", on, p, word(straight).DType(), straight.Tensors[pooler].DType())
				}
				if (p == "bf16" || on == dtypes.Float16) && !straight.Tensors[query].Equal(detour.Tensors[query]) || !straight.Tensors[pooler].Equal(detour.Tensors[pooler]) {
					t.Errorf("%s in %s: a kernel is not what it is by way of float32", on, p)
				}
				if x, err := straight.Float32("bert.embeddings.word_embeddings.weight"); err != nil || !slices.Equal(x, flat(t, word(detour))) {
					t.Errorf("%s: Float32 gives another table, %v", on, err)
				}
				logits := func(c *model.Checkpoint) []float64 {
					g.checkpoint = c
					return floats(t, g.run(t, b, func(e *model.Encoder, in model.Padded) []*Node { return []*Node{e.Logits(in)} })[0])
				}
				near(t, on.String()+" in "+string(p)+": logits", logits(straight), logits(detour), 1e-6) // XLA may sum in another order
			}
			back := hold("bf16", model.F32) // what was read for one precision, and is wanted in another
			for name, want := range hold(model.F32, model.F32).Tensors {
				if !back.Tensors[name].Equal(want) {
					t.Errorf("%s: %s is not what it is in float32", on, name)
				}
			}
		}
	})
}

// What is no number is refused by its place in the file, also where it stays in 16 bits.
func TestHalvesThatAreNotFinite(t *testing.T) {
	const name = "bert.encoder.layer.1.attention.self.query.weight"
	values := make([]float32, 16)
	for what, bad := range map[string]float32{"NaN": float32(math.NaN()), "+Inf": float32(math.Inf(1))} {
		values[6] = bad
		for _, data := range []any{safetensors.BF16(values), safetensors.F16(values)} {
			f := miniBERT()
			f.put(name, data, 4, 4)
			_, err := model.Load(f.fs(t), model.LoadOptions{Precision: "bf16"})
			if want := `tensor "` + name + `" holds ` + what + ` at element 6; a checkpoint of a training that diverged?`; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%T: %v, want %s", data, err, want)
			}
		}
	}
}
