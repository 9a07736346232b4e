package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// tree is the content of the files below a directory, by their path in it.
type tree map[string]string

// readTree reads the files below a directory, or the one file. What the clock and the machine write is left out of
// JSON; leave says which files are left out whole.
func readTree(dir string, leave func(name string) bool) (tree, error) {
	t := tree{}
	err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, file)
		if err != nil || leave(filepath.ToSlash(name)) {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if t[filepath.ToSlash(name)], err = timeless(file, content); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		return nil
	})
	return t, err
}

// timeless is a file's content without what differs between two runs of one command: durations, speeds, and the
// memory that was used.
func timeless(name string, content []byte) (string, error) {
	switch path.Ext(name) {
	case ".json":
		return withoutClock(content)
	case ".jsonl":
		var lines []string
		for line := range bytes.Lines(content) {
			text, err := withoutClock(line)
			if err != nil {
				return "", err
			}
			lines = append(lines, text)
		}
		return strings.Join(lines, "\n"), nil
	default:
		return string(content), nil
	}
}

func withoutClock(text []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // every digit counts
	var v any
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	strip(v)
	out, err := json.Marshal(v)
	return string(out), err
}

func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, field := range v {
			if ofClock(name) {
				delete(v, name)
				continue
			}
			strip(field)
		}
	case []any:
		for _, item := range v {
			strip(item)
		}
	}
}

// ofClock reports whether a field is of the clock or of the machine.
func ofClock(name string) bool {
	return name == "seconds" || strings.HasSuffix(name, "_seconds") || strings.HasPrefix(name, "seconds_per") ||
		strings.HasPrefix(name, "tokens_per") || name == "peak_rss_bytes"
}

// against is the error for what differs between two trees.
func (t tree) against(want tree) error {
	var faults []error
	for _, name := range slices.Sorted(keys(want)) {
		got, ok := t[name]
		switch {
		case !ok:
			faults = append(faults, fmt.Errorf("%s is missing", name))
		case got != want[name]:
			faults = append(faults, fmt.Errorf("%s differs: %s", name, firstDifference(got, want[name])))
		}
	}
	for _, name := range slices.Sorted(keys(t)) {
		if _, ok := want[name]; !ok {
			faults = append(faults, fmt.Errorf("%s is there beside", name))
		}
	}
	return errors.Join(faults...)
}

