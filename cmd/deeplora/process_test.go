package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// These tests run the program as processes: kill them, interrupt them, run two at once. They wait for what the
// processes write, never for a time.

// patience is how long a process may take before a test gives up: machines that run tests are busy.
const patience = 3 * time.Minute

// process is this test binary run as the program.
type process struct {
	*exec.Cmd
	out, err lockedBuffer
	ended    chan struct{} // closed once it has
}

// lockedBuffer may be read while a process writes it.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// program is the program's process, not yet started, on a machine without a network or a home.
func program(t *testing.T, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.Command(exe, args...), ended: make(chan struct{})}
	p.Args[0] = "deeplora"
	p.Env = append(os.Environ(), "HOME=/no-home", "DEEPLORA_OFFLINE=1", "PJRT_PLUGIN_LIBRARY_PATH="+filepath.Dir(installedPlugin()))
	p.Stdout, p.Stderr = &p.out, &p.err
	return p
}

// start starts the program, and kills it if it is still there when the test ends.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := program(t, args...)
	p.begin(t)
	return p
}

func (p *process) begin(t *testing.T) {
	t.Helper()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // ProcessState has it
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // usually it has ended
		<-p.ended
	})
}

// until waits until ready, or fails if the process ends before.
func (p *process) until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ready(); {
		select {
		case <-p.ended:
			if !ready() {
				t.Fatalf("the process ended (%v) before %s\n%s", p.ProcessState, what, p.err.String())
			}
			return
		case <-time.After(time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s after %v\n%s", what, patience, p.err.String())
		}
	}
}

// code waits for the end and returns the exit code, -1 for a signal's.
func (p *process) code(t *testing.T) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.ProcessState.ExitCode()
	case <-time.After(patience):
		t.Fatalf("still running after %v\n%s", patience, p.err.String())
		return 0
	}
}

// succeeds runs the program, which must.
func succeeds(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, args...)
	if code := p.code(t); code != exitDone {
		t.Fatalf("deeplora %s: exit code %d\n%s", strings.Join(args, " "), code, p.err.String())
	}
	return p
}

// failsWith runs the program, which must fail with a code and one message that holds all these texts.
func failsWith(t *testing.T, want int, texts []string, args ...string) {
	t.Helper()
	p := start(t, args...)
	if code := p.code(t); code != want {
		t.Fatalf("deeplora %s: exit code %d, want %d\n%s", strings.Join(args, " "), code, want, p.err.String())
	}
	for _, text := range texts {
		if !strings.Contains(p.err.String(), text) {
			t.Errorf("deeplora %s: no %q in\n%s", strings.Join(args, " "), text, p.err.String())
		}
	}
	if out := p.out.String(); out != "" {
		t.Errorf("deeplora %s: a result beside the error:\n%s", strings.Join(args, " "), out)
	}
}

// smallRun is the command line of a run of a second or two.
func smallRun(t *testing.T, backend, out string, more ...string) []string {
	t.Helper()
	data, err := filepath.Abs(filepath.Join("testdata", "data"))
	if err != nil {
		t.Fatal(err)
	}
	return append([]string{
		"train", "--backend", backend, "--data", data, "--rank", "4", "--scope", "only-query-value",
		"--batch", "2", "--max-length", "16", "--pad", "fixed", "--out", out,
	}, more...)
}

