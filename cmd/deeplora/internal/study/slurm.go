package study

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// ErrGoesOn is wrapped by the error of a Slurm executor that stopped waiting for jobs that are still queued or
// running.
var ErrGoesOn = errors.New("jobs go on in Slurm")

// Slurm makes jobs as tasks of job arrays of a Slurm cluster, one job a task. The study's directory has to be on a
// file system that the nodes share.
//
// A job is done when it has a result.json; Slurm is asked only why one has none. A task that ended without a result,
// for any reason, is submitted again, up to Retries times, and goes on from its last checkpoint. Slurm is told to
// interrupt a task two minutes before its time limit, so that the run can save its state.
//
// Cancelling Run's context ends the waiting, not the jobs: they keep their place in the cluster's queue when a
// terminal closes. The error says how to end them. A later Run in the same directory, also of
// another process and on another machine, waits for those that are still there instead of submitting them again.
type Slurm struct {
	Program   string   // deeplora, absolute
	Machine   []string // arguments that choose where to compute
	Dir       string   // the study's directory, absolute and locked; its folder slurm holds lists, scripts and logs
	Sbatch    []string // further arguments of sbatch, such as --partition=gpu; CheckSbatch refuses some
	Cores     int      // cores of a task; 0: the cluster's default
	Retries   int      // how often a task that ended without a result is submitted again
	Parallel  int      // most tasks of an array that run at once; 0: no limit
	ArraySize int      // most tasks of an array; 0: the cluster's limit

	Poll     time.Duration // time between two queries of the queue; 0: 10 s
	Grace    time.Duration // how long after a task's end its result may still appear, as on NFS; 0: 1 min
	Patience time.Duration // how long Slurm may not answer before Run gives up; 0: 30 min

	Notice func(line string) // receives messages for the user that concern no single job; may be nil

	call slurmCall // calls Slurm's programs; nil: those on the PATH
}

var _ Executor = (*Slurm)(nil)

// Run submits what is not in the queue yet and waits for all of it.
func (s *Slurm) Run(ctx context.Context, jobs []Job, report func(Report)) error {
	w, err := s.open(jobs, report)
	if err != nil {
		return fmt.Errorf("slurm: %w", err)
	}
	for {
		err := w.bear(ctx, w.round(ctx))
		switch {
		case err != nil:
			return firstFaults(append([]error{w.leave(err)}, w.faults...))
		case len(w.tasks) == 0:
			return firstFaults(w.faults)
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.Poll):
		}
	}
}

// slurmWork is the state of one Run.
type slurmWork struct {
	Slurm
	report func(Report)
	record slurmRecord
	tasks  []*slurmTask // that are neither done nor failed, in the order of the jobs
	faults []error

	completing   map[*slurmArray]bool // tasks of it are being ended
	refused      int                  // tasks that were queued when sbatch took no more; 0: it has not
	noAccounting bool                 // the cluster keeps none
	silent       time.Time            // since when Slurm gives no answer; zero: it does
	told         map[string]bool
}

// slurmTask is a job on its way.
type slurmTask struct {
	job     *Job
	array   *slurmArray // the array it is a task of; nil: not submitted yet
	index   int         // in the array
	ours    bool        // this Run has submitted it, or seen it in the queue
	running bool
	gone    time.Time // when it left the queue; zero: it is still there
	tries   int       // how many tries ended without a result
}

// id is what Slurm calls the task.
func (t *slurmTask) id() string { return fmt.Sprintf("%s_%d", t.array.ID, t.index) }

// slurmRecord is slurm/submitted.json: the arrays of which something may be in the queue.
type slurmRecord struct {
	Next   int           `json:"next"` // number of the next array
	Arrays []*slurmArray `json:"arrays"`
}

// slurmArray is a job array. It is recorded before it is submitted, so that one whose submitter died in between is
// found by its name.
type slurmArray struct {
	Name string   `json:"name"`
	ID   string   `json:"job_id"` // empty until Slurm has given one
	Runs []string `json:"runs"`   // key of the run that is task 0, 1, …
}

const slurmRecordFile = "submitted.json"

