package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// demoMethods are compared by the demo: LoRA as PEFT starts it and ours, for each seed from the same head on the same
// batches.
var demoMethods = [2]string{"vanilla", "deep-compressed"}

// How much the demo trains unless flags say otherwise: minutes on two cores. The Go engine does less in that time.
const (
	demoSeeds, demoSteps     = 3, 200
	demoSeedsGo, demoStepsGo = 2, 25
)

// demo is the demo command.
type demo struct {
	*shared
	out, pairs   string
	steps, seeds int
	seed         uint64 // the first of seeds
	asJSON       bool

	backend    compute.Backend
	provenance train.Provenance
	dir        string // of the runs: out, or a temporary one
}

func demoCommand(s *shared) *cobra.Command {
	d := &demo{shared: s}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run the main job on embedded files",
		Long: `Train LoRA, as PEFT starts it, and compressed Deep LoRA on the embedded few-shot STS-B split
with the embedded encoder, over a few seeds, and compare them; then score pairs of sentences
with the best run. Needs no file and no network. With --out the runs stay, and pairs.jsonl
beside them: change it and call the demo again, which trains nothing twice.`,
		Example: "  deeplora demo\n  deeplora demo --out demo\n  deeplora demo --pairs my-pairs.jsonl",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := d.check(); err != nil {
				return err
			}
			return d.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&d.out, "out", "o", "", "keep the runs in this directory (default: a temporary one, removed at the end)")
	f.IntVar(&d.steps, "steps", demoSteps, fmt.Sprintf("optimizer steps of each run; on the Go engine %d", demoStepsGo))
	f.IntVar(&d.seeds, "seeds", demoSeeds, fmt.Sprintf("seeds that each method is trained with; on the Go engine %d", demoSeedsGo))
	f.Uint64Var(&d.seed, "seed", 0, "the first seed")
	f.StringVar(&d.pairs, "pairs", "", `sentence pairs to score, a line each: {"text": …, "pair": …} (default: pairs.jsonl in --out, or embedded ones)`)
	f.BoolVar(&d.asJSON, "json", false, "print runs, summary and predictions as JSON")
	return cmd
}

// check refuses numbers that make no demo.
func (d *demo) check() error {
	switch {
	case d.steps < 1:
		return usagef("--steps: %d is less than 1", d.steps)
	case d.seeds < 1:
		return usagef("--seeds: %d is less than 1", d.seeds)
	case d.seed > math.MaxUint64-uint64(d.seeds-1):
		return usagef("--seed: there are no %d seeds from %d up", d.seeds, d.seed)
	}
	return nil
}

// run trains, compares and predicts. What can be wrong with the pairs is found before anything is trained.
func (d *demo) run(cmd *cobra.Command) error {
	pairs, err := d.readPairs(cmd)
	if err != nil {
		return err
	}
	if d.dir = d.out; d.dir == "" {
		if d.dir, err = os.MkdirTemp("", "deeplora-demo-*"); err != nil {
			return err
		}
		defer os.RemoveAll(d.dir)
	}
	d.ui.line("demo: how alike are two sentences, from 0 to 5? STS-B has such pairs: 256 to train on, 250 to")
	d.ui.line("demo: evaluate on, and a small encoder, all embedded; LoRA, as PEFT starts it, against compressed Deep LoRA")
	if d.backend, d.provenance, err = d.open(); err != nil {
		return err
	}
	d.fit(cmd.Flags())
	defer d.ui.clear()
	defer d.onInterrupt(cmd.Context())()
	if err := d.vacant(); err != nil {
		return err
	}
	if err := pairs.keep(); err != nil {
		return err
	}
	runs, err := d.trainAll(cmd)
	if err != nil {
		return err
	}
	report := demoReport{Runs: runs, Summary: summarize(runs)}
	if !d.asJSON { // now: a fault below should not cost what was trained
		if err := d.ui.table(report.Summary.rows()); err != nil {
			return err
		}
	}
	best := d.runDir(bestOf(runs))
	if report.Predictions, err = d.predict(cmd.Context(), best, pairs); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if d.asJSON {
		err = d.ui.json(report)
	} else {
		err = d.ui.table(scoreRows(report.Predictions))
	}
	if err != nil {
		return err
	}
	d.hint(cmd.Flags(), best, pairs)
	return nil
}