// steps are the losses that a run has logged so far, as text.
func steps(run string) []string {
	text, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
	if err != nil {
		return nil
	}
	var losses []string
	for line := range bytes.Lines(text) {
		var fields struct{ Loss json.RawMessage }
		if json.Unmarshal(line, &fields) == nil && fields.Loss != nil {
			losses = append(losses, string(fields.Loss))
		}
	}
	return losses
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// sameRun holds a resumed run against an uninterrupted one: adapter/ byte for byte, every loss, the metrics.
func sameRun(t *testing.T, got, want string) {
	t.Helper()
	for _, file := range []string{"adapter/adapter.json", "adapter/adapter.safetensors", "manifest.json"} {
		a, b := readFile(t, filepath.Join(got, file)), readFile(t, filepath.Join(want, file))
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs from the uninterrupted run's", file)
		}
	}
	if a, b := strings.Join(steps(got), "\n"), strings.Join(steps(want), "\n"); a != b {
		t.Errorf("losses\n%s\nwant\n%s", a, b)
	}
	metrics := func(run string) string {
		v, err := valueAt(string(readFile(t, filepath.Join(run, "result.json"))), "metrics")
		if err != nil {
			t.Fatal(err)
		}
		return encoded(v)
	}
	if a, b := metrics(got), metrics(want); a != b {
		t.Errorf("metrics %s, want %s", a, b)
	}
	noLeftovers(t, got)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// noLeftovers holds a run directory to what is promised: no file of it is half written.
func noLeftovers(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if strings.Contains(filepath.Base(path), ".tmp") {
			t.Errorf("%s is left", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// engines are the engines that there are here.
func engines() []string {
	if installedPlugin() == "" {
		return []string{backendGo}
	}
	return []string{backendGo, backendCPU}
}

// killSeed draws the steps at which processes are killed: another one each time, unless DEEPLORA_KILL_SEED says
// which.
func killSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("DEEPLORA_KILL_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("DEEPLORA_KILL_SEED: %v", err)
		}
	}
	t.Logf("DEEPLORA_KILL_SEED=%d makes the same draw", seed)
	return seed
}

// A run that is killed at any step and resumed ends with the bytes of one that was not.
func TestKilledRunEndsWithTheSameBytes(t *testing.T) {
	t.Parallel()
	const total, kills = 60, 3
	settings := []string{"--steps", strconv.Itoa(total), "--save-every", "9", "--eval-every", "25"}
	for _, backend := range engines() {
		t.Run(backend, func(t *testing.T) {
			draw := rand.New(rand.NewPCG(killSeed(t), 0))
			dir := t.TempDir()
			whole := filepath.Join(dir, "whole")
			succeeds(t, smallRun(t, backend, whole, settings...)...)
			for i := range kills {
				out := filepath.Join(dir, fmt.Sprintf("killed-%d", i))
				args := smallRun(t, backend, out, settings...)
				killAt(t, draw, total, out, args)
				succeeds(t, "train", "--resume", "--out", out)
				sameRun(t, out, whole)
			}
		})
	}
}

// A pretraining that is killed at any step and resumed ends with the model of one that was not.
func TestKilledPretrainingEndsWithTheSameModel(t *testing.T) {
	t.Parallel()
	const total, kills = 60, 2
	const shapeJSON = `{"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 24}`
	dir := t.TempDir()
	corpus, shape := filepath.Join(dir, "corpus.txt"), filepath.Join(dir, "shape.json")
	var lines strings.Builder
	for i := range 40 {
		fmt.Fprintf(&lines, "the %s dog sees %d birds\tthe birds fly over %d old %s houses\n", []string{"small", "brown", "young"}[i%3], i, i*7%11, []string{"red", "grey"}[i%2])
	}
	for path, text := range map[string]string{corpus: lines.String(), shape: shapeJSON} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run := func(out string) []string {
		return []string{
			"pretrain", "--backend", backendGo, "--corpus", corpus, "--config", shape, "--vocab-size", "120", "--max-length", "16", "--row-length", "32",
			"--batch", "2", "--steps", strconv.Itoa(total), "--warmup", "5", "--save-every", "9", "--eval-every", "25", "--validation", "0.1", "--out", out,
		}
	}
	draw := rand.New(rand.NewPCG(killSeed(t), 1))
	whole := filepath.Join(dir, "whole")
	succeeds(t, run(whole)...)
	for i := range kills {
		out := filepath.Join(dir, fmt.Sprintf("killed-%d", i))
		killAt(t, draw, total, out, run(out))
		succeeds(t, "pretrain", "--resume", "--backend", backendGo, "--out", out)
		for _, file := range []string{"model.safetensors", "config.json", "tokenizer.json", "vocab.txt"} {
			if !bytes.Equal(readFile(t, filepath.Join(out, file)), readFile(t, filepath.Join(whole, file))) {
				t.Errorf("%s differs from the uninterrupted run's", file)
			}
		}
		if a, b := strings.Join(steps(out), "\n"), strings.Join(steps(whole), "\n"); a != b {
			t.Errorf("losses\n%s\nwant\n%s", a, b)
		}
		noLeftovers(t, out)
	}
}

// killAt runs the program and kills it once it has done a step drawn at random. Should it finish before the
// signal arrives, an earlier step is drawn.
func killAt(t *testing.T, draw *rand.Rand, total int, out string, args []string) {
	t.Helper()
	for limit := total - 10; ; limit /= 2 {
		step := 1 + draw.IntN(limit)
		p := start(t, args...)
		p.until(t, fmt.Sprintf("step %d", step), func() bool { return len(steps(out)) >= step })
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if p.code(t) == -1 && !exists(filepath.Join(out, "result.json")) {
			t.Logf("killed when step %d was logged, with %d of %d steps done", step, len(steps(out)), total)
			return
		}
		if limit < 4 {
			t.Fatal("the process always finishes before it is killed")
		}
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
	}
}

// A process that is killed while it writes a checkpoint leaves the one before good, and what it left half
// written goes away.
func TestKilledWhileSaving(t *testing.T) {
	t.Parallel()
	settings := []string{"--steps", "30", "--save-every", "1"}
	dir := t.TempDir()
	whole, out := filepath.Join(dir, "whole"), filepath.Join(dir, "killed")
	succeeds(t, smallRun(t, backendGo, whole, settings...)...)

	p := start(t, smallRun(t, backendGo, out, settings...)...)
	half := filepath.Join(out, "checkpoints", "step-*.tmp")
	p.until(t, "two checkpoints", func() bool { return len(steps(out)) > 2 })
	for {
		if found, _ := filepath.Glob(half); len(found) > 0 {
			break
		}
		select {
		case <-p.ended:
			t.Skip("the process saves faster than this test looks")
		case <-time.After(100 * time.Microsecond):
		}
	}
	_ = p.Process.Kill() // it may just have ended
	p.code(t)
	if exists(filepath.Join(out, "result.json")) {
		t.Skip("the process ended before it was killed")
	}
	found, _ := filepath.Glob(half)
	t.Logf("killed with %d of 30 steps done, half a checkpoint left: %v", len(steps(out)), len(found) > 0)
	succeeds(t, "train", "--resume", "--out", out)
	sameRun(t, out, whole)
}

// An interrupted run saves, exits with 130 and names the command that goes on, which a shell takes as it stands.
func TestInterruptSavesAndNamesTheCommand(t *testing.T) {
	t.Parallel()
	const total = 40
	settings := []string{"--steps", strconv.Itoa(total), "--threads", "1"}
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	succeeds(t, smallRun(t, backendGo, whole, settings...)...)
	for name, signal := range map[string]os.Signal{"interrupt": os.Interrupt, "terminate": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "it's a run")
			p := start(t, smallRun(t, backendGo, out, settings...)...)
			p.until(t, "step 3", func() bool { return len(steps(out)) >= 3 })
			if err := p.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if code := p.code(t); code != exitInterrupted {
				t.Fatalf("exit code %d, want %d\n%s", code, exitInterrupted, p.err.String())
			}
			if p.out.String() != "" {
				t.Errorf("an interrupted run prints a result: %s", p.out.String())
			}
			message := regexp.MustCompile(`(?m)^deeplora: interrupted, state saved at step (\d+) of 40: .*; go on with: (deeplora train --resume .*)$`)
			found := message.FindStringSubmatch(p.err.String())
			if found == nil {
				t.Fatalf("no such message as %s in\n%s", message, p.err.String())
			}
			if !strings.Contains(p.err.String(), "interrupted: finishing what is being computed") {
				t.Errorf("the signal was not acknowledged at once:\n%s", p.err.String())
			}
			if !exists(filepath.Join(out, "checkpoints", "step-"+found[1], "state.json")) {
				t.Errorf("there is no checkpoint of step %s", found[1])
			}
			if !strings.Contains(found[2], "--backend go --threads 1") {
				t.Errorf("the command loses what the line said of this machine: %s", found[2])
			}
			shell := exec.Command("sh", "-c", found[2]) // TestMain has put deeplora on the path
			shell.Env = p.Env
			if text, err := shell.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", found[2], err, text)
			}
			sameRun(t, out, whole)
		})
	}
}

