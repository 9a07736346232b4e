package pretrain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/safetensors"
)

// shardTexts is the number of texts whose embeddings one file of the cache holds: a killed run computes at most
// one shard again.
const shardTexts = 8192

// teacherTexts embeds texts with a teacher, through a cache: files named after what is in them, the teacher and its
// texts, in half precision. Both a run that computed them and one that found them read the files, so that both
// see the same bits.
func teacherTexts(ctx context.Context, e *Embedder, dir string, texts []string, progress func(done, total int)) ([][]float32, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("teacher cache: %w", err)
	}
	var all [][]float32
	for shard := range slices.Chunk(texts, shardTexts) {
		path := filepath.Join(dir, shardName(e, shard))
		if _, err := os.Stat(path); err != nil {
			before := len(all)
			rows, err := e.Embed(ctx, shard, func(done, _ int) { progress(before+done, len(texts)) })
			if err != nil {
				return nil, fmt.Errorf("teacher: %w", err)
			}
			if err := writeShard(path, rows, e.Width()); err != nil {
				return nil, err
			}
		}
		rows, err := readShard(path, len(shard), e.Width())
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
		progress(len(all), len(texts))
	}
	return all, nil
}

func shardName(e *Embedder, texts []string) string {
	h := sha256.New()
	for _, f := range e.Files() {
		fmt.Fprintf(h, "%s %s\n", f.File, f.SHA256)
	}
	if how := e.How; how.Pooling != modelfiles.Mean || how.Lower || e.limit() < min(embedLength, e.model.Config.Positions()) {
		fmt.Fprintf(h, "%s %v %d\n", how.Pooling, how.Lower, e.limit()) // what the plain mean's files were never named after
	}
	for _, text := range texts {
		fmt.Fprintf(h, "%d %s\n", len(text), text)
	}
	return hex.EncodeToString(h.Sum(nil))[:24] + ".safetensors"
}

func writeShard(path string, rows [][]float32, width int) error {
	flat := make(safetensors.F16, 0, len(rows)*width)
	for _, r := range rows {
		flat = append(flat, r...)
	}
	entry := safetensors.Entry{Name: "embeddings", Shape: []int{len(rows), width}, Data: flat}
	err := atomicfile.Write(path, func(w io.Writer) error { return safetensors.Write(w, []safetensors.Entry{entry}, nil) })
	if err != nil {
		return fmt.Errorf("teacher cache: %w", err)
	}
	return nil
}

func readShard(path string, texts, width int) ([][]float32, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, fmt.Errorf("teacher cache: %w; remove the file to compute it again", err)
	}
	defer f.Close()
	flat, err := f.Float32("embeddings")
	if err != nil {
		return nil, fmt.Errorf("teacher cache: %w; remove the file to compute it again", err)
	}
	if len(flat) != texts*width {
		return nil, fmt.Errorf("teacher cache: %s holds %d numbers, want %d texts of %d; remove it to compute it again", path, len(flat), texts, width)
	}
	return slices.Collect(slices.Chunk(flat, width)), nil
}

// cosine of two vectors of length 1: their inner product.
func cosine(a, b []float32) float32 {
	var sum float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return float32(sum)
}
