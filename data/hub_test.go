package data

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	commit1 = "1111111111111111111111111111111111111111"
	commit2 = "2222222222222222222222222222222222222222"
)

// fakeHub serves repositories as the hub does: a listing with hashes, files with ranges. Fields are set
// before the first request.
type fakeHub struct {
	*httptest.Server
	commit    string
	files     map[string]string
	large     map[string]bool // stored as LFS: SHA-256, not git's SHA-1
	unstated  bool            // a mirror that lists names alone
	noRanges  bool
	breakAt   map[string]int // bytes after which a file's transfer breaks, once
	wrong     map[string]string
	status    int                         // of every reply, if not 0
	redirect  string                      // where files are
	odd       map[string]http.HandlerFunc // what is answered for a file; for the listing if the name is empty
	repo      string
	branch    *fakeHub // what the hub made of the repository, at refs/convert/parquet
	mu        sync.Mutex
	asked     []string // method, path, range
	withToken int
}

func newFakeHub(t *testing.T, files map[string]string) *fakeHub {
	h := &fakeHub{commit: commit1, files: files, repo: "org/name", large: map[string]bool{"model.safetensors": true}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	for _, name := range []string{"HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "DEEPLORA_OFFLINE", "HF_HUB_OFFLINE"} {
		t.Setenv(name, "") // a developer's own settings must not matter
	}
	usual := hubPatience
	hubPatience.Pause = time.Millisecond
	t.Cleanup(func() { hubPatience = usual })
	return h
}

func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.asked = append(h.asked, strings.TrimSpace(r.URL.Path+" "+r.Header.Get("Range")))
	if r.Header.Get("Authorization") != "" {
		h.withToken++
	}
	h.mu.Unlock()
	if h.status != 0 {
		w.WriteHeader(h.status)
		return
	}
	if b := h.branch; b != nil && (strings.HasSuffix(r.URL.Path, "/revision/"+converted) || strings.Contains(r.URL.Path, b.commit)) {
		h.branch.ServeHTTP(w, r)
		return
	}
	for _, revision := range []string{"main", converted, "refs/pr/7", h.commit} {
		if strings.HasSuffix(r.URL.Path, h.repo+"/revision/"+revision) && strings.HasPrefix(r.URL.Path, "/api/") {
			if answer := h.answer(""); answer != nil {
				answer(w, r)
				return
			}
			h.list(w)
			return
		}
	}
	_, name, found := strings.Cut(r.URL.Path, h.repo+"/resolve/"+h.commit+"/")
	content, known := h.files[name]
	switch {
	case !found || !known:
		w.WriteHeader(http.StatusNotFound)
	case h.answer(name) != nil:
		h.answer(name)(w, r)
	case h.redirect != "":
		http.Redirect(w, r, h.redirect+r.URL.Path+"?signature=secret", http.StatusFound)
	default:
		h.send(w, r, name, content)
	}
}

// answer is what is answered for a file instead of it, or nil.
func (h *fakeHub) answer(name string) http.HandlerFunc {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.odd[name]
}

// heal makes every answer the usual one, also while some are under way.
func (h *fakeHub) heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.odd = nil
}

func (h *fakeHub) list(w http.ResponseWriter) {
	var siblings []map[string]any
	for name, content := range h.files {
		s := map[string]any{"rfilename": name}
		if !h.unstated {
			git := sha1.Sum([]byte(fmt.Sprintf("blob %d\x00%s", len(content), content)))
			s["size"], s["blobId"] = len(content), hex.EncodeToString(git[:])
		}
		if h.large[name] && !h.unstated {
			sum := sha256.Sum256([]byte(content))
			s["lfs"] = map[string]any{"sha256": hex.EncodeToString(sum[:]), "size": len(content), "pointerSize": 135}
		}
		siblings = append(siblings, s)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"id": h.repo, "sha": h.commit, "siblings": siblings, "gated": false})
}

