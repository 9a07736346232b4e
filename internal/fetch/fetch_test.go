package fetch

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// content is the file of the tests; half of it is an earlier call's part.
var content, half = func() (content []byte, half []byte) {
	content = make([]byte, 200_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content)
	return content, content[:len(content)/2]
}()

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// server answers by one handler and keeps what it is asked for.
type server struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string    // the ranges, "" for a whole file
	at    []time.Time // when
}

func serve(t *testing.T, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked, s.at = append(s.asked, r.Header.Get("Range")), append(s.at, time.Now())
		s.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) ranges() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// impatient are the options of most tests.
var impatient = Options{Dial: time.Second, Answer: time.Second, Stall: 300 * time.Millisecond, Pause: time.Millisecond, Tries: 5, Barren: 2}

func client(t *testing.T, o Options) *Client {
	c := New(o)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// get fetches content from a server into a part that holds what is given.
func get(t *testing.T, s *server, part []byte, change func(*File)) (got []byte, received int64, err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "part")
	if part != nil {
		if err := os.WriteFile(path, part, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := File{URL: s.URL + "/w.whl", Size: int64(len(content)), Sum: sum(content)}
	if change != nil {
		change(&f)
	}
	received, err = client(t, impatient).File(t.Context(), f, path)
	got, readErr := os.ReadFile(path)
	if readErr != nil && !errors.Is(readErr, fs.ErrNotExist) {
		t.Fatal(readErr)
	}
	return got, received, err
}

func body(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

// whole knows no ranges.
func whole(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
}

// lying announces another length than it sends.
func lying(b []byte, length int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(length))
		_, _ = w.Write(b) // net/http ends the connection where the two differ
	}
}

// stalling sends something and then nothing, until the client goes away.
func stalling(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if b != nil {
			_, _ = w.Write(b)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	}
}

// fallback answers requests for a range by one handler, others with the file.
func fallback(ranged http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			whole(content)(w, r)
			return
		}
		ranged(w, r)
	}
}

// breaking breaks the connection after 10000 bytes, so many times; a server without ranges after more each
// time.
func breaking(times int, ranges bool) http.HandlerFunc {
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		from, to := 0, 10000
		switch n++; {
		case n > times && ranges:
			body(content)(w, r)
			return
		case n > times:
			whole(content)(w, r)
			return
		case ranges:
			_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
			to += from
		default:
			to *= n
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(content[from:to])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
}

func statuses(codes ...int) http.HandlerFunc {
	n := 0
	return func(w http.ResponseWriter, r *http.Request) {
		if n++; n <= len(codes) {
			w.WriteHeader(codes[n-1])
			return
		}
		body(content)(w, r)
	}
}

// Whatever is there and whatever the server knows, the file becomes whole with as few bytes as may be.
func TestFileBecomesWhole(t *testing.T) {
	t.Parallel()
	all := int64(len(content))
	rest := fmt.Sprintf("bytes=%d-", len(half))
	junk := bytes.Repeat([]byte("x"), len(half))
	tests := []struct {
		name     string
		part     []byte
		handler  http.HandlerFunc
		want     []string // requests
		received int64
	}{
		{"nothing there", nil, body(content), []string{""}, all},
		{"an empty part", []byte{}, body(content), []string{""}, all},
		{"half", half, body(content), []string{rest}, all / 2},
		{"all", content, http.NotFound, nil, 0},
		{"too much", append(slices.Clone(content), 1), body(content), []string{""}, all},
		{"junk", junk, body(content), []string{rest, ""}, all/2 + all},
		{"junk of the right size", bytes.Repeat(junk, 2), body(content), []string{""}, all},
		{"no ranges", half, whole(content), []string{rest}, all},
		{"another range", half, fallback(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes 0-99/%d", len(content)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(content[:100])
		}), []string{rest, ""}, all},
		{"a range without its place", half, fallback(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(content[len(half):])
		}), []string{rest, ""}, all},
		{"a range refused", half, fallback(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		}), []string{rest, ""}, all},
		{"broken off twice", nil, breaking(2, true), []string{"", "bytes=10000-", "bytes=20000-"}, all},
		{"broken off four times", nil, breaking(4, true), []string{"", "bytes=10000-", "bytes=20000-", "bytes=30000-", "bytes=40000-"}, all},
		{"broken off, no ranges", nil, breaking(2, false), []string{"", "bytes=10000-", "bytes=20000-"}, all + 30000},
		{"503 once", half, statuses(503), []string{rest, rest}, all / 2},
		{"429 once", half, statuses(429), []string{rest, rest}, all / 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.handler)
			got, received, err := get(t, s, test.part, nil)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			if asked := s.ranges(); !slices.Equal(asked, test.want) {
				t.Errorf("requests %q, want %q", asked, test.want)
			}
			if received != test.received {
				t.Errorf("received %d, want %d", received, test.received)
			}
		})
	}
}

