package engine

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/internal/testbackend"
)

func TestRequestedBackend(t *testing.T) {
	tests := []struct {
		name, env string
		want      string
		notice    string
		fault     string
	}{
		{"auto", "", "auto", "", ""},
		{"", "", "auto", "", ""},
		{"go", "", "go", "", ""},
		{"xla:cpu", "go", "xla:cpu", "", ""},
		{"auto", "xla:cuda", "xla:cuda", "", ""},
		{"", "xla:cuda", "xla:cuda", "", ""},
		{"auto", "xla:cpu,tf32", "xla:cpu", "", ""},
		{"auto", "go:ops_sequential", "go", "", ""},
		{"auto", "go", "go", "GOMLX_BACKEND=go becomes go:ops_sequential", ""},
		{"auto", "go:parallelism=1", "go", "GOMLX_BACKEND=go:parallelism=1 becomes go:ops_sequential", ""},
		{"auto", "gopher", "", "", "GOMLX_BACKEND=gopher: want go, xla:cpu, xla:cuda, or no such variable"},
		{"auto", "xla:/some/plugin.so", "", "", "GOMLX_BACKEND=xla:/some/plugin.so: want"},
		{"xla:gpu", "", "", "", `backend: "xla:gpu" is unknown; want auto, go, xla:cpu, xla:cuda (nearest: xla:cpu)`},
		{"XLA:CUDA", "", "", "", "(nearest: xla:cuda)"},
	}
	for _, test := range tests {
		t.Run(test.name+" "+test.env, func(t *testing.T) {
			name, notices, err := requested(test.name, test.env)
			if test.fault != "" {
				if err == nil || !strings.Contains(err.Error(), test.fault) || !errors.Is(err, ErrUsage) {
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

// Without a plugin: auto computes on Go and says in one line what to do; XLA by name is an error, of usage only where
// the program was built without XLA.
func TestOpenWithoutPlugin(t *testing.T) {
	testbackend.NoPlugins(t)
	backend, info, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	if info.Name != Go || info.PluginSHA256 != "" || info.Threads != runtime.NumCPU() || len(info.Notices) != 1 {
		t.Errorf("%s, %+v", backend.Name(), info)
	}
	if plugin.Linked && !strings.Contains(info.Notices[0], "run: deeplora engine install") {
		t.Errorf("notice %q", info.Notices)
	}
	for name, want := range map[string]string{
		XLACPU: "backend xla:cpu: no plugin is installed; run: deeplora engine install", XLACUDA: "backend xla:cuda: no plugin is installed; run: deeplora engine install --cuda",
	} {
		if !plugin.Linked {
			want = "backend " + name + ": this program was built without XLA (tag noxla)"
		}
		if _, _, err := Open(Options{Name: name}); err == nil || err.Error() != want || errors.Is(err, ErrUsage) == plugin.Linked {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := Open(Options{Name: Go, Threads: runtime.NumCPU() + 1}); !errors.Is(err, ErrUsage) {
		t.Errorf("too many threads: %v", err)
	}
}

// A plugin that is there but broken, of another hash or not a plugin at all is an error, for auto too: never
// a crash, never the slow engine in silence.
func TestOpenWithBadPlugin(t *testing.T) {
	p := testbackend.Plugin(t)
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
			dir := testbackend.NoPlugins(t)
			path := filepath.Join(dir, "pjrt_c_api_cpu_plugin.so")
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path, test.content, 0o755)); err != nil {
				t.Fatal(err)
			}
			if test.record != "" {
				if err := os.WriteFile(path+".json", []byte(test.record), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{Auto, XLACPU} {
				b, _, err := Open(Options{Name: name})
				if err == nil || !strings.Contains(err.Error(), path+": "+test.want) || errors.Is(err, ErrUsage) {
					t.Errorf("%s: error %v", name, err)
				}
				if b != nil {
					t.Errorf("%s: a backend all the same", name)
				}
			}
		})
	}
}

func TestOpenXLA(t *testing.T) {
	testbackend.Plugin(t)
	backend, info, err := Open(Options{Name: XLACPU, Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer backend.Finalize()
	if backend.Name() != "xla" || info.Name != XLACPU || len(info.PluginSHA256) != 64 {
		t.Errorf("%s, %+v", backend.Name(), info)
	}
	if want := len(info.Notices) == 0; want != plugin.CanLimitXLA || (info.Threads == 1) != (plugin.CanLimitXLA || runtime.NumCPU() == 1) {
		t.Errorf("%+v", info)
	}
}

// As many CPU devices as are asked for, a notice that they are the same cores, and one of them where all are asked for.
func TestOpenDevices(t *testing.T) {
	testbackend.Plugin(t)
	for asked, want := range map[int]int{0: 1, 1: 1, 2: 2, 6: 6, AllDevices: 1} {
		backend, info, err := Open(Options{Name: XLACPU, Devices: asked})
		if err != nil {
			t.Fatal(err)
		}
		told := strings.Contains(strings.Join(info.Notices, "\n"), "CPU devices share the same cores")
		if info.Devices != want || backend.NumDevices() < want || told != (want > 1) {
			t.Errorf("%d devices: %+v of %d", asked, info, backend.NumDevices())
		}
		backend.Finalize()
	}
	if _, _, err := Open(Options{Name: XLACPU, Devices: 65}); !errors.Is(err, ErrUsage) {
		t.Errorf("65 devices: %v", err)
	}
}

// What is asked for is held against what there is.
func TestSettleDevices(t *testing.T) {
	for _, c := range []struct {
		name               string
		asked, there, want int
		fault              string
	}{
		{Go, 0, 1, 1, ""},
		{Go, AllDevices, 1, 1, ""},
		{Go, 2, 1, 0, "devices: 2 are asked for, and the Go engine computes on one"},
		{XLACUDA, AllDevices, 8, 8, ""},
		{XLACUDA, 2, 8, 2, ""},
		{XLACUDA, 1, 8, 1, ""},
		{XLACUDA, 4, 2, 0, "backend xla:cuda: 4 devices are asked for, there are 2 ($CUDA_VISIBLE_DEVICES"},
		{XLACPU, AllDevices, 4, 1, ""},
	} {
		i := Info{Name: c.name}
		err := i.settleDevices(c.asked, c.there)
		if c.fault != "" {
			if err == nil || !strings.HasPrefix(err.Error(), c.fault) || errors.Is(err, ErrUsage) != (c.name == Go) {
				t.Errorf("%s, %d of %d: %v", c.name, c.asked, c.there, err)
			}
			continue
		}
		if err != nil || i.Devices != c.want {
			t.Errorf("%s, %d of %d: %d (%v), want %d", c.name, c.asked, c.there, i.Devices, err, c.want)
		}
	}
}