// open gives the jobs the places in the queue that earlier processes recorded.
func (s *Slurm) open(jobs []Job, report func(Report)) (*slurmWork, error) {
	w := &slurmWork{Slurm: *s, report: report, told: map[string]bool{}}
	w.defaults()
	if err := CheckSbatch(w.Sbatch); err != nil {
		return nil, err
	}
	if w.call == nil {
		if err := findSlurm(); err != nil {
			return nil, err
		}
		w.call = callSlurm
	}
	if err := os.MkdirAll(w.path(""), 0o755); err != nil {
		return nil, err
	}
	path := w.path(slurmRecordFile)
	if err := jsonfile.Read(path, &w.record); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w; `squeue --me` shows what is still queued: when nothing of this study is, remove the file", err)
	}
	places := map[string]slurmTask{}
	for _, a := range w.record.Arrays {
		for i, key := range a.Runs {
			places[key] = slurmTask{array: a, index: i}
		}
	}
	for i := range jobs {
		t := places[jobs[i].Run.Key]
		t.job = &jobs[i]
		w.tasks = append(w.tasks, &t)
	}
	return w, nil
}

func (w *slurmWork) defaults() {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{{&w.Poll, 10 * time.Second}, {&w.Grace, time.Minute}, {&w.Patience, 30 * time.Minute}} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	if w.Notice == nil {
		w.Notice = func(string) {}
	}
}

// path is that of a file of the executor.
func (w *slurmWork) path(name string) string { return filepath.Join(w.Dir, "slurm", name) }

// round reads the queue, updates the state of each task, and submits those that are in no array yet. It can be repeated
// after an error.
func (w *slurmWork) round(ctx context.Context) error {
	if len(w.record.Arrays) > 0 {
		queue, err := w.queue(ctx)
		if err != nil {
			return err
		}
		w.judge(ctx, w.place(queue))
		if err := w.forget(queue); err != nil {
			return err
		}
	}
	return w.submit(ctx)
}

// place notes which tasks are in the queue, and returns those that have left it. A task whose array was never seen in
// the queue will be submitted.
func (w *slurmWork) place(queue slurmQueue) (gone []*slurmTask) {
	w.completing = map[*slurmArray]bool{}
	for _, t := range w.tasks {
		if t.array == nil {
			continue
		}
		q, queued := queue.find(t.array.ID, t.index)
		switch {
		case queued:
			t.ours, t.gone = true, time.Time{}
			w.noteQueued(t, q)
			switch {
			case t.running && t.job.Finished(): // a node may take its time to clean up
				gone = append(gone, t)
			case q.State == "CG":
				w.completing[t.array] = true
			}
		case !t.ours:
			t.array = nil
		default:
			if t.gone.IsZero() {
				t.gone = time.Now()
			}
			gone = append(gone, t)
		}
	}
	return gone
}

// noteQueued tells that a task runs, or why it does not.
func (w *slurmWork) noteQueued(t *slurmTask, q queuedTasks) {
	switch {
	case q.State != "PD":
		if !t.running {
			t.running = true
			w.report(Report{t.job, Started, fmt.Sprintf("%s on %s", t.id(), q.Node)})
		}
	case t.running: // Slurm itself has put it back, as it does when a node fails
		t.running = false
		w.report(Report{t.job, Repeated, t.id() + " is queued again by Slurm: " + q.Reason})
	case !usualReasons[q.Reason]:
		w.tell(fmt.Sprintf("slurm: tasks of %s wait: %s", t.array.ID, q.Reason))
	}
}

// usualReasons are those of a task whose turn will come.
var usualReasons = map[string]bool{"": true, "None": true, "Priority": true, "Resources": true, "JobArrayTaskLimit": true, "BeginTime": true, "Dependency": true}

