package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// The engines that tests ask for by name.
const (
	backendGo  = engine.Go
	backendCPU = engine.XLACPU
)

// deeplora runs the program.
func deeplora(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// deeploraProcess runs the program in a process of its own: Go reads the proxy of the environment, which
// stands for a network that does not answer, once a process.
func deeploraProcess(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	line, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	var o, e bytes.Buffer
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProcess$")
	cmd.Env = append(os.Environ(), "DEEPLORA_TEST_ARGS="+string(line))
	cmd.Stdout, cmd.Stderr = &o, &e
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// TestProcess is the program, where deeploraProcess starts it.
func TestProcess(t *testing.T) {
	line := os.Getenv("DEEPLORA_TEST_ARGS")
	if line == "" {
		t.Skip("for deeploraProcess")
	}
	var args []string
	if err := json.Unmarshal([]byte(line), &args); err != nil {
		t.Fatal(err)
	}
	os.Exit(run(args, os.Stdin, os.Stdout, os.Stderr))
}

// Errors of the engine come with the flag that asked, and with the exit code of usage where they are one.
func TestBackendErrors(t *testing.T) {
	testbackend.NoPlugins(t)
	tests := []struct {
		name, env string
		args      []string
		code      int
		want      string
	}{
		{"unknown", "", []string{"--backend", "xla:gpu"}, exitUsage, `--backend: "xla:gpu" is unknown; want auto, go, xla:cpu, xla:cuda (nearest: xla:cpu)`},
		{"empty", "", []string{"--backend", ""}, exitUsage, "--backend: it is empty; want auto, go, xla:cpu or xla:cuda"},
		{"unknown in the environment", "gopher", nil, exitUsage, "GOMLX_BACKEND=gopher: want go, xla:cpu, xla:cuda"},
		{"too many threads", "", []string{"--backend", engine.Go, "--threads", strconv.Itoa(runtime.NumCPU() + 1)}, exitUsage, "threads: "},
		{"absent", "", []string{"--backend", engine.XLACPU}, exitFailed, "--backend xla:cpu: no plugin is installed; run: deeplora engine install"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.code == exitFailed && !plugin.Linked {
				t.Skip("built without XLA")
			}
			t.Setenv("GOMLX_BACKEND", test.env)
			code, out, errOut := deeplora(t, append([]string{"train", "--data", filepath.Join("testdata", "data"), "--out", filepath.Join(t.TempDir(), "run")}, test.args...)...)
			if code != test.code || out != "" || !strings.HasPrefix(errOut, "deeplora: "+test.want) {
				t.Errorf("exit %d, %q", code, errOut)
			}
		})
	}
}

// doctor and list say what is wrong with a plugin that is there.
func TestReportsOfABadPlugin(t *testing.T) {
	if !plugin.Linked {
		t.Skip("built without XLA")
	}
	dir := testbackend.NoPlugins(t)
	path := filepath.Join(dir, "pjrt_c_api_cpu_plugin.so")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path, []byte("hello"), 0o755)); err != nil {
		t.Fatal(err)
	}
	const want = "not a shared library"
	code, out, _ := deeplora(t, "doctor", "--json")
	if code != 0 || !strings.Contains(out, want) || !strings.Contains(out, `"default_backend": "go"`) {
		t.Errorf("doctor: %d %s", code, out)
	}
	code, out, said := deeplora(t, "engine", "list")
	if code != 0 || !strings.Contains(out, "unsound") || !strings.Contains(said, want) {
		t.Errorf("list: %d %s%s", code, out, said)
	}
}

func TestEngineInstallCannot(t *testing.T) {
	testbackend.NoPlugins(t)
	if !plugin.Linked {
		t.Skip("built without XLA")
	}
	tests := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"offline", []string{"--offline"}, exitFailed, "engine install: offline: no sound cpu plugin is installed"},
		{"nothing answers", nil, exitFailed, "could be fetched: go-xla's release v0.114.0: "},
		{"nothing answers, best effort", []string{"--best-effort"}, exitDone, "note: no XLA plugin is installed, computing on the slow Go engine: engine install: "},
		{"offline, best effort", []string{"--best-effort", "--offline"}, exitDone, "note: no XLA plugin is installed"},
		{"a file that is none", []string{"--from", "absent.whl"}, exitFailed, "--from: stat absent.whl: no such file"},
		{"an argument", []string{"cuda"}, exitUsage, `what is "cuda"?`},
		{"an unknown flag", []string{"--gpu"}, exitUsage, "has no flag --gpu"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			code, out, errOut := deeploraProcess(t, append([]string{"engine", "install"}, test.args...)...)
			if code != test.code || out != "" || !strings.Contains(errOut, test.want) {
				t.Errorf("exit %d, out %q, err %q", code, out, errOut)
			}
			last := errOut[strings.LastIndex(strings.TrimSpace(errOut), "\n")+1:]
			if !strings.Contains(last, test.want) {
				t.Errorf("not in one line, the last: %q", errOut)
			}
		})
	}
}

