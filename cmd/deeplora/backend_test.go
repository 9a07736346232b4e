package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/plugin"
)

// bareHome gives a test a home directory without plugins, and no network.
func bareHome(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, value := range map[string]string{
		"HOME": dir, "XDG_CACHE_HOME": filepath.Join(dir, "cache"), "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
		"HTTPS_PROXY": "http://127.0.0.1:1", plugin.PathEnv: "", "GOMLX_BACKEND": "", "DEEPLORA_OFFLINE": "", "HF_HOME": "", "HF_HUB_CACHE": "",
	} {
		t.Setenv(name, value)
	}
	if plugins, err := plugin.Find(""); err != nil || len(plugins) > 0 {
		t.Skipf("plugins for all users of this machine: %v, %v", plugins, err)
	}
	return filepath.Join(dir, ".local", "lib", "go-xla")
}

// realPlugin returns the plugin that this machine computes with. Call it before bareHome.
func realPlugin(t *testing.T) plugin.Plugin {
	t.Helper()
	plugins, err := plugin.Find(plugin.CPU)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := plugin.First(plugins, plugin.CPU)
	if !ok || !xlaLinked {
		t.Skip("no XLA plugin is installed; run: deeplora engine install")
	}
	return p
}

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

func TestRequestedBackend(t *testing.T) {
	tests := []struct {
		flag, env string
		want      string
		notice    string
		fault     string
	}{
		{"auto", "", "auto", "", ""},
		{"go", "", "go", "", ""},
		{"xla:cpu", "go", "xla:cpu", "", ""},
		{"auto", "xla:cuda", "xla:cuda", "", ""},
		{"auto", "xla:cpu,tf32", "xla:cpu", "", ""},
		{"auto", "go:ops_sequential", "go", "", ""},
		{"auto", "go", "go", "GOMLX_BACKEND=go becomes go:ops_sequential", ""},
		{"auto", "go:parallelism=1", "go", "GOMLX_BACKEND=go:parallelism=1 becomes go:ops_sequential", ""},
		{"auto", "gopher", "", "", "GOMLX_BACKEND=gopher: want go, xla:cpu, xla:cuda, or give --backend"},
		{"auto", "xla:/some/plugin.so", "", "", "GOMLX_BACKEND=xla:/some/plugin.so: want"},
		{"", "", "", "", `--backend: "" is unknown; want auto, go, xla:cpu, xla:cuda`},
		{"xla:gpu", "", "", "", "(nearest: xla:cpu)"},
		{"XLA:CUDA", "", "", "", "(nearest: xla:cuda)"},
	}
	for _, test := range tests {
		t.Run(test.flag+" "+test.env, func(t *testing.T) {
			name, notices, err := requested(test.flag, test.env)
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) || exitCode(err) != exitUsage {
					t.Errorf("error %v, want %q", err, test.fault)
				}
				return
			}
			if err != nil || name != test.want || (len(notices) > 0) != (test.notice != "") || !strings.HasPrefix(strings.Join(notices, ""), test.notice) {
				t.Errorf("%q, %q, %v", name, notices, err)
			}
		})
	}
}

// Without a plugin: auto computes on Go and says in one line what to do; XLA by name is an error.
func TestOpenBackendWithoutPlugin(t *testing.T) {
	bareHome(t)
	backend, info, err := openBackend("auto", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	if info.name != "go" || info.threads != runtime.NumCPU() || len(info.notices) != 1 {
		t.Errorf("%s, %+v", backend.Name(), info)
	}
	if xlaLinked && !strings.Contains(info.notices[0], "run: deeplora engine install") {
		t.Errorf("notice %q", info.notices)
	}
	for name, want := range map[string]string{"xla:cpu": "run: deeplora engine install", "xla:cuda": "run: deeplora engine install --cuda"} {
		_, _, err := openBackend(name, 0)
		if xlaLinked && (err == nil || !strings.HasSuffix(err.Error(), want)) {
			t.Errorf("%s: %v", name, err)
		}
		if !xlaLinked && (err == nil || !strings.Contains(err.Error(), "built without XLA")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := openBackend("go", runtime.NumCPU()+1); exitCode(err) != exitUsage {
		t.Errorf("too many threads: %v", err)
	}
}

// A plugin that is there but broken, of another hash or not a plugin at all is an error, for auto too: never
// a crash, never the slow engine in silence.
func TestOpenBackendWithBadPlugin(t *testing.T) {
	if !xlaLinked {
		t.Skip("built without XLA")
	}
	p := realPlugin(t)
	head := make([]byte, 1<<20)
	f, err := os.Open(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(head); err != nil {
		t.Fatal(err)
	}
	record := `{"format": 1, "sha256": "` + strings.Repeat("0", 64) + `", "size": 5, "modified_ns": 0, "source": "", "version": ""}`
	tests := []struct {
		name, record string
		content      []byte
		want         string
	}{
		{"text", "", []byte("hello"), "not a shared library"},
		{"truncated", "", head, "truncated: it has 1048576 bytes"},
		{"of another hash", record, []byte("hello"), "changed since it was installed: its sha256 is"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := bareHome(t)
			path := filepath.Join(dir, "pjrt_c_api_cpu_plugin.so")
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path, test.content, 0o755)); err != nil {
				t.Fatal(err)
			}
			if test.record != "" {
				if err := os.WriteFile(path+".json", []byte(test.record), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"auto", "xla:cpu"} {
				b, _, err := openBackend(name, 0)
				if err == nil || !strings.Contains(err.Error(), path+": "+test.want) || exitCode(err) != exitFailed {
					t.Errorf("%s: error %v", name, err)
				}
				if b != nil {
					t.Errorf("%s: a backend all the same", name)
				}
			}
			code, out, _ := deeplora(t, "doctor", "--json")
			if code != 0 || !strings.Contains(out, test.want) || !strings.Contains(out, `"default_backend": "go"`) {
				t.Errorf("doctor: %d %s", code, out)
			}
			code, out, said := deeplora(t, "engine", "list")
			if code != 0 || !strings.Contains(out, "unsound") || !strings.Contains(said, test.want) {
				t.Errorf("list: %d %s%s", code, out, said)
			}
		})
	}
}

func TestOpenBackendXLA(t *testing.T) {
	p := realPlugin(t)
	backend, info, err := openBackend("xla:cpu", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	if backend.Name() != "xla" || info.name != "xla:cpu" || info.plugin.Path != p.Path || len(info.plugin.SHA256) != 64 || len(info.notices) != 0 {
		t.Errorf("%s, %+v", backend.Name(), info)
	}
}

func TestEngineInstallCannot(t *testing.T) {
	bareHome(t)
	if !xlaLinked {
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
	p := realPlugin(t)
	dir := bareHome(t)
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
	bareHome(t)
	if code, out, _ := deeplora(t, "engine", "list", "--json"); code != 0 || strings.TrimSpace(out) != "[]" {
		t.Errorf("exit %d, %q", code, out)
	}
	if code, out, errOut := deeplora(t, "engine", "list"); code != 0 || out != "" || !strings.Contains(errOut, "run: deeplora engine install") {
		t.Errorf("exit %d, %q, %q", code, out, errOut)
	}
}

// The fields that scripts read.
func TestDoctorJSON(t *testing.T) {
	bareHome(t)
	code, out, _ := deeplora(t, "doctor", "--json")
	var report map[string]any
	if err := json.Unmarshal([]byte(out), &report); code != 0 || err != nil {
		t.Fatalf("exit %d, %v", code, err)
	}
	for _, field := range []string{"version", "go", "backends", "default_backend", "cpus", "memory_bytes", "cache"} {
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
