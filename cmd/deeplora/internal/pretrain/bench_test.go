package pretrain

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// benchModel is the encoder whose steps are measured.
func benchModel() *model.Config {
	return &model.Config{
		ModelType: "bert", VocabSize: 8000, HiddenSize: 256, NumHiddenLayers: 3, NumAttentionHeads: 4, IntermediateSize: 1024,
		MaxPositionEmbeddings: 128, TypeVocabSize: 2, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02,
		HiddenDropout: 0.1, AttentionDropout: 0.1,
	}
}

// stepFLOPs are the floating-point operations of one step's products, forward and backward, by formula: 6 for each
// weight of a layer's kernels and token, 12 for each position that a query sees, state and layer, and 6 for each
// weight of the masked head and masked token. What the teacher's terms add is left out: it is no work of the encoder.
func stepFLOPs(c *model.Config, s shape) float64 {
	tokens, h := float64(s.rows*s.length), float64(c.HiddenSize)
	kernels := 0.0
	for _, k := range c.Kernels() {
		if !k.Lookup && !strings.HasPrefix(k.Name, "bert.pooler.") {
			kernels += float64(k.In) * float64(k.Out)
		}
	}
	attention := 12 * tokens * float64(s.length) * h * float64(c.NumHiddenLayers)
	head := 6 * float64(s.masked) * (h*h + h*float64(c.VocabSize))
	return 6*kernels*tokens + attention + head
}

// peak is the engine's FLOP/s on a large product, [2048, 1024] by [1024, 1024].
func peak(b *testing.B, backend compute.Backend) float64 {
	b.Helper()
	const m, k, n, products = 2048, 1024, 1024, 8
	exec, err := NewExec(backend, func(x, y *Node) *Node { return Dot(x, y).Product() })
	if err != nil {
		b.Fatal(err)
	}
	defer exec.Finalize()
	x, y := tensors.FromShape(shapes.Make(dtypes.Float32, m, k)), tensors.FromShape(shapes.Make(dtypes.Float32, k, n))
	product := func() { exec.MustCall(x, y)[0].MustFinalizeAll() }
	product() // compiles
	began := time.Now()
	for range products {
		product()
	}
	return products * 2 * m * k * n / time.Since(began).Seconds()
}

// benchBatch is a full batch: texts of 16 tokens, every fourth segment a pair.
func benchBatch(c *Config, width int) *arrays {
	special := data.Special{PAD: 0, UNK: 1, CLS: 2, SEP: 3, MASK: 4}
	s := rng.New(1, "bench")
	f := &filler{shape: c.shape(width), share: c.MaskShare, masking: &masking{special: special, vocabulary: c.VocabSize, probability: c.MaskProbability}}
	ids := make([][]int32, 64)
	for i := range ids {
		ids[i] = make([]int32, 14)
		for j := range ids[i] {
			ids[i][j] = int32(5 + s.IntN(c.VocabSize-5))
		}
		if width > 0 {
			row := make([]float32, width)
			row[s.IntN(width)] = 1
			f.embeddings = append(f.embeddings, row)
		}
	}
	var segments []segment
	for i := range c.Batch * c.RowLength / 16 {
		next := segment{s.IntN(len(ids)), -1}
		if width > 0 && i%4 == 3 {
			next.b = s.IntN(len(ids))
		}
		segments = append(segments, next)
	}
	p := &packer{special: special, ids: ids, maxLength: c.MaxLength, rows: f.rows, length: f.length, perRow: f.perRow}
	return f.fill(p.pack(segments)[0], s)
}

// benchJob gives a loop the same batch for ever.
type benchJob struct {
	loop.Job
	batch *arrays
}

func (j *benchJob) Batch(int) (loop.Batch, error) { return j.batch, nil }

func (*benchJob) Write(string, []loop.NamedTensor) error { return nil }

// BenchmarkStep is a training step of an encoder of 3 layers, 256 wide, on 32 rows of 128 tokens. peak-share is
// what its products alone would take at the speed of a large one, over what it took. The Go engine, where a step takes
// most of a minute, is measured where there is no other, or with DEEPLORA_SLOW=1.
func BenchmarkStep(b *testing.B) {
	backends := testbackend.All(b)
	if !testshared.Thorough() {
		backends = backends[len(backends)-1:]
	}
	for _, backend := range backends {
		for _, width := range []int{0, 384} {
			name := map[int]string{0: "masked-lm", 384: "teacher"}[width]
			b.Run(fmt.Sprintf("%s/%s", backend.String(), name), func(b *testing.B) { benchmarkStep(b, backend, width) })
		}
	}
}

func benchmarkStep(b *testing.B, backend compute.Backend, width int) {
	c, m := Default(), benchModel()
	c.VocabSize, c.Corpus, c.Shape = m.VocabSize, []string{"corpus"}, "shape"
	if width > 0 {
		c.Teacher, c.MaskShare = "teacher", 0.3
	}
	r := &run{config: c, model: m}
	params := r.draw(width).params(c.pairs())
	batch := benchBatch(&c, width)
	o := &objective{Config: &c, shape: batch.shape, model: m}
	count := func(e loop.Event) { // the first step, which compiles, and the checkpoint at the end do not count
		switch s, ok := e.(loop.Step); {
		case ok && s.Step == 1:
			b.ResetTimer()
		case ok && s.Step == s.Steps:
			b.StopTimer()
		}
	}
	l, err := loop.New(loop.Plan{Steps: b.N + 1, Accumulate: 1, LR: 1e-4, Keep: 1, WeightDecay: c.WeightDecay, Clip: c.Clip},
		loop.Objective{Params: params, Loss: o.loss}, &benchJob{batch: batch}, loop.Options{Backend: backend, Out: b.TempDir(), OnEvent: count})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	top := peak(b, backend)
	if err := l.Open(b.Context(), "initialise"); err != nil {
		b.Fatal(err)
	}
	if err := l.Run(b.Context()); err != nil {
		b.Fatal(err)
	}
	seconds := b.Elapsed().Seconds() / float64(b.N)
	b.ReportMetric(float64(batch.Tokens)/seconds, "tokens/s")
	b.ReportMetric(stepFLOPs(m, batch.shape)/seconds/top, "peak-share")
	b.ReportMetric(top/1e9, "peak-GFLOP/s")
}
