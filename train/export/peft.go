package export

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// PEFT writes a run's adapter as a LoRA adapter of PEFT: the factors of each kernel folded into two in float64 and
// rounded once, alpha equal to the rank, the head beside them (formats.md 2.4). The factors themselves lie in
// deeplora/, with which an import continues.
type PEFT struct {
	Options
	AutoRank  bool    // write each kernel at its numerical rank
	Tolerance float64 // of it: smallest singular value kept, relative to the kernel's largest
}

// foldTolerance is what a kernel is cut at whose factors are wider than itself: at float32's rounding.
const foldTolerance = 1e-7

// Truncation says what writing kernels at their numerical rank left out.
type Truncation struct {
	Tolerance     float64 `json:"tolerance"`
	Kernels       int     `json:"kernels"` // that were cut
	LowestRank    int     `json:"lowest_rank"`
	HighestRank   int     `json:"highest_rank"`
	BytesSaved    int64   `json:"bytes_saved"`
	ErrorBound    float64 `json:"error_bound"`          // largest ‖ΔK − written‖₂ of a kernel, exact but for rounding
	RelativeBound float64 `json:"relative_error_bound"` // of it to ‖ΔK‖₂
	Energy        float64 `json:"discarded_energy"`     // largest share of a kernel's ‖ΔK‖² left out
}

func (t *Truncation) String() string {
	return fmt.Sprintf("%d to %d, cut at %.3g: %d bytes saved, ‖ΔK‖₂ off by at most %.3g (%.2g of it)",
		t.LowestRank, t.HighestRank, t.Tolerance, t.BytesSaved, t.ErrorBound, t.RelativeBound)
}

// Write writes the adapter.
func (e PEFT) Write(ctx context.Context) (*Report, error) { return e.write(ctx, "peft", e) }

// refuse refuses a run without an adapter.
func (e PEFT) refuse(s *train.Finished) error {
	if s.Run.Whole() {
		return fmt.Errorf("export: method %s trains the model itself, so that there is no adapter; --format merged writes the model", s.Run.Method)
	}
	return nil
}

// verify predicts with the adapter, read as an import does.
func (e PEFT) verify(ctx context.Context, dir string, s *train.Finished, trained *reference, report *Report) error {
	again, err := readBack(dir, s)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	p, err := again.Unmerged(e.Backend)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	bound := 0.0
	if report.Truncation != nil {
		bound = report.Truncation.RelativeBound
	}
	report.Verified, err = trained.compare(ctx, p, truncated(bound))
	return err
}

// truncated is the precision of an adapter whose ΔK were cut, up to that share of them: layers amplify it.
func truncated(bound float64) precision { return precisionOf(dtypes.Float32) + precision(10*bound) }

// readBack reads an adapter as an import does, on the base model of the run it was made of.
func readBack(dir string, s *train.Finished) (*train.Finished, error) {
	r, err := s.Reader()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	a, err := readPEFT(dir, r.Config)
	if err != nil {
		return nil, err
	}
	info := a.info()
	info.Labels, info.ProblemType = s.Adapter.Labels, s.Adapter.ProblemType
	return &train.Finished{Dir: dir, Run: s.Run, Adapter: info, Values: a.values, Base: s.Base}, nil
}

// fill writes every file of the adapter.
func (e PEFT) fill(ctx context.Context, dir string, s *train.Finished, report *Report) error {
	m, err := s.Merge(e.Backend)
	if err != nil {
		return err
	}
	defer m.Close()
	f := &folder{PEFT: e, Merging: m, ranks: map[string]int{}}
	if f.adapter, err = s.Adapter.New(); err != nil {
		return err
	}
	for _, k := range s.Adapter.Kernels {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.kernel(k); err != nil {
			return fmt.Errorf("%s: %w", k.Name, err)
		}
	}
	if err := f.saved(s); err != nil {
		return err
	}
	err = atomicfile.Write(filepath.Join(dir, peftTensors), func(w io.Writer) error {
		return safetensors.Write(w, f.entries, map[string]string{
			"format": "pt", "method": s.Adapter.Method, "rank": strconv.Itoa(s.Adapter.Rank), "depth": strconv.Itoa(s.Adapter.Depth),
			"task": s.Adapter.Task, "labels": strings.Join(s.Adapter.Labels, ","), "seed": strconv.FormatUint(s.Run.Seed, 10),
			poolingKey: string(cmp.Or(s.Adapter.Pooling, model.PoolHead)),
		})
	})
	if err != nil {
		return err
	}
	if err := jsonfile.Write(filepath.Join(dir, peftConfigFile), f.config(s.Run.Model)); err != nil {
		return err
	}
	report.Tensors, report.Truncation = len(f.entries), f.truncation
	report.Files = []string{peftTensors}
	if report.Bytes, err = sizes(dir, report.Files); err != nil {
		return err
	}
	if err := writeSidecar(dir, s.Dir, f.truncation); err != nil {
		return err
	}
	card, err := newCard(s)
	if err != nil {
		return err
	}
	if t := f.truncation; t != nil {
		card.Note = fmt.Sprintf("Ranks are %v.", t)
	}
	return card.write(filepath.Join(dir, "README.md"), peftCard)
}

