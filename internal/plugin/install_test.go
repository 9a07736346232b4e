package plugin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// refuses answers requests for go-xla's release as GitHub does when it has had enough.
func refuses(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "rate limit", http.StatusForbidden)
}

const releasePath = "/releases/" + releaseVersion

func TestInstallFromIndex(t *testing.T) {
	w, content := testWheel("some-wheel")
	const project, file = "/simple/some-wheel/", "/packages/aa/w.whl"
	tests := []struct {
		name string
		page func(s *server) http.HandlerFunc
	}{
		{"relative", func(*server) http.HandlerFunc { return page(w.file, "../../packages/aa/w.whl", w.sha256) }},
		{"absolute", func(s *server) http.HandlerFunc { return page(w.file, s.URL+file, w.sha256) }},
		{"without a hash", func(*server) http.HandlerFunc { return page(w.file, file, "") }},
		{"HTML", func(*server) http.HandlerFunc {
			return text("text/html", `<a href="../../packages/aa/`+w.file+`#sha256=`+w.sha256+`">`+w.file+`</a>`)
		}},
		{"redirected", func(s *server) http.HandlerFunc {
			s.handlers["/mirror/deep/er/some-wheel/"] = page(w.file, "../../../../packages/aa/w.whl", w.sha256)
			return func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "/mirror/deep/er/some-wheel/", http.StatusFound)
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := home(t)
			s := serve(t, map[string]http.HandlerFunc{file: body(content), "/packages/aa/" + w.file: body(content), releasePath: refuses})
			s.handlers[project] = test.page(s)
			in := testInstaller(t, s.URL, w)
			var phases []string
			in.OnProgress = func(p Progress) {
				if p.Done > p.Total && p.Total != 0 || p.Done < 0 {
					t.Errorf("progress %+v", p)
				}
				if len(phases) == 0 || phases[len(phases)-1] != p.Phase {
					phases = append(phases, p.Phase)
				}
			}
			got, err := in.install(t)
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"ask for go-xla's release", "ask for some-wheel", "fetch " + w.file, "verify " + w.file, "install"}; !slices.Equal(phases, want) {
				t.Errorf("phases %q, want %q", phases, want)
			}
			if names := files(t, in.cache); len(names) != 0 {
				t.Errorf("cache %q", names)
			}
			checkInstalled(t, dir, w, got)
		})
	}
}

// checkInstalled checks what installing w after a refusal of the release has left.
func checkInstalled(t *testing.T, dir string, w wheel, got Installed) {
	t.Helper()
	want := Plugin{CPU, filepath.Join(dir, ownName), w.pluginSize, w.pluginSHA256, "wheel some-wheel", "1.2", true}
	if got.Plugin != want || got.Already {
		t.Errorf("%+v, want %+v", got, want)
	}
	if len(got.Notices) != 1 || !strings.Contains(got.Notices[0], "go-xla's release v0.114.0: ") || !strings.Contains(got.Notices[0], "403 Forbidden") {
		t.Errorf("notices %q", got.Notices)
	}
	if names := files(t, dir); !slices.Equal(names, []string{ownName, ownName + ".json", goxlaCPU}) {
		t.Errorf("folder %q", names)
	}
	found, err := Find(CPU)
	if err != nil || len(found) != 1 || found[0].Path != want.Path {
		t.Fatalf("found %+v, %v", found, err)
	}
	if p, err := found[0].Verify(false); err != nil || p != want {
		t.Errorf("verified %+v, %v", p, err)
	}
}

