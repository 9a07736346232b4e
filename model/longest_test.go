package model_test

import (
	"slices"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/model"
)

// Tables of positions that are made for the longest text say of a short one what those of its own length do.
func TestLongestChangesNoLogits(t *testing.T) {
	for name, g := range familyGoldens(t) {
		if !slices.Contains([]string{"modernbert", "mpnet", "deberta-v2"}, g.Config.ModelType) && !testshared.Thorough() {
			continue // these have such tables
		}
		out := evaluate(t, testbackend.All(t)[0], g.Checkpoint, g.padded(), func(e *model.Encoder, in []*Node) []*Node {
			inputs := model.Padded{IDs: in[0], Types: in[1], Mask: in[2]}
			logits := e.Logits(inputs)
			mean := *e.Config
			mean.Pooling = "mean" // of all tokens, not the first alone
			longest := *e
			longest.Longest = e.Positions()
			all := longest
			all.Config = &mean
			own := all
			own.Longest = 0
			return []*Node{logits, longest.Logits(inputs), own.Logits(inputs), all.Logits(inputs)}
		})
		near(t, name+": of first tokens", out[1], out[0], 1e-6)
		near(t, name+": of all tokens", out[3], out[2], 1e-6)
	}
}
