package watch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"go.uber.org/goleak"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/pretrain"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/testpage"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// TestMain also holds that no goroutine is left of any server.
func TestMain(m *testing.M) {
	code := m.Run()
	http.DefaultClient.CloseIdleConnections()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// fake is a run's directory as a training would write it, without one.
type fake struct {
	t   *testing.T
	dir string
}

func newFake(t *testing.T) fake { return fake{t, filepath.Join(t.TempDir(), "run")} }

func (f fake) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f fake) begin() {
	f.t.Helper()
	c := train.Default()
	c.Steps, c.LR = 200, 1e-3
	f.check(os.MkdirAll(f.dir, 0o755))
	f.check(jsonfile.Write(filepath.Join(f.dir, "config.json"), train.RunConfig{Config: c}))
}

// log appends to the log as it is.
func (f fake) log(text string) {
	f.t.Helper()
	to, err := os.OpenFile(filepath.Join(f.dir, loop.LogFile), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	f.check(err)
	_, err = to.WriteString(text)
	f.check(errors.Join(err, to.Close()))
}

func step(n int, loss float64) string {
	return fmt.Sprintf(`{"gradient_norm":0.5,"loss":%g,"lr":0.001,"step":%d,"step_seconds":0.01,"tokens_per_s":1234}`+"\n", loss, n)
}

func evaluation(n int, pearson float64) string {
	return fmt.Sprintf(`{"eval/pearson":%g,"eval/spearman":null,"step":%d}`+"\n", pearson, n)
}

// abandon leaves the lock of a process that is gone.
func (f fake) abandon() {
	f.t.Helper()
	gone := exec.Command("true")
	f.check(gone.Run())
	host, err := os.Hostname()
	f.check(err)
	f.check(os.WriteFile(filepath.Join(f.dir, ".lock"), fmt.Appendf(nil, "process %d on %s\n", gone.Process.Pid, host), 0o644))
}

func (f fake) finish() {
	f.t.Helper()
	f.check(os.WriteFile(filepath.Join(f.dir, "result.json"), []byte(`{"metrics": {"spearman": null, "pearson": 0.75}, "steps": 40, "task": "stsb"}`), 0o644))
}

// start serves a run until the test ends, or stop is called, which must end it without an error.
func start(t *testing.T, dir string) (url string, stop func()) {
	t.Helper()
	s, err := New(dir, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	s.every = 10 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	stop = func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			ended <- nil
		case <-time.After(20 * time.Second):
			t.Error("the server does not end")
		}
	}
	t.Cleanup(stop)
	return "http://" + l.Addr().String(), stop
}

// stream is a page that is open, as far as the server sees it.
type stream struct {
	t     *testing.T
	lines *bufio.Reader
	close func()
}

func open(t *testing.T, url string) stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	closing := func() { cancel(); response.Body.Close() }
	t.Cleanup(closing)
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != "text/event-stream" {
		t.Fatalf("%s, %s", response.Status, kind)
	}
	return stream{t, bufio.NewReader(response.Body), closing}
}

// until reads states until one is as wanted.
func (s stream) until(what string, wanted func(s state) bool) state {
	s.t.Helper()
	var last state
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s: %v; the last state is %+v", what, err, last)
		}
		text, ok := strings.CutPrefix(line, "data: {")
		if !ok {
			continue
		}
		last = state{}
		if err := json.Unmarshal([]byte("{"+text), &last); err != nil {
			s.t.Fatal(err)
		}
		if wanted(last) {
			return last
		}
	}
}

// look reads a directory once.
func look(dir string) state { return (&run{dir: dir, log: loop.Tail{Dir: dir}}).look() }

func (s state) fact(name string) string {
	i := slices.IndexFunc(s.Facts, func(f fact) bool { return f.Name == name })
	if i < 0 {
		return ""
	}
	return s.Facts[i].Value
}

