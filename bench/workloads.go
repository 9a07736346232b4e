package main

import "slices"

// kind says what of a process is timed.
type kind string

const (
	stepKind   kind = "step"   // the median step of a process, its first left out
	epochKind  kind = "epoch"  // an epoch, its graphs compiled before
	evalKind   kind = "eval"   // an evaluation without what comes before it
	startKind  kind = "start"  // from the start of the process to its first finished step
	wholeKind  kind = "whole"  // from the start of the process to its end
	initKind   kind = "init"   // loading and drawing the adapter; deeplora alone
	exportKind kind = "export" // a process that writes the merged model
)

// workload is a row of the table: what both sides do.
type workload struct {
	Name, What    string
	Kind          kind
	MiniLM        bool // on the checkpoint of MiniLM
	Task          string
	Shots         int  // training examples
	Full          bool // each of maxLength tokens
	Steps         int  // of the process; 0: --steps, or those of whole epochs
	Method, Scope string
	Dropout       float64 // of the encoder
	Init          string  // --init, empty for the default
	Kept          bool    // deeplora's graphs were compiled by an earlier process, and kept; else every process compiles its own
}

// What all workloads have in common.
const (
	rank      = 8
	batch     = 16 // examples a training step
	evalBatch = 32
	maxLength = 128
	epochs    = 2 // of deeplora in one process, whose first compiles
)

const (
	compressed   = "deep-compressed"
	attentionMLP = "attention-mlp"
	allDense     = "all-dense"
	dropout      = 0.1
)

var workloads = []workload{
	{Name: "a", What: "step of 16 x 128 tokens, LoRA on query and value", Kind: stepKind, Task: "stsb", Shots: 256, Full: true, Method: "vanilla", Init: "peft", Scope: "only-query-value", Dropout: dropout},
	{Name: "b", What: "the same rows, six kernels a layer", Kind: stepKind, Task: "stsb", Shots: 256, Full: true, Method: compressed, Scope: attentionMLP, Dropout: dropout},
	{Name: "c", What: "the same rows, every dense kernel", Kind: stepKind, Task: "stsb", Shots: 256, Full: true, Method: compressed, Scope: allDense, Dropout: dropout},
	{Name: "d", What: "epoch of STS-B, 256 examples", Kind: epochKind, Task: "stsb", Shots: 256, Method: compressed, Scope: attentionMLP, Dropout: dropout},
	{Name: "d2", What: "epoch of SST-2, 1,024 examples", Kind: epochKind, Task: "sst2", Shots: 1024, Method: compressed, Scope: attentionMLP, Dropout: dropout},
	{Name: "d3", What: "epoch of RTE, 256 examples", Kind: epochKind, Task: "rte", Shots: 256, Method: compressed, Scope: attentionMLP, Dropout: dropout},
	{Name: "e", What: "epoch of STS-B, 256 examples, MiniLM", Kind: epochKind, MiniLM: true, Task: "stsb", Shots: 256, Method: compressed, Scope: attentionMLP, Dropout: dropout},
	{Name: "f", What: "evaluation of STS-B's validation split", Kind: evalKind, Task: "stsb", Shots: batch, Method: compressed, Scope: attentionMLP},
	{Name: "g", What: "process start to the first finished step", Kind: startKind, Task: "stsb", Shots: 256, Steps: 1, Method: "vanilla", Init: "peft", Scope: attentionMLP, Dropout: dropout},
	{Name: "gd", What: "the same, deep-compressed, whose start is found from a gradient", Kind: startKind, Task: "stsb", Shots: 256, Steps: 1, Method: compressed, Scope: attentionMLP, Dropout: dropout},
	{Name: "g2", What: "g again: deeplora's graphs are on disk from an earlier process", Kind: startKind, Task: "stsb", Shots: 256, Steps: 1, Method: "vanilla", Init: "peft", Scope: attentionMLP, Dropout: dropout, Kept: true},
	{Name: "gd2", What: "gd again, likewise", Kind: startKind, Task: "stsb", Shots: 256, Steps: 1, Method: compressed, Scope: attentionMLP, Dropout: dropout, Kept: true},
	{Name: "g20", What: "process of 20 steps, adapter saved", Kind: wholeKind, Task: "stsb", Shots: 256, Steps: 20, Method: "vanilla", Init: "peft", Scope: attentionMLP, Dropout: dropout},
	{Name: "h", What: "load and compressed initialisation, every dense kernel", Kind: initKind, Task: "stsb", Shots: 256, Full: true, Steps: 2, Method: compressed, Scope: allDense, Dropout: dropout},
	{Name: "i", What: "merge and export, a process", Kind: exportKind, Task: "stsb", Shots: batch, Method: compressed, Scope: attentionMLP},
}

// needsPeer says whether a workload is compared: of the initialisation the peer has no counterpart.
func (w workload) needsPeer() bool { return w.Kind != initKind }

// counted says whether the work of a workload can be counted against its time.
func (w workload) counted() bool {
	return w.Kind == stepKind || w.Kind == epochKind || w.Kind == evalKind
}

// adapter are the flags of deeplora that say what is trained.
func (w workload) adapter() []string {
	flags := []string{"--task", w.Task, "--method", w.Method, "--scope", w.Scope}
	if w.Init != "" {
		flags = append(flags, "--init", w.Init)
	}
	return flags
}

func lookup(name string) (workload, bool) {
	i := slices.IndexFunc(workloads, func(w workload) bool { return w.Name == name })
	if i < 0 {
		return workload{}, false
	}
	return workloads[i], true
}

func names() (all []string) {
	for _, w := range workloads {
		all = append(all, w.Name)
	}
	return all
}

// leftOut says why a workload cannot be run; empty if it can.
func (b *bench) leftOut(w workload) string {
	switch {
	case w.MiniLM && b.minilm == "":
		return "it needs --minilm, a checkpoint of MiniLM"
	case w.Task != "stsb" && b.glue == "":
		return "it needs --glue, a directory with GLUE's tasks: STS-B alone is embedded"
	default:
		return ""
	}
}
