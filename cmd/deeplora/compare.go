package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/runreport"
	"github.com/deeplora/deeplora/cmd/deeplora/internal/study"
	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/internal/memory"
	"github.com/deeplora/deeplora/train"
)

// comparison is the compare command.
type comparison struct {
	*shared
	experiment, out string
	model, data     string
	set             []string
	resume          bool
	dryRun, asJSON  bool
	noSpectra       bool
	noCheck         bool
	executor        string
	jobs            int
	gpus            []string
	slurm           slurmFlags
}

// slurmFlags are passed through to sbatch.
type slurmFlags struct {
	partition, time, gres string
	more                  []string
	retries               int
}

func compareCommand(s *shared) *cobra.Command {
	c := &comparison{shared: s}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Compare methods over tasks, sizes and seeds",
		Long: `Compare methods: an experiment file, a diff against the defaults, becomes runs, each one that
` + "`deeplora train`" + ` makes; what they measure becomes paired statistics and a report. Finished runs
are never made twice, stopped ones go on from their last checkpoint, and an experiment that has
grown trains what is new. --executor slurm gives the runs to a cluster.
An experiment with "tune" chooses each arm's settings by splits of its training examples first, and
then makes the runs at what was chosen.`,
		Example: "  deeplora compare --experiment experiment.json --out study\n" +
			"  deeplora compare --resume --out study\n" +
			"  deeplora compare --experiment experiment.json --out study --executor slurm --partition gpu --gres gpu:1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := c.check(cmd.Flags()); err != nil {
				return err
			}
			return c.run(cmd)
		},
	}
	c.bindFlags(cmd.Flags())
	return cmd
}

func (c *comparison) bindFlags(f *pflag.FlagSet) {
	f.StringVar(&c.experiment, "experiment", "", "experiment file: what differs from the defaults, as JSON")
	f.StringVarP(&c.out, "out", "o", "", "directory of the study")
	f.StringVar(&c.model, "model", "", "checkpoint, instead of the experiment's")
	f.StringVar(&c.data, "data", "", "directory with the tasks' files, instead of the experiment's")
	f.StringArrayVar(&c.set, "set", nil, "setting=value of every run, instead of the experiment's (repeatable)")
	f.BoolVar(&c.resume, "resume", false, "go on with the study in --out")
	f.BoolVar(&c.dryRun, "dry-run", false, "list the runs and make none")
	f.BoolVar(&c.asJSON, "json", false, "print summary.json")
	f.BoolVar(&c.noSpectra, "no-spectra", false, "leave out the singular values of the updates, which are computed on this machine")
	f.BoolVar(&c.noCheck, "no-check", false, "do not open data and models before the first run, as where the cluster's nodes alone see them")
	f.StringVar(&c.executor, "executor", executorLocal, "who makes the runs: local or slurm")
	f.IntVar(&c.jobs, "jobs", 0, "runs at once; 0: local, one for every two cores; slurm, as many as it starts")
	f.StringSliceVar(&c.gpus, "gpus", nil, "local, on CUDA: runs at once on these devices, as 0,1, --devices of them each")
	c.bindDevices(f)
	f.StringVar(&c.slurm.partition, "partition", "", "slurm: as sbatch has it")
	f.StringVar(&c.slurm.time, "time", "", "slurm: time limit of a run, as sbatch has it")
	f.StringVar(&c.slurm.gres, "gres", "", "slurm: as sbatch has it, gpu:1 for a GPU")
	f.StringArrayVar(&c.slurm.more, "sbatch", nil, "slurm: another argument of sbatch, as --account=x (repeatable)")
	f.IntVar(&c.slurm.retries, "retries", 3, "slurm: how often a run that failed or timed out is submitted again")
}

// Executors.
const (
	executorLocal = "local"
	executorSlurm = "slurm"
)