// Every fault of an index or a file ends in words that name the wheel and the fault, within a second, and
// leaves no plugin and no half of one.
func TestInstallFaults(t *testing.T) {
	w, content := testWheel("some-wheel")
	other := w
	other.pluginSHA256 = sum(nil)
	noPlugin := zipped("x/libpjrt_cpu.so", "no library")
	broken := wheel{project: "some-wheel", version: "1.2", file: w.file, size: int64(len(noPlugin)), sha256: sum(noPlugin), entry: w.entry}
	noZip := []byte("not a zip file")
	unpacked := wheel{project: "some-wheel", version: "1.2", file: w.file, size: int64(len(noZip)), sha256: sum(noZip), entry: w.entry}
	moved := w
	moved.entry = "elsewhere.so"
	good := page(w.file, "/w.whl", w.sha256)
	tests := []struct {
		name       string
		wheel      wheel
		page, file http.HandlerFunc
		want       []string
	}{
		{"page 404", w, http.NotFound, nil, []string{"/simple/some-wheel/ answers 404 Not Found"}},
		{"page 500", w, refuses, nil, []string{"answers 403 Forbidden"}},
		{"page is not the API's", w, text("application/json", "{"), nil, []string{"not a page of the simple API"}},
		{"page without the file", w, page("other.whl", "/w.whl", ""), nil, []string{"has no file " + w.file}},
		{"page with another hash", w, page(w.file, "/w.whl", sum(nil)), body(content), []string{"not the file that was asked for", "the index has", "want " + w.sha256}},
		{"page stalls", w, stalling(nil), nil, []string{"some-wheel/", "timeout"}},
		{"file 404", w, good, http.NotFound, []string{"w.whl answers 404"}},
		{"wrong bytes", w, good, body(bytes.Repeat([]byte("x"), len(content))), []string{"not the file that was asked for", w.file + " has sha256", "want " + w.sha256}},
		{"truncated file", w, good, body(content[:5000]), []string{"broke off after 5000 of", "unexpected EOF"}},
		{"longer file", w, good, body(append(slices.Clone(content), 0)), []string{"is longer than the"}},
		{"file stalls", w, good, stalling(content[:7000]), []string{"broke off after 7000 of", "no data for 300ms", "run again to go on from there"}},
		{"wheel holds another plugin", other, good, body(content), []string{"the plugin's sha256 is", "want " + sum(nil)}},
		{"wheel holds no plugin", broken, page(w.file, "/w.whl", ""), body(noPlugin), []string{"not a shared library"}},
		{"wheel is no zip", unpacked, page(w.file, "/w.whl", ""), body(noZip), []string{"not a valid zip file", "is it a whole wheel?"}},
		{"wheel without the entry", moved, good, body(content), []string{"holds 0 files that could be a cpu plugin"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := home(t)
			s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": test.page, "/w.whl": test.file, releasePath: refuses})
			start := time.Now()
			_, err := testInstaller(t, s.URL, test.wheel).install(t)
			wantError(t, err, append(test.want, "wheel some-wheel 1.2: ", "go-xla's release v0.114.0: ", "give one with --from FILE, or compute with --backend go")...)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if names := files(t, dir); len(names) != 0 {
				t.Errorf("left %q", names)
			}
		})
	}
}

// stalling sends something and then nothing, until the client goes away.
func stalling(content []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if content != nil {
			w.Write(content)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}
}

// A part that an earlier try has left is not fetched again, and a wrong one does no harm; internal/fetch tests
// what servers do.
func TestInstallResumes(t *testing.T) {
	w, content := testWheel("some-wheel")
	half := len(content) / 2
	tests := []struct {
		name string
		part []byte
		want []string // requests for the file
	}{
		{"nothing there", nil, []string{"/w.whl"}},
		{"half", content[:half], []string{fmt.Sprintf("/w.whl bytes=%d-", half)}},
		{"all", content, nil},
		{"garbage", bytes.Repeat([]byte("x"), half), []string{fmt.Sprintf("/w.whl bytes=%d-", half), "/w.whl"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			home(t)
			s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": body(content), releasePath: refuses})
			in := testInstaller(t, s.URL, w)
			if test.part != nil {
				write(t, filepath.Join(in.cache, w.file), test.part)
			}
			p, err := in.install(t)
			if err != nil || p.SHA256 != w.pluginSHA256 {
				t.Fatalf("%+v, %v", p, err)
			}
			if got := s.seen("/w.whl"); !slices.Equal(got, test.want) {
				t.Errorf("requests %q, want %q", got, test.want)
			}
		})
	}
}

