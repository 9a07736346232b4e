package study

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// cluster plays Slurm in the time of a synctest bubble: sbatch, squeue, sacct and scontrol answer as those of
// version 22.05 do.
type cluster struct {
	t     *testing.T
	dir   string
	fate  func(run string, try int) fate // of a run's nth task; nil: it is done after a minute
	tasks []*fakeTask
	calls []string // sbatch's, as they were given
	next  int

	config     string                                       // what `scontrol show config` prints
	accounting bool                                         // sacct knows things
	forgetful  bool                                         // scontrol does not know ended tasks
	fault      func(program string, args []string) error    // comes instead of an answer
	after      func(program, answer string) (string, error) // what becomes of an answer on its way
}

// fate is what becomes of a task.
type fate struct {
	state, exit string        // the end; empty: COMPLETED with a result
	lag         time.Duration // that the result takes to be seen
}

type fakeTask struct {
	id, name, run string
	begin, end    time.Time
	fate          fate
}

const (
	fakeWait = 15 * time.Second // in the queue
	fakeTime = time.Minute      // of running
)

func (c *cluster) job(run string) Job {
	dir := filepath.Join(c.dir, "runs", run)
	return Job{Run: Run{Key: run, Arm: run}, Dir: dir, Log: filepath.Join(c.dir, "logs", run+".log"), Args: []string{"train", "--out", dir}}
}

func (c *cluster) jobs(n int) []Job {
	var jobs []Job
	for i := range n {
		jobs = append(jobs, c.job(fmt.Sprintf("run%d", i)))
	}
	return jobs
}

func (c *cluster) call(_ context.Context, program string, args ...string) (string, error) {
	c.settle()
	if c.fault != nil {
		if err := c.fault(program, args); err != nil {
			return "", err
		}
	}
	var answer string
	var err error
	switch program {
	case "sbatch":
		answer = c.sbatch(args)
	case "squeue":
		answer = c.squeue(args)
	case "sacct":
		answer, err = c.sacct(args)
	case "scontrol":
		answer, err = c.scontrol(args)
	default:
		c.t.Errorf("call of %s %v", program, args)
	}
	if err == nil && c.after != nil {
		answer, err = c.after(program, answer)
	}
	return answer, err
}

// settle writes the results that can be seen by now.
func (c *cluster) settle() {
	for _, task := range c.tasks {
		if task.fate.state == "COMPLETED" && !time.Now().Before(task.end.Add(task.fate.lag)) {
			dir := c.job(task.run).Dir
			if err := os.MkdirAll(dir, 0o755); err != nil {
				c.t.Error(err)
			}
			if err := os.WriteFile(filepath.Join(dir, resultFile), []byte("{}"), 0o644); err != nil {
				c.t.Error(err)
			}
		}
	}
}

func option(args []string, name string) string {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, name+"="); ok {
			return value
		}
	}
	return ""
}

func (c *cluster) sbatch(args []string) string {
	c.calls = append(c.calls, strings.Join(args, " "))
	name := option(args, "--job-name")
	var record slurmRecord
	if err := jsonfile.Read(filepath.Join(c.dir, "slurm", slurmRecordFile), &record); err != nil {
		c.t.Error(err)
	}
	at := slices.IndexFunc(record.Arrays, func(a *slurmArray) bool { return a.Name == name })
	if at < 0 {
		c.t.Errorf("%s was not recorded before", name)
		return ""
	}
	runs := record.Arrays[at].Runs
	if got, want := option(args, "--array"), fmt.Sprintf("0-%d", len(runs)-1); strings.Split(got, "%")[0] != want {
		c.t.Errorf("array %s of %d runs", got, len(runs))
	}
	c.next++
	for i, run := range runs {
		task := &fakeTask{id: fmt.Sprintf("%d_%d", c.next, i), name: name, run: run, begin: time.Now().Add(fakeWait)}
		task.end = task.begin.Add(fakeTime)
		if c.fate != nil {
			task.fate = c.fate(run, c.tries(run))
		}
		if task.fate.state == "" {
			task.fate.state, task.fate.exit = "COMPLETED", "0:0"
		}
		c.tasks = append(c.tasks, task)
	}
	return fmt.Sprintln(c.next)
}

