package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A training by one process is watched by another from before it begins until it has finished; the run has the bits of one
// that nobody watched, and SIGTERM ends the watching with 0.
func TestWatch(t *testing.T) {
	t.Parallel()
	run, alone := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "alone")
	p := start(t, "watch", "--quiet", "--run", run)
	listening := regexp.MustCompile(`(?m)^listening on (http://127\.0\.0\.1:\d+)$`)
	p.until(t, "listening", func() bool { return listening.MatchString(p.err.String()) })
	url := listening.FindStringSubmatch(p.err.String())[1]

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	type state struct {
		Phase, Title, Fault string
		Step                int
		Figures             []struct{ SVG string }
	}
	// until reads what is streamed until the run is in a phase.
	until := func(phase string) (s state) {
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "data: {")
			if !ok {
				continue
			}
			s = state{}
			if err := json.Unmarshal([]byte("{"+text), &s); err != nil {
				t.Fatal(err)
			}
			if s.Phase == phase {
				return s
			}
		}
		t.Fatalf("the stream ended (%v) before %s; the last state is %+v", lines.Err(), phase, s)
		return s
	}
	until("waiting")
	args := []string{"--steps", "4", "--eval-every", "2", "--save-every", "2"}
	succeeds(t, smallRun(t, backendGo, run, args...)...)
	if s := until("finished"); s.Step != 4 || len(s.Figures) != 2 || s.Fault != "" || !strings.HasPrefix(s.Title, "stsb: ") {
		t.Errorf("at the end: %+v", s)
	}
	succeeds(t, smallRun(t, backendGo, alone, args...)...)
	sameFile(t, filepath.Join(run, "adapter", "adapter.safetensors"), filepath.Join(alone, "adapter", "adapter.safetensors"))

	began := time.Now()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.code(t); code != exitDone {
		t.Errorf("exit code %d after SIGTERM\n%s", code, p.err.String())
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("with a page open it ended after %v", took)
	}
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if string(x) != string(y) {
		t.Errorf("%s and %s differ", a, b)
	}
}
