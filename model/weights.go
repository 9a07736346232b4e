package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/gomlx/compute/dtypes/float16"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/readfile"
	"github.com/deeplora/deeplora/internal/safetensors"
)

// weights are the open files of a checkpoint and where each tensor lies.
type weights struct {
	source string // the single file, or the index
	files  []weightFile
	where  map[string]weightFile // tensor name as in the file -> file

	head     []string // the tensors of the layer of outputs
	headRows []int    // rows of the head in the order wanted; nil: as they stand
}

type weightFile struct {
	*safetensors.File
	name string
	raw  fs.File
}

func (w *weights) isHead(name string) bool { return slices.Contains(w.head, name) }

func (w *weights) close() {
	for _, f := range w.files {
		f.raw.Close() // opened for reading: nothing can be lost
	}
}

// openFile opens one safetensors file of a file system.
func openFile(fsys fs.FS, name string) (f weightFile, err error) {
	if err := readfile.Regular(fsys, name); err != nil {
		return f, err
	}
	raw, err := fsys.Open(name)
	if err != nil {
		return f, err
	}
	defer func() {
		if err != nil {
			raw.Close()
		}
	}()
	info, err := raw.Stat()
	if err != nil {
		return f, err
	}
	at, ok := raw.(io.ReaderAt)
	if !ok {
		return f, fmt.Errorf("%s cannot be read at random: %T", name, raw)
	}
	file, err := safetensors.New(at, info.Size(), name)
	return weightFile{file, name, raw}, err
}

const (
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
)

// openWeights opens model.safetensors, or else the shards its index names. A single file wins where both
// lie there.
func openWeights(fsys fs.FS) (*weights, error) {
	for _, from := range []struct {
		source string
		add    func(w *weights) error
	}{
		{singleFile, func(w *weights) error { _, err := w.add(fsys, singleFile); return err }},
		{indexFile, func(w *weights) error { return w.addShards(fsys) }},
	} {
		_, err := fs.Stat(fsys, from.source)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		w := &weights{source: from.source, where: map[string]weightFile{}}
		if err == nil {
			err = from.add(w)
		}
		if err != nil {
			w.close()
			return nil, err
		}
		return w, nil
	}
	for _, pickle := range []string{"pytorch_model.bin", "pytorch_model.bin.index.json"} {
		if _, err := fs.Stat(fsys, pickle); err == nil {
			return nil, fmt.Errorf("model folder has %s but no %s: pickles can run code and are not read; convert it with Transformers: model.save_pretrained(DIR, safe_serialization=True)", pickle, singleFile)
		}
	}
	return nil, fmt.Errorf("model folder has neither %s nor %s", singleFile, indexFile)
}

func (w *weights) add(fsys fs.FS, name string) (weightFile, error) {
	f, err := openFile(fsys, name)
	if err != nil {
		return f, err
	}
	w.files = append(w.files, f)
	for _, tensor := range f.Names() {
		if other, twice := w.where[tensor]; twice {
			return f, fmt.Errorf("tensor %q is in both %s and %s", tensor, other.name, name)
		}
		w.where[tensor] = f
	}
	return f, nil
}

// maxIndex is how many bytes an index of shards may have: a line of a hundred bytes for each tensor of the largest
// model that a config may describe.
const maxIndex = 64 << 20

