package train

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// precision is a dtype and how far, relatively, results may be off in it.
type precision struct {
	dtype dtypes.DType
	rel   float64
}

// gap is ‖a-b‖/‖b‖.
func gap(a, b []float64) float64 {
	var diff, norm float64
	for i := range b {
		diff += (a[i] - b[i]) * (a[i] - b[i])
		norm += b[i] * b[i]
	}
	if diff == 0 {
		return 0
	}
	return math.Sqrt(diff / norm)
}

// Filler rows, padding and cutting a step into batches change neither loss nor gradients.
func TestFillerAndPaddingChangeNothing(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		c := small()
		c.Method, c.Dropout, c.TrainHead = "vanilla", 0, true
		r := created(t, b, c)
		objective, examples := r.job.objective(), r.job.inputs.train
		values := general(t, objective.Params, dtypes.Float32)
		batch := func(index []int, rows, length int) data.Batch {
			x, err := data.Assemble(examples.rows, examples.labels, index, rows, length, 0)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		loss, gradients := gradientsOf(t, b, objective, values, batch([]int{0, 1, 2}, 3, 16), 3)
		if loss == 0 {
			t.Fatal("the loss is 0")
		}
		for i, g := range gradients {
			if name := objective.Params[i].Name; !slices.ContainsFunc(g, func(v float64) bool { return v != 0 }) && !strings.HasSuffix(name, "key.bias") {
				t.Errorf("gradient of %s is 0: it proves nothing", name)
			}
		}
		type variant struct {
			name         string
			rows, length int
		}
		for _, tc := range some(variant{"five filler rows", 8, 16}, variant{"24 tokens of padding", 3, 40}, variant{"both", 8, 40}) {
			other, others := gradientsOf(t, b, objective, values, batch([]int{0, 1, 2}, tc.rows, tc.length), 3)
			if math.Abs(other-loss) > 1e-6*loss {
				t.Errorf("%s: loss %.9g, want %.9g", tc.name, other, loss)
			}
			for i, g := range others {
				if d := gap(g, gradients[i]); d > 1e-5 {
					t.Errorf("%s: gradient of %s differs by %.2g", tc.name, objective.Params[i].Name, d)
				}
			}
		}
	})
}

// The compression gradient is ∂loss/∂K, whatever groups it is computed in.
func TestT22KernelGradientsInGroups(t *testing.T) {
	g, padded := readGolden(t), goldenBatch(t, "ce")
	golden, err := safetensors.Open(testshared.Path(t, "reference", "tiny_bert_kernel_grads.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer golden.Close()
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, p := range some(precision{dtypes.Float64, 1e-10}, precision{dtypes.Float32, 1e-4}) {
			// The largest gradient of the tiny model is 8 KiB in float32: one in each group, some, all.
			for _, limit := range some(1, 0, 40<<10) {
				batch := padded
				if limit > 0 {
					batch = packed(t, padded)
				}
				c, err := model.Load(os.DirFS(testshared.Path(t, "reference", "tiny_bert")), model.LoadOptions{DType: p.dtype})
				if err != nil {
					t.Fatal(err)
				}
				k := &kernelGradients{
					devices: one(t, b), config: c.Config, weights: weightsOf(c), batch: divisible{Batch: batch},
					kernels: c.Config.Kernels(), limit: limit,
				}
				for _, kernel := range g.Kernels {
					want, err := golden.Float64(kernel.Name)
					if err != nil {
						t.Fatal(err)
					}
					x, err := k.of(kernel.Name)
					if err != nil {
						t.Fatal(err)
					}
					if d := gap(float64s(t, x), want); !(d <= p.rel) {
						t.Errorf("%s, groups of %d bytes: %s differs by %.2g", p.dtype, limit, kernel.Name, d)
					}
				}
				if _, err := k.of("bert.encoder.layer.9.output.dense"); errText(err) != "gradient of bert.encoder.layer.9.output.dense: not an adapted kernel" {
					t.Errorf("a kernel that is not there: %v", err)
				}
			}
		}
	})
}

