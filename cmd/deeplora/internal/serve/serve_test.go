package serve

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train"
)

type object map[string]any

// Answers are what predict says, whoever shares the base and the batch.
func TestAnswersArePredictions(t *testing.T) {
	f, r := runs(t), start(t, nil, nil)
	texts := [][]string{{"A man plays the flute.", "Someone plays an instrument."}, {"Two dogs run.", ""}, {"It rains."}, {strings.Repeat("many words ", 90)}}
	examples := make([]data.Example, len(texts))
	for i, x := range texts {
		if examples[i].Text = x[0]; len(x) == 2 {
			examples[i].Pair, examples[i].HasPair = x[1], true
		}
	}
	for i, run := range f.runs {
		merged, err := run.Open(f.backend)
		if err != nil {
			t.Fatal(err)
		}
		defer merged.Close()
		want, err := merged.Predict(t.Context(), examples)
		if err != nil {
			t.Fatal(err)
		}
		route := "/adapters/" + names[i] + "/predict"
		for _, raw := range []bool{false, true} {
			var got [][]scored
			r.predicted(t, route, object{"inputs": texts, "truncate": true, "raw_scores": raw}, &got)
			if len(got) != len(want) {
				t.Fatalf("%s: %d answers, want %d", names[i], len(got), len(want))
			}
			for j := range want {
				same(t, merged, got[j], want[j], raw)
			}
			var single []scored
			r.predicted(t, route, object{"inputs": texts[0], "raw_scores": raw}, &single)
			same(t, merged, single, want[0], raw)
			r.predicted(t, route, object{"inputs": texts[2][0], "raw_scores": raw}, &single)
			same(t, merged, single, want[2], raw)
		}
	}
	var first, named []scored
	r.predicted(t, "/predict", object{"inputs": texts[0]}, &first)
	r.predicted(t, "/adapters/similarity/predict", object{"inputs": texts[0]}, &named)
	if len(first) != 1 || first[0].Label != "score" || math.Abs(first[0].Score-named[0].Score) > 1e-5 {
		t.Errorf("/predict says %v, the first adapter %v", first, named)
	}
}

// same holds an answer against a prediction.
func same(t *testing.T, p *train.Predictor, got []scored, want train.Prediction, raw bool) {
	t.Helper()
	if !slices.IsSortedFunc(got, func(a, b scored) int { return int(math.Copysign(1, b.Score-a.Score)) }) {
		t.Errorf("%v does not fall", got)
	}
	if want.Score != nil {
		if len(got) != 1 || got[0].Label != "score" || math.Abs(got[0].Score-*want.Score) > 1e-5 {
			t.Errorf("got %v, predict says %v", got, *want.Score)
		}
		return
	}
	if len(got) != len(p.Labels()) {
		t.Errorf("got %v, want the labels %q", got, p.Labels())
	}
	for i, label := range p.Labels() {
		at := slices.IndexFunc(got, func(s scored) bool { return s.Label == label })
		value := want.Probabilities[i]
		if raw {
			value = float64(want.Logits[i])
		}
		if at < 0 || math.Abs(got[at].Score-value) > 1e-5 {
			t.Errorf("%q: got %v, predict says %v", label, got, value)
		}
	}
}