// addShards opens what model.safetensors.index.json maps, and holds the map against what the shards hold.
func (w *weights) addShards(fsys fs.FS) error {
	text, err := readfile.FS(fsys, indexFile, maxIndex)
	if err != nil {
		return err
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return fmt.Errorf("%s: %w", indexFile, jsonFault(err, nil))
	}
	mapped := slices.Sorted(maps.Keys(index.WeightMap))
	var shards []string
	for _, tensor := range mapped {
		shard := index.WeightMap[tensor]
		if shard == "." || shard != path.Base(shard) || strings.Contains(shard, `\`) || !fs.ValidPath(shard) {
			return fmt.Errorf("%s: tensor %q is mapped to %q; a shard is a plain file name beside the index", indexFile, tensor, shard)
		}
		shards = append(shards, shard)
	}
	if len(shards) == 0 {
		return fmt.Errorf("%s: weight_map is absent or empty", indexFile)
	}
	slices.Sort(shards)
	for _, shard := range slices.Compact(shards) {
		f, err := w.add(fsys, shard)
		if err != nil {
			return fmt.Errorf("%s: %w", indexFile, err)
		}
		for _, tensor := range f.Names() {
			switch to, ok := index.WeightMap[tensor]; {
			case !ok:
				return fmt.Errorf("%s: shard %s holds tensor %q, which the index does not map", indexFile, shard, tensor)
			case to != shard:
				return fmt.Errorf("%s: shard %s holds tensor %q, which the index maps to %s", indexFile, shard, tensor, to)
			}
		}
	}
	for _, tensor := range mapped {
		if _, ok := w.where[tensor]; !ok {
			return fmt.Errorf("%s: tensor %q is not in its shard %s", indexFile, tensor, index.WeightMap[tensor])
		}
	}
	return nil
}

// canonical maps canonical names to the names in the files, and lists what an architecture ignores: the heads
// of others and the position_ids buffer.
func (w *weights) canonical(a Architecture, c *Config) (found map[string]string, ignored []string, err error) {
	prefixed, bare := "", ""
	names := a.names(c)
	otherHead := w.otherHeads(names)
	found = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(w.where)) {
		short, hasPrefix := strings.CutPrefix(name, names.prefix)
		if short == positionIDs {
			if err := w.checkPositions(name, c.MaxPositionEmbeddings); err != nil {
				return nil, nil, err
			}
		}
		to, encoders := names.canonical(name)
		if a.ignores(to, names) || short == positionIDs || otherHead(name) {
			ignored = append(ignored, name)
			continue
		}
		if encoders && hasPrefix {
			prefixed = name
		} else if encoders {
			bare = name
		}
		if other, twice := found[to]; twice {
			return nil, nil, fmt.Errorf("%s: tensors %q and %q are one tensor under two spellings", w.where[name].name, other, name)
		}
		found[to] = name
	}
	if prefixed != "" && bare != "" {
		return nil, nil, fmt.Errorf("%s mixes names with and without the prefix %q: %q and %q", w.where[bare].name, names.prefix, prefixed, bare)
	}
	return found, ignored, nil
}

// otherHeads tells tensors of other models' heads, as qa_outputs.weight: what stands beside an encoder at the top, under
// whatever name. Where the files hold no encoder by its names, nothing is a head: it is another model.
func (w *weights) otherHeads(n tensorNames) func(name string) bool {
	encoder := slices.ContainsFunc(n.kernels, func(k string) bool {
		_, prefixed := w.where[n.prefix+k]
		_, bare := w.where[k]
		return prefixed || bare
	})
	return func(name string) bool {
		top, _, _ := strings.Cut(name, ".")
		return encoder && !strings.HasPrefix(name, n.prefix) && !slices.Contains(n.tops, top) && !slices.Contains(n.heads, top)
	}
}

// otherClassifier reports whether the model that the files were saved from calls classifier what is no classifier of
// texts, but of tokens or of choices.
func (c *Config) otherClassifier() bool {
	var of []string
	if json.Unmarshal(c.Raw["architectures"], &of) != nil || len(of) == 0 {
		return false
	}
	return strings.HasSuffix(of[0], "ForTokenClassification") || strings.HasSuffix(of[0], "ForMultipleChoice")
}

// modernNorm renames LayerNorm.gamma and LayerNorm.beta, and nothing else that ends so.
func modernNorm(name string) string {
	if stem, ok := strings.CutSuffix(name, ".LayerNorm.gamma"); ok {
		return stem + ".LayerNorm.weight"
	}
	if stem, ok := strings.CutSuffix(name, ".LayerNorm.beta"); ok {
		return stem + ".LayerNorm.bias"
	}
	return name
}

const positionIDs = "embeddings.position_ids"

// checkPositions verifies the position_ids buffer of older checkpoints: the encoder counts 0, 1, 2, …
func (w *weights) checkPositions(name string, positions int) error {
	ids, err := w.where[name].Int64(name)
	if err != nil {
		return err
	}
	if len(ids) != positions {
		return fmt.Errorf("%s: %q holds %d positions; config.json says max_position_embeddings is %d", w.where[name].name, name, len(ids), positions)
	}
	for i, id := range ids {
		if int64(i) != id {
			return fmt.Errorf("%s: %q holds %d at position %d; only 0, 1, 2, … is supported", w.where[name].name, name, id, i)
		}
	}
	return nil
}

// tensor reads one tensor after checking its shape, dense kernels turned to [in, out]. With half, one that the file has in
// 16 bits stays so.
func (w *weights) tensor(name string, spec Spec, dtype dtypes.DType, half bool) (*tensors.Tensor, error) {
	f := w.where[name]
	info, _ := f.Info(name)
	if !slices.Equal(info.Shape, spec.Shape) {
		hint := "is config.json from another model?"
		if w.isHead(spec.Name) {
			hint = "this head was made for another task: --fresh-head draws a new one"
		}
		return nil, fmt.Errorf("%s: tensor %q is %v, want %v; %s", f.name, name, info.Shape, spec.Shape, hint)
	}
	switch {
	case half && info.DType == safetensors.DTypeBF16:
		return readHalf[bfloat16.BFloat16](w, name, spec)
	case half && info.DType == safetensors.DTypeF16:
		return readHalf[float16.Float16](w, name, spec)
	case dtype == dtypes.Float64:
		return read(w, f.Float64, name, spec)
	}
	return read(w, f.Float32, name, spec)
}

// read reads one tensor's values, which must be finite: a NaN would surface as a training that diverges.
func read[T float32 | float64](w *weights, values func(name string) ([]T, error), name string, spec Spec) (*tensors.Tensor, error) {
	list, err := values(name)
	if err != nil {
		return nil, err
	}
	for i, v := range list {
		if v-v != 0 { // NaN or infinite
			return nil, w.errNotFinite(name, float64(v), i)
		}
	}
	if w.headRows != nil && w.isHead(spec.Name) {
		list = reordered(list, w.headRows)
	}
	return toTensor(list, spec), nil
}

// readHalf is read for values of 16 bits, which stay as they are.
func readHalf[T interface {
	float16.Float16 | bfloat16.BFloat16
	Float32() float32
}](w *weights, name string, spec Spec) (*tensors.Tensor, error) {
	list, err := safetensors.Half[T](w.where[name].File, name)
	if err != nil {
		return nil, err
	}
	for i, v := range list {
		if x := v.Float32(); x-x != 0 {
			return nil, w.errNotFinite(name, float64(x), i)
		}
	}
	return toTensor(list, spec), nil
}

func (w *weights) errNotFinite(name string, v float64, i int) error {
	return fmt.Errorf("%s: tensor %q holds %g at element %d; a checkpoint of a training that diverged?", w.where[name].name, name, v, i)
}

// reordered takes the rows of a [len(order), …] in that order.
func reordered[T any](a []T, order []int) []T {
	width := len(a) / len(order)
	out := make([]T, 0, len(a))
	for _, row := range order {
		out = append(out, a[row*width:(row+1)*width]...)
	}
	return out
}

// numbers are the types that tensors are read in.
type numbers interface {
	float32 | float64 | float16.Float16 | bfloat16.BFloat16
}

func toTensor[T numbers](values []T, spec Spec) *tensors.Tensor {
	if !spec.Dense {
		return tensors.FromFlatDataAndDimensions(values, spec.Shape...)
	}
	out, in := spec.Shape[0], spec.Shape[1]
	return tensors.FromFlatDataAndDimensions(Transposed(values, out, in), in, out)
}

// Transposed turns [rows, cols] into [cols, rows], in square blocks that stay in the cache.
func Transposed[T numbers](a []T, rows, cols int) []T {
	const block = 32
	t := make([]T, len(a))
	for i0 := 0; i0 < rows; i0 += block {
		for j0 := 0; j0 < cols; j0 += block {
			for i := i0; i < min(i0+block, rows); i++ {
				for j := j0; j < min(j0+block, cols); j++ {
					t[j*rows+i] = a[i*cols+j]
				}
			}
		}
	}
	return t
}

func (w *weights) errMissing(names []string, c *Config) error {
	if len(names) == 0 {
		return nil
	}
	if slices.Equal(names, c.headOutside()) {
		return fmt.Errorf("%s: no classification head: %s are missing; deeplora train gives it one", w.source, list(names))
	}
	return fmt.Errorf("%s: %s missing: %s; config.json asks for %d layers of %d", w.source, count(names), list(names), c.NumHiddenLayers, c.HiddenSize)
}

func (w *weights) errUnexpected(found map[string]string) error {
	if len(found) == 0 {
		return nil
	}
	var names []string
	for _, name := range found {
		names = append(names, name)
	}
	slices.Sort(names)
	return fmt.Errorf("%s: %s unexpected: %s; is config.json from another model?", w.source, count(names), list(names))
}

func count(names []string) string {
	if len(names) == 1 {
		return "1 tensor is"
	}
	return fmt.Sprintf("%d tensors are", len(names))
}

// list quotes the first few names.
func list(names []string) string {
	const most = 5
	var b strings.Builder
	for i, n := range names[:min(most, len(names))] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", n)
	}
	if len(names) > most {
		fmt.Fprintf(&b, " and %d more", len(names)-most)
	}
	return b.String()
}

func product(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}
