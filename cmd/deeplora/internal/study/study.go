package study

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// Files and directories of a study.
const (
	ExperimentFile = "experiment.json" // with what the command line changed
	summaryFile    = "summary.json"
	tableFile      = "summary.csv"
	ReportFile     = "report.html"

	runsDir    = "runs"    // runs/KEY: as `train` makes it
	jobsDir    = "jobs"    // jobs/KEY.json: the settings that it is made from
	logsDir    = "logs"    // logs/KEY.log: what it said
	inspectDir = "inspect" // inspect/KEY.json: its updates taken apart
)

// Study is a study's directory, locked, and its runs.
type Study struct {
	Experiment *Experiment
	Runs       []Run // that evaluate arms: at their defaults and, as far as they are chosen, at tuned settings
	Tuning     []Run // that settings are chosen by, and that show how much the choice matters

	dir *rundir.Dir
	out string // absolute
}

// Open makes the directory of a study, or goes on with the one that is there if resume is set: with the experiment
// given, which may have grown, or with the saved one if e is nil. Nothing runs yet.
func Open(out string, e *Experiment, resume bool) (*Study, error) {
	out, err := filepath.Abs(out)
	if err != nil {
		return nil, err
	}
	there := rundir.Is(out, ExperimentFile)
	if e == nil {
		if !there {
			return nil, fmt.Errorf("%s: %w: it has no %s", out, rundir.ErrNoRun, ExperimentFile)
		}
		if e, err = ReadExperiment(filepath.Join(out, ExperimentFile)); err != nil {
			return nil, err
		}
	}
	s := &Study{Experiment: e, out: out}
	if s.Runs, err = e.Runs(); err == nil {
		s.Tuning, err = e.TuningRuns()
	}
	if err != nil {
		return nil, settings.Error(err)
	}
	if there && resume {
		s.dir, err = rundir.Open(out, ExperimentFile)
	} else {
		s.dir, err = rundir.Create(out, ExperimentFile)
	}
	if err != nil {
		return nil, err
	}
	if err := jsonfile.Write(s.dir.File(ExperimentFile), e); err != nil {
		s.Close()
		return nil, err
	}
	if _, err := s.Choose(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Choose adds to Runs those at the settings that tuning has chosen, of each arm and condition of which every tuning run has
// ended, and returns what is chosen.
func (s *Study) Choose() ([]Choice, error) {
	if s.Experiment.Tune == nil {
		return nil, nil
	}
	t, err := s.tuning()
	if err != nil {
		return nil, err
	}
	s.Runs, err = s.Experiment.runsWith(t.chosen())
	return t.Choices, err
}

// tuning reads what the tuning runs measured.
func (s *Study) tuning() (*Tuning, error) {
	measured, err := s.measureAll(s.Tuning)
	if err != nil {
		return nil, err
	}
	of := ended{planned: s.Tuning, measured: byID(measured), diverged: map[string]bool{}}
	for _, r := range s.Tuning {
		if job := s.job(r); job.diverged() {
			of.diverged[r.id()] = true
		}
	}
	return s.Experiment.tuning(of), nil
}

// Close frees the directory.
func (s *Study) Close() { s.dir.Close() }

// File is the path of a file of the study.
func (s *Study) File(name string) string { return s.dir.File(name) }

// RunDir is a run's directory.
func (s *Study) RunDir(r Run) string { return filepath.Join(s.out, runsDir, r.Key) }

// job is the command that makes a run.
func (s *Study) job(r Run) Job {
	dir := s.RunDir(r)
	return Job{
		Run: r, Dir: dir, Log: filepath.Join(s.out, logsDir, r.Key+".log"),
		Args: []string{"train", "--quiet", "--resume", "--config", s.settingsFile(r), "--out", dir},
	}
}

func (s *Study) settingsFile(r Run) string { return filepath.Join(s.out, jobsDir, r.Key+".json") }

// Jobs are the jobs of the runs that are not finished, with their settings written for them.
func (s *Study) Jobs() ([]Job, error) {
	if err := os.MkdirAll(filepath.Join(s.out, jobsDir), 0o755); err != nil {
		return nil, err
	}
	var jobs []Job
	seen := map[string]bool{} // an arm may be tuned to its defaults
	for _, r := range slices.Concat(s.Runs, s.Tuning) {
		job := s.job(r)
		if seen[r.Key] || job.Finished() || job.diverged() {
			continue
		}
		seen[r.Key] = true
		settings, err := differences(r.Config)
		if err != nil {
			return nil, err
		}
		if err := jsonfile.Write(s.settingsFile(r), settings); err != nil {
			return nil, err
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
}

// differences are the settings in which c differs from the defaults that `train` starts from.
func differences(c train.Config) (Fields, error) {
	base := train.Default()
	if c.Reference {
		base = train.Reference()
		base.Reference = false // so that it is among the differences
	}
	fields, err := train.Settings().Differences(&c, &base).Fields(&c)
	if err != nil {
		return nil, err
	}
	var different Fields
	for _, f := range fields {
		different = append(different, Field{f.Name, f.Value})
	}
	return different, nil
}

// Measure reads what the finished runs measured. Runs that were made from different files of one name are an
// error: their difference would not be the methods'.
func (s *Study) Measure() ([]Measured, error) {
	measured, err := s.measureAll(s.Runs)
	if err != nil {
		return nil, err
	}
	firsts := s.firsts()
	for i := range measured {
		m := &measured[i]
		if firsts[m.id()] { // another may have been taken apart when the first had not finished yet
			if m.Updates, err = s.readUpdates(m.Run); err != nil {
				return nil, fmt.Errorf("%s: %w", m.Run, err)
			}
		}
	}
	return measured, nil
}

// Summarize compares the arms by what their runs measured, and says what tuning found and cost.
func (s *Study) Summarize(measured []Measured) (*Summary, error) {
	summary, err := Summarize(s.Experiment, s.Runs, measured)
	if err != nil || s.Experiment.Tune == nil {
		return summary, err
	}
	t, err := s.tuning()
	if err != nil {
		return nil, err
	}
	return summary, summary.tune(t, s.Runs, measured)
}

// measureAll reads what those of the runs measured that are finished.
func (s *Study) measureAll(runs []Run) ([]Measured, error) {
	var measured []Measured
	sources := map[string]source{}
	for _, r := range runs {
		job := s.job(r)
		if !job.Finished() {
			continue
		}
		m, err := s.measure(r, job.Dir, sources)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r, err)
		}
		measured = append(measured, m)
	}
	return measured, nil
}

// source is what a model or a task's data were when the first run was made of them.
type source struct {
	sums []model.FileSum
	run  Run
}

func (s *Study) measure(r Run, dir string, sources map[string]source) (Measured, error) {
	m := Measured{Run: r}
	config, err := train.ReadRunConfig(dir)
	if err != nil {
		return m, err
	}
	read := "data "
	if r.Config.Fold != "" { // the training file alone
		read = "training data "
	}
	for name, sums := range map[string][]model.FileSum{
		"model " + r.Config.Model:                config.Provenance.Model,
		read + r.Config.Data + " " + config.Task: config.Provenance.Data,
	} {
		before, seen := sources[name]
		if !seen {
			sources[name] = source{sums, r}
		} else if !slices.Equal(before.sums, sums) {
			return m, fmt.Errorf("its %s had other bytes than that of %s; remove %s or %s to make it anew", name, before.run, dir, s.RunDir(before.run))
		}
	}
	m.Origin = config.Provenance
	if m.Result, err = train.ReadResult(dir); err != nil {
		return m, err
	}
	m.Curve, _, err = loop.ReadLog(dir)
	return m, err
}

// readUpdates reads a run's updates, none where it has not been taken apart.
func (s *Study) readUpdates(r Run) (updates []train.KernelDelta, err error) {
	err = jsonfile.Read(s.updatesFile(r), &updates)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return updates, err
}

func (s *Study) updatesFile(r Run) string { return filepath.Join(s.out, inspectDir, r.Key+".json") }

// Inspect takes the updates of finished runs apart by of: of the first seed of each arm and condition, whatever
// has not been taken apart yet. Methods without an adapter have no updates.
func (s *Study) Inspect(ctx context.Context, of func(ctx context.Context, run string) ([]train.KernelDelta, error), progress func(done, total int)) error {
	todo := s.uninspected()
	for i, r := range todo {
		if err := ctx.Err(); err != nil {
			return err
		}
		updates, err := of(ctx, s.RunDir(r))
		if err != nil {
			return fmt.Errorf("%s: %w", r, err)
		}
		if err := os.MkdirAll(filepath.Join(s.out, inspectDir), 0o755); err != nil {
			return err
		}
		if err := jsonfile.Write(s.updatesFile(r), updates); err != nil {
			return err
		}
		progress(i+1, len(todo))
	}
	return nil
}

// Uninspected is how many runs Inspect would take apart.
func (s *Study) Uninspected() int { return len(s.uninspected()) }

func (s *Study) uninspected() []Run {
	var todo []Run
	firsts, seen := s.firsts(), map[string]bool{}
	for _, r := range s.Runs {
		if double := seen[r.Key]; double { // an arm that is tuned to its defaults
			continue
		}
		if seen[r.Key] = firsts[r.id()]; firsts[r.id()] && !r.Config.Whole() && !exists(s.updatesFile(r)) {
			todo = append(todo, r)
		}
	}
	return todo
}

// firsts are the ids of the first run of each arm and condition that has finished.
func (s *Study) firsts() map[string]bool {
	keys, seen := map[string]bool{}, map[string]bool{}
	for _, r := range s.Runs {
		if job := s.job(r); !seen[r.cell()] && job.Finished() {
			keys[r.id()], seen[r.cell()] = true, true
		}
	}
	return keys
}

// Write writes summary.json, summary.csv and report.html.
func (s *Study) Write(summary *Summary, measured []Measured) error {
	if err := jsonfile.Write(s.File(summaryFile), summary); err != nil {
		return err
	}
	if err := atomicfile.Write(s.File(tableFile), func(w io.Writer) error { return summary.WriteCSV(w) }); err != nil {
		return err
	}
	return atomicfile.Write(s.File(ReportFile), func(w io.Writer) error { return summary.WriteReport(w, measured) })
}
