package plugin

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeCUDA stands for go-xla's installer: it deletes first, asks the public index, follows relative addresses
// and prints.
func fakeCUDA(dir string) (string, error) {
	nvidia := filepath.Join(dir, "nvidia")
	if err := os.RemoveAll(nvidia); err != nil {
		return "", err
	}
	for _, address := range []string{"https://pypi.org/pypi/jax-cuda13-pjrt/json", "../../packages/cuda.so"} {
		resp, err := http.Get(address)
		if err != nil {
			return "", err
		}
		content, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return "", err
		}
		if err := os.MkdirAll(nvidia, 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, goxlaCUDA), content, 0o644); err != nil {
			return "", err
		}
	}
	return "\r✅ Installed \"cuda\" PJRT and Nvidia libraries based on Jax version 0.12.0.1 and CUDA version 13\n", nil
}

func cudaInstall(t *testing.T, address string) *installer {
	in := testInstaller(t, address)
	in.Kind, in.goos, in.arch, in.cuda = CUDA, "linux", "amd64", fakeCUDA
	return in
}

func TestInstallCUDA(t *testing.T) {
	dir := home(t)
	plugin := pluginLibrary(3).bytes()
	s := serve(t, map[string]http.HandlerFunc{"/pypi/jax-cuda13-pjrt/json": text("application/json", "{}"), "/packages/cuda.so": body(plugin)})
	before := http.DefaultClient.Transport
	p, err := cudaInstall(t, s.URL).install(t)
	if err != nil {
		t.Fatal(err)
	}
	if p.Path != filepath.Join(dir, goxlaCUDA) || p.SHA256 != sum(plugin) || p.Version != "0.12.0.1" || p.Source != "go-xla installer" || !p.Recorded {
		t.Errorf("%+v", p)
	}
	if q, err := p.Verify(true); err != nil || q != p.Plugin {
		t.Errorf("verified %+v, %v", q, err)
	}
	if http.DefaultClient.Transport != before {
		t.Error("the default client is not what it was")
	}
	again, err := cudaInstall(t, "http://127.0.0.1:1").install(t)
	if err != nil || !again.Already {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// go-xla's installer deletes what is there before it knows whether it can get something else.
func TestInstallCUDAKeepsTheOld(t *testing.T) {
	tests := []struct {
		name     string
		handlers map[string]http.HandlerFunc
		run      cudaInstaller
		want     string
	}{
		{"no network", nil, fakeCUDA, "answers 404"},
		{"stalls", map[string]http.HandlerFunc{"/pypi/jax-cuda13-pjrt/json": stalling([]byte("{"))}, fakeCUDA, "ask for jax-cuda13-pjrt: no data for 300ms"},
		{"cut short", map[string]http.HandlerFunc{"/pypi/jax-cuda13-pjrt/json": text("", "{}"), "/packages/cuda.so": body(pluginLibrary(3).bytes()[:300])}, fakeCUDA, "truncated"},
		{"panics", nil, func(string) (string, error) { panic("nil map") }, "panic: nil map"},
		{"fails", nil, func(string) (string, error) { return "", errors.New("no such wheel") }, "no such wheel"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := home(t)
			old := write(t, filepath.Join(dir, goxlaCUDA), []byte("an old one, damaged"))
			write(t, filepath.Join(dir, "nvidia", "cu13", "lib", "libx.so"), []byte("x"))
			in := cudaInstall(t, serve(t, test.handlers).URL)
			in.cuda = test.run
			_, err := in.install(t)
			wantError(t, err, "CUDA: go-xla's installer: ", test.want)
			if content, err := os.ReadFile(old); err != nil || !strings.HasPrefix(string(content), "an old one") {
				t.Errorf("the old plugin: %q, %v", content, err)
			}
			if fileSize(filepath.Join(dir, "nvidia", "cu13", "lib", "libx.so")) != 1 {
				t.Error("the old libraries are gone")
			}
			if names := files(t, dir); len(names) != 1 {
				t.Errorf("left %q", names)
			}
		})
	}
}

// What a killed process had set aside comes back.
func TestSetAsideAfterAKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nvidia")
	write(t, filepath.Join(dir+".deeplora-before", "x"), []byte("whole"))
	write(t, filepath.Join(dir, "x"), []byte("ha"))
	restore, err := setAside(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := restore(false); err != nil {
		t.Fatal(err)
	}
	if content, _ := os.ReadFile(filepath.Join(dir, "x")); string(content) != "whole" {
		t.Errorf("%q came back", content)
	}
}

func TestInstallCUDAElsewhere(t *testing.T) {
	home(t)
	in := cudaInstall(t, "http://127.0.0.1:1")
	in.goos, in.arch = "darwin", "arm64"
	_, err := in.install(t)
	wantError(t, err, "CUDA: no plugin for darwin/arm64")
	in = cudaInstall(t, "http://127.0.0.1:1")
	in.cuda = nil
	_, err = in.install(t)
	wantError(t, err, "built without XLA")
}

// The public index's addresses go to the index that is set, with its password.
func TestCUDAInstallerAsksTheIndexThatIsSet(t *testing.T) {
	home(t)
	var user string
	s := serve(t, map[string]http.HandlerFunc{"/mirror/pypi/jax-cuda13-pjrt/json": func(w http.ResponseWriter, r *http.Request) {
		user, _, _ = r.BasicAuth()
		fmt.Fprint(w, "{}")
	}})
	in := cudaInstall(t, strings.Replace(s.URL, "://", "://me:secret@", 1)+"/mirror")
	_, err := in.install(t)
	wantError(t, err, "/mirror/packages/cuda.so answers 404")
	if user != "me" || strings.Contains(err.Error(), "secret") {
		t.Errorf("user %q, error %q", user, err)
	}
}
