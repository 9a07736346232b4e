package serve

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// dial opens a connection of its own and writes to it.
func (r *running) dial(t testing.TB, text string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// status reads the status of an answer, 0 where the connection ends without one.
func status(c net.Conn) int {
	_ = c.SetReadDeadline(time.Now().Add(time.Minute)) // fails where the connection has ended
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// idle waits until no body is in memory any more, and nothing waits.
func (r *running) idle(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); r.bodies.Load() != 0 || r.queue.len() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of bodies are held, %d inputs wait", r.bodies.Load(), r.queue.len())
		}
	}
}

const head = "POST /predict HTTP/1.1\r\nHost: server\r\nContent-Type: application/json\r\n"

// Clients that send too much, too slowly or not to the end are told so or hung up on, and hold nothing afterwards.
func TestAbuse(t *testing.T) {
	r := start(t, func(c *Config) { c.Timeout, c.MaxBody = 300*time.Millisecond, 1000 }, fake)
	for _, test := range []struct {
		name, text string
		status     int
	}{
		{"a promise of too much", head + "Content-Length: 1001\r\n\r\n", 413},
		{"chunks without an end", head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("80\r\n"+strings.Repeat("x", 128)+"\r\n", 12), 413},
		{"a body that stops", head + "Content-Length: 900\r\n\r\n{\"inputs\": \"", 400},
		{"chunks that stop", head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"inp\r\n", 400},
		{"a header that stops", head, 0},
		{"no request at all", "", 0},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400},
		{"a header without an end", "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 80<<10), 431},
		{"two lengths", head + "Content-Length: 15\r\nContent-Length: 16\r\n\r\n", 400},
		{"invalid UTF-8", head + "Content-Length: 14\r\nConnection: close\r\n\r\n{\"inputs\":\"\xc3\"}", 400},
	} {
		if got := status(r.dial(t, test.text)); got != test.status {
			t.Errorf("%s: status %d, want %d", test.name, got, test.status)
		}
	}
	// A byte at a time is no way around the time that a request has.
	slow := r.dial(t, head+"Content-Length: 1000\r\n\r\n")
	began := time.Now()
	go func() {
		for range 1000 {
			if _, err := slow.Write([]byte(" ")); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	if got := status(slow); got != http.StatusBadRequest {
		t.Errorf("a byte at a time: status %d", got)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("a byte at a time: %v", took)
	}
	r.idle(t)
	if code, text := r.post(t, "/predict", `{"inputs": "a"}`); code != 200 {
		t.Errorf("after all that: %d %s", code, text)
	}
}

// Bodies that are held at once are bounded, by what has arrived of them and not by what they promise.
func TestBodiesAreBounded(t *testing.T) {
	const size = 1000
	r := start(t, func(c *Config) { c.MaxBody = size }, fake)
	var open []net.Conn
	for range 2 * bodiesHeld { // they promise twice what there is room for, and send nothing
		open = append(open, r.dial(t, fmt.Sprintf("%sContent-Length: %d\r\n\r\n", head, size)))
	}
	if code, text := r.post(t, "/predict", `{"inputs": "a"}`); code != 200 {
		t.Errorf("beside promises: %d %s", code, text)
	}
	refused := make(chan int, len(open))
	for _, c := range open {
		if _, err := io.WriteString(c, strings.Repeat(" ", size-1)); err != nil {
			t.Fatal(err)
		}
		go func() { refused <- status(c) }()
	}
	for range bodiesHeld - 1 { // those beyond the room; the others stay as they are
		if got := <-refused; got != http.StatusTooManyRequests {
			t.Fatalf("status %d, want 429", got)
		}
	}
	if held := r.bodies.Load(); held > bodiesHeld*size {
		t.Errorf("%d bytes are held", held)
	}
	for _, c := range open {
		c.Close()
	}
	r.idle(t)
}

// A client that closes its side, or both, while its request waits has left: it takes nobody's place, and the next is answered.
func TestHalfClosed(t *testing.T) {
	hold, begun := make(chan struct{}), make(chan struct{}, 100)
	r := start(t, func(c *Config) { c.MaxWait = 0 }, fakeAfter(func(_ *Server, _ *Adapter, _ *batch) {
		begun <- struct{}{}
		<-hold
	}))
	body := `{"inputs": "a"}`
	request := fmt.Sprintf("%sContent-Length: %d\r\n\r\n%s", head, len(body), body)
	first := r.dial(t, request)
	<-begun // it is being computed
	var others []*net.TCPConn
	for range 10 {
		others = append(others, r.dial(t, request))
	}
	for deadline := time.Now().Add(time.Minute); r.queue.len() < 10; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want 10", r.queue.len())
		}
	}
	for i, c := range others {
		if i%2 == 0 {
			_ = c.CloseWrite()
		} else {
			_ = c.Close()
		}
	}
	for deadline := time.Now().Add(time.Minute); r.queue.len() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d of clients that left still wait", r.queue.len())
		}
	}
	close(hold)
	if got := status(first); got != 200 {
		t.Errorf("the one that stayed: %d", got)
	}
	r.idle(t)
}