// The command from a file to a plugin that computes, as on a machine without a network.
func TestEngineInstallFrom(t *testing.T) {
	p := testbackend.Plugin(t)
	dir := testbackend.NoPlugins(t)
	code, out, errOut := deeplora(t, "engine", "install", "--offline", "--json", "--from", p.Path)
	var report installReport
	if err := json.Unmarshal([]byte(out), &report); code != 0 || err != nil {
		t.Fatalf("exit %d, %v, out %q, err %q", code, err, out, errOut)
	}
	if report.Name != "xla:cpu" || report.Already || report.Opens != "yes" || filepath.Dir(report.Path) != dir || len(report.SHA256) != 64 {
		t.Errorf("%+v", report)
	}
	code, out, _ = deeplora(t, "engine", "install", "--offline")
	if code != 0 || !strings.Contains(out, "already installed") || !strings.Contains(out, report.SHA256) {
		t.Errorf("again: exit %d, %s", code, out)
	}
	code, out, _ = deeplora(t, "engine", "list", "--json")
	var listed []listedPlugin
	if err := json.Unmarshal([]byte(out), &listed); code != 0 || err != nil || len(listed) != 1 || !listed[0].Sound || listed[0].Plugin != report.Plugin {
		t.Errorf("list: exit %d, %v, %s", code, err, out)
	}
}

func TestEngineListNothing(t *testing.T) {
	testbackend.NoPlugins(t)
	if code, out, _ := deeplora(t, "engine", "list", "--json"); code != 0 || strings.TrimSpace(out) != "[]" {
		t.Errorf("exit %d, %q", code, out)
	}
	if code, out, errOut := deeplora(t, "engine", "list"); code != 0 || out != "" || !strings.Contains(errOut, "run: deeplora engine install") {
		t.Errorf("exit %d, %q, %q", code, out, errOut)
	}
}

// The fields that scripts read.
func TestDoctorJSON(t *testing.T) {
	testbackend.NoPlugins(t)
	code, out, _ := deeplora(t, "doctor", "--json")
	var report map[string]any
	if err := json.Unmarshal([]byte(out), &report); code != 0 || err != nil {
		t.Fatalf("exit %d, %v", code, err)
	}
	for _, field := range []string{"version", "go", "libraries", "backends", "default_backend", "cpus", "memory_bytes", "cache"} {
		if report[field] == nil || report[field] == "" || report[field] == 0.0 {
			t.Errorf("%s: %v", field, report[field])
		}
	}
	backends := report["backends"].([]any)
	for i, name := range []string{"go", "xla:cpu", "xla:cuda"} {
		b := backends[i].(map[string]any)
		for _, field := range []string{"name", "available", "plugin", "sha256", "remedy"} {
			if b[field] == nil {
				t.Errorf("%s: no %s", name, field)
			}
		}
		if b["name"] != name || (b["available"] == true) != (name == "go") || (b["remedy"] == "") != (name == "go") {
			t.Errorf("%v", b)
		}
	}
	if report["default_backend"] != "go" {
		t.Errorf("default %v", report["default_backend"])
	}
	if code, out, _ := deeplora(t, "doctor"); code != 0 || !strings.Contains(out, "available (default)") {
		t.Errorf("exit %d, %s", code, out)
	}
}

func TestPrecisionNote(t *testing.T) {
	for _, c := range []struct{ backend, precision, has, want string }{
		{"xla:cpu", "f32", "AVX512_BF16", "this processor multiplies bfloat16 numbers itself (AVX512_BF16): --precision bf16 takes less time"},
		{"xla:cpu", "bf16", "AMX", ""},
		{"xla:cpu", "f32", "", ""},
		{"xla:cpu", "bf16x3", "", "this processor has no instructions for bfloat16: precision bf16x3 takes longer here than f32"},
		{"xla:cuda", "bf16", "", ""},
		{"go", "f32", "AMX", ""},
	} {
		if got := precisionNote(c.backend, c.precision, c.has); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