// A run is followed from before its beginning to its end: half a line is not taken for one, a resumed run's steps replace
// those that were cut off, and what becomes of it is said.
func TestAGrowingRun(t *testing.T) {
	run := newFake(t)
	url, _ := start(t, run.dir)
	page := open(t, url)
	s := page.until("no run yet", func(s state) bool { return s.Phase == waiting })
	if s.Title != "run" || !strings.HasPrefix(s.Status, "Waiting") || len(s.Figures) != 0 {
		t.Errorf("before the run: %+v", s)
	}
	run.begin()
	s = page.until("begun", func(s state) bool { return s.Phase == running })
	if s.Title != "stsb: deep-compressed on builtin:tiny" || s.Step != 0 || s.Steps != 200 {
		t.Errorf("begun: %+v", s)
	}
	run.log(step(1, 4) + step(2, 3) + evaluation(2, 0.25) + step(3, 2)[:20])
	s = page.until("two steps", func(s state) bool { return s.Step == 2 })
	if s.fact("training loss") != "3" || s.fact("tokens a second") != "1,234" || len(s.Figures) != 1 || s.Fault != "" {
		t.Errorf("after two steps and half a line: %+v", s)
	}
	run.log(step(3, 2)[20:] + step(4, 1.5) + evaluation(4, 0.5))
	s = page.until("four steps", func(s state) bool { return s.Step == 4 && len(s.Rows) == 2 })
	want := [][]string{{"4", "0.5000", "undefined"}, {"2", "0.2500", "undefined"}}
	if !slices.Equal(s.Columns, []string{"step", "pearson", "spearman"}) || !slices.EqualFunc(s.Rows, want, slices.Equal) || len(s.Figures) != 2 {
		t.Errorf("evaluations %v %v, %d figures", s.Columns, s.Rows, len(s.Figures))
	}

	run.abandon()
	s = page.until("stopped", func(s state) bool { return s.Phase == stopped })
	if !strings.Contains(s.Status, "Stopped at step 4") || !strings.Contains(s.Status, "--resume") {
		t.Errorf("stopped: %q", s.Status)
	}
	run.check(os.Remove(filepath.Join(run.dir, ".lock")))
	run.check(os.Truncate(filepath.Join(run.dir, loop.LogFile), int64(len(step(1, 4)+step(2, 3)))))
	s = page.until("cut at a checkpoint", func(s state) bool { return s.Step == 2 && s.Phase == running })
	if len(s.Rows) != 0 {
		t.Errorf("the run went back before its first evaluation, and has %v", s.Rows)
	}
	run.log(step(3, 9))
	page.until("went on", func(s state) bool { return s.Step == 3 && s.fact("training loss") == "9" })
	run.finish()
	s = page.until("finished", func(s state) bool { return s.Phase == finished })
	if s.Status != "Finished after 40 steps." || s.fact("pearson") != "0.7500" || s.fact("spearman") != "undefined" {
		t.Errorf("finished: %+v", s)
	}
}

// A pretraining is shown too, although the folder it makes also has a config.json, of its encoder.
func TestAPretraining(t *testing.T) {
	run := newFake(t)
	run.check(os.MkdirAll(run.dir, 0o755))
	c := pretrain.Default()
	c.Steps, c.Corpus = 30, []string{"corpus.txt"}
	run.check(jsonfile.Write(filepath.Join(run.dir, pretrain.RunJSON), pretrain.RunConfig{Config: c}))
	run.check(os.WriteFile(filepath.Join(run.dir, "config.json"), []byte(`{"model_type": "bert"}`), 0o644))
	run.log(step(1, 4) + `{"eval/mlm_loss":2.5,"step":1}` + "\n")
	s := look(run.dir)
	if s.Fault != "" || s.Title != "Pretraining" || s.Phase != running || s.Step != 1 || s.Steps != 30 || len(s.Rows) != 1 || s.Rows[0][1] != "2.5000" {
		t.Errorf("%+v", s)
	}
}

// A file that is not as a run writes it is named, and nothing ends: when it is good again, so is the page.
func TestDamageIsNamed(t *testing.T) {
	run := newFake(t)
	run.begin()
	url, _ := start(t, run.dir)
	page := open(t, url)
	run.log(step(1, 4) + "not JSON\n")
	s := page.until("damage", func(s state) bool { return s.Fault != "" })
	if !strings.Contains(s.Fault, loop.LogFile+": line at byte "+fmt.Sprint(len(step(1, 4)))) {
		t.Errorf("fault %q", s.Fault)
	}
	run.check(os.Truncate(filepath.Join(run.dir, loop.LogFile), int64(len(step(1, 4)))))
	page.until("repaired", func(s state) bool { return s.Fault == "" && s.Step == 1 })
	run.check(os.WriteFile(filepath.Join(run.dir, "result.json"), []byte("{"), 0o644))
	page.until("a bad result", func(s state) bool { return strings.Contains(s.Fault, "result.json") })
	run.finish()
	page.until("finished", func(s state) bool { return s.Phase == finished && s.Fault == "" })
}

// A server that is told to end ends, with pages open; more pages than it takes are refused; whoever leaves makes room.
func TestStreamsAreBoundedAndEnd(t *testing.T) {
	run := newFake(t)
	run.begin()
	url, stop := start(t, run.dir)
	var pages []stream
	for range mostStreams {
		pages = append(pages, open(t, url))
	}
	refused := func() bool {
		response, err := http.Get(url + "/events")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusServiceUnavailable
	}
	if !refused() {
		t.Error("a page more is not refused")
	}
	pages[0].close()
	for began := time.Now(); refused(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatal("no room after a page was closed")
		}
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > drainTimeout {
		t.Errorf("it ended after %v", took)
	}
}