func (c *comparison) check(given *pflag.FlagSet) error {
	switch {
	case c.out == "" && !c.dryRun:
		return usagef("--out is required: the directory of the study")
	case c.experiment == "" && !c.resume:
		return usagef("--experiment is required: a file as those of scripts/experiments")
	case c.executor != executorLocal && c.executor != executorSlurm:
		return usagef("--executor: %q is unknown; want local or slurm", c.executor)
	case len(c.gpus)%c.gpusPerRun() != 0:
		return usagef("--devices: the %d of --gpus are not shared out evenly in runs of %d", len(c.gpus), c.gpusPerRun())
	case c.jobs < 0:
		return usagef("--jobs: %d is negative", c.jobs)
	case c.slurm.retries < 0:
		return usagef("--retries: %d is negative", c.slurm.retries)
	}
	if err := study.CheckSbatch(c.slurm.more); err != nil {
		return usageError{fmt.Errorf("--sbatch: %w", err)}
	}
	unwanted, belong := []string{"partition", "time", "gres", "sbatch", "retries"}, executorSlurm
	if c.executor == executorSlurm {
		unwanted, belong = []string{"gpus"}, executorLocal
	}
	for _, name := range unwanted {
		if given.Changed(name) {
			return usagef("--%s goes with --executor %s", name, belong)
		}
	}
	return nil
}

// read is the experiment with what the line changes, or nil where the saved one goes on unchanged.
func (c *comparison) read() (*study.Experiment, error) {
	path := c.experiment
	if path == "" {
		if path = filepath.Join(c.out, study.ExperimentFile); c.model == "" && c.data == "" && len(c.set) == 0 {
			return nil, nil
		}
	}
	e, err := study.ReadExperiment(path)
	if err != nil {
		return nil, usageError{err}
	}
	set := c.set
	if c.model != "" {
		set = append(set, "model="+c.model)
	}
	if c.data != "" {
		set = append(set, "data="+c.data)
	}
	for _, s := range set {
		name, value, ok := strings.Cut(s, "=")
		if !ok {
			return nil, usagef("--set: %q is no setting=value", s)
		}
		if err := e.Override(name, value); err != nil {
			return nil, usageError{fmt.Errorf("--set %s: %w", name, err)}
		}
	}
	return e, nil
}

func (c *comparison) run(cmd *cobra.Command) error {
	e, err := c.read()
	if err != nil {
		return err
	}
	if c.dryRun {
		return c.list(e)
	}
	if !c.noCheck {
		err := study.Check(cmd.Context(), c.out, e, func(ctx context.Context, run train.Config) error { return run.CheckFiles(ctx, c.sources()) })
		if err != nil {
			return err
		}
	}
	s, err := study.Open(c.out, e, c.resume)
	if err != nil {
		return err
	}
	defer s.Close()
	failed := c.make(cmd.Context(), s)
	switch {
	case errors.Is(failed, study.ErrGoesOn) && s.Experiment.Tune != nil:
		return fmt.Errorf("%w; once they are done, it chooses the settings and makes the tuned runs", failed)
	case errors.Is(failed, study.ErrGoesOn): // it says how to come back
		return failed
	case errors.Is(failed, context.Canceled):
		return fmt.Errorf("%w; go on with: %s", failed, c.line(cmd.Flags()))
	}
	if err := c.inspect(cmd.Context(), s); err != nil {
		return errors.Join(failed, err)
	}
	summary, err := c.summarize(s)
	if err != nil {
		return errors.Join(failed, err)
	}
	if c.asJSON {
		err = c.ui.json(summary)
	} else {
		err = c.print(summary, s)
	}
	if failed != nil {
		c.ui.line("compare: the report leaves out what failed; try again with: %s", c.line(cmd.Flags()))
	}
	return errors.Join(err, failed)
}

// list prints the runs of an experiment.
func (c *comparison) list(e *study.Experiment) error {
	if e == nil {
		var err error
		if e, err = study.ReadExperiment(filepath.Join(c.out, study.ExperimentFile)); err != nil {
			return err
		}
	}
	runs, err := e.Runs()
	if err != nil {
		return usageError{err}
	}
	tuning, err := e.TuningRuns()
	if err != nil {
		return usageError{err}
	}
	rows := [][]string{{"key", "arm", "condition", "seed"}}
	if e.Tune != nil {
		rows[0] = append(rows[0], "settings", "fold")
	}
	for _, r := range slices.Concat(runs, tuning) {
		row := []string{r.Key, r.Arm, study.ConditionText(r.Condition), fmt.Sprint(r.Config.Seed)}
		if e.Tune != nil {
			row = append(row, triedText(r.Tried, "default"), cmp.Or(r.Config.Fold, "-"))
		}
		rows = append(rows, row)
	}
	return c.ui.table(rows)
}