func TestT30AllDenseOfTheEncoder(t *testing.T) {
	c, err := model.ReadConfig(os.DirFS(testshared.Path(t, "reference", "tiny_bert")), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	selected, minDim, notice, err := SelectKernels(c, lora.Scope{Name: "all-dense", MinDim: 16})
	if err != nil || notice != "" || minDim != 16 {
		t.Fatalf("selected %+v with %d, %q, error %v", selected, minDim, notice, err)
	}
	var got, want []string
	for _, k := range selected {
		got = append(got, k.Name)
	}
	for _, k := range readGolden(t).Kernels {
		want = append(want, k.Name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(got) != 15 {
		t.Errorf("kernels %v\nwant %v", got, want)
	}
	_, _, _, err = SelectKernels(c, lora.Scope{Name: "all-dense", MinDim: 512})
	if text := "no kernel matches a min dimension of 512; the largest found among 16 kernels is 32: lower the bound"; errText(err) != text {
		t.Errorf("got  %v\nwant %s", err, text)
	}
}

// mergeable is an encoder of which kernels of every kind are adapted by a method, with general factors.
func mergeable(t *testing.T, method string, dtype dtypes.DType) (*model.Checkpoint, *adaptation, []loop.NamedTensor) {
	t.Helper()
	dir := filepath.Join(scratch(), "mergeable")
	if err := writeModel(dir, map[string]any{"vocab_size": 40, "type_vocab_size": 8}); err != nil {
		t.Fatal(err)
	}
	c, err := model.Load(os.DirFS(dir), model.LoadOptions{DType: dtype, DrawHead: true})
	if err != nil {
		t.Fatal(err)
	}
	settings := lora.Defaults()
	settings.Rank = 4
	adapter, err := lora.New(method, settings)
	if err != nil {
		t.Fatal(err)
	}
	a := adaptedBy(t, adapter, c.Config, lora.Scope{Name: "all-dense", MinDim: 8})
	if len(a.sites) != 10 {
		t.Fatalf("%d kernels, want three tables, a layer's six and the pooler", len(a.sites))
	}
	return c, a, general(t, a.params(), dtype)
}

// randomInputs are 32 rows of 12 tokens, of 3 to 12 unmasked.
func randomInputs() data.Batch {
	const rows, length = 32, 12
	b := data.Batch{Rows: rows, Len: length}
	s := rng.New(20)
	for range rows {
		real := 3 + s.IntN(length-2)
		for i := range length {
			keep := int32(0)
			if i < real {
				keep = 1
			}
			b.IDs, b.Types, b.Mask = append(b.IDs, int32(s.IntN(40))), append(b.Types, int32(s.IntN(8))), append(b.Mask, keep)
		}
	}
	return b
}

// T20: the model with its adapters apart and with them merged are one model, for tables, kernels and pooler.
func TestT20MergedEqualsAdapted(t *testing.T) {
	batch := randomInputs()
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for _, method := range some(adapterNames()...) {
			for _, p := range some(precision{dtypes.Float64, 1e-12}, precision{dtypes.Float32, 1e-5}) {
				c, a, values := mergeable(t, method, p.dtype)
				factored := rawLogits(t, b, c.Config, append(weightsOf(c), values...), a, batch)
				plain := rawLogits(t, b, c.Config, weightsOf(c), nil, batch)
				e, err := newEvaluator(one(t, b), c, a, false)
				if err != nil {
					t.Fatal(err)
				}
				weights, merged, err := e.merged(values)
				e.close()
				if err != nil {
					t.Fatal(err)
				}
				if len(merged) != 10 || merged[0].DType() != p.dtype {
					t.Errorf("%d merged kernels of %s", len(merged), merged[0].DType())
				}
				if d := gap(rawLogits(t, b, c.Config, weights, nil, batch), factored); !(d <= p.rel) {
					t.Errorf("%s, %s: merged and factored logits differ by %.2g", method, p.dtype, d)
				}
				if d := gap(plain, factored); d < 0.1 {
					t.Errorf("%s, %s: the adapters move logits by %.2g only, which proves nothing", method, p.dtype, d)
				}
			}
		}
	})
}

// rawLogits are the logits in the model's own precision, with the adapters of a beside the weights, or none.
func rawLogits(t *testing.T, b compute.Backend, c *model.Config, weights []loop.NamedTensor, a *adaptation, batch data.Batch) []float64 {
	t.Helper()
	p, err := newPredictor(one(t, b), &model.Checkpoint{Config: c}, weights, a)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	out, err := p.padded.Call(append(graphx.Must(argsOn(p.devices, 0, weights)), graphx.Donated(b, 0, batch.Tensors())...)...)
	if err != nil {
		t.Fatal(err)
	}
	return float64s(t, out[0])
}

// T10, T24: a factor of rate 0 keeps its bits, whatever the weight decay; so does all that is not trained.
func TestT10FrozenUnderWeightDecay(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		c := small()
		c.Gamma, c.WeightDecay, c.Warmup, c.Steps, c.TrainHead = 0, 0.1, 0, 3, false
		r := created(t, b, c)
		frozen := r.job.objective().Frozen
		base := bitsOf(t, frozen)
		start := map[string][]byte{}
		for _, p := range r.loop.Parameters() {
			start[p.Name] = bitsOf(t, []loop.NamedTensor{p})
		}
		if err := r.loop.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		moments, err := loop.ReadTensors(filepath.Join(r.options.Out, "checkpoints", "step-3", "optimizer.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.loop.Parameters() {
			outer := strings.HasSuffix(p.Name, ".left") || strings.HasSuffix(p.Name, ".right")
			if same := slices.Equal(bitsOf(t, []loop.NamedTensor{p}), start[p.Name]); same != outer {
				t.Errorf("%s kept its bits: %v, want %v", p.Name, same, outer)
			}
			if (moments[p.Name+".m"] == nil) != outer {
				t.Errorf("%s has moments: %v", p.Name, moments[p.Name+".m"] != nil)
			}
		}
		if !slices.Equal(bitsOf(t, frozen), base) {
			t.Error("the base model changed")
		}
		if n := len(frozen); n != 16+9 {
			t.Errorf("%d frozen tensors, want the whole model, its head too", n)
		}
	})
}
