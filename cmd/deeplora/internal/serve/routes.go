package serve

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/site"
)

// methods are the routes and what each is asked with.
var methods = map[string]string{
	"/predict": http.MethodPost, "/health": http.MethodGet, "/info": http.MethodGet, "/metrics": http.MethodGet,
	"/openapi.json": http.MethodGet, "/": http.MethodGet, "/page.css": http.MethodGet, "/page.js": http.MethodGet,
}

// Handler is the server's routes.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, h func(w http.ResponseWriter, r *http.Request) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				s.refuse(w, faultOf(err))
			}
		})
	}
	secret := func(h func(w http.ResponseWriter, r *http.Request) error) func(w http.ResponseWriter, r *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error {
			if !s.authorized(r) {
				return errToken
			}
			return h(w, r)
		}
	}
	handle("GET /health", s.health)
	handle("GET /openapi.json", file("openapi.json", "application/json"))
	handle("GET /{$}", file("page/page.html", "text/html; charset=utf-8"))
	handle("GET /page.css", file("page/page.css", "text/css; charset=utf-8"))
	handle("GET /page.js", file("page/page.js", "text/javascript; charset=utf-8"))
	handle("GET /info", secret(s.info))
	exported := promhttp.HandlerFor(s.metrics.registry, promhttp.HandlerOpts{})
	handle("GET /metrics", secret(func(w http.ResponseWriter, r *http.Request) error {
		exported.ServeHTTP(w, r)
		return nil
	}))
	handle("POST /predict", secret(func(w http.ResponseWriter, r *http.Request) error { return s.predict(w, r, 0) }))
	handle("POST /adapters/{name}/predict", secret(s.predictNamed))
	handle("/", unrouted)
	return s.guard(mux)
}

// unrouted tells what is wrong with a request that no route takes.
func unrouted(w http.ResponseWriter, r *http.Request) error {
	method, ok := methods[r.URL.Path]
	if strings.HasPrefix(r.URL.Path, "/adapters/") && strings.HasSuffix(r.URL.Path, "/predict") {
		method, ok = http.MethodPost, true
	}
	if !ok {
		return notFound("there is no such route; GET /openapi.json lists them")
	}
	w.Header().Set("Allow", method)
	return &fault{http.StatusMethodNotAllowed, "this route is asked with " + method, validation}
}

// guard is around all routes: headers, pages of other sites, and panics, of which no client is to see the stack.
func (s *Server) guard(h http.Handler) http.Handler {
	sites := http.NewCrossOriginProtection()
	sites.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { s.refuse(w, errOrigin) }))
	h = sites.Handler(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if fault := recover(); fault != nil {
				s.log("%s: %v\n%s", r.Method, fault, debug.Stack())
				s.refuse(w, errComputing)
			}
		}()
		site.SetHeaders(w.Header())
		h.ServeHTTP(w, r)
	})
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	if s.draining.Load() {
		return errDraining
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

func (s *Server) predictNamed(w http.ResponseWriter, r *http.Request) error {
	for i, a := range s.adapters {
		if a.Name == r.PathValue("name") {
			return s.predict(w, r, i)
		}
	}
	return notFound("there is no adapter %.60q; GET /info lists them", r.PathValue("name"))
}

// predict answers a request with an adapter, by its place.
func (s *Server) predict(w http.ResponseWriter, r *http.Request, adapter int) error {
	began, a := time.Now(), s.adapters[adapter]
	answers, t, err := s.answers(w, r, adapter)
	status := http.StatusOK
	var f *fault
	switch {
	case errors.As(err, &f):
		status = f.status
	case err != nil: // the client is gone
		status = 499
	}
	s.metrics.request(a, status, time.Since(began))
	if err != nil {
		if status == 499 {
			return nil
		}
		return err
	}
	tell := func(name string, d time.Duration) { w.Header().Set(name, strconv.FormatInt(d.Milliseconds(), 10)) }
	tell("X-Total-Time", time.Since(began))
	tell("X-Tokenization-Time", t.since.Sub(began))
	tell("X-Queue-Time", t.taken.Sub(t.since))
	tell("X-Inference-Time", t.computed.Sub(t.taken))
	return s.write(w, http.StatusOK, answers)
}

// answers reads a request, and waits for what is to be said to it.
func (s *Server) answers(w http.ResponseWriter, r *http.Request, adapter int) (any, *ticket, error) {
	if s.queue.full() {
		return nil, nil, errFull
	}
	body, release, err := s.read(w, r)
	defer release()
	if err != nil {
		return nil, nil, err
	}
	request, err := parse(body, s.config.MaxInputs)
	if err != nil {
		return nil, nil, err
	}
	a := s.adapters[adapter]
	inputs, err := a.encode(request)
	if err != nil {
		return nil, nil, err
	}
	t, err := s.queue.put(adapter, inputs)
	if err != nil {
		return nil, nil, err
	}
	select {
	case <-t.done:
	case <-r.Context().Done():
		s.queue.leave(t)
		return nil, nil, r.Context().Err()
	}
	if t.err != nil {
		return nil, nil, t.err
	}
	list := make([][]scored, len(t.logits))
	for i, logits := range t.logits {
		list[i] = a.answer(logits, request.raw)
	}
	if request.single {
		return list[0], t, nil
	}
	return list, t, nil
}

// bodiesHeld is how many bodies of the largest size may be in memory at once.
const bodiesHeld = 64

// read reads a request's body. What is held of all bodies is bounded as it arrives, so that clients that promise much and
// send little keep nobody out. release gives the room back.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	held := int64(0)
	release = func() { s.bodies.Add(-held) }
	defer func() {
		if err != nil {
			w.Header().Set("Connection", "close") // else net/http would wait for the rest before it answers
		}
	}()
	if r.ContentLength > s.config.MaxBody {
		return nil, release, tooLarge("the body has %d bytes; at most %d are taken", r.ContentLength, s.config.MaxBody)
	}
	from := http.MaxBytesReader(w, r.Body, s.config.MaxBody)
	part := make([]byte, min(s.config.MaxBody+1, 16<<10))
	for {
		n, err := from.Read(part)
		body, held = append(body, part[:n]...), held+int64(n)
		if s.bodies.Add(int64(n)) > bodiesHeld*s.config.MaxBody {
			return nil, release, errFull
		}
		switch {
		case errors.Is(err, io.EOF):
			// From here on the connection is only watched for the client's leaving, for as long as the answer takes.
			_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // which a test's recorder has not
			return body, release, nil
		case errors.As(err, new(*http.MaxBytesError)):
			return nil, release, tooLarge("the body has more than %d bytes", s.config.MaxBody)
		case err != nil:
			return nil, release, invalid("the body did not arrive whole within %v", s.config.Timeout)
		}
	}
}

// refuse writes a fault.
func (s *Server) refuse(w http.ResponseWriter, f *fault) {
	switch f.status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "1")
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	_ = s.write(w, f.status, f) // a client that is gone hears nothing
}

// write answers with JSON, for which a client has some time from now on.
func (s *Server) write(w http.ResponseWriter, status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	site.Allow(w, writeTimeout)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // a client that is gone hears nothing
	return nil
}
