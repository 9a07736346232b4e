package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/memory"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/train/loop"
)

// Options are what a run needs beside its settings.
type Options struct {
	Backend    compute.Backend
	Devices    int    // of the backend, its first, that share each batch; 0: one
	Out        string // the run directory
	Resume     bool   // go on with the run in Out
	Sources    Sources
	Provenance Provenance       // backend, plugin, threads and versions; the files are filled in
	OnEvent    func(loop.Event) // may be nil
	Memory     loop.Memory

	// Train and Validation are examples in memory, in the place of what Config.Data and Config.Task name.
	Train, Validation *data.Split
}

// task is what is learned.
func (o *Options) task(c *Config) (data.Task, error) {
	if o.Train != nil {
		return o.Train.Task, nil
	}
	return c.task()
}

// splits are the examples for training and for validation; these may be nil for a run that is measured on a part of its
// draw.
func (o *Options) splits(ctx context.Context, c *Config, task data.Task) (train, validation *data.Split, err error) {
	if o.Train != nil {
		return o.Train, o.Validation, nil
	}
	if task.Own() {
		return o.Sources.ownSplits(ctx, c, task)
	}
	if train, err = o.Sources.Split(ctx, c.Data, task, data.Train); err != nil {
		return nil, nil, err
	}
	if c.heldFromDraw() { // nobody looks at the validation file
		return train, nil, nil
	}
	validation, err = o.Sources.Split(ctx, c.Data, task, data.Validation)
	return train, validation, err
}

// inMemory makes the settings those of examples in memory, if there are any.
func (o *Options) inMemory(c *Config) error {
	switch {
	case o.Train == nil && o.Validation == nil:
		if c.Data == memoryData {
			return settings.Error(errors.New("data: the examples of this run were in memory; give them again as Options.Train and Options.Validation"))
		}
		return nil
	case o.Train == nil || o.Validation == nil:
		return settings.Error(errors.New("examples in memory: give both, Options.Train and Options.Validation"))
	}
	c.Data, c.Task = memoryData, o.Train.Task.Name
	return nil
}

// run is one training in this process.
type run struct {
	loop.Reporter
	config  Config
	options Options
	started time.Time
	from    *Finished // what training goes on with, or nil
	dir     *rundir.Dir
	job     *job
	loop    *loop.Loop
}

func newRun(c Config, o Options) *run {
	return &run{Reporter: loop.Reporter{On: o.OnEvent}, config: c, options: o, started: time.Now()}
}

// Train trains an adapter as the settings say, into the run directory o.Out, and returns what it wrote to result.json.
// When ctx is cancelled it finishes the step in hand, saves a checkpoint and returns an error that wraps
// loop.ErrInterrupted.
func Train(ctx context.Context, c Config, o Options) (*Result, error) {
	r := newRun(c, o)
	defer r.close()
	if o.Resume && rundir.Is(o.Out, configJSON) {
		if done, err := r.reopen(ctx); done != nil || err != nil {
			return done, err
		}
	} else if err := r.create(ctx); err != nil {
		return nil, err
	}
	if err := r.loop.Run(ctx); err != nil {
		return nil, err
	}
	return r.finish(ctx)
}

// create begins a new run: it reads everything, makes the run directory and draws the adapter. The directory is made
// only once settings, model and data have proved sound.
func (r *run) create(ctx context.Context) error {
	if err := rundir.CheckVacant(r.options.Out, configJSON); err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if r.config.AutoBatch {
		if err := r.fitBatch(ctx); err != nil {
			return err
		}
	}
	if ctx.Err() != nil { // who stopped this may begin the run again at once: it must not appear under their hands
		return r.loop.Interrupted(ctx, ctx.Err())
	}
	var err error
	if r.dir, err = rundir.Create(r.options.Out, configJSON); err != nil {
		return err
	}
	if err := r.describe(); err != nil {
		return err
	}
	return r.ready(ctx, r.loop.Begin)
}

// prepare reads model and data of a new run and builds what trains on them.
func (r *run) prepare(ctx context.Context) error {
	if err := r.options.inMemory(&r.config); err != nil {
		return err
	}
	if r.config.From != "" {
		if err := r.goOnFrom(ctx, r.config.From); err != nil {
			return err
		}
	}
	if err := r.config.Validate(); err != nil {
		return settings.Error(err)
	}
	if err := r.read(ctx); err != nil {
		return err
	}
	return r.build()
}