// Every fault ends in words, after as many requests as make sense, and leaves what can be gone on from.
func TestFileFaults(t *testing.T) {
	t.Parallel()
	aborting := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	loop := func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }
	tests := []struct {
		name     string
		handler  http.HandlerFunc
		want     string
		requests int
		left     int // bytes of the part
	}{
		{"wrong bytes", body(bytes.Repeat([]byte("x"), len(content))), "it has hash " + sum(bytes.Repeat([]byte("x"), len(content))) + ", want " + sum(content), 1, 0},
		{"truncated", whole(content[:5000]), "it broke off after 5000 of 200000 bytes: unexpected EOF; run again to go on from there", 3, 5000},
		{"longer", body(append(slices.Clone(content), 0)), "it is longer than the 200000 bytes it should have", 1, 0},
		{"length lies, short", lying(content, len(content)/2), "it broke off after 0 of 200000 bytes: unexpected EOF", 2, 0}, // net/http sends nothing,
		{"length lies, long", lying(content[:1000], len(content)), "it broke off after 1000 of 200000 bytes: unexpected EOF", 3, 1000},
		{"stall", stalling(content[:7000]), "it broke off after 7000 of 200000 bytes: no data for 300ms", 3, 7000},
		{"no answer", stalling(nil), "/w.whl: net/http: timeout awaiting response headers", 2, 0},
		{"reset", aborting, "/w.whl: EOF", -1, 0}, // net/http itself may ask once more
		{"loop", loop, "/w.whl: stopped after 10 redirects", 10, 0},
		{"404", http.NotFound, "/w.whl answers 404 Not Found", 1, 0},
		{"403", statuses(403, 403), "/w.whl answers 403 Forbidden", 1, 0},
		{"503", statuses(503, 503, 503), "/w.whl answers 503 Service Unavailable", 2, 0},
		{"416", statuses(416, 416, 416), `/w.whl answers 416 Requested Range Not Satisfiable, "", to a request for the bytes from 0 on`, 2, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, test.handler)
			got, _, err := get(t, s, nil, nil)
			wantError(t, err, test.want)
			if n := len(s.ranges()); n != test.requests && test.requests >= 0 {
				t.Errorf("%d requests, want %d", n, test.requests)
			}
			if len(got) != test.left && test.left >= 0 {
				t.Errorf("left %d bytes, want %d", len(got), test.left)
			}
			if !bytes.HasPrefix(content, got) {
				t.Error("left what is not of the file")
			}
		})
	}
}

func TestFileErrorsAreTyped(t *testing.T) {
	t.Parallel()
	_, _, err := get(t, serve(t, http.NotFound), nil, nil)
	if status := (*StatusError)(nil); !errors.As(err, &status) || status.Code != 404 {
		t.Errorf("%v", err)
	}
	_, _, err = get(t, serve(t, statuses(503, 503)), nil, nil)
	if status := (*StatusError)(nil); !errors.As(err, &status) || status.Code != 503 {
		t.Errorf("%v", err)
	}
	_, _, err = get(t, serve(t, whole(append(slices.Clone(content), 0))), nil, nil)
	if long := (*TooLongError)(nil); !errors.As(err, &long) || long.Limit != int64(len(content)) {
		t.Errorf("%v", err)
	}
	_, _, err = get(t, serve(t, body(half)), nil, func(f *File) { f.Size = 0 })
	if wrong := (*SumError)(nil); !errors.As(err, &wrong) || wrong.Got != sum(half) || wrong.Want != sum(content) {
		t.Errorf("%v", err)
	}
	s := serve(t, nil)
	s.Close()
	_, _, err = get(t, s, nil, nil)
	wantError(t, err, s.Listener.Addr().String()+": unreachable: connect: connection refused")
	if none := (*NoReplyError)(nil); !errors.As(err, &none) || none.Host != s.Listener.Addr().String() || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
}

