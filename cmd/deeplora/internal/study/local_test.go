package study

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// program writes a shell script that stands for deeplora. Of its arguments a job here has two: what it does, and
// its directory.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	script := `#!/bin/sh
mkdir -p "$2"
echo "$@" "gpu=$CUDA_VISIBLE_DEVICES" >> "$2/calls"
case "$1" in
good) ;;
bad) echo "note: going" >&2; echo "deeplora: it does not fit" >&2; exit 1 ;;
silent) exit 3 ;;
empty) exit 0 ;;
dies) [ $(wc -l < "$2/calls") -gt 1 ] || kill -9 $$ ;;
mortal) kill -9 $$ ;;
slow) trap 'echo saved >> "$2/calls"; exit 130' INT; n=0; while [ $n -lt 600 ]; do sleep 0.05; n=$((n+1)); done ;;
esac
sleep 0.1
echo '{}' > "$2/result.json"
`
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func fakeJob(root, does string, n int) Job {
	dir := filepath.Join(root, fmt.Sprint(does, n))
	return Job{
		Run: Run{Key: fmt.Sprint(n), Arm: does, Config: train.Config{Plan: loop.Plan{Seed: uint64(n)}}},
		Dir: dir, Args: []string{does, dir}, Log: filepath.Join(root, "logs", fmt.Sprint(does, n)),
	}
}

func calls(t *testing.T, j Job) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(j.Dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

func TestLocalMakesEveryJobOnce(t *testing.T) {
	root := t.TempDir()
	var jobs []Job
	for n := range 7 {
		jobs = append(jobs, fakeJob(root, "good", n))
	}
	l := Local{Program: program(t), Machine: []string{"--backend", "go"}, Jobs: 3, Cores: 8, GPUs: []string{"4", "5", "6"}}
	states := map[State]int{}
	if err := l.Run(context.Background(), jobs, func(r Report) { states[r.State]++ }); err != nil {
		t.Fatal(err)
	}
	if states[Started] != 7 || states[Done] != 7 || len(states) != 2 {
		t.Errorf("reports: %v", states)
	}
	for _, j := range jobs {
		c := calls(t, j)
		if len(c) != 1 || !strings.Contains(c[0], "--backend go --threads 2 gpu=") {
			t.Errorf("job %s was called as %q", j.Run.Key, c)
		}
		if gpu := c[0][strings.LastIndex(c[0], "=")+1:]; !strings.Contains("456", gpu) || gpu == "" {
			t.Errorf("job %s had GPU %q", j.Run.Key, gpu)
		}
	}
}

// GPUs are shared out by as many as a job has.
func TestGPUsOfAJob(t *testing.T) {
	for _, c := range []struct {
		jobs, each int
		gpus, want string
	}{
		{2, 2, "0,1,2,3", "0,1|2,3"},
		{4, 2, "0,1,2,3", "0,1|2,3"},
		{1, 2, "0,1,2,3", "0,1"},
		{9, 0, "4,7", "4|7"},
		{3, 4, "0,1,2,3", "0,1,2,3"},
		{2, 2, "", "|"},
	} {
		l := Local{Jobs: c.jobs, Cores: 8, PerJob: c.each}
		if c.gpus != "" {
			l.GPUs = strings.Split(c.gpus, ",")
		}
		var got []string
		for _, s := range l.slots() {
			got = append(got, s.gpu)
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%d jobs of %d GPUs each on %q have %q, want %q", c.jobs, c.each, c.gpus, got, c.want)
		}
	}
}

// What one job does wrong is reported, and the others are made all the same. A process that a signal killed is
// started once more.
func TestLocalReportsFaults(t *testing.T) {
	root := t.TempDir()
	jobs := []Job{
		fakeJob(root, "bad", 0), fakeJob(root, "silent", 1), fakeJob(root, "empty", 2),
		fakeJob(root, "dies", 3), fakeJob(root, "mortal", 4), fakeJob(root, "good", 5),
	}
	l := Local{Program: program(t), Jobs: 2, Cores: 2}
	said := map[string]string{}
	err := l.Run(context.Background(), jobs, func(r Report) { said[r.Job.Run.Arm] += string(r.State) + " " + r.Text + ";" })
	if err == nil {
		t.Fatal("no error")
	}
	for arm, want := range map[string]string{
		"bad":    "failed it does not fit (exit code 1; log: " + jobs[0].Log + ");",
		"silent": "failed it said nothing (exit code 3;",
		"empty":  "failed it ended without " + filepath.Join(jobs[2].Dir, "result.json"),
		"dies":   "repeated killed by signal \"killed\"; its log: " + jobs[3].Log + ";done ;",
		"mortal": "failed killed by signal \"killed\"",
		"good":   "started on 1 threads;done ;",
	} {
		if !strings.Contains(said[arm], want) {
			t.Errorf("%s: %q, want %q", arm, said[arm], want)
		}
	}
	for _, want := range []string{"bad, all, seed 0: it does not fit", "silent, all, seed 1", "empty, all, seed 2", "mortal, all, seed 4"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "dies") || strings.Contains(err.Error(), "good") {
		t.Errorf("error %v names what went well", err)
	}
	if n := len(calls(t, jobs[3])); n != 2 {
		t.Errorf("the job that died was called %d times", n)
	}
}

// An interrupt is passed on, and what runs is waited for.
func TestLocalInterrupted(t *testing.T) {
	root := t.TempDir()
	jobs := []Job{fakeJob(root, "slow", 0), fakeJob(root, "good", 1)}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	l := Local{Program: program(t), Jobs: 1, Cores: 1}
	err := l.Run(ctx, jobs, func(r Report) {
		if r.State == Started {
			go func() {
				for !exists(filepath.Join(r.Job.Dir, "calls")) {
					time.Sleep(10 * time.Millisecond)
				}
				time.Sleep(100 * time.Millisecond) // for the shell to set its trap
				cancel()
			}()
		}
	})
	if !errors.Is(err, context.Canceled) || !errors.Is(err, ErrStopped) {
		t.Errorf("error %v", err)
	}
	if c := calls(t, jobs[0]); len(c) != 2 || c[1] != "saved" {
		t.Errorf("the running job: %q", c)
	}
	if exists(jobs[1].Dir) {
		t.Error("another job began after the interrupt")
	}
}

// Memory that one job takes decides how many there are at once.
func TestLocalSharesMemory(t *testing.T) {
	root := t.TempDir()
	var jobs []Job
	for n := range 5 {
		jobs = append(jobs, fakeJob(root, "good", n))
	}
	running, most := 0, 0
	l := Local{Program: program(t), Jobs: 4, Cores: 4, Memory: 100, Need: 40}
	err := l.Run(context.Background(), jobs, func(r Report) {
		switch r.State {
		case Started:
			running++
			most = max(most, running)
		case Done:
			running--
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// At first two fit into 100 bytes; the first to end shows that one takes more than all.
	if most != 2 {
		t.Errorf("%d jobs at once, want 2", most)
	}
}
