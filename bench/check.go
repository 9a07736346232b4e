package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/data"
)

// tolerance of logits and loss, relative to the largest, or to 1 where they are smaller.
const tolerance = 1e-4

// pair is a short run and its PEFT export: the same adapter on both sides.
type pair struct {
	run, adapter string  // directories
	differs      float64 // furthest that logits or loss are apart; 0 without a peer
}

// answers are one side's results for the rows of a check.
type answers struct {
	Loss   float64     `json:"loss"`
	Logits [][]float64 `json:"logits"` // [rows, labels]
}

// checked trains an adapter of a job's kind on a batch of real rows, without dropout, exports it, and holds the
// peer's loss and logits with it against deeplora's. It is an error if they differ. What jobs have in common is done
// once.
func (b *bench) checked(ctx context.Context, j *job) (*pair, error) {
	key := strings.Join(append(j.adapter(), j.model), " ")
	if p := b.pairs[key]; p != nil {
		return p, nil
	}
	small := *j
	small.workload = workload{Name: j.Name, Task: j.Task, Shots: batch, Method: j.Method, Init: j.Init, Scope: j.Scope}
	if _, err := b.writeData(&small); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "check-")
	if err != nil {
		return nil, err
	}
	p := &pair{run: filepath.Join(dir, "run"), adapter: filepath.Join(dir, "peft")}
	ours, err := b.exampleRun(ctx, &small, dir, p)
	if err != nil {
		return nil, err
	}
	if b.peer {
		theirs, err := b.peerAnswers(ctx, &small, p)
		if err != nil {
			return nil, err
		}
		if p.differs, err = compare(ours, theirs); err != nil {
			return nil, err
		}
		b.note("%s: loss %.5f, logits and loss differ by %.1e at most", j.Name, ours.Loss, p.differs)
	}
	b.pairs[key] = p
	return p, nil
}

// exampleRun trains in two runs: the first moves the adapter away from zero, the second goes on for a step too small
// to change it, whose loss is therefore that of the adapter it ends with.
func (b *bench) exampleRun(ctx context.Context, j *job, dir string, p *pair) (ours answers, err error) {
	first := filepath.Join(dir, "first")
	common := []string{
		"train", "--model", j.model, "--task", j.Task, "--data", j.data, "--batch", strconv.Itoa(batch),
		"--max-length", strconv.Itoa(maxLength), "--dropout", "0", "--train-head=false", // as the peer
	}
	moved := append(append(common[:len(common):len(common)], "--rank", strconv.Itoa(rank), "--init-scale", "0.3", "--pooling", "head", "--lr", "5e-3", "--steps", "2", "--out", first), j.adapter()...)
	if _, err := b.deeplora(ctx, moved...); err != nil {
		return ours, err
	}
	if _, err := b.deeplora(ctx, append(common, "--from", first, "--lr", "1e-12", "--steps", "1", "--out", p.run)...); err != nil {
		return ours, err
	}
	steps, err := readSteps(filepath.Join(p.run, "metrics.jsonl"))
	if err != nil {
		return ours, err
	}
	ours.Loss = steps[0].Loss
	if _, err := b.deeplora(ctx, "export", "--run", p.run, "--format", "peft", "--out", p.adapter); err != nil {
		return ours, err
	}
	ours.Logits, err = b.predicted(ctx, j, p.run)
	return ours, err
}

// predicted are deeplora's logits of a job's training rows.
func (b *bench) predicted(ctx context.Context, j *job, run string) (logits [][]float64, err error) {
	task, err := data.LookupTask(j.Task)
	if err != nil {
		return nil, err
	}
	rows, err := data.Load(j.data, task, data.Train)
	if err != nil {
		return nil, err
	}
	var input bytes.Buffer
	lines := json.NewEncoder(&input)
	for _, e := range rows.Examples {
		line := map[string]string{"text": e.Text}
		if e.HasPair {
			line["pair"] = e.Pair
		}
		if err := lines.Encode(line); err != nil {
			return nil, err
		}
	}
	file := filepath.Join(j.data, "inputs.jsonl")
	if err := os.WriteFile(file, input.Bytes(), 0o644); err != nil {
		return nil, err
	}
	e, err := b.deeplora(ctx, "predict", "--run", run, "--input", file)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(e.out) {
		var row struct {
			Logits []float64 `json:"logits"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, fmt.Errorf("predict: %w", err)
		}
		logits = append(logits, row.Logits)
	}
	return logits, nil
}

// compare returns how far the two sides are apart; beyond the tolerance it is an error.
func compare(ours, theirs answers) (float64, error) {
	if len(ours.Logits) != len(theirs.Logits) || len(ours.Logits) == 0 {
		return 0, fmt.Errorf("check: logits of %d rows, the peer's are of %d", len(ours.Logits), len(theirs.Logits))
	}
	furthest, scale := math.Abs(ours.Loss-theirs.Loss), max(1, math.Abs(ours.Loss))
	if !(furthest <= tolerance*scale) { // NaN is no agreement either
		return furthest, fmt.Errorf("check: on the same adapter and rows the loss is %g, the peer's %g: they do not compute the same", ours.Loss, theirs.Loss)
	}
	for i, row := range ours.Logits {
		if len(row) != len(theirs.Logits[i]) {
			return 0, fmt.Errorf("check: row %d has %d logits, the peer's %d", i, len(row), len(theirs.Logits[i]))
		}
		for k, v := range row {
			apart := math.Abs(v - theirs.Logits[i][k])
			if !(apart <= tolerance*max(1, math.Abs(v))) {
				return apart, fmt.Errorf("check: on the same adapter row %d has logit %g, the peer's is %g: they do not compute the same", i, v, theirs.Logits[i][k])
			}
			furthest = max(furthest, apart)
		}
	}
	return furthest, nil
}
