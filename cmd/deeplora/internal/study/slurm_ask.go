package study

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// slurmCall runs one of Slurm's programs and returns what it prints. An error holds what it said, and is a
// slurmSilence unless it is a clear no.
type slurmCall func(ctx context.Context, program string, args ...string) (string, error)

// slurmSilence is that Slurm gives no answer, or none that can be read; it may in a while.
type slurmSilence struct{ text string }

func (s *slurmSilence) Error() string { return s.text }

func silence(format string, args ...any) error { return &slurmSilence{fmt.Sprintf(format, args...)} }

// findSlurm says what to do where there is no Slurm.
func findSlurm() error {
	for _, program := range []string{"sbatch", "squeue", "scontrol"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not on the PATH; call compare on a machine that jobs are submitted from (load the cluster's slurm module), or use --executor local", program)
		}
	}
	return nil
}

// callSlurm is slurmCall for the programs on the PATH.
func callSlurm(ctx context.Context, program string, args ...string) (string, error) {
	const limit = 2 * time.Minute // Slurm's own is 10 s a try, and it tries several times
	if program == "sbatch" {      // a submission whose answer is lost would have to be looked for
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's interrupt is not for them
	cmd.Env = slices.DeleteFunc(os.Environ(), changesAnswers)
	err := cmd.Run()
	if err == nil {
		return out.String(), nil
	}
	said := strings.Join(strings.Fields(errOut.String()), " ")
	if ctx.Err() != nil {
		return "", silence("%s: %v: %s", program, context.Cause(ctx), said)
	}
	if exit := (*exec.ExitError)(nil); program == "sbatch" && errors.As(err, &exit) && exit.Exited() && !passes(said) {
		return "", fmt.Errorf("%s: %w: %s", program, err, said)
	}
	return "", silence("%s: %v: %s", program, err, said)
}

// changesAnswers reports whether a variable of the environment changes what Slurm's programs print.
func changesAnswers(variable string) bool {
	for _, prefix := range []string{"SQUEUE_", "SACCT_", "SBATCH_WAIT=", "SLURM_TIME_FORMAT=", "SLURM_CLUSTERS="} {
		if strings.HasPrefix(variable, prefix) {
			return true
		}
	}
	return false
}

// passes reports whether sbatch failed of something that may be over in a while.
func passes(said string) bool {
	for _, sign := range []string{
		"Unable to contact slurm controller", "Socket timed out", "temporarily unable", "Connection refused", "Connection timed out",
		"Resource temporarily unavailable", "Zero Bytes were transmitted", "Transport endpoint", "Communication connection failure",
		"Slurm backup controller in standby mode", "Protocol authentication error", "Unexpected message received",
	} {
		if strings.Contains(strings.ToLower(said), strings.ToLower(sign)) {
			return true
		}
	}
	return false
}

// parseSubmitted reads the array's number from what `sbatch --parsable` prints: the last line, perhaps with the
// cluster's name behind a semicolon.
func parseSubmitted(answer string) (string, error) {
	lines := strings.Split(strings.TrimSpace(answer), "\n")
	id, _, _ := strings.Cut(strings.TrimSpace(lines[len(lines)-1]), ";")
	if _, err := strconv.ParseUint(id, 10, 32); err != nil {
		return "", silence("sbatch: its answer %.80q ends with no job number", answer)
	}
	return id, nil
}

// slurmQueue is what is queued or running: number of the array -> its lines.
type slurmQueue map[string][]queuedTasks

// queuedTasks is a line of squeue: a task, or several that wait.
type queuedTasks struct {
	Array  string
	Tasks  []indexRange
	Name   string
	State  string // two letters: PD pending, R running, CG completing, …
	Node   string
	Reason string
}

// indexRange is First, First + Step, … up to Last.
type indexRange struct{ First, Last, Step int }

func (r indexRange) has(i int) bool { return r.First <= i && i <= r.Last && (i-r.First)%r.Step == 0 }

// find is the line of a task.
func (q slurmQueue) find(array string, task int) (queuedTasks, bool) {
	for _, line := range q[array] {
		if slices.ContainsFunc(line.Tasks, func(r indexRange) bool { return r.has(task) }) {
			return line, true
		}
	}
	return queuedTasks{}, false
}

// queue asks for what is there of the recorded arrays, and learns the numbers of those that have none yet. It asks
// by name: of numbers, squeue takes one that it no longer knows as an error.
func (w *slurmWork) queue(ctx context.Context) (slurmQueue, error) {
	named := map[string]*slurmArray{}
	var names []string
	for _, a := range w.record.Arrays {
		named[a.Name] = a
		names = append(names, a.Name)
	}
	answer, err := w.call(ctx, "squeue", "--noheader", "--array", "--user="+strconv.Itoa(os.Getuid()),
		"--name="+strings.Join(names, ","), "--format=%i|%j|%t|%N|%r")
	if err != nil {
		return nil, err
	}
	lines, err := parseQueue(answer)
	if err != nil {
		return nil, err
	}
	queue := slurmQueue{}
	learned := false
	for _, line := range lines {
		a := named[line.Name]
		if a == nil || endedStates[line.State] {
			continue
		}
		if a.ID == "" {
			a.ID, learned = line.Array, true
		}
		queue[line.Array] = append(queue[line.Array], line)
	}
	if learned {
		return queue, w.save()
	}
	return queue, nil
}

// endedStates are squeue's words for what is over; it shows them only where a site has it so.
var endedStates = map[string]bool{"BF": true, "CA": true, "CD": true, "DL": true, "F": true, "NF": true, "OOM": true, "PR": true, "RV": true, "TO": true}

// parseQueue reads what squeue prints for queue's format. A line that is not of it is an error: a task that is
// overlooked would be submitted a second time.
func parseQueue(answer string) ([]queuedTasks, error) {
	var lines []queuedTasks
	for _, text := range strings.Split(answer, "\n") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		fields := strings.SplitN(text, "|", 5)
		if len(fields) != 5 {
			return nil, silence("squeue: line %.80q is not in the format asked for", text)
		}
		for i := range fields {
			fields[i] = strings.TrimSpace(fields[i])
		}
		array, tasks, err := parseTasks(fields[0])
		if err != nil {
			return nil, silence("squeue: line %.80q: %v", text, err)
		}
		lines = append(lines, queuedTasks{array, tasks, fields[1], fields[2], fields[3], fields[4]})
	}
	return lines, nil
}

