package export

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/deeplora/deeplora/data"
)

// submitted is what GLUE's server takes of a task.
type submitted struct {
	task string // in package data's table
	file string // in the zip
	rows int    // examples of the test split: a submission answers all of them
	ids  bool   // answers are class ids, not names
}

// submittedTasks has a row for every task of package data's table.
var submittedTasks = []submitted{
	{"cola", "CoLA.tsv", 1063, true},
	{"sst2", "SST-2.tsv", 1821, true},
	{"mrpc", "MRPC.tsv", 1725, true},
	{"stsb", "STS-B.tsv", 1379, false},
	{"qqp", "QQP.tsv", 390965, true},
	{"mnli", "MNLI-m.tsv", 9796, false},
	{"mnli-mm", "MNLI-mm.tsv", 9847, false},
	{"qnli", "QNLI.tsv", 5463, false},
	{"rte", "RTE.tsv", 3000, false},
	{"wnli", "WNLI.tsv", 146, true},
	{"ax", "AX.tsv", 1104, false},
}

// answers are the predictions for a task's test split, in the order of its examples, as GLUE's server takes them:
// class ids or class names, as submitted says, or scores.
type answers struct {
	submitted
	task   data.Task
	values []string // of answer
}

// newAnswers has no values yet.
func newAnswers(s submitted) (answers, error) {
	task, err := data.LookupTask(s.task)
	return answers{submitted: s, task: task}, err
}

// submissionHeader is the first line of every file of a submission.
const submissionHeader = "index\tprediction"

// submissionTime is the time of every file in a submission, the earliest that a zip can hold: equal answers
// give equal bytes.
var submissionTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// maxScore ends the range of STS-B's scores, which begins at 0.
const maxScore = 5.0

// answer writes a prediction, a class id or a score, as the submission has it. Scores are cut to STS-B's range and
// have three decimals. It is an error if v is no class, or NaN.
func (a answers) answer(v float64) (string, error) {
	if a.task.Regression() {
		if math.IsNaN(v) {
			return "", fmt.Errorf("%s: a score is NaN", a.task.Name)
		}
		return strconv.FormatFloat(min(max(v, 0), maxScore)+0, 'f', 3, 64), nil // +0: -0 becomes 0
	}
	id := int(v)
	if float64(id) != v || id < 0 || id >= len(a.task.Labels) {
		return "", fmt.Errorf("%s: label %v is not a class; want 0 to %d", a.task.Name, v, len(a.task.Labels)-1)
	}
	return a.allowed()[id], nil
}

// constantAnswers answers every test example of a task alike, by its class 0 or a score of 0: what stands in
// for a task without a model.
func constantAnswers(s submitted) (answers, error) {
	a, err := newAnswers(s)
	if err != nil {
		return a, err
	}
	v, err := a.answer(0)
	a.values = slices.Repeat([]string{v}, s.rows)
	return a, err
}

// check refuses what GLUE's server would: another number of rows, or a value that is no answer.
func (a answers) check() error {
	if len(a.values) != a.rows {
		return fmt.Errorf("%s: %d rows; GLUE's test split of %s has %d", a.file, len(a.values), a.task.Name, a.rows)
	}
	allowed := a.allowed()
	for i, v := range a.values {
		switch {
		case a.task.Regression() && !isScore(v):
			return fmt.Errorf("%s: row %d: %.60q is not a score from 0 to %g with three decimals", a.file, i, v, maxScore)
		case !a.task.Regression() && !slices.Contains(allowed, v):
			return fmt.Errorf("%s: row %d: %.60q is not a label; want %s", a.file, i, v, strings.Join(allowed, ", "))
		}
	}
	return nil
}

// allowed are the labels that a submission may hold, in the order of their ids; none for a regression.
func (a answers) allowed() []string {
	if !a.ids {
		return a.task.Labels
	}
	var ids []string
	for id := range a.task.Labels {
		ids = append(ids, strconv.Itoa(id))
	}
	return ids
}

