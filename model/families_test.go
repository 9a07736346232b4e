package model_test

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
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

// familyGolden is what Transformers computed with a small random checkpoint of a family (shared/reference/encoders, and
// testdata).
type familyGolden struct {
	*model.Checkpoint
	dir                      string
	file                     *safetensors.File
	ids, types, mask, labels []int32
	rows, length             int
}

// familyGoldens opens those whose model_type this program reads, by their names.
func familyGoldens(t *testing.T) map[string]*familyGolden {
	t.Helper()
	root := testshared.Path(t, "reference", "encoders")
	goldens, err := filepath.Glob(filepath.Join(root, "*.safetensors"))
	if err != nil || len(goldens) == 0 {
		t.Fatalf("no goldens in %s (%v)", root, err)
	}
	own, err := filepath.Glob(filepath.Join("testdata", "*.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*familyGolden{}
	for _, golden := range append(goldens, own...) {
		dir := strings.TrimSuffix(golden, ".safetensors")
		if _, err := model.ReadConfig(os.DirFS(dir), "config.json"); err != nil {
			if strings.Contains(err.Error(), "which is not supported; want one of") {
				t.Logf("%s: %v", filepath.Base(dir), err)
				continue
			}
			t.Errorf("%s: %v", filepath.Base(dir), err)
			continue
		}
		all[filepath.Base(dir)] = openFamily(t, dir)
	}
	return all
}

func openFamily(t *testing.T, dir string) *familyGolden {
	t.Helper()
	c, err := model.Load(os.DirFS(dir), model.LoadOptions{})
	if err != nil {
		t.Fatalf("%s: %v", filepath.Base(dir), err)
	}
	if len(c.Fresh) > 0 || len(c.Ignored) > 0 {
		t.Errorf("%s: drawn %v, ignored %v", filepath.Base(dir), c.Fresh, c.Ignored)
	}
	f, err := safetensors.Open(dir + ".safetensors")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	g := &familyGolden{Checkpoint: c, dir: dir, file: f}
	g.ids, g.types = int32s(t, f, "input_ids"), int32s(t, f, "token_type_ids")
	g.mask, g.labels = int32s(t, f, "attention_mask"), int32s(t, f, "labels")
	info, _ := f.Info("input_ids")
	g.rows, g.length = info.Shape[0], info.Shape[1]
	return g
}

// want is a golden tensor.
func (g *familyGolden) want(t *testing.T, name string) []float64 {
	t.Helper()
	values, err := g.file.Float64(name)
	if err != nil {
		t.Fatal(err)
	}
	return values
}

func (g *familyGolden) padded() []*tensors.Tensor {
	at := func(v []int32) *tensors.Tensor {
		return tensors.FromFlatDataAndDimensions(slices.Clone(v), g.rows, g.length)
	}
	return []*tensors.Tensor{at(g.ids), at(g.types), at(g.mask)}
}

// packed has the same texts two or three in a row, the longest first.
func (g *familyGolden) packed() []*tensors.Tensor {
	width := max(24, g.length)
	var rows [][]int32 // of ids, types, segments, positions in turn
	first := make([]int32, g.rows)
	used := []int{}
	for i := range g.rows {
		n := 0
		for _, m := range g.mask[i*g.length:][:g.length] {
			n += int(m)
		}
		r := slices.IndexFunc(used, func(u int) bool { return u+n <= width })
		if r < 0 {
			r, used = len(used), append(used, 0)
			for range 4 {
				rows = append(rows, make([]int32, width))
			}
			for j := range width {
				rows[4*r][j] = g.Config.PadTokenID
			}
		}
		first[i] = int32(r*width + used[r])
		for j := range n {
			at := used[r] + j
			rows[4*r][at], rows[4*r+1][at] = g.ids[i*g.length+j], g.types[i*g.length+j]
			rows[4*r+2][at], rows[4*r+3][at] = int32(i+1), int32(j)
		}
		used[r] += n
	}
	var list []*tensors.Tensor
	for kind := range 4 {
		var flat []int32
		for r := range used {
			flat = append(flat, rows[4*r+kind]...)
		}
		list = append(list, tensors.FromFlatDataAndDimensions(flat, len(used), width))
	}
	return append(list, tensors.FromFlatDataAndDimensions(first, g.rows))
}

func inputsOf(in []*Node) model.Inputs {
	if len(in) == 3 {
		return model.Padded{IDs: in[0], Types: in[1], Mask: in[2]}
	}
	return model.Packed{IDs: in[0], Types: in[1], Segments: in[2], Positions: in[3], First: in[4]}
}

// layouts are the two ways in which a batch is laid out.
func (g *familyGolden) layouts() map[string][]*tensors.Tensor {
	return map[string][]*tensors.Tensor{"padded": g.padded(), "packed": g.packed()}
}

// loss is the mean cross entropy over the golden's labels.
func (g *familyGolden) loss(logits *Node) *Node {
	return ReduceAllMean(Neg(ReduceSum(Mul(OneHot(Const(logits.Graph(), g.labels), g.Config.NumLabels(), logits.DType()), LogSoftmax(logits)), -1)))
}

// likeOthers are goldens whose graphs have the operations of another's.
var likeOthers = []string{"xlm-roberta", "camembert", "electra-same", "modernbert-long"}

// Every family's logits, hidden states and kernel gradients are those of Transformers.
func TestFamilies(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for name, g := range familyGoldens(t) {
			for layout, batch := range g.layouts() {
				if b.Name() == "xla" && !testshared.Thorough() && (layout == "padded" || slices.Contains(likeOthers, name)) {
					continue // XLA takes seconds to compile each
				}
				t.Run(name+"/"+layout, func(t *testing.T) { g.check(t, b, layout, batch, false) })
				if b.Name() != "xla" {
					t.Run(name+"/"+layout+" again", func(t *testing.T) { g.check(t, b, layout, batch, true) })
				}
			}
		}
	})
}

