package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/deeplora/deeplora/internal/builtin"
	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/internal/safetensors"
)

// TestMain makes this binary the program where it is called by the program's name: scripts and the tests of
// process_test.go run run() in processes of its own.
func TestMain(m *testing.M) {
	testscript.Main(keepingTests{m}, map[string]func(){
		"deeplora": func() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// keepingTests gives the programs of all tests one folder for their compiled graphs, and none in the user's cache.
type keepingTests struct{ *testing.M }

func (k keepingTests) Run() int {
	dir, err := os.MkdirTemp("", "deeplora-test-compiled")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Setenv(compiledEnv, dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return k.M.Run()
}

// TestScripts is the command line as it is typed: testdata/script, with small data beside each script in data
// and the commands below.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata/script",
		Setup: setUpScript,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fails":      cmdFails,
			"json":       cmdJSON,
			"checkpoint": cmdCheckpoint,
			"reshape":    cmdReshape,
			"cut":        cmdCut,
			"vacant":     cmdVacant,
			"timeless":   cmdTimeless,
		},
		Condition: condition,
	})
}

// setUpScript gives a script its data, and a machine without a network, a plugin or a home.
func setUpScript(e *testscript.Env) error {
	e.Setenv("DEEPLORA_OFFLINE", "1")
	e.Setenv(compiledEnv, os.Getenv(compiledEnv))
	e.Setenv("PLUGINS", filepath.Dir(installedPlugin()))
	return os.CopyFS(filepath.Join(e.WorkDir, "data"), os.DirFS(filepath.Join("testdata", "data")))
}

// condition tells scripts what there is: [xla], a plugin in $PLUGINS; [linked], that this program can open one;
// [system], that there may be plugins for all users.
func condition(name string) (bool, error) {
	switch name {
	case "xla":
		return installedPlugin() != "", nil
	case "linked":
		return plugin.Linked, nil
	case "system":
		_, err := os.Stat("/usr/local/lib/go-xla")
		return err == nil, nil
	default:
		return false, fmt.Errorf("unknown condition %q", name)
	}
}

// installedPlugin is the XLA plugin for CPUs of the machine that runs the tests, or empty.
func installedPlugin() string {
	if !plugin.Linked {
		return ""
	}
	plugins, err := plugin.Find(plugin.CPU)
	if err != nil || len(plugins) == 0 {
		return ""
	}
	return plugins[0].Path
}

// cmdFails: fails CODE COMMAND… runs a command that must exit with that code.
func cmdFails(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: fails CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	switch {
	case err == nil:
		ts.Fatalf("succeeded, want exit code %d", want)
	case !errors.As(err, &exit):
		ts.Fatalf("%v", err)
	case exit.ExitCode() != want:
		ts.Fatalf("exit code %d, want %d", exit.ExitCode(), want)
	}
}

// cmdJSON: json FILE CHECK… checks a JSON file, or with -lines every line of one. A CHECK is PATH=JSON,
// PATH:TYPE (number, string, list, object, true or false) or PATH=@FILE, the value at the same path of another
// file; a path is names and list positions between dots.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	lines := len(args) > 0 && args[0] == "-lines"
	if lines {
		args = args[1:]
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: json [-lines] FILE CHECK…")
	}
	text := ts.ReadFile(args[0])
	documents := []string{text}
	if lines {
		documents = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	}
	for i, document := range documents {
		for _, check := range args[1:] {
			if err := checkJSON(ts, document, check); err != nil {
				ts.Fatalf("%s, document %d: %v in\n%s", args[0], i+1, err, document)
			}
		}
	}
}

func checkJSON(ts *testscript.TestScript, document, check string) error {
	path, want, equal := strings.Cut(check, "=")
	kind := ""
	if !equal {
		path, kind, _ = strings.Cut(check, ":")
	}
	value, err := valueAt(document, path)
	if err != nil {
		return err
	}
	if !equal {
		if got := jsonType(value); got != kind {
			return fmt.Errorf("%s is of type %s, want %s", path, got, kind)
		}
		return nil
	}
	if file, ok := strings.CutPrefix(want, "@"); ok {
		other, err := valueAt(ts.ReadFile(file), path)
		if err != nil {
			return err
		}
		want = encoded(other)
	}
	if got := encoded(value); got != want {
		return fmt.Errorf("%s is %s, want %s", path, got, want)
	}
	return nil
}

func valueAt(document, path string) (any, error) {
	var value any
	if err := json.Unmarshal([]byte(document), &value); err != nil {
		return nil, err
	}
	for _, name := range strings.Split(path, ".") {
		switch v := value.(type) {
		case map[string]any:
			inner, ok := v[name]
			if !ok {
				return nil, fmt.Errorf("no field %q on the path %s", name, path)
			}
			value = inner
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(v) {
				return nil, fmt.Errorf("no item %q of %d on the path %s", name, len(v), path)
			}
			value = v[i]
		default:
			return nil, fmt.Errorf("nothing inside %s at %q on the path %s", jsonType(v), name, path)
		}
	}
	return value, nil
}

