package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/deeplora/deeplora/data"
)

// order is what peer.py is told, as JSON on its command line.
type order struct {
	Do        string   `json:"do"` // versions, check, step, epoch, start, whole, eval or export
	Started   float64  `json:"started"`
	Device    string   `json:"device"`
	Threads   int      `json:"threads"`
	Model     string   `json:"model"`
	Rows      string   `json:"rows"` // JSONL
	Columns   []string `json:"columns"`
	Labels    int      `json:"labels"`
	Kernels   []string `json:"kernels"` // adapted
	Rank      int      `json:"rank"`
	Batch     int      `json:"batch"`
	MaxLength int      `json:"max_length"`
	Steps     int      `json:"steps"`
	Dropout   float64  `json:"dropout"`
	Seed      int      `json:"seed"`
	Precision string   `json:"precision"` // bf16: under autocast; else float32
	Adapter   string   `json:"adapter"`   // PEFT's folder to read
	Out       string   `json:"out"`       // folder to write
}

// findPeer asks the peer for its versions. Without a peer deeplora runs alone, and a line says why.
func (b *bench) findPeer(ctx context.Context) (map[string]string, error) {
	if b.python == "" {
		b.note("no --python: deeplora runs alone (python3 -m venv .venv && .venv/bin/pip install torch transformers peft)")
		return nil, nil
	}
	var versions map[string]string
	if _, err := b.ask(ctx, order{Do: "versions", Device: b.Device}, &versions); err != nil {
		return nil, err
	}
	b.peer = true
	return versions, nil
}

// ask runs the peer once; answer is filled from its standard output.
func (b *bench) ask(ctx context.Context, o order, answer any) (ended, error) {
	o.Started = float64(time.Now().UnixNano()) / 1e9
	told, err := json.Marshal(o)
	if err != nil {
		return ended{}, err
	}
	e, err := execute(ctx, peerEnvironment(os.Getenv), b.python, "bench/peer.py", string(told))
	if err != nil {
		return e, err
	}
	return e, json.Unmarshal(e.out, answer)
}

// peerEnvironment adds to the peer's environment. PyTorch's threads wait for one another in a loop, for milliseconds:
// where other processes want the processors too, each of its operations then loses a time slice, and a step of small
// products takes twenty times as long. A loop of about 0.1 ms is as fast on a quiet machine and loses little on a busy
// one. Who sets either variable keeps it.
func peerEnvironment(getenv func(string) string) []string {
	env := []string{"HF_HUB_OFFLINE=1"}
	if getenv("OMP_WAIT_POLICY") == "" && getenv("GOMP_SPINCOUNT") == "" {
		env = append(env, "GOMP_SPINCOUNT=10000")
	}
	return env
}

// order is a job as the peer is told it.
func (b *bench) order(j *job, do string) order {
	o := order{
		Do: do, Device: b.Device, Threads: b.Threads, Model: j.model, Rows: filepath.Join(j.data, data.Train+".jsonl"),
		Columns: j.columns, Labels: j.labels, Rank: rank, Batch: batch, MaxLength: maxLength, Steps: j.Steps, Dropout: j.Dropout,
	}
	if o.Steps == 0 {
		o.Steps = b.Steps
	}
	if do != "check" { // which holds float32 against float32
		o.Precision = b.Precision
	}
	for _, k := range j.kernels {
		if k.Parameters > 0 {
			o.Kernels = append(o.Kernels, k.Name)
		}
	}
	return o
}

// peers times the peer's side of a job.
func (b *bench) peers(ctx context.Context, j *job, n int) (t timing, err error) {
	o := b.order(j, string(j.Kind))
	o.Seed = n
	switch j.Kind {
	case evalKind:
		o.Adapter, o.Batch, o.Rows = j.pair.adapter, evalBatch, filepath.Join(j.data, data.Validation+".jsonl")
	case exportKind:
		o.Adapter = j.pair.adapter
	}
	if j.Kind == wholeKind || j.Kind == exportKind {
		o.Out = filepath.Join(b.dir, "peer")
		defer os.RemoveAll(o.Out)
	}
	var found struct {
		Seconds float64 `json:"seconds"`
		Tokens  int     `json:"tokens"`
	}
	e, err := b.ask(ctx, o, &found)
	if err != nil {
		return t, err
	}
	if o.Out != "" {
		found.Seconds = e.wall
	}
	return e.timing(found.Seconds, found.Tokens), nil
}

// peerAnswers are the peer's loss and logits with a checked adapter.
func (b *bench) peerAnswers(ctx context.Context, j *job, p *pair) (a answers, err error) {
	o := b.order(j, "check")
	o.Adapter = p.adapter
	_, err = b.ask(ctx, o, &a)
	return a, err
}