// tries is how many tasks a run has had.
func (c *cluster) tries(run string) (n int) {
	for _, task := range c.tasks {
		if task.run == run {
			n++
		}
	}
	return n
}

func (c *cluster) squeue(args []string) string {
	names := strings.Split(option(args, "--name"), ",")
	var b strings.Builder
	for _, task := range c.tasks {
		if !slices.Contains(names, task.name) {
			continue
		}
		switch now := time.Now(); {
		case now.Before(task.begin):
			fmt.Fprintf(&b, "%s|%s|PD||Priority\n", task.id, task.name)
		case now.Before(task.end):
			fmt.Fprintf(&b, "%s|%s|R|node7|None\n", task.id, task.name)
		}
	}
	return b.String()
}

func (c *cluster) sacct(args []string) (string, error) {
	if !c.accounting {
		return "", silence("sacct: exit status 1: Slurm accounting storage is disabled")
	}
	var b strings.Builder
	for _, task := range c.ended(strings.Split(option(args, "--jobs"), ",")) {
		state := task.fate.state
		if state == "CANCELLED" {
			state = "CANCELLED by 1000"
		}
		fmt.Fprintf(&b, "%s|%s|%s\n", task.id, state, task.fate.exit)
	}
	return b.String(), nil
}

func (c *cluster) ended(arrays []string) (tasks []*fakeTask) {
	for _, task := range c.tasks {
		array, _, _ := strings.Cut(task.id, "_")
		if slices.Contains(arrays, array) && !time.Now().Before(task.end) {
			tasks = append(tasks, task)
		}
	}
	return tasks
}

func (c *cluster) scontrol(args []string) (string, error) {
	if slices.Equal(args, []string{"show", "config"}) {
		return c.config, nil
	}
	if c.forgetful {
		return "", silence("scontrol: exit status 1: slurm_load_jobs error: Invalid job id specified")
	}
	var b strings.Builder
	for _, task := range c.ended(args[len(args)-1:]) {
		array, index, _ := strings.Cut(task.id, "_")
		fmt.Fprintf(&b, "JobId=99 ArrayJobId=%s ArrayTaskId=%s JobName=%s JobState=%s Reason=None ExitCode=%s Command=/a JobState=X\n",
			array, index, task.name, task.fate.state, task.fate.exit)
	}
	return b.String(), nil
}

// executor is one on the cluster; notices go to *lines.
func (c *cluster) executor(lines *[]string) *Slurm {
	return &Slurm{
		Program: "/bin/deeplora", Dir: c.dir, Retries: 2, call: c.call,
		Notice: func(line string) { *lines = append(*lines, line) },
	}
}

// onCluster runs a test with a cluster, in a bubble of its own.
func onCluster(t *testing.T, test func(t *testing.T, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, &cluster{t: t, dir: t.TempDir(), config: "MaxArraySize            = 1001\nSchedulerParameters     = (null)\n"})
	})
}

// told collects reports: "run0 started", …; done, repeated and failed are also counted.
type told struct {
	lines []string
	count map[State]int
	text  []string // of what was repeated or failed
}

func (r *told) report(x Report) {
	if r.count == nil {
		r.count = map[State]int{}
	}
	r.count[x.State]++
	r.lines = append(r.lines, fmt.Sprintf("%s %s", x.Job.Run.Key, x.State))
	if x.State == Repeated || x.State == Failed {
		r.text = append(r.text, x.Text)
	}
}

var errRefused = errors.New("sbatch: exit status 1: sbatch: error: invalid partition specified: x")