func (h *fakeHub) send(w http.ResponseWriter, r *http.Request, name, content string) {
	if wrong, ok := h.wrong[name]; ok {
		content = wrong
	}
	start := 0
	if from := r.Header.Get("Range"); from != "" && !h.noRanges {
		start, _ = strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(from, "bytes="), "-"))
		if start >= len(content) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(content)-1, len(content)))
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(content)-start))
	if w.Header().Get("Content-Range") != "" {
		w.WriteHeader(http.StatusPartialContent)
	}
	h.mu.Lock()
	stop, breaks := h.breakAt[name]
	delete(h.breakAt, name)
	h.mu.Unlock()
	if breaks {
		_, _ = io.WriteString(w, content[start:stop])
		panic(http.ErrAbortHandler) // cuts the connection
	}
	_, _ = io.WriteString(w, content[start:])
}

func (h *fakeHub) requests() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := h.asked
	h.asked = nil
	return asked
}

func modelRepo() map[string]string {
	return map[string]string{
		"config.json":             `{"model_type": "bert"}`,
		"model.safetensors":       strings.Repeat("weights ", 50_000),
		"tokenizer.json":          `{"version": "1.0"}`,
		"vocab.txt":               "[PAD]\n[UNK]\n",
		"README.md":               "never fetched",
		"pytorch_model.bin":       "a pickle, never fetched",
		"onnx/model.onnx":         "never fetched",
		"onnx/model.safetensors":  "never fetched: not at the root",
		"training_args.bin":       "never fetched",
		"sub/folder/weird name+%": "never fetched",
	}
}

func wantFiles(t *testing.T, dir string, want map[string]string, names ...string) {
	t.Helper()
	names = slices.Sorted(slices.Values(names))
	if got := filesBelow(dir); !slices.Equal(got, names) {
		t.Errorf("the directory has %q, want %q", got, names)
	}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil || string(content) != want[name] {
			t.Errorf("%s has %d bytes, want %d: %v", name, len(content), len(want[name]), err)
		}
	}
}

var wanted = []string{"config.json", "model.safetensors", "tokenizer.json", "vocab.txt"}

func TestHubModel(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	cache := t.TempDir()
	reported := map[string]int64{}
	opt := HubOptions{CacheDir: cache, Endpoint: h.URL + "/", Progress: func(file string, done, total int64) {
		if done <= reported[file] || total != int64(len(h.files[file])) {
			t.Errorf("%s: %d of %d bytes after %d", file, done, total, reported[file])
		}
		reported[file] = done
	}}
	dir, info, err := Resolve(t.Context(), "org/name", opt)
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, h.files, wanted...)
	if dir != filepath.Join(cache, "hub", "models--org--name", "snapshots", commit1) || info.Commit != commit1 || info.Revision != "main" || info.Repo != "org/name" {
		t.Errorf("%s, %+v", dir, info)
	}
	bytes := int64(0)
	for _, name := range wanted {
		if bytes += int64(len(h.files[name])); reported[name] != int64(len(h.files[name])) {
			t.Errorf("%s: %d bytes reported", name, reported[name])
		}
	}
	slices.Sort(info.Files)
	if info.Downloaded != bytes || !slices.Equal(info.Files, wanted) || info.Notices != nil {
		t.Errorf("%+v; want %d bytes of %q", info, bytes, wanted)
	}
	// Hugging Face's layout: a link into blobs, named by the hash that the hub states.
	sum := sha256.Sum256([]byte(h.files["model.safetensors"]))
	if target, err := os.Readlink(filepath.Join(dir, "model.safetensors")); err != nil || target != "../../blobs/"+hex.EncodeToString(sum[:]) {
		t.Errorf("the weights are linked to %s: %v", target, err)
	}
	if ref, err := os.ReadFile(filepath.Join(cache, "hub", "models--org--name", "refs", "main")); err != nil || string(ref) != commit1 {
		t.Errorf("refs/main is %q: %v", ref, err)
	}
	if asked := h.requests(); len(asked) != 1+len(wanted) {
		t.Errorf("asked for %q", asked)
	}
	for _, name := range filesBelow(filepath.Join(cache, "hub")) {
		if strings.HasSuffix(name, "-part") {
			t.Errorf("%s is left", name)
		}
	}

	// Again: one question, nothing fetched.
	again, info, err := Resolve(t.Context(), "org/name@main", opt)
	if err != nil || again != dir || info.Downloaded != 0 {
		t.Errorf("again: %s, %+v, %v", again, info, err)
	}
	if asked := h.requests(); len(asked) != 1 {
		t.Errorf("again asked for %q", asked)
	}
	// By commit: not even that.
	if again, _, err = Resolve(t.Context(), "org/name@"+commit1, opt); err != nil || again != dir {
		t.Errorf("by commit: %s, %v", again, err)
	}
	if asked := h.requests(); len(asked) != 0 {
		t.Errorf("by commit asked for %q", asked)
	}

	// The branch moves on: what has not changed is linked, not fetched.
	h.commit, h.files["config.json"] = commit2, `{"model_type": "bert", "hidden_size": 8}`
	moved, info, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: cache, Endpoint: h.URL})
	if err != nil || info.Commit != commit2 || info.Downloaded != int64(len(h.files["config.json"])) {
		t.Fatalf("%+v, %v", info, err)
	}
	wantFiles(t, moved, h.files, wanted...)
}

