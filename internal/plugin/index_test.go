package plugin

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseSimple(t *testing.T) {
	base, _ := url.Parse("https://me:secret@mirror.example/pypi/simple/project/")
	const sha = "88b1c430b341b4bea40a37420311c9c75db6e22b46d2ff95b6986577bee6afe9"
	tests := []struct {
		name, page string
		want       indexFile
		address    string
	}{
		{
			"JSON, absolute", `{"files": [{"filename": "a.whl", "url": "https://files.example/x/a.whl", "hashes": {"sha256": "` + strings.ToUpper(sha) + `"}}]}`,
			indexFile{name: "a.whl", sha256: sha},
			"https://files.example/x/a.whl",
		},
		{
			"JSON, relative, no hash", ` {"files": [{"filename": "a.whl", "url": "../../packages/a.whl"}]}`,
			indexFile{name: "a.whl"},
			"https://me:secret@mirror.example/pypi/packages/a.whl",
		},
		{
			"JSON, the same server", `{"files": [{"filename": "a.whl", "url": "https://mirror.example/a.whl"}]}`,
			indexFile{name: "a.whl"},
			"https://me:secret@mirror.example/a.whl",
		},
		{
			"HTML", `<!DOCTYPE html><html><body><a href="../../packages/a%2Bb.whl#sha256=` + sha + `" data-requires-python="&gt;=3.9">a+b.whl</a>`,
			indexFile{name: "a+b.whl", sha256: sha},
			"https://me:secret@mirror.example/pypi/packages/a%2Bb.whl",
		},
		{
			"HTML, untidy", "<A\n class=x HREF = '/p/a.whl?x=1&amp;y=2'>a.whl</A>",
			indexFile{name: "a.whl"},
			"https://me:secret@mirror.example/p/a.whl?x=1&y=2",
		},
		{
			"HTML, another hash", `<a href="http://mirror.example/a.whl#md5=00">a.whl</a>`,
			indexFile{name: "a.whl"},
			"http://mirror.example/a.whl", // http: no password for it
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			files, err := parseSimple(base, []byte(test.page))
			if err != nil || len(files) != 1 {
				t.Fatalf("%v, %v", files, err)
			}
			if f := files[0]; f.name != test.want.name || f.sha256 != test.want.sha256 || f.url.String() != test.address {
				t.Errorf("%s %s %s", f.name, f.sha256, f.url)
			}
		})
	}
	if _, err := parseSimple(base, []byte(`{"files": 7}`)); err == nil {
		t.Error("accepted files that are a number")
	}
	if files, err := parseSimple(base, []byte("<html>404</html>")); err != nil || len(files) != 0 {
		t.Errorf("%v, %v", files, err)
	}
}

func FuzzParseSimple(f *testing.F) {
	f.Add([]byte(`{"files": [{"filename": "a.whl", "url": "../a.whl", "hashes": {"sha256": "00"}}]}`))
	f.Add([]byte(`<a href="a.whl#sha256=00">a.whl</a><a href='%zz'>`))
	base, _ := url.Parse("https://u:p@h/simple/x/")
	f.Fuzz(func(t *testing.T, content []byte) {
		files, _ := parseSimple(base, content)
		for _, file := range files {
			if file.url == nil || file.sha256 != strings.ToLower(file.sha256) {
				t.Errorf("%+v", file)
			}
			if file.url.User != nil && file.url.Host != "h" && strings.Contains(file.url.String(), "u:p@") {
				t.Errorf("the index's password goes to %s", file.url.Host)
			}
		}
	})
}

func TestIndexURL(t *testing.T) {
	conf := func(text string) string { return write(t, filepath.Join(t.TempDir(), "pip.conf"), []byte(text)) }
	tests := []struct {
		name, env, file string
		want, fault     string
	}{
		{"default", "", os.DevNull, defaultIndex, ""},
		{"environment", "https://mirror.example/simple/", os.DevNull, "https://mirror.example/simple/", ""},
		{"environment before file", "https://a.example/", conf("[global]\nindex-url = https://b.example/\n"), "https://a.example/", ""},
		{"file", "", conf("[global]\nindex-url = https://b.example/simple\n"), "https://b.example/simple", ""},
		{"file, install before global", "", conf("[install]\nindex_url: https://c.example\n[global]\nindex-url=https://b.example\n"), "https://c.example", ""},
		{"file, extra index and comment", "", conf("# index-url = x\n[global]\nextra-index-url = https://d.example\n"), defaultIndex, ""},
		{"a folder", "/srv/wheels", os.DevNull, "", "the index of PIP_INDEX_URL, /srv/wheels, is not an address with https:// or http://; for files use --from"},
		{"a file's address", "file:///srv/wheels", os.DevNull, "", "for files use --from"},
		{"no address", "https://me:secret@bad host/", os.DevNull, "", "the index of PIP_INDEX_URL is not an address"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			home(t)
			t.Setenv("PIP_INDEX_URL", test.env)
			t.Setenv("PIP_CONFIG_FILE", test.file)
			u, err := indexURL()
			if test.fault != "" {
				wantError(t, err, test.fault)
				if strings.Contains(err.Error(), "secret") {
					t.Errorf("the password is in %q", err)
				}
				return
			}
			if err != nil || u.String() != test.want {
				t.Errorf("%v, %v", u, err)
			}
		})
	}
}

func TestIndexURLOfUser(t *testing.T) {
	home(t)
	t.Setenv("PIP_INDEX_URL", "")
	t.Setenv("PIP_CONFIG_FILE", "")
	dir, err := os.UserConfigDir()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "pip", "pip.conf"), []byte("[global]\nindex-url = https://user.example/simple\n"))
	if u, err := indexURL(); err != nil || u.String() != "https://user.example/simple" {
		t.Errorf("%v, %v", u, err)
	}
}

func FuzzParsePipConfig(f *testing.F) {
	f.Add("[global]\nindex-url = https://b.example\n")
	f.Add("[\n=\n:")
	f.Fuzz(func(t *testing.T, content string) {
		if u := parsePipConfig(strings.NewReader(content)); !strings.Contains(content, u) {
			t.Errorf("%q is not in the file", u)
		}
	})
}

// A password in the index's address reaches the index and files on its server, and no error.
func TestIndexPassword(t *testing.T) {
	home(t)
	w, content := testWheel("some-wheel")
	guarded := func(h http.HandlerFunc) http.HandlerFunc {
		return func(rw http.ResponseWriter, r *http.Request) {
			if user, password, _ := r.BasicAuth(); user != "me" || password != "secret" {
				http.Error(rw, "no", http.StatusUnauthorized)
				return
			}
			h(rw, r)
		}
	}
	s := serve(t, nil)
	s.handlers = map[string]http.HandlerFunc{
		"/simple/some-wheel/": guarded(page(w.file, s.URL+"/files/w.whl", w.sha256)),
		"/files/w.whl":        guarded(body(content)),
	}
	withUser := strings.Replace(s.URL, "://", "://me:secret@", 1)
	if _, err := testInstaller(t, withUser, w).install(t); err != nil {
		t.Fatal(err)
	}
	home(t)
	_, err := testInstaller(t, strings.Replace(s.URL, "://", "://me:wrong@", 1), w).install(t)
	wantError(t, err, "answers 401 Unauthorized", "me:xxxxx@")
	if strings.Contains(err.Error(), "wrong") {
		t.Errorf("the password is in %q", err)
	}
}
