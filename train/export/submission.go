package export

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/labels"
	"github.com/deeplora/deeplora/train"
)

// Answerer predicts the examples of a split: a finished run that has been opened.
type Answerer interface {
	Labels() []string // class names in the order of the logits
	SplitLogits(ctx context.Context, split *data.Split, progress func(done, total int)) (logits [][]float32, truncated int, err error)
	Close()
}

var _ Answerer = (*train.Predictor)(nil)

// Submission is what a GLUE submission is made of.
type Submission struct {
	Runs    []string // directories of finished runs, of different tasks
	Data    string   // directory that has the tasks' folders, or hub; empty: each run's own data
	Fill    bool     // give tasks without a run constant answers, instead of an error
	Sources train.Sources

	Open     func(ctx context.Context, run string) (Answerer, error)
	Notice   func(format string, args ...any)
	Progress func(phase string, done, total int)
}

// SubmittedFile is one file of a submission.
type SubmittedFile struct {
	File      string `json:"file"`
	Task      string `json:"task"`
	Rows      int    `json:"rows"`
	Run       string `json:"run"`       // whose model answers; empty: filled
	Filled    bool   `json:"filled"`    // with constant answers, for want of a run
	Truncated int    `json:"truncated"` // overlong examples
}

// submissionEntry is a file that is to be made.
type submissionEntry struct {
	SubmittedFile
	from    string // the run's data
	guest   bool   // the run's own task is another
	split   *data.Split
	answers answers
}

// Write predicts the test splits of all tasks and writes the submission to path, whole or not at all. Everything
// that can be wrong without a prediction is found first: runs that are missing or double, test files with
// another number of rows than GLUE's. What is written is read again and checked before it is put in place.
func (s Submission) Write(ctx context.Context, path string) ([]SubmittedFile, error) {
	entries, err := s.plan()
	if err != nil {
		return nil, err
	}
	if err := s.load(ctx, entries); err != nil {
		return nil, err
	}
	for _, run := range s.Runs {
		if err := s.answer(ctx, run, entries); err != nil {
			return nil, fmt.Errorf("run %s: %w", run, err)
		}
	}
	files, all := make([]SubmittedFile, len(entries)), make([]answers, len(entries))
	for i, e := range entries {
		files[i], all[i] = e.SubmittedFile, e.answers
	}
	var zip bytes.Buffer
	if err := writeSubmission(&zip, all); err != nil {
		return nil, err
	}
	if _, err := readSubmission(zip.Bytes()); err != nil {
		return nil, fmt.Errorf("check what was written: %w", err)
	}
	return files, atomicfile.WriteBytes(path, zip.Bytes())
}

// plan finds who answers each file, sorted by file. A run answers its own task; one of MNLI also its other half
// and the diagnostic set, unless another run does.
func (s Submission) plan() ([]*submissionEntry, error) {
	byTask := map[string]string{}
	from := map[string]string{}
	for _, run := range s.Runs {
		config, err := train.ReadRunConfig(run)
		if err != nil {
			return nil, err
		}
		info, err := train.ReadAdapterInfo(run)
		if err != nil {
			return nil, err
		}
		if info.Task == "" {
			return nil, fmt.Errorf("%s is of no known task; give --task where it is imported", run)
		}
		if other, ok := byTask[info.Task]; ok {
			return nil, fmt.Errorf("%s and %s are both runs of %s; give one of them", other, run, info.Task)
		}
		byTask[info.Task], from[run] = run, config.Data
	}
	var entries []*submissionEntry
	var missing []string
	for _, t := range submittedTasks {
		e := &submissionEntry{SubmittedFile: SubmittedFile{File: t.file, Task: t.task, Rows: t.rows}}
		var err error
		if e.answers, err = constantAnswers(t); err != nil {
			return nil, err
		}
		for _, name := range answering(t.task) {
			if run, ok := byTask[name]; ok && e.Run == "" {
				e.Run, e.from, e.guest = run, from[run], name != t.task
			}
		}
		if e.Filled = e.Run == ""; e.Filled {
			missing = append(missing, fmt.Sprintf("%s (%s)", t.task, t.file))
		}
		entries = append(entries, e)
	}
	if len(missing) > 0 && !s.Fill {
		return nil, fmt.Errorf("no run for %s; give one for each (an mnli run answers mnli-mm and ax too), or --fill-missing for constant answers", strings.Join(missing, ", "))
	}
	if len(missing) > 0 {
		s.Notice("constant answers, no predictions, for %s", strings.Join(missing, ", "))
	}
	slices.SortFunc(entries, func(a, b *submissionEntry) int { return strings.Compare(a.File, b.File) })
	return entries, nil
}