// make makes the runs that are not finished and, where arms are tuned, those at the settings that they choose.
func (c *comparison) make(ctx context.Context, s *study.Study) error {
	made := map[string]bool{}
	failed := c.makeJobs(ctx, s, made)
	if s.Experiment.Tune == nil || ctx.Err() != nil || errors.Is(failed, study.ErrGoesOn) {
		return failed
	}
	before := len(s.Runs)
	choices, err := s.Choose()
	if err != nil {
		return errors.Join(failed, err)
	}
	for _, choice := range choices {
		if len(s.Runs) > before {
			c.ui.line("tuned: %s", choice.Text())
		}
	}
	return errors.Join(failed, c.makeJobs(ctx, s, made))
}

// makeJobs makes the runs that are known and not finished, but for those that were tried already, and notes which.
func (c *comparison) makeJobs(ctx context.Context, s *study.Study, made map[string]bool) error {
	jobs, err := s.Jobs()
	jobs = slices.DeleteFunc(jobs, func(j study.Job) bool { return made[j.Run.Key] })
	for _, j := range jobs {
		made[j.Run.Key] = true
	}
	if err != nil || len(jobs) == 0 {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return err
	}
	executor, err := c.newExecutor(program, s)
	if err != nil {
		return err
	}
	c.ui.line("compare: %d runs, %d of them to make", len(s.Runs)+len(s.Tuning), len(jobs))
	defer c.ui.clear()
	defer onCancel(ctx, func() {
		c.release()
		c.ui.line("interrupted: waiting for the runs to save what they have; interrupt again to stop at once")
	})()
	progress := studyProgress{ui: c.ui, total: len(jobs)}
	err = executor.Run(ctx, jobs, progress.report)
	if err != nil && ctx.Err() == nil && study.Settled(jobs) {
		c.ui.line("note: tuning runs whose numbers were not finite count as scores that are undefined")
		return nil
	}
	return err
}

// studyProgress shows what becomes of jobs.
type studyProgress struct {
	ui          *ui
	done, total int
}

func (p *studyProgress) report(r study.Report) {
	switch r.State {
	case study.Started:
		if p.ui.verbose {
			p.ui.line("%s: started %s", r.Job.Run, r.Text)
		}
	case study.Repeated:
		p.ui.line("%s: %s; it is started again", r.Job.Run, r.Text)
	case study.Failed:
		p.done++
		p.ui.line("%s: failed: %s", r.Job.Run, r.Text)
	case study.Done:
		p.done++
		score := ""
		if result, err := train.ReadResult(r.Job.Dir); err == nil {
			score = fmt.Sprintf(": %s %s", result.PrimaryMetric, metricValue(result.Metrics[result.PrimaryMetric]))
		}
		p.ui.line("run %d of %d: %s%s", p.done, p.total, r.Job.Run, score)
	}
	if p.ui.terminal { // elsewhere the lines above say as much
		p.ui.progress("compare", p.done, p.total, counted(p.done, p.total))
	}
}

// newExecutor is who makes the runs, on this line's engine.
func (c *comparison) newExecutor(program string, s *study.Study) (study.Executor, error) {
	machine := append([]string{"--backend", c.backend}, c.runDevices()...)
	if c.offline {
		machine = append(machine, "--offline")
	}
	if c.noCompileCache {
		machine = append(machine, "--no-compile-cache")
	}
	if c.cache != "" {
		machine = append(machine, "--cache", c.cache)
	}
	if c.executor == executorSlurm {
		return c.newSlurm(program, machine, s), nil
	}
	cores := cmp.Or(c.threads, runtime.NumCPU())
	jobs := cmp.Or(c.jobs, len(c.gpus)/c.gpusPerRun(), max(1, cores/2))
	if jobs > cores {
		return nil, usagef("--jobs: %d runs at once on %d cores", jobs, cores)
	}
	most := memory.Total() / 10 * 9 // what is left is the system's
	return &study.Local{
		Program: program, Machine: machine, Jobs: jobs, Cores: cores, GPUs: c.gpus, PerJob: c.gpusPerRun(),
		Memory: most, Need: most / 8,
	}, nil
}

