package pretrain

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/rng"
)

// Neighbours are looked for among blocks of this many texts drawn at random: a search through all pairs would
// find dictionary entries that say the same, and take as long as training.
const (
	blockTexts = 4096
	nearest    = 8 // neighbours a text keeps
)

// neighbours finds, for every text of a list, texts near it by the teacher's cosine within its block: nearest of
// them, or fewer in a small list.
func neighbours(ctx context.Context, backend compute.Backend, list []int, embeddings [][]float32, s *rng.Stream, progress func(done, total int)) (map[int][]int, error) {
	near := make(map[int][]int, len(list))
	exec, err := NewExec(backend, func(in []*Node) []*Node { return []*Node{Einsum("ie,je->ij", in[0], in[0])} })
	if err != nil {
		return nil, fmt.Errorf("neighbours: %w", err)
	}
	defer exec.Finalize()
	order := s.Perm(len(list))
	for block := range slices.Chunk(order, blockTexts) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		texts := make([]int, len(block))
		var flat []float32
		for i, at := range block {
			texts[i] = list[at]
			flat = append(flat, embeddings[list[at]]...)
		}
		cosines, err := blockCosines(exec, flat, len(texts))
		if err != nil {
			return nil, err
		}
		for i, text := range texts {
			near[text] = top(cosines[i*len(texts):(i+1)*len(texts)], i, texts)
		}
		progress(len(near), len(list))
	}
	return near, nil
}

func blockCosines(exec *Exec, flat []float32, rows int) (cosines []float32, err error) {
	err = graphx.Try("neighbours", func() {
		out := exec.MustCall(tensors.FromFlatDataAndDimensions(flat, rows, len(flat)/rows))[0]
		defer out.MustFinalizeAll()
		cosines = tensors.MustCopyFlatData[float32](out)
	})
	return cosines, err
}

// top gives the texts of the largest cosines but the text's own, nearest first.
func top(cosines []float32, self int, texts []int) []int {
	var best []int // indices, best first
	for j, c := range cosines {
		if j == self || len(best) == nearest && c <= cosines[best[nearest-1]] {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, c, func(k int, c float32) int { return cmp.Compare(c, cosines[k]) })
		for at < len(best) && cosines[best[at]] == c { // ties: in the order of the block
			at++
		}
		best = slices.Insert(best, at, j)
		best = best[:min(len(best), nearest)]
	}
	found := make([]int, len(best))
	for i, j := range best {
		found[i] = texts[j]
	}
	return found
}