// What a client can get wrong is told it.
func TestFaults(t *testing.T) {
	r := start(t, func(c *Config) { c.MaxBody, c.MaxInputs = 4000, 3 }, fake)
	for _, test := range []struct {
		name, route, body string
		status            int
		kind, text        string
	}{
		{"no JSON", "/predict", "text", 400, validation, "the body"},
		{"no object", "/predict", `["text"]`, 400, validation, "not a JSON object"},
		{"rest", "/predict", `{"inputs": "a"} x`, 400, validation, "the body"},
		{"twice", "/predict", `{"inputs": "a", "inputs": "b"}`, 400, validation, "inputs"},
		{"no inputs", "/predict", `{}`, 400, validation, `the field "inputs" is missing`},
		{"unknown field", "/predict", `{"inputs": "a", "truncat": true}`, 400, validation, `unknown field "truncat"; nearest: truncate`},
		{"number", "/predict", `{"inputs": 3}`, 400, validation, "inputs is 3; want a text"},
		{"null", "/predict", `{"inputs": null}`, 400, validation, "inputs is null; want a text"},
		{"empty", "/predict", `{"inputs": []}`, 400, validation, "inputs is an empty list"},
		{"three texts", "/predict", `{"inputs": ["a", "b", "c"]}`, 400, validation, "inputs: a list of 3; want a text, or a text and its pair"},
		{"empty input", "/predict", `{"inputs": [["a"], []]}`, 400, validation, "inputs[1]: a list of 0"},
		{"input of numbers", "/predict", `{"inputs": [["a"], [1]]}`, 400, validation, "inputs[1]: 1 is not a text"},
		{"mixed", "/predict", `{"inputs": ["a", ["b"]]}`, 400, validation, `inputs: ["b"] is not a text`},
		{"truncate", "/predict", `{"inputs": "a", "truncate": "yes"}`, 400, validation, `truncate is "yes"; want true or false`},
		{"raw", "/predict", `{"inputs": "a", "raw_scores": 1}`, 400, validation, `raw_scores is 1; want true or false`},
		{"left", "/predict", `{"inputs": "a", "truncation_direction": "Left"}`, 400, validation, `only cut on the "Right"`},
		{"bytes", "/predict", "{\"inputs\": \"\xff\"}", 400, validation, "not valid UTF-8"},
		{"half a character", "/predict", `{"inputs": "\ud83d"}`, 422, tokenizer, "half of a character"},
		{"too many", "/predict", `{"inputs": [["a"], ["b"], ["c"], ["d"]]}`, 413, validation, "4 inputs; at most 3"},
		{"too long", "/predict", `{"inputs": "` + strings.Repeat("word ", 200) + `"}`, 413, validation, `inputs[0] has 202 tokens, special ones included; at most 128 are taken; send "truncate": true`},
		{"too large", "/predict", `{"inputs": "` + strings.Repeat("x", 4000) + `"}`, 413, validation, "the body has 4014 bytes; at most 4000 are taken"},
		{"adapter", "/adapters/nosuch/predict", `{"inputs": "a"}`, 404, validation, `there is no adapter "nosuch"; GET /info lists them`},
		{"route", "/predictions", `{"inputs": "a"}`, 404, validation, "there is no such route"},
		{"method", "/health", `{"inputs": "a"}`, 405, validation, "this route is asked with GET"},
	} {
		status, text := r.post(t, test.route, test.body)
		var f fault
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			t.Errorf("%s: %v in %q", test.name, err, text)
		}
		if status != test.status || f.Kind != test.kind || !strings.Contains(f.Text, test.text) {
			t.Errorf("%s: %d %s, want %d %s with %q", test.name, status, text, test.status, test.kind, test.text)
		}
	}
	if status, text := r.post(t, "/predict", `{"inputs": "\ud83d\ude00 \ufffd �", "truncation_direction": "right"}`); status != 200 {
		t.Errorf("both halves of a character: %d %s", status, text)
	}
	response, err := r.client.Get(r.url + "/predict")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 405 || response.Header.Get("Allow") != "POST" {
		t.Errorf("GET /predict: %d, Allow %q", response.StatusCode, response.Header.Get("Allow"))
	}
}

// A fault of the model, or of the program, tells no client where it was.
func TestNothingInsideIsTold(t *testing.T) {
	r := start(t, nil, func(s *Server) {
		s.compute = func(int, *Adapter, *batch) ([][]float32, error) { return nil, errors.New("open /home/me/secret: no") }
	})
	status, text := r.post(t, "/predict", `{"inputs": "a"}`)
	if status != http.StatusFailedDependency || strings.Contains(text, "/") || !strings.Contains(text, backend) {
		t.Errorf("%d %s", status, text)
	}
	r.mu.Lock()
	if !strings.Contains(r.log.String(), "batch of similarity: open /home/me/secret: no") {
		t.Errorf("the log says %q", r.log.String())
	}
	r.mu.Unlock()
	s := &Server{log: func(string, ...any) {}}
	w := record(s.guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("at /home/me") })), "GET", "/x", nil)
	if w.Code != http.StatusFailedDependency || strings.Contains(w.Body.String(), "/") {
		t.Errorf("a panic: %d %s", w.Code, w.Body)
	}
}

