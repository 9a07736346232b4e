// Command load asks a server that answers as text-embeddings-inference does, from many clients at once, and says how fast
// it answered: requests a second, times, and what the server's own metrics say of its batches and memory, where it has any.
//
//	go run ./scripts/load --pairs rows.jsonl --clients 64 --for 60s http://127.0.0.1:8080/predict
//
// Several addresses, as of several adapters, are asked in turn. peer.py beside it is such a server on PyTorch.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/deeplora/deeplora/data"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// load is what is asked, and how.
type load struct {
	addresses []string
	bodies    [][]byte
	clients   int
	length    time.Duration
}

func run(ctx context.Context) error {
	pairs := flag.String("pairs", "", "JSONL with the texts to ask of, as predict reads them")
	clients := flag.Int("clients", 64, "clients that ask at once")
	length := flag.Duration("for", time.Minute, "how long")
	warm := flag.Duration("warm", 2*time.Second, "how long to ask before anything is counted")
	flag.Parse()
	if flag.NArg() == 0 || *pairs == "" || *clients < 1 {
		return errors.New("usage: load --pairs FILE [--clients N] [--for TIME] ADDRESS…")
	}
	l := load{addresses: flag.Args(), clients: *clients, length: *length}
	if err := l.read(*pairs); err != nil {
		return err
	}
	first := l
	first.length = *warm
	if _, err := first.ask(ctx); err != nil {
		return err
	}
	before := metricsOf(ctx, l.addresses[0])
	r, err := l.ask(ctx)
	if err != nil {
		return err
	}
	r.server(before, metricsOf(ctx, l.addresses[0]))
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// read makes the requests' bodies.
func (l *load) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for in, err := range data.ReadInputs("jsonl", f, file, nil) {
		if err != nil {
			return err
		}
		texts := []string{in.Example.Text}
		if in.Example.HasPair {
			texts = append(texts, in.Example.Pair)
		}
		body, err := json.Marshal(map[string]any{"inputs": texts, "truncate": true})
		if err != nil {
			return err
		}
		l.bodies = append(l.bodies, body)
	}
	if len(l.bodies) == 0 {
		return fmt.Errorf("%s: no rows", file)
	}
	return nil
}

// result is what was found. Times are in milliseconds.
type result struct {
	Clients  int     `json:"clients"`
	Seconds  float64 `json:"seconds"`
	Requests int     `json:"requests"`
	Failed   int     `json:"failed"`
	Rate     float64 `json:"requests_per_second"`
	P50      float64 `json:"p50_ms"`
	P90      float64 `json:"p90_ms"`
	P99      float64 `json:"p99_ms"`
	Longest  float64 `json:"longest_ms"`

	Batch      float64 `json:"inputs_per_batch,omitempty"` // of the server's own metrics
	Fill       float64 `json:"fill,omitempty"`             // of its rows: tokens of inputs over all
	Tokens     float64 `json:"tokens_per_second,omitempty"`
	RSSBefore  float64 `json:"rss_before_bytes,omitempty"`
	RSSAfter   float64 `json:"rss_after_bytes,omitempty"`
	CPUSeconds float64 `json:"cpu_seconds,omitempty"`
}

// ask has all clients ask, one request after the other each, until the time is up.
func (l *load) ask(ctx context.Context) (*result, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: l.clients, MaxConnsPerHost: l.clients}}
	defer client.CloseIdleConnections()
	ctx, stop := context.WithTimeout(ctx, l.length)
	defer stop()
	var next, failed atomic.Int64
	var mu sync.Mutex
	var times []time.Duration
	var fault error
	var asking sync.WaitGroup
	began := time.Now()
	for range l.clients {
		asking.Go(func() {
			var own []time.Duration
			for ctx.Err() == nil {
				i := int(next.Add(1))
				asked := time.Now()
				err := one(ctx, client, l.addresses[i%len(l.addresses)], l.bodies[i%len(l.bodies)])
				switch {
				case ctx.Err() != nil: // cut off by the end, not by the server
				case err != nil:
					failed.Add(1)
					mu.Lock()
					fault = err
					mu.Unlock()
				default:
					own = append(own, time.Since(asked))
				}
			}
			mu.Lock()
			times = append(times, own...)
			mu.Unlock()
		})
	}
	asking.Wait()
	if len(times) == 0 {
		if fault == nil {
			fault = errors.New("none in time")
		}
		return nil, fmt.Errorf("no request was answered within %v: %w", l.length, fault)
	}
	return summary(l.clients, times, int(failed.Load()), time.Since(began)), nil
}

func summary(clients int, times []time.Duration, failed int, took time.Duration) *result {
	slices.Sort(times)
	at := func(share float64) float64 {
		return float64(times[min(len(times)-1, int(share*float64(len(times))))].Microseconds()) / 1000
	}
	return &result{
		Clients: clients, Seconds: took.Seconds(), Requests: len(times), Failed: failed, Rate: float64(len(times)) / took.Seconds(),
		P50: at(.5), P90: at(.9), P99: at(.99), Longest: at(1),
	}
}

func one(ctx context.Context, client *http.Client, address string, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %.200s", address, response.StatusCode, text)
	}
	return err
}

// metricsOf are the sums of a server's metrics by name; nil where it has none.
func metricsOf(ctx context.Context, address string) map[string]float64 {
	at, err := url.Parse(address)
	if err != nil {
		return nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.Scheme+"://"+at.Host+"/metrics", nil)
	if err != nil {
		return nil
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		return nil
	}
	sums := map[string]float64{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			sums[name] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			sums[name+"_sum"] += m.GetHistogram().GetSampleSum()
			sums[name+"_count"] += float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sums
}

// server adds what the server's metrics say of the time between two looks at them.
func (r *result) server(before, after map[string]float64) {
	if before == nil || after == nil {
		return
	}
	between := func(name string) float64 { return after[name] - before[name] }
	r.RSSBefore, r.RSSAfter = before["process_resident_memory_bytes"], after["process_resident_memory_bytes"]
	r.CPUSeconds = between("process_cpu_seconds_total")
	r.Tokens = between("deeplora_tokens_total") / r.Seconds
	if batches := between("deeplora_batch_inputs_count"); batches > 0 {
		r.Batch, r.Fill = between("deeplora_batch_inputs_sum")/batches, between("deeplora_batch_fill_ratio_sum")/batches
	}
}