// poolingKey is the field of an adapter's metadata that says what the head reads. PEFT's own adapters have none: what
// they read is up to Transformers' class.
const poolingKey = "pooling"

// folder folds the factors of one kernel after another.
type folder struct {
	PEFT
	*train.Merging
	adapter    lora.Adapter
	entries    []safetensors.Entry
	ranks      map[string]int // by module
	modules    []string       // modules_to_save
	truncation *Truncation    // nil: nothing was cut
}

// kernel adds the two matrices of a kernel. One whose weight travels with the adapter as a whole is merged there.
func (f *folder) kernel(k train.AdaptedKernel) error {
	if f.Travels(k.Name) {
		return nil
	}
	factors := f.Factors(k.Name)
	a, b, err := f.pair(factors) // [r, In], [Out, r]
	if err != nil {
		return err
	}
	rank, _ := a.Dims()
	if f.AutoRank || rank > min(k.In, k.Out) {
		if a, b, err = f.cut(factors, rank); err != nil {
			return err
		}
		rank, _ = a.Dims()
	}
	f.ranks[k.Name] = rank
	nameA, nameB := ".lora_A.weight", ".lora_B.weight"
	if f.lookup(k.Name) {
		nameA, nameB = ".lora_embedding_A", ".lora_embedding_B"
	}
	f.add(k.Name+nameA, []int{rank, k.In}, narrow(a, false))
	f.add(k.Name+nameB, []int{k.Out, rank}, narrow(b, false))
	return nil
}

func (f *folder) add(name string, shape []int, values []float32) {
	f.entries = append(f.entries, safetensors.Entry{Name: "base_model.model." + name, Shape: shape, Data: values})
}

func (f *folder) lookup(name string) bool {
	return slices.ContainsFunc(f.Config.Kernels(), func(k model.Kernel) bool { return k.Name == name && k.Lookup })
}

// pair folds the factors in float64.
func (f *folder) pair(factors []*tensors.Tensor) (a, b *mat.Dense, err error) {
	err = graphx.Try("fold", func() {
		out := MustExecOnceN(f.Backend, func(in []*Node) []*Node {
			wide := make([]*Node, len(in))
			for i, n := range in {
				wide[i] = ConvertDType(n, dtypes.Float64)
			}
			a, b := f.adapter.Delta(wide).Pair()
			return []*Node{a, b}
		}, args(factors)...)
		a, b = dense(out[0]), dense(out[1])
	})
	return a, b, err
}

func args(factors []*tensors.Tensor) []any {
	list := make([]any, len(factors))
	for i, t := range factors {
		list[i] = t
	}
	return list
}

func dense(t *tensors.Tensor) *mat.Dense {
	return mat.NewDense(t.Shape().Dim(0), t.Shape().Dim(1), tensors.MustCopyFlatData[float64](t))
}

// cut gives the pair of ΔK's leading singular directions, as many as are above the tolerance and at least one.
func (f *folder) cut(factors []*tensors.Tensor, rank int) (a, b *mat.Dense, err error) {
	tolerance := f.Tolerance
	if !f.AutoRank {
		tolerance = foldTolerance
	}
	chain, err := lora.Chain(f.Backend, f.adapter, factors)
	if err != nil {
		return nil, nil, err
	}
	s, err := lora.Decompose(chain)
	if err != nil {
		return nil, nil, err
	}
	kept := max(1, s.Rank(tolerance))
	f.note(s.Values, kept, rank, tolerance, int64(4*(rank-kept)*(s.U.RawMatrix().Rows+s.V.RawMatrix().Rows)))
	u, v := halves(s, kept)
	return mat.DenseCopyOf(u.T()), v, nil
}

