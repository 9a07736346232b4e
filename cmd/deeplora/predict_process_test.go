package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pairLines are rows of many lengths.
func pairLines(n int) []string {
	words := strings.Fields("a man plays the flute while two dogs run over the old red house and many people listen")
	lines := make([]string, n)
	for i := range lines {
		text := strings.Join(words[:1+i*7%len(words)], " ")
		lines[i] = fmt.Sprintf("{\"text\": %q, \"pair\": \"row %d\"}\n", text, i)
	}
	return lines
}

// conversation is a predict command whose input stays open.
type conversation struct {
	*process
	in io.WriteCloser
}

func converse(t *testing.T, args ...string) *conversation {
	t.Helper()
	c := &conversation{process: program(t, args...)}
	var err error
	if c.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	c.begin(t)
	return c
}

func (c *conversation) say(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(c.in, text); err != nil {
		t.Fatal(err)
	}
}

// answers waits for so many lines in all.
func (c *conversation) answers(t *testing.T, n int) {
	t.Helper()
	c.until(t, fmt.Sprintf("answer %d", n), func() bool { return strings.Count(c.out.String(), "\n") >= n })
}

// bye ends the input, and returns what was answered.
func (c *conversation) bye(t *testing.T) []byte {
	t.Helper()
	if err := c.in.Close(); err != nil {
		t.Fatal(err)
	}
	if code := c.code(t); code != exitDone {
		t.Fatalf("exit code %d\n%s", code, c.err.String())
	}
	return []byte(c.out.String())
}

// Whoever writes a row into a pipe and waits gets its answer before the next row, and the answers of a whole file
// are the same: to the bit where rows are computed alone, and else as far as batches of another shape sum alike.
func TestPredictAnswersRowByRow(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run, file := filepath.Join(dir, "run"), filepath.Join(dir, "rows.jsonl")
	succeeds(t, smallRun(t, backendGo, run, "--steps", "1")...)
	lines := pairLines(12)
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	predict := []string{"predict", "--backend", backendGo, "--run", run}
	alone := append(predict, "--eval-batch", "1")
	for _, c := range []struct {
		name     string
		args     []string
		at       []int // how many rows are said at once, over and over
		furthest float64
	}{
		{"one by one", predict, []int{1}, 1e-5},
		{"in bursts", predict, []int{1, 5, 3}, 1e-5},
		{"computed alone", alone, []int{2, 1}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := converse(t, c.args...)
			for said, turn := 0, 0; said < len(lines); turn++ {
				next := min(said+c.at[turn%len(c.at)], len(lines))
				p.say(t, strings.Join(lines[said:next], ""))
				p.answers(t, next)
				said = next
			}
			got, want := p.bye(t), succeeds(t, append(c.args, "--input", file)...).out.String()
			if d := furthestLogit(t, got, []byte(want)); d > c.furthest {
				t.Errorf("logits are up to %g apart, want at most %g", d, c.furthest)
			}
		})
	}
}

// A row that has come in part is waited for, and does not keep those before it.
func TestPredictWaitsForTheEndOfARow(t *testing.T) {
	t.Parallel()
	run := filepath.Join(t.TempDir(), "run")
	succeeds(t, smallRun(t, backendGo, run, "--steps", "1")...)
	p := converse(t, "predict", "--backend", backendGo, "--run", run)
	lines := pairLines(3)
	p.say(t, lines[0]+lines[1][:9])
	p.answers(t, 1)
	time.Sleep(3 * pause)
	p.say(t, lines[1][9:]+lines[2]+`{"txt": "unknown field"}`+"\n")
	if code := p.code(t); code != exitFailed || !strings.Contains(p.err.String(), "standard input:4: unknown field") {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
}

// An interrupt ends a predict command that waits for input.
func TestPredictIsInterruptedWhileItWaits(t *testing.T) {
	t.Parallel()
	run := filepath.Join(t.TempDir(), "run")
	succeeds(t, smallRun(t, backendGo, run, "--steps", "1")...)
	p := converse(t, "predict", "--backend", backendGo, "--run", run)
	p.say(t, pairLines(1)[0])
	p.answers(t, 1)
	if err := p.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := p.code(t); code != exitInterrupted || !strings.Contains(p.err.String(), "deeplora: interrupted") {
		t.Errorf("exit code %d\n%s", code, p.err.String())
	}
}

// furthestLogit compares two outputs of predict, row by row.
func furthestLogit(t *testing.T, got, want []byte) (furthest float64) {
	t.Helper()
	a, b := bytes.Split(bytes.TrimSpace(got), []byte("\n")), bytes.Split(bytes.TrimSpace(want), []byte("\n"))
	if len(a) != len(b) {
		t.Fatalf("%d answers, want %d", len(a), len(b))
	}
	for i := range a {
		var x, y struct{ Logits []float64 }
		if err := json.Unmarshal(a[i], &x); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(b[i], &y); err != nil {
			t.Fatal(err)
		}
		if len(x.Logits) != len(y.Logits) || len(x.Logits) == 0 {
			t.Fatalf("row %d: %d logits, want %d", i+1, len(x.Logits), len(y.Logits))
		}
		for j := range x.Logits {
			furthest = math.Max(furthest, math.Abs(x.Logits[j]-y.Logits[j]))
		}
	}
	return furthest
}
