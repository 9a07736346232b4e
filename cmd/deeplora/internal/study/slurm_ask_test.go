package study

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// onPath puts programs, shell scripts, on an otherwise empty PATH; the shell itself is found by its own.
func onPath(t *testing.T, programs map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\nPATH=/usr/bin:/bin\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

func TestSlurmIsAbsent(t *testing.T) {
	for _, programs := range []map[string]string{{}, {"sbatch": ""}, {"sbatch": "", "squeue": ""}} {
		onPath(t, programs)
		s := Slurm{Program: "/bin/deeplora", Dir: t.TempDir()}
		err := s.Run(t.Context(), nil, nil)
		const want = "is not on the PATH; call compare on a machine that jobs are submitted from (load the cluster's slurm module), or use --executor local"
		if err == nil || !strings.HasPrefix(err.Error(), "slurm: s") || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("with %v: %v", programs, err)
		}
	}
}

func TestCallSlurm(t *testing.T) {
	t.Setenv("SQUEUE_FORMAT", "%A")
	t.Setenv("SBATCH_ACCOUNT", "mine")
	for _, tc := range []struct {
		name, program, script string
		answer, err           string
		silent                bool
	}{
		{"answer", "squeue", `echo "$# $2 a:$SQUEUE_FORMAT b:$SBATCH_ACCOUNT"`, "2 x y a: b:mine\n", "", false},
		{"refused", "sbatch", `echo "sbatch: error: invalid partition" >&2; exit 1`, "", "sbatch: exit status 1: sbatch: error: invalid partition", false},
		{"no controller", "sbatch", `echo "Unable to contact slurm
			controller (connect failure)" >&2; exit 1`, "", "sbatch: exit status 1: Unable to contact slurm controller (connect failure)", true},
		{"killed", "sbatch", `kill -9 $$`, "", "sbatch: signal: killed: ", true},
		{"fails", "squeue", `echo partial; echo "slurm_load_jobs error" >&2; exit 1`, "", "squeue: exit status 1: slurm_load_jobs error", true},
		{"absent", "sacct", "", "", `sacct: exec: "sacct": executable file not found in $PATH: `, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			programs := map[string]string{}
			if tc.script != "" {
				programs[tc.program] = tc.script
			}
			onPath(t, programs)
			answer, err := callSlurm(t.Context(), tc.program, "--a", "x y")
			var silent *slurmSilence
			if answer != tc.answer || errors.As(err, &silent) != tc.silent || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
				t.Errorf("answer %q, error %v", answer, err)
			}
		})
	}
}