// Without a sum a part cannot be told from one of another file: each try starts from nothing.
func TestFileWithoutASum(t *testing.T) {
	t.Parallel()
	s := serve(t, breaking(1, true))
	got, received, err := get(t, s, bytes.Repeat([]byte("x"), len(content)), func(f *File) { f.Sum = "" })
	if err != nil || !bytes.Equal(got, content) || received != int64(len(content)+10000) {
		t.Errorf("%d bytes, %d received, %v", len(got), received, err)
	}
	if asked := s.ranges(); !slices.Equal(asked, []string{"", ""}) {
		t.Errorf("requests %q", asked)
	}
	_, _, err = get(t, serve(t, stalling(content[:7000])), nil, func(f *File) { f.Sum, f.Size = "", 0 })
	if wantError(t, err, "it broke off after 7000 bytes: no data for 300ms"); strings.Contains(err.Error(), "go on from there") {
		t.Errorf("promises what does not happen: %v", err)
	}
}

func TestFileOfUnknownSize(t *testing.T) {
	t.Parallel()
	unknown := func(f *File) { f.Size, f.Limit = 0, int64(len(content)) }
	for name, part := range map[string][]byte{"nothing there": nil, "half": half, "all": content} {
		got, _, err := get(t, serve(t, body(content)), part, unknown)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	got, _, err := get(t, serve(t, body(append(slices.Clone(content), 0))), nil, unknown)
	if wantError(t, err, "it is longer than the 200000 bytes it should have"); len(got) != 0 {
		t.Errorf("left %d bytes", len(got))
	}
}

// The hash may be another, and may depend on the size, as git's does.
func TestFileByAnotherHash(t *testing.T) {
	t.Parallel()
	git := func(size int64) hash.Hash {
		h := sha1.New()
		fmt.Fprintf(h, "blob %d\x00", size)
		return h
	}
	want := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content))
	for _, part := range [][]byte{nil, half} {
		got, _, err := get(t, serve(t, body(content)), part, func(f *File) { f.Sum, f.Hash = hex.EncodeToString(want[:]), git })
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
}

// Progress never goes back within a reply, ends at the size, and then verifies.
func TestFileProgress(t *testing.T) {
	t.Parallel()
	done, verified := int64(len(half)), 0
	_, _, err := get(t, serve(t, body(content)), half, func(f *File) {
		f.Progress = func(step Step, d, total int64) {
			switch {
			case step == Verify:
				verified++
			case d <= done || total != f.Size || verified > 0:
				t.Errorf("%s %d of %d after %d", step, d, total, done)
			default:
				done = d
			}
		}
	})
	if err != nil || done != int64(len(content)) || verified != 1 {
		t.Errorf("%d bytes, verified %d times: %v", done, verified, err)
	}
}

// Tries are apart by a pause that doubles; without Barren, all are made.
func TestBackOff(t *testing.T) {
	t.Parallel()
	s := serve(t, statuses(503, 503, 503, 503, 503, 503))
	o := impatient
	o.Pause, o.Barren = 20*time.Millisecond, 0
	_, err := client(t, o).File(t.Context(), File{URL: s.URL}, filepath.Join(t.TempDir(), "part"))
	if wantError(t, err, "answers 503"); len(s.at) != o.Tries {
		t.Fatalf("%d requests", len(s.at))
	}
	for i := 1; i < len(s.at); i++ {
		if apart := s.at[i].Sub(s.at[i-1]); apart < o.Pause<<(i-1) {
			t.Errorf("try %d came after %v, want %v", i+1, apart, o.Pause<<(i-1))
		}
	}
}