// judge decides what becomes of tasks that have left the queue: done, to be submitted again, or failed; or it puts
// that off to a later round.
func (w *slurmWork) judge(ctx context.Context, gone []*slurmTask) {
	var open []*slurmTask // without a result
	for _, t := range gone {
		if t.job.Finished() {
			w.report(Report{t.job, Done, ""})
			w.drop(t)
			continue
		}
		open = append(open, t)
	}
	if len(open) == 0 {
		return
	}
	ends := w.ends(ctx, open)
	if ctx.Err() != nil {
		return
	}
	withdrawn := w.withdrawn(open, ends)
	for _, t := range open {
		end := ends[t.id()]
		switch {
		case (end.unclear() || end.State == "COMPLETED") && time.Since(t.gone) < w.Grace:
			continue // a result may be there that cannot be seen here yet
		case end.State == "CANCELLED" && w.completing[t.array]:
			continue // whether all of the array is cancelled will be seen
		}
		text := w.endText(t, end)
		if t.tries++; t.tries > w.Retries || end.hopeless() || withdrawn[t.array] {
			w.report(Report{t.job, Failed, text})
			w.faults = append(w.faults, fmt.Errorf("%s: %s", t.job.Run, text))
			w.drop(t)
			continue
		}
		w.report(Report{t.job, Repeated, text})
		*t = slurmTask{job: t.job, tries: t.tries}
	}
}

// drop forgets a task that is done or has failed.
func (w *slurmWork) drop(t *slurmTask) {
	for i, other := range w.tasks {
		if other == t {
			w.tasks = append(w.tasks[:i:i], w.tasks[i+1:]...)
			return
		}
	}
}

// withdrawn are the arrays that someone cancelled as a whole: that is meant, where the end of a single task is
// made good.
func (w *slurmWork) withdrawn(gone []*slurmTask, ends map[string]slurmEnd) map[*slurmArray]bool {
	cancelled, all := map[*slurmArray]int{}, map[*slurmArray]int{}
	for _, t := range gone {
		if ends[t.id()].State == "CANCELLED" {
			cancelled[t.array]++
		}
	}
	for _, t := range w.tasks {
		all[t.array]++
	}
	whole := map[*slurmArray]bool{}
	for a, n := range cancelled {
		whole[a] = n > 1 && n == all[a]
	}
	return whole
}

// endText says how a task ended, and where to read more.
func (w *slurmWork) endText(t *slurmTask, end slurmEnd) string {
	var text string
	switch {
	case end.unclear():
		text = "it left the queue without a result, and Slurm does not say how"
	case end.State == "COMPLETED":
		text = fmt.Sprintf("it ended without %s; is that on a file system that the nodes share?", filepath.Join(t.job.Dir, resultFile))
	case end.State == "OUT_OF_MEMORY":
		text = "it ran out of memory; ask sbatch for more with --mem"
	case end.State == "FAILED":
		text = end.exitText()
		if log, err := os.Open(t.job.Log); err == nil {
			text += ": " + lastLine(log, 0, "it said nothing")
			log.Close()
		}
	default:
		text = "Slurm ended it: " + end.State
	}
	return fmt.Sprintf("%s (task %s; logs: %s, %s)", text, t.id(), t.job.Log, w.path(t.id()+".out"))
}

// bear turns what went wrong in a round into nil where it may pass: for a while, a silent Slurm is waited for.
func (w *slurmWork) bear(ctx context.Context, err error) error {
	var silence *slurmSilence
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		if !w.silent.IsZero() {
			w.Notice("slurm: it answers again")
			w.silent = time.Time{}
		}
		return nil
	case !errors.As(err, &silence):
		return err
	case w.silent.IsZero():
		w.silent = time.Now()
		w.Notice(fmt.Sprintf("slurm: no answer, asking again every %s: %v", w.Poll, err))
	case time.Since(w.silent) >= w.Patience:
		return fmt.Errorf("no answer for %s: %w", time.Since(w.silent).Round(time.Second), err)
	}
	return nil
}

// leave is err and, where jobs are in the queue, what becomes of them.
func (w *slurmWork) leave(err error) error {
	queued := 0
	for _, t := range w.tasks {
		if t.array != nil {
			queued++
		}
	}
	if queued == 0 {
		return fmt.Errorf("slurm: %w", err)
	}
	var which []string
	for _, a := range w.record.Arrays {
		if a.ID == "" {
			which = append(which, "--name="+a.Name)
		} else {
			which = append(which, a.ID)
		}
	}
	return fmt.Errorf("%w: %d of them; `deeplora compare --resume` with the same --out waits for them again, `scancel %s` ends them: %w",
		ErrGoesOn, queued, strings.Join(which, " "), err)
}

// tell gives a line to the user, once.
func (w *slurmWork) tell(line string) {
	if !w.told[line] {
		w.told[line] = true
		w.Notice(line)
	}
}