func TestHubLocalDirectory(t *testing.T) {
	newFakeHub(t, nil)
	dir := t.TempDir()
	got, info, err := Resolve(t.Context(), dir, HubOptions{Endpoint: "http://127.0.0.1:1", Offline: true})
	if err != nil || got != dir || !info.Local {
		t.Errorf("%s, %+v, %v", got, info, err)
	}
	for _, ref := range []string{"./missing", "./org/name", dir + "/missing", "a/b/c", "../no/such/model", "org/na me", "-org/name", "org/..", "builtin:tiny"} {
		_, _, err := Resolve(t.Context(), ref, HubOptions{Offline: true})
		if err == nil {
			t.Fatalf("%s was resolved", ref)
		}
		wantError(t, err, ref+": no such directory, and not a name on the hub (org/name[@revision])")
	}
	_, _, err = Resolve(t.Context(), "bert-base-uncased", HubOptions{Offline: true, CacheDir: t.TempDir()})
	wantError(t, err, "bert-base-uncased: no such directory, and as a name on the hub: offline, and not whole in the cache ")
	for _, revision := range []string{"", "..", "a/../../b", "/main", `a\b`, "a//b"} {
		_, _, err := Resolve(t.Context(), "org/name@"+revision, HubOptions{Offline: true})
		wantError(t, err, "is not a revision; want a branch, a tag or a commit")
	}
}

func TestHubOffline(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	cache := t.TempDir()
	online := HubOptions{CacheDir: cache, Endpoint: h.URL}
	offline := HubOptions{CacheDir: cache, Endpoint: h.URL, Offline: true}
	_, _, err := Resolve(t.Context(), "org/name", offline)
	wantError(t, err, "hub: org/name: offline, and not whole in the cache "+filepath.Join(cache, "hub")+": no revision main of org/name; run once without --offline, or give a local directory")

	dir, _, err := Resolve(t.Context(), "org/name", online)
	if err != nil {
		t.Fatal(err)
	}
	h.requests()
	got, info, err := Resolve(t.Context(), "org/name", offline)
	if err != nil || got != dir || info.Commit != commit1 || len(info.Files) != len(wanted) {
		t.Fatalf("%s, %+v, %v", got, info, err)
	}
	t.Setenv("DEEPLORA_OFFLINE", "1")
	if got, _, err := Resolve(t.Context(), "org/name", online); err != nil || got != dir {
		t.Errorf("DEEPLORA_OFFLINE=1: %s, %v", got, err)
	}
	_, _, err = Resolve(t.Context(), "org/name@v2", online)
	wantError(t, err, "offline", "no revision v2 of org/name")
	if err := os.Remove(filepath.Join(dir, "model.safetensors")); err != nil {
		t.Fatal(err)
	}
	_, _, err = Resolve(t.Context(), "org/name", online)
	wantError(t, err, "offline", "no model.safetensors or model.safetensors.index.json; run once without --offline")
	t.Setenv("DEEPLORA_OFFLINE", "0")
	t.Setenv("HF_HUB_OFFLINE", "False")
	if asked := h.requests(); len(asked) != 0 {
		t.Errorf("offline, the hub was asked for %q", asked)
	}
	if _, info, err := Resolve(t.Context(), "org/name", online); err != nil || info.Downloaded != 0 {
		t.Errorf("the blob is there, %d bytes came: %v", info.Downloaded, err) // only its link was gone
	}
}