// gpusPerRun is how many of --gpus each run has.
func (c *comparison) gpusPerRun() int {
	if c.devices == engine.AllDevices {
		return max(1, len(c.gpus))
	}
	return max(1, int(c.devices))
}

// gpusOf finds how many GPUs sbatch is asked for by --gres: gpu:4, gpu:a100:4.
var gpusOf = regexp.MustCompile(`(?:^|,)gpu(?::[^:,()]+)??:([0-9]+)`)

// runDevices are the arguments that give a run its devices: as many as the line says, or those that Slurm gives it.
func (c *comparison) runDevices() []string {
	n := c.devices
	if asked := gpusOf.FindStringSubmatch(c.slurm.gres); n == 0 && asked != nil {
		if err := n.Set(asked[1]); err != nil {
			return nil
		}
	}
	if n == 0 || n == 1 {
		return nil
	}
	return []string{"--devices", n.String()}
}

func (c *comparison) newSlurm(program string, machine []string, s *study.Study) study.Executor {
	var args []string
	for _, f := range []struct{ name, value string }{{"partition", c.slurm.partition}, {"time", c.slurm.time}, {"gres", c.slurm.gres}} {
		if f.value != "" {
			args = append(args, "--"+f.name+"="+f.value)
		}
	}
	return &study.Slurm{
		Program: program, Machine: machine, Dir: s.File(""), Sbatch: append(args, c.slurm.more...),
		Cores: c.threads, Retries: c.slurm.retries, Poll: 5 * time.Second, Parallel: c.jobs, Notice: func(line string) { c.ui.line("%s", line) },
	}
}

// inspect takes apart the updates of the first seed of each arm.
func (c *comparison) inspect(ctx context.Context, s *study.Study) error {
	if c.noSpectra || s.Uninspected() == 0 {
		return nil
	}
	c.devices = 1 // of this machine, which need not be one that runs are made on
	backend, _, err := c.open()
	if err != nil {
		return err
	}
	return s.Inspect(ctx, func(ctx context.Context, run string) ([]train.KernelDelta, error) {
		return c.updates(ctx, backend, run)
	}, c.ui.phaseFunc("inspect"))
}

// updates takes one run's updates apart.
func (c *comparison) updates(ctx context.Context, backend compute.Backend, run string) ([]train.KernelDelta, error) {
	stored, err := train.ReadFinished(ctx, run, train.OpenOptions{Sources: c.sources()})
	if err != nil {
		return nil, err
	}
	return stored.Deltas(ctx, train.DeltaOptions{
		Backend: backend, Sources: c.sources(), Tolerance: runreport.Tolerance, Gradient: true, Progress: func(int, int) {},
	})
}

// summarize writes the study's summary and report.
func (c *comparison) summarize(s *study.Study) (*study.Summary, error) {
	measured, err := s.Measure()
	if err != nil {
		return nil, err
	}
	summary, err := s.Summarize(measured)
	if err != nil {
		return nil, err
	}
	return summary, s.Write(summary, measured)
}

// line is the command line that goes on with the study.
func (c *comparison) line(given *pflag.FlagSet) string {
	line := "deeplora compare --resume --out " + shellQuote(c.out) + givenFlags(given, "executor", "jobs", "partition", "time", "gres", "retries")
	if len(c.gpus) > 0 {
		line += " --gpus " + shellQuote(strings.Join(c.gpus, ","))
	}
	for _, more := range c.slurm.more {
		line += " --sbatch " + shellQuote(more)
	}
	return line + machineFlags(given)
}