// Every family computes in bf16, with its kernels trained: what attention multiplies lies as XLA can take it, whatever else a
// family does with scores.
func TestFamiliesInBF16(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		if b.Name() != "xla" || !testshared.Thorough() { // it compiles for seconds a family
			return
		}
		for name, g := range familyGoldens(t) {
			t.Run(name, func(t *testing.T) {
				kernels := map[string]*Node{}
				var names []string
				var want []float64
				for _, k := range g.Config.Kernels() {
					values := g.want(t, "grad."+k.Weight())
					if !k.Lookup {
						values = model.Transposed(values, k.Out, k.In)
					}
					names, want = append(names, k.Weight()), append(want, values...)
				}
				out := evaluate(t, b, g.Checkpoint, g.packed(), func(e *model.Encoder, in []*Node) []*Node {
					e.Precision = "bf16"
					e.Hook = func(k model.Kernel, x, w *Node) *Node {
						kernels[k.Weight()] = w
						return e.Precision.Hook(k, x, w)
					}
					logits := e.Logits(inputsOf(in))
					wanted := make([]*Node, len(names))
					for i, n := range names {
						wanted[i] = kernels[n]
					}
					return append([]*Node{logits}, Gradient(g.loss(logits), wanted...)...)
				})
				within(t, "logits", out[0], g.want(t, "logits"), 5e-2)
				relative(t, "gradients", slices.Concat(out[1:]...), want, 0.1)
			})
		}
	})
}

