package data

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// These tests put a hub that breaks, lies and stalls before Resolve. What one transfer makes of it is tested in
// internal/fetch; here, that no such file ever counts as one, and that the user is told.

// endless sends zeros until the client has had enough.
func endless(w http.ResponseWriter, r *http.Request) {
	zeros := make([]byte, 1<<20)
	for r.Context().Err() == nil {
		if _, err := w.Write(zeros); err != nil {
			return
		}
	}
}

// stalls sends a text and then nothing, until the client goes away.
func stalls(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, text)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
}

func loops(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }

func resets(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// short announces more than it sends.
func short(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "400000")
	_, _ = io.WriteString(w, "weights ")
}

// long announces less than it sends.
func long(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "8")
	_, _ = io.WriteString(w, strings.Repeat("weights ", 50_000))
}

// misplaced answers a request for the rest with the start of the file, and says so, or does not.
func misplaced(content, said string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", said)
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, content)
	}
}

func busy(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Retry-After", "3600")
	w.WriteHeader(http.StatusTooManyRequests)
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func TestHubThatBreaksAndLies(t *testing.T) {
	const weights, page = "model.safetensors", ""
	content := modelRepo()[weights]
	for _, c := range []struct {
		name, file string
		answer     http.HandlerFunc
		want       string
	}{
		{"listing stalls", page, stalls("{"), "no data for 200ms"},
		{"listing resets", page, resets, "cannot be reached: "},
		{"listing loops", page, loops, "stopped after 10 redirects"},
		{"listing is a web page", page, says("<html>sign in</html>"), "its listing is not what a hub gives: "},
		{"listing is cut off", page, says(`{"sha": "11`), "its listing is not what a hub gives: "},
		{"listing without a commit", page, says(`{"siblings": []}`), `its listing names "" as the commit`},
		{"listing of null", page, says(`{"sha": "` + commit1 + `", "siblings": [null]}`), "unsafe name"},
		{"listing is endless", page, endless, "it is longer than the 67108864 bytes it should have"},
		{"listing later", page, busy, "the hub answers 429 Too Many Requests: try again in 1h0m0s, or set HF_TOKEN"},
		{"file stalls", weights, stalls(content[:1]), "get model.safetensors: it broke off after 1 of 400000 bytes: no data for 200ms; run again to go on from there"},
		{"file resets", weights, resets, "cannot be reached: "},
		{"file loops", weights, loops, "stopped after 10 redirects"},
		{"file is short of its length", weights, short, "it broke off after 8 of 400000 bytes"},
		{"file is longer than its length", weights, long, "it broke off after 0 of 400000 bytes"},
		{"file is endless", weights, endless, "the hub sends more than the 400000 bytes it states"},
		{"wrong bytes", weights, says(strings.ToUpper(content)), "what came has hash "},
		{"another place of the file", weights, misplaced(content, "bytes 7-399999/400000"), "answers 206 Partial Content"},
		{"later", weights, busy, "get model.safetensors: the hub answers 429 Too Many Requests: try again in 1h0m0s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHub(t, modelRepo())
			h.odd = map[string]http.HandlerFunc{c.file: c.answer}
			hubPatience.Stall, hubPatience.Tries = 200*time.Millisecond, 3
			opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL, Token: "hf_secret"}
			began := time.Now()
			_, info, err := Resolve(t.Context(), "org/name", opt)
			if wantError(t, err, "hub: org/name: ", c.want); strings.Contains(err.Error(), "secret") {
				t.Errorf("%v tells the token", err)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
			for _, name := range filesBelow(opt.CacheDir) {
				if strings.HasSuffix(name, "/"+weights) || strings.Contains(name, "/refs/") {
					t.Errorf("%s is there", name)
				}
			}
			opt.Offline = true
			if _, _, err := Resolve(t.Context(), "org/name", opt); err == nil {
				t.Error("the cache has a model")
			}

			// And when the hub is well again, so is the cache.
			h.heal()
			opt.Offline = false
			dir, again, err := Resolve(t.Context(), "org/name", opt)
			if err != nil {
				t.Fatalf("afterwards: %v", err)
			}
			wantFiles(t, dir, h.files, wanted...)
			if most := int64(400_000 + 200); again.Downloaded > most {
				t.Errorf("afterwards %d bytes came (before: %d)", again.Downloaded, info.Downloaded)
			}
		})
	}
}

