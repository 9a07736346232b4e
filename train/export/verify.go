package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// ErrDiffers is wrapped by errors about files that were written and, read again, are another model.
var ErrDiffers = errors.New("what was written differs from the trained model")

// Verification is a comparison of logits between a model and what was written of it.
type Verification struct {
	Examples      int     `json:"examples"`
	MaxDifference float64 `json:"max_difference"` // between two logits
	MaxLogit      float64 `json:"max_logit"`      // in absolute value, of the trained model
	Tolerance     float64 `json:"tolerance"`      // of the difference
}

// reference is what a model says of some inputs.
type reference struct {
	rows   []data.Encoded
	layout train.Layout
	logits [][]float32
}

// newReference computes a run's logits with the adapter beside the frozen weights, as in training: nothing that
// merging or folding does is in them.
func newReference(ctx context.Context, s *train.Finished, backend compute.Backend) (*reference, error) {
	p, err := s.Unmerged(backend)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	r := &reference{rows: inputsFor(p.Config())}
	r.layout = train.Layout{Batch: len(r.rows), Padding: data.PadBucket, MaxLength: p.Config().Positions()}
	if r.logits, err = p.Logits(ctx, r.rows, r.layout, nil); err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	return r, nil
}

// inputsFor are inputs of many lengths, with ids from all over the vocabulary and both token types: the same ones
// for the same model always.
func inputsFor(c *model.Config) []data.Encoded {
	const examples, longest = 8, 24
	s := rng.New(0, "verify export")
	rows := make([]data.Encoded, examples)
	for i := range rows {
		n := min(longest*(i+1)/examples, c.Positions())
		e := data.Encoded{IDs: make([]int32, n), Types: make([]int32, n)}
		for j := range e.IDs {
			e.IDs[j] = int32(s.IntN(c.VocabSize))
			if j > n/2 && c.TypeVocabSize > 1 {
				e.Types[j] = 1
			}
		}
		rows[i] = e
	}
	return rows
}

// tokenized are texts on which tokenizers that look alike part: case, accents, ideographs, control characters, a long
// word, a special token.
var tokenized = []string{"A Zürich café, naïve; déjà vu!", "北京 ABC abc", "a\x01b\u200bc " + strings.Repeat("x", 150), "the [MASK] sat"}

// sameTokens holds the tokenizer that was written against that of the base model, where this has one.
func sameTokens(base, written fs.FS) error {
	want, err := data.OpenTokenizer(base, "")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the base model's %w", err)
	}
	got, err := data.OpenTokenizer(written, "")
	if err != nil {
		return err
	}
	for i, text := range tokenized {
		pair := tokenized[len(tokenized)-1-i]
		a, _, errA := data.EncodePair(want, text, pair, true, 0)
		b, _, errB := data.EncodePair(got, text, pair, true, 0)
		if errA != nil || errB != nil || !slices.Equal(a.IDs, b.IDs) || !slices.Equal(a.Types, b.Types) {
			return fmt.Errorf("%w: %q with %q is tokenized as %v, by the base model's tokenizer as %v", ErrDiffers, text, pair, b, a)
		}
	}
	return nil
}

// precision is how far logits may be apart, relative to the largest or to 1.
type precision float64

// tolerances by the type of the weights: float32's is the noise of summing in another order, the others' what
// rounding weights to 11 and 8 bits does to the logits of an encoder, with room.
var tolerances = map[dtypes.DType]precision{dtypes.Float32: 1e-5, dtypes.Float16: 2e-2, dtypes.BFloat16: 1.5e-1}

func precisionOf(dtype dtypes.DType) precision { return tolerances[dtype] }

// compare computes with what was written, closes it and holds its logits against the reference's.
func (r *reference) compare(ctx context.Context, written *train.Predictor, p precision) (*Verification, error) {
	defer written.Close()
	logits, err := written.Logits(ctx, r.rows, r.layout, nil)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	v := &Verification{Examples: len(r.rows)}
	if err := v.add(r.logits, logits); err != nil {
		return nil, err
	}
	return v, v.judge(p)
}

// add takes in how far logits are from what they should be.
func (v *Verification) add(want, got [][]float32) error {
	for i, row := range want {
		if len(row) != len(got[i]) {
			return fmt.Errorf("verify: %w: %d logits became %d", ErrDiffers, len(row), len(got[i]))
		}
		for j, logit := range row {
			difference := math.Abs(float64(logit) - float64(got[i][j]))
			if !(difference <= v.MaxDifference) { // no number is the largest of all
				v.MaxDifference = difference
			}
			v.MaxLogit = math.Max(v.MaxLogit, math.Abs(float64(logit)))
		}
	}
	return nil
}

// judge refuses what is too far.
func (v *Verification) judge(p precision) error {
	v.Tolerance = float64(p) * math.Max(1, v.MaxLogit)
	if !(v.MaxDifference <= v.Tolerance) {
		return fmt.Errorf("verify: %w: logits are up to %.3g apart, %.3g is allowed; nothing is kept (--no-verify keeps it)", ErrDiffers, v.MaxDifference, v.Tolerance)
	}
	return nil
}
