package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A data set of the hub by its name: trained on, noted with its commit, read again without the hub, other configurations
// and faults said.
func TestTrainOnADatasetOfTheHub(t *testing.T) {
	t.Parallel()
	repo := t.TempDir()
	rows := "text,label\ngood film,pos\nbad film,neg\nfine one,pos\nawful one,neg\n"
	card := "---\nconfigs:\n- config_name: en\n  data_files:\n  - {split: train, path: en-train.csv}\n  - {split: test, path: en-test.csv}\n  - {split: unlabelled, path: en-more.csv}\n" +
		"- config_name: fr\n  data_files: fr.csv\n---\n# Films\n"
	for name, content := range map[string]string{"README.md": card, "en-train.csv": strings.Repeat(rows, 1) + "dull,neg\nlovely,pos\n", "en-test.csv": rows, "en-more.csv": rows, "fr.csv": rows} {
		if err := os.WriteFile(filepath.Join(repo, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := newModelHub(t, repo)
	cache, run := t.TempDir(), filepath.Join(t.TempDir(), "run")
	call := func(address string, code int, args ...string) *process {
		t.Helper()
		p := program(t, append(args, "--backend", "go", "--cache", cache)...)
		p.Env = append(p.Env, "DEEPLORA_OFFLINE="+map[bool]string{true: "1"}[address == ""], "HF_ENDPOINT="+address, "HF_HUB_CACHE=", "HF_TOKEN=")
		p.begin(t)
		if got := p.code(t); got != code {
			t.Fatalf("%q: exit code %d, want %d\n%s", args, got, code, p.err.String())
		}
		return p
	}
	says := func(p *process, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(p.err.String()+p.out.String(), part) {
				t.Errorf("no %q in\n%s%s", part, p.err.String(), p.out.String())
			}
		}
	}
	train := []string{"train", "--task", "classification", "--data", "org/films", "--steps", "1", "--batch", "2", "--max-length", "16", "--out", run}
	says(call(h.URL, exitFailed, train...), "data: hub: org/films: it has the configurations en, fr; give one (--data-config)")
	says(call(h.URL, exitFailed, append(train, "--data-config", "eng")...), `it has no configuration "eng" (--data-config); nearest: "en" (it has en, fr)`)
	says(call("", exitFailed, append(train, "--data-config", "en")...), "offline, and not whole in the cache")
	says(call(h.URL, exitDone, append(train, "--data-config", "en")...),
		"data: org/films at 111111111111, configuration en", "splits that are not read: unlabelled", "en-train.csv: 2 of 6 rows are kept for validation, by class")
	config, err := os.ReadFile(filepath.Join(run, "config.json"))
	if err != nil || !strings.Contains(string(config), `"data-revision": "`+hubCommit+`"`) || !strings.Contains(string(config), `"data": "org/films"`) || h.bytesOf("en-more.csv") > 0 {
		t.Errorf("%s, %v; %d bytes of what is not needed", config, err, h.bytesOf("en-more.csv"))
	}
	says(call("", exitDone, append(train, "--data-config", "en", "--resume")...), "2 validation examples") // finished: its result again
	says(call("", exitDone, append(train, "--data-config", "en", "--data-revision", "main", "--resume")...), "2 validation examples")
	says(call("", exitDone, "eval", "--run", run), "2 validation examples")
	here := t.TempDir() // a folder of that name is not what the run was trained on
	if err := os.MkdirAll(filepath.Join(here, "org", "films"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Run("beside a folder of that name", func(t *testing.T) {
		p := program(t, "eval", "--run", run, "--backend", "go", "--cache", cache)
		p.Dir = here
		p.begin(t)
		if code := p.code(t); code != exitDone {
			t.Errorf("exit code %d\n%s", code, p.err.String())
		}
	})
	says(call(h.URL, exitFailed, "report", "--run", run, "--data", "org/others", "--split", "test"), "it has the configurations en, fr; give one")
	says(call(h.URL, exitFailed, "eval", "--run", run, "--data", "no/where"), "it has the configurations")
	says(call("", exitFailed, "eval", "--run", run, "--data", "no/where"), "there is no file or folder no/where here, and as a data set of the hub: ")
	says(call("", exitDone, "eval", "--run", run, "--split", "test"), "4 test examples")
	says(call(h.URL, exitDone, "eval", "--run", run, "--data", "org/films", "--data-config", "fr", "--split", "train"), "4 train examples")
	says(call(h.URL, exitFailed, "eval", "--run", run, "--data", "org/films", "--data-config", "fr", "--split", "test"), "data: org/films has no test split")
	says(call("", exitUsage, "eval", "--run", run, "--data-config", "fr"), "--data-config belongs to --data with a data set of the hub, org/name")
	says(call("", exitUsage, "train", "--task", "classification", "--data", repo, "--data-config", "fr", "--out", run+"2"),
		"data-config, data-revision: belong to a data set of the hub, --data org/name with task classification, regression or multilabel or with columns; data is "+repo)
}
