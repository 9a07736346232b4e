//go:build !noxla

package plugin_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/plugin"
)

// compiled builds a shared library from C at test time.
func compiled(t *testing.T, path, code string, args ...string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("no C compiler (cc)")
	}
	source := filepath.Join(t.TempDir(), "x.c")
	if err := os.WriteFile(source, []byte(code), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(cc, append([]string{"-shared", "-fPIC", "-o", path, source}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one with %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// What passes every check and still is no plugin is an error too, not a crash.
func TestOpenBadPlugins(t *testing.T) {
	dir := t.TempDir()
	absent := compiled(t, filepath.Join(dir, "libabsent.so"), "int absent(void) { return 1; }")
	needy := compiled(t, filepath.Join(dir, "needy_cpu.so"), "int absent(void); void *GetPjrtApi(void) { return absent() ? 0 : 0; }", "-L"+dir, "-labsent")
	if err := os.Remove(absent); err != nil {
		t.Fatal(err)
	}
	text := filepath.Join(dir, "text_cpu.so")
	if err := os.WriteFile(text, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, want string }{
		{"no API behind the symbol", compiled(t, filepath.Join(dir, "null_cpu.so"), "void *GetPjrtApi(void) { return 0; }"), "panic: "},
		{"a library is missing", needy, "install the library it names, or another plugin: deeplora engine install --from FILE"},
		{"another library", compiled(t, filepath.Join(dir, "other_cpu.so"), "int x(void) { return 1; }"), "does not export GetPjrtApi"},
		{"text", text, "not a shared library"},
		{"absent", filepath.Join(dir, "absent_cpu.so"), "no such file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, _, err := plugin.Open(plugin.Plugin{Kind: plugin.CPU, Path: test.path})
			wantError(t, err, "engine: ", test.path, test.want)
			if b != nil {
				t.Error("a backend all the same")
			}
		})
	}
}

// go-xla splits options at commas and guesses a plugin's kind from its path; the installed plugin is opened
// from a path that misleads it both ways.
func TestOpenFromAMisleadingPath(t *testing.T) {
	plugins, err := plugin.Find(plugin.CPU)
	if err != nil {
		t.Fatal(err)
	}
	if len(plugins) == 0 {
		t.Skip("no XLA plugin is installed; run: deeplora engine install")
	}
	dir := filepath.Join(t.TempDir(), "home,of nvidia")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "pjrt_c_api_cpu_plugin.so")
	if err := os.Symlink(plugins[0].Path, path); err != nil {
		t.Fatal(err)
	}
	b, p, err := plugin.Open(plugin.Plugin{Kind: plugin.CPU, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	if strings.Contains(b.Description(), "nvidia") || len(p.SHA256) != 64 || p.Path != path {
		t.Errorf("%s, %+v", b.Description(), p)
	}
}

// What go-xla logs goes to the debug log: standard error has nothing but our own words.
func TestOpenIsQuiet(t *testing.T) {
	if path := os.Getenv("ENGINE_TEST_OPEN"); path != "" {
		_, _, err := plugin.Open(plugin.Plugin{Kind: plugin.CPU, Path: path})
		fmt.Println("opened:", err)
		return
	}
	dir := t.TempDir()
	absent := compiled(t, filepath.Join(dir, "libabsent.so"), "int absent(void) { return 1; }")
	path := compiled(t, filepath.Join(dir, "needy_cpu.so"), "int absent(void); void *GetPjrtApi(void) { return absent() ? 0 : 0; }", "-L"+dir, "-labsent")
	if err := os.Remove(absent); err != nil {
		t.Fatal(err)
	}
	var out, errOut strings.Builder
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=TestOpenIsQuiet$")
	cmd.Env = append(os.Environ(), "ENGINE_TEST_OPEN="+path)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "cannot open shared object file") {
		t.Fatalf("%v, %s", err, out.String())
	}
	if errOut.Len() > 0 {
		t.Errorf("standard error: %q", errOut.String())
	}
}

// go-xla complains of a missing /etc/ld.so.conf, as minimal images have none, before main begins: package
// quiet comes before it.
func TestStartIsQuiet(t *testing.T) {
	if out, err := exec.Command("unshare", "-m", "true").CombinedOutput(); err != nil {
		t.Skipf("hides /etc in a namespace, which needs root: %v: %s", err, out)
	}
	var errOut strings.Builder
	cmd := exec.CommandContext(t.Context(), "unshare", "-m", "sh", "-c", `mount --bind "$1" /etc && exec "$0" -test.run='^TestParseName$'`, os.Args[0], t.TempDir())
	cmd.Stderr = &errOut
	if err := cmd.Run(); err != nil || errOut.Len() > 0 {
		t.Errorf("%v, standard error: %q", err, errOut.String())
	}
}
