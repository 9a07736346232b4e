package study

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// needSlurm skips a test without a cluster.
func needSlurm(t *testing.T) {
	t.Helper()
	if os.Getenv("DEEPLORA_SLURM") != "1" {
		t.Skip(`needs a Slurm cluster: eval "$(scripts/slurm_one_node.sh start DIR)", then DEEPLORA_SLURM=1`)
	}
	if text, err := exec.Command("sinfo", "--noheader").CombinedOutput(); err != nil {
		t.Skipf("DEEPLORA_SLURM=1, but sinfo does not answer: %v: %s", err, text)
	}
}

// fakeTrain is what a run does to be seen from outside: it notes that it began, works, saves and ends with 130 when
// it is interrupted, and leaves a result. It takes the seconds of $DEEPLORA_TEST_SECONDS; where a file "slow" lies in
// its directory, endless ones the first time.
const fakeTrain = `#!/bin/sh
for out; do case $out in --out=*) dir=${out#--out=} ;; esac; done
mkdir -p "$dir" && cd "$dir" || exit 1
echo "$SLURM_ARRAY_JOB_ID" >>begun
trap 'echo interrupted, state saved >&2; touch saved; exit 130' INT
steps=$((DEEPLORA_TEST_SECONDS * 10))
if [ -e slow ] && ! [ -e saved ]; then steps=6000; fi
while [ "$steps" -gt 0 ]; do sleep 0.1; steps=$((steps - 1)); done
echo '{}' >result.tmp && mv result.tmp result.json
`

// slurmStudy is an executor on the real cluster, of fake runs of so many seconds.
func slurmStudy(t *testing.T, jobs int, seconds string) (*Slurm, []Job) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "50% a study's")
	program := filepath.Join(t.TempDir(), "train")
	if err := os.WriteFile(program, []byte(fakeTrain), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DEEPLORA_TEST_SECONDS", seconds)
	all := (&cluster{t: t, dir: dir}).jobs(jobs)
	for i := range all {
		all[i].Args = []string{"train", "--out=" + all[i].Dir}
	}
	s := &Slurm{Program: program, Dir: dir, Cores: 1, Retries: 1, Poll: 200 * time.Millisecond, Notice: func(line string) { t.Log(line) }}
	return s, all
}

// begun is how often a job's program was started.
func begun(t *testing.T, job Job) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(job.Dir, "begun"))
	if err != nil {
		t.Error(err)
	}
	return strings.Count(string(text), "\n")
}

func TestSlurmClusterRepeatsAKilledTask(t *testing.T) {
	needSlurm(t)
	s, jobs := slurmStudy(t, 6, "3")
	s.ArraySize = 4
	victim := ""
	var got told
	err := s.Run(t.Context(), jobs, func(r Report) {
		got.report(r)
		t.Log(r.Job.Run.Key, r.State, r.Text)
		if r.State != Started || victim != "" {
			return
		}
		victim = r.Job.Run.Key
		time.Sleep(time.Second) // until the program works
		id, _, _ := strings.Cut(r.Text, " ")
		if text, err := exec.Command("scancel", "--signal=KILL", id).CombinedOutput(); err != nil {
			t.Errorf("scancel: %v: %s", err, text)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.count[Done] != 6 || got.count[Repeated] != 1 || got.count[Failed] != 0 {
		t.Errorf("reported %q", got.lines)
	}
	for _, job := range jobs {
		want := 1
		if job.Run.Key == victim {
			want = 2
		}
		if n := begun(t, job); n != want || !job.Finished() {
			t.Errorf("%s began %d times, want %d; finished %v", job.Run.Key, n, want, job.Finished())
		}
	}
}

func TestSlurmClusterGoesOnAfterLeaving(t *testing.T) {
	needSlurm(t)
	s, jobs := slurmStudy(t, 4, "2")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var got told
	err := s.Run(ctx, jobs, func(r Report) {
		got.report(r)
		stop()
	})
	if !errors.Is(err, ErrGoesOn) || !errors.Is(err, context.Canceled) {
		t.Fatalf("reported %q, error %v", got.lines, err)
	}
	t.Log(err)
	if err := s.Run(t.Context(), slices.DeleteFunc(jobs, func(j Job) bool { return j.Finished() }), got.report); err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs {
		if n := begun(t, job); n != 1 || !job.Finished() {
			t.Errorf("%s began %d times; finished %v", job.Run.Key, n, job.Finished())
		}
	}
}

// Before its time is up a run is interrupted, so that it goes on from what it saved.
func TestSlurmClusterInterruptsBeforeTheLimit(t *testing.T) {
	needSlurm(t)
	s, jobs := slurmStudy(t, 1, "1")
	s.Sbatch = []string{"--time=1", "--signal=B:INT@50"}
	if err := os.MkdirAll(jobs[0].Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(jobs[0].Dir, "slow"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var got told
	if err := s.Run(t.Context(), jobs, got.report); err != nil {
		t.Fatal(err)
	}
	const want = "exit code 130: interrupted, state saved (task "
	if got.count[Repeated] != 1 || !strings.HasPrefix(got.text[0], want) || !exists(filepath.Join(jobs[0].Dir, "saved")) {
		t.Errorf("reported %q, %q; want %q", got.lines, got.text, want)
	}
}