// Requests that come together are computed together, each adapter's by themselves, and each gets its own answer.
func TestRequestsAreGathered(t *testing.T) {
	var mu sync.Mutex
	var sizes []int
	var taken atomic.Int64
	hold := make(chan struct{})
	r := start(t, func(c *Config) { c.MaxWait = 20 * time.Millisecond }, fakeAfter(func(s *Server, a *Adapter, b *batch) {
		taken.Add(int64(len(b.inputs)))
		<-hold
		mu.Lock()
		sizes = append(sizes, len(b.inputs))
		mu.Unlock()
		for _, w := range b.inputs {
			if w.of.adapter != b.adapter || s.adapters[b.adapter] != a {
				t.Error("an input is in another adapter's batch")
			}
		}
	}))
	const clients = 48
	words := strings.Fields("a man plays the flute while two dogs run over the old red house and many people listen")
	var asked sync.WaitGroup
	for i := range clients {
		asked.Go(func() {
			adapter := r.adapters[i%2]
			text := strings.Join(words[:1+i%len(words)], " ")
			e, err := adapter.encode(&request{inputs: []data.Example{{Text: text}}})
			if err != nil {
				t.Error(err)
				return
			}
			want := 0.0
			for _, id := range e[0].IDs {
				want += float64(id)
			}
			var got []scored
			r.predicted(t, "/adapters/"+adapter.Name+"/predict", object{"inputs": text, "raw_scores": true}, &got)
			if got[0].Score != want {
				t.Errorf("%q: %v, want %v", text, got, want)
			}
		})
	}
	for r.queue.len()+int(taken.Load()) < clients && !t.Failed() {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	asked.Wait()
	total := 0
	for _, n := range sizes {
		total += n
	}
	if total != clients || len(sizes) > clients/4 {
		t.Errorf("%d inputs in batches of %v", total, sizes)
	}
}

// What waits is bounded, whoever leaves makes room, and a request that is too much is told so at once.
func TestQueueIsBounded(t *testing.T) {
	hold, begun := make(chan struct{}), make(chan struct{}, 100)
	r := start(t, func(c *Config) { c.MaxQueue, c.MaxInputs, c.MaxWait = 4, 4, 0 }, fakeAfter(func(_ *Server, _ *Adapter, _ *batch) {
		begun <- struct{}{}
		<-hold
	}))
	var asked sync.WaitGroup
	ask := func(ctx context.Context, want int) {
		asked.Go(func() {
			request, _ := http.NewRequestWithContext(ctx, "POST", r.url+"/predict", strings.NewReader(`{"inputs": [["a"], ["b"]]}`))
			response, err := r.client.Do(request)
			switch {
			case want == 0 && !errors.Is(err, context.Canceled):
				t.Errorf("a request that was given up: %v", err)
			case want != 0 && err != nil:
				t.Error(err)
			case want != 0 && response.StatusCode != want:
				t.Errorf("status %d, want %d", response.StatusCode, want)
			}
			if err == nil {
				response.Body.Close()
			}
		})
	}
	waiting := func(n int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); r.queue.len() != n; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d inputs wait, want %d", r.queue.len(), n)
			}
		}
	}
	ask(t.Context(), 200)
	<-begun // it is being computed
	leaving, leave := context.WithCancel(t.Context())
	ask(leaving, 0)
	waiting(2)
	ask(t.Context(), 200)
	waiting(4)
	status, text := r.post(t, "/predict", `{"inputs": "one more"}`)
	if status != http.StatusTooManyRequests || !strings.Contains(text, overloaded) {
		t.Errorf("%d %s", status, text)
	}
	leave()
	waiting(2)
	ask(t.Context(), 200)
	waiting(4)
	close(hold)
	asked.Wait()
	if n := r.queue.len(); n != 0 {
		t.Errorf("%d inputs wait after all were answered", n)
	}
}

