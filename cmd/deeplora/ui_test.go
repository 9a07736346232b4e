package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/deeplora/deeplora/train/loop"
)

func TestShortDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 300 * time.Millisecond: "1s", 59 * time.Second: "59s", time.Minute: "1m00s",
		754 * time.Second: "12m34s", 3 * time.Hour: "3h00m", 26*time.Hour + 5*time.Minute + 40*time.Second: "26h05m",
	} {
		if got := short(d); got != want {
			t.Errorf("short(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestCutLeavesOutWholeParts(t *testing.T) {
	const text = "train 9/10, loss 0.1234, 12 tokens/s, ETA 1s"
	for columns, want := range map[int]string{
		100: text, len(text): text, len(text) - 1: "train 9/10, loss 0.1234, 12 tokens/s", 30: "train 9/10, loss 0.1234",
		15: "train 9/10", 5: "train", 0: "", -3: "",
	} {
		if got := cut(text, columns); got != want {
			t.Errorf("cut to %d columns: %q, want %q", columns, got, want)
		}
	}
}

// What is left follows from the pace since the first count, also where a run is resumed in the middle.
func TestPace(t *testing.T) {
	p := pace{}
	if got := p.left(1000, 1100); got != "" {
		t.Errorf("known at the first count: %q", got)
	}
	for done := 1001; done <= 1003; done++ {
		p.left(done, 1100)
	}
	p.since = p.since.Add(-20 * time.Second)
	if got := p.left(1020, 1100); got != ", ETA 1m20s" && got != ", ETA 1m21s" {
		t.Errorf("20 steps in 20 s, 80 left: %q", got)
	}
	if got := p.left(1100, 1100); got != "" {
		t.Errorf("at the end: %q", got)
	}
}

// Off a terminal: a line for the first and the last step and one now and then, and no escape codes.
func TestPlainLines(t *testing.T) {
	var out, errOut bytes.Buffer
	u := newUI(&out, &errOut, false, false)
	u.prefix = "100%"
	u.event(loop.Ready{Kernels: 4, Parameters: 100, Examples: 12, Steps: 50, From: 7})
	for step := 8; step <= 50; step++ {
		u.event(loop.Step{Step: step, Steps: 50, Loss: 0.5, LR: 0.01, TokensPerSecond: 1234.4})
		if step == 30 {
			u.shown = u.shown.Add(-lineEvery)
		}
	}
	u.event(loop.Evaluated{Step: 50, Metrics: loop.Metrics{"pearson": 0.25, "accuracy": 1}, Best: true})
	u.event(loop.Checkpointed{Step: 50, Path: "somewhere"}) // for --verbose
	lines := strings.Split(errOut.String(), "\n")
	for i, want := range []string{
		"100%: training 100 parameters of 4 kernels on 12 examples, 50 steps, going on after step 7",
		"100%: step 8/50: loss 0.5000, 1234 tokens/s, lr 0.01",
		"100%: step 31/50: loss 0.5000, 1234 tokens/s, lr 0.01, ETA 1s",
		"100%: step 50/50: loss 0.5000, 1234 tokens/s, lr 0.01",
		"100%: step 50: accuracy 1.0000, pearson 0.2500 (best)",
		"",
	} {
		if i >= len(lines) || lines[i] != want {
			t.Fatalf("line %d of\n%s\nwant %q", i+1, errOut.String(), want)
		}
	}
	if out.Len() > 0 {
		t.Errorf("progress on standard output: %q", out.String())
	}
}

func TestOnCancel(t *testing.T) {
	for _, cancelled := range []bool{true, false} {
		acted := false
		ctx, cancel := context.WithCancel(t.Context())
		stop := onCancel(ctx, func() { acted = true })
		if cancelled {
			cancel()
		}
		stop() // waits, if there is something to wait for
		cancel()
		if acted != cancelled {
			t.Errorf("cancelled %v, acted %v", cancelled, acted)
		}
	}
}