// The page names each part, loads nothing from elsewhere and writes no HTML; what is not there is not found.
func TestPage(t *testing.T) {
	s, err := New(t.TempDir(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, route string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(method, route, nil))
		return w
	}
	w := ask("GET", "/")
	rules := w.Header().Get("Content-Security-Policy")
	if w.Code != http.StatusOK || !strings.Contains(rules, "default-src 'none'") || strings.Contains(rules, "unsafe") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%d, %v", w.Code, w.Header())
	}
	closed := strings.NewReplacer(`href="data:,">`, `href="data:,"></link>`, `href="page.css">`, `href="page.css"></link>`).Replace(w.Body.String())
	if count := testpage.WellFormed(t, closed); count["progress"] != 1 || count["h1"] != 1 {
		t.Errorf("elements %v", count)
	}
	for _, name := range []string{"/", "/page.js", "/page.css"} {
		w := ask("GET", name)
		if text := w.Body.String(); w.Code != http.StatusOK || strings.Contains(text, "//"+"w") || strings.Contains(text, "://") || strings.Contains(text, "innerHTML") || strings.Contains(text, "style=") {
			t.Errorf("%s: %d, or it names another place, or has HTML or style where none may be", name, w.Code)
		}
	}
	for route, code := range map[string]int{"GET /nothing": 404, "POST /": 405, "GET /page/page.html": 404} {
		method, path, _ := strings.Cut(route, " ")
		if w := ask(method, path); w.Code != code {
			t.Errorf("%s: %d, want %d", route, w.Code, code)
		}
	}
}

func TestWithoutStyle(t *testing.T) {
	for from, want := range map[string]string{
		`<svg viewBox="0 0 1 1" style="--width:380" fill="x">`:            `<svg viewBox="0 0 1 1" fill="x">`,
		`<path d="M0" style="fill:none;stroke:var(--series-1,#1F5FA8)"/>`: `<path d="M0" fill="none" stroke="var(--series-1,#1F5FA8)"/>`,
		"<text x=\"1\"\n\tstyle=\"font-size:10px\">":                      `<text x="1" font-size="10px">`,
		`<text>&#34; style=&#34;fill:red&#34;</text>`:                     `<text>&#34; style=&#34;fill:red&#34;</text>`,
	} {
		if got := withoutStyle(from); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// The page as it is looked at while a run goes on: in wide and narrow windows, light and dark, with the charts in the
// page's colours under its strict policy, without a reload.
func TestPageInABrowser(t *testing.T) {
	p, run := testpage.Browse(t), newFake(t)
	url, _ := start(t, run.dir)
	status := chromedp.CSS("#status")
	p.Do(chromedp.Navigate(url+"/"), chromedp.WaitReady(chromedp.CSS("#status.waiting")))
	if text := p.Text(status); !strings.HasPrefix(text, "Waiting") {
		t.Errorf("before the run: %q", text)
	}
	p.Look("watch-waiting", 390, "light")

	run.begin()
	for i := range 60 {
		run.log(step(i+1, 2/float64(i+1)+0.1))
		if n := i + 1; n%20 == 0 {
			run.log(evaluation(n, 0.5+float64(n)/200))
		}
	}
	second := chromedp.CSS("#figures figure:nth-child(2) svg")
	p.Do(chromedp.WaitVisible(second), chromedp.WaitVisible(chromedp.CSS("#rows tr:nth-child(3)")))
	if title, count := testpage.Value(p, chromedp.Title()), p.Text("#count"); title != "30 % · stsb: deep-compressed on builtin:tiny" || count != "step 60 of 200" {
		t.Errorf("title %q, count %q", title, count)
	}
	stroke := `(() => { const lines = [...document.querySelectorAll("#figures svg path")].map((e) => getComputedStyle(e).stroke); return lines.find((c) => c === %q) !== undefined })()`
	p.Look("watch-running", 1280, "light")
	if !testpage.Value(p, chromedp.Evaluate[bool](fmt.Sprintf(stroke, "rgb(31, 95, 168)"))) {
		t.Error("no line of a chart has the light page's blue")
	}
	p.Look("watch-running", 1280, "dark")
	if !testpage.Value(p, chromedp.Evaluate[bool](fmt.Sprintf(stroke, "rgb(106, 170, 242)"))) {
		t.Error("no line of a chart has the dark page's blue")
	}
	p.Look("watch-running", 390, "dark")
	if testpage.Value(p, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > window.innerWidth`)) {
		t.Error("the page is wider than a telephone")
	}
	if size := testpage.Value(p, chromedp.Evaluate[string](`getComputedStyle(document.querySelector("#figures text")).fontSize`)); size != "10px" {
		t.Errorf("a chart's text has the size %s", size)
	}
	if label := testpage.Value(p, chromedp.Evaluate[string](`document.querySelector("#figures svg").getAttribute("aria-label")`)); label != "Training loss" {
		t.Errorf("a chart is labelled %q", label)
	}
	run.finish()
	p.Do(chromedp.WaitReady(chromedp.CSS("#status.finished")))
	if text := p.Text(status); text != "Finished after 40 steps." {
		t.Errorf("at the end: %q", text)
	}
	p.Look("watch-finished", 390, "light")
}
