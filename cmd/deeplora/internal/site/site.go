// Package site is what the command's HTTP servers have in common: how they begin and end, and the rules that their pages live
// under. It knows nothing of what is served.
package site

import (
	"bytes"
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// Server is an HTTP server that ends with a context.
type Server struct {
	*http.Server
	Log   func(format string, args ...any) // of what net/http finds, a line a call
	Drain time.Duration                    // how long requests in hand may take at the end
	Ends  func()                           // called when the end begins; nil: nobody is told
}

// Run answers on l, which it closes, until ctx is cancelled; then it takes no new connections and lets those in hand end.
// failed is why it ended before, and late that requests took longer than Drain, and were broken off.
func (s Server) Run(ctx context.Context, l net.Listener) (failed, late error) {
	s.ErrorLog = log.New(lines{s.Log}, "", 0)
	var serving errgroup.Group
	over := make(chan struct{})
	serving.Go(func() error {
		defer close(over)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	select {
	case <-ctx.Done():
	case <-over:
	}
	if s.Ends != nil {
		s.Ends()
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Drain)
	defer cancel()
	if late = s.Shutdown(drain); late != nil {
		late = errors.Join(late, s.Close())
	}
	return serving.Wait(), late
}

// lines hands what is logged on, a line at a time.
type lines struct {
	log func(format string, args ...any)
}

func (l lines) Write(text []byte) (int, error) {
	l.log("%s", bytes.TrimSpace(text))
	return len(text), nil
}

// Allow gives a client some time from now on for what is written next.
func Allow(w http.ResponseWriter, d time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(d)) // of a test's recorder there is none
}

// Policy lets a page run its own script and style and talk to its own server, and nothing else.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// SetHeaders sets what every answer says: nothing is kept, guessed or told to other sites.
func SetHeaders(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
}

// Write answers with a file of a page. A client that is gone hears nothing.
func Write(w http.ResponseWriter, kind string, text []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Security-Policy", Policy)
	_, _ = w.Write(text)
}
