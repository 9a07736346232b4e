package serve

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metrics are what /metrics shows. Adapters are named; requests for others are not counted under the names they give.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inputs   *prometheus.HistogramVec
	fill     *prometheus.HistogramVec
	compute  *prometheus.HistogramVec
	tokens   *prometheus.CounterVec
}

func newMetrics(q *queue) *metrics {
	fast := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "deeplora", Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "deeplora", Name: name, Help: help, Buckets: buckets}, []string{"adapter"})
	}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: counter("requests_total", "Requests to predict, by status code; 499: the client left.", "adapter", "code"),
		seconds:  histogram("request_seconds", "From the first byte of a request to its answer.", fast),
		inputs:   histogram("batch_inputs", "Inputs computed together.", prometheus.ExponentialBuckets(1, 2, 11)),
		fill:     histogram("batch_fill_ratio", "Tokens of inputs over all tokens computed, padding included.", prometheus.LinearBuckets(0.1, 0.1, 10)),
		compute:  histogram("batch_seconds", "Computing a batch.", fast),
		tokens:   counter("tokens_total", "Tokens of inputs, special ones included.", "adapter"),
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "deeplora", Name: "queue_inputs", Help: "Inputs that wait to be computed."},
		func() float64 { return float64(q.len()) })
	m.registry.MustRegister(m.requests, m.seconds, m.inputs, m.fill, m.compute, m.tokens, waiting,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) request(a *Adapter, status int, took time.Duration) {
	m.requests.WithLabelValues(a.Name, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(a.Name).Observe(took.Seconds())
}

func (m *metrics) batch(a *Adapter, b *batch, took time.Duration) {
	tokens := 0
	for _, w := range b.inputs {
		tokens += len(w.IDs)
	}
	m.inputs.WithLabelValues(a.Name).Observe(float64(len(b.inputs)))
	m.fill.WithLabelValues(a.Name).Observe(float64(tokens) / float64(b.rows*b.length))
	m.compute.WithLabelValues(a.Name).Observe(took.Seconds())
	m.tokens.WithLabelValues(a.Name).Add(float64(tokens))
}