// A cache filled by another program (files without an entry of ours) serves too.
func TestHubForeignCache(t *testing.T) {
	newFakeHub(t, nil)
	cache := t.TempDir()
	repo := filepath.Join(cache, "hub", "models--org--name")
	snapshot := filepath.Join(repo, "snapshots", commit2)
	for _, dir := range []string{filepath.Join(repo, "refs"), filepath.Join(repo, "blobs"), snapshot} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range map[string]string{"refs/main": commit2 + "\n", "blobs/abc": "{}", "blobs/def": "weights"} {
		if err := os.WriteFile(filepath.Join(repo, path), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, blob := range map[string]string{"config.json": "abc", "model.safetensors": "def", "vocab.txt": "gone"} {
		if err := os.Symlink("../../blobs/"+blob, filepath.Join(snapshot, name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HF_HOME", cache)
	dir, info, err := Resolve(t.Context(), "org/name", HubOptions{Offline: true})
	if err != nil || dir != snapshot || !slices.Equal(info.Files, []string{"config.json", "model.safetensors"}) {
		t.Errorf("%s, %+v, %v", dir, info, err)
	}
}

func TestHubOutOfReach(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
	dir, _, err := Resolve(t.Context(), "org/name", opt)
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	got, info, err := Resolve(t.Context(), "org/name", opt)
	if err != nil || got != dir {
		t.Fatalf("%s, %v", got, err)
	}
	if len(info.Notices) != 1 || !strings.Contains(info.Notices[0], "cannot be reached") || !strings.Contains(info.Notices[0], "using org/name at 111111111111 from the cache") {
		t.Errorf("notices %q", info.Notices)
	}
	_, _, err = Resolve(t.Context(), "org/other", opt)
	wantError(t, err, "hub: org/other: "+strings.TrimPrefix(h.URL, "http://")+" cannot be reached: ", "connection refused")
}

func TestHubAnswers(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	for status, want := range map[int]string{
		401: "the hub answers 401 Unauthorized: no such repository, revision or file, or a private one; check the name, or set HF_TOKEN",
		403: "the hub answers 403 Forbidden: accept its terms on the hub's page, then set HF_TOKEN",
		404: "the hub answers 404 Not Found: no such repository",
		503: "the hub answers 503 Service Unavailable",
		418: "the hub answers 418 I'm a teapot",
	} {
		h.status = status
		_, _, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL, Token: "hf_secret"})
		if err == nil {
			t.Fatalf("%d: no error", status)
		}
		if wantError(t, err, "hub: org/name: "+want); strings.Contains(err.Error(), "hf_secret") {
			t.Errorf("%v tells the token", err)
		}
		if asked := h.requests(); (len(asked) == hubPatience.Tries) != (status == 503) {
			t.Errorf("%d: asked %d times", status, len(asked))
		}
	}
	_, _, err := Resolve(t.Context(), "org/name", HubOptions{Endpoint: "huggingface.co"})
	wantError(t, err, "the endpoint is not an address; want https://host (HF_ENDPOINT)")
}

// The token goes to the hub, never to the store that it sends us to, and the store's signed address
// never into an error.
func TestHubToken(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	store := newFakeHub(t, h.files)
	h.redirect = store.URL
	t.Setenv("HF_ENDPOINT", h.URL)
	t.Setenv("HF_TOKEN", "hf_secret")
	opt := HubOptions{CacheDir: t.TempDir()}
	dir, _, err := Resolve(t.Context(), "org/name", opt)
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, h.files, wanted...)
	if h.withToken != 1+len(wanted) || store.withToken != 0 || len(store.requests()) != len(wanted) {
		t.Errorf("the hub got the token %d times, its store %d times", h.withToken, store.withToken)
	}
	store.Close()
	_, _, err = Resolve(t.Context(), "org/name", HubOptions{CacheDir: t.TempDir()})
	if wantError(t, err, "connection refused"); strings.Contains(err.Error(), "secret") {
		t.Errorf("%v tells a secret", err)
	}
}

func TestHubGoesOn(t *testing.T) {
	const weights = "model.safetensors"
	ranges := func(h *fakeHub) []string {
		return slices.DeleteFunc(h.requests(), func(r string) bool { return !strings.Contains(r, weights) })
	}
	path := "/org/name/resolve/" + commit1 + "/" + weights
	t.Run("in the same call", func(t *testing.T) {
		h := newFakeHub(t, modelRepo())
		h.breakAt = map[string]int{weights: 100_000}
		dir, info, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL})
		if err != nil {
			t.Fatal(err)
		}
		wantFiles(t, dir, h.files, wanted...)
		asked := ranges(h)
		if len(asked) != 2 || asked[0] != path || !strings.HasPrefix(asked[1], path+" bytes=") {
			t.Errorf("asked for %q", asked)
		}
		if info.Downloaded > 400_000+200 { // 400,000 bytes of weights, and the small files, once
			t.Errorf("%d bytes came", info.Downloaded)
		}
	})
	t.Run("in the next call", func(t *testing.T) {
		h := newFakeHub(t, modelRepo())
		opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
		ctx, cancel := context.WithCancel(t.Context())
		opt.Progress = func(file string, done, _ int64) {
			if file == weights && done > 50_000 {
				cancel()
			}
		}
		_, _, err := Resolve(ctx, "org/name", opt)
		if wantError(t, err, "hub: org/name: get model.safetensors: "); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		ranges(h)
		opt.Offline = true
		if _, _, err := Resolve(t.Context(), "org/name", opt); err == nil {
			t.Error("half a model was found in the cache")
		}
		opt.Offline, opt.Progress = false, nil
		dir, info, err := Resolve(t.Context(), "org/name", opt)
		if err != nil {
			t.Fatal(err)
		}
		wantFiles(t, dir, h.files, wanted...)
		if asked := ranges(h); len(asked) != 1 || !strings.HasPrefix(asked[0], path+" bytes=") || info.Downloaded > 350_000 {
			t.Errorf("asked for %q, %d bytes came", asked, info.Downloaded)
		}
	})
	t.Run("over a part of something else", func(t *testing.T) {
		h := newFakeHub(t, modelRepo())
		opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
		sum := sha256.Sum256([]byte(h.files[weights]))
		blobs := filepath.Join(opt.Cache(), "models--org--name", "blobs")
		if err := os.MkdirAll(blobs, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, junk := range []string{"junk", strings.Repeat("j", 400_000), strings.Repeat("j", 400_001)} {
			if err := os.WriteFile(filepath.Join(blobs, hex.EncodeToString(sum[:])+".deeplora-part"), []byte(junk), 0o600); err != nil {
				t.Fatal(err)
			}
			dir, _, err := Resolve(t.Context(), "org/name", opt)
			if err != nil {
				t.Fatal(err)
			}
			wantFiles(t, dir, h.files, wanted...)
			if err := os.Remove(filepath.Join(blobs, hex.EncodeToString(sum[:]))); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A transfer that never becomes whole is an error, and nothing of it counts as a file.
func TestHubBadTransfers(t *testing.T) {
	weights := modelRepo()["model.safetensors"]
	for _, c := range []struct{ name, sent, want string }{
		{"other content", strings.Repeat("WEIGHTS ", 50_000), "get model.safetensors: what came has hash "},
		{"too short", weights[:1000], "get model.safetensors: it broke off after 1000 of 400000 bytes: unexpected EOF; run again to go on from there"},
		{"too long", weights + "more", "get model.safetensors: the hub sends more than the 400000 bytes it states"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newFakeHub(t, modelRepo())
			h.noRanges, h.wrong = true, map[string]string{"model.safetensors": c.sent}
			cache := t.TempDir()
			_, _, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: cache, Endpoint: h.URL})
			wantError(t, err, "hub: org/name: "+c.want)
			for _, name := range filesBelow(cache) {
				if strings.HasSuffix(name, "model.safetensors") || strings.HasSuffix(name, "refs/main") {
					t.Errorf("%s is there", name)
				}
			}
		})
	}
}

func TestHubMirrorWithoutHashes(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	h.unstated, h.breakAt = true, map[string]int{"model.safetensors": 100_000}
	dir, info, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL})
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, h.files, wanted...)
	if len(info.Notices) != len(wanted) || !strings.Contains(info.Notices[0], "the hub states no hash; its sha256 is ") {
		t.Errorf("notices %q", info.Notices)
	}
}

