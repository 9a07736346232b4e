package plugin

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallFrom(t *testing.T) {
	w, wheelContent := testWheel("some-wheel")
	before := wheels
	wheels = []wheel{w}
	t.Cleanup(func() { wheels = before })
	pinned, unknown := pluginLibrary(200_000).bytes(), pluginLibrary(7).bytes()
	tests := []struct {
		name    string
		files   map[string][]byte
		from    string // of the folder; empty: the folder itself
		kind    Kind
		want    []byte
		origin  string
		unknown bool
	}{
		{"a library", map[string][]byte{"my.so": unknown}, "my.so", CPU, unknown, "file my.so ", true},
		{"a library with a version", map[string][]byte{"pjrt_c_api_cpu_v0.115.0_plugin.so": unknown}, "", CPU, unknown, "file pjrt_c_api_cpu_v0.115.0_plugin.so v0.115.0", true},
		{"a pinned library", map[string][]byte{"my.so": pinned}, "my.so", CPU, pinned, "wheel some-wheel 1.2", false},
		{"the wheel", map[string][]byte{w.file: wheelContent}, w.file, CPU, pinned, "wheel some-wheel 1.2", false},
		{"its folder", map[string][]byte{w.file: wheelContent, "README": nil, "z.whl": nil}, "", CPU, pinned, "wheel some-wheel 1.2", false},
		{"another wheel", map[string][]byte{"o.whl": zipped("a/pjrt_c_api_cpu_plugin.so", string(unknown), "a/b.so", "")}, "o.whl", CPU, unknown, "file o.whl ", true},
		{"go-xla's archive", map[string][]byte{"pjrt_cpu_linux_amd64.tar.gz": tarred("pjrt_c_api_cpu_v0.114.0_plugin.so", string(unknown))}, "", CPU, unknown, "file pjrt_cpu_linux_amd64.tar.gz ", true},
		{"CUDA's wheel", map[string][]byte{"c.whl": zipped("jax_plugins/xla_cuda13/xla_cuda_plugin.so", string(unknown))}, "c.whl", CUDA, unknown, "file c.whl ", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := home(t)
			from := t.TempDir()
			for name, content := range test.files {
				write(t, filepath.Join(from, name), content)
			}
			in := testInstaller(t, "http://127.0.0.1:1")
			in.Offline, in.From, in.Kind = true, filepath.Join(from, test.from), test.kind
			p, err := in.install(t)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, ownName)
			if test.kind == CUDA {
				path = filepath.Join(dir, goxlaCUDA)
			}
			if p.Path != path || p.SHA256 != sum(test.want) || p.Source+" "+p.Version != test.origin {
				t.Errorf("%+v", p)
			}
			if told := strings.Contains(strings.Join(p.Notices, ""), "none that this program knows"); told != test.unknown {
				t.Errorf("notices %q", p.Notices)
			}
			if q, err := p.Verify(true); err != nil || q != p.Plugin {
				t.Errorf("verified %+v, %v", q, err)
			}
		})
	}
}

func TestInstallFromFaults(t *testing.T) {
	w, wheelContent := testWheel("some-wheel")
	before := wheels
	wheels = []wheel{w}
	t.Cleanup(func() { wheels = before })
	plugin := string(pluginLibrary(7).bytes())
	tests := []struct {
		name  string
		files map[string]string
		from  string
		kind  Kind
		want  string
	}{
		{"absent", nil, "x.so", CPU, "--from: stat "},
		{"an empty folder", nil, "", CPU, "no library with a plugin's name, wheel or .tar.gz in it"},
		{"a folder with several", map[string]string{"a.whl": "", "b.tar.gz": ""}, "", CPU, "2 files could be meant, name one: a.whl, b.tar.gz"},
		{"text", map[string]string{"x.so": "hello"}, "x.so", CPU, `x.so: not a shared library: it begins with "hello"`},
		{"cut short", map[string]string{"x.so": plugin[:400]}, "x.so", CPU, "x.so: truncated: it has 400 bytes"},
		{"an altered wheel of a pinned name", map[string]string{w.file: string(wheelContent[1:])}, w.file, CPU, "not the file that was asked for: its sha256 is"},
		{"a wheel without a plugin", map[string]string{"o.whl": string(zipped("a/b.so", plugin))}, "o.whl", CPU, "holds 0 files that could be a cpu plugin"},
		{"a wheel with two", map[string]string{"o.whl": string(zipped("a/libpjrt_cpu.so", plugin, "b/xla_cpu_pjrt.so", plugin))}, "o.whl", CPU, "holds 2 files that could be a cpu plugin, want one: a/libpjrt_cpu.so, b/xla_cpu_pjrt.so"},
		{"a wheel for CUDA", map[string]string{"o.whl": string(zipped("xla_cuda_plugin.so", plugin))}, "o.whl", CPU, "holds 0 files that could be a cpu plugin"},
		{"a wheel cut short", map[string]string{"o.whl": string(wheelContent[:1000])}, "o.whl", CPU, "is it a whole wheel?"},
		{"an archive cut short", map[string]string{"o.tar.gz": string(tarred("pjrt_c_api_cpu_plugin.so", plugin)[:100])}, "o.tar.gz", CPU, "unexpected EOF"},
		{"an archive that is none", map[string]string{"o.tar.gz": "hello, this is no archive"}, "o.tar.gz", CPU, "gzip: invalid header"},
		{"an archive without a plugin", map[string]string{"o.tar.gz": string(tarred("a", "b"))}, "o.tar.gz", CPU, "holds no cpu plugin"},
		{"CUDA's library", map[string]string{"pjrt_c_api_cuda_plugin.so": plugin}, "pjrt_c_api_cuda_plugin.so", CPU, "by its name a plugin for CUDA; add --cuda"},
		{"CPU's library", map[string]string{"pjrt_c_api_cpu_plugin.so": plugin}, "pjrt_c_api_cpu_plugin.so", CUDA, "its name has no cuda in it"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := home(t)
			from := t.TempDir()
			for name, content := range test.files {
				write(t, filepath.Join(from, name), []byte(content))
			}
			in := testInstaller(t, "http://127.0.0.1:1")
			in.From, in.Kind = filepath.Join(from, test.from), test.kind
			_, err := in.install(t)
			wantError(t, err, "--from", test.want)
			for _, name := range files(t, dir) {
				if name != "nvidia" {
					t.Errorf("left %s", name)
				}
			}
		})
	}
}

// A new file takes the place of an installed one, and its record with it.
func TestInstallFromReplaces(t *testing.T) {
	home(t)
	for padding := range 2 {
		in := testInstaller(t, "http://127.0.0.1:1")
		content := pluginLibrary(padding).bytes()
		in.From = write(t, filepath.Join(t.TempDir(), "x.so"), content)
		p, err := in.install(t)
		if err != nil {
			t.Fatal(err)
		}
		if q, err := p.Verify(true); err != nil || q.SHA256 != sum(content) {
			t.Errorf("%+v, %v", q, err)
		}
	}
}
