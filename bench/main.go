// Command bench times training steps of deeplora side by side with its peer, Transformers and PEFT on PyTorch:
// in turn, in one run, on the same machine, so that the ratio means something where absolute times do not.
//
//	make build
//	go run ./scripts/bertbase --tokenizer DIR --labels 1 --out /tmp/bert
//	go run ./bench --model /tmp/bert --python .venv/bin/python
//
// Both train on batches of the same shape, rows all of them padded or filled to the same length, dropout on,
// head frozen. deeplora runs once per method, the peer runs vanilla LoRA.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/builtin"
)

type settings struct {
	binary, python, model, data string // data is made here
	methods, scopes             []string
	rank, batch, length         int
	steps, rounds, threads      int
}

// timing is what one process measured.
type timing struct {
	Step  float64 `json:"step_seconds"`                // median of all but the first
	Start float64 `json:"start_to_first_step_seconds"` // 0 where it was not measured
	Peak  int64   `json:"peak_rss_bytes"`
}

func main() {
	var s settings
	var methods, scopes string
	flag.StringVar(&s.binary, "deeplora", "bin/deeplora", "program to time")
	flag.StringVar(&s.python, "python", os.Getenv("DEEPLORA_PEER_PYTHON"), "Python with torch, transformers and peft; without one deeplora runs alone")
	flag.StringVar(&s.model, "model", "", "checkpoint folder (default: the embedded encoder, and no peer)")
	flag.StringVar(&methods, "methods", "vanilla,deep-compressed", "methods of deeplora")
	flag.StringVar(&scopes, "scopes", "only-query-value,attention-mlp", "scopes; the peer knows these two")
	flag.IntVar(&s.rank, "rank", 8, "rank")
	flag.IntVar(&s.batch, "batch", 16, "rows a batch")
	flag.IntVar(&s.length, "length", 128, "tokens a row")
	flag.IntVar(&s.steps, "steps", 6, "steps a process; the first is not counted")
	flag.IntVar(&s.rounds, "rounds", 3, "times each is run, in turn")
	flag.IntVar(&s.threads, "threads", 0, "threads; 0: all")
	flag.Parse()
	s.methods, s.scopes = strings.Split(methods, ","), strings.Split(scopes, ",")
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(s settings) error {
	if s.python == "" || s.model == "" {
		fmt.Fprintln(os.Stderr, "bench: no peer: give --model, and --python with torch, transformers and peft (python3 -m venv .venv && .venv/bin/pip install torch transformers peft)")
	}
	dir, err := os.MkdirTemp("", "deeplora-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if s.data, err = writeData(dir); err != nil {
		return err
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "scope\tmethod\ts/step\tstart s\tpeak GB\tratio to the peer (each round)")
	for _, scope := range s.scopes {
		if err := compare(w, s, scope); err != nil {
			return err
		}
	}
	return w.Flush()
}

// compare runs the peer and every method in turn, rounds times, and prints medians and the ratios round by
// round.
func compare(w *tabwriter.Writer, s settings, scope string) error {
	peer := make([]timing, 0, s.rounds)
	ours := make([][]timing, len(s.methods))
	for range s.rounds {
		if s.python != "" && s.model != "" {
			t, err := runPeer(s, scope)
			if err != nil {
				return err
			}
			peer = append(peer, t)
		}
		for i, method := range s.methods {
			t, err := runOurs(s, scope, method)
			if err != nil {
				return err
			}
			ours[i] = append(ours[i], t)
		}
	}
	if len(peer) > 0 {
		row(w, scope, "PyTorch + PEFT, vanilla", peer, nil)
	}
	for i, method := range s.methods {
		row(w, scope, method, ours[i], peer)
	}
	return w.Flush()
}

func row(w *tabwriter.Writer, scope, name string, times, peer []timing) {
	var steps, starts, peaks []float64
	var ratios []string
	for i, t := range times {
		steps, starts, peaks = append(steps, t.Step), append(starts, t.Start), append(peaks, float64(t.Peak)/1e9)
		if len(peer) > 0 {
			ratios = append(ratios, fmt.Sprintf("%.2f", t.Step/peer[i].Step))
		}
	}
	fmt.Fprintf(w, "%s\t%s\t%.3f\t%.1f\t%.2f\t%s\n", scope, name, median(steps), median(starts), median(peaks), strings.Join(ratios, " "))
}

func runPeer(s settings, scope string) (t timing, err error) {
	out, err := output(exec.Command(s.python, "bench/peer.py", "--model", s.model, "--scope", scope, "--rank", strconv.Itoa(s.rank),
		"--batch", strconv.Itoa(s.batch), "--length", strconv.Itoa(s.length), "--steps", strconv.Itoa(s.steps), "--threads", strconv.Itoa(s.threads)))
	if err != nil {
		return t, err
	}
	return t, json.Unmarshal(out, &t)
}

func runOurs(s settings, scope, method string) (t timing, err error) {
	dir := filepath.Join(filepath.Dir(s.data), "run")
	defer os.RemoveAll(dir)
	args := []string{
		"train", "--quiet", "--json", "--task", "stsb", "--data", s.data, "--method", method, "--scope", scope, "--rank", strconv.Itoa(s.rank),
		"--shots", "256", "--steps", strconv.Itoa(s.steps), "--batch", strconv.Itoa(s.batch), "--pad", "fixed", "--max-length", strconv.Itoa(s.length),
		"--threads", strconv.Itoa(s.threads), "--out", dir,
	}
	if s.model != "" {
		args = append(args, "--model", s.model)
	}
	out, err := output(exec.Command(s.binary, args...))
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(out, &t); err != nil {
		return t, err
	}
	t.Step, err = medianStep(filepath.Join(dir, "metrics.jsonl"))
	return t, err
}

// medianStep is the median of step_seconds over all steps but the first, which compiles.
func medianStep(path string) (float64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var seconds []float64
	for line := range strings.Lines(string(text)) {
		var step struct {
			Step    int     `json:"step"`
			Seconds float64 `json:"step_seconds"`
		}
		if err := json.Unmarshal([]byte(line), &step); err != nil {
			return 0, err
		}
		if step.Seconds > 0 && step.Step > 1 {
			seconds = append(seconds, step.Seconds)
		}
	}
	if len(seconds) == 0 {
		return 0, fmt.Errorf("%s has no step after the first", path)
	}
	return median(seconds), nil
}

// writeData writes the embedded training pairs and a handful to evaluate on: a run of a few steps should not
// end in minutes of evaluation.
func writeData(dir string) (string, error) {
	task, err := data.LookupTask("stsb")
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for split, rows := range map[string]int{data.Train: 256, data.Validation: 16} {
		s, err := data.LoadFS(builtin.Data(), task, split)
		if err != nil {
			return "", err
		}
		f, err := os.Create(filepath.Join(dir, split+".jsonl"))
		if err != nil {
			return "", err
		}
		lines := json.NewEncoder(f)
		for _, e := range s.Examples[:rows] {
			if err := lines.Encode(map[string]any{"sentence1": e.Text, "sentence2": e.Pair, "label": e.Label}); err != nil {
				return "", err
			}
		}
		if err := f.Close(); err != nil {
			return "", err
		}
	}
	return dir, nil
}

func output(cmd *exec.Cmd) ([]byte, error) {
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return out, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
