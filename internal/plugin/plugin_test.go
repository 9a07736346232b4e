package plugin

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const runtimeArch = runtime.GOARCH

// Find's order is the one its documentation promises: records, the environment, the user's folder, the system's.
func TestFindOrder(t *testing.T) {
	user := home(t)
	env := t.TempDir()
	t.Setenv(PathEnv, filepath.Join(env, "absent")+string(os.PathListSeparator)+env)
	recorded := write(t, filepath.Join(user, ownName), pluginLibrary(0).bytes())
	write(t, filepath.Join(systemDir, "pjrt_c_api_cpu_plugin.so"), nil)
	write(t, filepath.Join(user, "pjrt_c_api_cpu_v0.98.0_plugin.so"), nil)
	write(t, filepath.Join(user, "pjrt_c_api_cpu_v0.114.0_plugin.so"), nil)
	write(t, filepath.Join(user, "pjrt_c_api_tpu_plugin.so"), nil)
	write(t, filepath.Join(user, "nvidia", "pjrt_c_api_cuda_plugin.so"), nil)
	write(t, filepath.Join(env, "pjrt-plugin-cpu.so"), nil)
	write(t, filepath.Join(env, "libm.so"), nil)
	if err := os.Symlink("pjrt_c_api_cpu_v0.98.0_plugin.so", filepath.Join(user, goxlaCPU)); err != nil {
		t.Fatal(err)
	}
	p, err := Plugin{Kind: CPU, Path: recorded, Source: "here", Version: "7"}.Verify(true)
	if err != nil {
		t.Fatal(err)
	}
	p.Source, p.Version = "here", "7"
	if err := writeRecord(p); err != nil {
		t.Fatal(err)
	}
	want := []string{
		recorded,
		filepath.Join(env, "pjrt-plugin-cpu.so"),
		filepath.Join(user, "pjrt_c_api_cpu_v0.114.0_plugin.so"),
		filepath.Join(user, "pjrt_c_api_cpu_v0.98.0_plugin.so"),
		filepath.Join(user, "nvidia", "pjrt_c_api_cuda_plugin.so"),
		filepath.Join(systemDir, "pjrt_c_api_cpu_plugin.so"),
	}
	found, err := Find("")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range found {
		got = append(got, p.Path)
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !found[0].Recorded || found[0].Source != "here" || found[0].Version != "7" || found[2].Version != "v0.114.0" || found[2].Recorded {
		t.Errorf("origins: %+v", found)
	}
	cuda, err := Find(CUDA)
	if err != nil || len(cuda) != 1 || cuda[0].Kind != CUDA {
		t.Errorf("CUDA: %+v, %v", cuda, err)
	}
	if p, ok := First(found, CUDA); !ok || p.Kind != CUDA {
		t.Errorf("first of CUDA: %+v", p)
	}
	if _, ok := First(cuda, CPU); ok {
		t.Error("a CPU plugin among those of CUDA")
	}
}

func TestFindNothing(t *testing.T) {
	home(t)
	found, err := Find("")
	if err != nil || len(found) != 0 {
		t.Errorf("found %v, %v", found, err)
	}
}

func TestFindFolderThatIsNone(t *testing.T) {
	home(t)
	t.Setenv(PathEnv, write(t, filepath.Join(t.TempDir(), "file"), nil))
	_, err := Find("")
	wantError(t, err, "engine: look for plugins in "+PathEnv, "not a directory")
}

func TestParseName(t *testing.T) {
	for name, want := range map[string][]any{
		"pjrt_c_api_cpu_plugin.so":           {CPU, "", true},
		"pjrt_c_api_cpu_v0.114.0_plugin.so":  {CPU, "v0.114.0", true},
		"pjrt_c_api_cpu_deeplora_plugin.so":  {CPU, "", true},
		"pjrt_c_api_cpu_0.83_plugin.dylib":   {CPU, "0.83", true},
		"pjrt_c_api_cuda_plugin.so":          {CUDA, "", true},
		"pjrt_c_api_cuda13_plugin.so":        {CUDA, "", true},
		"pjrt-plugin-cuda.so":                {CUDA, "", true},
		"pjrt_plugin_cpu-v1.2.so":            {CPU, "v1.2", true},
		"pjrt_c_api_tpu_plugin.so":           {Kind(""), "", false},
		"pjrt_c_api_cpu_plugin.so.json":      {Kind(""), "", false},
		"libpjrt_cpu.so":                     {Kind(""), "", false},
		"pjrt_c_api_cpuish_plugin.so":        {Kind(""), "", false},
		".deeplora-1.pjrt_c_api_cpu.so.part": {Kind(""), "", false},
	} {
		kind, version, ok := parseName(name)
		if got := []any{kind, version, ok}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	rising := []string{"0.9", "0.10", "0.10.1", "2026.6.23", "v0.9", "v0.98.0", "v0.114.0", "v0.114.0rc1", "v1"}
	for i, a := range rising {
		for j, b := range rising {
			if got := compareVersions(a, b); sign(got) != sign(i-j) {
				t.Errorf("%s against %s: %d", a, b, got)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.StringMatching(`[v.0-9a]{0,6}`).Draw(t, "a"), rapid.StringMatching(`[v.0-9a]{0,6}`).Draw(t, "b")
		if sign(compareVersions(a, b)) != -sign(compareVersions(b, a)) {
			t.Fatalf("%q and %q: %d, %d", a, b, compareVersions(a, b), compareVersions(b, a))
		}
	})
}

func sign(n int) int { return min(1, max(-1, n)) }

// recordedPlugin puts a plugin with a record in place.
func recordedPlugin(t *testing.T, path string) Plugin {
	t.Helper()
	write(t, path, pluginLibrary(5000).bytes())
	p, err := Plugin{Kind: CPU, Path: path}.Verify(true)
	if err == nil {
		p.Recorded = true
		err = writeRecord(p)
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestVerifyNoticesChanges(t *testing.T) {
	flip := func(content []byte) []byte { content[1000] ^= 1; return content }
	tests := []struct {
		name    string
		change  func(content []byte) []byte
		sameAge bool // the file's time is put back
		full    bool
		want    []string
	}{
		{"nothing", func(c []byte) []byte { return c }, true, false, nil},
		{"nothing, read whole", func(c []byte) []byte { return c }, true, true, nil},
		{"written again, the same", func(c []byte) []byte { return c }, false, false, nil},
		{"one bit", flip, false, false, []string{"changed since it was installed", "its sha256 is", "run: deeplora engine install"}},
		{"one bit, time put back, read whole", flip, true, true, []string{"changed since it was installed"}},
		{"cut short", func(c []byte) []byte { return c[:3000] }, true, false, []string{"changed since", "it has 3000 bytes, its record says"}},
		{"longer", func(c []byte) []byte { return append(c, 0) }, true, false, []string{"changed since"}},
		{"empty", func([]byte) []byte { return nil }, true, false, []string{"changed since", "it has 0 bytes"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			home(t)
			p := recordedPlugin(t, filepath.Join(t.TempDir(), goxlaCPU))
			info, _ := os.Stat(p.Path)
			content, _ := os.ReadFile(p.Path)
			write(t, p.Path, test.change(content))
			age := info.ModTime()
			if !test.sameAge {
				age = age.Add(time.Second)
			}
			os.Chtimes(p.Path, age, age)
			got, err := p.Verify(test.full)
			if test.want == nil {
				if err != nil || got.SHA256 != p.SHA256 || !got.Recorded {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			wantError(t, err, append(test.want, "engine: "+p.Path)...)
			if !errors.Is(err, ErrChanged) {
				t.Error("not ErrChanged")
			}
		})
	}
}

func TestVerifyBadRecord(t *testing.T) {
	for content, want := range map[string]string{
		"":                              "is not one: EOF",
		"{":                             "is not one",
		`{"format": 2}`:                 "has format 2, want 1",
		`{"format": 1}`:                 `has sha256 "", want 64 hexadecimal digits`,
		`{"format": 1, "sha": ""}`:      `unknown field "sha"`,
		`{"format": 1, "sha256": "AB"}`: `has sha256 "AB"`,
	} {
		p := Plugin{Kind: CPU, Path: write(t, filepath.Join(t.TempDir(), goxlaCPU), pluginLibrary(0).bytes())}
		write(t, recordPath(p.Path), []byte(content))
		_, err := p.Verify(false)
		wantError(t, err, p.Path, "its record "+recordPath(p.Path), want, "run: deeplora engine install")
	}
}

func TestVerifyMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), goxlaCPU)
	_, err := Plugin{Path: path}.Verify(false)
	wantError(t, err, "engine: "+path+": no such file")
}

// A plugin of a pinned sum is known by it, whatever its name.
func TestVerifyKnowsPins(t *testing.T) {
	w, _ := testWheel("some-wheel")
	before := wheels
	wheels = []wheel{w}
	t.Cleanup(func() { wheels = before })
	p := Plugin{Kind: CPU, Path: write(t, filepath.Join(t.TempDir(), "x.so"), pluginLibrary(200_000).bytes()), Source: "found"}
	p, err := p.Verify(false)
	if err != nil || p.Source != "wheel some-wheel" || p.Version != "1.2" || p.Recorded {
		t.Errorf("%+v, %v", p, err)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte(`{"format": 1, "sha256": "0a0fe56ca17be9efc7b942e89e534e5e0ad4a0f1e369b66d27b62184509015b9", "size": 3}`))
	f.Add([]byte(`{"format": 1`))
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := parseRecord(content)
		if err == nil && (r.Format != recordFormat || len(r.SHA256) != 64) {
			t.Errorf("accepted %+v", r)
		}
	})
}