// Whoever interrupts again does not wait for the end of a step.
func TestSecondInterruptStopsAtOnce(t *testing.T) {
	t.Parallel()
	settings := []string{"--steps", "3", "--accumulate", "150"}
	for range 10 {
		out := filepath.Join(t.TempDir(), "run")
		p := start(t, smallRun(t, backendGo, out, settings...)...)
		p.until(t, "step 1", func() bool { return len(steps(out)) > 0 }) // and so, soon, in step 2, which is long
		for range 2 {
			if err := p.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			p.until(t, "an answer", func() bool { return strings.Contains(p.err.String(), "interrupt again to stop at once") })
		}
		p.code(t)
		status, ok := p.ProcessState.Sys().(syscall.WaitStatus)
		if ok && status.Signaled() && status.Signal() == syscall.SIGINT {
			if done := len(steps(out)); done != 1 {
				t.Errorf("%d steps were done, want 1", done)
			}
			return
		}
		// The first signal may come between two steps, and the process be gone before the second.
		if p.ProcessState.ExitCode() != exitInterrupted {
			t.Fatalf("ended with %v\n%s", p.ProcessState, p.err.String())
		}
	}
	t.Error("ten times, the second interrupt did not stop a step in hand")
}

// Two processes do not share a run directory.
func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "run")
	first := start(t, smallRun(t, backendGo, out, "--steps", "1000000")...)
	first.until(t, "step 1", func() bool { return len(steps(out)) >= 1 })
	before := readFile(t, filepath.Join(out, "config.json"))

	owner := fmt.Sprintf("output directory is in use by another process (process %d on ", first.Process.Pid)
	failsWith(t, exitFailed, []string{out, owner}, "train", "--resume", "--out", out)
	failsWith(t, exitFailed, []string{out, "output directory is in use by a run; --resume goes on with it, or choose another --out"},
		smallRun(t, backendGo, out)...)
	failsWith(t, exitFailed, []string{"the run has not finished; go on with deeplora train --resume --out "}, "eval", "--backend", "go", "--run", out)

	done := len(steps(out))
	first.until(t, "further steps of the first process", func() bool { return len(steps(out)) > done })
	if !bytes.Equal(before, readFile(t, filepath.Join(out, "config.json"))) {
		t.Error("the first process's config.json has changed")
	}
	noLeftovers(t, out)
}

// A result goes to standard output whole, also where that is a pipe that is closed early: no panic, no trace.
func TestClosedPipe(t *testing.T) {
	t.Parallel()
	p := program(t, "inspect")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	p.Stdout = w
	p.begin(t)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	p.code(t)
	if strings.Contains(p.err.String(), "panic") || strings.Contains(p.err.String(), "goroutine") {
		t.Errorf("standard error:\n%s", p.err.String())
	}
}

// A run whose standard input is closed or endless trains all the same: it is not read.
func TestTrainIgnoresStandardInput(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "run")
	p := program(t, smallRun(t, backendGo, out, "--steps", "1")...)
	p.Stdin = neverEnding{}
	p.begin(t)
	select {
	case <-p.ended: // Wait also waits for the copy into the pipe, which ends with the process
	case <-time.After(patience):
		t.Fatal("waits for its input")
	}
	if !exists(filepath.Join(out, "result.json")) {
		t.Errorf("no result\n%s", p.err.String())
	}
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'y'
	}
	return len(p), nil
}
