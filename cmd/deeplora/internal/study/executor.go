package study

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/deeplora/deeplora/train/loop"
)

// Job is one command of deeplora that a study needs done: a run to train. After any interruption it can
// be started again, and goes on from its last checkpoint.
type Job struct {
	Run  Run
	Dir  string   // the run directory, absolute
	Args []string // arguments of deeplora, without those that choose where to compute
	Log  string   // file that standard error is appended to
}

// Finished reports whether the job's result is there.
func (j *Job) Finished() bool { return exists(filepath.Join(j.Dir, resultFile)) }

// diverged reports whether the job is a tuning run that ended since a loss or a gradient was not finite, as it would each
// time. A combination with such a run is a bad one, not one that is missing.
func (j *Job) diverged() bool {
	if j.Run.Stage == stageDefault || j.Run.Stage == stageTuned || j.Run.Config.OnNonfinite != "" || j.Finished() {
		return false
	}
	_, err := loop.ReadDiagnostic(j.Dir)
	return err == nil
}

// Settled reports whether no run would change what has become of the jobs.
func Settled(jobs []Job) bool {
	return !slices.ContainsFunc(jobs, func(j Job) bool { return !j.Finished() && !j.diverged() })
}

// Executor makes jobs.
type Executor interface {
	// Run makes the jobs, none of which is finished, and returns when all are, or when no more can be done. A
	// job that fails does not keep the others from being made; the error joins what is wrong with each. When
	// ctx is cancelled, jobs that run are told to save what they have, and waited for. Report is called, by one
	// goroutine at a time, when something becomes of a job.
	Run(ctx context.Context, jobs []Job, report func(Report)) error
}

// Report is what has become of a job.
type Report struct {
	Job   *Job
	State State
	Text  string // beside the state: a fault, where it runs
}

// State is how far a job is.
type State string

// What becomes of a job.
const (
	Started  State = "started"
	Done     State = "done"
	Failed   State = "failed"
	Repeated State = "repeated" // it was stopped, and is given to a machine again
)