func firstDifference(got, want string) string {
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	around := func(s string) string { return s[max(0, min(i, len(s))-40):min(len(s), i+40)] }
	return fmt.Sprintf("at byte %d %q, want %q", i, around(got), around(want))
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func sameTree(_ *workspace, got, want place) error {
	// A curve over time is drawn with it.
	leave := func(name string) bool { return path.Ext(name) == ".svg" }
	return sameTrees(got.out, want.out, leave)
}

func sameTrees(got, want string, leave func(name string) bool) error {
	a, err := readTree(got, leave)
	if err != nil {
		return err
	}
	b, err := readTree(want, leave)
	if err != nil {
		return err
	}
	return a.against(b)
}

// sameRun holds a run against another: every file but its checkpoints, and the checkpoints that both kept. An
// interrupt saves one between the others, which pushes the oldest out.
func sameRun(_ *workspace, got, want place) error { return sameRuns(got.out, want.out) }

func sameRuns(got, want string) error {
	if err := sameTrees(got, want, func(name string) bool { return name == ".lock" || strings.HasPrefix(name, "checkpoints/") }); err != nil {
		return err
	}
	a, err := checkpoints(got)
	if err != nil {
		return err
	}
	b, err := checkpoints(want)
	if err != nil {
		return err
	}
	both := slices.DeleteFunc(slices.Clone(b), func(name string) bool { return !slices.Contains(a, name) })
	if len(both) == 0 {
		return fmt.Errorf("checkpoints %v, want %v", a, b)
	}
	for _, name := range both {
		// The length of the log, and so its sum, go by the digits of durations.
		leave := func(name string) bool { return name == "state.json" || name == "SHA256SUMS" }
		if err := sameTrees(filepath.Join(got, "checkpoints", name), filepath.Join(want, "checkpoints", name), leave); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// checkpoints are the names of a run's complete checkpoints, newest first; none of what is no run.
func checkpoints(run string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(run, "checkpoints"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	number := func(name string) int {
		n, err := strconv.Atoi(strings.TrimPrefix(name, "step-"))
		if err != nil {
			return -1
		}
		return n
	}
	var names []string
	for _, e := range entries {
		if number(e.Name()) >= 0 {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return number(b) - number(a) })
	return names, err
}

// damagedSuffix is what a checkpoint's name ends with that was found damaged and set aside.
const damagedSuffix = ".damaged"

// sameStudy holds a study against another: the runs as runs, and the report once both studies' clocks show the same.
func sameStudy(w *workspace, got, want place) error {
	runs, err := filepath.Glob(filepath.Join(want.out, "runs", "*"))
	if err != nil || len(runs) == 0 {
		return fmt.Errorf("no runs in %s: %w", want.out, err)
	}
	for _, run := range runs {
		if err := sameRuns(filepath.Join(got.out, "runs", filepath.Base(run)), run); err != nil {
			return fmt.Errorf("run %s: %w", filepath.Base(run), err)
		}
	}
	var frozen [2]string
	for i, from := range []place{got, want} {
		if frozen[i], err = w.frozen(from, fmt.Sprintf("%s-frozen-%d", got.dir, i)); err != nil {
			return err
		}
		defer os.RemoveAll(filepath.Dir(frozen[i]))
	}
	return sameTrees(frozen[0], frozen[1], func(name string) bool {
		// While the first of an arm has not finished, the report shows the updates of another, and keeps them.
		other := strings.HasPrefix(name, "inspect/") && !exists(filepath.Join(want.out, name))
		return name == ".lock" || strings.HasPrefix(name, "runs/") || strings.HasPrefix(name, "logs/") || other
	})
}

// frozen copies a finished study, sets what the clock and the machine wrote in its runs to 1, and has the program
// write summary and report again.
func (w *workspace) frozen(from place, dir string) (string, error) {
	at := place{w, dir, filepath.Join(dir, "out")}
	if err := os.CopyFS(at.out, os.DirFS(from.out)); err != nil {
		return "", err
	}
	results, err := filepath.Glob(filepath.Join(at.out, "runs", "*", "result.json"))
	if err != nil {
		return "", err
	}
	for _, file := range results {
		content, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(content, &fields); err != nil {
			return "", err
		}
		for name := range fields {
			if ofClock(name) {
				fields[name] = json.RawMessage("1")
			}
		}
		if content, err = json.Marshal(fields); err != nil {
			return "", err
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			return "", err
		}
	}
	if err := ownAll(dir); err != nil {
		return "", err
	}
	p, err := w.start(at, at.line("compare", "--resume", "--out", at.out), nil)
	if err != nil {
		return "", err
	}
	if err := p.wait(); err != nil || p.code() != 0 {
		return "", fmt.Errorf("write the report again: %w: exit code %d\n%s", err, p.code(), p.text())
	}
	return at.out, nil
}

func ownAll(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || user() == nil {
			return err
		}
		return os.Chown(path, nobody, nobody)
	})
}

// work is what was finished when a process ended: what the next one must not make once more.
type work struct {
	logs    map[string][]byte // by run: the lines of metrics.jsonl that its newest checkpoint vouches for
	results map[string][]byte // by run: its result.json
}

// finished reads what is finished in a run, or in the runs of a study. Durations are in what it reads, so that
// nothing that is made once more has the same bytes.
func finished(out, spoilt string) (work, error) {
	w := work{map[string][]byte{}, map[string][]byte{}}
	runs, err := filepath.Glob(filepath.Join(out, "runs", "*"))
	if err != nil {
		return w, err
	}
	for _, run := range append(runs, out) {
		if result, err := os.ReadFile(filepath.Join(run, "result.json")); err == nil {
			w.results[run] = result
		}
		log, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
		if err != nil {
			continue
		}
		states, _ := filepath.Glob(filepath.Join(run, "checkpoints", "step-*", "state.json"))
		length := 0
		for _, file := range states {
			var state struct {
				Bytes int `json:"metrics_bytes"`
			}
			content, err := os.ReadFile(file)
			if dir := filepath.Dir(file); err == nil && dir != spoilt && !strings.Contains(filepath.Base(dir), ".") && json.Unmarshal(content, &state) == nil {
				length = max(length, state.Bytes)
			}
		}
		if length > len(log) {
			return w, fmt.Errorf("%w: %s: a checkpoint vouches for %d bytes of metrics.jsonl, there are %d", errLost, run, length, len(log))
		}
		w.logs[run] = log[:length]
	}
	return w, nil
}

// kept is the error for finished work that was made once more.
func (w work) kept() error {
	for run, was := range w.results {
		if now, err := os.ReadFile(filepath.Join(run, "result.json")); err != nil || !bytes.Equal(now, was) {
			return fmt.Errorf("%w: finished run %s was made once more (%v)", errLost, run, err)
		}
	}
	for run, was := range w.logs {
		if now, err := os.ReadFile(filepath.Join(run, "metrics.jsonl")); err != nil || !bytes.HasPrefix(now, was) {
			return fmt.Errorf("%w: steps of %s before its newest checkpoint were made once more (%v)", errLost, run, err)
		}
	}
	return nil
}
