package study

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
)

// submit puts the tasks that are in no array into new ones.
func (w *slurmWork) submit(ctx context.Context) error {
	var waiting []*slurmTask
	queued := 0
	for _, t := range slices.Clone(w.tasks) {
		switch {
		case t.array != nil:
			queued++
		case t.job.Finished(): // a result that was long in coming
			w.report(Report{t.job, Done, ""})
			w.drop(t)
		default:
			waiting = append(waiting, t)
		}
	}
	if len(waiting) == 0 || queued > 0 && queued == w.refused { // nothing has changed since
		return nil
	}
	w.refused = 0
	size, err := w.arraySize(ctx)
	if err != nil {
		return err
	}
	for len(waiting) > 0 {
		n := min(size, len(waiting))
		refused, err := w.submitArray(ctx, waiting[:n])
		switch {
		case err == nil:
			waiting, queued = waiting[n:], queued+n
		case refused && queued > 0:
			w.refused = queued
			w.tell(fmt.Sprintf("slurm: %d jobs wait until others are done: %v", len(waiting), err))
			return nil
		case refused && n > 1 && strings.Contains(err.Error(), "SubmitJob"): // a bound on the jobs of a user
			size = n / 2
		default:
			return err
		}
	}
	return nil
}

// arraySize is how many tasks an array may have.
func (w *slurmWork) arraySize(ctx context.Context) (int, error) {
	if w.ArraySize > 0 {
		return w.ArraySize, nil
	}
	config, err := w.call(ctx, "scontrol", "show", "config")
	if err != nil {
		return 0, err
	}
	w.ArraySize = arrayLimit(config)
	return w.ArraySize, nil
}

var arrayLimits = []*regexp.Regexp{
	regexp.MustCompile(`(?m)^MaxArraySize\s*=\s*(\d+)\s*$`), // indices are below it
	regexp.MustCompile(`(?m)^SchedulerParameters\s*=.*\bmax_array_tasks=(\d+)`),
}

// arrayLimit reads the limit from what `scontrol show config` prints.
func arrayLimit(config string) int {
	limit := 1001 // Slurm's default
	for i, pattern := range arrayLimits {
		if found := pattern.FindStringSubmatch(config); found != nil {
			if n, err := strconv.Atoi(found[1]); err == nil && (i == 0 || n < limit) {
				limit = n
			}
		}
	}
	return max(1, limit)
}

// submitArray submits tasks as one array. The record is on disk before: if this process or the answer is lost in
// between, the next round finds the array by its name, or submits again. refused says that sbatch said no.
func (w *slurmWork) submitArray(ctx context.Context, tasks []*slurmTask) (refused bool, err error) {
	a := &slurmArray{Name: fmt.Sprintf("deeplora-%.4x-%d", sha256.Sum256([]byte(w.Dir)), w.record.Next)}
	for _, t := range tasks {
		a.Runs = append(a.Runs, t.job.Run.Key)
	}
	script, err := w.writeScript(a.Name, tasks)
	if err != nil {
		return false, err
	}
	w.record.Next++
	w.record.Arrays = append(w.record.Arrays, a)
	if err := w.save(); err != nil {
		return false, err
	}
	answer, err := w.call(ctx, "sbatch", w.sbatchArgs(a, script)...)
	if err == nil {
		a.ID, err = parseSubmitted(answer)
	}
	var silence *slurmSilence
	if err != nil && !errors.As(err, &silence) {
		w.record.Arrays = w.record.Arrays[:len(w.record.Arrays)-1]
		return true, errors.Join(err, w.save())
	}
	for i, t := range tasks {
		*t = slurmTask{job: t.job, tries: t.tries, array: a, index: i, ours: err == nil}
	}
	return false, errors.Join(err, w.save())
}

func (w *slurmWork) save() error { return jsonfile.Write(w.path(slurmRecordFile), w.record) }

// forget takes arrays out of the record of which neither a task nor a place in the queue is left.
func (w *slurmWork) forget(queue slurmQueue) error {
	inUse := map[*slurmArray]bool{}
	for _, t := range w.tasks {
		inUse[t.array] = true
	}
	before := len(w.record.Arrays)
	w.record.Arrays = slices.DeleteFunc(w.record.Arrays, func(a *slurmArray) bool { return !inUse[a] && len(queue[a.ID]) == 0 })
	if len(w.record.Arrays) == before {
		return nil
	}
	return w.save()
}

