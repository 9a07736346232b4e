package data

import (
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wantError checks an error's whole chain of words, as a user sees it.
func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q; want %q in it", err, part)
		}
	}
}

func lookup(t testing.TB, name string) Task {
	t.Helper()
	task, err := LookupTask(name)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func TestTaskTable(t *testing.T) {
	for _, task := range Tasks() {
		if complete, err := task.WithDefaults(); err != nil || !reflect.DeepEqual(complete, task) {
			t.Errorf("%s: %+v, error %v", task.Name, complete, err)
		}
		if len(task.Columns) != len(task.textHeaders()) || len(task.Columns) < 1 || task.files.folder == "" {
			t.Errorf("%s: columns %q, in TSVs %q, folder %q", task.Name, task.Columns, task.textHeaders(), task.files.folder)
		}
		if task.Regression() != (task.files.most > 0) {
			t.Errorf("%s: labels %q, scores to %g", task.Name, task.Labels, task.files.most)
		}
		if found, err := LookupTask(task.Name); err != nil || !reflect.DeepEqual(found, task) {
			t.Errorf("%s finds %+v, error %v", task.Name, found, err)
		}
	}
	if l := lookup(t, "wnli").Labels; l[1] != "entailment" {
		t.Errorf("WNLI's labels %q: their order is the reverse of RTE's", l)
	}
	if n := lookup(t, "stsb").NumLabels(); n != 1 {
		t.Errorf("a regression has %d outputs", n)
	}
	if got := lookup(t, "ax").Splits(); !slices.Equal(got, []string{Test}) {
		t.Errorf("splits of ax: %q", got)
	}
}

func TestUnknownNames(t *testing.T) {
	_, err := LookupTask("STS-B")
	wantError(t, err, `unknown task "STS-B"; nearest: stsb (known: cola sst2`)
	_, err = LookupTask("mnli_mm")
	wantError(t, err, "nearest: mnli-mm")
	_, err = LoadFS(fstest.MapFS{}, lookup(t, "rte"), "validaton")
	wantError(t, err, `unknown split "validaton"; nearest: validation`)
	_, err = LoadFS(fstest.MapFS{}, lookup(t, "ax"), Train)
	wantError(t, err, "ax has no train split, only test; its models are trained on mnli")
}

func TestLabels(t *testing.T) {
	for _, c := range []struct {
		task, text string
		want       float64
		fault      string
	}{
		{"rte", "entailment", 0, ""},
		{"rte", "not_entailment", 1, ""},
		{"rte", "1", 1, ""},
		{"wnli", "1", 1, ""},
		{"mnli", "contradiction", 2, ""},
		{"stsb", "5.000", 5, ""},
		{"stsb", "0", 0, ""},
		{"stsb", "3.667", 3.667, ""},
		{"mnli", "-", 0, `label "-" is not known; want entailment, neutral, contradiction (or its id, 0 to 2)`},
		{"rte", "Entailment", 0, "is not known"},
		{"rte", "2", 0, "label 2 is not a class"},
		{"rte", "-1", 0, "label -1 is not a class"},
		{"rte", "1.0", 0, "is not known"},
		{"stsb", "4.x", 0, `score "4.x" is not a number; want 0 to 5`},
		{"stsb", "0x1p1", 0, "is not a number"},
		{"stsb", "NaN", 0, "is not a number"},
		{"stsb", "", 0, "is not a number"},
		{"stsb", "5.001", 0, "score 5.001 is out of range; want 0 to 5"},
		{"stsb", "-0.5", 0, "out of range"},
	} {
		got, err := lookup(t, c.task).parseLabel(c.text)
		if c.fault != "" {
			wantError(t, err, c.fault)
		} else if err != nil || got != c.want {
			t.Errorf("%s %q: %v, %v; want %v", c.task, c.text, got, err, c.want)
		}
	}
	if _, err := lookup(t, "stsb").numberLabel(math.NaN()); err == nil {
		t.Error("NaN is a score")
	}
}

// text is a file in a test's file system.
func text(content string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(content)} }
