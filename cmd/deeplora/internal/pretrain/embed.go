package pretrain

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// embedLength is the most tokens of a text that an Embedder reads: what all-MiniLM-L6-v2 was trained with.
const embedLength = 128

// embedStep is what lengths are rounded up to: texts come sorted by length, and a corpus is long enough to pay for
// a graph for each of few lengths.
const embedStep = 4

// embedBatch is the number of texts an Embedder computes at once, unless it is asked for fewer.
const embedBatch = 256

// Embedder gives texts their sentence embeddings, as sentence-transformers does: the mean of the encoder's last states
// over the real tokens, special ones included, or what the model's folder declares instead, scaled to length 1. Not
// safe for concurrent use.
type Embedder struct {
	How modelfiles.Embedding // what the model's folder declares

	backend compute.Backend
	model   *model.Checkpoint
	tok     data.Tokenizer
	exec    *Exec
}

// OpenEmbedder reads an encoder and its tokenizer: a directory, a hub id or builtin:tiny. Its kernels are held in the
// precision.
func OpenEmbedder(ctx context.Context, backend compute.Backend, ref string, from train.Sources, p model.Precision) (*Embedder, error) {
	if err := p.Check(backend); err != nil {
		return nil, err
	}
	files, _, err := from.Model(ctx, ref)
	if err != nil {
		return nil, err
	}
	how, err := modelfiles.ReadEmbedding(files)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", ref, err)
	}
	checkpoint, err := model.Load(files, model.LoadOptions{Architecture: model.Base, Precision: p})
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", ref, err)
	}
	if err := checkpoint.Hold(p, backend, func(string) bool { return false }); err != nil {
		return nil, fmt.Errorf("model %s: %w", ref, err)
	}
	tok, err := data.OpenTokenizer(files, "")
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", ref, err)
	}
	if how.Lower && ignoresCase(tok) {
		how.Lower = false // the tokenizer does it, and better
	}
	e := &Embedder{How: how, backend: backend, model: checkpoint, tok: tok}
	exec, err := NewExec(backend, e.graph)
	if err != nil {
		return nil, fmt.Errorf("embed: %w", err)
	}
	e.exec = exec.WithName("embed").SetMaxCache(64)
	return e, nil
}

// ignoresCase reports whether a tokenizer makes letters small itself.
func ignoresCase(tok data.Tokenizer) bool {
	upper, errUpper := tok.Encode("A B C")
	lower, errLower := tok.Encode("a b c")
	return errUpper == nil && errLower == nil && slices.Equal(upper, lower)
}

// encode gives a text's token ids, without special ones.
func (e *Embedder) encode(text string) ([]int32, error) {
	if e.How.Lower {
		text = strings.ToLower(text)
	}
	ids, err := e.tok.Encode(text)
	if err != nil {
		return nil, fmt.Errorf("text %q: %w", text, err)
	}
	return ids, nil
}

// limit is the most tokens of a text that are read, special ones included.
func (e *Embedder) limit() int {
	limit := min(embedLength, e.model.Config.Positions())
	if e.How.MaxLength > 0 {
		limit = min(limit, e.How.MaxLength)
	}
	return limit
}

// Close frees the compiled graphs.
func (e *Embedder) Close() { e.exec.Finalize() }

// Width is the length of an embedding.
func (e *Embedder) Width() int { return e.model.Config.HiddenSize }

// Files are what the encoder was read from.
func (e *Embedder) Files() []model.FileSum { return e.model.Files }

// graph: ids, types, mask [batch, seq], weights -> embeddings [batch, H].
func (e *Embedder) graph(in []*Node) []*Node {
	var names []string
	for _, spec := range e.model.Specs() {
		names = append(names, spec.Name)
	}
	bert := &model.Encoder{Config: e.model.Config, Weights: named(names, in[3:]), Hook: model.Frozen, Precision: e.model.Precision}
	hidden := bert.Hidden(model.Padded{IDs: in[0], Types: in[1], Mask: in[2]})
	batch, seq := in[0].Shape().Dim(0), in[0].Shape().Dim(1)
	return []*Node{unit(e.pool(Reshape(hidden, batch, seq, e.Width()), in[2]))}
}

// pool makes a row of each text's states: [batch, seq, H], mask [batch, seq] -> [batch, H].
func (e *Embedder) pool(states, mask *Node) *Node {
	real := InsertAxes(ConvertDType(mask, states.DType()), -1) // [batch, seq, 1]
	switch e.How.Pooling {
	case modelfiles.CLS:
		return Squeeze(Slice(states, AxisRange(), AxisElem(0), AxisRange()), 1)
	case modelfiles.Max: // padding is far below any state
		return ReduceMax(Sub(Mul(states, real), MulScalar(OneMinus(real), 1e9)), 1)
	default:
		return ReduceSum(Mul(states, real), 1) // a mean and a sum point the same way
	}
}

// named gives a graph's first inputs by the names they were passed under.
func named(names []string, in []*Node) model.Weights {
	byName := make(map[string]*Node, len(names))
	for i, name := range names {
		byName[name] = in[i]
	}
	return func(name string) *Node { return byName[name] }
}

// unit scales rows to length 1: [rows, H] -> [rows, H].
func unit(x *Node) *Node {
	norm := Sqrt(AddScalar(ReduceAndKeep(Square(x), ReduceSum, -1), 1e-12))
	return Div(x, norm)
}

// Embed returns a row [Width] for every text, in their order. Texts are cut to 128 tokens. progress may be nil.
func (e *Embedder) Embed(ctx context.Context, texts []string, progress func(done, total int)) ([][]float32, error) {
	rows := make([]data.Encoded, len(texts))
	limit := e.limit()
	for i, text := range texts {
		ids, err := e.encode(text)
		if err != nil {
			return nil, err
		}
		rows[i], _ = e.tok.Special().Join(ids, nil, false, limit)
		if err := e.model.Config.Check(rows[i].IDs, rows[i].Types, len(rows[i].IDs)); err != nil {
			return nil, fmt.Errorf("text %q: %w", text, err)
		}
	}
	out, done, batch := make([][]float32, len(texts)), 0, min(embedBatch, len(texts))
	for _, index := range data.EvalBatches(rows, batch) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		length := min(limit, embedStep*((data.Longest(rows, index)+embedStep-1)/embedStep))
		b, err := data.Assemble(rows, nil, index, batch, length, e.model.Config.PadTokenID)
		if err != nil {
			return nil, err
		}
		flat, err := e.run(b)
		if err != nil {
			return nil, err
		}
		for r, i := range index {
			out[i] = flat[r*e.Width() : (r+1)*e.Width()]
		}
		if done += len(index); progress != nil {
			progress(done, len(texts))
		}
	}
	return out, nil
}

func (e *Embedder) run(b data.Batch) (flat []float32, err error) {
	err = graphx.Try("embed", func() {
		args := []any{}
		for _, values := range [][]int32{b.IDs, b.Types, b.Mask} {
			args = append(args, tensors.FromFlatDataAndDimensions(values, b.Rows, b.Len))
		}
		for _, spec := range e.model.Specs() {
			args = append(args, e.model.Tensors[spec.Name])
		}
		out := e.exec.MustCall(args...)[0]
		defer out.MustFinalizeAll()
		flat = tensors.MustCopyFlatData[float32](out)
	})
	return flat, err
}