func TestHubHostileListings(t *testing.T) {
	for _, name := range []string{
		"../config.json", "/etc/passwd", `..\config.json`, "a/../../config.json", "", "./config.json", "c:config.json", "a//b",
		"..", "a/..", "config.json/", `C:\config.json`, `\\server\share`, "a\x00b", "a\x1b[31mb", "a\nb", "a\u009bb",
	} {
		h := newFakeHub(t, modelRepo())
		h.files[name] = "hostile"
		cache := t.TempDir()
		_, _, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: cache, Endpoint: h.URL})
		wantError(t, err, fmt.Sprintf("its listing has a file with an unsafe name, %q", name))
		if files := filesBelow(cache); len(files) != 0 {
			t.Errorf("%q: the cache has %q", name, files)
		}
	}
	h := newFakeHub(t, modelRepo())
	h.commit = "../../../../escaped"
	_, _, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL})
	wantError(t, err, `its listing names "../../../../escaped" as the commit`)
}

func TestHubShards(t *testing.T) {
	repo := func(index string) map[string]string {
		return map[string]string{
			"config.json": "{}", safetensorsIndex: index,
			"model-00001-of-00002.safetensors": "one", "model-00002-of-00002.safetensors": "two", "model-00003-of-00002.safetensors": "not in the index",
		}
	}
	const good = `{"metadata": {"total_size": 6}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors", "c": "model-00001-of-00002.safetensors"}}`
	h := newFakeHub(t, repo(good))
	opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
	names := []string{"config.json", safetensorsIndex, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
	dir, _, err := Resolve(t.Context(), "org/name@refs/pr/7", opt)
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, h.files, names...)
	opt.Offline = true
	if _, info, err := Resolve(t.Context(), "org/name@refs/pr/7", opt); err != nil || len(info.Files) != 4 {
		t.Errorf("offline: %+v, %v", info, err)
	}
	if err := os.Remove(filepath.Join(dir, names[3])); err != nil {
		t.Fatal(err)
	}
	_, _, err = Resolve(t.Context(), "org/name@refs/pr/7", opt)
	wantError(t, err, "offline", "no model-00002-of-00002.safetensors")

	for index, want := range map[string]string{
		`{"weight_map": {"a": "../../evil.safetensors"}}`: `"../../evil.safetensors" is not the name of a shard`,
		`{"weight_map": {"a": "pytorch_model.bin"}}`:      `"pytorch_model.bin" is not the name of a shard`,
		`{"weight_map": {"a": "absent.safetensors"}}`:     "no absent.safetensors, which model.safetensors.index.json names",
		`{"weight_map": ["a"]}`:                           "model.safetensors.index.json: json: ",
	} {
		h := newFakeHub(t, repo(index))
		_, _, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL})
		wantError(t, err, want)
	}
}

