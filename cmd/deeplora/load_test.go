//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/study"
	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// These tests put much of one thing through the program and watch its memory. What they do by default takes seconds;
// DEEPLORA_LOAD says how much, for the figures of docs/reliability.md:
//
//	DEEPLORA_LOAD=1000000 go test ./cmd/deeplora -run PredictStreams -v -timeout 60m
//	DEEPLORA_LOAD=1000    go test ./cmd/deeplora -run CompareReads -v
//	DEEPLORA_LOAD=10000   go test ./cmd/deeplora -run TrainingSoak -v -timeout 60m

// load is how much to do: the usual amount, or what the environment says.
func load(t *testing.T, usual int) int {
	t.Helper()
	text := os.Getenv("DEEPLORA_LOAD")
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < usual {
		t.Fatalf("DEEPLORA_LOAD=%s: want a number from %d", text, usual)
	}
	return n
}

// memoryOf is a line of a process's status, such as VmRSS, in bytes.
func memoryOf(t *testing.T, pid int, line string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skipf("reads the memory of a process from /proc: %v", err)
	}
	_, after, found := strings.Cut(string(text), line+":")
	if !found {
		t.Fatalf("no %s in\n%s", line, text)
	}
	kilobytes, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// predict answers as many lines as come, in the order they come, and needs no more memory for a million than for ten
// thousand.
func TestPredictStreamsInConstantMemory(t *testing.T) {
	lines := load(t, 20_000)
	early := min(10_000, lines/2)
	checkpoint := smallCheckpoint(t, filepath.Join(t.TempDir(), "small"), "no", "yes")
	p := program(t, "predict", "--backend", engines()[len(engines())-1], "--model", checkpoint, "--eval-batch", "64")
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.Stdout = nil
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- writeRows(in, lines) }()
	began := time.Now()
	var atEarly, atEnd int64
	answers := bufio.NewScanner(out)
	n := 0
	for answers.Scan() {
		switch n++; n {
		case early:
			atEarly = memoryOf(t, p.Process.Pid, "VmRSS")
		case lines:
			atEnd = memoryOf(t, p.Process.Pid, "VmHWM")
		}
		if n%997 == 1 && !strings.Contains(answers.Text(), `"probabilities"`) {
			t.Fatalf("answer %d is %s", n, answers.Text())
		}
	}
	took := time.Since(began)
	if err := <-written; err != nil {
		t.Error(err)
	}
	if err := p.Wait(); err != nil || n != lines {
		t.Fatalf("%d answers of %d: %v\n%s", n, lines, err, p.err.String())
	}
	t.Logf("%d lines in %v, %.0f a second; memory %s after %d lines, %s at most", lines, took.Round(time.Second), float64(lines)/took.Seconds(), megabytes(atEarly), early, megabytes(atEnd))
	if atEnd > atEarly+64<<20 {
		t.Errorf("memory grew from %s to %s", megabytes(atEarly), megabytes(atEnd))
	}
}

