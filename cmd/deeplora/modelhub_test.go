package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// modelHub serves the files of a folder as the hub serves a model, under any name.
type modelHub struct {
	*httptest.Server
	files map[string][]byte

	slow bool // the weights come in pieces, with pauses between; set before the first request

	mu        sync.Mutex
	redirect  string // where files are, if not here
	status    int    // of every answer, if not 0
	requests  int
	withToken int
	sent      map[string]int // bytes of each file
}

const hubCommit = "1111111111111111111111111111111111111111"

func newModelHub(t *testing.T, dir string) *modelHub {
	t.Helper()
	h := &modelHub{files: map[string][]byte{}, sent: map[string]int{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if h.files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *modelHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	h.requests++
	if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
		h.withToken++
	}
	status, redirect := h.status, h.redirect
	h.mu.Unlock()
	_, name, isFile := strings.Cut(r.URL.Path, "/resolve/"+hubCommit+"/")
	switch {
	case status != 0:
		w.WriteHeader(status)
	case !isFile:
		h.list(w)
	case redirect != "":
		http.Redirect(w, r, redirect+r.URL.Path+"?signature=x", http.StatusFound)
	default:
		http.ServeContent(&counting{w, h, name}, r, "", time.Time{}, bytes.NewReader(h.files[name]))
	}
}

// answers makes the hub give every request a status, if not 0, and send whoever asks for a file elsewhere, if not empty.
func (h *modelHub) answers(status int, redirect string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status, h.redirect = status, redirect
}

func (h *modelHub) list(w http.ResponseWriter) {
	var siblings []map[string]any
	for name, content := range h.files {
		sum := sha256.Sum256(content)
		siblings = append(siblings, map[string]any{"rfilename": name, "size": len(content), "lfs": map[string]any{"sha256": hex.EncodeToString(sum[:]), "size": len(content)}})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"sha": hubCommit, "siblings": siblings})
}

// counting counts what is sent of a file, and may take its time with the weights.
type counting struct {
	http.ResponseWriter
	hub  *modelHub
	name string
}

func (c *counting) Write(p []byte) (n int, err error) {
	piece := len(p)
	if c.hub.slow && c.name == "model.safetensors" {
		piece = 16 << 10
	}
	for len(p) > 0 && err == nil {
		part := p[:min(piece, len(p))]
		k, fault := c.ResponseWriter.Write(part)
		if n, err, p = n+k, fault, p[len(part):]; piece < len(part)+len(p) {
			c.ResponseWriter.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
		c.hub.mu.Lock()
		c.hub.sent[c.name] += k
		c.hub.mu.Unlock()
	}
	return n, err
}

func (h *modelHub) bytesOf(name string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent[name]
}

// Processes that want the same model at once share one download, and where the one that downloads is killed another
// goes on from where it was.
func TestProcessesShareADownload(t *testing.T) {
	t.Parallel()
	const weights = "model.safetensors"
	h := newModelHub(t, smallCheckpoint(t, filepath.Join(t.TempDir(), "model")))
	h.slow = true
	cache := t.TempDir()
	begin := func() *process {
		p := program(t, "inspect", "--model", "org/name", "--cache", cache)
		p.Env = append(p.Env, "DEEPLORA_OFFLINE=", "HF_ENDPOINT="+h.URL, "HF_HUB_CACHE=", "HF_TOKEN=")
		p.begin(t)
		return p
	}
	first := begin()
	first.until(t, "the first of the weights", func() bool { return h.bytesOf(weights) > 100_000 })
	others := []*process{begin(), begin(), begin()}
	if err := first.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := first.code(t); code != -1 {
		t.Fatalf("the first one was not killed in time: exit code %d", code)
	}
	for _, p := range others {
		if code := p.code(t); code != exitDone {
			t.Errorf("exit code %d\n%s", code, p.err.String())
		}
	}
	// What was on its way when the first one died came to nobody.
	if whole, sent := len(h.files[weights]), h.bytesOf(weights); sent > whole+whole/2 {
		t.Errorf("%d bytes of %d were sent", sent, whole)
	}
	for name, content := range h.files {
		if name != weights && h.bytesOf(name) > len(content) {
			t.Errorf("%s was sent %d bytes of %d", name, h.bytesOf(name), len(content))
		}
		got, err := os.ReadFile(filepath.Join(cache, "hub", "models--org--name", "snapshots", hubCommit, name))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(cache, "hub", "models--org--name", "blobs", "*-part")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}
