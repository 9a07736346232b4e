package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// serving starts a server on a free port and waits until it is ready.
func serving(t *testing.T, args ...string) (p *process, url string) {
	t.Helper()
	p = start(t, append([]string{"serve", "--backend", backendGo, "--addr", "127.0.0.1:0", "--max-batch", "4"}, args...)...)
	listening := regexp.MustCompile(`(?m)^listening on (http://\S+)$`)
	p.until(t, "listening", func() bool { return listening.MatchString(p.err.String()) })
	return p, listening.FindStringSubmatch(p.err.String())[1]
}

// scoreOf asks for the score of a row as predict reads it.
func scoreOf(url, line string) (float64, error) {
	var row struct{ Text, Pair string }
	if err := json.Unmarshal([]byte(line), &row); err != nil {
		return 0, err
	}
	body, err := json.Marshal(map[string]any{"inputs": []string{row.Text, row.Pair}})
	if err != nil {
		return 0, err
	}
	response, err := http.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	var said []struct {
		Score float64
		Label string
	}
	if err := json.Unmarshal(text, &said); err != nil || response.StatusCode != http.StatusOK || len(said) != 1 || said[0].Label != "score" {
		return 0, fmt.Errorf("%d %s", response.StatusCode, text)
	}
	return said[0].Score, nil
}

// A server answers as predict does, beside the base and merged, and on SIGTERM ends with 0, having answered all that it
// was asked: clients see a whole answer, or no connection.
func TestServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	runs := []string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}
	for i, run := range runs {
		succeeds(t, smallRun(t, backendGo, run, "--steps", "2", "--lr", "0.05", "--seed", fmt.Sprint(i))...)
	}
	lines := pairLines(6)
	file := filepath.Join(dir, "rows.jsonl")
	if err := os.WriteFile(file, []byte(strings.Join(lines, "")), 0o644); err != nil {
		t.Fatal(err)
	}
	want := map[string][]float64{}
	for _, run := range runs {
		for line := range strings.Lines(succeeds(t, "predict", "--backend", backendGo, "--run", run, "--max-length", "64", "--input", file).out.String()) {
			var said struct{ Score float64 }
			if err := json.Unmarshal([]byte(line), &said); err != nil {
				t.Fatal(err)
			}
			want[filepath.Base(run)] = append(want[filepath.Base(run)], said.Score)
		}
	}
	if math.Abs(want["one"][0]-want["two"][0]) < 1e-4 {
		t.Fatalf("both runs predict %v", want)
	}
	beside, url := serving(t, "--run", runs[0], "--run", runs[1]+"=two", "--max-length", "64")
	merged, other := serving(t, "--run", runs[1], "--merged", "--max-length", "64")
	for route, scores := range map[string][]float64{
		url + "/predict": want["one"], url + "/adapters/one/predict": want["one"], url + "/adapters/two/predict": want["two"], other + "/predict": want["two"],
	} {
		for i, line := range lines {
			if got, err := scoreOf(route, line); err != nil || math.Abs(got-scores[i]) > 1e-5 {
				t.Errorf("%s, row %d: %v (%v), predict says %v", route, i, got, err, scores[i])
			}
		}
	}
	var answered, wrong atomic.Int64
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for {
				got, err := scoreOf(url+"/predict", lines[i%len(lines)])
				if err != nil {
					return
				}
				if answered.Add(1); math.Abs(got-want["one"][i%len(lines)]) > 1e-5 {
					wrong.Add(1)
				}
			}
		})
	}
	beside.until(t, "answers", func() bool { return answered.Load() > 20 })
	for _, p := range []*process{beside, merged} {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.code(t); code != exitDone {
			t.Errorf("exit code %d after SIGTERM\n%s", code, p.err.String())
		}
	}
	clients.Wait()
	if wrong.Load() > 0 {
		t.Errorf("%d of %d answers under load are wrong", wrong.Load(), answered.Load())
	}
	if said := strings.TrimSpace(beside.err.String()); strings.Contains(said, "panic") || strings.Contains(said, "fault") {
		t.Errorf("the server said\n%s", said)
	}
}

// The commands of docs/serving.md that ask a server are run as they stand there.
func TestServingDocument(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("no curl is installed")
	}
	text := string(readFile(t, filepath.Join("..", "..", "docs", "serving.md")))
	commands := regexp.MustCompile(`(?m)^\$ (curl (?:.*\\\n)*.*)$`).FindAllStringSubmatch(text, -1)
	if len(commands) < 6 {
		t.Fatalf("%d commands in docs/serving.md: is the pattern right?", len(commands))
	}
	run := filepath.Join(t.TempDir(), "run")
	succeeds(t, smallRun(t, backendGo, run, "--steps", "1")...)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, free := serving(t, "--run", run+"=similarity", "--max-length", "64")
	_, locked := serving(t, "--run", run+"=similarity", "--max-length", "64", "--token-file", token)
	for _, c := range commands {
		url := free
		if strings.Contains(c[1], "Authorization") {
			url = locked
		}
		command := exec.CommandContext(t.Context(), "sh", "-c", strings.Replace(strings.ReplaceAll(c[1], "http://127.0.0.1:8080", url), "curl ", "curl --fail-with-body -sS ", 1))
		command.Env = append(os.Environ(), "TOKEN=s3cret")
		out, err := command.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", c[1], err, out)
		}
		if strings.Contains(c[1], "predict") && !strings.Contains(string(out), `"label":"score"`) {
			t.Errorf("%s: answered\n%s", c[1], out)
		}
	}
}
