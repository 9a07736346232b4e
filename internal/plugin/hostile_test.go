package plugin

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// These tests put an index that lies, and archives that want to write elsewhere, before Install. What one transfer
// makes of a server that breaks is tested in internal/fetch.

// An index may lie about lengths, redirect in a loop or answer without end: it costs seconds, and leaves nothing.
func TestInstallFromAnIndexThatLies(t *testing.T) {
	w, content := testWheel("some-wheel")
	good := page(w.file, "/w.whl", w.sha256)
	loop := func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, r.URL.Path, http.StatusFound) }
	endless := func(rw http.ResponseWriter, r *http.Request) {
		for zeros := make([]byte, 1<<20); r.Context().Err() == nil; {
			if _, err := rw.Write(zeros); err != nil {
				return
			}
		}
	}
	announcing := func(length string, b []byte) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", length)
			_, _ = rw.Write(b)
		}
	}
	elsewhere := func(to string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Location", to)
			rw.WriteHeader(http.StatusFound)
		}
	}
	later := func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Retry-After", "3600")
		rw.WriteHeader(http.StatusServiceUnavailable)
	}
	for _, test := range []struct {
		name       string
		page, file http.HandlerFunc
		want       string
	}{
		{"page in a loop", loop, nil, "/simple/some-wheel/: stopped after 10 redirects"},
		{"page to a file", elsewhere("file:///etc/passwd"), nil, `unsupported protocol scheme "file"`},
		{"page without end", endless, nil, "/simple/some-wheel/: it is longer than the 67108864 bytes it should have"},
		{"page longer than it is", announcing("100", []byte("{")), nil, "unexpected EOF"},
		{"page later", later, nil, "answers 503 Service Unavailable and asks to be left alone for 1h0m0s"},
		{"file in a loop", good, loop, "/w.whl: stopped after 10 redirects"},
		{"file to a file", good, elsewhere("file:///etc/passwd"), `unsupported protocol scheme "file"`},
		{"file without end", good, endless, "it is longer than the "},
		{"file longer than it is", good, announcing("999999999", content), ""}, // all of it came
		{"file shorter than it is", good, announcing("8", content), "broke off after 0 of"},
		{"file later", good, later, "asks to be left alone for 1h0m0s"},
		{"file at no address", page(w.file, "file:///etc/passwd", w.sha256), nil, `unsupported protocol scheme "file"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := home(t)
			s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": test.page, "/w.whl": test.file, releasePath: refuses})
			began := time.Now()
			in := testInstaller(t, s.URL, w)
			_, err := in.install(t)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if wantError(t, err, test.want); len(files(t, dir)) != 0 {
				t.Errorf("left %q", files(t, dir))
			}
			if kept := fileSize(filepath.Join(in.cache, w.file)); kept > w.size {
				t.Errorf("kept %d bytes of a file of %d", kept, w.size)
			}
		})
	}
}

// hostileNames are where a member of an archive may want to go.
var hostileNames = []string{
	"../../../escaped/libpjrt_cpu.so", "/escaped/libpjrt_cpu.so", `..\..\escaped\libpjrt_cpu.so`, `C:\escaped\libpjrt_cpu.so`,
	"x/../../../../escaped/libpjrt_cpu.so", "escaped\x1b[31m/libpjrt_cpu.so",
}

// Whatever an archive calls its members, what is written is the plugin at its place and its record.
func TestArchivesCannotLeaveTheirPlace(t *testing.T) {
	plugin := string(pluginLibrary(10).bytes())
	for _, name := range hostileNames {
		for kind, archive := range map[string][]byte{"x.whl": zipped(name, plugin), "x.tar.gz": tarred(name, plugin)} {
			dir := home(t)
			above := filepath.Dir(os.Getenv("HOME"))
			before := everyFile(t, above)
			in := testInstaller(t, "http://127.0.0.1:1")
			in.From = write(t, filepath.Join(t.TempDir(), kind), archive)
			_, err := in.install(t)
			got := slices.DeleteFunc(everyFile(t, above), func(f string) bool {
				return slices.Contains(before, f) || filepath.Dir(f) == dir || strings.HasPrefix(f, in.cache)
			})
			if got = slices.DeleteFunc(got, func(f string) bool { return f == in.From }); len(got) > 0 {
				t.Errorf("%s, %q: wrote %q (%v)", kind, name, got, err)
			}
			if _, err := os.Stat("/escaped"); err == nil {
				t.Fatal("wrote /escaped")
			}
			if strings.Contains(name, `\`) && err == nil {
				continue // on this system a file of a strange name, whose place is the same
			}
			if err == nil && !slices.Equal(files(t, dir), []string{ownName, ownName + ".json", goxlaCPU}) {
				t.Errorf("%s, %q: folder %q", kind, name, files(t, dir))
			}
		}
	}
}

func everyFile(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// A member that is a link, a folder or more than it says is no plugin.
func TestArchivesWithWhatIsNoFile(t *testing.T) {
	linkInZip := func() []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		h := &zip.FileHeader{Name: "x/libpjrt_cpu.so"}
		h.SetMode(fs.ModeSymlink | 0o777)
		w, _ := z.CreateHeader(h)
		_, _ = w.Write([]byte("/etc/passwd"))
		z.Close()
		return b.Bytes()
	}
	inTar := func(h tar.Header) []byte {
		var b bytes.Buffer
		g := gzip.NewWriter(&b)
		a := tar.NewWriter(g)
		h.Name = "libpjrt_cpu.so"
		_ = a.WriteHeader(&h)
		a.Close()
		g.Close()
		return b.Bytes()
	}
	plugin := pluginLibrary(1000).bytes()
	lying := zipped("x/libpjrt_cpu.so", string(plugin))
	// The size of the content, in the directory at the archive's end.
	at := bytes.LastIndex(lying, []byte("PK\x01\x02"))
	copy(lying[at+24:], []byte{100, 0, 0, 0})
	for name, c := range map[string]struct {
		file    string
		archive []byte
		want    string
	}{
		"a link in a wheel":         {"x.whl", linkInZip(), "not a shared library: it begins with"},
		"a link in an archive":      {"x.tar.gz", inTar(tar.Header{Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), "holds no cpu plugin"},
		"a hard link":               {"x.tar.gz", inTar(tar.Header{Typeflag: tar.TypeLink, Linkname: "/etc/passwd"}), "holds no cpu plugin"},
		"a device":                  {"x.tar.gz", inTar(tar.Header{Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5}), "holds no cpu plugin"},
		"more than it says":         {"x.whl", lying, ""},
		"a plugin of a terabyte":    {"x.tar.gz", inTar(tar.Header{Typeflag: tar.TypeReg, Size: 1 << 40}), "the plugin has more than 4294967296 bytes"},
		"a wheel with two plugins":  {"x.whl", zipped("a/libpjrt_cpu.so", "x", "b/libpjrt_cpu.so", "y"), "holds 2 files that could be a cpu plugin"},
		"a wheel of other machines": {"x.whl", zipped("a/libpjrt_cpu.dll", "MZ"), "holds 0 files that could be a cpu plugin"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := home(t)
			in := testInstaller(t, "http://127.0.0.1:1")
			in.From = write(t, filepath.Join(t.TempDir(), c.file), c.archive)
			_, err := in.install(t)
			if wantError(t, err, c.want); len(files(t, dir)) != 0 {
				t.Errorf("left %q", files(t, dir))
			}
		})
	}
}

// Links at the places that an install writes to are replaced, not followed.
func TestInstallFollowsNoLinks(t *testing.T) {
	dir := home(t)
	w, content := testWheel("some-wheel")
	s := serve(t, map[string]http.HandlerFunc{"/simple/some-wheel/": page(w.file, "/w.whl", w.sha256), "/w.whl": body(content), releasePath: refuses})
	in := testInstaller(t, s.URL, w)
	precious := write(t, filepath.Join(t.TempDir(), "precious"), []byte("precious"))
	for _, at := range []string{filepath.Join(in.cache, w.file), filepath.Join(dir, ownName), filepath.Join(dir, ownName+".json"), filepath.Join(dir, goxlaCPU)} {
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(precious, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := in.install(t); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadFile(precious); err != nil || string(left) != "precious" {
		t.Errorf("the file that the links named has %d bytes: %v", len(left), err)
	}
	if info, err := os.Lstat(filepath.Join(dir, ownName)); err != nil || !info.Mode().IsRegular() {
		t.Errorf("the plugin is %v: %v", info.Mode(), err)
	}
}
