package train

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// goldenRun is one of the 20-step trainings of tiny_bert.json, made with PyTorch in float64.
type goldenRun struct {
	Kind        string             `json:"kind"`
	LossKind    string             `json:"loss_kind"`
	LR          float64            `json:"lr"`
	Gamma       float64            `json:"gamma"`
	WeightDecay float64            `json:"weight_decay"`
	Warmup      int                `json:"warmup"`
	Steps       int                `json:"total_steps"`
	DecayRatio  float64            `json:"decay_ratio"`
	Rates       []float64          `json:"lr_inner"`
	Loss        []float64          `json:"loss"`
	GradNorm    []float64          `json:"grad_norm_all"`
	Delta       map[string]float64 `json:"final_delta_fro"`
}

type golden struct {
	Kernels []struct{ Name string } `json:"kernels"`
	Rank    int                     `json:"rank"`
	Runs    map[string]goldenRun    `json:"runs"`
}

func readGolden(t *testing.T) golden {
	t.Helper()
	var g golden
	text, err := os.ReadFile(testshared.Path(t, "reference", "tiny_bert.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// goldenJob trains the golden model on its one batch.
type goldenJob struct {
	objective loop.Objective
	adapted   *adaptation
	batch     data.Batch
}

func (j *goldenJob) Batch(int) (loop.Batch, error)                   { return j.batch, nil }
func (j *goldenJob) Score(loop.Metrics) float64                      { return 0 }
func (j *goldenJob) Write(string, []loop.NamedTensor) error          { return nil }
func (j *goldenJob) Read(string) (map[string]*tensors.Tensor, error) { return nil, nil }

func (j *goldenJob) Evaluate(context.Context, []loop.NamedTensor, func(done, total int)) (loop.Metrics, error) {
	return nil, nil
}

// newGoldenJob is the job of one golden run, its factors set to the stored ones.
func newGoldenJob(t *testing.T, g golden, r goldenRun, dtype dtypes.DType, padding data.Padding) *goldenJob {
	t.Helper()
	c, err := model.Load(os.DirFS(testshared.Path(t, "reference", "tiny_bert")), model.LoadOptions{DType: dtype})
	if err != nil {
		t.Fatal(err)
	}
	return goldenJobOn(t, c, g, r, dtype, padding)
}

// goldenJobOn is the same on a checkpoint, whose kernels may be held in fewer bits.
func goldenJobOn(t *testing.T, c *model.Checkpoint, g golden, r goldenRun, dtype dtypes.DType, padding data.Padding) *goldenJob {
	t.Helper()
	var err error
	method := map[string]string{"vanilla": "vanilla", "narrow": "deep-narrow", "compressed": "deep-compressed"}[r.Kind]
	settings := lora.Defaults()
	settings.Rank, settings.Gamma = g.Rank, r.Gamma
	adapter, err := lora.New(method, settings)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, k := range g.Kernels {
		names = append(names, "^"+k.Name+"$")
	}
	j := &goldenJob{adapted: adaptedBy(t, adapter, c.Config, lora.Scope{Patterns: names}), batch: goldenBatch(t, r.LossKind)}
	if padding == data.PadPacked {
		j.batch = packed(t, j.batch)
	}
	factors := goldenFactors(t, r.Kind, "tiny_bert_adapters.safetensors", dtype)
	params := j.adapted.params()
	for i := range params {
		params[i].Draw = factors[params[i].Name].LocalClone
	}
	loss := crossEntropy
	if r.LossKind == "mse" { // the golden model has three outputs and regresses the first
		loss = firstOutputSquared
	}
	j.objective = loop.Objective{
		Params: params, Frozen: weightsOf(c), DType: dtype,
		Loss: func(weights func(name string) *Node, in []*Node, key, total *Node) *Node {
			batch := batchOf(padding, in)
			bert := &model.Encoder{Config: c.Config, Weights: weights, Hook: adapted(j.adapted.deltas(weights), model.F32), Dropout: &model.Dropout{Key: key}}
			return weightedMean(loss(bert.Logits(batch.inputs), batch.labels), batch.weights, total)
		},
	}
	return j
}

// adaptedBy is an adapter on the kernels of a scope.
func adaptedBy(t *testing.T, adapter lora.Adapter, c *model.Config, scope lora.Scope) *adaptation {
	t.Helper()
	kernels, _, _, err := SelectKernels(c, scope)
	if err != nil {
		t.Fatal(err)
	}
	var sites []lora.Site
	for _, k := range kernels {
		sites = append(sites, lora.Site{Name: k.Name, In: k.In, Out: k.Out})
	}
	a, err := adapt(adapter, kernels, sites)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// goldenFactors reads the factors of one kind, by our names.
func goldenFactors(t *testing.T, kind, file string, dtype dtypes.DType) map[string]*tensors.Tensor {
	t.Helper()
	f, err := safetensors.Open(testshared.Path(t, "reference", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	factors := map[string]*tensors.Tensor{}
	for _, name := range f.Names() {
		ours, ok := strings.CutPrefix(name, kind+".")
		if !ok {
			continue
		}
		values, err := f.Float64(name)
		if err != nil {
			t.Fatal(err)
		}
		info, _ := f.Info(name)
		factors[ours] = inDType(values, dtype, info.Shape...)
	}
	return factors
}

func goldenBatch(t *testing.T, lossKind string) data.Batch {
	t.Helper()
	f, err := safetensors.Open(testshared.Path(t, "reference", "tiny_bert_inputs.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := batchIn(t, f)
	if lossKind == "mse" {
		if b.Labels, err = f.Float32("labels_regression"); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// batchIn is the batch that a file of goldens holds.
func batchIn(t *testing.T, f *safetensors.File) data.Batch {
	t.Helper()
	read := func(name string) []int32 {
		values, err := f.Int64(name)
		if err != nil {
			t.Fatal(err)
		}
		narrow := make([]int32, len(values))
		for i, v := range values {
			narrow[i] = int32(v)
		}
		return narrow
	}
	info, _ := f.Info("input_ids")
	b := data.Batch{Rows: info.Shape[0], Len: info.Shape[1], IDs: read("input_ids"), Types: read("token_type_ids"), Mask: read("attention_mask")}
	for _, l := range read("labels") {
		b.Labels, b.Weights = append(b.Labels, float32(l)), append(b.Weights, 1)
	}
	return b
}

// packed is a batch, whose rows have their tokens first, laid into rows of 24: some hold two examples, and the last
// none. Two fillers are added.
func packed(t *testing.T, b data.Batch) data.Batch {
	t.Helper()
	var rows []data.Encoded
	var labels []float64
	var index []int
	for r := range b.Rows {
		n := 0
		for n < b.Len && b.Mask[r*b.Len+n] == 1 {
			n++
		}
		if slices.Contains(b.Mask[r*b.Len+n:(r+1)*b.Len], 1) {
			t.Fatalf("row %d is padded elsewhere than at its end", r)
		}
		rows = append(rows, data.Encoded{IDs: b.IDs[r*b.Len:][:n], Types: b.Types[r*b.Len:][:n]})
		labels, index = append(labels, float64(b.Labels[r])), append(index, r)
	}
	p := data.Packing{Length: 24, Rows: []int{b.Rows}, Examples: b.Rows + 2}
	x, err := p.Assemble(rows, labels, index, 0)
	if err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(x.Segments[(b.Rows-1)*x.Len:], func(s int32) bool { return s != 0 }) || !slices.Contains(x.Segments, 2) {
		t.Fatalf("not packed: segments %v", x.Segments)
	}
	return x
}

func TestT23GoldenTraining(t *testing.T) {
	g := readGolden(t)
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for name, r := range g.Runs {
			for _, p := range []struct {
				dtype dtypes.DType
				rel   float64
			}{{dtypes.Float32, 1e-3}, {dtypes.Float64, 1e-8}} {
				plain := name == "vanilla" || name == "narrow" || name == "compressed"
				if b.Name() == "xla" && !full() && (!plain || p.dtype == dtypes.Float64 && name != "compressed") {
					continue
				}
				for _, padding := range some(data.PadBucket, data.PadPacked) {
					t.Run(fmt.Sprint(name, "/", p.dtype, "/", padding), func(t *testing.T) { trainGolden(t, b, g, r, p.dtype, p.rel, padding) })
				}
			}
		}
	})
}

// trainGolden replays a golden run and compares losses, gradient norms, ‖ΔK‖ and final factors.
func trainGolden(t *testing.T, b compute.Backend, g golden, r goldenRun, dtype dtypes.DType, rel float64, padding data.Padding) {
	trainGoldenJob(t, b, newGoldenJob(t, g, r, dtype, padding), r, dtype, rel)
}

func trainGoldenJob(t *testing.T, b compute.Backend, j *goldenJob, r goldenRun, dtype dtypes.DType, rel float64) {
	before := bitsOf(t, j.objective.Frozen)
	out := t.TempDir()
	l, err := loop.New(loop.Plan{
		Steps: r.Steps, Accumulate: 1, LR: r.LR, Warmup: r.Warmup, DecayRatio: r.DecayRatio, WeightDecay: r.WeightDecay, Keep: 1,
	}, j.objective, j, loop.Options{Backend: b, Out: out})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Begin(t.Context(), "initialise"); err != nil {
		t.Fatal(err)
	}
	if err := l.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	steps := loggedSteps(t, out)
	if len(steps) != r.Steps {
		t.Fatalf("%d steps, want %d", len(steps), r.Steps)
	}
	for i, s := range steps {
		if math.Abs(s.LR-r.Rates[i]) > 1e-15 {
			t.Fatalf("step %d: rate %g, want %g", i, s.LR, r.Rates[i])
		}
		agrees(t, "loss", i, s.Loss, r.Loss[i], rel)
		if r.Gamma != 0 { // the golden norm counts frozen factors too, ours what moves
			agrees(t, "gradient norm", i, s.Norm, r.GradNorm[i], rel)
		}
	}
	values := map[string]*tensors.Tensor{}
	for _, p := range l.Parameters() {
		values[p.Name] = p.Value
	}
	m, err := newMerger(b, j.adapted.adapter)
	if err != nil {
		t.Fatal(err)
	}
	defer m.finalize()
	for _, s := range j.adapted.sites {
		agrees(t, "‖ΔK‖ of "+s.kernel.Name, r.Steps, deltaNorm(t, m, s, values), r.Delta[s.kernel.Name], rel)
	}
	if !slices.Equal(before, bitsOf(t, j.objective.Frozen)) {
		t.Error("frozen weights changed") // T24
	}
	if r.Gamma == 0 {
		start := goldenFactors(t, r.Kind, "tiny_bert_adapters.safetensors", dtype)
		for name, value := range values {
			moved := !value.Equal(start[name])
			if outer := strings.HasSuffix(name, ".left") || strings.HasSuffix(name, ".right"); moved == outer {
				t.Errorf("γ = 0: %s moved: %v", name, moved) // T10
			}
		}
	}
}

// loggedStep is a step's line of metrics.jsonl.
type loggedStep struct {
	Loss float64 `json:"loss"`
	LR   float64 `json:"lr"`
	Norm float64 `json:"gradient_norm"`
}

func loggedSteps(t *testing.T, run string) (steps []loggedStep) {
	t.Helper()
	for line := range strings.Lines(string(fileBytes(t, filepath.Join(run, loop.LogFile)))) {
		var s loggedStep
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		steps = append(steps, s)
	}
	return steps
}

// deltaNorm is ‖ΔK‖, from merging into a kernel of zeros.
func deltaNorm(t *testing.T, m *merger, s site, values map[string]*tensors.Tensor) float64 {
	t.Helper()
	factors, err := s.tensors(values)
	if err != nil {
		t.Fatal(err)
	}
	delta, err := m.merge(tensors.FromShape(shapes.Make(dtypes.Float64, s.kernel.In, s.kernel.Out)), factors)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, v := range tensors.MustCopyFlatData[float64](delta) {
		sum += v * v
	}
	return math.Sqrt(sum)
}

func agrees(t *testing.T, what string, step int, got, want, rel float64) {
	t.Helper()
	if !(math.Abs(got-want) <= rel*math.Max(math.Abs(want), 1e-12)) {
		t.Errorf("step %d: %s %.12g, want %.12g within %g", step, what, got, want, rel)
	}
}

// bitsOf copies tensors, to see later whether one changed.
func bitsOf(t *testing.T, list []loop.NamedTensor) []byte {
	t.Helper()
	var all []byte
	for _, x := range list {
		if err := x.Value.ConstBytes(func(b []byte) { all = append(all, b...) }); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// firstOutputSquared regresses the first of several outputs, as the golden mse run does.
func firstOutputSquared(logits, labels *Node) *Node {
	first := Reshape(Slice(logits, AxisRange(), AxisElem(0)), -1)
	return Square(Sub(first, labels))
}