// With a token only those who send it are answered; the page, the description and the health of the server are free.
func TestToken(t *testing.T) {
	r := start(t, func(c *Config) { c.Token = "s3cret" }, fake)
	for _, test := range []struct {
		method, route, header string
		status                int
	}{
		{"POST", "/predict", "", 401},
		{"POST", "/predict", "Bearer wrong", 401},
		{"POST", "/predict", "Basic s3cret", 401},
		{"POST", "/predict", "Bearer s3cret", 200},
		{"POST", "/predict", "bearer s3cret", 200},
		{"POST", "/predict", "Bearer s3cret ", 200},
		{"POST", "/adapters/mood/predict", "", 401},
		{"POST", "/adapters/nosuch/predict", "", 401},
		{"POST", "/adapters/mood/predict", "Bearer s3cret", 200},
		{"GET", "/info", "", 401},
		{"GET", "/info", "Bearer s3cret", 200},
		{"GET", "/metrics", "", 401},
		{"GET", "/metrics", "Bearer s3cret", 200},
		{"GET", "/health", "", 200},
		{"GET", "/", "", 200},
		{"GET", "/page.js", "", 200},
		{"GET", "/page.css", "", 200},
		{"GET", "/openapi.json", "", 200},
	} {
		request, _ := http.NewRequestWithContext(t.Context(), test.method, r.url+test.route, strings.NewReader(`{"inputs": "a"}`))
		if test.header != "" {
			request.Header.Set("Authorization", test.header)
		}
		response, err := r.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != test.status {
			t.Errorf("%s %s with %q: %d, want %d", test.method, test.route, test.header, response.StatusCode, test.status)
		}
		if test.status == 401 && response.Header.Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%s: no WWW-Authenticate", test.route)
		}
	}
}

// Pages of other sites cannot use a server that only this machine reaches.
func TestOtherSitesAreRefused(t *testing.T) {
	r := start(t, nil, fake)
	for origin, want := range map[string]int{"": 200, r.url: 200, "https://example.org": 403} {
		request, _ := http.NewRequestWithContext(t.Context(), "POST", r.url+"/predict", strings.NewReader(`{"inputs": "a"}`))
		if origin != "" {
			request.Header.Set("Origin", origin)
		}
		response, err := r.client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("Origin %q: %d, want %d", origin, response.StatusCode, want)
		}
	}
}

// All that can be wrong with the settings is said at once.
func TestSettings(t *testing.T) {
	err := Config{MaxInputs: 3, MaxQueue: 2, MaxBody: -1, MaxWait: -1}.Check()
	for _, want := range []string{"--max-batch: 0", "--max-inputs: 3 is more than the 2", "--max-body: -1", "--max-wait: -1ns", "--timeout: 0s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	list := adapters(t)
	list[1].Name = list[0].Name
	if _, err := New(list, Default(), nil); err == nil || !strings.Contains(err.Error(), `two adapters are called "similarity"`) {
		t.Errorf("two of a name: %v", err)
	}
	for _, name := range []string{"", "..", "a/b", "ä", "a b", "a?b"} {
		if CheckName(name) == nil {
			t.Errorf("%q may stand in a URL", name)
		}
	}
}

// Metrics count what was asked and computed.
func TestMetrics(t *testing.T) {
	r := start(t, nil, fake)
	for range 3 {
		r.post(t, "/adapters/mood/predict", `{"inputs": [["a man"], ["b"]]}`)
	}
	r.post(t, "/predict", `{}`)
	response, err := r.client.Get(r.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text := read(t, response)
	for _, want := range []string{
		`deeplora_requests_total{adapter="mood",code="200"} 3`, `deeplora_requests_total{adapter="similarity",code="400"} 1`,
		`deeplora_request_seconds_count{adapter="mood"} 3`, `deeplora_batch_inputs_sum{adapter="mood"} 6`, `deeplora_tokens_total{adapter="mood"} 21`,
		`deeplora_batch_fill_ratio_sum{adapter="mood"} 0.65625`, "deeplora_queue_inputs 0", "process_resident_memory_bytes", "go_goroutines",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// Warm compiles all there is to compile: no later batch has another shape.
func TestWarm(t *testing.T) {
	c := Default()
	c.MaxBatch = 4
	s, err := New(adapters(t)[:2], c, nil)
	if err != nil {
		t.Fatal(err)
	}
	done := 0
	if err := s.Warm(t.Context(), func(n, total int) {
		if done++; n != done || total != len(s.queue.plans[0].shapes())*2 { // the two are of different forms
			t.Errorf("%d of %d", n, total)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if done == 0 {
		t.Error("nothing was compiled")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Warm(cancelled, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
