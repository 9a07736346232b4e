package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// command is a command of the program in a configuration of a fraction of a second.
type command struct {
	name  string
	begin func(at place) []string
	// again goes on with what begin left, as its user would. Nil: begin once more.
	again func(at place) []string
	// atomic outputs are there whole or not at all: once there, the command is not repeated.
	atomic bool
	// same holds an output against the undisturbed one.
	same func(w *workspace, got, want place) error
	// children: it starts processes of its own.
	children bool

	mu   sync.Mutex
	time time.Duration // undisturbed, about
}

// took is about how long the command takes undisturbed.
func (c *command) took() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

// learn corrects what is known of the time, by a process that came to its end: how busy the machine is changes.
func (c *command) learn(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.time == 0 {
		c.time = took
	}
	c.time += (took - c.time) / 4
}

// place is where one case of a command runs.
type place struct {
	*workspace
	dir string // nothing else is in it
	out string // what the command makes, in dir
}

func (w *workspace) place(c *command, dir string) place {
	at := place{w, dir, filepath.Join(dir, "out")}
	if c.name == "predict" {
		at.out += ".jsonl"
	}
	return at
}

// input is a file that newWorkspace wrote.
func (at place) input(name string) string { return filepath.Join(at.workspace.dir, "inputs", name) }

// made is what an undisturbed command made.
func (w *workspace) made(command string) string { return filepath.Join(w.reference, command, "out") }

// model is the checkpoint that is trained.
func (w *workspace) model() string {
	if w.given != "" {
		return w.given
	}
	return w.made("pretrain")
}

// line is a command line on this machine.
func (at place) line(args ...string) []string {
	return append(args, "--backend", at.backend, "--threads", "1", "--quiet")
}

// shared is line for a command that several devices can share.
func (at place) shared(args ...string) []string {
	line := at.line(args...)
	if at.devices > 1 {
		line = append(line, "--devices", strconv.Itoa(at.devices))
	}
	return line
}

// resumed is begin with --resume: where nothing was begun it begins.
func resumed(begin func(place) []string) func(place) []string {
	return func(at place) []string { return append(begin(at), "--resume") }
}

func pretrain(at place) []string {
	return at.line("pretrain", "--corpus", at.input("corpus.txt"), "--config", at.input("shape.json"), "--vocab-size", "120",
		"--max-length", "16", "--row-length", "32", "--batch", "2", "--steps", "60", "--warmup", "5", "--save-every", "7",
		"--eval-every", "25", "--validation", "0.1", "--out", at.out)
}

func train(at place) []string {
	return at.shared("train", "--model", at.model(), "--data", at.input("data"), "--rank", "4", "--batch", "2", "--max-length", "16",
		"--steps", "60", "--save-every", "7", "--eval-every", "15", "--select", "best", "--train-head", "--out", at.out)
}

func compare(at place) []string {
	return at.shared("compare", "--experiment", at.input("experiment.json"), "--out", at.out)
}

func export(format string, more ...string) func(place) []string {
	return func(at place) []string {
		return append(at.line("export", "--run", at.made("train"), "--format", format, "--out", at.out), more...)
	}
}

func importPEFT(at place) []string {
	return at.line("import", "--format", "peft", "--in", at.made("export-peft"), "--model", at.model(), "--out", at.out)
}

func predict(at place) []string {
	return at.shared("predict", "--run", at.made("train"), "--input", at.input("rows.jsonl"), "--output", at.out)
}

func complete(at place) []string {
	return at.line("matrix-completion", "--dim", "80", "--rank", "2", "--observed", "0.5", "--steps", "4000", "--eval-every", "50", "--out", at.out)
}

// commands are in an order in which each finds what it begins with.
var commands = []*command{
	{name: "pretrain", begin: pretrain, again: resumed(pretrain), same: sameRun},
	{name: "train", begin: train, again: resumed(train), same: sameRun},
	{name: "compare", begin: compare, again: resumed(compare), same: sameStudy, children: true},
	{name: "export-merged", begin: export("merged", "--shard-size", "10KB"), atomic: true, same: sameTree},
	{name: "export-peft", begin: export("peft"), atomic: true, same: sameTree},
	{name: "import", begin: importPEFT, atomic: true, same: sameTree},
	{name: "predict", begin: predict, same: sameTree},
	{name: "matrix-completion", begin: complete, atomic: true, same: sameTree},
}

// goesOn is the command line that goes on with what a fault left.
func (c *command) goesOn(at place) []string {
	if c.again != nil {
		return c.again(at)
	}
	return c.begin(at)
}

// writeInputs writes what the commands read.
func (w *workspace) writeInputs() error {
	draw := rand.New(rand.NewPCG(1, 2)) // the same whatever the seed
	words := strings.Fields("the a small old red dog bird house sees likes flies over under with man plays guitar water runs eats child")
	sentence := func() string {
		text := make([]string, 4+draw.IntN(5))
		for i := range text {
			text[i] = words[draw.IntN(len(words))]
		}
		return strings.Join(text, " ")
	}
	var corpus, rows strings.Builder
	for range 60 {
		fmt.Fprintf(&corpus, "%s\t%s\n", sentence(), sentence())
		fmt.Fprintf(&rows, "{\"text\": %q, \"pair\": %q}\n", sentence(), sentence())
	}
	split := func(n int) string {
		var text strings.Builder
		for range n {
			fmt.Fprintf(&text, "{\"sentence1\": %q, \"sentence2\": %q, \"label\": %d}\n", sentence(), sentence(), draw.IntN(6))
		}
		return text.String()
	}
	experiment, err := json.Marshal(map[string]any{
		"title": "chaos",
		"set": map[string]any{
			"model": w.model(), "data": filepath.Join(w.dir, "inputs", "data"),
			"steps": 24, "save-every": 4, "batch": 2, "max-length": 16, "rank": 4, "scope": "only-query-value",
		},
		"grid": map[string]any{"method": []string{"vanilla", "deep-compressed"}, "seed": []int{0, 1}},
	})
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"corpus.txt": corpus.String(), "rows.jsonl": rows.String(), "experiment.json": string(experiment),
		"shape.json":       `{"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 24}`,
		"data/train.jsonl": split(24), "data/validation.jsonl": split(12),
	} {
		path := filepath.Join(w.dir, "inputs", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