func TestHubWithoutTheFiles(t *testing.T) {
	h := newFakeHub(t, map[string]string{"config.json": "{}", "pytorch_model.bin": "a pickle"})
	_, _, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL})
	wantError(t, err, "hub: org/name: no model.safetensors, only pytorch_model.bin: pickles can run code and are refused; convert it with Transformers: model.save_pretrained(DIR, safe_serialization=True), and give that directory")
	h.files = map[string]string{"model.safetensors": "weights"}
	_, _, err = Resolve(t.Context(), "org/name", HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL})
	wantError(t, err, "no config.json")
}

// Several at once fetch each file once.
func TestHubAtOnce(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			dir, _, err := Resolve(t.Context(), "org/name", opt)
			if err != nil {
				t.Error(err)
				return
			}
			wantFiles(t, dir, h.files, wanted...)
		})
	}
	group.Wait()
	if asked := h.requests(); len(asked) != 4+len(wanted) {
		t.Errorf("asked for %q", asked)
	}
}

// GLUE's parquet files, from the hub to examples.
func TestHubDataSet(t *testing.T) {
	parquet := string(golden(t, "stsb.parquet").Data)
	files := map[string]string{}
	for _, split := range []string{Train, Validation, Test} {
		files["stsb/"+split+"-00000-of-00001.parquet"] = parquet
		files["rte/"+split+"-00000-of-00001.parquet"] = "never fetched"
	}
	h := newFakeHub(t, files)
	h.repo = glueRepo
	stsb := lookup(t, "stsb")
	opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
	dir, info, err := stsb.Resolve(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Files) != 3 || !strings.Contains(dir, "datasets--nyu-mll--glue") || !strings.HasPrefix(h.requests()[1], "/datasets/nyu-mll/glue/resolve/") {
		t.Errorf("%s, %+v", dir, info)
	}
	s, err := Load(dir, stsb, Validation)
	if err != nil || len(s.Examples) != len(pairs) || !same(s.Examples[4], pairs[4]) {
		t.Errorf("%+v, %v", s, err)
	}
	_, _, err = reviews.Resolve(t.Context(), opt)
	wantError(t, err, `hub: nyu-mll/glue has no task "reviews"; give a directory with its files`)
	_, _, err = lookup(t, "mnli-mm").Resolve(t.Context(), opt)
	wantError(t, err, "hub: nyu-mll/glue: no mnli/train-00000-of-00001*.parquet")
}