// A server that asks for a longer pause gets it, where there is time, and is left alone where there is not.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	asking := func(code int, after string) http.HandlerFunc {
		n := 0
		return func(w http.ResponseWriter, r *http.Request) {
			if n++; n > 1 {
				body(content)(w, r)
				return
			}
			if after == "a date" {
				after = time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat)
			}
			w.Header().Set("Retry-After", after)
			w.WriteHeader(code)
		}
	}
	for _, c := range []struct {
		name    string
		handler http.HandlerFunc
		within  time.Duration // the context's deadline; 0: none
		apart   time.Duration // of the two requests, at least
		want    string        // the error, where there is no second one
	}{
		{"seconds", asking(429, "1"), 0, time.Second, ""},
		{"a date", asking(503, "a date"), 0, 900 * time.Millisecond, ""},
		{"nonsense", asking(503, "soon"), 0, 0, ""},
		{"the past", asking(503, "Wed, 21 Oct 2015 07:28:00 GMT"), 0, 0, ""},
		{"an hour", asking(429, "3600"), 0, 0, "answers 429 Too Many Requests and asks to be left alone for 1h0m0s"},
		{"ages", asking(503, "18446744073709551615"), 0, 0, "asks to be left alone for 298261h"},
		{"no time", asking(503, "5"), time.Second, 0, "answers 503 Service Unavailable and asks to be left alone for 5s"},
		{"no second try", asking(404, "1"), 0, 0, "answers 404 Not Found and asks to be left alone for 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			if c.within > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, c.within)
				defer cancel()
			}
			s := serve(t, c.handler)
			began := time.Now()
			page, _, err := client(t, impatient).Page(ctx, s.URL, nil, 1<<20)
			if c.want != "" {
				if wantError(t, err, c.want); len(s.ranges()) != 1 || time.Since(began) > time.Second {
					t.Errorf("%d requests, %v", len(s.ranges()), time.Since(began))
				}
				return
			}
			if err != nil || !bytes.Equal(page, content) || len(s.at) != 2 {
				t.Fatalf("%d bytes, %d requests, %v", len(page), len(s.at), err)
			}
			if apart := s.at[1].Sub(s.at[0]); apart < c.apart {
				t.Errorf("the second try came after %v", apart)
			}
		})
	}
}

// A server's own words for a code may be any bytes, a terminal's commands among them.
func TestStatusHasStandardWords(t *testing.T) {
	t.Parallel()
	s := serve(t, hijacking("HTTP/1.1 404 \x1b[31mGone\r\nContent-Length: 0\r\n\r\n"))
	_, _, err := client(t, impatient).Page(t.Context(), s.URL, nil, 1)
	if wantError(t, err, " answers 404 Not Found"); strings.ContainsAny(err.Error(), "\x1b") {
		t.Errorf("%q", err)
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	cause := errors.New("the user's wish")
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		pause   time.Duration
		kept    int
	}{
		"in a body":    {stalling(content[:7000]), 0, 7000},
		"for a reply":  {stalling(nil), 0, 0},
		"in a pause":   {statuses(503, 503), time.Hour, 0},
		"in a whole":   {body(content), 0, -1},
		"before a try": {body(content), -1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancelCause(t.Context())
			asked := make(chan struct{}, 10)
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				c.handler(w, r)
			})
			o := impatient
			o.Stall, o.Answer, o.Pause = time.Hour, time.Hour, c.pause
			f := File{URL: s.URL, Size: int64(len(content)), Sum: sum(content)}
			switch {
			case c.pause < 0:
				cancel(cause)
			case c.kept == 0: // nothing comes: once the server has been asked
				go func() { <-asked; time.Sleep(20 * time.Millisecond); cancel(cause) }()
			default:
				f.Progress = func(_ Step, done, _ int64) {
					if done >= 7000 {
						cancel(cause)
					}
				}
			}
			part := filepath.Join(t.TempDir(), "part")
			if _, err := client(t, o).File(ctx, f, part); err != cause {
				t.Errorf("error %v", err)
			}
			if got := fileSize(part); got != int64(c.kept) && c.kept >= 0 || got == int64(len(content)) {
				t.Errorf("kept %d bytes", got)
			}
		})
	}
}

// A full disk is the system's error, at once, and the part does not stay to fill it.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := serve(t, body(content))
	part := filepath.Join(smallDisk(t), "part")
	_, err := client(t, impatient).File(t.Context(), File{URL: s.URL, Size: int64(len(content)), Sum: sum(content)}, part)
	if !errors.Is(err, syscall.ENOSPC) || len(s.ranges()) != 1 {
		t.Errorf("%d requests, %v", len(s.ranges()), err)
	}
	if _, err := os.Lstat(part); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the part is left: %v", err)
	}
}

// smallDisk mounts a file system of 64 kB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("mounts a tmpfs, which needs Linux and root: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return dir
}

// What lies at the part's place and is no file is taken away, not written through.
func TestPartIsNoLink(t *testing.T) {
	t.Parallel()
	for _, sized := range []bool{true, false} {
		dir := t.TempDir()
		precious, part := filepath.Join(dir, "precious"), filepath.Join(dir, "part")
		if err := errors.Join(os.WriteFile(precious, []byte("precious"), 0o600), os.Symlink(precious, part)); err != nil {
			t.Fatal(err)
		}
		f := File{URL: serve(t, body(content)).URL}
		if sized {
			f.Size, f.Sum = int64(len(content)), sum(content)
		}
		_, err := client(t, impatient).File(t.Context(), f, part)
		got, _ := os.ReadFile(part)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if left, err := os.ReadFile(precious); err != nil || string(left) != "precious" {
			t.Errorf("the file that the link named is %d bytes: %v", len(left), err)
		}
	}
}

func TestPartThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	s := serve(t, body(content))
	_, err := client(t, impatient).File(t.Context(), File{URL: s.URL, Sum: sum(content)}, filepath.Join(t.TempDir(), "no", "folder"))
	if !errors.Is(err, fs.ErrNotExist) || len(s.ranges()) != 0 {
		t.Errorf("%d requests, %v", len(s.ranges()), err)
	}
}

// What identifies the user goes to its host alone, also where net/http would take another for the same: a
// subdomain, another port, and the host itself when a stranger sends there.
func TestRedirects(t *testing.T) {
	t.Parallel()
	request := func(address string) *http.Request {
		r := httptest.NewRequest(http.MethodGet, address, nil)
		for _, name := range []string{"Authorization", "Cookie", "Referer"} {
			r.Header.Set(name, "secret")
		}
		return r
	}
	for _, c := range []struct {
		chain string
		told  bool
		fault string
	}{
		{"https://hub/a https://hub/b", true, ""},
		{"http://hub/a https://hub/b", true, ""},
		{"https://hub/a https://hub/b https://hub/c", true, ""},
		{"https://hub/a https://store/a", false, ""},
		{"https://hub/a https://cdn.hub/a", false, ""},
		{"https://hub/a https://hub:8443/a", false, ""},
		{"https://hub/a https://store/a https://store/b", false, ""},
		{"https://hub/a https://store/a https://hub/b", false, ""},
		{"https://hub/a http://hub/a", false, "redirected from https to http"},
		{strings.Repeat("http://hub/a ", 11), false, "stopped after 10 redirects"},
	} {
		var via []*http.Request
		for _, address := range strings.Fields(c.chain) {
			via = append(via, request(address))
		}
		last := len(via) - 1
		err := checkRedirect(via[last], via[:last])
		if c.fault != "" {
			wantError(t, err, c.fault)
			continue
		}
		header := via[last].Header
		if told := header.Get("Authorization") != "" && header.Get("Cookie") != ""; err != nil || told != c.told {
			t.Errorf("%s: told %v, %v", c.chain, told, err)
		}
		if header.Get("Referer") != "" {
			t.Errorf("%s: told where it comes from", c.chain)
		}
	}
}

// The same over the wire, for a file and for a page.
func TestTokenStaysWithItsHost(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string][]string{}
	note := func(who string, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		seen[who] = append(seen[who], r.Header.Get("Authorization")+r.Header.Get("Referer"))
	}
	store := serve(t, func(w http.ResponseWriter, r *http.Request) { note("store", r); body(content)(w, r) })
	hub := serve(t, func(w http.ResponseWriter, r *http.Request) {
		note("hub", r)
		to := "/moved"
		if r.URL.Path == to {
			to = store.URL + "/x?signature=secret"
		}
		http.Redirect(w, r, to, http.StatusFound)
	})
	header := http.Header{"Authorization": {"Bearer token"}}
	got, _, err := get(t, hub, half, func(f *File) { f.Header = header })
	if err != nil || !bytes.Equal(got, content) {
		t.Fatal(err)
	}
	page, at, err := client(t, impatient).Page(t.Context(), hub.URL+"/a", header, 1<<20)
	if err != nil || !bytes.Equal(page, content) || at.String() != store.URL+"/x?signature=secret" {
		t.Errorf("%d bytes of %v, %v", len(page), at, err)
	}
	token := header.Get("Authorization")
	if !slices.Equal(seen["hub"], []string{token, token, token, token}) || !slices.Equal(seen["store"], []string{"", ""}) {
		t.Errorf("seen %q", seen)
	}
	if len(header) != 1 {
		t.Errorf("the caller's header is now %v", header)
	}
}

