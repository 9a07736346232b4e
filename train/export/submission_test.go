package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/train"
)

// fakeRun answers by the row's number, so that order, mapping and clipping show in the files.
type fakeRun struct{ labels []string }

func (f fakeRun) Labels() []string { return f.labels }
func (f fakeRun) Close()           {}

func (f fakeRun) SplitLogits(_ context.Context, split *data.Split, progress func(done, total int)) ([][]float32, int, error) {
	logits := make([][]float32, len(split.Examples))
	for i, e := range split.Examples {
		if e.Row != i {
			return nil, 0, errors.New("rows are out of order")
		}
		logits[i] = make([]float32, len(f.labels))
		logits[i][i%len(f.labels)] = float32(i)/100 - 1 // a winner from row 101 on; of STS-B, scores from -1 up
	}
	progress(len(logits), len(logits))
	return logits, 2, nil
}

// finishedRun makes what a run of a task looks like from outside.
func finishedRun(t *testing.T, task, dataDir string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), task)
	config := train.Default()
	config.Task, config.Data = task, dataDir
	if err := os.MkdirAll(filepath.Join(dir, "adapter"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := errors.Join(
		jsonfile.Write(filepath.Join(dir, "config.json"), train.RunConfig{Config: config}),
		jsonfile.Write(filepath.Join(dir, "adapter", "adapter.json"), train.AdapterInfo{Version: 1, Task: task}))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// writeTest writes a task's test split of so many rows, as JSONL.
func writeTest(t *testing.T, dir, file, task string, rows int) {
	t.Helper()
	of, err := data.LookupTask(task)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for i := range rows {
		var fields []string
		for _, c := range of.Columns {
			fields = append(fields, fmt.Sprintf("%q: \"text %d\"", c, i))
		}
		fmt.Fprintf(&text, "{%s, \"label\": -1}\n", strings.Join(fields, ", "))
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, file), []byte(text.String()), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// glue is a directory with the test splits of MNLI, its diagnostic set, STS-B and WNLI.
func glue(t *testing.T) string {
	dir := t.TempDir()
	writeTest(t, filepath.Join(dir, "MNLI"), "test_matched.jsonl", "mnli", 9796)
	writeTest(t, filepath.Join(dir, "MNLI"), "test_mismatched.jsonl", "mnli-mm", 9847)
	writeTest(t, filepath.Join(dir, "diagnostic"), "diagnostic.jsonl", "ax", 1104)
	writeTest(t, filepath.Join(dir, "STS-B"), "test.jsonl", "stsb", 1379)
	writeTest(t, filepath.Join(dir, "WNLI"), "test.jsonl", "wnli", 146)
	return dir
}

func TestSubmission(t *testing.T) {
	dir := glue(t)
	labels := map[string][]string{
		"mnli": {"CONTRADICTION", "neutral", "entailment"}, // not the task's order, nor its case
		"stsb": {"LABEL_0"},
		"wnli": {"not_entailment", "entailment"},
	}
	var notices []string
	s := Submission{
		// Each run with its own task's folder: the diagnostic set is found beside MNLI's.
		Runs: []string{
			finishedRun(t, "mnli", filepath.Join(dir, "MNLI")), finishedRun(t, "stsb", filepath.Join(dir, "STS-B")),
			finishedRun(t, "wnli", filepath.Join(dir, "WNLI")),
		},
		Open:     func(_ context.Context, run string) (Answerer, error) { return fakeRun{labels[filepath.Base(run)]}, nil },
		Notice:   func(format string, args ...any) { notices = append(notices, fmt.Sprintf(format, args...)) },
		Progress: func(string, int, int) {},
	}
	out := filepath.Join(t.TempDir(), "submission.zip")
	_, err := s.Write(t.Context(), out)
	want := "no run for cola (CoLA.tsv), sst2 (SST-2.tsv), mrpc (MRPC.tsv), qqp (QQP.tsv), qnli (QNLI.tsv), rte (RTE.tsv); give one"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("missing runs: error %v, want %q", err, want)
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("a submission was written all the same")
	}

	s.Fill = true
	files, err := s.Write(t.Context(), out)
	if err != nil {
		t.Fatal(err)
	}
	if len(notices) != 1 || !strings.HasPrefix(notices[0], "constant answers, no predictions, for cola (CoLA.tsv), sst2") {
		t.Errorf("notices %q", notices)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	all, err := readSubmission(content)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range files {
		a := all[i]
		if f.File != a.file || f.Rows != len(a.values) || f.Filled != (f.Run == "") || !f.Filled && f.Truncated != 2 {
			t.Errorf("file %d: %+v, in the zip %s with %d rows", i, f, a.file, len(a.values))
		}
		for row, want := range map[string]map[int]string{
			"ax":      {102: "contradiction", 103: "neutral", 104: "entailment"},
			"mnli":    {9792: "contradiction", 9793: "neutral", 9794: "entailment"},
			"mnli-mm": {9846: "contradiction", 9845: "entailment"},
			"wnli":    {120: "0", 121: "1"},
			"stsb":    {0: "0.000", 99: "0.000", 234: "1.340", 600: "5.000", 601: "5.000"},
			"rte":     {0: "entailment", 2999: "entailment"},
		}[f.Task] {
			if a.values[row] != want {
				t.Errorf("%s: row %d is %s, want %s", f.File, row, a.values[row], want)
			}
		}
	}

	// The same again: the same bytes.
	if _, err := s.Write(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	if again, err := os.ReadFile(out); err != nil || !bytes.Equal(again, content) {
		t.Errorf("another writing gives other bytes (error %v)", err)
	}
}

func TestSubmissionRefuses(t *testing.T) {
	dir := t.TempDir()
	writeTest(t, dir, "test.jsonl", "wnli", 145)
	full := t.TempDir()
	writeTest(t, full, "test.jsonl", "wnli", 146)
	unfinished := finishedRun(t, "rte", full)
	if err := os.RemoveAll(filepath.Join(unfinished, "adapter")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		runs   []string
		labels []string
		fault  string
	}{
		{"too few rows", []string{finishedRun(t, "wnli", dir)}, nil, "test split of wnli: test.jsonl has 145 examples; GLUE's has 146"},
		{"no test file", []string{finishedRun(t, "rte", filepath.Join(full, "none"))}, nil, "test split of rte: data: there is no directory"},
		{"embedded data", []string{finishedRun(t, "stsb", train.BuiltinData)}, nil, "test split of stsb: data builtin: "},
		{"two runs of a task", []string{finishedRun(t, "wnli", full), finishedRun(t, "wnli", full)}, nil, "are both runs of wnli; give one of them"},
		{"no task", []string{finishedRun(t, "", full)}, nil, "is of no known task; give --task where it is imported"},
		{"unfinished", []string{unfinished}, nil, "the run has not finished; go on with"},
		{"no run", []string{full}, nil, "not a run directory"},
		{"other classes", []string{finishedRun(t, "wnli", full)}, []string{"yes", "no"}, "the model's classes are yes, no, those of wnli not_entailment, entailment"},
		{"one class twice", []string{finishedRun(t, "wnli", full)}, []string{"entailment", "entailment"}, "the model's classes are"},
		{"other number of classes", []string{finishedRun(t, "wnli", full)}, []string{"a"}, "the model has 1 classes, wnli has 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out.zip")
			s := Submission{
				Runs: c.runs, Fill: true,
				Open:     func(context.Context, string) (Answerer, error) { return fakeRun{c.labels}, nil },
				Notice:   func(string, ...any) {},
				Progress: func(string, int, int) {},
			}
			if _, err := s.Write(t.Context(), out); err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("error %v, want %q", err, c.fault)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(out), "*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// Who answers what: the family of MNLI shares its models, the rest do not.
func TestAnswering(t *testing.T) {
	for task, want := range map[string][]string{"rte": {"rte"}, "ax": {"ax", "mnli", "mnli-mm"}, "mnli": {"mnli", "mnli", "mnli-mm"}} {
		if got := answering(task); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", task, got, want)
		}
	}
}

// Classes are a task's by name: a model that has one of them twice answers nothing.
func TestClassIDs(t *testing.T) {
	task, err := data.LookupTask("mnli")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := classIDs(task, []string{"Contradiction", "ENTAILMENT", "neutral"})
	if err != nil || !slices.Equal(ids, []int{2, 0, 1}) {
		t.Errorf("%v, %v", ids, err)
	}
	_, err = classIDs(task, []string{"entailment", "Entailment", "neutral"})
	wantError(t, err, "the model's classes are entailment, Entailment, neutral, those of mnli entailment, neutral, contradiction")
}
