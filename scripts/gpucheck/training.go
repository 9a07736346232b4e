package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// steps are those of every training here.
const steps = 30

// trained is a training run.
type trained struct {
	dir    string
	losses []float64
	speeds []float64 // tokens a second, of each step
	result struct {
		TokensPerSecond float64 `json:"tokens_per_second"`
	}
	err error
}

// arguments are the command line of a training: what is promised of is the default, so little is set.
func (c *check) arguments(backend, dir string, more []string) []string {
	return append([]string{
		"train", "--quiet", "--backend", backend, "--model", "builtin:tiny", "--data", "builtin", "--task", "stsb",
		"--shots", "128", "--batch", "16", "--max-length", "32", "--steps", strconv.Itoa(steps), "--out", dir,
	}, more...)
}

// train is the training of a name on the engine that is checked, made when it is first asked for.
func (c *check) train(ctx context.Context, name string, more ...string) (*trained, error) {
	return c.trainOn(ctx, c.backend, name, more...)
}

func (c *check) trainOn(ctx context.Context, backend, name string, more ...string) (*trained, error) {
	if r := c.runs[name]; r != nil {
		return r, r.err
	}
	dir, began := filepath.Join(c.scratch, name), time.Now()
	_, err := c.execute(ctx, c.scratch, c.at("deeplora"), c.arguments(backend, dir, more)...)
	if err == nil {
		c.trainers, c.trained = c.trainers+1, c.trained+time.Since(began)
	}
	return c.keep(name, dir, err)
}

// keep reads what a training has written.
func (c *check) keep(name, dir string, err error) (*trained, error) {
	r := &trained{dir: dir, err: err}
	if r.err == nil {
		r.err = r.read()
	}
	c.runs[name] = r
	return r, r.err
}

func (r *trained) read() error {
	text, err := os.ReadFile(filepath.Join(r.dir, "metrics.jsonl"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		var step struct {
			Loss  *float64 `json:"loss"`
			Speed float64  `json:"tokens_per_s"`
		}
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			return fmt.Errorf("metrics.jsonl: %w", err)
		}
		if step.Loss != nil { // else an evaluation
			r.losses, r.speeds = append(r.losses, *step.Loss), append(r.speeds, step.Speed)
		}
	}
	if len(r.losses) != steps {
		return fmt.Errorf("metrics.jsonl has %d steps, want %d", len(r.losses), steps)
	}
	if text, err = os.ReadFile(filepath.Join(r.dir, "result.json")); err != nil {
		return err
	}
	return json.Unmarshal(text, &r.result)
}

// interrupted is a training that is interrupted once steps are done, and resumed with further arguments. Resumed tells
// how many there were.
func (c *check) interrupted(ctx context.Context, name string, more, then []string) (r *trained, resumed int, err error) {
	dir := filepath.Join(c.scratch, name)
	arguments := c.arguments(c.backend, dir, more)
	if err := c.interrupt(ctx, dir, arguments); err != nil {
		return nil, 0, err
	}
	if resumed, err = loggedLines(dir); err != nil {
		return nil, 0, err
	}
	arguments = append(c.arguments(c.backend, dir, nil), "--resume")
	_, err = c.execute(ctx, c.scratch, c.at("deeplora"), append(arguments, then...)...)
	r, err = c.keep(name, dir, err)
	return r, resumed, err
}

// interrupt starts a training and interrupts it after a sixth of its steps: on a GPU the others take no tenth of a second.
func (c *check) interrupt(ctx context.Context, dir string, arguments []string) error {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := c.command(patient, c.scratch, c.at("deeplora"), arguments...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return ended(ctx, cmd, began, err, &said)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	sent := false
	for {
		select {
		case err := <-done:
			return interruptedWell(ended(ctx, cmd, began, err, &said), cmd.ProcessState.ExitCode(), sent)
		case <-time.After(2 * time.Millisecond): // a step may take no longer
		}
		if n, err := loggedLines(dir); !sent && err == nil && n >= steps/6 {
			sent = true
			_ = cmd.Process.Signal(syscall.SIGINT) // if it has ended, done says so
		}
	}
}

// interruptedWell holds how a training ended against what is promised of an interrupt.
func interruptedWell(err error, code int, sent bool) error {
	const exitInterrupted = 130
	var s skip
	switch {
	case errors.As(err, &s):
		return err
	case err == nil:
		return skip("the run was at its end before it could be interrupted")
	case code == exitInterrupted && sent:
		return nil
	}
	return err
}

// loggedLines is how many lines the log of a run has; none if there is no log yet.
func loggedLines(dir string) (int, error) {
	text, err := os.ReadFile(filepath.Join(dir, "metrics.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return bytes.Count(text, []byte("\n")), err
}

// sameBits is an error unless two trainings ended with the same adapter, and had the same losses, to the bit. It returns
// the beginning of the adapter's sha256.
func sameBits(a, b *trained) (string, error) {
	for i, loss := range a.losses {
		if loss != b.losses[i] {
			return "", fmt.Errorf("from step %d on the losses differ: %v and %v", i+1, loss, b.losses[i])
		}
	}
	var sums [2]string
	for i, r := range []*trained{a, b} {
		content, err := os.ReadFile(filepath.Join(r.dir, "adapter", "adapter.safetensors"))
		if err != nil {
			return "", err
		}
		sums[i] = fmt.Sprintf("%.6x", sha256.Sum256(content))
	}
	if sums[0] != sums[1] {
		return "", fmt.Errorf("the losses are the same, the adapters differ: sha256 %s and %s", sums[0], sums[1])
	}
	return sums[0], nil
}

// apart is how far losses are from others, relative to these: the first, the last, and the furthest.
func apart(a, of *trained) (first, last, most float64) {
	for i, loss := range a.losses {
		d := math.Abs(loss/of.losses[i] - 1)
		if math.IsNaN(d) { // which no limit would refuse
			d = math.Inf(1)
		}
		if i == 0 {
			first = d
		}
		last, most = d, max(most, d)
	}
	return first, last, most
}