// reopen goes on with a run. It returns the result of one that has finished.
func (r *run) reopen(ctx context.Context) (*Result, error) {
	var err error
	if r.dir, err = rundir.Open(r.options.Out, configJSON); err != nil {
		return nil, err
	}
	then, err := ReadRunConfig(r.options.Out)
	if err != nil {
		return nil, err
	}
	given := r.config
	r.config = then.Config
	Settings().Change(&r.config, &given)
	result, err := ReadResult(r.options.Out)
	if err == nil {
		r.Notice("%s has finished already", r.options.Out)
		return &result, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := then.resumable(r.options.Out); err != nil {
		return nil, err
	}
	if err := r.rebuild(ctx, then, "resume"); err != nil {
		return nil, err
	}
	return nil, r.ready(ctx, r.loop.Open)
}

// rebuild reads and builds what a run was begun with: its draw, whatever has become of the file that it came from, and
// the adapter it goes on from. It is an error, which says what was being done, if model or data have changed.
func (r *run) rebuild(ctx context.Context, then RunConfig, doing string) error {
	if err := r.options.inMemory(&r.config); err != nil {
		return err
	}
	if r.config.Manifest != "" {
		r.config.Manifest = filepath.Join(r.options.Out, manifestJSON)
	}
	if r.config.From != "" {
		if err := r.goOnFrom(ctx, filepath.Join(r.options.Out, fromDir)); err != nil {
			return err
		}
	}
	if err := r.read(ctx); err != nil {
		return err
	}
	r.config.TrainPooler = then.TrainPooler // before there was this setting, a pooler that was drawn stayed frozen
	notice, err := r.options.Provenance.Continues(then.Provenance)
	if err != nil {
		return fmt.Errorf("%s %s: %w", doing, r.options.Out, err)
	}
	if notice != "" {
		r.Notice("%s", notice)
	}
	return r.build()
}

// read reads model and data and resolves the settings that depend on them.
func (r *run) read(ctx context.Context) error {
	in, err := read(ctx, &r.config, &r.options, r.Notice)
	if err != nil {
		return err
	}
	if err := r.matchFrom(in); err != nil {
		return err
	}
	if err := in.resolve(&r.config); err != nil {
		return settings.Error(err)
	}
	// Where the checkpoint's probabilities differ no number stands for them: its config.json, whose sha256 the
	// run notes, goes on saying what they are.
	if p, common := in.checkpoint.Config.CommonDropout(); common && r.config.Dropout == checkpointDropout {
		r.config.Dropout = p
	}
	p := &r.options.Provenance
	p.Model, p.Data, p.ModelRevision = in.checkpoint.Files, in.sources, in.hub.Commit
	asked := r.config.Batch
	if err := r.config.resolve(len(in.train.rows)); err != nil {
		return settings.Error(err)
	}
	if asked != r.config.Batch {
		r.Notice("batch lowered from %d to the %d training examples", asked, r.config.Batch)
	}
	on, err := devices.New(r.options.Backend, r.options.Devices)
	if err != nil {
		return settings.Error(err)
	}
	r.job = &job{inputs: in, config: &r.config, devices: on, ranks: r.fromRanks(), pooler: r.from != nil && brings(r.from.Values, in.checkpoint.Config.PoolerNames())}
	return nil
}

// build chooses the kernels, lists the parameters and makes the loop. Nothing is drawn or compiled yet.
func (r *run) build() error {
	if r.loop != nil {
		r.loop.Close()
	}
	j := r.job
	kernels, err := r.kernels()
	if err != nil {
		return err
	}
	adapter, err := r.newAdapter()
	if err != nil {
		return settings.Error(err)
	}
	if err := j.planBatches(); err != nil {
		return settings.Error(err)
	}
	sites, err := j.sites(kernels)
	if err != nil {
		return err
	}
	if j.adapted, err = adapt(adapter, kernels, sites); err != nil {
		return settings.Error(err)
	}
	objective := j.objective()
	if err := r.takeFrom(objective.Params); err != nil {
		return err
	}
	plan := r.config.Plan
	if r.config.Method == methodProbe { // whose head is where it should be
		plan.Steps = 0
	}
	r.loop, err = loop.New(plan, objective, j, loop.Options{
		Backend: r.options.Backend, Devices: j.devices, Out: r.options.Out, OnEvent: r.options.OnEvent, Memory: r.options.Memory, Started: r.started, Prepare: r.startHead,
	})
	return err
}

// describe writes what the run is before it begins: the manifest, then config.json, which makes the directory a run.
func (r *run) describe() error {
	if err := r.keepFrom(); err != nil {
		return err
	}
	err := atomicfile.Write(r.dir.File(manifestJSON), func(w io.Writer) error { return r.job.inputs.manifest.Encode(w) })
	if err != nil {
		return err
	}
	if err := jsonfile.Write(r.dir.File(configJSON), RunConfig{Config: r.config, Provenance: r.options.Provenance}); err != nil {
		// A manifest alone is no run, and would keep the next one out.
		return errors.Join(err, os.Remove(r.dir.File(manifestJSON)), os.RemoveAll(r.dir.File(fromDir)))
	}
	return nil
}

// ready begins or goes on, by the loop's own means, and says so.
func (r *run) ready(ctx context.Context, open func(ctx context.Context, phase string) error) error {
	if err := open(ctx, "initialise "+r.config.Method); err != nil {
		return err
	}
	if err := os.RemoveAll(r.dir.File(adapterDir)); err != nil { // of a run that died between it and result.json
		return fmt.Errorf("remove unfinished adapter: %w", err)
	}
	j := r.job
	r.Announce(loop.Ready{
		Kernels: len(j.adapted.sites), Parameters: loop.Trained(r.loop.Params()), Examples: len(j.inputs.train.rows),
		Steps: r.loop.Steps, From: r.loop.Progress().Step,
	})
	return nil
}

// finish evaluates what is kept, writes the adapter and then result.json, which makes the run finished.
func (r *run) finish(ctx context.Context) (*Result, error) {
	m, selected, err := r.loop.Finish(ctx, r.config.Select == selectBest)
	if err != nil {
		return nil, err
	}
	err = atomicfile.WriteDir(r.dir.File(adapterDir), func(tmp string) error {
		return r.job.Write(tmp, r.loop.Parameters())
	})
	if err != nil {
		return nil, fmt.Errorf("write adapter: %w", err)
	}
	r.warnOfResult(m)
	result := r.result(m, selected)
	return &result, jsonfile.Write(r.dir.File(resultJSON), result)
}

func (r *run) result(m loop.Metrics, selected int) Result {
	c, in, p := &r.config, r.job.inputs, r.loop.Progress()
	result := Result{
		Task: c.Task, Split: data.Validation, Metrics: m, PrimaryMetric: in.task.Primary, Examples: len(in.validation.rows), Dropped: in.validation.dropped,
		byLabel: r.job.measured.byLabel(in.task),
		Method:  c.Method, Rank: c.Rank, Depth: c.Depth, Scope: cmp.Or(strings.Join(c.Target, " "), c.Scope), Seed: c.Seed, Shots: len(in.train.rows),
		Steps: p.Step, Skipped: p.Skipped, Selected: selected, Parameters: loop.Trained(r.loop.Params()), Kernels: len(r.job.adapted.sites),
		WallSeconds: time.Since(r.started).Seconds(), TrainSeconds: p.TrainSeconds, StartSeconds: p.FirstStep.Seconds(), InitSeconds: p.Initialise.Seconds(),
		TokensPerSecond: p.TokensPerSecond(), PeakRSS: memory.Peak(),
		Backend: r.options.Provenance.Backend, Threads: r.options.Provenance.Threads, Devices: r.job.devices.Len(), FinalLoss: p.Loss,
	}
	if c.Whole() { // neither means anything there
		result.Scope, result.Rank, result.Depth = "", 0, 0
	}
	return result
}

// close frees graphs, files and the lock.
func (r *run) close() {
	if r.loop != nil {
		r.loop.Close()
	}
	if r.job != nil {
		r.job.close()
	}
	if r.dir != nil {
		r.dir.Close()
	}
}