// Neither a password nor a signature gets into an error; the host that failed does.
func TestErrorsKeepSecrets(t *testing.T) {
	t.Parallel()
	dead := serve(t, nil)
	dead.Close()
	handlers := map[string]http.HandlerFunc{
		"answers 404":    http.NotFound,
		"answers 503":    statuses(503, 503, 503),
		"unreachable":    nil,
		"10 redirects":   func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) },
		"timeout":        stalling(nil),
		"answers 206":    func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206) },
		"broke off":      lying(content[:10], 20),
		"malformed HTTP": hijacking("rubbish\r\n\r\n"),
		"unsupported proto": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "ftp://x/?signature=secret")
			w.WriteHeader(302)
		},
	}
	for want, h := range handlers {
		to := dead.URL
		if h != nil {
			to = serve(t, h).URL
		}
		hub := serve(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to+"/x?signature=secret", http.StatusFound)
		})
		_, err := client(t, impatient).File(t.Context(), File{
			URL: strings.Replace(hub.URL, "://", "://me:secret@", 1) + "/x?y=secret", Size: 20, Sum: sum(content),
		}, filepath.Join(t.TempDir(), "part"))
		if wantError(t, err, want); strings.Contains(err.Error(), "secret") {
			t.Errorf("%v tells a secret", err)
		}
		if host, _ := url.Parse(to); want == "unreachable" && !strings.HasPrefix(err.Error(), host.Host) {
			t.Errorf("%v does not name %s", err, host.Host)
		}
	}
}

func hijacking(reply string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, reply)
			_ = conn.Close()
		}
	}
}

func TestUntrustedCertificate(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(body(content))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it would report our refusal
	s.StartTLS()
	defer s.Close()
	_, _, err := client(t, impatient).Page(t.Context(), s.URL, nil, 1<<20)
	wantError(t, err, "certificate", "; set SSL_CERT_FILE to your network's certificates")
}

func TestPage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		handler  http.HandlerFunc
		want     string // "": the page
		requests int
	}{
		{"whole", body(content), "", 1},
		{"after 503", statuses(503), "", 2},
		{"after a break", breaking(1, false), "", 2},
		{"503", statuses(503, 503, 503), "answers 503 Service Unavailable", 2},
		{"404", http.NotFound, "answers 404 Not Found", 1},
		{"stall", stalling(content[:7000]), "no data for 300ms", 2},
		{"loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "stopped after 10 redirects", 10},
		{"no answer", stalling(nil), "timeout awaiting response headers", 1},
		{"too long", body(append(slices.Clone(content), 0)), "it is longer than the 200000 bytes it should have", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, c.handler)
			page, _, err := client(t, impatient).Page(t.Context(), s.URL+"/page", nil, int64(len(content)))
			if c.want == "" && (err != nil || !bytes.Equal(page, content)) {
				t.Errorf("%d bytes, %v", len(page), err)
			} else if c.want != "" {
				wantError(t, err, c.want)
			}
			if n := len(s.ranges()); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
		})
	}
	_, _, err := client(t, impatient).Page(t.Context(), "http://me:secret@bad host/", nil, 1)
	if wantError(t, err, "invalid"); strings.Contains(err.Error(), "secret") {
		t.Errorf("%v tells a secret", err)
	}
}

// A deadline's own words come through, whatever was being waited for.
func TestPageSaysTheCause(t *testing.T) {
	t.Parallel()
	for _, h := range []http.HandlerFunc{stalling(nil), stalling(content[:10])} {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("no answer within 50ms"))
		defer cancel()
		_, _, err := client(t, impatient).Page(ctx, serve(t, h).URL, nil, 1<<20)
		wantError(t, err, "no answer within 50ms")
	}
}

// A library's client gets c's patience and words, and no redirects are followed.
func TestRoundTripAndWatch(t *testing.T) {
	t.Parallel()
	c := client(t, impatient)
	s := serve(t, stalling(content[:7000]))
	ctx, cancel := context.WithCancelCause(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	var came int64
	body := Watch(ctx, resp.Body, c.Stall, cancel, func(n int64) { came = n })
	defer body.Close()
	_, err = io.Copy(io.Discard, body)
	if wantError(t, err, "no data for 300ms"); came != 7000 {
		t.Errorf("%d bytes came", came)
	}
	s.Close()
	if resp, err = c.RoundTrip(req.Clone(t.Context())); err == nil {
		resp.Body.Close()
	}
	wantError(t, err, "unreachable")
}

// What has arrived already does not delay a cancellation.
func TestWatchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	body := Watch(ctx, io.NopCloser(bytes.NewReader(content)), time.Hour, cancel, nil)
	defer body.Close()
	if n, err := body.Read(make([]byte, 10)); n != 10 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	cancel(errors.New("enough"))
	n, err := body.Read(make([]byte, 10))
	if wantError(t, err, "enough"); n != 0 {
		t.Errorf("%d bytes after the end", n)
	}
}

func TestSum(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // FIPS 180-4's example
	if got, err := Sum(path, nil); got != abc || err != nil {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := Sum(path+"y", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
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