// What a hub says of sizes is held against what such files can have, before and while they come.
func TestHubSizes(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	for _, c := range []struct{ listed, want string }{
		{`{"rfilename": "config.json", "size": 9000000000000000000}`, "the hub states 9000000000000000000 bytes for config.json; no such file has more than 67108864"},
		{`{"rfilename": "config.json", "size": -1}`, "the hub sends more than 67108864 bytes; no such file has more"},
		{`{"rfilename": "config.json", "size": 1e300}`, "its listing is not what a hub gives"},
	} {
		h.odd = map[string]http.HandlerFunc{
			"":            says(`{"sha": "` + commit1 + `", "siblings": [` + c.listed + `, {"rfilename": "model.safetensors", "size": 7}]}`),
			"config.json": endless,
		}
		cache := t.TempDir()
		_, _, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: cache, Endpoint: h.URL})
		wantError(t, err, c.want)
		for _, name := range filesBelow(cache) {
			if info, err := os.Stat(filepath.Join(cache, name)); err == nil && info.Size() > 0 {
				t.Errorf("%s: %s holds %d bytes", c.listed, name, info.Size())
			}
		}
	}
	// A mirror may state no sizes at all: then the names bound them.
	for name, most := range map[string]int64{"a/tokenizer.json": 64 << 20, "vocab.txt": 64 << 20, "stsb/x.parquet": 4 << 30, "model.safetensors": 64 << 30} {
		if got := (hubWant{dataset: filepath.Ext(name) == ".parquet"}).mostOf(name); got != most {
			t.Errorf("%s may have %d bytes, want %d", name, got, most)
		}
	}
}

// On a full disk the error says what to do, and the part goes.
func TestHubDiskFull(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", opt.CacheDir).CombinedOutput(); err != nil {
		t.Skipf("mounts a tmpfs, which needs Linux and root: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", opt.CacheDir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	_, _, err := Resolve(t.Context(), "org/name", opt)
	wantError(t, err, "hub: org/name: get model.safetensors: cache: ", "no space left on device; free some space, or name another folder with --cache")
	for _, name := range filesBelow(opt.CacheDir) {
		if strings.HasSuffix(name, "-part") {
			t.Errorf("%s is left", name)
		}
	}
}

// Links that somebody has planted in a shared cache are not written through: the places where files come, and the
// note of a revision.
func TestHubCacheWithPlantedLinks(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
	repo := filepath.Join(opt.Cache(), "models--org--name")
	sum := sha256.Sum256([]byte(h.files["model.safetensors"]))
	precious := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(precious, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{"blobs/" + hex.EncodeToString(sum[:]) + ".deeplora-part", "blobs/" + hex.EncodeToString(sum[:]), "snapshots/" + commit1 + "/config.json", "refs/main"} {
		at := filepath.Join(repo, filepath.FromSlash(place))
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.Symlink(precious, at)); err != nil {
			t.Fatal(err)
		}
	}
	dir, _, err := Resolve(t.Context(), "org/name", opt)
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, h.files, wanted...)
	if left, err := os.ReadFile(precious); err != nil || string(left) != "precious" {
		t.Errorf("the file that the links named is %q: %v", left, err)
	}
}

// An index of a strange model is bounded, and no device.
func TestHubCacheWithStrangeFiles(t *testing.T) {
	cache := t.TempDir()
	snapshot := filepath.Join(cache, "hub", "models--org--name", "snapshots", commit1)
	if err := os.MkdirAll(snapshot, 0o755); err != nil {
		t.Fatal(err)
	}
	index, err := json.Marshal(map[string]any{"weight_map": map[string]string{"a": "x.safetensors"}, "pad": strings.Repeat(" ", maxTokenizerFile)})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"config.json": "{}", safetensorsIndex: string(index)} {
		if err := os.WriteFile(filepath.Join(snapshot, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, _, err = Resolve(t.Context(), "org/name@"+commit1, HubOptions{CacheDir: cache, Offline: true})
	wantError(t, err, "model.safetensors.index.json: file is too large: more than 64 MB")
}
