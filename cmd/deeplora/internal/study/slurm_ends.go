package study

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// slurmEnd is how a task ended, as far as Slurm says.
type slurmEnd struct {
	State string // one word: COMPLETED, FAILED, TIMEOUT, …; empty: not known
	Exit  string // exit code and signal, "1:0"
}

// unclear reports whether Slurm does not say that the task is over: accounts lag behind the queue.
func (e slurmEnd) unclear() bool {
	switch e.State {
	case "", "PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED":
		return true
	}
	return false
}

// hopeless reports whether the task would end the same way again: for want of memory, or of wrong settings (which
// the program's exit code 2 means).
func (e slurmEnd) hopeless() bool {
	return e.State == "OUT_OF_MEMORY" || e.State == "FAILED" && e.Exit == "2:0"
}

// exitText is what ended a process.
func (e slurmEnd) exitText() string {
	code, signal, _ := strings.Cut(e.Exit, ":")
	if signal != "" && signal != "0" {
		return "signal " + signal
	}
	return "exit code " + code
}

// ends asks how tasks ended: name of the task -> end. Slurm's accounting keeps that for long; on a cluster without it,
// or if it does not answer, the controller knows it for a few minutes. Tasks of which neither knows are absent.
func (w *slurmWork) ends(ctx context.Context, tasks []*slurmTask) map[string]slurmEnd {
	var arrays []string
	for _, t := range tasks {
		if !slices.Contains(arrays, t.array.ID) {
			arrays = append(arrays, t.array.ID)
		}
	}
	ends := map[string]slurmEnd{}
	if !w.noAccounting {
		answer, err := w.call(ctx, "sacct", "--jobs="+strings.Join(arrays, ","), "--noheader", "--allocations", "--parsable2", "--format=JobID,State,ExitCode")
		if err != nil && strings.Contains(err.Error(), "disabled") {
			w.noAccounting = true
		}
		parseAccounts(answer, ends)
	}
	for _, array := range arrays {
		if !slices.ContainsFunc(tasks, func(t *slurmTask) bool { return t.array.ID == array && ends[t.id()].unclear() }) {
			continue
		}
		// An error is that the controller has forgotten the array.
		if answer, err := w.call(ctx, "scontrol", "--oneliner", "show", "job", array); err == nil {
			parseJobs(answer, ends)
		}
	}
	return ends
}

// parseAccounts reads sacct's lines, "12_3|CANCELLED by 1000|0:9". What is not understood is left out.
func parseAccounts(answer string, ends map[string]slurmEnd) {
	for _, line := range strings.Split(answer, "\n") {
		fields := strings.Split(strings.TrimSpace(line), "|")
		if len(fields) != 3 {
			continue
		}
		state, _, _ := strings.Cut(fields[1], " ")
		ends[fields[0]] = slurmEnd{state, fields[2]}
	}
}

// parseJobs reads the lines of `scontrol --oneliner show job`: NAME=VALUE, where the names that count come before
// the first value that may have a blank in it.
func parseJobs(answer string, ends map[string]slurmEnd) {
	for _, line := range strings.Split(answer, "\n") {
		values := map[string]string{}
		for _, field := range strings.Fields(line) {
			name, value, _ := strings.Cut(field, "=")
			if _, double := values[name]; !double {
				values[name] = value
			}
		}
		id := fmt.Sprintf("%s_%s", values["ArrayJobId"], values["ArrayTaskId"])
		end := slurmEnd{values["JobState"], values["ExitCode"]}
		if end.State != "" {
			ends[id] = end
		}
	}
}
