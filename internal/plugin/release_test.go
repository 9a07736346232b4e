package plugin

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestInstallFromRelease(t *testing.T) {
	plugin := pluginLibrary(100_000).bytes()
	name := "pjrt_cpu_linux_amd64.tar.gz"
	archive := tarred("./pjrt_c_api_cpu_v0.114.0_plugin.so", string(plugin))
	listing := func(name, address, digest string) http.HandlerFunc {
		return text("application/json", fmt.Sprintf(`{"tag_name": "v0.114.0", "assets": [{"name": "x", "browser_download_url": "y"},
			{"name": %q, "browser_download_url": %q, "size": %d, "digest": %q}]}`, name, address, len(archive), digest))
	}
	tests := []struct {
		name    string
		listing func(url string) http.HandlerFunc
		file    http.HandlerFunc
		fault   string // empty: installed
	}{
		{"with a digest", func(u string) http.HandlerFunc { return listing(name, u+"/a", "sha256:"+sum(archive)) }, body(archive), ""},
		{"without one", func(u string) http.HandlerFunc { return listing(name, u+"/a", "") }, body(archive), ""},
		{"of another digest", func(u string) http.HandlerFunc { return listing(name, u+"/a", "sha256:"+sum(nil)) }, body(archive), "not the file that was asked for"},
		{"cut short", func(u string) http.HandlerFunc { return listing(name, u+"/a", "") }, body(archive[:5000]), "broke off after 5000"},
		{"without our archive", func(u string) http.HandlerFunc { return listing("pjrt_cpu_windows_amd64.zip", u+"/a", "") }, nil, "it has no file " + name},
		{"without an address", func(string) http.HandlerFunc { return listing(name, "", "") }, nil, "it has no address for " + name},
		{"not JSON", func(string) http.HandlerFunc { return text("text/html", "<html>sign in</html>") }, nil, "invalid character '<'"},
		{"not found", func(string) http.HandlerFunc { return http.NotFound }, nil, "answers 404"},
		{"silent", func(string) http.HandlerFunc { return stalling(nil) }, nil, "no answer within 300ms"},
		{"silent after a while", func(string) http.HandlerFunc { return stalling([]byte(`{"assets": [`)) }, nil, "no answer within 300ms"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := home(t)
			s := serve(t, map[string]http.HandlerFunc{"/a": test.file})
			s.handlers[releasePath] = test.listing(s.URL)
			in := testInstaller(t, s.URL)
			in.goos, in.arch = "linux", "amd64"
			p, err := in.install(t)
			if test.fault != "" {
				wantError(t, err, "go-xla's release v0.114.0: ", test.fault)
				if names := files(t, dir); len(names) != 0 {
					t.Errorf("left %q", names)
				}
				return
			}
			if err != nil || p.SHA256 != sum(plugin) || p.Source != "go-xla release" || p.Version != releaseVersion || p.Path != filepath.Join(dir, ownName) {
				t.Errorf("%+v, %v", p, err)
			}
			if len(s.seen("/simple")) != 0 {
				t.Error("asked the index all the same")
			}
		})
	}
}

// The addresses that no test may ask for real.
func TestReleaseAddress(t *testing.T) {
	home(t)
	in, err := newInstaller(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := in.release.JoinPath(releaseVersion).String(); got != "https://api.github.com/repos/gomlx/pjrt-cpu-binaries/releases/tags/v0.114.0" {
		t.Error(got)
	}
	for _, w := range wheels {
		if len(w.sha256) != 64 || len(w.pluginSHA256) != 64 || !strings.HasPrefix(w.file, strings.ReplaceAll(w.project, "-", "_")+"-"+w.version+"-") {
			t.Errorf("%+v", w)
		}
	}
}
