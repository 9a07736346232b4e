package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/deeplora/deeplora/internal/builtin"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/model"
)

// These tests give the program files that strangers made, as a user would: by their folder.

// said runs the program in this process.
func said(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(args, strings.NewReader(""), &o, &e)
	return code, o.String(), e.String()
}

// put writes files below a folder, by their names there.
func put(t *testing.T, dir string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// smallCheckpoint writes an encoder of one layer, 16 wide, over the embedded vocabulary, with a head of these labels
// or without one.
func smallCheckpoint(t testing.TB, dir string, labels ...string) string {
	t.Helper()
	fields := map[string]any{
		"model_type": "bert", "vocab_size": 8000, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
		"intermediate_size": 32, "max_position_embeddings": 128, "type_vocab_size": 2,
	}
	if len(labels) > 0 {
		names := map[string]string{}
		for i, l := range labels {
			names[strconv.Itoa(i)] = l
		}
		fields["id2label"] = names
	}
	config, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, builtin.Model()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := model.ReadConfig(os.DirFS(dir), "config.json")
	if err != nil {
		t.Fatal(err)
	}
	var entries []safetensors.Entry
	for _, spec := range c.Specs() {
		if len(labels) > 0 || spec.Name != "classifier.weight" && spec.Name != "classifier.bias" {
			entries = append(entries, safetensors.Entry{Name: spec.Name, Shape: spec.Shape, Data: drawn(spec)})
		}
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, entries, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// drawn are weights of N(0, 1/width), norms of 1 and biases of 0.
func drawn(spec model.Spec) []float32 {
	n := 1
	for _, d := range spec.Shape {
		n *= d
	}
	values, s := make([]float32, n), rng.New(1, "small checkpoint", spec.Name)
	for i := range values {
		switch {
		case strings.HasSuffix(spec.Name, "LayerNorm.weight"):
			values[i] = 1
		case len(spec.Shape) == 2:
			values[i] = float32(s.Normal() / math.Sqrt(float64(spec.Shape[1])))
		}
	}
	return values
}

// evil is text that clears a terminal, changes its colours and turns the direction of what follows: in the bytes
// that every terminal knows, and in the code points that some know.
const evil = "\x1b[2J\x1b[31mred\u009b31m\u202eder\u0007\r\x7f"

// tame reports an output that commands a terminal.
func tame(t *testing.T, what, text string) {
	t.Helper()
	if !utf8.ValidString(text) {
		t.Errorf("%s is not valid UTF-8: %q", what, text)
	}
	for i, r := range text {
		if commands(r) && r != '\n' && r != '\t' {
			t.Errorf("%s has %U at byte %d: %q", what, r, i, text)
			return
		}
	}
}

// Nothing that a file says reaches the terminal as a command: in errors that quote it, in notes, in tables, in JSON.
func TestFilesDoNotCommandTheTerminal(t *testing.T) {
	t.Setenv("DEEPLORA_OFFLINE", "1")
	t.Setenv("HOME", t.TempDir())
	text, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	quoted := string(text)
	small := smallCheckpoint(t, filepath.Join(t.TempDir(), "small"))
	named := smallCheckpoint(t, filepath.Join(t.TempDir(), "named"), evil, "other "+evil)
	row := `{"sentence1": ` + quoted + `, "sentence2": ` + quoted + `, "label": `
	twice := `{"a": 1, "a": 2}`
	trains := func(files map[string]string, more ...string) []string {
		dir := put(t, t.TempDir(), files)
		return append([]string{"train", "--backend", backendGo, "--model", small, "--data", dir, "--out", filepath.Join(t.TempDir(), "run")}, more...)
	}
	rows := put(t, t.TempDir(), map[string]string{
		"rows.jsonl": `{"text": ` + quoted + "}\n", "unknown.jsonl": `{` + quoted + `: 1}` + "\n", "raw.jsonl": evil + "\n",
		"config.json": `{` + quoted + `: 1}`, "twice.json": twice,
		"experiment.json": `{"title": ` + quoted + `, "set": {"steps": 1}, "grid": {"data": [` + quoted + `], "seed": [0]}}`,
		"wrong.json":      `{"title": "x", "set": {` + quoted + `: 1}}`,
	})
	peft := func(target, tensor string) string {
		return put(t, t.TempDir(), map[string]string{
			"adapter_config.json":       `{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": [` + target + `]}`,
			"adapter_model.safetensors": tensorsNamed(t, tensor),
		})
	}
	for name, c := range map[string]struct {
		args []string
		code int
		want string // of the error or the output
	}{
		"label of JSONL":       {trains(map[string]string{"train.jsonl": row + quoted + "}\n"}, "--task", "rte"), 1, `label "\x1b[2J`},
		"label of TSV":         {trains(map[string]string{"train.tsv": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t" + strings.TrimSuffix(evil, "\r") + "\n"}, "--task", "rte"), 1, `label "\x1b[2J`},
		"header of TSV":        {trains(map[string]string{"train.tsv": "index\tsentence1\t" + evil + "\tlabel\n0\ta\tb\t0\n"}, "--task", "rte"), 1, `nearest: `},
		"score":                {trains(map[string]string{"train.jsonl": row + quoted + "}\n"}, "--task", "stsb"), 1, `is not a number`},
		"broken JSON":          {trains(map[string]string{"train.jsonl": evil + "\n"}, "--task", "stsb"), 1, `train.jsonl:1: column 1`},
		"name of a folder":     {[]string{"train", "--backend", backendGo, "--data", t.TempDir() + "/" + evil, "--out", t.TempDir() + "/run"}, 1, `there is no directory`},
		"other files":          {trains(map[string]string{"train.tsv": "x", "train-00000-of-00001" + evil + ".parquet": "x"}, "--task", "stsb"), 1, "train.tsv:1: no column"},
		"a flag":               {[]string{"train", "--" + evil}, 2, "has no flag"},
		"a task":               {[]string{"train", "--out", "run", "--task", evil}, 2, `unknown task`},
		"a config":             {[]string{"train", "--config", filepath.Join(rows, "config.json")}, 2, `unknown field`},
		"rows, unknown field":  {[]string{"predict", "--backend", backendGo, "--model", named, "--input", filepath.Join(rows, "unknown.jsonl")}, 1, `unknown field`},
		"rows, not JSON":       {[]string{"predict", "--backend", backendGo, "--model", named, "--input", filepath.Join(rows, "raw.jsonl")}, 1, `raw.jsonl:1: column 1: invalid character`},
		"labels of a model":    {[]string{"predict", "--backend", backendGo, "--model", named, "--input", filepath.Join(rows, "rows.jsonl")}, 0, `"label":"`},
		"tokens":               {[]string{"tokenize", "--model", named, "--input", filepath.Join(rows, "rows.jsonl")}, 0, `"tokens":`},
		"heads that differ":    {trains(map[string]string{"train.jsonl": row + "0}\n" + row + "1}\n", "validation.jsonl": row + "0}\n"}, "--task", "rte", "--model", named, "--steps", "1", "--max-length", "16"), 0, `as the checkpoint's are for other classes ("\x1b[2J`},
		"modules of an import": {[]string{"import", "--backend", backendGo, "--format", "peft", "--in", peft(quoted, "x"), "--model", small, "--out", t.TempDir() + "/in"}, 1, `is no module of the model`},
		"tensors of an import": {[]string{"import", "--backend", backendGo, "--format", "peft", "--in", peft(`"query"`, evil), "--model", named, "--out", t.TempDir() + "/in"}, 1, `is not named base_model.model.`},
		"an experiment":        {[]string{"compare", "--dry-run", "--experiment", filepath.Join(rows, "experiment.json")}, 0, "key"},
		"a wrong experiment":   {[]string{"compare", "--dry-run", "--experiment", filepath.Join(rows, "wrong.json")}, 2, "unknown"},
		"tensors of a model":   {[]string{"predict", "--backend", backendGo, "--model", strangeModel(t, small)}, 1, `unexpected`},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := said(t, c.args...)
			if code != c.code || !strings.Contains(out+errOut, c.want) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", code, c.code, c.want, out, errOut)
			}
			tame(t, "standard output", out)
			tame(t, "standard error", errOut)
		})
	}
	// JSON says the same with what it escapes.
	_, out, _ := said(t, "predict", "--backend", backendGo, "--model", named, "--input", filepath.Join(rows, "rows.jsonl"))
	var line struct{ Label string }
	if err := json.Unmarshal([]byte(out), &line); err != nil || !strings.HasSuffix(line.Label, evil) {
		t.Errorf("the label is %q: %v", line.Label, err)
	}
}

// tensorsNamed is a safetensors file of one tensor of this name.
func tensorsNamed(t *testing.T, name string) string {
	t.Helper()
	var b bytes.Buffer
	if err := safetensors.Write(&b, []safetensors.Entry{{Name: name, Shape: []int{1}, Data: []float32{1}}}, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// strangeModel is a model with a tensor whose name is evil.
func strangeModel(t *testing.T, like string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "strange")
	if err := os.CopyFS(dir, os.DirFS(like)); err != nil {
		t.Fatal(err)
	}
	return put(t, dir, map[string]string{"model.safetensors": tensorsNamed(t, "bert."+evil)})
}

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"a tab\tand\nlines": "a tab\tand\nlines",
		"Größe ∂K 日本 👩‍🚀":   "Größe ∂K 日本 👩‍🚀",
		"\x1b[31m\r\a\x00":  `\x1b[31m\x0d\x07\x00`,
		"\u009b31m\u202e":   `\u009b31m\u202e`,
		"no text: \xff\xc3": `no text: \xff\xc3`,
		"\ufffd itself":     "\ufffd itself",
	} {
		if got := plain(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
	if got := plainCell("a\tb\nc"); got != `a\tb\nc` {
		t.Errorf("a cell is %q", got)
	}
	var b bytes.Buffer
	if err := json.NewEncoder(plainJSON(&b)).Encode("\u0085\u202e\x7fß👩‍🚀\x1b"); err != nil || b.String() != `"\u0085\u202e\u007fß👩‍🚀\u001b"`+"\n" {
		t.Errorf("JSON is %s (%v)", b.String(), err)
	}
}

// What has a file's name in a folder from elsewhere and is none, or never ends, is refused: nobody waits for a pipe
// that nobody writes, or fills the memory from a device.
func TestFoldersWithWhatIsNoFile(t *testing.T) {
	t.Setenv("DEEPLORA_OFFLINE", "1")
	small := smallCheckpoint(t, filepath.Join(t.TempDir(), "small"), "a", "b")
	peft := put(t, t.TempDir(), map[string]string{
		"adapter_config.json":       `{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["query"]}`,
		"adapter_model.safetensors": tensorsNamed(t, "x"),
	})
	data := put(t, t.TempDir(), map[string]string{"train.jsonl": "{}", "validation.jsonl": "{}"})
	for _, folder := range []struct {
		dir   string
		files []string
		args  func(dir string) []string
	}{
		{small, []string{"config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"}, func(dir string) []string {
			return []string{"predict", "--backend", backendGo, "--model", dir}
		}},
		{data, []string{"train.jsonl", "validation.tsv"}, func(dir string) []string {
			return []string{"train", "--backend", backendGo, "--data", dir, "--out", filepath.Join(t.TempDir(), "run")}
		}},
		{peft, []string{"adapter_config.json", "adapter_model.safetensors"}, func(dir string) []string {
			return []string{"import", "--backend", backendGo, "--format", "peft", "--in", dir, "--model", small, "--out", filepath.Join(t.TempDir(), "in")}
		}},
		{t.TempDir(), []string{"config.json", "adapter"}, func(dir string) []string {
			return []string{"eval", "--backend", backendGo, "--run", dir}
		}},
	} {
		for _, file := range folder.files {
			for kind, make := range map[string]func(path string) error{
				"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
				"device": func(path string) error { return os.Symlink("/dev/zero", path) },
				"folder": func(path string) error { return os.Mkdir(path, 0o755) },
			} {
				dir := filepath.Join(t.TempDir(), "folder")
				if err := os.CopyFS(dir, os.DirFS(folder.dir)); err != nil {
					t.Fatal(err)
				}
				if file == "model.safetensors.index.json" {
					os.Remove(filepath.Join(dir, "model.safetensors"))
				}
				if err := os.RemoveAll(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
				if err := make(filepath.Join(dir, file)); err != nil {
					t.Fatal(err)
				}
				refuses(t, file+" as a "+kind, folder.args(dir)...)
			}
		}
	}
}

// refuses runs the program, which must fail before long.
func refuses(t *testing.T, what string, args ...string) {
	t.Helper()
	type result struct {
		code int
		text string
	}
	ended := make(chan result, 1)
	go func() { // left behind if it waits for ever: the test has failed then
		code, _, errOut := said(t, args...)
		ended <- result{code, errOut}
	}()
	select {
	case r := <-ended:
		if r.code != exitFailed || strings.Count(strings.TrimSpace(r.text), "\n") > 3 {
			t.Errorf("%s: exit code %d\n%s", what, r.code, r.text)
		}
		t.Logf("%s: %s", what, strings.TrimSpace(r.text))
	case <-time.After(patience):
		t.Fatalf("%s: still waiting after %v", what, patience)
	}
}

// A pickle can run code when it is read: no command reads one, under whatever name, and each says what to do.
func TestPicklesAreRefused(t *testing.T) {
	t.Setenv("DEEPLORA_OFFLINE", "1")
	small := smallCheckpoint(t, filepath.Join(t.TempDir(), "small"), "a", "b")
	const pickle = "\x80\x02}q\x00(X\x05\x00\x00\x00stateq\x01cos\nsystem\nq\x02X\x02\x00\x00\x00idq\x03\x85q\x04Rq\x05u."
	const zipped = "PK\x03\x04\x14\x00\x00\x00\x08\x00archive/data.pkl"
	config, err := os.ReadFile(filepath.Join(small, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	lora := `{"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["query"]}`
	for name, c := range map[string]struct {
		files map[string]string
		peft  bool
		want  []string
	}{
		"a checkpoint":          {map[string]string{"config.json": string(config), "pytorch_model.bin": pickle}, false, []string{"pytorch_model.bin", "pickles can run code and are not read", "safe_serialization=True"}},
		"a checkpoint's shards": {map[string]string{"config.json": string(config), "pytorch_model.bin.index.json": "{}"}, false, []string{"pytorch_model.bin.index.json", "safe_serialization=True"}},
		"another name":          {map[string]string{"config.json": string(config), "model.safetensors": pickle}, false, []string{"this is a Python pickle", "convert it to safetensors, pickles are not read"}},
		"another name, zipped":  {map[string]string{"config.json": string(config), "model.safetensors": zipped}, false, []string{"this is a zip archive, most likely a PyTorch checkpoint", "convert it to safetensors"}},
		"an index of one": {
			map[string]string{"config.json": string(config), "model.safetensors.index.json": `{"weight_map": {"a": "pytorch_model.bin"}}`, "pytorch_model.bin": pickle},
			false,
			[]string{"this is a Python pickle"},
		},
		"an adapter":               {map[string]string{"adapter_config.json": lora, "adapter_model.bin": pickle}, true, []string{"adapter_model.bin", "pickles can run code and are not read", "safe_serialization=True"}},
		"an adapter, another name": {map[string]string{"adapter_config.json": lora, "adapter_model.safetensors": pickle}, true, []string{"this is a Python pickle"}},
	} {
		dir := put(t, filepath.Join(t.TempDir(), "x"), c.files)
		args := []string{"predict", "--backend", backendGo, "--model", dir}
		if c.peft {
			args = []string{"import", "--backend", backendGo, "--format", "peft", "--in", dir, "--model", small, "--out", filepath.Join(t.TempDir(), "in")}
		}
		code, _, errOut := said(t, args...)
		for _, want := range c.want {
			if code != exitFailed || !strings.Contains(errOut, want) {
				t.Errorf("%s: exit code %d, no %q in %s", name, code, want, errOut)
			}
		}
	}
}

// filesWith are the files below a folder that hold a text.
func filesWith(t *testing.T, dir, text string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(text)) || strings.Contains(path, text) {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

// The token that opens private models is in nothing that a run says or leaves, also where it goes wrong, and no
// other host gets it.
func TestTokenIsNowhere(t *testing.T) {
	const secret = "hf_veryverysecret"
	store := newModelHub(t, smallCheckpoint(t, filepath.Join(t.TempDir(), "store")))
	hub := newModelHub(t, smallCheckpoint(t, filepath.Join(t.TempDir(), "hub")))
	hub.answers(0, store.URL)
	home := t.TempDir()
	environment := []string{
		"HF_TOKEN=" + secret, "DEEPLORA_OFFLINE=", "HOME=" + home, "HF_HOME=" + filepath.Join(home, "hf"),
		"HF_ENDPOINT=" + strings.Replace(hub.URL, "://", "://me:"+secret+"@", 1),
	}
	checks := func(what string, p *process) {
		if text := p.out.String() + p.err.String(); strings.Contains(text, secret) {
			t.Errorf("%s: the token is in\n%s", what, text)
		}
	}
	for _, backend := range engines() {
		out := filepath.Join(home, "run-"+strings.ReplaceAll(backend, ":", "-"))
		commands := [][]string{
			smallRun(t, backend, out, "--model", "org/name", "--steps", "2", "--save-every", "1", "--verbose", "--train-head"),
			{"eval", "--backend", backend, "--run", out, "--verbose"},
			{"export", "--backend", backend, "--run", out, "--format", "peft", "--out", out + "-peft", "--verbose"},
			{"inspect", "--backend", backend, "--run", out, "--verbose", "--json"},
			{"doctor", "--verbose", "--json"},
		}
		for _, args := range commands {
			p := program(t, args...)
			p.Env = append(p.Env, environment...)
			p.begin(t)
			if code := p.code(t); code != exitDone {
				t.Fatalf("%v: exit code %d\n%s", args, code, p.err.String())
			}
			checks(args[0], p)
		}
	}
	for status, redirect := range map[int]string{401: "", 403: "", 404: "", 500: "", 429: "", 200: "http://127.0.0.1:1", 0: "ftp://" + secret + "@x"} {
		hub.answers(status, redirect)
		p := program(t, smallRun(t, backendGo, filepath.Join(home, fmt.Sprintf("failed-%d", status)), "--model", "org/other", "--steps", "1")...)
		if status < 300 {
			hub.answers(0, redirect)
		}
		if status == 500 {
			p.Env = append(p.Env, "HF_HUB_CACHE="+t.TempDir())
		}
		p.Env = append(p.Env, environment...)
		p.begin(t)
		if code := p.code(t); code != exitFailed {
			t.Errorf("%d: exit code %d\n%s", status, code, p.err.String())
		}
		checks(fmt.Sprint(status), p)
	}
	if found := filesWith(t, home, secret); len(found) > 0 {
		t.Errorf("the token is in %q", found)
	}
	if hub.withToken == 0 || store.withToken != 0 || store.requests == 0 {
		t.Errorf("the hub got the token %d times, its store %d times of %d", hub.withToken, store.withToken, store.requests)
	}
}

// A link at the place of an output is replaced by it; what it leads to stays as it is.
func TestOutputsFollowNoLinks(t *testing.T) {
	t.Setenv("DEEPLORA_OFFLINE", "1")
	dir := put(t, t.TempDir(), map[string]string{"precious": "precious", "rows.jsonl": "{\"text\": \"a\"}\n"})
	small := smallCheckpoint(t, filepath.Join(dir, "small"), "no", "yes")
	precious, link := filepath.Join(dir, "precious"), filepath.Join(dir, "link")
	if err := os.Symlink(precious, link); err != nil {
		t.Fatal(err)
	}
	code, _, errOut := said(t, "predict", "--backend", backendGo, "--model", small, "--input", filepath.Join(dir, "rows.jsonl"), "--output", link)
	if info, err := os.Lstat(link); code != exitDone || err != nil || !info.Mode().IsRegular() {
		t.Errorf("exit code %d, the output is %v\n%s", code, info.Mode(), errOut)
	}
	if left := string(readFile(t, precious)); left != "precious" {
		t.Errorf("the file that the link named is %q", left)
	}
}

// For cmd/deeplora/hostile_test.go once train refuses links in a run directory.

// A run directory from elsewhere may hold links at the places that going on with it writes to: none is written through.
func TestRunDirectoriesFollowNoLinks(t *testing.T) {
	run := filepath.Join(t.TempDir(), "run")
	succeeds(t, smallRun(t, backendGo, run, "--steps", "2", "--save-every", "1")...)
	if err := errors.Join(os.Remove(filepath.Join(run, "result.json")), os.RemoveAll(filepath.Join(run, "adapter")), os.RemoveAll(filepath.Join(run, "checkpoints", "step-2"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".lock", "metrics.jsonl"} {
		strange, precious := filepath.Join(t.TempDir(), "strange"), filepath.Join(t.TempDir(), "precious")
		content := strings.Repeat("precious\n", 1000)
		if name == "metrics.jsonl" {
			content = string(readFile(t, filepath.Join(run, name))) + content
		}
		if err := errors.Join(os.CopyFS(strange, os.DirFS(run)), os.WriteFile(precious, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(strange, name)
		if err := errors.Join(os.RemoveAll(at), os.Symlink(precious, at)); err != nil {
			t.Fatal(err)
		}
		p := start(t, "train", "--resume", "--backend", backendGo, "--out", strange)
		code := p.code(t)
		if left := string(readFile(t, precious)); left != content {
			t.Errorf("%s: exit code %d; the file that the link names has %d bytes, had %d\n%s", name, code, len(left), len(content), p.err.String())
		}
	}
}