// parseTasks reads Slurm's name of tasks: 12_3, or 12_[0,3-5,8-12:2%4], where 4 is how many may run at once.
func parseTasks(id string) (array string, tasks []indexRange, err error) {
	array, list, ok := strings.Cut(id, "_")
	if _, err := strconv.ParseUint(array, 10, 32); err != nil || !ok {
		return "", nil, fmt.Errorf("%q is not a task of an array", id)
	}
	if inner, ok := strings.CutPrefix(list, "["); ok {
		if list, ok = strings.CutSuffix(inner, "]"); !ok {
			return "", nil, fmt.Errorf("%q has no end", id)
		}
		list, _, _ = strings.Cut(list, "%")
	}
	for _, part := range strings.Split(list, ",") {
		r, err := parseRange(part)
		if err != nil {
			return "", nil, fmt.Errorf("%q: %w", id, err)
		}
		tasks = append(tasks, r)
	}
	return array, tasks, nil
}

// parseRange reads 3, 3-5 or 3-9:2.
func parseRange(text string) (indexRange, error) {
	text, step, stepped := strings.Cut(text, ":")
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	if !stepped {
		step = "1"
	}
	var r indexRange
	for i, field := range []string{first, last, step} {
		n, err := strconv.ParseUint(field, 10, 31)
		if err != nil {
			return r, fmt.Errorf("%q is not a range of tasks", text)
		}
		*[]*int{&r.First, &r.Last, &r.Step}[i] = int(n)
	}
	if r.Last < r.First || r.Step < 1 {
		return r, fmt.Errorf("%q is not a range of tasks", text)
	}
	return r, nil
}
