package study

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/deeplora/deeplora/internal/rundir"
)

// Local makes jobs as processes on this machine, several at once: cores, memory and GPUs are shared out.
type Local struct {
	Program string   // deeplora
	Machine []string // arguments that say where to compute, but for the threads
	Jobs    int      // at once, at most; at least 1
	Cores   int      // shared out evenly
	Memory  int64    // bytes that all may take together; 0: not bounded
	Need    int64    // bytes that a job is expected to take, until one has shown it
	GPUs    []string // as CUDA_VISIBLE_DEVICES has them, shared out; none: no GPU
	PerJob  int      // GPUs of a job; 0: one
}

var _ Executor = (*Local)(nil)

// ErrStopped is wrapped by the error of a Local executor that was cancelled: its jobs have saved what they have.
var ErrStopped = errors.New("the study has stopped")

// retries is how often a process that a signal killed (the kernel, where memory ran out) is started again.
const retries = 1

// Run makes the jobs in their order. A second job starts only where its memory is expected to fit.
func (l *Local) Run(ctx context.Context, jobs []Job, report func(Report)) error {
	w := &localWork{Local: l, queue: pointers(jobs), report: report, slots: l.slots(), need: l.Need}
	w.changed = sync.NewCond(&w.mu)
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})()
	var workers sync.WaitGroup
	for i := range w.slots {
		workers.Go(func() { w.work(ctx, w.slots[i]) })
	}
	workers.Wait()
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrStopped, ctx.Err())
	}
	return firstFaults(w.faults)
}

// slot is a place for one job at a time.
type slot struct {
	threads int
	gpu     string
}

// slots shares the machine out: as many places as jobs at once, each with its part of the cores and, where there
// are GPUs, its own of them.
func (l *Local) slots() []slot {
	n, each := max(1, l.Jobs), max(1, l.PerJob)
	if len(l.GPUs) > 0 {
		n = min(n, max(1, len(l.GPUs)/each))
	}
	slots := make([]slot, n)
	for i := range slots {
		slots[i].threads = max(1, l.Cores/n)
		if len(l.GPUs) > 0 {
			slots[i].gpu = strings.Join(l.GPUs[i*each:min((i+1)*each, len(l.GPUs))], ",")
		}
	}
	return slots
}

// localWork is what the workers of one Run share.
type localWork struct {
	*Local
	slots  []slot
	report func(Report)

	mu      sync.Mutex // of all below, and of report
	changed *sync.Cond // a job has ended
	queue   []*Job
	running int
	need    int64 // bytes that a job takes, as far as is known
	faults  []error
}

// work makes jobs in one slot until none are left.
func (w *localWork) work(ctx context.Context, s slot) {
	// A child is told to stop when the thread that made it ends (which a killed parent's does): so the thread
	// has to be this one until then.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		job := w.next(ctx)
		if job == nil {
			return
		}
		w.make(ctx, job, s)
	}
}

// next takes a job, once there is memory for it; nil when no more is to be done.
func (w *localWork) next(ctx context.Context) *Job {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		if ctx.Err() != nil || len(w.queue) == 0 {
			return nil
		}
		if fits := w.Memory == 0 || int64(w.running+1)*w.need <= w.Memory; fits || w.running == 0 {
			job := w.queue[0]
			w.queue = w.queue[1:]
			w.running++
			return job
		}
		w.changed.Wait()
	}
}

// make runs one job to its end, and once more if a signal killed it.
func (w *localWork) make(ctx context.Context, job *Job, s slot) {
	w.tell(Report{job, Started, fmt.Sprintf("on %d threads", s.threads)})
	var peak int64
	var err error
	for try := 0; ; try++ {
		var killed bool
		if peak, killed, err = w.start(ctx, job, s); !killed || try == retries || ctx.Err() != nil {
			break
		}
		w.tell(Report{job, Repeated, err.Error()})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	w.need = max(w.need, peak)
	w.changed.Broadcast()
	switch {
	case err == nil:
		w.report(Report{job, Done, ""})
	case ctx.Err() == nil:
		w.report(Report{job, Failed, err.Error()})
		w.faults = append(w.faults, fmt.Errorf("%s: %w", job.Run, err))
	}
}

func (w *localWork) tell(r Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report(r)
}

// start runs the job's process and waits for it. killed says that a signal ended it that did not come from here.
func (w *localWork) start(ctx context.Context, job *Job, s slot) (peak int64, killed bool, err error) {
	if err := w.untilFree(ctx, job); err != nil {
		return 0, false, err
	}
	if err := os.MkdirAll(filepath.Dir(job.Log), 0o755); err != nil {
		return 0, false, err
	}
	log, err := os.OpenFile(job.Log, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		return 0, false, err
	}
	defer log.Close()
	from, err := log.Seek(0, 2)
	if err != nil {
		return 0, false, err
	}
	args := append(append([]string(nil), job.Args...), w.Machine...)
	cmd := exec.CommandContext(ctx, w.Program, append(args, "--threads", fmt.Sprint(s.threads))...)
	cmd.Stderr = log
	cmd.SysProcAttr = childAttributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) } // it saves what it has, and ends
	if s.gpu != "" {
		cmd.Env = append(os.Environ(), "CUDA_VISIBLE_DEVICES="+s.gpu)
	}
	err = cmd.Run()
	peak = peakRSS(cmd.ProcessState)
	if err == nil && !job.Finished() {
		err = fmt.Errorf("it ended without %s", filepath.Join(job.Dir, resultFile))
	}
	if err == nil {
		return peak, false, nil
	}
	if state, ok := exitStatus(cmd.ProcessState); ok && state.Signaled() {
		return peak, true, fmt.Errorf("killed by signal %q; its log: %s", state.Signal(), job.Log)
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return peak, false, fmt.Errorf("%s (exit code %d; log: %s)", lastLine(log, from, "it said nothing"), exit.ExitCode(), job.Log)
	}
	return peak, false, err
}

// untilFree waits while another process holds the job's run: one of an earlier study whose process was killed, and
// that saves what it has.
func (w *localWork) untilFree(ctx context.Context, job *Job) error {
	for waited := time.Duration(0); rundir.Held(job.Dir) && waited < orphanPatience; waited += lookAgain {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookAgain):
		}
	}
	return nil // the job says what is wrong if it is held still
}

// How long a run that another process holds is waited for, and how often it is looked at.
const (
	orphanPatience = time.Minute
	lookAgain      = 100 * time.Millisecond
)

// exitStatus is how a process ended; false where that is not known.
func exitStatus(p *os.ProcessState) (syscall.WaitStatus, bool) {
	if p == nil {
		return 0, false
	}
	status, ok := p.Sys().(syscall.WaitStatus)
	return status, ok
}

// lastLine is the last line of a log after an offset.
func lastLine(log *os.File, from int64, otherwise string) string {
	info, err := log.Stat()
	if err != nil {
		return otherwise
	}
	const most = 4 << 10
	from = max(from, info.Size()-most)
	text := make([]byte, max(0, info.Size()-from))
	if _, err := log.ReadAt(text, from); err != nil {
		return otherwise
	}
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	if last := strings.TrimPrefix(string(lines[len(lines)-1]), "deeplora: "); last != "" {
		return last
	}
	return otherwise
}

func pointers(jobs []Job) []*Job {
	all := make([]*Job, len(jobs))
	for i := range jobs {
		all[i] = &jobs[i]
	}
	return all
}
