package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/deeplora/deeplora/internal/builtin"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/model"
)

// bench is one run of the harness: its settings, its scratch folder and what was measured so far.
type bench struct {
	settings
	dir     string // for data, runs and exports; removed at the end
	backend string // deeplora's --backend
	peer    bool
	pairs   map[string]*pair // what is checked already, see check.go
	results results
}

func (b *bench) note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

// open prepares to run: it reads what --json holds, looks for the engine and the peer, and measures the peak that
// shares are of. The caller removes b.dir.
func open(ctx context.Context, s settings) (b *bench, err error) {
	b = &bench{settings: s, pairs: map[string]*pair{}, results: results{Conditions: s.conditions}}
	if err := b.resume(); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "deeplora-bench-*"); err != nil {
		return nil, err
	}
	dir := b.dir // the errors below return no b
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := b.chooseBackend(); err != nil {
		return nil, err
	}
	if b.model == "" {
		b.note("no --model: the embedded encoder stands in for BERT-base")
		b.model = filepath.Join(b.dir, "tiny")
		if err := os.CopyFS(b.model, builtin.Model()); err != nil {
			return nil, err
		}
	}
	if b.glue == "" {
		b.note("no --glue: the embedded rows stand in for STS-B")
	}
	versions, err := b.findPeer(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.measurePeak(ctx); err != nil {
		return nil, err
	}
	if b.peer || len(b.results.Machine) == 0 { // rounds that the file has may have had a peer
		b.results.Machine = describeMachine(b.backend, versions)
	}
	return b, b.save()
}

// resume reads the file of results, if there is one. Times of other conditions are never put beside one another.
func (b *bench) resume() error {
	if b.json == "" {
		return nil
	}
	var then results
	err := jsonfile.Read(b.json, &then)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if then.Conditions.Precision == "" { // of a harness that knew no other
		then.Conditions.Precision = string(model.F32)
	}
	if then.Conditions != b.conditions {
		return fmt.Errorf("%s was measured with %+v, not %+v; name another file", b.json, then.Conditions, b.conditions)
	}
	b.results = then
	return nil
}

func (b *bench) save() error {
	if b.json == "" {
		return nil
	}
	return jsonfile.Write(b.json, &b.results)
}

// chooseBackend names the engine, so that deeplora and the peak are of the same one.
func (b *bench) chooseBackend() error {
	kind := plugin.Kind(b.Device)
	plugins, err := plugin.Find(kind)
	if err != nil {
		return err
	}
	_, found := plugin.First(plugins, kind)
	switch {
	case found:
		b.backend = "xla:" + b.Device
	case kind == plugin.CPU:
		b.backend = "go"
		b.note("no XLA plugin is installed: deeplora computes on the slow Go engine; run: %s engine install", b.binary)
	default:
		return fmt.Errorf("--device cuda: no plugin is installed; run: %s engine install --cuda", b.binary)
	}
	return nil
}

// job is a workload with all that its processes need.
type job struct {
	workload
	size
	model   string // directory of the checkpoint
	data    string // directory with train.jsonl and validation.jsonl
	columns []string
	labels  int      // outputs of the head
	kernels []kernel // of the model, with what the adapter has on each
	pair    *pair    // a checked run and its export; nil where neither is needed
}

// size is that of a training step.
type size struct {
	rank, batch, length int
	recompute           bool // with gradient checkpointing
}

// common is the size that both sides have in the table.
var common = size{rank: rank, batch: batch, length: maxLength}

// measure runs both sides of a workload in turn until it has all its rounds.
func (b *bench) measure(ctx context.Context, w workload) error {
	o := b.results.of(w)
	if len(o.Rounds) >= b.rounds {
		b.note("%s has its rounds already: %d", w.Name, len(o.Rounds))
		return nil
	}
	j, err := b.prepare(ctx, w, o)
	if err != nil {
		return err
	}
	defer os.RemoveAll(j.data)
	if w.Kept { // by a process that is not timed
		if _, err := b.train(ctx, j, j.adapter()); err != nil {
			return err
		}
	}
	for len(o.Rounds) < b.rounds {
		r, err := b.alternate(ctx, j, len(o.Rounds))
		if err != nil {
			return err
		}
		if err := o.sameWork(r); err != nil {
			return err
		}
		o.Rounds = append(o.Rounds, r)
		if err := b.save(); err != nil {
			return err
		}
	}
	if err := b.measurePeak(ctx); err != nil {
		return err
	}
	return b.save()
}

// prepare writes a workload's rows, counts its work and has both sides checked against one another.
func (b *bench) prepare(ctx context.Context, w workload, o *outcome) (*job, error) {
	j := &job{workload: w, size: common, model: b.model}
	if w.MiniLM {
		j.model = b.minilm
	}
	config, err := model.ReadConfig(os.DirFS(j.model), "config.json")
	if err != nil {
		return nil, err
	}
	about := fmt.Sprintf("%d layers of %d", config.NumHiddenLayers, config.HiddenSize)
	if len(o.Rounds) > 0 && o.Model != about {
		return nil, fmt.Errorf("%s has rounds of a model of %s, this one has %s; name another file", b.json, o.Model, about)
	}
	if j.kernels, err = b.inspect(ctx, j); err != nil {
		return nil, err
	}
	lengths, err := b.writeData(j)
	if err != nil {
		return nil, err
	}
	o.Model = about
	if w.counted() {
		o.Tokens, o.FLOPs = sum(lengths), work(config, j.kernels, lengths, w.Kind != evalKind)
	}
	if (b.peer && w.needsPeer()) || w.Kind == evalKind || w.Kind == exportKind {
		if j.pair, err = b.checked(ctx, j); err != nil {
			return nil, err
		}
		o.Checked = j.pair.differs
	}
	return j, nil
}

// crowded is a share of the processors that others may take before a line says so.
const crowded = 0.1

// alternate runs both sides once, in odd rounds the peer first.
func (b *bench) alternate(ctx context.Context, j *job, n int) (r round, err error) {
	ours := func() error {
		t, err := b.ours(ctx, j)
		r.Ours = &t
		return err
	}
	peer := func() error {
		if !b.peer || !j.needsPeer() {
			return nil
		}
		t, err := b.peers(ctx, j, n)
		r.Peer = &t
		return err
	}
	sides := []func() error{ours, peer}
	if n%2 == 1 {
		slices.Reverse(sides)
	}
	for _, side := range sides {
		if err := side(); err != nil {
			return r, err
		}
	}
	if r.Peer == nil {
		b.note("%s round %d: %.3f s", j.Name, n+1, r.Ours.Seconds)
		return r, nil
	}
	b.note("%s round %d: %.3f s, peer %.3f s, ratio %.2f", j.Name, n+1, r.Ours.Seconds, r.Peer.Seconds, r.ratio())
	if r.others() > crowded {
		b.note("%s round %d: other processes computed for %.0f%% of the processors' time: these are no times of a quiet machine", j.Name, n+1, 100*r.others())
	}
	return r, nil
}