// A question is given up with its context, a submission is not.
func TestCallSlurmCancelled(t *testing.T) {
	onPath(t, map[string]string{"squeue": "exec sleep 60", "sbatch": "sleep 0.2; echo 7"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := callSlurm(ctx, "squeue"); err == nil || time.Since(begin) > 30*time.Second {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
	if answer, err := callSlurm(ctx, "sbatch"); answer != "7\n" || err != nil {
		t.Errorf("answer %q, error %v", answer, err)
	}
}

// fakeSbatch makes an array's tasks at once, as a cluster's nodes do: the script with the task's number.
const fakeSbatch = `
for last; do case $last in --array=*) array=${last#--array=0-} ;; --output=*) out=${last#--output=} ;; esac; done
for i in $(seq 0 "$array"); do
	cd / && SLURM_ARRAY_TASK_ID=$i sh "$last" >>"$(printf %s "$out" | sed "s/%A_%a/7_$i/; s/%%/%/g")" 2>&1
done
echo "7;cluster"
`

// fakeProgram takes note of its arguments, and leaves a result if the one before the last says so.
const fakeProgram = `#!/bin/sh
for arg; do printf '%s\0' "$arg"; done >>"$DEEPLORA_TEST_ARGS"
pwd >>"$DEEPLORA_TEST_ARGS.pwd"
echo "says something" >&2
for out; do case $out in --out=*) dir=${out#--out=} ;; esac; done
mkdir -p "$dir" && echo '{}' >"$dir/result.json"
`

func TestSlurmScriptRunsTheProgram(t *testing.T) {
	onPath(t, map[string]string{"sbatch": fakeSbatch, "squeue": "", "scontrol": "exit 1", "sacct": `echo "Slurm accounting storage is disabled" >&2; exit 1`})
	dir := filepath.Join(t.TempDir(), "a study's $HOME %j")
	program := filepath.Join(t.TempDir(), "deep lora")
	if err := os.WriteFile(program, []byte(fakeProgram), 0o755); err != nil {
		t.Fatal(err)
	}
	noted := filepath.Join(t.TempDir(), "args")
	t.Setenv("DEEPLORA_TEST_ARGS", noted)
	odd := []string{"", " ", "'", `"`, `\`, "$HOME", "`pwd`", "a\nb", "ü\tß", "*", "-n", "--out=", ";;", "esac", "\r"}
	c := &cluster{t: t, dir: dir}
	jobs := c.jobs(2)
	for i := range jobs {
		jobs[i].Args = append(odd, "--out="+jobs[i].Dir)
	}
	writeLog(t, jobs[0].Log, "before\n")
	s := Slurm{Program: program, Machine: []string{"--threads", "2"}, Dir: dir, ArraySize: 2, Poll: time.Millisecond, Grace: time.Millisecond}
	var got told
	if err := s.Run(t.Context(), jobs, got.report); err != nil || got.count[Done] != 2 {
		t.Fatalf("reported %q: %v", got.lines, err)
	}
	var want string
	for _, job := range jobs {
		want += strings.Join(append(job.Args, "--threads", "2", ""), "\x00")
	}
	if text, err := os.ReadFile(noted); err != nil || string(text) != want {
		t.Errorf("arguments %q, want %q (%v)", text, want, err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{noted + ".pwd": here + "\n" + here + "\n", jobs[0].Log: "before\nsays something\n", jobs[1].Log: "says something\n"} {
		if text, err := os.ReadFile(path); err != nil || string(text) != want {
			t.Errorf("%s holds %q, want %q (%v)", path, text, want, err)
		}
	}
}

// What can be wrong on a node is said, and is not exit code 2, which would end the job for good.
func TestSlurmScriptFaults(t *testing.T) {
	c := &cluster{t: t, dir: t.TempDir()}
	script := func(t *testing.T, change func(w *slurmWork, job *Job)) string {
		job := c.job("run0")
		w := &slurmWork{Slurm: Slurm{Program: "/bin/false", Dir: c.dir}}
		if err := os.MkdirAll(w.path(""), 0o755); err != nil {
			t.Fatal(err)
		}
		path, err := w.writeScript("x", []*slurmTask{{job: &job}})
		if err != nil {
			t.Fatal(err)
		}
		change(w, &job)
		return path
	}
	for _, tc := range []struct {
		name, task, says string
		change           func(w *slurmWork, job *Job)
	}{
		{"fails", "0", "exit status 1: ", func(*slurmWork, *Job) {}},
		{"no list", "0", "does not see", func(w *slurmWork, _ *Job) { os.Remove(w.path("x.list")) }},
		{"no such task", "5", "no task 5 in this list", func(*slurmWork, *Job) {}},
		{"no log", "0", "exit status 1: ", func(_ *slurmWork, job *Job) { os.RemoveAll(filepath.Dir(job.Log)) }},
		{"done already", "0", "", func(_ *slurmWork, job *Job) { writeLog(t, filepath.Join(job.Dir, resultFile), "{}") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := script(t, tc.change)
			onPath(t, map[string]string{"squeue": `SLURM_ARRAY_TASK_ID=` + tc.task + ` exec sh "$1"`})
			_, err := callSlurm(t.Context(), "squeue", path)
			switch {
			case tc.says == "" && err != nil:
				t.Error(err)
			case tc.says != "" && (err == nil || !strings.Contains(err.Error(), "exit status 1: ") || !strings.Contains(err.Error(), tc.says)):
				t.Errorf("error %v, want %q", err, tc.says)
			}
		})
	}
}

func TestParseQueue(t *testing.T) {
	answer := "12_[0,3-5,8-12:2%4]|deeplora-a-1|PD||Priority\n\n 12_1 | deeplora-a-1|R |node[1-2]|None\n13_7|deeplora-a-2|CG|n|a|b\n"
	lines, err := parseQueue(answer)
	want := []queuedTasks{
		{"12", []indexRange{{0, 0, 1}, {3, 5, 1}, {8, 12, 2}}, "deeplora-a-1", "PD", "", "Priority"},
		{"12", []indexRange{{1, 1, 1}}, "deeplora-a-1", "R", "node[1-2]", "None"},
		{"13", []indexRange{{7, 7, 1}}, "deeplora-a-2", "CG", "n", "a|b"},
	}
	if err != nil || !reflect.DeepEqual(lines, want) {
		t.Errorf("%+v, want %+v (%v)", lines, want, err)
	}
	queue := slurmQueue{"12": lines[:2]}
	for task, state := range map[int]string{0: "PD", 1: "R", 2: "", 4: "PD", 6: "", 8: "PD", 9: "", 10: "PD", 12: "PD", 14: ""} {
		if got, there := queue.find("12", task); got.State != state || there != (state != "") {
			t.Errorf("task %d is in state %q, want %q", task, got.State, state)
		}
	}
	for _, answer := range []string{
		"12|a|R|n|None", "x_1|a|R|n|None", "12_1|a|R|n", "12_|a|R|n|", "12_[|a|R|n|", "12_[1-|a|R|n|", "12_[3-1]|a|R|n|", "12_[1-3:0]|a|R|n|",
		"12_[1,3,...]|a|PD||", "12_-1|a|R|n|", "12_1-2-3|a|R|n|", "12_4294967296|a|R|n|", "banner", "slurm_load_jobs error: Unable to contact",
	} {
		if lines, err := parseQueue(answer); err == nil {
			t.Errorf("%q was read as %+v", answer, lines)
		}
	}
}

func TestParseSubmitted(t *testing.T) {
	for answer, want := range map[string]string{"12\n": "12", "12;cluster\n": "12", "welcome\n 12 \n": "12", "": "", "Submitted batch job 12\n": "", "-1": ""} {
		if id, err := parseSubmitted(answer); id != want || (err == nil) != (want != "") {
			t.Errorf("%q gives %q (%v)", answer, id, err)
		}
	}
}

func TestParseEnds(t *testing.T) {
	ends := map[string]slurmEnd{}
	parseAccounts("12_0|COMPLETED|0:0\n12_1|CANCELLED by 1000|0:15\n12_[2-5]|PENDING|0:0\nsacct: error|\n\n", ends)
	parseJobs("JobId=14 ArrayJobId=13 ArrayTaskId=0 JobName=x JobState=TIMEOUT Reason=TimeLimit ExitCode=0:15 Command=/a b JobState=RUNNING\nslurm error\n", ends)
	want := map[string]slurmEnd{"12_0": {"COMPLETED", "0:0"}, "12_1": {"CANCELLED", "0:15"}, "12_[2-5]": {"PENDING", "0:0"}, "13_0": {"TIMEOUT", "0:15"}}
	if !reflect.DeepEqual(ends, want) {
		t.Errorf("%v, want %v", ends, want)
	}
}

// Whatever Slurm's programs print, it is read or refused; what is read names tasks that can be found again.
func FuzzSqueue(f *testing.F) {
	for _, answer := range []string{"12_[0,3-5,8-12:2%4]|n|PD||Priority\n12_1|n|R|a|None\n", "1_1|||||", "12_[1,3,...]|n|PD||", "9_0-2147483647|a|R|b|c", "12_3|FAILED|1:0\n", "ArrayJobId=1 ArrayTaskId=2 JobState=FAILED ExitCode=1:0\n"} {
		f.Add(answer)
	}
	f.Fuzz(func(t *testing.T, answer string) {
		lines, err := parseQueue(answer)
		for _, line := range lines {
			queue := slurmQueue{line.Array: {line}}
			for _, r := range line.Tasks {
				if _, ok := queue.find(line.Array, r.First); !ok || r.Step < 1 || err != nil {
					t.Fatalf("%q: task %d of %+v is not found (%v)", answer, r.First, line, err)
				}
			}
		}
		ends := map[string]slurmEnd{}
		parseAccounts(answer, ends)
		parseJobs(answer, ends)
		parseSubmitted(answer)
		arrayLimit(answer)
	})
}