// Connections that are opened and left neither stop the others nor stay for ever.
func TestIdleConnections(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	const connections = 2000
	if limit.Cur < 2*connections+200 { // both ends are in this process
		t.Skipf("%d files may be open, %d are needed: ulimit -n", limit.Cur, 2*connections+200)
	}
	r := start(t, func(c *Config) { c.Timeout = 10 * time.Second }, fake)
	before := runtime.NumGoroutine()
	open := make([]net.Conn, connections)
	var dialling errgroup.Group
	dialling.SetLimit(50)
	for i := range open {
		dialling.Go(func() (err error) {
			open[i], err = net.Dial("tcp", r.addr)
			return err
		})
	}
	if err := dialling.Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if code, text := r.post(t, "/predict", `{"inputs": "a"}`); code != 200 {
			t.Fatalf("request %d beside %d idle connections: %d %s", i, connections, code, text)
		}
	}
	for _, c := range open { // the server hangs up
		if got := status(c); got != 0 {
			t.Fatalf("an idle connection was answered %d", got)
		}
		c.Close()
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > before+10; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, before there were %d", runtime.NumGoroutine(), before)
		}
	}
}

// A server that is told to end under load answers every request that it has begun to read, and is gone then.
func TestDrain(t *testing.T) {
	const clients = 32
	var entered, answered, refused atomic.Int64
	r := start(t, func(c *Config) { c.MaxBatch = 8 }, fakeAfter(func(_ *Server, _ *Adapter, b *batch) {
		entered.Add(int64(len(b.inputs)))
		time.Sleep(5 * time.Millisecond)
	}))
	var asking sync.WaitGroup
	for range clients {
		asking.Go(func() {
			for {
				request, _ := http.NewRequestWithContext(context.Background(), "POST", r.url+"/predict", strings.NewReader(`{"inputs": "a"}`))
				response, err := r.client.Do(request)
				if err != nil { // the connection was refused, or closed before the request was read
					refused.Add(1)
					return
				}
				text, err := io.ReadAll(response.Body)
				response.Body.Close()
				if response.StatusCode != 200 || err != nil || len(text) == 0 {
					t.Errorf("%d %q %v", response.StatusCode, text, err)
				}
				answered.Add(1)
			}
		})
	}
	for answered.Load() < 5*clients {
		time.Sleep(time.Millisecond)
	}
	r.stop()
	asking.Wait()
	<-r.ended
	if r.err != nil {
		t.Errorf("Serve: %v", r.err)
	}
	if entered.Load() != answered.Load() || refused.Load() != clients {
		t.Errorf("%d computed, %d answered; %d clients of %d were refused at the end", entered.Load(), answered.Load(), refused.Load(), clients)
	}
	if w := record(r.Handler(), "GET", "/health", nil); w.Code != http.StatusServiceUnavailable {
		t.Errorf("health of a server that ended: %d", w.Code)
	}
	if w := record(r.Handler(), "POST", "/predict", strings.NewReader(`{"inputs": "a"}`)); w.Code != http.StatusServiceUnavailable {
		t.Errorf("a request after the end: %d %s", w.Code, w.Body)
	}
}
