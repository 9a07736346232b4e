package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/study"
)

// small is an experiment of four runs that take seconds, with checkpoints on the way.
func small(t *testing.T) string {
	t.Helper()
	data, err := filepath.Abs(filepath.Join("testdata", "data"))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`{"title": "small",
	 "set": {"data": %q, "steps": 24, "save-every": 4, "batch": 2, "max-length": 16, "target": ["layer.0.*query$"]},
	 "grid": {"method": ["vanilla", "deep-compressed"], "seed": [0, 1]}}`, data)
}

// sameRuns holds the runs of two studies against each other: adapters to the byte, results but for the clock.
func sameRuns(t *testing.T, a, b string) {
	t.Helper()
	e, err := study.ParseExperiment([]byte(small(t)))
	if err != nil {
		t.Fatal(err)
	}
	runs, err := e.Runs()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		file := filepath.Join("runs", r.Key, "adapter", "adapter.safetensors")
		if x, y := readFile(t, filepath.Join(a, file)), readFile(t, filepath.Join(b, file)); !bytes.Equal(x, y) {
			t.Errorf("%s: the adapters differ", r)
		}
		result := filepath.Join("runs", r.Key, "result.json")
		if x, y := timeless(t, filepath.Join(a, result)), timeless(t, filepath.Join(b, result)); x != y {
			t.Errorf("%s: the results are\n%s\n%s", r, x, y)
		}
	}
}

// timeless is a result without what the clock and the machine put into it.
func timeless(t *testing.T, path string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(readFile(t, path), &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		if strings.HasSuffix(name, "seconds") || strings.HasPrefix(name, "tokens_per") || name == "peak_rss_bytes" || name == "threads" {
			delete(fields, name)
		}
	}
	text, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// experimentFile writes an experiment and returns its path.
func experimentFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "experiment.json")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// startNamed is start for a command that starts the program itself: this binary, under the program's name.
func startNamed(t *testing.T, args ...string) *process {
	t.Helper()
	p := program(t, args...)
	named := filepath.Join(t.TempDir(), "deeplora")
	if err := os.Link(p.Path, named); err != nil {
		t.Skipf("needs a link to the test binary: %v", err)
	}
	p.Path = named
	p.begin(t)
	return p
}

// compareWell runs the program, which must succeed.
func compareWell(t *testing.T, args ...string) *process {
	t.Helper()
	p := startNamed(t, args...)
	if code := p.code(t); code != exitDone {
		t.Fatalf("exit code %d\n%s", code, p.err.String())
	}
	return p
}

// A study whose process is killed, and one that is interrupted, go on where they were and end with the same runs.
func TestStoppedStudyEndsWithTheSameRuns(t *testing.T) {
	experiment := experimentFile(t, small(t))
	undisturbed, stopped := filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")
	args := []string{"compare", "--backend", "go", "--no-spectra", "--jobs", "2", "--threads", "2", "--experiment", experiment, "--out"}
	compareWell(t, append(args, undisturbed)...)
	training := func() bool {
		found, _ := filepath.Glob(filepath.Join(stopped, "runs", "*", "checkpoints", "step-*"))
		return len(found) > 0
	}
	killed := startNamed(t, append(args, stopped)...)
	killed.until(t, "checkpoint", training)
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-killed.ended
	// Its runs are told by the kernel, save what they have, and give their directories free.
	interrupted := startNamed(t, append(args, stopped, "--resume")...)
	interrupted.until(t, "run", func() bool { return strings.Contains(interrupted.err.String(), "run 1 of ") })
	if err := interrupted.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := interrupted.code(t); code != 130 && code != 0 { // 0: it was done before
		t.Fatalf("exit code %d\n%s", code, interrupted.err.String())
	}
	compareWell(t, append(args, stopped, "--resume")...)
	sameRuns(t, undisturbed, stopped)
}

// The same experiment through Slurm gives the same runs, also where a task is killed on the way, and makes nothing
// twice.
func TestSlurmGivesTheSameRuns(t *testing.T) {
	if os.Getenv("DEEPLORA_SLURM") == "" {
		t.Skip("needs a Slurm: see scripts/slurm_one_node.sh; set DEEPLORA_SLURM=1")
	}
	if out, err := exec.Command("sinfo").CombinedOutput(); err != nil {
		t.Fatalf("DEEPLORA_SLURM is set, but sinfo: %v\n%s", err, out)
	}
	experiment := experimentFile(t, small(t))
	local, slurm := filepath.Join(t.TempDir(), "local"), filepath.Join(t.TempDir(), "slurm")
	args := []string{"compare", "--backend", "go", "--no-spectra", "--experiment", experiment, "--verbose", "--out"}
	compareWell(t, append(args, local)...)
	p := startNamed(t, append(args, slurm, "--executor", "slurm")...)
	p.until(t, "checkpoint", func() bool {
		found, _ := filepath.Glob(filepath.Join(slurm, "runs", "*", "checkpoints", "step-*"))
		return len(found) > 0
	})
	killOneTask(t, slurm)
	if code := p.code(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, p.err.String())
	}
	t.Log(p.err.String())
	sameRuns(t, local, slurm)
	again := compareWell(t, "compare", "--resume", "--backend", "go", "--no-spectra", "--executor", "slurm", "--out", slurm)
	if strings.Contains(again.err.String(), "to make") {
		t.Errorf("a finished study makes runs\n%s", again.err.String())
	}
}

// killOneTask kills a running task of a study, as a node that fails does. The cluster may run other studies beside it.
func killOneTask(t *testing.T, study string) {
	t.Helper()
	var record struct {
		Arrays []struct {
			Name string `json:"name"`
		} `json:"arrays"`
	}
	text, err := os.ReadFile(filepath.Join(study, "slurm", "submitted.json"))
	if err == nil {
		err = json.Unmarshal(text, &record)
	}
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range record.Arrays {
		names = append(names, a.Name)
	}
	out, err := exec.Command("squeue", "--noheader", "--states=RUNNING", "--name="+strings.Join(names, ","), "--format=%i").Output()
	if err != nil {
		t.Fatal(err)
	}
	tasks := strings.Fields(string(out))
	if len(tasks) == 0 {
		t.Fatalf("no task of %q runs", names)
	}
	if out, err := exec.Command("scancel", "--signal=KILL", "--full", tasks[0]).CombinedOutput(); err != nil {
		t.Fatalf("scancel: %v\n%s", err, out)
	}
}

// A run of a study has the devices of the line, or those that Slurm gives it.
func TestDevicesOfARun(t *testing.T) {
	for _, c := range []struct{ devices, gres, want string }{
		{"", "", ""},
		{"1", "gpu:4", ""},
		{"2", "", "--devices 2"},
		{"all", "gpu:4", "--devices all"},
		{"", "gpu:1", ""},
		{"", "gpu:4", "--devices 4"},
		{"", "gpu:a100:4", "--devices 4"},
		{"", "lustre,gpu:h100:2(S:0-1)", "--devices 2"},
		{"", "gpu", ""},
		{"", "shard:4", ""},
	} {
		s := comparison{shared: &shared{}}
		s.slurm.gres = c.gres
		if c.devices != "" {
			if err := s.devices.Set(c.devices); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Join(s.runDevices(), " "); got != c.want {
			t.Errorf("--devices %q, --gres %q: %q, want %q", c.devices, c.gres, got, c.want)
		}
	}
}
