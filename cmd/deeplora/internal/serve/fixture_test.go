package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"go.uber.org/goleak"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/builtin"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train"
)

// scratch holds the runs of all tests.
var scratch string

// TestMain also holds that no goroutine is left of any server.
func TestMain(m *testing.M) {
	var err error
	if scratch, err = os.MkdirTemp("", "deeplora-serve-*"); err != nil {
		panic(err)
	}
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(engines...); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.RemoveAll(scratch)
	os.Exit(code)
}

// fixture are three finished runs on the embedded encoder: of pairs with a score, of one class, and of several.
type fixture struct {
	backend compute.Backend
	runs    []*train.Finished
}

var (
	names = []string{"similarity", "mood", "tags"}
	made  fixture
	once  sync.Once

	engines []goleak.Option // ignore what runs once the engines are open
)

func runs(t testing.TB) fixture {
	t.Helper()
	once.Do(func() {
		made.backend = testbackend.All(t)[0] // the Go engine, which does not compile each shape for seconds
		similar := []data.Example{
			{Text: "A man plays the flute.", Pair: "Someone plays.", HasPair: true, Label: 4},
			{Text: "Two dogs run.", Pair: "It rains.", HasPair: true, Label: 0.5},
		}
		moods := []data.Example{{Text: "A wonderful story.", Label: 1}, {Text: "Terrible and boring.", Label: 0}, {Text: "It is a film.", Label: 2}}
		tags := []data.Example{{Text: "A wonderful story.", Classes: []int{0, 1}}, {Text: "Terrible.", Classes: []int{}}}
		for i, x := range []struct {
			task     data.Task
			method   string
			examples []data.Example
		}{
			{data.Task{Name: "similarity", Columns: []string{"text", "pair"}}, "deep-compressed", similar},
			{data.Task{Name: "mood", Columns: []string{"text"}, Labels: []string{"bad", "good", "<b>neither</b>"}}, "vanilla", moods},
			{data.Task{Name: "tags", Columns: []string{"text"}, Labels: []string{"praise", "story"}, Multi: true}, "deep-compressed", tags},
		} {
			made.runs = append(made.runs, finish(t, names[i], x.task, x.method, x.examples))
		}
		engines = append(engines, goleak.IgnoreCurrent())
	})
	if len(made.runs) < len(names) {
		t.Fatal("the runs could not be made: see the first test that failed")
	}
	return made
}

func finish(t testing.TB, name string, task data.Task, method string, examples []data.Example) *train.Finished {
	t.Helper()
	task, err := task.WithDefaults()
	if err != nil {
		t.Fatal(err)
	}
	split := func(name string) *data.Split {
		s, err := data.NewSplit(task, name, examples)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	sources := train.Sources{Models: map[string]fs.FS{train.BuiltinModel: builtin.Model()}}
	c := train.Default()
	c.Method, c.Steps, c.Batch, c.Rank, c.LR, c.MaxLength = method, 2, 2, 2, 0.01, 128
	dir := filepath.Join(scratch, name)
	_, err = train.Train(context.Background(), c, train.Options{
		Backend: made.backend, Out: dir, Train: split(data.Train), Validation: split(data.Validation), Sources: sources,
		Provenance: train.Provenance{Backend: made.backend.Name(), Threads: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	f, err := train.ReadFinished(context.Background(), dir, train.OpenOptions{Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// adapters opens the three runs on one base.
func adapters(t testing.TB) (list []*Adapter) {
	t.Helper()
	f := runs(t)
	var with *train.Predictor
	for i, run := range f.runs {
		p, err := run.Beside(f.backend, with)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		list, with = append(list, &Adapter{Name: names[i], Predictor: p, MaxLength: 128, Base: "builtin-tiny", Method: run.Run.Method}), p
	}
	return list
}

// running is a server that a test talks to.
type running struct {
	*Server
	url    string
	addr   string
	stop   context.CancelFunc
	ended  chan struct{}
	err    error // of Serve, once ended
	client *http.Client

	mu  sync.Mutex
	log strings.Builder
}

// start serves the three runs on a free port until the test ends. change alters the settings, prepare the server.
func start(t testing.TB, change func(c *Config), prepare func(s *Server)) *running {
	t.Helper()
	r := &running{ended: make(chan struct{}), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	c := Default()
	c.Precision, c.Backend, c.Version = "f32", "go", "test"
	if change != nil {
		change(&c)
	}
	s, err := New(adapters(t), c, func(format string, args ...any) {
		r.mu.Lock()
		defer r.mu.Unlock()
		fmt.Fprintf(&r.log, format+"\n", args...)
	})
	if err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(s)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.Server, r.addr, r.url = s, l.Addr().String(), "http://"+l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	go func() {
		defer close(r.ended)
		r.err = s.Serve(ctx, l)
	}()
	t.Cleanup(func() {
		r.stop()
		r.client.CloseIdleConnections()
		<-r.ended
		if r.err != nil {
			t.Errorf("Serve: %v", r.err)
		}
	})
	return r
}

// fake answers as the first adapter of all would if its value were the sum of an input's ids, which says whose it is.
func fake(s *Server) {
	s.compute = func(_ int, a *Adapter, b *batch) ([][]float32, error) {
		logits := make([][]float32, len(b.inputs))
		for i, w := range b.inputs {
			logits[i] = make([]float32, a.Config().NumLabels())
			for _, id := range w.IDs {
				logits[i][0] += float32(id)
			}
		}
		return logits, nil
	}
}

// fakeAfter computes so too, after something else.
func fakeAfter(first func(s *Server, a *Adapter, b *batch)) func(*Server) {
	return func(s *Server) {
		fake(s)
		inner := s.compute
		s.compute = func(device int, a *Adapter, b *batch) ([][]float32, error) {
			first(s, a, b)
			return inner(device, a, b)
		}
	}
}

// post asks a route with a body, and returns the answer's status and text.
func (r *running) post(t testing.TB, route, body string) (int, string) {
	t.Helper()
	response, err := r.client.Post(r.url+route, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// predicted asks for a prediction, which must come, and reads it into to.
func (r *running) predicted(t testing.TB, route string, request any, to any) {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	status, text := r.post(t, route, string(body))
	if status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", route, body, status, text)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		t.Fatalf("%s: %v in %s", route, err, text)
	}
}