// check holds one layout of the batch against the golden; again computes layers again for their gradients.
func (g *familyGolden) check(t *testing.T, b compute.Backend, layout string, batch []*tensors.Tensor, again bool) {
	kernels := map[string]*Node{}
	var names []string
	for _, k := range g.Config.Kernels() {
		if _, err := g.file.Float64("grad." + k.Weight()); err != nil {
			t.Errorf("no golden gradient of %s", k.Name)
			continue
		}
		names = append(names, k.Weight())
	}
	out := evaluate(t, b, g.Checkpoint, batch, func(e *model.Encoder, in []*Node) []*Node {
		e.Hook = func(k model.Kernel, x, w *Node) *Node {
			kernels[k.Weight()] = w
			return model.Frozen(k, x, w)
		}
		e.GradientCheckpointing = again
		logits := e.Logits(inputsOf(in))
		loss := g.loss(logits)
		wanted := make([]*Node, len(names))
		for i, n := range names {
			if wanted[i] = kernels[n]; wanted[i] == nil {
				t.Fatalf("the graph has no kernel %s", n)
			}
		}
		return append([]*Node{logits, Reshape(loss, 1), e.Hidden(inputsOf(in))}, Gradient(loss, wanted...)...)
	})
	within(t, "logits", out[0], g.want(t, "logits"), 1e-5)
	within(t, "loss", out[1], g.want(t, "loss"), 1e-5)
	if layout == "padded" {
		last := g.want(t, g.lastHidden())
		for i, m := range g.mask {
			if m == 0 { // nobody's business, and zero in the golden
				h := g.Config.HiddenSize
				clear(out[2][i*h:][:h])
			}
		}
		within(t, "hidden states", out[2], last, 1e-5)
	}
	for i, n := range names {
		want := g.want(t, "grad."+n)
		if k := g.Config.Kernels()[slices.IndexFunc(g.Config.Kernels(), func(k model.Kernel) bool { return k.Weight() == n })]; !k.Lookup {
			want = model.Transposed(want, k.Out, k.In)
		}
		relative(t, n, out[3+i], want, 1e-4)
	}
}

// lastHidden is the golden's name of the last state.
func (g *familyGolden) lastHidden() string {
	var names []string
	for _, n := range g.file.Names() {
		if strings.HasPrefix(n, "hidden.") {
			names = append(names, n)
		}
	}
	return slices.Max(names)
}

func within(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	worst := 0.0
	for i := range want {
		worst = max(worst, math.Abs(got[i]-want[i])/max(1, math.Abs(want[i])))
	}
	if !(worst <= tolerance) {
		t.Errorf("%s differ by %.3g", what, worst)
	}
}

// relative holds a difference against the largest entry.
func relative(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", what, len(got), len(want))
	}
	worst, largest := 0.0, 0.0
	for i := range want {
		worst, largest = max(worst, math.Abs(got[i]-want[i])), max(largest, math.Abs(want[i]))
	}
	if !(worst <= tolerance*largest) {
		t.Errorf("%s: gradients differ by %.3g of %.3g", what, worst, largest)
	}
}

// A checkpoint as Transformers wrote it is written again as it was: config.json field by field, and every tensor.
func TestFamiliesAreWrittenAsTheyWere(t *testing.T) {
	for name, g := range familyGoldens(t) {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := g.Save(dir, dtypes.Float32); err != nil {
				t.Fatal(err)
			}
			read := func(dir string) (fields map[string]any) {
				text, err := os.ReadFile(filepath.Join(dir, "config.json"))
				if err == nil {
					err = json.Unmarshal(text, &fields)
				}
				if err != nil {
					t.Fatal(err)
				}
				return fields
			}
			was, is := read(g.dir), read(dir)
			delete(is, "num_labels") // beside id2label
			for _, field := range slices.Sorted(maps.Keys(was)) {
				if a, b := compactJSON(t, was[field]), compactJSON(t, is[field]); a != b && a != "null" {
					t.Errorf("%s was %s and is %s", field, a, b)
				}
			}
			for _, field := range slices.Sorted(maps.Keys(is)) {
				if _, ok := was[field]; !ok {
					t.Errorf("%s is new: %v", field, is[field])
				}
			}
			sameFileTensors(t, filepath.Join(g.dir, "model.safetensors"), filepath.Join(dir, "model.safetensors"))
		})
	}
}

func compactJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func sameFileTensors(t *testing.T, a, b string) {
	t.Helper()
	was, err := safetensors.Open(a)
	if err != nil {
		t.Fatal(err)
	}
	defer was.Close()
	is, err := safetensors.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer is.Close()
	left := is.Names()
	for _, name := range was.Names() {
		one, err := was.Float32(name)
		if err != nil {
			t.Fatal(err)
		}
		other, err := is.Float32(name)
		if err != nil || !slices.Equal(one, other) {
			t.Errorf("%s is not what it was (%v)", name, err)
		}
		left = slices.DeleteFunc(left, func(n string) bool { return n == name })
	}
	if len(left) > 0 {
		t.Errorf("new tensors %v", left)
	}
}