func jsonType(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "list"
	default:
		return "object"
	}
}

func encoded(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was decoded from JSON
	}
	return string(text)
}

// cmdCheckpoint: checkpoint DIR [LABEL…] writes the embedded encoder as a checkpoint on disk; with labels, with a
// classification head of its own, or one of regression for the single label "score".
func cmdCheckpoint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: checkpoint DIR [LABEL…]")
	}
	dir, labels := ts.MkAbs(args[0]), args[1:]
	ts.Check(os.CopyFS(dir, builtin.Model()))
	if len(labels) == 0 {
		return
	}
	file := filepath.Join(dir, "config.json")
	var config map[string]any
	text, err := os.ReadFile(file)
	ts.Check(err)
	ts.Check(json.Unmarshal(text, &config))
	names := map[string]string{}
	for i, label := range labels {
		names[strconv.Itoa(i)] = label
	}
	config["id2label"] = names
	if slices.Equal(labels, []string{"score"}) {
		config["problem_type"] = "regression"
	}
	text, err = json.Marshal(config)
	ts.Check(err)
	ts.Check(os.WriteFile(file, text, 0o644))
	rewrite(ts, filepath.Join(dir, "model.safetensors"), func(entries []safetensors.Entry) []safetensors.Entry {
		const hidden = 256
		weight, bias := make([]float32, len(labels)*hidden), make([]float32, len(labels))
		for i := range weight {
			weight[i] = float32(i%7) / 70
		}
		return append(entries,
			safetensors.Entry{Name: "classifier.weight", Shape: []int{len(labels), hidden}, Data: weight},
			safetensors.Entry{Name: "classifier.bias", Shape: []int{len(labels)}, Data: bias})
	})
}

// cmdReshape: reshape FILE TENSOR DIM… gives a tensor of a safetensors file another shape, filled with zeros.
func cmdReshape(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: reshape FILE TENSOR DIM…")
	}
	var shape []int
	size := 1
	for _, text := range args[2:] {
		n, err := strconv.Atoi(text)
		ts.Check(err)
		shape, size = append(shape, n), size*n
	}
	rewrite(ts, ts.MkAbs(args[0]), func(entries []safetensors.Entry) []safetensors.Entry {
		i := slices.IndexFunc(entries, func(e safetensors.Entry) bool { return e.Name == args[1] })
		if i < 0 {
			ts.Fatalf("no tensor %s", args[1])
		}
		entries[i].Shape, entries[i].Data = shape, make([]float32, size)
		return entries
	})
}

// rewrite changes the float32 tensors of a safetensors file.
func rewrite(ts *testscript.TestScript, file string, change func([]safetensors.Entry) []safetensors.Entry) {
	f, err := safetensors.Open(file)
	ts.Check(err)
	defer f.Close()
	var entries []safetensors.Entry
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		values, err := f.Float32(name)
		ts.Check(err)
		entries = append(entries, safetensors.Entry{Name: name, Shape: info.Shape, Data: values})
	}
	var buffer bytes.Buffer
	ts.Check(safetensors.Write(&buffer, change(entries), nil))
	ts.Check(os.WriteFile(file, buffer.Bytes(), 0o644))
}

// cmdCut: cut FILE BYTES [FROM] keeps the first bytes of a file, or makes it of the first bytes of FROM, which may
// be "exe", this program.
func cmdCut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: cut FILE BYTES [FROM]")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	to := ts.MkAbs(args[0])
	from := to
	if len(args) == 3 {
		from = ts.MkAbs(args[2])
		if args[2] == "exe" {
			from, err = os.Executable()
			ts.Check(err)
		}
	}
	content, err := os.ReadFile(from)
	ts.Check(err)
	if n >= len(content) {
		ts.Fatalf("%s has %d bytes only", from, len(content))
	}
	ts.Check(os.MkdirAll(filepath.Dir(to), 0o755))
	ts.Check(os.WriteFile(to, content[:n], 0o644))
}

// cmdVacant: vacant DIR checks that nothing is in DIR but a lock, or that there is no DIR; with !, the contrary.
func cmdVacant(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: [!] vacant DIR")
	}
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	if !errors.Is(err, fs.ErrNotExist) {
		ts.Check(err)
	}
	names := []string{}
	for _, e := range entries {
		if e.Name() != ".lock" {
			names = append(names, e.Name())
		}
	}
	if vacant := len(names) == 0; vacant == neg {
		ts.Fatalf("%s holds %q", args[0], names)
	}
}

// cmdTimeless: timeless FILE keeps what an evaluation printed, without the line that says how long it took.
func cmdTimeless(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: timeless FILE")
	}
	var kept strings.Builder
	timed := 0
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if strings.Contains(line, `"evaluate_seconds": `) {
			timed++
			continue
		}
		kept.WriteString(line)
	}
	if timed != 1 {
		ts.Fatalf("%d lines of evaluate_seconds, want 1", timed)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(kept.String()), 0o644))
}
