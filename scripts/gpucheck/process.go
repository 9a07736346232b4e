package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// patience is how long one program may take before it counts as hanging.
const patience = 4 * time.Minute

var errRunning = errors.New("still running")

// command prepares a program that ends when ctx does: by a signal first, so that it can end those that it started.
func (c *check) command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Dir = dir
	// Graphs are compiled once for all rows, where the engine keeps them, and never those of another day.
	cmd.Env = append(os.Environ(), "DEEPLORA_OFFLINE=1", "DEEPLORA_COMPILED="+filepath.Join(c.scratch, "compiled"),
		"DEEPLORA_TEST_BACKENDS="+c.backend, "DEEPLORA_SHARED="+c.at("shared"))
	if c.xlaFlags != "" {
		cmd.Env = append(cmd.Env, "XLA_FLAGS="+strings.TrimSpace(os.Getenv("XLA_FLAGS")+" "+c.xlaFlags))
	}
	return cmd
}

// execute runs a program to its end and returns its standard output.
func (c *check) execute(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := c.command(patient, dir, name, args...)
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	began := time.Now()
	err := cmd.Run()
	return out.Bytes(), ended(ctx, cmd, began, err, &out, &said)
}

// ended is the error of a program that did not succeed, with the end of its output; a skip, where the time for
// everything was up.
func ended(ctx context.Context, cmd *exec.Cmd, began time.Time, err error, output ...*bytes.Buffer) error {
	name, took := filepath.Base(cmd.Path), time.Since(began)
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return skip(fmt.Sprintf("the time was up %.0f s after %s began", took.Seconds(), name))
	case ctx.Err() != nil:
		return skip(fmt.Sprintf("interrupted %.0f s after %s began", took.Seconds(), name))
	case took >= patience:
		err = fmt.Errorf("%w after %v", errRunning, patience)
	default:
		if line := lastLines(strings.TrimSpace(output[len(output)-1].String()), 1); line != "" {
			err = fmt.Errorf("%w: %s", err, line)
		}
	}
	var log strings.Builder
	fmt.Fprintf(&log, "$ %s\n", strings.Join(cmd.Args, " "))
	for _, b := range output {
		log.WriteString(lastLines(b.String(), 40))
	}
	return fault{fmt.Errorf("%s: %w", name, err), log.String()}
}

// lastLines is the end of a text.
func lastLines(text string, n int) string {
	lines := slices.Collect(strings.Lines(text))
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