func TestHubCacheFolder(t *testing.T) {
	newFakeHub(t, nil)
	t.Setenv("XDG_CACHE_HOME", "/xdg")
	if got := (HubOptions{}).Cache(); got != "/xdg/huggingface/hub" {
		t.Error(got)
	}
	t.Setenv("HF_HOME", "/home")
	if got := (HubOptions{}).Cache(); got != "/home/hub" {
		t.Error(got)
	}
	t.Setenv("HF_HUB_CACHE", "/cache")
	if got := (HubOptions{}).Cache(); got != "/cache" {
		t.Error(got)
	}
	if got := (HubOptions{CacheDir: "/flag"}).Cache(); got != "/flag/hub" {
		t.Error(got)
	}
}

// A shared cache may be read-only: what it has still serves.
func TestHubReadOnlyCache(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root writes everywhere")
	}
	h := newFakeHub(t, modelRepo())
	opt := HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL}
	dir, _, err := Resolve(t.Context(), "org/name", opt)
	if err != nil {
		t.Fatal(err)
	}
	refs := filepath.Join(opt.Cache(), "models--org--name", "refs")
	if err := os.WriteFile(filepath.Join(refs, "main"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(refs, 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(refs, 0o755) })
	got, info, err := Resolve(t.Context(), "org/name", opt)
	if err != nil || got != dir || len(info.Notices) != 1 {
		t.Errorf("%s, %+v, %v", got, info, err)
	}
}

// What a folder is read for is what is fetched: a file that lies in a folder is fetched from the hub too.
func TestHubFetchesWhatFoldersAreReadFor(t *testing.T) {
	files, names := modelRepo(), slices.Clone(wanted)
	for _, name := range []string{"added_tokens.json", "tokenizer_config.json", "special_tokens_map.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "config_sentence_transformers.json"} {
		files[name] = `{"of": "` + name + `"}`
		names = append(names, name)
	}
	files["2_Dense/model.safetensors"] = "never fetched: refused by modules.json"
	h := newFakeHub(t, files)
	dir, _, err := Resolve(t.Context(), "org/name", HubOptions{CacheDir: t.TempDir(), Endpoint: h.URL})
	if err != nil {
		t.Fatal(err)
	}
	wantFiles(t, dir, files, names...)
}

// The oldest models of the hub have no organisation: the hub answers under its new name, the cache keeps the one asked for.
func TestHubModelWithoutOrganisation(t *testing.T) {
	h := newFakeHub(t, modelRepo())
	h.repo = "bert-base-uncased"
	cache := t.TempDir()
	dir, info, err := Resolve(t.Context(), "bert-base-uncased", HubOptions{CacheDir: cache, Endpoint: h.URL})
	if err != nil || info.Repo != "bert-base-uncased" || dir != filepath.Join(cache, "hub", "models--bert-base-uncased", "snapshots", commit1) {
		t.Errorf("%s, %+v, %v", dir, info, err)
	}
	_, _, err = Resolve(t.Context(), "bert-bse-uncased", HubOptions{CacheDir: cache, Endpoint: h.URL})
	wantError(t, err, "bert-bse-uncased: no such directory, and as a name on the hub: ")
}
