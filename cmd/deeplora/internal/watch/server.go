package watch

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/site"
	"github.com/deeplora/deeplora/train/loop"
)

// The page, which loads nothing from elsewhere.
//
//go:embed page
var files embed.FS

// Times that no setting changes.
const (
	headerTimeout = 10 * time.Second
	writeTimeout  = 10 * time.Second // of a piece of a stream: who reads no more is let go
	idleTimeout   = 2 * time.Minute
	drainTimeout  = 5 * time.Second
)

const (
	every       = time.Second // a stream looks whether there is something new
	mostStreams = 64          // pages that are open at once
)

// Server shows a run to those who open its page. Make it with New.
type Server struct {
	every time.Duration
	log   func(format string, args ...any)

	streams atomic.Int64

	mutex  sync.Mutex // of what follows: all streams share it, so that more pages cost no more reading
	run    run
	looked time.Time
	text   []byte // the state as it was then, in JSON
}

// New makes a server of the run in a directory, which need not be there yet. log writes a line for whoever runs it.
func New(dir string, log func(format string, args ...any)) (*Server, error) {
	dir, err := filepath.Abs(dir) // also so that the page can say the folder's name
	if err != nil {
		return nil, err
	}
	return &Server{every: every, log: log, run: run{dir: dir, log: loop.Tail{Dir: dir}}}, nil
}

// Serve answers until ctx is cancelled, and then returns nil. It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := site.Server{
		Server: &http.Server{
			Handler: s.Handler(), ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
			BaseContext: func(net.Listener) context.Context { return ctx }, // streams end with it
		},
		Log: s.log, Drain: drainTimeout,
	}
	failed, _ := server.Run(ctx, l) // whoever reads too slowly is let go
	if failed != nil {
		return fmt.Errorf("watch: %w", failed)
	}
	return nil
}

// Handler is the server's routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for route, file := range map[string]struct{ name, kind string }{
		"GET /{$}":      {"page.html", "text/html; charset=utf-8"},
		"GET /page.css": {"page.css", "text/css; charset=utf-8"},
		"GET /page.js":  {"page.js", "text/javascript; charset=utf-8"},
	} {
		mux.HandleFunc(route, func(w http.ResponseWriter, _ *http.Request) {
			text, err := files.ReadFile("page/" + file.name)
			if err != nil {
				s.log("%v", err)
				http.Error(w, "not found", http.StatusNotFound)
				return
			}
			site.Allow(w, writeTimeout)
			site.Write(w, file.kind, text)
		})
	}
	mux.HandleFunc("GET /events", s.stream)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site.SetHeaders(w.Header())
		mux.ServeHTTP(w, r)
	})
}

// stream sends the state as server-sent events: now, and whenever it has changed. In between it says how many seconds ago
// the log last grew, which also tells the page that the connection lives.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	defer s.streams.Add(-1)
	if s.streams.Add(1) > mostStreams {
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // of a proxy, which would hold events back
	ticker := time.NewTicker(s.every)
	defer ticker.Stop()
	for sent := []byte(nil); ; {
		text, err := s.state()
		if err != nil {
			s.log("%v", err)
			return
		}
		var event bytes.Buffer
		if !bytes.Equal(text, sent) {
			fmt.Fprintf(&event, "data: %s\n\n", text) // JSON has no line breaks
			sent = text
		}
		fmt.Fprintf(&event, "event: age\ndata: %.0f\n\n", s.age().Seconds())
		site.Allow(w, writeTimeout)
		if _, err := w.Write(event.Bytes()); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

// age is how long ago the log last grew, or was cut; negative where there is none.
func (s *Server) age() time.Duration {
	info, err := os.Stat(filepath.Join(s.run.dir, loop.LogFile))
	if err != nil {
		return -time.Second
	}
	return max(0, time.Since(info.ModTime()))
}

// state is the run's state in JSON. It is read again where it is older than half a stream's pace.
func (s *Server) state() ([]byte, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if now := time.Now(); s.text == nil || now.Sub(s.looked) > s.every/2 {
		text, err := json.Marshal(s.run.look())
		if err != nil {
			return nil, err
		}
		s.text, s.looked = text, now
	}
	return s.text, nil
}
