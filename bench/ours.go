package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// deeplora runs the program on the harness's engine. Every process compiles its own graphs.
func (b *bench) deeplora(ctx context.Context, args ...string) (ended, error) {
	return b.keeping(ctx, append(args, "--no-compile-cache")...)
}

// keeping runs it where graphs are kept for the harness's later processes.
func (b *bench) keeping(ctx context.Context, args ...string) (ended, error) {
	args = append(args, "--quiet", "--backend", b.backend, "--threads", strconv.Itoa(b.Threads))
	return execute(ctx, []string{"DEEPLORA_OFFLINE=1", "DEEPLORA_COMPILED=" + filepath.Join(b.dir, "compiled")}, b.binary, args...)
}

// inspect lists the model's kernels, and the parameters that a job's adapter has on each.
func (b *bench) inspect(ctx context.Context, j *job) ([]kernel, error) {
	e, err := b.deeplora(ctx, "inspect", "--json", "--model", j.model, "--method", j.Method, "--scope", j.Scope, "--rank", strconv.Itoa(j.rank))
	if err != nil {
		return nil, err
	}
	var found struct {
		Kernels []kernel `json:"kernels"`
	}
	return found.Kernels, json.Unmarshal(e.out, &found)
}

// ours times deeplora's side of a job.
func (b *bench) ours(ctx context.Context, j *job) (timing, error) {
	switch j.Kind {
	case evalKind:
		return b.evaluation(ctx, j)
	case exportKind:
		return b.exported(ctx, j)
	case initKind:
		return b.initialisation(ctx, j)
	}
	p, err := b.train(ctx, j, j.adapter())
	if err != nil {
		return timing{}, err
	}
	return p.timing(j.workload), nil
}

// trained is a training process that ended.
type trained struct {
	ended
	steps  []step
	result struct {
		Wall  float64 `json:"wall_seconds"`
		Start float64 `json:"start_to_first_step_seconds"`
		Init  float64 `json:"initialise_seconds"`
	}
}

// step is a line of metrics.jsonl.
type step struct {
	Step    int     `json:"step"`
	Seconds float64 `json:"step_seconds"`
	Speed   float64 `json:"tokens_per_s"` // rounded
	Loss    float64 `json:"loss"`
}

func (s step) tokens() float64 { return s.Seconds * s.Speed }

func (b *bench) train(ctx context.Context, j *job, adapter []string) (p trained, err error) {
	dir := filepath.Join(b.dir, "run")
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	args := []string{
		"train", "--json", "--model", j.model, "--data", j.data, "--rank", strconv.Itoa(j.rank), "--batch", strconv.Itoa(j.batch),
		"--max-length", strconv.Itoa(j.length), "--dropout", strconv.FormatFloat(j.Dropout, 'g', -1, 64), "--out", dir,
		"--train-head=false", "--pooling", "head", // as the peer
		"--precision", b.Precision,
	}
	switch {
	case j.Kind == epochKind:
		args = append(args, "--epochs", strconv.Itoa(epochs))
	case j.Steps > 0:
		args = append(args, "--steps", strconv.Itoa(j.Steps))
	default:
		args = append(args, "--steps", strconv.Itoa(b.Steps))
	}
	if j.recompute {
		args = append(args, "--gradient-checkpointing")
	}
	if j.Full { // rows are full already: there is nothing to pack
		args = append(args, "--pad", "fixed")
	}
	run := b.deeplora
	if j.Kept {
		run = b.keeping
	}
	if p.ended, err = run(ctx, append(args, adapter...)...); err != nil {
		return p, err
	}
	if err := json.Unmarshal(p.out, &p.result); err != nil {
		return p, err
	}
	p.steps, err = readSteps(filepath.Join(dir, "metrics.jsonl"))
	return p, err
}

// readSteps reads the steps of metrics.jsonl, without its evaluations.
func readSteps(path string) ([]step, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var steps []step
	for line := range strings.Lines(string(text)) {
		var s step
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if s.Seconds > 0 {
			steps = append(steps, s)
		}
	}
	if len(steps) == 0 {
		return nil, fmt.Errorf("%s has no step", path)
	}
	return steps, nil
}

// timing is what a workload asks of a training process.
func (p *trained) timing(w workload) timing {
	t := p.ended.timing(0, 0)
	switch w.Kind {
	case epochKind:
		t.Compiling, t.Seconds, t.Tokens = epochTimes(p.steps)
	case stepKind:
		t.Seconds, t.Tokens = medianStep(p.steps), int(math.Round(p.steps[0].tokens()/batch)*batch)
	case startKind:
		// The run's own clock starts later than the process: what it does not account for, the end included, is
		// added. That is a little too much, never too little.
		t.Seconds = p.result.Start + p.wall - p.result.Wall
	default:
		t.Seconds = p.wall
	}
	return t
}

// epochTimes are the seconds of the first epoch, which compiles, the median of the others, and the tokens of one.
func epochTimes(steps []step) (first, later float64, tokens int) {
	var seconds []float64
	exact := 0.0
	for epoch := range epochs {
		total := 0.0
		for _, s := range steps[epoch*len(steps)/epochs : (epoch+1)*len(steps)/epochs] {
			total += s.Seconds
			if epoch == 0 {
				exact += math.Round(s.tokens()) // a speed is rounded to a token a second: of a long step much is lost
			}
		}
		seconds = append(seconds, total)
	}
	return seconds[0], median(seconds[1:]), int(exact)
}

func medianStep(steps []step) float64 {
	var seconds []float64
	for _, s := range steps[1:] {
		seconds = append(seconds, s.Seconds)
	}
	return median(seconds)
}

// initialisation times what comes before the first step, and beside it the memory of a process that draws its adapter
// without gradients: LoRA's.
func (b *bench) initialisation(ctx context.Context, j *job) (t timing, err error) {
	p, err := b.train(ctx, j, j.adapter())
	if err != nil {
		return t, err
	}
	plain := j.workload
	plain.Method = "vanilla"
	other, err := b.train(ctx, j, plain.adapter())
	if err != nil {
		return t, err
	}
	t = p.ended.timing(p.result.Start-p.steps[0].Seconds, 0)
	t.Initialise, t.PlainRSS = p.result.Init, other.peak
	return t, nil
}

// evaluation times deeplora eval: tokenizing, compiling and computing, without loading and merging.
func (b *bench) evaluation(ctx context.Context, j *job) (t timing, err error) {
	e, err := b.deeplora(ctx, "eval", "--json", "--run", j.pair.run, "--data", j.data, "--precision", b.Precision)
	if err != nil {
		return t, err
	}
	var found struct {
		Seconds float64 `json:"evaluate_seconds"`
	}
	if err := json.Unmarshal(e.out, &found); err != nil {
		return t, err
	}
	if found.Seconds <= 0 {
		return t, fmt.Errorf("%s eval --json has no evaluate_seconds; build it anew: make build", b.binary)
	}
	return e.timing(found.Seconds, 0), nil
}

// exported times deeplora export, which reads what it has written again and compares it with the run.
func (b *bench) exported(ctx context.Context, j *job) (t timing, err error) {
	out := filepath.Join(b.dir, "merged")
	// The peer reads nothing back either.
	e, err := b.deeplora(ctx, "export", "--run", j.pair.run, "--format", "merged", "--no-verify", "--out", out)
	if err != nil {
		return t, err
	}
	return e.timing(e.wall, 0), os.RemoveAll(out)
}
