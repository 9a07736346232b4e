package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// fakeEnv makes the test binary behave as the program, and says how: as its values.
const fakeEnv = "GPU_CHECK_FAKE"

const (
	fakeSound   = "sound"
	fakeAbsent  = "absent"  // no engine
	fakeDamaged = "damaged" // a plugin that does not open
	fakeRandom  = "random"  // other bits each time
	fakeNoisy   = "noisy"   // losses that are off by 1e-4 in all but the reference
	fakeHanging = "hanging" // at its first step
)

func TestMain(m *testing.M) {
	if how := os.Getenv(fakeEnv); how != "" {
		os.Exit(fake(how, os.Args[1:]))
	}
	os.Exit(m.Run())
}

// fake is the program: its doctor and its train.
func fake(how string, args []string) (code int) {
	if args[0] == "doctor" {
		fmt.Printf(`{"version": "fake", "backends": [{"name": "go", "available": true, "devices": ["it"]},
			{"name": "xla:cpu", "available": %[1]v, "plugin": "%[2]s", "devices": ["it"], "sha256": "0123456789abcdef", "remedy": "no plugin is installed"},
			{"name": "xla:cuda", "available": %[1]v, "devices": ["it"]}]}`, how != fakeAbsent && how != fakeDamaged, strings.TrimPrefix(how, fakeAbsent))
		return 0
	}
	value := func(flag string) string { return args[slices.Index(args, flag)+1] }
	dir, lines := value("--out"), 0
	interrupted := strings.HasSuffix(dir, "-resumed")
	if slices.Contains(args, "--resume") {
		interrupted = false
		lines, _ = loggedLines(dir)
	}
	if err := os.MkdirAll(filepath.Join(dir, "adapter"), 0o755); err != nil {
		panic(err)
	}
	log, err := os.OpenFile(filepath.Join(dir, "metrics.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		panic(err)
	}
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, syscall.SIGINT)
	for ; lines < steps; lines++ {
		loss := 1 / float64(lines+1)
		if how == fakeNoisy && value("--backend") != goEngine {
			loss *= 1 + 1e-4
		}
		fmt.Fprintf(log, "{\"loss\": %v, \"tokens_per_s\": 100}\n", loss)
		if interrupted && lines == steps/2 {
			<-interrupts
			return 130
		}
		if how == fakeHanging {
			time.Sleep(time.Hour)
		}
	}
	adapter := "bits"
	if how == fakeRandom && !strings.HasSuffix(os.Getenv("XLA_FLAGS"), deterministic) {
		adapter = fmt.Sprint(time.Now().UnixNano())
	}
	for name, text := range map[string]string{"adapter/adapter.safetensors": adapter, "result.json": `{"tokens_per_second": 50}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			panic(err)
		}
	}
	return 0
}

// checked runs the check on a fake program, and returns its report and its error.
func checked(t *testing.T, how string, set func(s *settings)) (string, error) {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(fakeEnv, how)
	s := settings{tests: t.TempDir(), backend: cpu, limit: time.Minute}
	if err := os.Symlink(own, filepath.Join(s.tests, "deeplora")); err != nil {
		t.Fatal(err)
	}
	if set != nil {
		set(&s)
	}
	var report strings.Builder
	err = run(t.Context(), s, &report, io.Discard)
	return report.String(), err
}

func has(t *testing.T, report string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(report, line) {
			t.Errorf("the report has no %q:\n%s", line, report)
		}
	}
}

// A sound program passes every row but those that lack their files, which are skipped and say so.
func TestSoundProgramPasses(t *testing.T) {
	out := filepath.Join(t.TempDir(), "check.md")
	report, err := checked(t, fakeSound, func(s *settings) { s.out = out })
	if err != nil {
		t.Errorf("%v\n%s", err, report)
	}
	has(t, report,
		"| what is there | passed | xla:cpu, devices: 1, plugin sha256 0123456789ab |",
		"| twice the same bits, bf16 | passed | 30 losses; adapter ",
		"| interrupted and resumed, the same bits, f32 | passed | interrupted after step ",
		"| f32 beside f32 on go | passed | first loss off by 0.0e+00",
		"| TF32 is off | passed |", "| packed and padded | passed |",
		"| two devices as one | passed |", "| interrupted on two devices, resumed on one | passed |",
		"| passed | f32: 50 tokens/s with compiling, 100 in the median step; bf16: ",
		"| skipped | no compiled tests in model/: scripts/gpu_check.sh --build makes them |",
		"| speed beside PyTorch and PEFT, f32 | skipped | no --python and --model |",
		"14 rows passed, 0 failed, 8 skipped",
	)
	if text, err := os.ReadFile(out); err != nil || string(text) != report {
		t.Errorf("--out has %q (%v)", text, err)
	}
}

// Each fault fails the rows that are there to see it, and the others go on.
func TestFaultsAreSeen(t *testing.T) {
	for how, rows := range map[string][]string{
		fakeRandom: {
			"| twice the same bits, f32 | failed | the losses are the same, the adapters differ: sha256 ",
			"| two devices, twice the same bits | failed |", "| packed and padded | passed |",
		},
		fakeNoisy: {
			"| f32 beside f32 on go | failed | first loss off by 1.0e-04, that of step 30 by 1.0e-04, any by 1.0e-04 at most; allowed are 1e-05 and 1e-03 |",
			"| bf16 beside f32 on go | passed |", "| TF32 is off | failed |", "| twice the same bits, f32 | passed |",
		},
	} {
		t.Run(how, func(t *testing.T) {
			report, err := checked(t, how, nil)
			if err == nil || !strings.Contains(err.Error(), "rows failed") {
				t.Errorf("error %v", err)
			}
			has(t, report, rows...)
		})
	}
}

// A GPU that gives other bits is asked once more under the flag that forbids it; of one GPU there are not two.
func TestOneGPU(t *testing.T) {
	t.Setenv("XLA_FLAGS", "--some")
	report, err := checked(t, fakeRandom, func(s *settings) { s.backend = cuda })
	if err == nil {
		t.Error("no error")
	}
	has(t, report, "- XLA_FLAGS: --some\n", "| twice the same bits, f32 | failed |", "| the same with --xla_gpu_deterministic_ops=true | passed | 30 losses; ",
		"| f32 beside f32 on xla:cpu | passed |", "| two devices as one | skipped | doctor lists 1 GPU, two are needed |")
}

// The limit holds: a program that hangs is stopped, and what no longer fits is skipped.
func TestLimitHolds(t *testing.T) {
	began := time.Now()
	report, err := checked(t, fakeHanging, func(s *settings) { s.limit = 2 * time.Second })
	if err != nil || time.Since(began) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	has(t, report, "| twice the same bits, f32 | skipped | the time was up ", "| packed and padded | skipped | no time left |")
}

func TestWithoutTheEngine(t *testing.T) {
	report, err := checked(t, fakeAbsent, nil)
	if err == nil {
		t.Error("no error")
	}
	has(t, report, "| what is there | failed | no plugin is installed |", "| all other rows | skipped | xla:cpu is not available |")
	report, err = checked(t, fakeAbsent, func(s *settings) { s.optional = true })
	if want := "gpu_check: not run: xla:cpu: no plugin is installed\n"; err != nil || report != want {
		t.Errorf("--optional: %q (%v), want %q", report, err, want)
	}
	if report, err = checked(t, fakeDamaged, func(s *settings) { s.optional = true }); err == nil {
		t.Errorf("--optional passes a plugin that does not open: %q", report)
	}
}

// An interrupt is no time that was up.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := ended(ctx, exec.Command("program"), time.Now(), errors.New("killed"), &bytes.Buffer{})
	if err == nil || !strings.HasPrefix(err.Error(), "interrupted") {
		t.Errorf("%v", err)
	}
}

// A harness that is still running on processors, for which the model is too much, is no failure; on a GPU it is.
func TestSlowBench(t *testing.T) {
	slow := ended(t.Context(), exec.Command("bench"), time.Now().Add(-patience), errors.New("killed"), &bytes.Buffer{})
	var s skip
	for backend, skipped := range map[string]bool{cpu: true, cuda: false} {
		c := &check{settings: settings{backend: backend}}
		err := c.unfinished(slow, "b: 0.90 of the peer's time (1 rounds)")
		if errors.As(err, &s) != skipped || !strings.Contains(err.Error(), "still running after 4m0s; rounds before: b: 0.90") {
			t.Errorf("%s: %v", backend, err)
		}
		if err = c.unfinished(fault{errors.New("exit status 1"), "log"}, ""); errors.As(err, &s) {
			t.Errorf("%s: %v", backend, err)
		}
	}
}

// A test whose parts were all skipped is skipped, whatever Go calls it.
func TestSkipsAreNotPasses(t *testing.T) {
	output := `=== RUN   TestA
=== RUN   TestA/xla:cpu
=== RUN   TestA/xla:cpu/Float32
    a_test.go:1: reference data absent
=== RUN   TestA/xla:cpu/Float64
    a_test.go:1: reference data absent
--- PASS: TestA (0.00s)
    --- PASS: TestA/xla:cpu (0.00s)
        --- SKIP: TestA/xla:cpu/Float32 (0.00s)
        --- SKIP: TestA/xla:cpu/Float64 (0.00s)
=== RUN   TestB
    b_test.go:1: a figure
--- PASS: TestB (0.00s)
=== RUN   TestC
    b_test.go:2: the engine has 1 devices
--- SKIP: TestC (0.00s)
`
	var left tally
	figure, err := readTests(output).judge(nil, &left)
	if err != nil || figure != "tests: 1" || left.text() != "tests: 3: reference data absent; the engine has 1 devices" {
		t.Errorf("%q, %v, skipped %q", figure, err, left.text())
	}
	var s skip
	if _, err := readTests(strings.Split(output, "=== RUN   TestB")[0]).judge(nil, &left); !errors.As(err, &s) {
		t.Errorf("all skipped: %v", err)
	}
	_, err = readTests(output+"--- FAIL: TestD (0.00s)\n").judge(errors.New("exit status 1"), &left)
	if err == nil || errors.As(err, &s) || err.Error() != "tests that failed: 1 (TestD), that passed: 1" {
		t.Errorf("one failed: %v", err)
	}
	if _, err := readTests("PASS\n").judge(nil, &left); err == nil {
		t.Error("no test at all is no failure")
	}
}

// The tests that a suite names are there: one that was renamed would never be missed.
func TestSuitesNameTests(t *testing.T) {
	for _, s := range suites {
		files, err := filepath.Glob(filepath.Join("..", "..", s.pkg, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", s.pkg, err)
		}
		var all strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
		for _, name := range s.tests {
			if !strings.Contains(all.String(), "\nfunc "+name+"(t *testing.T) {\n") {
				t.Errorf("%s has no %s", s.pkg, name)
			}
		}
	}
}

func TestApart(t *testing.T) {
	a, b := &trained{losses: []float64{1, 2, 4}}, &trained{losses: []float64{1, 2.5, 4.4}}
	if first, last, most := apart(a, b); first != 0 || math.Abs(last-0.4/4.4) > 1e-9 || math.Abs(most-0.2) > 1e-9 {
		t.Errorf("%g %g %g", first, last, most)
	}
	a.losses[1] = math.NaN()
	if _, _, most := apart(a, b); !math.IsInf(most, 1) {
		t.Errorf("NaN is off by %g", most)
	}
}

func TestRatios(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.json")
	type object = map[string]any
	round := func(ours, peer float64) object {
		return object{"ours": object{"seconds": ours}, "peer": object{"seconds": peer}}
	}
	text, err := json.Marshal(object{"workloads": []object{{"name": "b", "rounds": []object{round(1, 2), round(3, 4), round(1, 4)}}, {"name": "d"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := ratios(file); err != nil || got != "b: 0.50 of the peer's time (3 rounds)" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestFlags(t *testing.T) {
	for line, want := range map[string]string{
		"--backend go": "--backend go: want xla:cuda or xla:cpu", "--limit 0": "--limit 0: want at least 1", "x": `"x": flags only`,
	} {
		if _, err := parse(strings.Fields(line), io.Discard); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}