// writeRows writes rows of 1 to 24 words.
func writeRows(w io.WriteCloser, n int) error {
	words := strings.Fields("a man plays the flute while two dogs run over the old red house and many people listen to him on this day")
	buffered := bufio.NewWriter(w)
	for i := range n {
		if _, err := fmt.Fprintf(buffered, "{\"text\": \"%s\"}\n", strings.Join(words[:1+i*7%len(words)], " ")); err != nil {
			return err
		}
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return w.Close()
}

// compare reads as many finished runs as a study has: the summary and the report of a thousand take seconds.
func TestCompareReadsManyRuns(t *testing.T) {
	n := load(t, 60)
	dir := filepath.Join(t.TempDir(), "study")
	runs := fabricateStudy(t, dir, n)
	began := time.Now()
	p := startNamed(t, "compare", "--resume", "--out", dir, "--no-spectra", "--backend", backendGo)
	if code := p.code(t); code != exitDone {
		t.Fatalf("exit code %d\n%s", code, p.err.String())
	}
	took := time.Since(began)
	rss := p.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	report := readFile(t, filepath.Join(dir, study.ReportFile))
	t.Logf("%d runs of %d steps: %v, memory %s at most, report %s", runs, curveSteps, took.Round(10*time.Millisecond), megabytes(rss), megabytes(int64(len(report))))
	if !strings.Contains(p.err.String(), fmt.Sprintf("%d of %d runs are finished", runs, runs)) || !bytes.Contains(report, []byte("</html>")) {
		t.Errorf("said\n%s", p.err.String())
	}
	var summary struct{ Finished int }
	if err := json.Unmarshal(readFile(t, filepath.Join(dir, "summary.json")), &summary); err != nil || summary.Finished != runs {
		t.Errorf("the summary has %d runs: %v", summary.Finished, err)
	}
	if rss > 2<<30 {
		t.Errorf("memory %s", megabytes(rss))
	}
}

const curveSteps = 200 // of each fabricated run

// fabricateStudy makes a study of at least n runs, which are there as if they had been made, and returns how many.
func fabricateStudy(t *testing.T, dir string, n int) int {
	t.Helper()
	seeds := make([]string, (n+19)/20) // 2 methods, 5 ranks, 2 sizes
	for i := range seeds {
		seeds[i] = strconv.Itoa(i)
	}
	e, err := study.ParseExperiment([]byte(fmt.Sprintf(`{"title": "many runs", "set": {"task": "stsb", "steps": %d},
		"grid": {"method": ["vanilla", "deep-compressed"], "rank": [2, 4, 8, 16, 32], "shots": [16, 64], "seed": [%s]}}`, curveSteps, strings.Join(seeds, ", "))))
	if err != nil {
		t.Fatal(err)
	}
	s, err := study.Open(dir, e, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, r := range s.Runs {
		if err := fabricateRun(s.RunDir(r), r.Config); err != nil {
			t.Fatal(err)
		}
	}
	return len(s.Runs)
}

func fabricateRun(dir string, c train.Config) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	stream := rng.New(c.Seed, "fabricated", c.Method, fmt.Sprint(c.Rank, c.Shots))
	var curve bytes.Buffer
	for step := 1; step <= curveSteps; step++ {
		fmt.Fprintf(&curve, "{\"gradient_norm\":1,\"loss\":%g,\"lr\":0.001,\"step\":%d,\"step_seconds\":0.1,\"tokens_per_s\":5000}\n", 1+stream.Float64(), step)
	}
	if err := os.WriteFile(filepath.Join(dir, "metrics.jsonl"), curve.Bytes(), 0o644); err != nil {
		return err
	}
	sums := []model.FileSum{{File: "x", SHA256: strings.Repeat("0", 64)}}
	if err := jsonfile.Write(filepath.Join(dir, "config.json"), train.RunConfig{Config: c, Provenance: train.Provenance{
		Version: "test", Backend: backendGo, Threads: 1, Model: sums, Data: sums,
	}}); err != nil {
		return err
	}
	score := 0.5 + 0.1*stream.Normal()
	return jsonfile.Write(filepath.Join(dir, "result.json"), train.Result{
		Task: c.Task, Split: "validation", PrimaryMetric: "pearson", Metrics: loop.Metrics{"pearson": score, "spearman": score - 0.01},
		Examples: 1500, Method: c.Method, Rank: c.Rank, Depth: c.Depth, Scope: c.Scope, Seed: c.Seed, Shots: c.Shots, Steps: c.Steps, Selected: c.Steps,
		Parameters: 1000 * c.Rank, TrainSeconds: 20, WallSeconds: 30, TokensPerSecond: 5000, PeakRSS: 400 << 20, Backend: backendGo, Threads: 1, FinalLoss: 1,
	})
}

// watchdog ends the process with every goroutine's stack where nothing has happened for so long: a test that hangs in
// an engine says nothing else.
type watchdog struct {
	timer   *time.Timer
	patient time.Duration
}

func newWatchdog(patient time.Duration) *watchdog {
	return &watchdog{time.AfterFunc(patient, func() {
		stacks := make([]byte, 8<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		fmt.Fprintf(os.Stderr, "nothing happened for %v; every goroutine:\n%s\n", patient, stacks)
		os.Exit(exitFailed)
	}), patient}
}

func (w *watchdog) pat()  { w.timer.Reset(w.patient) }
func (w *watchdog) stop() { w.timer.Stop() }

// Training for long needs no more memory than training for a while, and starts no goroutines that stay; closing the
// engine ends those that it had.
func TestTrainingSoak(t *testing.T) {
	for _, backend := range engines() {
		t.Run(backend, func(t *testing.T) { soak(t, backend, load(t, 300)) })
	}
}

func soak(t *testing.T, name string, steps int) {
	dog := newWatchdog(patience)
	defer dog.stop()
	before := settled(0)
	data, err := filepath.Abs(filepath.Join("testdata", "data"))
	if err != nil {
		t.Fatal(err)
	}
	c := train.Default()
	c.Model, c.Data = smallCheckpoint(t, filepath.Join(t.TempDir(), "small")), data
	c.Rank, c.Batch, c.MaxLength, c.Steps, c.SaveEvery, c.EvalEvery, c.Target = 4, 2, 16, steps, max(100, steps/20), max(100, steps/20), []string{"query$", "value$"}
	backend, info, err := engine.Open(engine.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	type sample struct {
		rss        int64
		goroutines int
	}
	at := map[int]sample{}
	early := steps / 10
	began := time.Now()
	_, err = train.Train(t.Context(), c, train.Options{
		Backend: backend, Out: filepath.Join(t.TempDir(), "run"), Provenance: train.Provenance{Backend: info.Name, Threads: info.Threads},
		OnEvent: func(e loop.Event) {
			dog.pat()
			if s, ok := e.(loop.Step); ok && (s.Step == early || s.Step == steps/2 || s.Step == steps) {
				runtime.GC() // what is left is held
				at[s.Step] = sample{memoryOf(t, os.Getpid(), "VmRSS"), runtime.NumGoroutine()}
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	backend.Finalize()
	after := settled(before)
	first, last := at[early], at[steps]
	t.Logf("%s: %d steps in %v; memory %s at step %d, %s at step %d, %s at the end; goroutines %d before, %d, %d and %d, %d after", name, steps,
		took.Round(time.Second), megabytes(first.rss), early, megabytes(at[steps/2].rss), steps/2, megabytes(last.rss), before, first.goroutines, at[steps/2].goroutines, last.goroutines, after)
	if last.rss > first.rss+48<<20 {
		t.Errorf("memory grew from %s to %s", megabytes(first.rss), megabytes(last.rss))
	}
	if last.goroutines > first.goroutines {
		t.Errorf("goroutines grew from %d to %d", first.goroutines, last.goroutines)
	}
	if after > before {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines are left of %d:\n%s", after-before, last.goroutines, stacks[:runtime.Stack(stacks, true)])
	}
}

// settled is the number of goroutines, once it is no more than want or does not fall any further.
func settled(want int) int {
	n := runtime.NumGoroutine()
	for range 200 {
		if n <= want {
			break
		}
		runtime.GC() // finalizers end some
		time.Sleep(10 * time.Millisecond)
		n = runtime.NumGoroutine()
	}
	return n
}
