package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/site"
	"github.com/deeplora/deeplora/data"
)

// Server answers requests with a few adapters, on as many devices as their predictors use, which must be as many for all.
// Make it with New, then Warm, then Serve, once.
type Server struct {
	adapters []*Adapter
	config   Config
	queue    *queue
	metrics  *metrics
	log      func(format string, args ...any)

	bodies   atomic.Int64 // bytes of bodies that are held
	draining atomic.Bool

	// compute gives the logits of a batch: the model's, but in tests of what is around it.
	compute func(device int, a *Adapter, b *batch) ([][]float32, error)
}

// New makes a server of adapters, the first of which answers where a request names none. log writes a line for whoever
// runs the server.
func New(adapters []*Adapter, c Config, log func(format string, args ...any)) (*Server, error) {
	if len(adapters) == 0 {
		return nil, errors.New("nothing to serve")
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var plans []plan
	for _, a := range adapters {
		if err := CheckName(a.Name); err != nil {
			return nil, err
		}
		if seen[a.Name] {
			return nil, fmt.Errorf("two adapters are called %q; name them with --run RUN=NAME", a.Name)
		}
		seen[a.Name] = true
		plans = append(plans, newPlan(c.MaxBatch, a.MaxLength))
	}
	s := &Server{adapters: adapters, config: c, queue: newQueue(c.MaxQueue, c.MaxWait, plans, adapters[0].Devices()), log: log}
	s.compute = func(device int, a *Adapter, b *batch) ([][]float32, error) {
		inputs := make([]data.Encoded, len(b.inputs))
		for i, w := range b.inputs {
			inputs[i] = w.Encoded
		}
		return a.Laid(device, b.lay(inputs, b.spots, a.Config().PadTokenID), len(inputs))
	}
	s.metrics = newMetrics(s.queue)
	return s, nil
}

// lay makes the encoder's batch.
func (s shape) lay(inputs []data.Encoded, spots []data.Spot, pad int32) data.Batch {
	return data.Packing{Length: s.length, Examples: s.inputs}.Lay(inputs, spots, s.rows, pad)
}

// Warm compiles the graphs of all shapes that batches have. Adapters of one form have the same. progress may be nil.
func (s *Server) Warm(ctx context.Context, progress func(done, total int)) error {
	type graph struct {
		*Adapter
		shape
	}
	var graphs []graph
	for i, a := range s.adapters {
		shapes := s.queue.plans[i].shapes()
		for j, before := range s.adapters[:i] {
			if before.SharesGraphs(a.Predictor) && len(s.queue.plans[j].shapes()) >= len(shapes) {
				shapes = nil
				break
			}
		}
		for _, of := range shapes {
			graphs = append(graphs, graph{a, of})
		}
	}
	for i, g := range graphs {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		one := []data.Encoded{{IDs: []int32{g.Config().PadTokenID}}}
		for device := range g.Devices() { // the first compiles the graph; the others copy the model, once
			if _, err := g.Laid(device, g.lay(one, []data.Spot{{}}, g.Config().PadTokenID), 1); err != nil {
				return fmt.Errorf("%s: %w", g.Name, err)
			}
		}
		if progress != nil {
			progress(i+1, len(graphs))
		}
	}
	return nil
}

// Times that no setting changes.
const (
	headerTimeout = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	drainTimeout  = 2 * time.Minute
)

// Serve answers until ctx is cancelled; then it takes no new connections, answers what has been asked, and returns nil.
// It closes the listener.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := site.Server{
		Server: &http.Server{
			Handler: s.Handler(), ReadHeaderTimeout: min(headerTimeout, s.config.Timeout), ReadTimeout: s.config.Timeout,
			WriteTimeout: s.config.Timeout + drainTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
		},
		Log: s.log, Drain: drainTimeout, Ends: func() { s.draining.Store(true) },
	}
	var computing errgroup.Group
	for i := range s.workers() {
		computing.Go(func() error {
			s.queue.run(func(b *batch) { s.answer(i%s.adapters[0].Devices(), b) })
			return nil
		})
	}
	failed, late := server.Run(ctx, l)
	s.queue.close()
	if failed != nil {
		failed = fmt.Errorf("serve: %w", failed)
	}
	if late != nil {
		late = fmt.Errorf("serve: requests were still not answered after %v: %w", drainTimeout, late)
	}
	return errors.Join(failed, late, computing.Wait())
}

// workers is how many batches are computed at once: one a device and, where there are several adapters, two. What is asked
// of many comes in small batches, which leave parts of a device idle.
func (s *Server) workers() int {
	return min(2, len(s.adapters)) * s.adapters[0].Devices()
}

// answer computes a batch on a device.
func (s *Server) answer(device int, b *batch) {
	a := s.adapters[b.adapter]
	began := time.Now()
	logits, err := s.compute(device, a, b)
	if err != nil {
		s.log("batch of %s: %v", a.Name, err)
		err = errComputing
	}
	s.metrics.batch(a, b, time.Since(began))
	s.queue.answer(b, logits, err)
}