// sbatchArgs are what sbatch is called with: what a user may overrule, what the user says, and what has to be so.
func (w *slurmWork) sbatchArgs(a *slurmArray, script string) []string {
	// B: to the script alone, whose process is the program's by then. An interrupt makes a run save its state.
	args := []string{"--export=ALL", "--signal=B:INT@120"}
	if w.Cores > 0 {
		args = append(args, fmt.Sprintf("--cpus-per-task=%d", w.Cores))
	}
	args = append(args, w.Sbatch...)
	array := fmt.Sprintf("--array=0-%d", len(a.Runs)-1)
	if w.Parallel > 0 {
		array += fmt.Sprintf("%%%d", w.Parallel)
	}
	out := filepath.Join(strings.ReplaceAll(w.path(""), "%", "%%"), "%A_%a.out")
	return append(args, array, "--nodes=1", "--ntasks=1", "--job-name="+a.Name, "--output="+out, "--error="+out, "--open-mode=append", "--parsable", script)
}

// ownSbatch are arguments of sbatch that the executor gives itself, or that would keep it from knowing its jobs.
var ownSbatch = []string{
	"--array", "-a", "--job-name", "-J", "--chdir", "-D", "--output", "-o", "--error", "-e", "--open-mode",
	"--parsable", "--wait", "-W", "--wrap", "--test-only", "--clusters", "-M", "--ntasks", "-n", "--nodes", "-N",
}

// CheckSbatch refuses arguments of sbatch that are not the user's to give.
func CheckSbatch(args []string) error {
	for _, arg := range args {
		name, _, _ := strings.Cut(arg, "=")
		if !strings.HasPrefix(arg, "--") && len(arg) > 2 {
			name = arg[:2]
		}
		if slices.Contains(ownSbatch, name) {
			return fmt.Errorf("sbatch's %s is set by deeplora itself; leave %s out", name, arg)
		}
	}
	return nil
}

// taskScript runs one task. It becomes the program, so that Slurm's signals reach the program. The script
// itself never exits with 2: the program uses that code to say that a retry cannot help.
const taskScript = `#!/bin/sh
# Written by deeplora compare. Task SLURM_ARRAY_TASK_ID makes that run of the list beside this script.
list=%s
cd %s || exit 1
if ! [ -r "$list" ]; then
	echo "$(hostname) does not see $list: put the study on a file system that the nodes share" >&2
	exit 1
fi
. "$list"
if [ -e "$result" ]; then
	echo "already done: $result"
	exit 0
fi
if ! true 2>>"$log"; then
	exit 1
fi
exec "$@" 2>>"$log"
`

// writeScript writes the script and the list of an array's tasks, and returns the script's path.
func (w *slurmWork) writeScript(name string, tasks []*slurmTask) (string, error) {
	here, err := os.Getwd() // where the program's relative paths lead from
	if err != nil {
		return "", err
	}
	list, script := w.path(name+".list"), w.path(name+".sh")
	var b strings.Builder
	b.WriteString("case $SLURM_ARRAY_TASK_ID in\n")
	for i, t := range tasks {
		if err := os.MkdirAll(filepath.Dir(t.job.Log), 0o755); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%d) result=%s log=%s\n", i, quoteShell(filepath.Join(t.job.Dir, resultFile)), quoteShell(t.job.Log))
		b.WriteString("set --")
		for _, arg := range slices.Concat([]string{w.Program}, t.job.Args, w.Machine) {
			b.WriteString(" " + quoteShell(arg))
		}
		b.WriteString(" ;;\n")
	}
	b.WriteString("*) echo \"no task $SLURM_ARRAY_TASK_ID in this list\" >&2; exit 1 ;;\nesac\n")
	if err := atomicfile.WriteBytes(list, []byte(b.String())); err != nil {
		return "", err
	}
	return script, atomicfile.WriteBytes(script, fmt.Appendf(nil, taskScript, quoteShell(list), quoteShell(here)))
}

// quoteShell is s as one word of a POSIX shell, whatever it holds.
func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