// A second call goes on where the first gave up.
func TestInstallGoesOnInTheNextCall(t *testing.T) {
	home(t)
	w, content := testWheel("some-wheel")
	s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": stalling(content[:7000]), releasePath: refuses})
	if _, err := testInstaller(t, s.URL, w).install(t); err == nil {
		t.Fatal("installed from a server that stalls")
	}
	s.handlers["/w.whl"] = body(content)
	s.requests = nil
	if _, err := testInstaller(t, s.URL, w).install(t); err != nil {
		t.Fatal(err)
	}
	if got := s.seen("/w.whl"); !slices.Equal(got, []string{"/w.whl bytes=7000-"}) {
		t.Errorf("requests %q", got)
	}
}

func TestInstallFallsThrough(t *testing.T) {
	home(t)
	first, _ := testWheel("first-wheel")
	second, content := testWheel("second-wheel")
	s := serve(t, map[string]http.HandlerFunc{"/simple/second-wheel/": page(second.file, "/w.whl", ""), "/w.whl": body(content)})
	p, err := testInstaller(t, s.URL, first, second).install(t)
	if err != nil || p.Source != "wheel second-wheel" {
		t.Fatalf("%+v, %v", p, err)
	}
	if notices := strings.Join(p.Notices, "\n"); !strings.Contains(notices, "wheel first-wheel 1.2: ") || !strings.Contains(notices, "go-xla's release") {
		t.Errorf("notices %q", notices)
	}
}

// A dead index is asked once, not once a wheel; the error names it and the release.
func TestInstallStopsAtADeadIndex(t *testing.T) {
	home(t)
	first, _ := testWheel("first-wheel")
	second, _ := testWheel("second-wheel")
	in := testInstaller(t, "http://127.0.0.1:1", first, second)
	_, err := in.install(t)
	wantError(t, err, "no cpu plugin for ", "could be fetched: go-xla's release v0.114.0: 127.0.0.1:1: unreachable: connect: connection refused; wheel first-wheel 1.2: 127.0.0.1:1: unreachable: ", "refused; give one with --from FILE")
	if strings.Contains(err.Error(), "second-wheel") {
		t.Errorf("asked again: %v", err)
	}
}

func TestInstallOnOtherPlatforms(t *testing.T) {
	home(t)
	in := testInstaller(t, "http://127.0.0.1:1")
	in.goos, in.arch = "windows", "amd64"
	_, err := in.install(t)
	wantError(t, err, "it has no plugin for windows/amd64", "no wheel with a plugin for windows/amd64 is known", "--backend go")
	for platform, want := range map[string]int{"linux/amd64": 3, "linux/arm64": 0, "darwin/arm64": 0} {
		goos, arch, _ := strings.Cut(platform, "/")
		if got := len(wheelsFor(goos, arch)); got != want {
			t.Errorf("%s: %d wheels", platform, got)
		}
	}
}

func TestInstallTwice(t *testing.T) {
	home(t)
	w, content := testWheel("some-wheel")
	s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": body(content)})
	first, err := testInstaller(t, s.URL, w).install(t)
	if err != nil {
		t.Fatal(err)
	}
	s.requests = nil
	second, err := testInstaller(t, s.URL, w).install(t)
	if err != nil || !second.Already || second.Plugin != first.Plugin {
		t.Errorf("%+v, %v", second, err)
	}
	if len(s.requests) != 0 {
		t.Errorf("requests %q", s.requests)
	}
}

func TestInstallReplacesAChangedPlugin(t *testing.T) {
	dir := home(t)
	w, content := testWheel("some-wheel")
	s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": body(content)})
	p, err := testInstaller(t, s.URL, w).install(t)
	if err != nil {
		t.Fatal(err)
	}
	write(t, p.Path, []byte("something else"))
	again, err := testInstaller(t, s.URL, w).install(t)
	if err != nil || again.Already || again.SHA256 != w.pluginSHA256 {
		t.Fatalf("%+v, %v", again, err)
	}
	if notices := strings.Join(again.Notices, "\n"); !strings.Contains(notices, "instead of: engine: "+filepath.Join(dir, ownName)+": changed since") {
		t.Errorf("notices %q", notices)
	}
}

