package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/train/loop"
)

// smallPretraining is the command line of a pretraining of a second or two.
func smallPretraining(t *testing.T, out string, more ...string) []string {
	t.Helper()
	dir := t.TempDir()
	corpus, shape := filepath.Join(dir, "corpus.txt"), filepath.Join(dir, "shape.json")
	text := strings.Repeat("the small dog sees a bird\tthe birds fly over old red houses\n", 20)
	for path, content := range map[string]string{
		corpus: text,
		shape:  `{"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 24}`,
	} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return append([]string{
		"pretrain", "--backend", backendGo, "--corpus", corpus, "--config", shape, "--vocab-size", "60", "--max-length", "16", "--row-length", "32",
		"--batch", "2", "--warmup", "0", "--validation", "0.1", "--out", out,
	}, more...)
}

// The directory of a pretraining, and that of a study, are their owner's until it ends: whoever comes second is told
// who that is. A lock of a process that is no more is nobody's.
func TestSecondProcessIsToldTheOwner(t *testing.T) {
	t.Parallel()
	for name, args := range map[string]func(out string) []string{
		"pretrain": func(out string) []string { return smallPretraining(t, out, "--steps", "1000000") },
		"compare": func(out string) []string {
			return []string{"compare", "--backend", backendGo, "--experiment", experimentFile(t, strings.Replace(small(t), `"steps": 24`, `"steps": 1000000`, 1)), "--out", out}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := filepath.Join(t.TempDir(), "out")
			line := args(out)
			first := startNamed(t, line...)
			first.until(t, "a step", func() bool {
				runs, _ := filepath.Glob(filepath.Join(out, "runs", "*"))
				for _, run := range append(runs, out) {
					if len(steps(run)) > 0 {
						return true
					}
				}
				return false
			})
			owner := fmt.Sprintf("output directory is in use by another process (process %d on ", first.Process.Pid)
			failsWith(t, exitFailed, []string{out, owner}, append(line, "--resume")...)
			if err := first.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if code := first.code(t); code != exitInterrupted {
				t.Fatalf("exit code %d\n%s", code, first.err.String())
			}
			lock := filepath.Join(out, ".lock")
			if text := string(readFile(t, lock)); !strings.HasPrefix(text, fmt.Sprintf("process %d on ", first.Process.Pid)) {
				t.Errorf("the lock says %q", text)
			}
			again := startNamed(t, append(line, "--resume")...) // the lock is stale now
			again.until(t, "the lock", func() bool {
				return strings.HasPrefix(string(readFile(t, lock)), fmt.Sprintf("process %d on ", again.Process.Pid))
			})
			if err := again.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			again.code(t)
		})
	}
}

// A run that meets a number that is not finite stops with exit code 1 and names the kernel; replay finds it again; and
// with --on-nonfinite skip the same run gives up after ten such steps.
func TestNonfiniteStepIsReplayed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	model, run := filepath.Join(dir, "model"), filepath.Join(dir, "run")
	succeeds(t, smallPretraining(t, model, "--steps", "1")...)
	spoilModel(t, model)
	args := smallRun(t, backendGo, run, "--model", model, "--method", "vanilla", "--steps", "20")
	named := "first in the forward pass, at bert.encoder.layer.0.intermediate.dense ("
	failsWith(t, exitFailed, []string{"step 1: loss is NaN", named, "deeplora replay --run " + run}, args...)
	p := succeeds(t, "replay", "--run", run)
	if text := p.out.String(); strings.Count(text, named) != 2 || !strings.Contains(text, "train.jsonl:") {
		t.Errorf("replay says\n%s", text)
	}
	failsWith(t, exitFailed, []string{"step 10: loss is NaN", named, "10 such steps in a row"}, append(args, "--resume", "--on-nonfinite", "skip")...)
	failsWith(t, exitFailed, []string{model + " has no diagnostic"}, "replay", "--run", model, "--backend", backendGo)
	failsWith(t, exitFailed, []string{"not a run directory"}, "replay", "--run", dir)
	failsWith(t, exitUsage, []string{"give --run"}, "replay")
}

// spoilModel gives a kernel of a model weights so large that their sums overflow.
func spoilModel(t *testing.T, dir string) {
	t.Helper()
	const name = "bert.encoder.layer.0.intermediate.dense.weight"
	path := filepath.Join(dir, "model.safetensors")
	f, err := safetensors.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var entries []safetensors.Entry
	for _, n := range f.Names() {
		info, _ := f.Info(n)
		values, err := f.Float32(n)
		if err != nil {
			t.Fatal(err)
		}
		if n == name {
			for i := range values {
				values[i] = 3e38
			}
		}
		entries = append(entries, safetensors.Entry{Name: n, Shape: info.Shape, Data: values})
	}
	f.Close()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := safetensors.Write(out, entries, map[string]string{"format": "pt"}); err != nil {
		t.Fatal(err)
	}
	failsWith(t, exitFailed, []string{"model.safetensors: " + loop.ErrCorrupt.Error()}, smallRun(t, backendGo, dir+"-run", "--model", dir)...)
	if err := os.Remove(filepath.Join(dir, "SHA256SUMS")); err != nil { // changed on purpose
		t.Fatal(err)
	}
}
