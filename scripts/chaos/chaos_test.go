package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Nothing is lost and nothing differs, whatever happens to the program when: `make chaos` in short. The seed is another
// one each time, unless DEEPLORA_CHAOS_SEED gives it.
func TestFaultsLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the program for half a minute")
	}
	o := options{seed: uint64(time.Now().UnixNano()), faults: 20, only: -1, jobs: 2, backend: "go"}
	if text := os.Getenv("DEEPLORA_CHAOS_SEED"); text != "" {
		var err error
		if o.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("DEEPLORA_CHAOS_SEED: %v", err)
		}
	}
	var out strings.Builder
	err := run(o, &out)
	t.Log(out.String())
	if err != nil {
		t.Error(err)
	}
}

// The same seed draws the same cases.
func TestDrawIsTheSeeds(t *testing.T) {
	draw := func(seed uint64, number int) (text string) {
		w := &workspace{seed: seed, commands: commands, kinds: kinds}
		c := w.draw(number)
		for _, f := range c.faults {
			text += f.name + " " + f.String() + "; "
		}
		return c.command.name + ": " + text
	}
	seen := map[string]bool{}
	for i := range 200 {
		drawn, again := draw(1, i), draw(1, i)
		if drawn != again {
			t.Fatalf("case %d is drawn anew", i)
		}
		seen[drawn] = true
	}
	if len(seen) < 190 || draw(1, 0) == draw(2, 0) && draw(1, 1) == draw(2, 1) {
		t.Errorf("%d different cases of 200", len(seen))
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What a comparison lets pass, and what it does not.
func TestComparison(t *testing.T) {
	const result = `{"metrics": {"pearson": 0.5}, "train_seconds": 1.5, "peak_rss_bytes": 7}`
	for name, c := range map[string]struct {
		file, text string
		want       string // empty: the same
	}{
		"another duration":      {"result.json", `{"metrics": {"pearson": 0.5}, "train_seconds": 2.5, "peak_rss_bytes": 8}`, ""},
		"a digit of a metric":   {"result.json", `{"metrics": {"pearson": 0.50000000000000001}}`, "result.json differs"},
		"a speed in a log":      {"metrics.jsonl", "{\"loss\": 1, \"tokens_per_s\": 3}\n{\"loss\": 2}\n", ""},
		"a line too many":       {"metrics.jsonl", "{\"loss\": 1}\n{\"loss\": 2}\n{\"loss\": 2}\n", "metrics.jsonl differs"},
		"a byte of the weights": {"adapter/adapter.safetensors", "weighty", `adapter/adapter.safetensors differs: at byte 6 "weighty", want "weights"`},
		"a file more":           {"more", "", "more is there beside"},
		"a checkpoint's":        {"checkpoints/step-9/adapter.safetensors", "x", "step-9: adapter.safetensors differs"},
		"its durations":         {"checkpoints/step-9/state.json", `{"train_seconds": 9}`, ""},
		"one set aside":         {"checkpoints/step-9.damaged/state.json", `?`, ""},
		"a checkpoint more":     {"checkpoints/step-8/adapter.safetensors", "y", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dirs := [2]string{t.TempDir(), t.TempDir()}
			for _, dir := range dirs {
				write(t, filepath.Join(dir, "result.json"), result)
				write(t, filepath.Join(dir, "metrics.jsonl"), "{\"loss\": 1}\n{\"loss\": 2}\n")
				write(t, filepath.Join(dir, "adapter/adapter.safetensors"), "weights")
				write(t, filepath.Join(dir, "checkpoints/step-9/adapter.safetensors"), "weights")
				write(t, filepath.Join(dir, "checkpoints/step-9/state.json"), `{"train_seconds": 1}`)
			}
			write(t, filepath.Join(dirs[0], c.file), c.text)
			err := sameRuns(dirs[0], dirs[1])
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

// Work that is made once more is noticed, work that is added is not.
func TestRepeatedWorkIsNoticed(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "metrics.jsonl")
	lines := "{\"step\":1,\"step_seconds\":0.25}\n"
	write(t, log, lines+"{\"step\":2")
	write(t, filepath.Join(dir, "checkpoints/step-1/state.json"), `{"metrics_bytes": `+strconv.Itoa(len(lines))+`}`)
	before, err := finished(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	write(t, log, lines+"{\"step\":2,\"step_seconds\":0.5}\n")
	if err := before.kept(); err != nil {
		t.Error(err)
	}
	write(t, log, strings.Replace(lines, "0.25", "0.26", 1))
	if err := before.kept(); err == nil {
		t.Error("a step before the checkpoint was made once more")
	}
}