// fit lowers what no flag has set to what the Go engine does in the time.
func (d *demo) fit(given *pflag.FlagSet) {
	if d.provenance.Backend != engine.Go || given.Changed("steps") && given.Changed("seeds") {
		return
	}
	if !given.Changed("steps") {
		d.steps = demoStepsGo
	}
	if !given.Changed("seeds") {
		d.seeds = demoSeedsGo
	}
	d.ui.line("demo: on the Go engine %d seeds of %d steps (on XLA %d of %d); --seeds and --steps change that", d.seeds, d.steps, demoSeeds, demoSteps)
}

// configs are the settings of every run, in their order: seed by seed, so that what is interrupted compares too.
func (d *demo) configs() []train.Config {
	var all []train.Config
	for i := range d.seeds {
		for _, method := range demoMethods {
			c := train.Default()
			c.Method, c.Steps, c.Seed = method, d.steps, d.seed+uint64(i)
			c.TrainHead, c.MaxLength = true, 64
			if method == "vanilla" {
				c.Init = lora.InitPEFT
			}
			all = append(all, c)
		}
	}
	return all
}

func runName(method string, seed uint64) string { return fmt.Sprintf("%s-%d", method, seed) }

func (d *demo) runDir(r train.Result) string { return filepath.Join(d.dir, runName(r.Method, r.Seed)) }

// vacant checks that every run has a place, or is there already with these settings.
func (d *demo) vacant() error {
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return fmt.Errorf("demo: --out: %w", err)
	}
	for _, c := range d.configs() {
		dir := filepath.Join(d.dir, runName(c.Method, c.Seed))
		saved, err := train.ReadRunConfig(dir)
		switch {
		case errors.Is(err, rundir.ErrNoRun):
			err = rundir.CheckVacant(dir, "config.json")
		case err == nil:
			if err = sameDemo(c, saved, dir); err != nil {
				err = fmt.Errorf("%w; for other settings choose another --out", err)
			}
		}
		if err != nil {
			return fmt.Errorf("demo: %w", err)
		}
	}
	return nil
}

// demoSettings are what a demo's runs have of their own.
var demoSettings = []string{"model", "task", "data", "method", "init", "seed", "steps", "train-head", "max-length"}

// sameDemo refuses a run with other settings than the demo's.
func sameDemo(c train.Config, saved train.RunConfig, dir string) error {
	return sameSettings(func(name string) bool { return slices.Contains(demoSettings, name) }, c, saved, dir)
}

// trainAll trains what is not trained yet.
func (d *demo) trainAll(cmd *cobra.Command) ([]train.Result, error) {
	configs := d.configs()
	results := make([]train.Result, 0, len(configs))
	for i, c := range configs {
		name := runName(c.Method, c.Seed)
		d.ui.line("demo: run %d of %d: %s with seed %d", i+1, len(configs), c.Method, c.Seed)
		d.ui.prefix = name
		r, err := train.Train(cmd.Context(), c, train.Options{
			Backend: d.backend, Out: filepath.Join(d.dir, name), Resume: true, Sources: d.sources(), Provenance: d.provenance, OnEvent: d.ui.event,
		})
		d.ui.prefix = ""
		switch {
		case errors.Is(err, loop.ErrInterrupted) && d.out == "": // what was saved goes with the temporary directory
			return nil, context.Canceled
		case err != nil && d.out != "":
			return nil, hintResume(fmt.Errorf("demo: %w", err), demoLine(cmd.Flags()))
		case err != nil:
			return nil, fmt.Errorf("demo: %w", err)
		}
		results = append(results, *r)
	}
	return results, nil
}

// demoLine is the command line that called the demo.
func demoLine(given *pflag.FlagSet) string {
	return "deeplora demo" + givenFlags(given, "out", "steps", "seeds", "seed", "pairs") + machineFlags(given)
}

// hint says how to go on from the scores.
func (d *demo) hint(given *pflag.FlagSet, best string, pairs *demoPairs) {
	d.ui.line("demo: the scores are those of %s, the best run of its method", filepath.Base(best))
	if d.out == "" {
		d.ui.line(`demo: your own pairs, a line each, {"text": "…", "pair": "…"}: deeplora demo --pairs FILE%s`, machineFlags(given))
		d.ui.line("demo: to keep the runs, and to score without training again: deeplora demo --out DIR%s", machineFlags(given))
		return
	}
	d.ui.line("demo: change %s, and score it again with:", pairs.path)
	d.ui.line("deeplora predict --run %s --input %s%s", shellQuote(best), shellQuote(pairs.path), machineFlags(given))
}