// isScore reports whether text is a score as answer writes them: 0.000 to 5.000.
func isScore(text string) bool {
	v, err := strconv.ParseFloat(text, 64)
	return err == nil && v >= 0 && v <= maxScore && strconv.FormatFloat(v, 'f', 3, 64) == text
}

// writeSubmission writes a submission's zip: a file for each task of the table, sorted by name, index and
// prediction in each row. all holds every task once, in any order. It is an error, before anything is
// written, if one is missing or twice there, has another number of rows than GLUE's test split, or holds
// a value that is none of the task's. The bytes follow from the answers alone.
func writeSubmission(w io.Writer, all []answers) error {
	files, err := submissionFiles(all)
	if err != nil {
		return fmt.Errorf("submission: %w", err)
	}
	z := zip.NewWriter(w)
	for _, a := range files {
		f, err := z.CreateHeader(&zip.FileHeader{Name: a.file, Method: zip.Deflate, Modified: submissionTime})
		if err != nil {
			return fmt.Errorf("submission: %w", err)
		}
		if _, err := f.Write(a.tsv()); err != nil {
			return fmt.Errorf("submission: %s: %w", a.file, err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("submission: %w", err)
	}
	return nil
}

// submissionFiles checks answers and sorts them by their files' names.
func submissionFiles(all []answers) ([]answers, error) {
	files := slices.Clone(all)
	slices.SortFunc(files, func(a, b answers) int { return strings.Compare(a.file, b.file) })
	var faults []error
	for _, t := range submittedTasks {
		n := 0
		for _, a := range files {
			if a.task.Name == t.task {
				n++
			}
		}
		if n != 1 {
			faults = append(faults, fmt.Errorf("%s is there %d times; want once", t.file, n))
		}
	}
	for _, a := range files {
		if err := a.check(); err != nil {
			faults = append(faults, err)
		}
	}
	return files, errors.Join(faults...)
}

// tsv is the file: a header, then index from 0 and prediction between tabs, without quotes.
func (a answers) tsv() []byte {
	text := []byte(submissionHeader + "\n")
	for i, v := range a.values {
		text = strconv.AppendInt(text, int64(i), 10)
		text = append(text, '\t')
		text = append(text, v...)
		text = append(text, '\n')
	}
	return text
}

// maxSubmissionFile bounds what readSubmission unpacks of one file: QQP's has 4 MB.
const maxSubmissionFile = 64 << 20

// readSubmission reads a submission's zip and checks it against the format that writeSubmission promises: the
// files of all tasks and no others, their rows, indices and values. Answers come sorted by file.
func readSubmission(content []byte) ([]answers, error) {
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	var all []answers
	for _, f := range z.File {
		i := slices.IndexFunc(submittedTasks, func(t submitted) bool { return t.file == f.Name })
		if i < 0 {
			return nil, fmt.Errorf("submission: %.60q is no file of a submission", f.Name)
		}
		a, err := readAnswers(f, submittedTasks[i])
		if err != nil {
			return nil, fmt.Errorf("submission: %s: %w", f.Name, err)
		}
		all = append(all, a)
	}
	if all, err = submissionFiles(all); err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	return all, nil
}

func readAnswers(f *zip.File, t submitted) (answers, error) {
	r, err := f.Open()
	if err != nil {
		return answers{}, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxSubmissionFile+1))
	if err != nil {
		return answers{}, err
	}
	if len(text) > maxSubmissionFile {
		return answers{}, fmt.Errorf("more than %d bytes", maxSubmissionFile)
	}
	lines := strings.Split(string(text), "\n")
	if last := len(lines) - 1; lines[0] != submissionHeader || lines[last] != "" {
		return answers{}, fmt.Errorf("want a first line %q and a line end after the last", submissionHeader)
	}
	a, err := newAnswers(t)
	if err != nil {
		return answers{}, err
	}
	for i, line := range lines[1 : len(lines)-1] {
		index, value, _ := strings.Cut(line, "\t")
		if index != strconv.Itoa(i) {
			return answers{}, fmt.Errorf("line %d: index %.60q, want %d", i+2, index, i)
		}
		a.values = append(a.values, value)
	}
	return a, nil
}