// answering lists the tasks whose models answer a task, the best first.
func answering(task string) []string {
	switch task {
	case "mnli", "mnli-mm", "ax":
		return []string{task, "mnli", "mnli-mm"}
	default:
		return []string{task}
	}
}

// load reads the test splits that runs answer.
func (s Submission) load(ctx context.Context, entries []*submissionEntry) error {
	for _, e := range entries {
		if e.Filled {
			continue
		}
		var err error
		if e.split, err = s.testSplit(ctx, e); err != nil {
			return fmt.Errorf("test split of %s: %w", e.Task, err)
		}
		for _, n := range e.split.Notices {
			s.Notice("%s", n)
		}
		if n := len(e.split.Examples); n != e.Rows {
			return fmt.Errorf("test split of %s: %s has %d examples; GLUE's has %d, and a submission answers each of them", e.Task, e.split.Source.File, n, e.Rows)
		}
	}
	return nil
}

// testSplit reads a task's test split. What a run answers beside its own task may also lie in the folder around
// the run's data: the diagnostic set is beside MNLI's.
func (s Submission) testSplit(ctx context.Context, e *submissionEntry) (*data.Split, error) {
	from := s.Data
	if from == "" {
		from = e.from
	}
	split, err := s.Sources.Split(ctx, from, e.answers.task, data.Test)
	if err == nil || s.Data != "" || !e.guest || from == train.HubData {
		return split, err
	}
	if beside, other := s.Sources.Split(ctx, filepath.Dir(filepath.Clean(from)), e.answers.task, data.Test); other == nil {
		return beside, nil
	}
	return nil, err
}

// answer predicts what a run answers.
func (s Submission) answer(ctx context.Context, run string, entries []*submissionEntry) error {
	if !slices.ContainsFunc(entries, func(e *submissionEntry) bool { return e.Run == run }) {
		return nil
	}
	a, err := s.Open(ctx, run)
	if err != nil {
		return err
	}
	defer a.Close()
	for _, e := range entries {
		if e.Run != run {
			continue
		}
		logits, truncated, err := a.SplitLogits(ctx, e.split, func(done, total int) { s.Progress("predict "+e.Task, done, total) })
		if err != nil {
			return fmt.Errorf("predict %s: %w", e.Task, err)
		}
		e.Truncated = truncated
		if err := e.answers.fill(a.Labels(), logits); err != nil {
			return err
		}
	}
	return nil
}

// fill turns logits into a task's answers. Classes go by name, never by position.
func (a *answers) fill(names []string, logits [][]float32) error {
	ids, err := classIDs(a.task, names)
	if err != nil {
		return err
	}
	a.values = make([]string, len(logits))
	for i, row := range logits {
		v := float64(row[0])
		if !a.task.Regression() {
			v = float64(ids[slices.Index(row, slices.Max(row))])
		}
		if a.values[i], err = a.answer(v); err != nil {
			return fmt.Errorf("example %d: %w", i, err)
		}
	}
	return nil
}

// classIDs are the task's ids of a model's classes, in the model's order.
func classIDs(t data.Task, names []string) ([]int, error) {
	if len(names) != t.NumLabels() {
		return nil, fmt.Errorf("the model has %d classes, %s has %d", len(names), t.Name, t.NumLabels())
	}
	if t.Regression() {
		return nil, nil
	}
	ids, err := labels.Match(t.Labels, names)
	if err != nil {
		return nil, fmt.Errorf("the model's classes are %s, those of %s %s: %w", strings.Join(names, ", "), t.Name, strings.Join(t.Labels, ", "), err)
	}
	return ids, nil
}