// A plugin that go-xla has installed is taken, with a record from then on.
func TestInstallAdopts(t *testing.T) {
	dir := home(t)
	path := write(t, filepath.Join(dir, "pjrt_c_api_cpu_v0.114.0_plugin.so"), pluginLibrary(10).bytes())
	p, err := testInstaller(t, "http://127.0.0.1:1").install(t)
	if err != nil || !p.Already || !p.Recorded || p.Path != path || p.Version != "v0.114.0" {
		t.Fatalf("%+v, %v", p, err)
	}
	write(t, path, pluginLibrary(11).bytes())
	if _, err := p.Verify(false); !errors.Is(err, ErrChanged) {
		t.Errorf("a change afterwards: %v", err)
	}
}

// One in another folder is taken as it is: nothing is written, there or at home.
func TestInstallFindsTheSystems(t *testing.T) {
	dir := home(t)
	path := write(t, filepath.Join(systemDir, goxlaCPU), pluginLibrary(10).bytes())
	p, err := testInstaller(t, "http://127.0.0.1:1").install(t)
	if err != nil || !p.Already || p.Recorded || p.Path != path {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Error("made a folder in the user's home")
	}
}

func TestInstallOffline(t *testing.T) {
	home(t)
	w, content := testWheel("some-wheel")
	s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": body(content)})
	for _, kind := range []Kind{CPU, CUDA} {
		in := testInstaller(t, s.URL, w)
		in.Offline, in.Kind = true, kind
		_, err := in.install(t)
		wantError(t, err, "offline: no sound "+string(kind)+" plugin is installed, and none may be fetched; give one with --from FILE")
		if !errors.Is(err, ErrOffline) {
			t.Error("not ErrOffline")
		}
	}
	t.Setenv("DEEPLORA_OFFLINE", "1")
	_, err := Install(t.Context(), Options{})
	wantError(t, err, "engine install: offline: ")
	if len(s.requests) != 0 {
		t.Errorf("requests %q", s.requests)
	}
	// A file needs no network, and what it installs is there offline.
	file := write(t, filepath.Join(t.TempDir(), w.file), content)
	before := wheels
	wheels = []wheel{w}
	defer func() { wheels = before }()
	if _, err := Install(t.Context(), Options{From: file}); err != nil {
		t.Fatal(err)
	}
	p, err := Install(t.Context(), Options{})
	if err != nil || !p.Already || p.Source != "wheel some-wheel" {
		t.Errorf("%+v, %v", p, err)
	}
	write(t, p.Path, nil)
	_, err = Install(t.Context(), Options{})
	wantError(t, err, "offline: ", p.Path+": changed since it was installed: it has 0 bytes")
}

func TestInstallCancelled(t *testing.T) {
	dir := home(t)
	w, content := testWheel("some-wheel")
	s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": stalling(content[:7000])})
	in := testInstaller(t, s.URL, w)
	in.client.Stall = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in.OnProgress = func(p Progress) {
		if p.Done >= 7000 {
			cancel()
		}
	}
	_, err := in.run(ctx)
	in.client.CloseIdleConnections()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if names := files(t, dir); len(names) != 0 {
		t.Errorf("left %q", names)
	}
	if got := fileSize(filepath.Join(in.cache, w.file)); got != 7000 {
		t.Errorf("kept %d bytes of the download", got)
	}
}

// Ten at once, each with its own lock on the file as processes have: one fetches, ten have it.
func TestTenInstallsAtOnce(t *testing.T) {
	home(t)
	w, content := testWheel("some-wheel")
	s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": body(content)})
	results := make([]Installed, 10)
	faults := make([]error, 10)
	var wg sync.WaitGroup
	for i := range results {
		in := testInstaller(t, s.URL, w)
		wg.Go(func() {
			defer in.client.CloseIdleConnections()
			results[i], faults[i] = in.run(t.Context())
		})
	}
	wg.Wait()
	fresh := 0
	for i, r := range results {
		if faults[i] != nil || r.SHA256 != w.pluginSHA256 {
			t.Errorf("%d: %+v, %v", i, r, faults[i])
		}
		if !r.Already {
			fresh++
		}
	}
	if fresh != 1 {
		t.Errorf("%d installed", fresh)
	}
	if got := s.seen("/w.whl"); len(got) != 1 {
		t.Errorf("requests %q", got)
	}
}

func TestInstallWithoutHome(t *testing.T) {
	home(t)
	t.Setenv("HOME", "")
	_, err := Install(t.Context(), Options{})
	wantError(t, err, "engine install: no home directory to install into")
}