// note adds a kernel to what was cut.
func (f *folder) note(values []float64, kept, rank int, tolerance float64, saved int64) {
	if f.truncation == nil {
		f.truncation = &Truncation{Tolerance: tolerance, LowestRank: kept, HighestRank: kept}
	}
	t := f.truncation
	t.LowestRank, t.HighestRank = min(t.LowestRank, kept), max(t.HighestRank, kept)
	if t.BytesSaved += saved; kept < rank {
		t.Kernels++
	}
	if kept >= len(values) || values[0] == 0 {
		return
	}
	t.ErrorBound = max(t.ErrorBound, values[kept])
	t.RelativeBound = max(t.RelativeBound, values[kept]/values[0])
	total, lost := 0.0, 0.0
	for i, v := range values {
		total += v * v
		if i >= kept {
			lost += v * v
		}
	}
	t.Energy = max(t.Energy, lost/total)
}

// halves are U·√S [In, k] and V·√S [Out, k]: the two sides of PEFT's pair, of equal size.
func halves(s lora.Spectrum, k int) (u, v *mat.Dense) {
	scaled := func(m *mat.Dense) *mat.Dense {
		rows, _ := m.Dims()
		out := mat.NewDense(rows, k, nil)
		for i := range rows {
			for j := range k {
				out.Set(i, j, m.At(i, j)*math.Sqrt(s.Values[j]))
			}
		}
		return out
	}
	return scaled(s.U), scaled(s.V)
}

// saved adds the modules that travel whole: the head always, since PEFT asks for it, and a pooler that was new.
func (f *folder) saved(s *train.Finished) error {
	layers := f.Config.HeadModules()
	outputs := layers[len(layers)-1].Saved
	for _, layer := range layers {
		if layer.Saved != outputs && !f.Travels(layer.Name) {
			continue
		}
		f.modules = append(f.modules, layer.Saved)
		for _, spec := range layer.Specs {
			if err := f.whole(spec); err != nil {
				return err
			}
		}
	}
	slices.Sort(f.modules)
	f.modules = slices.Compact(f.modules)
	return nil
}

// whole adds a tensor of the merged model.
func (f *folder) whole(spec model.Spec) error {
	t, err := f.Tensor(spec)
	if err != nil {
		return err
	}
	values, err := tensors.CopyFlatData[float32](t)
	if err != nil {
		return err
	}
	if spec.Dense {
		values = model.Transposed(values, spec.Shape[1], spec.Shape[0])
	}
	f.add(spec.Name, spec.Shape, values)
	return nil
}

// config is adapter_config.json: full names for modules, so that an entry means one and no other.
func (f *folder) config(base string) map[string]any {
	counts := map[int]int{}
	for _, r := range f.ranks {
		counts[r]++
	}
	common := 1
	if len(counts) > 0 {
		common = slices.MaxFunc(slices.Sorted(maps.Keys(counts)), func(a, b int) int { return cmp.Compare(counts[a], counts[b]) })
	}
	exceptions := map[string]int{}
	for module, r := range f.ranks {
		if r != common {
			exceptions[regexp.QuoteMeta(module)] = r
		}
	}
	return map[string]any{
		"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": base, "revision": nil, "inference_mode": true,
		"r": common, "lora_alpha": common, "rank_pattern": exceptions, "alpha_pattern": exceptions,
		"target_modules": slices.Sorted(maps.Keys(f.ranks)), "modules_to_save": f.modules,
		"bias": "none", "fan_in_fan_out": false, "init_lora_weights": true, "lora_dropout": 0.0, "use_rslora": false, "use_dora": false,
		"layers_to_transform": nil, "layers_pattern": nil,
	}
}

// The sidecar: the run's own files, and the sums of the adapter that they belong to.
const (
	sidecarDir  = "deeplora"
	sidecarJSON = "export.json"
)

// sidecar is export.json.
type sidecar struct {
	peftSums
	RelativeBound float64 `json:"relative_error_bound"` // of the adapter's ΔK to the factors'
}

func writeSidecar(dir, run string, t *Truncation) error {
	var note sidecar
	if t != nil {
		note.RelativeBound = t.RelativeBound
	}
	of := &note.peftSums
	for _, file := range []struct {
		name string
		sum  *string
	}{{peftConfigFile, &of.Config}, {peftTensors, &of.Tensors}} {
		s, err := model.SumFile(os.DirFS(dir), file.name)
		if err != nil {
			return err
		}
		*file.sum = s.SHA256
	}
	to := filepath.Join(dir, sidecarDir)
	if err := (&train.Finished{Dir: run}).CopyTo(to); err != nil {
		return err
	}
	if err := jsonfile.Write(filepath.Join(to, sidecarJSON), note); err != nil {
		return err
	}
	return sums.Write(to)
}
